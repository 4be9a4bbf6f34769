use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::fs::{Fs, Stat};

/// Gives finished files their final names without replacing anything, in the best way that the file system knows.
#[derive(Debug)]
pub(super) struct Publisher {
    fs: Arc<dyn Fs>,
    /// Index of the best way in [`WAYS`] that worked.
    way: AtomicU8,
    /// Makes the last way exclusive at least within this process.
    checking: Mutex<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// `renameat2` with `RENAME_NOREPLACE`.
    NoReplace,
    /// A second name, then the first one is removed. NFS has no other way, exFAT not even this.
    Link,
    /// Look, then rename. Two processes that do it at once may both succeed: the later one's bytes stay. Names carry the
    /// hash of the bytes, so this needs equal bytes or a damaged repository.
    Look,
}

const WAYS: [Way; 3] = [Way::NoReplace, Way::Link, Way::Look];

impl Publisher {
    pub(super) fn new(fs: Arc<dyn Fs>) -> Self {
        Self { fs, way: AtomicU8::new(0), checking: Mutex::new(()) }
    }

    /// The best way that is known to work here.
    pub(super) fn way(&self) -> Way {
        WAYS[usize::from(self.way.load(Ordering::Relaxed))]
    }

    /// Names the file at `from`, which is `file`, `to`; [`io::ErrorKind::AlreadyExists`] when that name is taken.
    ///
    /// A name that turns out to be this very file counts as success whatever the answer was: NFS repeats a request
    /// whose answer got lost, and then reports that the name exists.
    pub(super) fn publish(&self, from: &Path, file: &Stat, to: &Path) -> io::Result<()> {
        let mut way = self.way.load(Ordering::Relaxed);
        loop {
            let done = match WAYS[usize::from(way)] {
                Way::NoReplace => self.fs.rename_noreplace(from, to),
                Way::Link => self.fs.link(from, to),
                Way::Look => self.look_and_rename(from, to),
            };
            match done {
                Err(error) if self.fs.stat(to).is_ok_and(|there| there.is_same_file(file)) => drop(error),
                Err(error) if is_refused(&error) && usize::from(way) + 1 < WAYS.len() => {
                    way += 1;
                    continue;
                }
                done => done?,
            }
            // Only a way that worked is remembered: the refusal may have been about this one file.
            self.way.fetch_max(way, Ordering::Relaxed);
            if WAYS[usize::from(way)] != Way::NoReplace {
                // The file is published; a first name that stays is litter, and cleaned up as such.
                let _ = self.fs.unlink(from);
            }
            return Ok(());
        }
    }

    fn look_and_rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _alone = self.checking.lock().expect("never poisoned");
        match self.fs.stat(to) {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.fs.rename(from, to),
            Err(error) => Err(error),
        }
    }

    /// Takes a name back that [`Publisher::publish`] gave: the file is at `from` again.
    pub(super) fn withdraw(&self, to: &Path, from: &Path) -> io::Result<()> {
        // Renaming one name of a file to another of the same file does nothing at all.
        if self.fs.stat(from).is_ok() { self.fs.unlink(to) } else { self.fs.rename(to, from) }
    }
}

fn is_refused(error: &io::Error) -> bool {
    const REFUSED: [Errno; 4] = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM];
    REFUSED.iter().any(|refused| error.raw_os_error() == Some(refused.raw_os_error()))
}
