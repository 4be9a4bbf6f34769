use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::fs::{Fs, Medium};
use crate::made::Made;

/// More folders than this are made durable by one sync of the whole file system.
const SYNC_ONE_BY_ONE: usize = 64;

/// The folders of a repository: makes them, and makes what they hold durable.
#[derive(Debug)]
pub(super) struct Dirs {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    /// Folders whose own name is known to be durable. Another process may have made a folder and died before it synced
    /// the one above, so a folder that merely exists is not among them.
    durable: Mutex<HashSet<PathBuf>>,
    /// Folders that a listing showed since the last object was published.
    seen: Mutex<BTreeSet<PathBuf>>,
    /// Folders that could not be synced. The system now takes their changes for stored, and a second sync would succeed
    /// without having done anything; so nothing that depends on it is believed any more in this process.
    distrusted: Mutex<HashSet<PathBuf>>,
    unproven: AtomicBool,
    made: Made<PathBuf>,
}

impl Dirs {
    pub(super) fn new(fs: Arc<dyn Fs>, root: &Path, medium: Medium) -> Self {
        Self {
            fs,
            root: root.to_owned(),
            durable: Mutex::default(),
            seen: Mutex::default(),
            distrusted: Mutex::default(),
            unproven: AtomicBool::new(medium == Medium::Fuse),
            made: Made::default(),
        }
    }

    /// Whether syncing was refused or cannot be trusted here.
    pub(super) fn is_unproven(&self) -> bool {
        self.unproven.load(Ordering::Relaxed)
    }

    /// Makes `dir` and all above it, durably.
    pub(super) fn make(&self, dir: &Path) -> io::Result<()> {
        if self.durable.lock().expect("never poisoned").contains(dir) {
            return Ok(());
        }
        if let Some(parent) = dir.parent() {
            if dir != self.root && dir.starts_with(&self.root) {
                self.make(parent)?;
                self.make_one(dir, parent)?;
            } else {
                self.make_top(dir, parent)?;
            }
        }
        self.durable.lock().expect("never poisoned").insert(dir.to_owned());
        Ok(())
    }

    fn make_one(&self, dir: &Path, parent: &Path) -> io::Result<()> {
        match self.fs.mkdir(dir, false) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            made => {
                if made.is_ok() {
                    self.made.note(dir.to_owned());
                }
                self.sync_others(parent)
            }
        }
    }

    /// Removes the folders that were made here and hold nothing.
    pub(super) fn remove_made(&self) -> io::Result<()> {
        self.forget();
        for dir in self.made.take() {
            match self.fs.rmdir(&dir) {
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                    ) =>
                {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the root or a folder above it. What is there already was made by somebody else; only the name of the root
    /// itself is made durable then, as far as we may.
    fn make_top(&self, dir: &Path, parent: &Path) -> io::Result<()> {
        match self.fs.stat(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make(parent)?;
                self.make_one(dir, parent)
            }
            Err(error) => Err(error),
            Ok(_) if dir != self.root => Ok(()),
            Ok(_) => match self.sync_others(parent) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            },
        }
    }

    /// Forgets which folders are durable: one of them was found missing.
    pub(super) fn forget(&self) {
        self.durable.lock().expect("never poisoned").clear();
    }

    /// Makes durable what others may have changed in `dir`, or says for ever after that it is not.
    pub(super) fn sync_others(&self, dir: &Path) -> io::Result<()> {
        if self.distrusted.lock().expect("never poisoned").contains(dir) {
            let what =
                "could not be synced before, so what it holds may be lost: check the disk, then start again";
            return Err(io::Error::other(format!("{}: {what}", dir.display())));
        }
        let synced = self.sync(dir);
        if synced.as_ref().is_err_and(|error| {
            !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        }) {
            self.distrust(dir);
        }
        synced
    }

    /// From now on nothing is believed of `dir` but what is changed there anew.
    pub(super) fn distrust(&self, dir: &Path) {
        self.distrusted.lock().expect("never poisoned").insert(dir.to_owned());
    }

    /// Makes the names in `dir` durable that the caller just changed, or remembers that this file system does not let
    /// us. After a failure the change has to be made again before the next sync.
    pub(super) fn sync(&self, dir: &Path) -> io::Result<()> {
        self.degrade(self.fs.sync_dir(dir))
    }

    fn degrade(&self, synced: io::Result<()>) -> io::Result<()> {
        const REFUSED: [Errno; 5] = [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS, Errno::BADF, Errno::NOTTY];
        match synced {
            Err(error) if REFUSED.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error())) => {
                self.unproven.store(true, Ordering::Relaxed);
                Ok(())
            }
            synced => synced,
        }
    }

    /// Notes that a listing shows what `dir` holds.
    pub(super) fn saw(&self, dir: &Path) {
        self.seen.lock().expect("never poisoned").insert(dir.to_owned());
    }

    /// Makes durable what listings showed, so that nothing published from now on can outlive it.
    pub(super) fn settle_seen(&self) -> io::Result<()> {
        // Held while syncing: others must not publish before it is done.
        let mut seen = self.seen.lock().expect("never poisoned");
        if seen.len() > SYNC_ONE_BY_ONE {
            if let Err(error) = self.degrade(self.fs.sync_all(&self.root)) {
                seen.iter().for_each(|dir| self.distrust(dir));
                return Err(error);
            }
            seen.clear();
        }
        while let Some(dir) = seen.first() {
            match self.settle(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => seen.pop_first(),
            };
        }
        Ok(())
    }

    fn settle(&self, dir: &Path) -> io::Result<()> {
        self.sync_others(dir)?;
        self.make(dir)
    }
}
