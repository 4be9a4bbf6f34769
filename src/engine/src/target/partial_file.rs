//! A file that is being restored, under a name that says so.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{Attributes, Handle};
use super::beneath::Place;
use super::content::Content;
use super::obstacle::Obstacle;
use super::partial_names::Slot;
use super::rel_path::RelPath;
use super::rename::rename_new;
use super::warning::Warning;
use super::{Shared, SysResult, TRIES};
use crate::Result;

/// A new file beside the name that it is to have: `NAME.partial`, or `NAME.2.partial` and so on where something else
/// has that name. Dropped, it stays as it is, with mode 0600.
#[derive(Debug)]
pub struct PartialFile {
    shared: Arc<Shared>,
    path: RelPath,
    slot: Arc<Slot>,
    content: Content,
}

impl PartialFile {
    pub(super) fn begin(shared: &Arc<Shared>, path: &RelPath) -> Result<Self> {
        let place = shared.place(path)?;
        let parent = path.split().map_or(&b""[..], |(parent, _)| parent);
        let slot = Slot::new(Arc::clone(&place.folder), parent, place.name);
        let fd = shared
            .names
            .begin(&slot, |name| make(shared, &place, name))
            .map_err(|errno| shared.error(path, errno))?;
        let content = Content::new(fd, shared.beneath.full(path));
        Ok(Self { shared: Arc::clone(shared), path: path.clone(), slot, content })
    }

    /// Writes all of `parts` at `offset`, one after the other; what is skipped reads as zeros and takes no room.
    pub fn write_all_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> Result<()> {
        self.content.write_all_at(offset, parts)
    }

    #[cfg(test)]
    pub(super) fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.content.write_at(offset, data)
    }

    /// Fills `buf` from `offset` on, and returns how much there was before the end of the file.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.content.read_at(offset, buf)
    }

    /// Sends what was written on its way to the disk, without waiting: a large restore does not end in one long sync.
    pub fn write_behind(&self) {
        // Only a hint; a file system that does not know it loses nothing.
        let _ = rustix::fs::fadvise(self.content.fd(), 0, None, rustix::fs::Advice::DontNeed);
    }

    /// Cuts or extends the file; what is added reads as zeros.
    pub fn set_len(&self, size: u64) -> Result<()> {
        self.content.set_len(size)
    }

    /// Sets the attributes, then gives the file its name. What has the name is an error, or replaced with `replace`; a
    /// folder is always an error. After an error the file is left as by [`PartialFile::fail`].
    pub fn finish(self, attributes: &Attributes<'_>, replace: bool) -> Result<Vec<Warning>> {
        let result = self.try_finish(attributes, replace);
        if result.is_err() {
            self.leave();
        }
        result
    }

    fn try_finish(&self, attributes: &Attributes<'_>, replace: bool) -> Result<Vec<Warning>> {
        let shared = &*self.shared;
        let warnings = Handle::Open(self.content.fd())
            .apply(attributes, &shared.options)
            .map_err(|errno| shared.error(&self.path, errno))?;
        let mut present = self.slot.name();
        let (Some(from), Some((_, to))) = (present.take(), self.path.split()) else {
            return Err(shared.error(&self.path, Errno::NOENT));
        };
        match self.give_name(&from, to, replace) {
            Ok(()) => shared.names.end(&self.slot, &from),
            Err(error) => {
                *present = Some(from);
                return Err(error);
            }
        }
        Ok(warnings)
    }

    fn give_name(&self, from: &[u8], to: &[u8], replace: bool) -> Result<()> {
        let shared = &*self.shared;
        let folder = &self.slot.folder;
        let place = Place { folder: Arc::clone(folder), name: to, path: &self.path };
        for _ in 0..TRIES {
            match rename_new(folder, from, to) {
                Err(Errno::EXIST) => {}
                result => return result.map_err(|errno| shared.error(&self.path, errno)),
            }
            let Some(stat) = shared.look(&place)? else { continue };
            shared.check_spelling(&place)?;
            let obstacle = Obstacle::of(&stat);
            if !replace || obstacle == Obstacle::Dir {
                return Err(obstacle.error(self.content.path()));
            }
            // The name is taken over, whatever it stands for; a link is not followed.
            return rustix::fs::renameat(folder, from, folder, to)
                .map_err(|errno| shared.error(&self.path, errno));
        }
        Err(shared.error(&self.path, Errno::BUSY))
    }

    /// Gives the file up: it stays for people under the path that is returned, readable to its owner only.
    pub fn fail(self) -> PathBuf {
        self.leave()
    }

    fn leave(&self) -> PathBuf {
        // It may have its final permissions already. Should that fail it has 0600 or those of the snapshot.
        let _ = rustix::fs::fchmod(self.content.fd(), Mode::from_raw_mode(0o600));
        match self.slot.name().take() {
            Some(name) => {
                self.shared.names.leave(&self.slot, &name);
                self.content.path().with_file_name(OsStr::from_bytes(&name))
            }
            None => self.content.path().clone(),
        }
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if let Some(name) = self.slot.name().take() {
            self.shared.names.end(&self.slot, &name);
        }
    }
}

/// Makes a new file of this name; none when something has it that an earlier restore did not leave.
fn make(shared: &Shared, place: &Place<'_>, name: &[u8]) -> SysResult<Option<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..TRIES {
        match rustix::fs::openat(&place.folder, name, flags, Mode::from_raw_mode(0o600)) {
            Ok(fd) => return Ok(Some(fd)),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        match rustix::fs::statat(&place.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            // An earlier restore's, as far as can be told. Its name is taken, and nothing is ever written into it.
            Ok(stat)
                if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                    && (stat.st_nlink, stat.st_uid) == (1, shared.euid)
                    && stat.st_mode & 0o7777 == 0o600 =>
            {
                match rustix::fs::unlinkat(&place.folder, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno),
                }
            }
            Ok(_) => return Ok(None),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::BUSY)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::super::tests::{Folder, plain, rel};

    #[test]
    fn several_threads_write_one_file() {
        let folder = Folder::new();
        let file = folder.target.begin_file(&rel("f")).unwrap();
        file.set_len(4 << 20).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let file = &file;
                scope.spawn(move || {
                    for block in (thread..64).step_by(4) {
                        file.write_at(u64::from(block) << 16, &[block; 1 << 16]).unwrap();
                    }
                });
            }
        });
        let mut back = vec![0; 5 << 20];
        assert_eq!(file.read_at(0, &mut back).unwrap(), 4 << 20);
        file.finish(&plain(0o644), false).unwrap();
        assert!((0..64).all(|block| back[block << 16..(block + 1) << 16].iter().all(|&b| b == block as u8)));
    }

    #[test]
    fn nobody_else_reads_a_file_or_folder_before_it_is_finished() {
        let folder = Folder::new();
        folder.target.make_dir(&rel("d"), false).unwrap();
        assert_eq!(fs::metadata(folder.root().join("d")).unwrap().mode() & 0o7777, 0o700);
        let file = folder.target.begin_file(&rel("d/f")).unwrap();
        assert_eq!(fs::metadata(folder.root().join("d/f.partial")).unwrap().mode() & 0o7777, 0o600);
        let left = file.fail();
        assert_eq!(left, folder.root().join("d/f.partial"));
        assert_eq!(fs::metadata(left).unwrap().mode() & 0o7777, 0o600);
    }
}
