use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Access, CWD, OFlags, RenameFlags, SeekFrom};

use super::fs::{DirEntry, Entries, Fs, FsFile, Kind, Medium, Space, Stat};

/// Numbers of file systems (`statfs`) whose folders live on another machine, from `linux/magic.h`.
const NETWORK: [u32; 7] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x5346_414f, 0x6b41_4653];
/// The number of FUSE file systems.
const FUSE: u32 = 0x6573_5546;
/// The numbers of tmpfs and ramfs.
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// Smaller files may lie in the folder itself, without a block of their own.
const SMALLEST_SPARSE: u64 = 64 << 10;

/// The file systems of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

#[derive(Debug)]
struct RealFile(File);

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// Opens without following a link or waiting for a pipe, and refuses what is not a regular file.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Box<RealFile>> {
    let file = options.custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(Box::new(RealFile(file)))
}

fn stat_of(metadata: &Metadata) -> Stat {
    Stat {
        kind: kind_of(metadata.file_type()),
        size: metadata.len(),
        dev: metadata.dev(),
        ino: metadata.ino(),
        owner: metadata.uid(),
        links: metadata.nlink(),
        modified: metadata.modified().ok(),
    }
}

fn kind_of(kind: fs::FileType) -> Kind {
    if kind.is_file() {
        Kind::File
    } else if kind.is_dir() {
        Kind::Dir
    } else {
        Kind::Other
    }
}

/// `None` for an entry that vanished while the folder was read.
fn entry_of(entry: io::Result<fs::DirEntry>) -> Option<io::Result<DirEntry>> {
    let describe = |entry: fs::DirEntry| {
        let kind = kind_of(entry.file_type()?);
        let size = match kind {
            Kind::Dir => 0,
            Kind::File => here(&entry.path(), &entry.metadata()?),
            Kind::Other => entry.metadata()?.len(),
        };
        Ok(DirEntry { name: entry.file_name(), kind, size })
    };
    match entry.and_then(describe) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entry => Some(entry),
    }
}

/// How much of a file is here: up to its first hole. Nothing that is stored has holes, so a file with one is what a tool
/// has made room for and not filled, or stands for a file that lies elsewhere. Nothing of it is read, which could fetch it.
///
/// Too few blocks are no proof (compression, blocks that are not allocated yet), and only a reason to look. A program that
/// plays file system may report any number of blocks, and reads what lies elsewhere: it is believed.
fn here(path: &Path, metadata: &Metadata) -> u64 {
    let size = metadata.len();
    if size < SMALLEST_SPARSE || metadata.blocks().saturating_mul(512) >= size {
        return size;
    }
    let first_hole = || {
        let file = open(path, OpenOptions::new().read(true)).ok()?.0;
        if rustix::fs::fstatfs(&file).ok()?.f_type as u32 == FUSE {
            return None;
        }
        rustix::fs::seek(&file, SeekFrom::Hole(0)).ok()
    };
    first_hole().map_or(size, |hole| hole.min(size))
}

impl Fs for RealFs {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        Ok(open(path, OpenOptions::new().read(true))?)
    }

    fn open_locked(&self, path: &Path) -> io::Result<Option<Box<dyn FsFile>>> {
        // For writing too: NFS gives an exclusive lock on nothing less.
        let file = open(path, OpenOptions::new().read(true).write(true))?;
        Ok(if file.try_lock()? { Some(file) } else { None })
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the ladder's last resort, after looking; and taking a name back"
    )]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn mkdir(&self, path: &Path, private: bool) -> io::Result<()> {
        DirBuilder::new().mode(if private { 0o700 } else { 0o777 }).create(path)
    }

    fn rmdir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().read(true).custom_flags(flags(OFlags::DIRECTORY)).open(path)?.sync_all()
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(path)?)?)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Entries> {
        Ok(Box::new(fs::read_dir(path)?.filter_map(entry_of)))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(stat_of(&fs::symlink_metadata(path)?))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let v = rustix::fs::statvfs(path)?;
        Ok(Space {
            total_bytes: v.f_blocks.saturating_mul(v.f_frsize),
            free_bytes: v.f_bavail.saturating_mul(v.f_frsize),
            free_inodes: if v.f_files == 0 { None } else { Some(v.f_favail) },
        })
    }

    fn medium(&self, path: &Path) -> io::Result<Medium> {
        #[allow(clippy::cast_possible_truncation, reason = "the numbers are 32 bits wide, the field is not")]
        let number = rustix::fs::statfs(path)?.f_type as u32;
        Ok(match number {
            FUSE => Medium::Fuse,
            _ if MEMORY.contains(&number) => Medium::Memory,
            _ if NETWORK.contains(&number) => Medium::Network,
            _ => Medium::Local,
        })
    }

    fn may_write(&self, path: &Path) -> bool {
        rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    }

    fn user(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn is_real(&self) -> bool {
        true
    }
}

impl FsFile for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)?;
        self.0.seek(io::SeekFrom::Start(len)).map(drop)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(stat_of(&self.0.metadata()?))
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
