//! Folders that say of themselves that they are caches (<https://bford.info/cachedir/>).

use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, OFlags};

/// The name of the tag.
pub(crate) const TAG: &[u8] = b"CACHEDIR.TAG";
/// What a valid tag begins with.
const SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Whether the folder holds a tag that is a regular file with the right signature. A tag that cannot be read does
/// not count: rather too much is saved than too little.
pub(crate) fn is_tagged(folder: impl AsFd) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(tag) = rustix::fs::openat(folder, TAG, flags, Mode::empty()) else { return false };
    if !rustix::fs::fstat(&tag).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile) {
        return false;
    }
    let mut head = [0; SIGNATURE.len()];
    rustix::io::pread(&tag, &mut head, 0).is_ok_and(|n| n == head.len()) && head == SIGNATURE
}
