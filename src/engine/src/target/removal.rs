//! Listing and deleting, for a restore over existing files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;

use super::rel_path::RelPath;
use super::{Shared, SysResult, Target, listing};
use crate::{Error, Result};

/// So many names of a folder are read at once.
const BATCH: usize = 1024;
/// So many folders on the way down are kept open.
const OPEN: usize = 32;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Target {
    /// The names in a folder, sorted, without those of files that are being restored or could not be.
    pub fn list_dir(&self, path: &RelPath) -> Result<Vec<Vec<u8>>> {
        let shared = &*self.shared;
        let folder = shared.beneath.folder_at(path)?;
        let mut names = listing::names(folder).map_err(|errno| shared.error(path, errno))?;
        names.retain(|name| !shared.names.is_unfinished(path.as_bytes(), name));
        Ok(names)
    }

    /// Removes what lies at the path, a link itself and not what it points to; a folder only when it is empty. Returns
    /// whether there was anything.
    pub fn remove(&self, path: &RelPath) -> Result<bool> {
        let shared = &*self.shared;
        let place = shared.beneath.place(path)?;
        shared.check_spelling_of_any(&place)?;
        let result = match rustix::fs::unlinkat(&place.folder, place.name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {
                let result = rustix::fs::unlinkat(&place.folder, place.name, AtFlags::REMOVEDIR);
                shared.beneath.forget(path);
                result
            }
            result => result,
        };
        match result {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(shared.error(path, errno)),
        }
    }

    /// Removes what lies at the path with everything beneath it, following nothing and staying on one file system.
    /// Returns whether there was anything; stops at the first name that cannot be removed.
    pub fn remove_tree(&self, path: &RelPath) -> Result<bool> {
        let shared = &*self.shared;
        let place = shared.beneath.place(path)?;
        shared.check_spelling_of_any(&place)?;
        match rustix::fs::unlinkat(&place.folder, place.name, AtFlags::empty()) {
            Ok(()) => return Ok(true),
            Err(Errno::NOENT) => return Ok(false),
            Err(Errno::ISDIR) => {}
            Err(errno) => return Err(shared.error(path, errno)),
        }
        let removed = Removal::start(shared, path, place.folder.as_fd(), place.name).and_then(Removal::run);
        shared.beneath.forget(path);
        removed.map(|()| true)
    }
}

/// A tree that is being removed, at some depth.
struct Removal<'a> {
    shared: &'a Shared,
    path: &'a RelPath,
    /// The folder that the tree lies in.
    above: BorrowedFd<'a>,
    levels: Vec<Level>,
}

struct Level {
    name: Vec<u8>,
    /// Closed while the work goes on far below, and found again by `..`, if that is still the same folder.
    fd: Option<OwnedFd>,
    id: (u64, u64),
    pending: Vec<Vec<u8>>,
    /// Whether the last batch had anything that could be removed: a broken file system may list what is not there.
    progress: bool,
}

impl<'a> Removal<'a> {
    fn start(shared: &'a Shared, path: &'a RelPath, above: BorrowedFd<'a>, name: &[u8]) -> Result<Self> {
        let mut removal = Self { shared, path, above, levels: Vec::new() };
        removal.enter(name.to_vec())?;
        Ok(removal)
    }

