use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fs::{Fs, FsFile, Kind, Stat};
use crate::litter::ABANDONED;

/// The staging folder inside a repository, where it cannot lie beside it.
pub(super) const INSIDE: &str = ".fardel-staging";

/// How the names of copies begin that the next process goes on with.
const COPY: &str = "copy-";

/// A new name is tried this often: cleaners and processes that remove the empty folder get in the way at times.
const ATTEMPTS: u32 = 16;

/// Where files wait until they are whole.
///
/// Beside the repository (`.NAME.staging`), where a tool that copies the repository does not look; or inside it, when
/// the folder above belongs to somebody else or to another file system. Made when first needed, removed when empty.
///
/// A temporary is locked (`flock`) as long as its process lives, so one whose lock is free is litter. A lock that
/// cannot be had at all (some network file systems) counts as held. The copy of a large file that stays where it is has a
/// name of its own, by which the next process finds it and goes on with it: such a one is litter after 7 days.
#[derive(Debug)]
pub(super) struct Staging {
    fs: Arc<dyn Fs>,
    beside: Option<PathBuf>,
    inside: PathBuf,
    use_inside: AtomicBool,
    used: AtomicBool,
}

impl Staging {
    pub(super) fn new(fs: Arc<dyn Fs>, root: &Path) -> Self {
        let beside = beside(&*fs, root);
        let use_inside = AtomicBool::new(beside.is_none());
        Self { fs, beside, inside: root.join(INSIDE), use_inside, used: AtomicBool::new(false) }
    }

    /// The folder for new temporaries; it may not exist.
    pub(super) fn dir(&self) -> &Path {
        match &self.beside {
            Some(beside) if !self.use_inside.load(Ordering::Relaxed) => beside,
            _ => &self.inside,
        }
    }

    /// Whether `path` is a file that somebody put here to be taken over; the folder then goes with the last of them.
    pub(super) fn adopts(&self, path: &Path) -> bool {
        let here = self.folders().any(|folder| path.starts_with(folder));
        self.used.fetch_or(here, Ordering::Relaxed);
        here
    }

    /// Gives up the folder beside the repository; `false` when that was done before.
    pub(super) fn move_inside(&self) -> bool {
        !self.use_inside.swap(true, Ordering::Relaxed)
    }

