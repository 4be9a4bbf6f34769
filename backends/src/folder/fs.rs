use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// What the folder store needs of a file system; thin, so that a simulated one can stand in for it.
///
/// Paths are absolute. Nothing follows a symbolic link in the last component. Errors carry the number of the operating
/// system ([`io::Error::raw_os_error`]) where there is one.
pub trait Fs: Send + Sync + Debug + 'static {
    /// Makes a file that was not there, open for writing and reading.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;

    /// Opens a regular file for reading; anything else is refused with [`io::ErrorKind::InvalidInput`].
    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;

    /// Opens a regular file and locks it; `None` when somebody else holds its lock.
    fn open_locked(&self, path: &Path) -> io::Result<Option<Box<dyn FsFile>>>;

    /// Renames without replacing what is there (`RENAME_NOREPLACE`).
    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name that was free.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name that is not a folder.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Makes one folder; `private` for its owner only.
    fn mkdir(&self, path: &Path, private: bool) -> io::Result<()>;

    /// Removes an empty folder.
    fn rmdir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes everything on the file system of `path` durable.
    fn sync_all(&self, path: &Path) -> io::Result<()>;

    /// The entries of a folder, one after the other; not a copy of the folder in memory.
    fn read_dir(&self, path: &Path) -> io::Result<Entries>;

    /// What `path` names; a symbolic link is not followed.
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// Free space of the file system that `path` lies on.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// On what kind of file system `path` lies.
    fn medium(&self, path: &Path) -> io::Result<Medium>;

    /// Whether this user may make and remove names in a folder.
    fn may_write(&self, path: &Path) -> bool;

    /// The user this process acts as, who owns what it makes.
    fn user(&self) -> u32;

    /// Whether paths are those of this machine, and calls may block.
    fn is_real(&self) -> bool;
}

/// An open file; its lock is free once it is dropped.
pub trait FsFile: Send + Sync + Debug {
    /// Appends bytes and says how many were taken.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Takes away what lies behind the first `len` bytes; what is written next comes there.
    fn cut(&mut self, len: u64) -> io::Result<()>;

    /// Makes contents and length durable.
    fn sync_all(&self) -> io::Result<()>;

    /// Reads from `offset` and says how many bytes came; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// What the file is.
    fn stat(&self) -> io::Result<Stat>;

    /// Takes the lock of the file if it is free.
    fn try_lock(&self) -> io::Result<bool>;
}

/// The entries of a folder as they are read.
pub type Entries = Box<dyn Iterator<Item = io::Result<DirEntry>> + Send>;

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Name in the folder; any bytes.
    pub name: OsString,
    /// What it is.
    pub kind: Kind,
    /// Length in bytes, of a file up to its first hole where the file system tells; of a symbolic link: of the link itself.
    pub size: u64,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link, device, socket or pipe.
    Other,
}

/// What a name or an open file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes.
    pub size: u64,
    /// Number of the file system.
    pub dev: u64,
    /// Number of the file on it.
    pub ino: u64,
    /// Who owns it.
    pub owner: u32,
    /// How many names it has, where the file system tells.
    pub links: u64,
    /// When its contents were changed, where the file system tells.
    pub modified: Option<SystemTime>,
}

impl Stat {
    /// Whether both are the same file, for sure.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.ino != 0 && (self.dev, self.ino, self.size) == (other.dev, other.ino, other.size)
    }
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Files that may still be made; `None` where the file system does not tell (btrfs: `f_files` is 0).
    pub free_inodes: Option<u64>,
}

/// On what kind of file system a folder lies, as far as promises depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A disk of this machine.
    Local,
    /// The memory of this machine: gone with the next start.
    Memory,
    /// A mount from another machine (NFS, SMB, 9p): its folders may be cached here, and listings lag behind.
    Network,
    /// A program plays file system: it may say that it synced when nothing is stored, and it may cache listings.
    Fuse,
}
