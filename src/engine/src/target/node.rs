//! Symbolic links, hard links, pipes and devices.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev};
use rustix::io::Errno;

use super::attributes::{Attributes, Handle};
use super::beneath::Place;
use super::rel_path::RelPath;
use super::warning::Warning;
use super::{Shared, SysResult, TRIES, Target};
use crate::Result;

/// What became of something that is not a file or folder.
#[derive(Debug)]
pub enum Placed {
    /// It is there.
    Made(Vec<Warning>),
    /// It is not there.
    Skipped(Skipped),
}

/// Why something was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Skipped {
    /// Device nodes are made on request only.
    #[error("device nodes are restored on request only")]
    Device,
    /// The file system or the system does not let us. A hard link can be replaced by a copy.
    #[error("the target cannot hold it: {0}")]
    Unsupported(io::Error),
}

impl Target {
    /// Makes a symbolic link, wherever it points. With `replace` what has its name is removed before, a folder never.
    /// Links are to be made last, so that none is in the way of a file.
    pub fn symlink(
        &self,
        path: &RelPath,
        target: &[u8],
        attributes: &Attributes<'_>,
        replace: bool,
    ) -> Result<Placed> {
        self.shared.node(path, FileType::Symlink, attributes, replace, |place| {
            rustix::fs::symlinkat(target, &place.folder, place.name)
        })
    }

    /// Makes a named pipe; `replace` as for a symbolic link.
    pub fn fifo(&self, path: &RelPath, attributes: &Attributes<'_>, replace: bool) -> Result<Placed> {
        self.shared.node(path, FileType::Fifo, attributes, replace, |place| {
            rustix::fs::mknodat(&place.folder, place.name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        })
    }

    /// Makes a block or character device, if [`TargetOptions::devices`](super::TargetOptions::devices) asks for
    /// them; `replace` as for a symbolic link.
    pub fn device(
        &self,
        path: &RelPath,
        block: bool,
        (major, minor): (u32, u32),
        attributes: &Attributes<'_>,
        replace: bool,
    ) -> Result<Placed> {
        if !self.shared.options.devices {
            return Ok(Placed::Skipped(Skipped::Device));
        }
        let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
        self.shared.node(path, kind, attributes, replace, |place| {
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(&place.folder, place.name, kind, mode, makedev(major, minor))
        })
    }

    /// Gives what was restored at `existing` a second name; `replace` as for a symbolic link. A link is not followed,
    /// so nothing outside the target can get a name in it. Attributes are those of the first name.
    pub fn hard_link(&self, existing: &RelPath, path: &RelPath, replace: bool) -> Result<Placed> {
        let shared = &*self.shared;
        let from = shared.beneath.place(existing)?;
        let place = shared.place(path)?;
        for _ in 0..TRIES {
            match rustix::fs::linkat(&from.folder, from.name, &place.folder, place.name, AtFlags::empty()) {
                Ok(()) => return Ok(Placed::Made(Vec::new())),
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Err(shared.error(existing, Errno::NOENT)),
                Err(errno) => return unsupported(shared, path, errno),
            }
            if let (Some(a), Some(b)) = (shared.look(&from)?, shared.look(&place)?)
                && (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
            {
                shared.check_spelling(&place)?;
                return Ok(Placed::Made(Vec::new()));
            }
            shared.clear(&place, replace)?;
        }
        Err(shared.error(path, Errno::BUSY))
    }
}

impl Shared {
    fn node(
        &self,
        path: &RelPath,
        kind: FileType,
        attributes: &Attributes<'_>,
        replace: bool,
        make: impl Fn(&Place<'_>) -> SysResult<()>,
    ) -> Result<Placed> {
        let place = self.place(path)?;
        for _ in 0..TRIES {
            match make(&place) {
                Ok(()) => {
                    let fd = self.reopen(&place, kind).map_err(|errno| self.error(path, errno))?;
                    return Handle::node(fd.as_fd(), kind == FileType::Symlink)
                        .apply(attributes, &self.options)
                        .map(Placed::Made)
                        .map_err(|errno| self.error(path, errno));
                }
                Err(Errno::EXIST) => self.clear(&place, replace)?,
                Err(errno) => return unsupported(self, path, errno),
            }
        }
        Err(self.error(path, Errno::BUSY))
    }

    /// Opens what was just made, as a handle for its attributes. Who swapped it for a link to something else does not
    /// get that something's owner changed.
    fn reopen(&self, place: &Place<'_>, kind: FileType) -> SysResult<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&place.folder, place.name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        let ours =
            FileType::from_raw_mode(stat.st_mode) == kind && stat.st_nlink == 1 && stat.st_uid == self.euid;
        if ours { Ok(fd) } else { Err(Errno::STALE) }
    }
}

fn unsupported(shared: &Shared, path: &RelPath, errno: Errno) -> Result<Placed> {
    match errno {
        Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::XDEV => {
            Ok(Placed::Skipped(Skipped::Unsupported(errno.into())))
        }
        errno => Err(shared.error(path, errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Folder, rel};
    use super::*;
    use std::fs;

    #[test]
    fn attributes_of_a_node_do_not_go_to_what_was_put_in_its_place() {
        let folder = Folder::new();
        let (victim, path) = (folder.dir().join("victim"), folder.root().join("link"));
        fs::write(&victim, "victim").unwrap();
        let name = rel("link");
        let place = folder.target.shared.beneath.place(&name).unwrap();
        let reopen = |kind| folder.target.shared.reopen(&place, kind);
        std::os::unix::fs::symlink("x", &path).unwrap();
        assert!(reopen(FileType::Symlink).is_ok());
        assert!(reopen(FileType::Fifo).is_err());
        fs::remove_file(&path).unwrap();
        fs::hard_link(&victim, &path).unwrap();
        assert!(reopen(FileType::RegularFile).is_err(), "it has another name");
    }
}
