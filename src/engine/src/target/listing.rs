//! The names in an open folder.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RawDir};

use super::SysResult;

/// Room for about a thousand names in one call.
const BUFFER: usize = 32 << 10;

/// Opens a folder that is held as a place (`O_PATH`) so that it can be listed.
pub(super) fn open(folder: impl AsFd) -> SysResult<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(folder, c".", flags, Mode::empty())
}

/// Hands every name but `.` and `..` to `visit`, until that returns false.
pub(super) fn each(folder: impl AsFd, mut visit: impl FnMut(&[u8]) -> bool) -> SysResult<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    let mut entries = RawDir::new(folder.as_fd(), buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") && !visit(name) {
            break;
        }
    }
    Ok(())
}

/// All names in the folder, sorted.
pub(super) fn names(folder: impl AsFd) -> SysResult<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    each(open(folder)?, |name| {
        names.push(name.to_vec());
        true
    })?;
    names.sort_unstable();
    Ok(names)
}