    /// Makes the folder if need be.
    pub(super) fn make(&self) -> io::Result<()> {
        self.used.store(true, Ordering::Relaxed);
        let dir = self.dir();
        match self.fs.mkdir(dir, dir != self.inside) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// A new, empty, locked file.
    pub(super) fn create(&self) -> io::Result<Temporary> {
        self.used.store(true, Ordering::Relaxed);
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let random = getrandom::u64().map_err(io::Error::other)?;
            let path = self.dir().join(format!("put-{}-{random:016x}.tmp", std::process::id()));
            match self.fs.create_new(&path) {
                Ok(file) => {
                    let temporary = Temporary::new(&self.fs, path, file);
                    if temporary.keep_from_cleaners()? {
                        return Ok(temporary);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.make()?;
                    last = Some(error);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last
            .unwrap_or_else(|| io::Error::other("every temporary file was removed by somebody else at once")))
    }

    /// Where the copy of a file with this hash grows, so that the next process goes on with it.
    pub(super) fn copy_path(&self, hash: &blake3::Hash) -> PathBuf {
        self.dir().join(format!("{COPY}{hash}.tmp"))
    }

    /// The copy at this path that an earlier process left, or an empty one, locked; `None` when another process is at it, or nobody
    /// can tell.
    pub(super) fn take_up(&self, path: PathBuf) -> io::Result<Option<Temporary>> {
        self.make()?;
        let file = match self.fs.create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.fs.open_locked(&path)?,
            created => Some(created?),
        };
        let Some(file) = file else { return Ok(None) };
        let mut temporary = Temporary::new(&self.fs, path, file);
        temporary.ours = false;
        // One with a second name is published already: it is never written to again.
        let is_mine = matches!(temporary.file.try_lock(), Ok(true))
            && temporary.file.stat()?.links <= 1
            && temporary.keep_from_cleaners()?;
        temporary.ours = is_mine;
        Ok(is_mine.then_some(temporary))
    }

    /// Removes what dead processes left. Best effort: a reader of a read-only disk has nothing to clean.
    pub(super) fn clean(&self) {
        for folder in self.folders() {
            if self.fs.stat(folder).is_ok_and(|stat| stat.kind == Kind::Dir) {
                self.used.store(true, Ordering::Relaxed);
                // Names first: some file systems skip entries when others go while they are read.
                let names = self.fs.read_dir(folder).into_iter().flatten().filter_map(Result::ok);
                let names: Vec<OsString> =
                    names.map(|entry| entry.name).filter(|name| is_ours(name)).collect();
                for name in names {
                    self.remove_litter(&folder.join(name));
                }
            }
        }
    }

    fn remove_litter(&self, path: &Path) {
        let Ok(Some(file)) = self.fs.open_locked(path) else { return };
        // We hold the lock of this file; the name might by now be that of another.
        if let (Ok(held), Ok(named)) = (file.stat(), self.fs.stat(path))
            && held.is_same_file(&named)
            && (!is_copy(path) || held.links > 1 || is_old(&held))
        {
            let _ = self.fs.unlink(path);
        }
    }

    /// Removes the folders that hold nothing, if they were used.
    pub(super) fn remove_empty(&self) {
        if self.used.load(Ordering::Relaxed) {
            for folder in self.folders() {
                // Fails as it should while there is something in it.
                let _ = self.fs.rmdir(folder);
            }
        }
    }

    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.beside.iter().chain([&self.inside])
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.remove_empty();
    }
}

/// The folder beside `root`, if files there could be renamed into the repository and nobody else can meddle with them.
fn beside(fs: &dyn Fs, root: &Path) -> Option<PathBuf> {
    let (parent, name) = (root.parent()?, root.file_name()?);
    let above = fs.stat(parent).ok()?;
    if fs.stat(root).is_ok_and(|root| root.dev != above.dev) {
        return None;
    }
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".staging");
    let path = parent.join(hidden);
    match fs.stat(&path) {
        Ok(stat) => stat.kind == Kind::Dir && stat.dev == above.dev && stat.owner == fs.user(),
        Err(_) => fs.may_write(parent),
    }
    .then_some(path)
}

fn is_ours(name: &OsStr) -> bool {
    let ours = |name: &str| (name.starts_with("put-") || name.starts_with(COPY)) && name.ends_with(".tmp");
    name.to_str().is_some_and(ours)
}

fn is_copy(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(COPY))
}

fn is_old(stat: &Stat) -> bool {
    let age = stat.modified.and_then(|modified| modified.elapsed().ok());
    age.is_some_and(|age| age.as_secs() > ABANDONED)
}

/// A file that is being written; removed when dropped, unless it was published.
#[derive(Debug)]
pub(super) struct Temporary {
    fs: Arc<dyn Fs>,
    pub(super) path: PathBuf,
    pub(super) file: Box<dyn FsFile>,
    ours: bool,
}

impl Temporary {
    fn new(fs: &Arc<dyn Fs>, path: PathBuf, file: Box<dyn FsFile>) -> Self {
        Self { fs: fs.clone(), path, file, ours: true }
    }

    /// Locks the file; `false` when a cleaner got hold of it between its making and its locking.
    fn keep_from_cleaners(&self) -> io::Result<bool> {
        // An error means that there are no locks here: then nobody cleans either.
        if let Ok(false) = self.file.try_lock() {
            return Ok(false);
        }
        let held = self.file.stat()?;
        match self.fs.stat(&self.path) {
            Ok(named) => Ok(named.ino == held.ino),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes all of `bytes`, in as many steps as it takes.
    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => bytes = &bytes[taken..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// It stays: it has its final name now, or the next process goes on with it.
    pub(super) fn keep(mut self) {
        self.ours = false;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.ours {
            let _ = self.fs.unlink(&self.path);
        }
    }
}
