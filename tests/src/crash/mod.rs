//! What the crash suites share: sources that are made from a seed, a model of what a snapshot must give back, and a look
//! at a store as a crash left it.
//!
//! 1. [`site`] makes folders, an image and a stream in several versions; [`model`] says what is in them.
//! 2. [`program`] runs one operation of the engine over any store and says what it reported as saved.
//! 3. [`medium`] is what the operation runs on: a store in memory that fails, or a file system that loses what was not
//!    synced. It records every call, and gives the states that a crash can leave; [`digest`] tells which are the same.
//! 4. [`verify`] opens such a state and proves that everything that was reported is there, byte for byte.
//! 5. [`machine`] runs the built command in an environment of its own, to be killed at a moment within its [`times`]; [`restored`] is
//!    what it gives back.

pub mod chance;
pub mod digest;
pub mod machine;
pub mod medium;
pub mod model;
pub mod program;
pub mod recorder;
pub mod restored;
pub mod site;
pub mod snapshot;
pub mod tally;
pub mod times;
pub mod verify;

/// What went wrong, for people; the suites add where.
pub type Result<T = ()> = std::result::Result<T, String>;

/// The seed of this run: `FARDEL_SEED`, or the one that CI uses each time.
#[must_use]
pub fn seed() -> u64 {
    std::env::var("FARDEL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_123)
}
