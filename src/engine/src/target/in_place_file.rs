//! A file that exists and is made what it was in the snapshot, so that only what differs is written.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::attributes::{Attributes, Handle};
use super::content::Content;
use super::partial_names::Slot;
use super::rel_path::RelPath;
use super::rename::rename_new;
use super::warning::Warning;
use super::{Shared, SysResult};
use crate::Result;

/// An existing file under its own name, readable to its owner only until it is finished. A crash leaves it half new.
#[derive(Debug)]
pub struct InPlaceFile {
    shared: Arc<Shared>,
    path: RelPath,
    slot: Arc<Slot>,
    content: Content,
}

impl InPlaceFile {
    pub(super) fn open(shared: &Arc<Shared>, path: &RelPath, size: u64) -> Result<Option<Self>> {
        let place = shared.place(path)?;
        // To open a device or a pipe is to act on it, so look first.
        match shared.look(&place)? {
            Some(stat) if is_harmless(&stat, shared.euid) => {}
            _ => return Ok(None),
        }
        shared.check_spelling(&place)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&place.folder, place.name, flags, Mode::empty()) {
            Ok(fd) => fd,
            // Gone or replaced meanwhile, read-only, or a program that is running: a new file takes its place.
            Err(
                Errno::NOENT
                | Errno::LOOP
                | Errno::NXIO
                | Errno::NODEV
                | Errno::ISDIR
                | Errno::ACCESS
                | Errno::PERM
                | Errno::TXTBSY,
            ) => return Ok(None),
            Err(errno) => return Err(shared.error(path, errno)),
        };
        let error = |errno| shared.error(path, errno);
        let stat = rustix::fs::fstat(&fd).map_err(error)?;
        if !is_harmless(&stat, shared.euid) {
            return Ok(None);
        }
        if stat.st_mode & 0o7777 != 0o600 {
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o600)).map_err(error)?;
        }
        let content = Content::new(fd, shared.beneath.full(path));
        if u64::try_from(stat.st_size) != Ok(size) {
            content.set_len(size)?;
        }
        let parent = path.split().map_or(&b""[..], |(parent, _)| parent);
        let slot = Slot::new(Arc::clone(&place.folder), parent, place.name);
        Ok(Some(Self { shared: Arc::clone(shared), path: path.clone(), slot, content }))
    }

    /// Fills `buf` from `offset` on, and returns how much there was before the end of the file.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.content.read_at(offset, buf)
    }

    /// Writes all of `parts` at `offset`, one after the other.
    pub fn write_all_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> Result<()> {
        self.content.write_all_at(offset, parts)
    }

    #[cfg(test)]
    pub(super) fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.content.write_at(offset, data)
    }

    /// Makes a range read as zeros, without room on the disk where the file system can. The length of the file stays.
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<()> {
        self.content.punch_hole(offset, len)
    }

    /// Cuts or extends the file; what is added reads as zeros.
    pub fn set_len(&self, size: u64) -> Result<()> {
        self.content.set_len(size)
    }

    /// Sets the attributes.
    pub fn finish(self, attributes: &Attributes<'_>) -> Result<Vec<Warning>> {
        Handle::Open(self.content.fd())
            .apply(attributes, &self.shared.options)
            .map_err(|errno| self.shared.error(&self.path, errno))
    }

    /// Gives the file up: it is renamed to `NAME.partial` for people, and its path returned. If even that fails, or
    /// somebody has put another file there, it is the path it has.
    pub fn fail(self) -> PathBuf {
        let _ = rustix::fs::fchmod(self.content.fd(), Mode::from_raw_mode(0o600));
        self.rename().unwrap_or_else(|_| self.content.path().clone())
    }

    fn rename(&self) -> SysResult<PathBuf> {
        let (folder, names) = (&self.slot.folder, &self.shared.names);
        let (_, old) = self.path.split().ok_or(Errno::INVAL)?;
        let there = rustix::fs::statat(folder, old, AtFlags::SYMLINK_NOFOLLOW)?;
        let ours = rustix::fs::fstat(self.content.fd())?;
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) {
            return Err(Errno::STALE);
        }
        let new = names.begin(&self.slot, |new| match rename_new(folder, old, new) {
            Ok(()) => Ok(Some(new.to_vec())),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(errno),
        })?;
        let path = self.content.path().with_file_name(OsStr::from_bytes(&new));
        names.leave(&self.slot, &new);
        Ok(path)
    }
}

/// Whether changing it changes nothing else: a regular file, by no other name, and no other user's to read.
fn is_harmless(stat: &Stat, euid: u32) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_nlink == 1
        && (euid == 0 || stat.st_uid == euid)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::super::tests::{Folder, meta, plain, rel};
    use super::*;

    #[test]
    fn a_file_in_place_keeps_its_inode_and_fails_by_name() {
        let folder = Folder::new();
        let path = folder.root().join("image");
        fs::write(&path, vec![1; 1 << 20]).unwrap();
        let inode = meta(&path).ino();
        let file = folder.target.open_in_place(&rel("image"), 512 << 10).unwrap().unwrap();
        file.write_at(100, b"new").unwrap();
        file.punch_hole(64 << 10, 64 << 10).unwrap();
        file.finish(&plain(0o640)).unwrap();
        let found = meta(&path);
        assert_eq!((found.ino(), found.len(), found.mode() & 0o7777), (inode, 512 << 10, 0o640));
        let content = fs::read(&path).unwrap();
        assert_eq!((&content[99..104], content[64 << 10]), (&b"\x01new\x01"[..], 0));

        let file = folder.target.open_in_place(&rel("image"), 1 << 20).unwrap().unwrap();
        assert_eq!(file.fail(), folder.root().join("image.partial"));
        assert!(!path.exists());
        let found = meta(folder.root().join("image.partial"));
        assert_eq!((found.ino(), found.mode() & 0o7777), (inode, 0o600));
        assert!(folder.target.open_in_place(&rel("image"), 1).unwrap().is_none());
        assert_eq!(folder.target.list_dir(&RelPath::root()).unwrap(), Vec::<Vec<u8>>::new());
    }
}
