//! What lies where something is to be made.

use std::io;
use std::path::Path;

use rustix::fs::{FileType, Stat};

use crate::Error;

/// What kind of thing is at a name in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A pipe, socket or device.
    Special,
}

impl Obstacle {
    pub(super) fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Dir,
            FileType::Symlink => Self::Symlink,
            _ => Self::Special,
        }
    }

    /// The error that names it.
    pub(super) fn error(self, path: impl AsRef<Path>) -> Error {
        let (kind, what) = match self {
            Self::File => (io::ErrorKind::AlreadyExists, "a file is in the way"),
            Self::Dir => (io::ErrorKind::IsADirectory, "a folder is in the way"),
            Self::Symlink => {
                (io::ErrorKind::AlreadyExists, "a symbolic link is in the way, and is not followed")
            }
            Self::Special => (io::ErrorKind::AlreadyExists, "a special file is in the way"),
        };
        Error::io(path, io::Error::new(kind, what))
    }
}
