//! What the crash suites share: sources that are made from a seed, a model of what a snapshot must give back, and a look
//! at a store as a crash left it.
//!
//! 1. [`site`] makes folders, an image and a stream in several versions; [`model`] says what is in them.
//! 2. [`program`] runs one operation of the engine over any store and says what it reported as saved.
//! 3. [`medium`] is what the operation ran on: a store in memory that fails, or a file system that loses what was not
//!    synced; it gives the states that a crash can leave.
//! 4. [`verify`] opens such a state and proves that everything that was reported is there, byte for byte.

pub mod chance;
pub mod medium;
pub mod model;
pub mod program;
pub mod site;
pub mod snapshot;
pub mod tally;
pub mod verify;

/// What went wrong, for people; the suites add where.
pub type Result<T = ()> = std::result::Result<T, String>;

/// How much longer the suites run: 1, or more when `FARDEL_SOAK` is set.
#[must_use]
pub fn is_soak() -> bool {
    std::env::var("FARDEL_SOAK").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// The seed of this run: `FARDEL_SEED`, or a fixed one, so that CI tests the same each time.
#[must_use]
pub fn seed() -> u64 {
    std::env::var("FARDEL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_123)
}

/// A folder in memory where there is one: a crash is simulated, so nothing has to reach a disk.
///
/// # Panics
/// When there is no temporary folder at all.
#[must_use]
pub fn temporary_folder(name: &str) -> tempfile::TempDir {
    let builder = |place: &std::path::Path| {
        tempfile::Builder::new().prefix(&format!("fardel-{name}-")).tempdir_in(place)
    };
    builder("/dev/shm".as_ref()).or_else(|_| builder(&std::env::temp_dir())).expect("a temporary folder")
}
