//! Where a pack lies while it is written: beside the store where it can be taken over, else in the local cache.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fardel_format::ids::Nonce;
use fardel_store::Body;

use crate::{Error, Result};

const ATTEMPTS: u32 = 16;

/// A file that is being written, removed when it is dropped.
pub struct Spooled {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Spooled {
    /// Makes an empty one in `folder`, locked, so that others can tell it from what a dead process left.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn create(folder: &Path) -> Result<Self> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match Self::try_create(folder) {
                Ok(Some(spooled)) => return Ok(spooled),
                Ok(None) => {}
                // Another process removed the folder while it was empty, perhaps just when it was there already: make it again.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) =>
                {
                    last = Some(error);
                }
                Err(error) => return Err(Error::io(folder, error)),
            }
        }
        Err(Error::io(
            folder,
            last.unwrap_or_else(|| io::Error::other("somebody else removes every file made here")),
        ))
    }

    fn try_create(folder: &Path) -> io::Result<Option<Self>> {
        std::fs::create_dir_all(folder)?;
        // The name by which stores know the litter of dead processes.
        let path = folder.join(format!("put-{}-{}.tmp", std::process::id(), Nonce::random()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        // A cleaner may have come between the making and the locking: it removes the file, or has its lock and is about to.
        // Where locks are not supported nobody cleans.
        let is_taken = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        Ok((!is_taken && path.exists()).then_some(Self { file, path, len: 0 }))
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.len
    }

    /// The body to store. The lock is held until this is dropped, so it must outlive the request.
    #[must_use]
    pub fn body(&self) -> Body {
        Body::File { path: self.path.clone(), len: self.len }
    }
}

impl Write for Spooled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        // After a successful request the store has moved it away.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[test]
    fn a_folder_that_comes_and_goes_hinders_nobody() {
        const ALL: usize = 20_000;
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("spool");
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            // Another process removes the folder when it is empty, once for each file that is made.
            scope.spawn(|| {
                for number in 0..ALL {
                    while made.load(SeqCst) <= number && std::fs::remove_dir(&folder).is_err() {}
                    while made.load(SeqCst) <= number {
                        std::hint::spin_loop();
                    }
                }
            });
            let failed = (0..ALL).find_map(|number| {
                let error = Spooled::create(&folder).err();
                made.fetch_add(1, SeqCst);
                error.map(|error| format!("{error}, at {number}"))
            });
            made.store(ALL, SeqCst);
            assert_eq!(failed, None);
        });
    }

    #[test]
    fn what_was_made_is_taken_for_litter_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (passes, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            // Another process removes whatever nobody has locked.
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
                        let file = OpenOptions::new().read(true).write(true).open(entry.path());
                        if let Ok(file) = file
                            && file.try_lock().is_ok()
                            && entry.metadata().is_ok()
                        {
                            let _ = std::fs::remove_file(entry.path());
                        }
                    }
                    passes.fetch_add(1, SeqCst);
                }
            });
            let gone = (0..20_000).find(|_| {
                let spooled = Spooled::create(folder.path()).unwrap();
                let before = passes.load(SeqCst);
                while passes.load(SeqCst) < before + 2 {
                    std::hint::spin_loop();
                }
                !spooled.path().exists()
            });
            is_over.store(true, SeqCst);
            assert_eq!(gone, None);
        });
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_told() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("spool");
        std::fs::write(&folder, b"").unwrap();
        let error = Spooled::create(&folder).err().expect("nothing can be made in a file");
        assert!(error.to_string().contains("spool: File exists"), "{error}");
    }
}
