//! From a path beneath the target to an open folder and a name in it.
//!
//! No call of this module's users takes a path: each takes a folder's descriptor from here and one name, and does not
//! follow that name. The descriptor is reached from the target's by `openat2` with RESOLVE_BENEATH and
//! RESOLVE_NO_SYMLINKS or, where the kernel has no such call, by one `openat` with O_NOFOLLOW for each name.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::SysResult;
use super::folders::Folders;
use super::obstacle::Obstacle;
use super::rel_path::{RelPath, split};
use crate::{Error, Result};

/// The longest piece of a path given to the kernel at once; PATH_MAX is 4096 with the final NUL.
const PIECE: usize = 4000;
/// Every so many levels of a deep tree a folder is kept to start from.
const STRIDE: usize = 32;
/// A folder as a place to work in: no read permission is needed, and O_DIRECTORY refuses a symbolic link.
pub(super) const PLACE: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The open target, beneath which every path is resolved.
#[derive(Debug)]
pub(super) struct Beneath {
    root: Arc<OwnedFd>,
    path: PathBuf,
    folders: Folders,
    /// False once the kernel turned out to lack openat2, or a sandbox to forbid it.
    openat2: AtomicBool,
}

/// One name in one open folder.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) folder: Arc<OwnedFd>,
    pub(super) name: &'a [u8],
    pub(super) path: &'a RelPath,
}

impl Beneath {
    /// Opens the root. Symbolic links in `path` itself are followed: the user named it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::io(path, errno))?;
        Ok(Self {
            root: Arc::new(root),
            path: path.into(),
            folders: Folders::default(),
            openat2: AtomicBool::new(true),
        })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The path for messages.
    pub(super) fn full(&self, path: &RelPath) -> PathBuf {
        if path.is_root() { self.path.clone() } else { self.path.join(path.as_path()) }
    }

    /// The open folder in which the path's last name lies. The target itself has no place.
    pub(super) fn place<'a>(&self, path: &'a RelPath) -> Result<Place<'a>> {
        let Some((folder, name)) = path.split() else {
            return Err(Error::Invalid(
                "the restore target itself cannot be made, replaced or removed".into(),
            ));
        };
        match self.folder(folder) {
            Ok(folder) => Ok(Place { folder, name, path }),
            Err(errno) => Err(self.explain(folder, errno)),
        }
    }

    /// The folder that this path names, as a place only (`O_PATH`).
    pub(super) fn folder_at(&self, path: &RelPath) -> Result<Arc<OwnedFd>> {
        let path = path.as_bytes();
        self.folder(path).map_err(|errno| self.explain(path, errno))
    }

    fn folder(&self, path: &[u8]) -> SysResult<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(fd) = self.folders.get(path) {
            return Ok(fd);
        }
        // Its own folder is often at hand, and trees thousands deep have one every few levels.
        let near = split(path).and_then(|(folder, name)| Some((self.folders.get(folder)?, name)));
        let fd = match (near, landing(path)) {
            (Some((folder, name)), _) => self.resolve_all(folder.as_fd(), name)?,
            (None, Some((landing, rest))) => {
                let folder = match self.folders.get(landing) {
                    Some(folder) => folder,
                    None => self.keep(landing, self.resolve_all(self.root(), landing)?),
                };
                self.resolve_all(folder.as_fd(), rest)?
            }
            (None, None) => self.resolve_all(self.root(), path)?,
        };
        Ok(self.keep(path, fd))
    }

    fn keep(&self, path: &[u8], fd: OwnedFd) -> Arc<OwnedFd> {
        let fd = Arc::new(fd);
        self.folders.put(path, &fd);
        fd
    }

    /// Forgets the open folder at `path` and all beneath it: it was removed.
    pub(super) fn forget(&self, path: &RelPath) {
        self.folders.forget(path.as_bytes());
    }

    fn resolve_all(&self, root: BorrowedFd<'_>, path: &[u8]) -> SysResult<OwnedFd> {
        let (mut folder, mut rest) = (None::<OwnedFd>, path);
        while rest.len() > PIECE {
            let slash = rest[..PIECE].iter().rposition(|&b| b == b'/').ok_or(Errno::NAMETOOLONG)?;
            let from = folder.as_ref().map_or(root, AsFd::as_fd);
            folder = Some(self.resolve(from, &rest[..slash])?);
            rest = &rest[slash + 1..];
        }
        self.resolve(folder.as_ref().map_or(root, AsFd::as_fd), rest)
    }

    fn resolve(&self, from: BorrowedFd<'_>, path: &[u8]) -> SysResult<OwnedFd> {
        if !self.openat2.load(Ordering::Relaxed) {
            return by_component(from, path);
        }
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..16 {
            match rustix::fs::openat2(from, path, PLACE, Mode::empty(), how) {
                // A rename or mount elsewhere got in the way: the kernel asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Old sandboxes answer EPERM to calls that they do not know.
                Err(Errno::NOSYS | Errno::PERM) => {
                    let folder = by_component(from, path)?;
                    self.openat2.store(false, Ordering::Relaxed);
                    return Ok(folder);
                }
                result => return result,
            }
        }
        by_component(from, path)
    }

    /// The error for a folder that was not reached: what lies in the way by name, or that nothing is there.
    fn explain(&self, path: &[u8], errno: Errno) -> Error {
        let at = |path: &[u8]| self.path.join(OsStr::from_bytes(path));
        if !matches!(errno, Errno::LOOP | Errno::NOTDIR | Errno::NOENT | Errno::XDEV) {
            return Error::io(at(path), errno);
        }
        let (mut folder, mut end) = (None::<OwnedFd>, 0);
        for name in path.split(|&b| b == b'/') {
            end += name.len() + usize::from(end > 0);
            let from = folder.as_ref().map_or(self.root(), AsFd::as_fd);
            match rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
                Ok(stat) => return Obstacle::of(&stat).error(at(&path[..end])),
                Err(errno) => return Error::io(at(&path[..end]), errno),
            }
            match rustix::fs::openat(from, name, PLACE, Mode::empty()) {
                Ok(fd) => folder = Some(fd),
                Err(errno) => return Error::io(at(&path[..end]), errno),
            }
        }
        // Whatever it was, it is gone.
        Error::io(at(path), errno)
    }

    /// Resolves component by component from now on, as on kernels before 5.6.
    #[cfg(test)]
    pub(super) fn forget_openat2(&self) {
        self.openat2.store(false, Ordering::Relaxed);
    }
}

/// Splits a deep path at a level that its neighbours share.
fn landing(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slashes = || path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i);
    let level = slashes().count() / STRIDE * STRIDE;
    let slash = slashes().nth(level.checked_sub(1)?)?;
    Some((&path[..slash], &path[slash + 1..]))
}

fn by_component(from: BorrowedFd<'_>, path: &[u8]) -> SysResult<OwnedFd> {
    let mut folder = None::<OwnedFd>;
    for name in path.split(|&b| b == b'/') {
        let at = folder.as_ref().map_or(from, AsFd::as_fd);
        folder = Some(rustix::fs::openat(at, name, PLACE, Mode::empty())?);
    }
    folder.ok_or(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_paths_land_every_few_levels() {
        let path = |levels: usize| vec![b"ab".as_slice(); levels].join(&b'/');
        for (levels, at) in
            [(1, None), (32, None), (33, Some(32)), (64, Some(32)), (65, Some(64)), (3000, Some(2976))]
        {
            let whole = path(levels);
            let found = landing(&whole).map(|(landing, rest)| (landing.to_vec(), rest.to_vec()));
            assert_eq!(found, at.map(|at| (path(at), path(levels - at))));
        }
    }
}
