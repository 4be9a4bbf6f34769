//! Opening paths beneath one folder and nowhere else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::meta::Meta;

/// The longest piece of a path given to the kernel at once; PATH_MAX is 4096 with the final NUL.
const PIECE: usize = 4000;
/// A folder on the way to somewhere: no read permission is needed.
const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A folder that is to be listed.
pub(crate) const LIST: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open root folder; every path is resolved beneath it, and no symbolic link is followed on the way.
#[derive(Debug)]
pub(crate) struct Beneath {
    root: OwnedFd,
    path: PathBuf,
    euid: u32,
    /// False once the kernel turned out to lack openat2, or a sandbox to forbid it.
    openat2: AtomicBool,
}

impl Beneath {
    /// Opens the root. Symbolic links in `path` itself are followed: the user named it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOTDIR => Error::new(ErrorKind::NotAFolder, path, "it is not a folder"),
            errno => Error::os(path, "cannot open the folder", errno),
        })?;
        let euid = rustix::process::geteuid().as_raw();
        Ok(Beneath { root, path: path.into(), euid, openat2: AtomicBool::new(true) })
    }

    /// Resolves component by component from now on, as on kernels before 5.6.
    #[cfg(test)]
    pub(crate) fn forget_openat2(&self) {
        self.openat2.store(false, Ordering::Relaxed);
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path for messages.
    pub(crate) fn full(&self, relative: &[u8]) -> PathBuf {
        if relative.is_empty() {
            self.path.clone()
        } else {
            self.path.join(std::ffi::OsStr::from_bytes(relative))
        }
    }

    /// Opens a path relative to the root (empty: the root itself) for reading, without touching its access time
    /// where that is permitted to us.
    pub(crate) fn open_to_read(&self, path: &[u8], flags: OFlags, meta: &Meta) -> Result<OwnedFd, Errno> {
        self.quietly(flags, meta.uid, |flags| self.open_at(path, flags))
    }

    /// Opens one name in an open folder, as [`Beneath::open_to_read`] does.
    pub(crate) fn open_name(
        &self,
        folder: impl AsFd,
        name: &std::ffi::CStr,
        flags: OFlags,
        uid: u32,
    ) -> Result<OwnedFd, Errno> {
        let folder = folder.as_fd();
        self.quietly(flags, uid, |flags| {
            rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty())
        })
    }

    /// O_NOATIME is for the owner and for root; anyone else gets EPERM and tries again without.
    fn quietly<T>(
        &self,
        flags: OFlags,
        uid: u32,
        open: impl Fn(OFlags) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if self.euid == 0 || self.euid == uid {
            match open(flags | OFlags::NOATIME) {
                Err(Errno::PERM) => {}
                result => return result,
            }
        }
        open(flags)
    }

    /// Opens a path relative to the root; longer than PATH_MAX is fine.
    pub(crate) fn open_at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        if path.is_empty() {
            return rustix::fs::openat(&self.root, c".", flags, Mode::empty());
        }
        if path.split(|&b| b == b'/').any(|part| matches!(part, b"" | b"." | b"..") || part.contains(&0)) {
            return Err(Errno::INVAL);
        }
        let (mut folder, mut rest) = (None::<OwnedFd>, path);
        while rest.len() > PIECE {
            let slash = rest[..PIECE].iter().rposition(|&b| b == b'/').ok_or(Errno::NAMETOOLONG)?;
            let from = folder.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            folder = Some(self.resolve(from, &rest[..slash], STEP)?);
            rest = &rest[slash + 1..];
        }
        let from = folder.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
        self.resolve(from, rest, flags | OFlags::NOFOLLOW)
    }

    fn resolve(&self, from: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        if !self.openat2.load(Ordering::Relaxed) {
            return by_component(from, path, flags);
        }
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..16 {
            match rustix::fs::openat2(from, path, flags, Mode::empty(), how) {
                // A rename or mount elsewhere got in the way: the kernel asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Old sandboxes answer EPERM to calls they do not know. With O_NOATIME it means something else,
                // and the caller tries again without.
                Err(errno @ (Errno::NOSYS | Errno::PERM))
                    if errno == Errno::NOSYS || !flags.contains(OFlags::NOATIME) =>
                {
                    let fd = by_component(from, path, flags);
                    if errno == Errno::NOSYS || fd.is_ok() {
                        self.openat2.store(false, Ordering::Relaxed);
                    }
                    return fd;
                }
                result => return result,
            }
        }
        by_component(from, path, flags)
    }
}

fn by_component(from: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut folder = None::<OwnedFd>;
    let mut parts = path.split(|&b| b == b'/').peekable();
    while let Some(part) = parts.next() {
        let at = folder.as_ref().map_or(from, AsFd::as_fd);
        if parts.peek().is_none() {
            return rustix::fs::openat(at, part, flags | OFlags::NOFOLLOW, Mode::empty());
        }
        // O_DIRECTORY turns a symbolic link into ENOTDIR here.
        folder = Some(rustix::fs::openat(at, part, STEP, Mode::empty())?);
    }
    Err(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_plain_paths_is_resolved() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::create_dir(dir.path().join("root/sub")).unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        std::fs::write(dir.path().join("root/sub/f"), "x").unwrap();
        std::os::unix::fs::symlink("sub", dir.path().join("root/link")).unwrap();
        std::os::unix::fs::symlink("sub/f", dir.path().join("root/leaf")).unwrap();
        for fallback in [false, true] {
            let root = Beneath::open(&dir.path().join("root")).unwrap();
            if fallback {
                root.forget_openat2();
            }
            let open = |path: &[u8]| root.open_at(path, OFlags::RDONLY | OFlags::CLOEXEC).map(drop);
            assert_eq!(open(b"sub/f"), Ok(()));
            assert_eq!(open(b""), Ok(()));
            for bad in [&b"../secret"[..], b"/sub/f", b"sub//f", b"sub/./f", b"sub/../../secret", b"sub/f\0"]
            {
                assert_eq!(open(bad), Err(Errno::INVAL), "{bad:?}");
            }
            assert_eq!(open(b"leaf"), Err(Errno::LOOP));
            assert!(matches!(open(b"link/f"), Err(Errno::LOOP | Errno::NOTDIR)));
            assert_eq!(open(&[b'a'; 5000]), Err(Errno::NAMETOOLONG));
        }
    }
}
