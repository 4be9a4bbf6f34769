//! What the file system says about one file.

use std::path::Path;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// A point in time as the file system keeps it: `secs` since 1970 (negative before), plus `nanos`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub secs: i64,
    /// Nanoseconds after `secs`, below 1,000,000,000.
    pub nanos: u32,
}

/// What kind of file it is, with what belongs to the kind alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink {
        /// Where it points, uninterpreted.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device node.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A character device node.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// Names one file on this machine: two equal ids are one inode, as long as it is not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number in it.
    pub inode: u64,
}

impl FileId {
    /// The id of what `path` leads to, symbolic links followed.
    pub fn of(path: &Path) -> Result<FileId> {
        let stat = rustix::fs::stat(path).map_err(|e| Error::os(path, "cannot look at it", e))?;
        Ok(FileId::from_stat(&stat))
    }

    pub(crate) fn from_stat(stat: &Stat) -> FileId {
        FileId { dev: stat.st_dev as _, inode: stat.st_ino as _ }
    }
}

/// The metadata of one file, from one `stat` call (and one `readlink` for a symbolic link).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// What kind of file.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes, as the file system gives it.
    pub size: u64,
    /// Allocated blocks of 512 bytes.
    pub blocks: u64,
    /// When the content was last changed, as its owner likes to have it.
    pub mtime: Time,
    /// When content or metadata last changed, by the kernel's clock.
    pub ctime: Time,
    /// Inode number.
    pub inode: u64,
    /// Device of the file system.
    pub dev: u64,
    /// Hard links.
    pub links: u64,
}

impl Meta {
    /// The identity of the file, to find hard links and to recognise a file that was replaced.
    pub fn id(&self) -> FileId {
        FileId { dev: self.dev, inode: self.inode }
    }

    /// Whether it is a folder.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// Everything but the target of a symbolic link, which `link` supplies when there is one.
    pub(crate) fn from_stat(
        stat: &Stat,
        link: impl FnOnce() -> Result<Vec<u8>, Errno>,
    ) -> Result<Meta, Errno> {
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Symlink { target: link()? },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            _ => return Err(Errno::OPNOTSUPP),
        };
        let FileId { dev, inode } = FileId::from_stat(stat);
        Ok(Meta {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            mtime: time(stat.st_mtime as _, stat.st_mtime_nsec as _),
            ctime: time(stat.st_ctime as _, stat.st_ctime_nsec as _),
            inode,
            dev,
            links: stat.st_nlink as _,
        })
    }

    /// As [`Meta::from_stat`] for a descriptor of something that is not a symbolic link.
    pub(crate) fn of_fd(fd: impl std::os::fd::AsFd) -> Result<Meta, Errno> {
        let stat = rustix::fs::fstat(fd)?;
        Meta::from_stat(&stat, || Ok(Vec::new()))
    }
}

fn time(secs: i64, nanos: u64) -> Time {
    Time { secs, nanos: u32::try_from(nanos).unwrap_or(0).min(999_999_999) }
}
