//! Giving a name without taking it from another file.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::SysResult;

/// Renames within one folder; EEXIST when anything has the new name.
///
/// Where the file system cannot do that at once (NFS, some FUSE), a hard link refuses to replace as well; where it has
/// none, we look first, and only a file that somebody else makes at that very moment would be lost.
pub(super) fn rename_new(folder: impl AsFd, from: &[u8], to: &[u8]) -> SysResult<()> {
    let folder = folder.as_fd();
    match rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => without_flag(folder, from, to),
        result => result,
    }
}

fn without_flag(folder: impl AsFd, from: &[u8], to: &[u8]) -> SysResult<()> {
    let folder = folder.as_fd();
    match rustix::fs::linkat(folder, from, folder, to, AtFlags::empty()) {
        Ok(()) => return rustix::fs::unlinkat(folder, from, AtFlags::empty()),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {}
        Err(errno) => return Err(errno),
    }
    match rustix::fs::statat(folder, to, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => rustix::fs::renameat(folder, from, folder, to),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_replaced_with_or_without_the_flag() {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        for i in 0..2 {
            let rename = |from: &[u8], to: &[u8]| {
                if i == 0 { rename_new(&fd, from, to) } else { without_flag(&fd, from, to) }
            };
            std::fs::write(dir.path().join("new"), "new").unwrap();
            std::fs::write(dir.path().join("old"), "old").unwrap();
            assert_eq!(rename(b"new", b"old"), Err(Errno::EXIST));
            assert_eq!((text("new"), text("old")), ("new".into(), "old".into()));
            std::os::unix::fs::symlink("nowhere", dir.path().join(format!("link{i}"))).unwrap();
            assert_eq!(rename(b"new", format!("link{i}").as_bytes()), Err(Errno::EXIST));
            assert_eq!(rename(b"new", format!("free{i}").as_bytes()), Ok(()));
            assert_eq!(text(&format!("free{i}")), "new");
            assert!(!dir.path().join("new").exists());
            assert_eq!(rename(b"gone", b"x"), Err(Errno::NOENT));
        }
    }
}
