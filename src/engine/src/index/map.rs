//! Files mapped into memory: the only unsafe code of this crate.

use std::fs::File;

use memmap2::Mmap;

/// Maps a file for reading.
///
/// # Errors
/// When the operating system refuses.
#[expect(unsafe_code, reason = "mapping a file is unsafe because others could change it")]
pub fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the file lies in the user's own cache folder; it is written once under a name that is never used again, and
    // its hash is checked after mapping. Whoever can still change it can change this process as well.
    unsafe { Mmap::map(file) }
}