    fn run(mut self) -> Result<()> {
        while let Some(level) = self.levels.last_mut() {
            match level.pending.pop() {
                Some(name) => self.remove_entry(name)?,
                None => {
                    let batch = level.read_batch();
                    if batch.map_err(|errno| self.error(None, errno))? == 0 {
                        self.leave()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The open folder of the lowest level, or the one that the tree lies in.
    fn folder(&self) -> BorrowedFd<'_> {
        self.levels.last().and_then(|level| level.fd.as_ref()).map_or(self.above, AsFd::as_fd)
    }

    fn remove_entry(&mut self, name: Vec<u8>) -> Result<()> {
        match rustix::fs::unlinkat(self.folder(), name.as_slice(), AtFlags::empty()) {
            Ok(()) => {
                if let Some(level) = self.levels.last_mut() {
                    level.progress = true;
                }
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => self.enter(name),
            Err(errno) => Err(self.error(Some(&name), errno)),
        }
    }

    fn enter(&mut self, name: Vec<u8>) -> Result<()> {
        let entered = self.device().and_then(|device| open_here(self.folder(), &name, device));
        let (fd, id) = entered.map_err(|errno| self.error(Some(&name), errno))?;
        if let Some(i) = self.levels.len().checked_sub(OPEN) {
            self.levels[i].fd = None;
        }
        self.levels.push(Level { name, fd: Some(fd), id, pending: Vec::new(), progress: true });
        Ok(())
    }

    fn device(&self) -> SysResult<u64> {
        self.levels.last().map_or_else(|| Ok(identity(self.above)?.0), |level| Ok(level.id.0))
    }

    /// Goes up one level and removes the folder, which is empty now.
    fn leave(&mut self) -> Result<()> {
        let Some(done) = self.levels.pop() else { return Ok(()) };
        if let (Some(level), Some(fd)) = (self.levels.last_mut(), &done.fd)
            && level.fd.is_none()
        {
            let up = rustix::fs::openat(fd, c"..", FOLDER, Mode::empty());
            let up = up.and_then(|up| if identity(&up)? == level.id { Ok(up) } else { Err(Errno::STALE) });
            match up {
                Ok(up) => level.fd = Some(up),
                Err(errno) => return Err(self.error(Some(&done.name), errno)),
            }
        }
        match rustix::fs::unlinkat(self.folder(), done.name.as_slice(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.error(Some(&done.name), errno)),
        }
        if let Some(level) = self.levels.last_mut() {
            level.progress = true;
        }
        Ok(())
    }

    fn error(&self, name: Option<&[u8]>, errno: Errno) -> Error {
        let below = self.levels.iter().skip(1).map(|level| level.name.as_slice()).chain(name);
        // The name of the first level is that of the path itself.
        let start = if self.levels.is_empty() { self.path.parent() } else { Some(self.path.clone()) };
        let path = below.fold(start.unwrap_or_default(), |path, name| path.join(name).unwrap_or(path));
        self.shared.error(&path, errno)
    }
}

impl Level {
    /// Reads the next names to remove, and returns how many.
    fn read_batch(&mut self) -> SysResult<usize> {
        let fd = self.fd.as_ref().ok_or(Errno::BADF)?;
        if !std::mem::take(&mut self.progress) {
            return Err(Errno::NOENT);
        }
        // What was read before is gone.
        rustix::fs::seek(fd, SeekFrom::Start(0))?;
        listing::each(fd, |name| {
            self.pending.push(name.to_vec());
            self.pending.len() < BATCH
        })?;
        Ok(self.pending.len())
    }
}

/// Opens a folder that is not a mount point, on the device of the one above it.
fn open_here(from: BorrowedFd<'_>, name: &[u8], device: u64) -> SysResult<(OwnedFd, (u64, u64))> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let fd = match rustix::fs::openat2(from, name, FOLDER, Mode::empty(), how) {
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {
            rustix::fs::openat(from, name, FOLDER, Mode::empty())?
        }
        result => result?,
    };
    let id = identity(&fd)?;
    if device != id.0 {
        return Err(Errno::XDEV);
    }
    Ok((fd, id))
}

fn identity(fd: impl AsFd) -> SysResult<(u64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev as _, stat.st_ino as _))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::{Folder, plain, rel, write};
    use super::*;

    #[test]
    fn a_large_folder_is_listed_and_removed() {
        let folder = Folder::new();
        folder.target.make_dir(&rel("d"), false).unwrap();
        for i in 0..5_000 {
            fs::write(folder.root().join(format!("d/{i}")), "").unwrap();
        }
        fs::set_permissions(folder.root().join("d/1"), fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(folder.target.list_dir(&rel("d")).unwrap().len(), 5_000);
        assert!(folder.target.remove_tree(&rel("d")).unwrap());
    }

    #[test]
    fn a_folder_that_was_removed_is_not_written_to_by_memory() {
        for folder in Folder::both_ways() {
            for remove in [Target::remove_tree, Target::remove] {
                folder.target.make_dir(&rel("d"), false).unwrap();
                write(&folder.target, "d/f", b"x", &plain(0o644), true);
                folder.target.remove(&rel("d/f")).unwrap();
                assert!(remove(&folder.target, &rel("d")).unwrap());
                assert!(folder.target.begin_file(&rel("d/f")).is_err());
            }
            assert_eq!(folder.target.obstacle(&rel("d")).unwrap(), None);
        }
    }
}
