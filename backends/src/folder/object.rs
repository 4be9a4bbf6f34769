use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use fardel_store::{Body, ByteRange, Error, ErrorKind, Kept, Key, Result};

use super::copying::{Copying, open_body, read_exact};
use super::dirs::Dirs;
use super::fs::{Fs, FsFile, Medium, Stat};
use super::guard::{Guard, SMALL};
use super::publish::Publisher;
use super::staging::{Staging, Temporary};

/// A body that could not be made durable is written again into a fresh temporary, up to so many times in all.
const ATTEMPTS: u32 = 3;

/// Copies of more bytes than this are gone on with by the next process.
const RESUMED: u64 = 8 << 20;

/// The objects of a folder, one call after the other; [`super::FolderStore`] makes a store of it.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) root: PathBuf,
    pub(super) medium: Medium,
    pub(super) dirs: Arc<Dirs>,
    pub(super) staging: Staging,
    pub(super) guard: Guard,
    pub(super) publisher: Publisher,
    /// Files of the caller whose sync failed. Their pages now look clean to the system though they are not stored, so a
    /// second sync would succeed without having done anything.
    pub(super) spoilt: Mutex<HashSet<PathBuf>>,
}

/// Why an attempt to store a body came to nothing.
pub(super) enum Failed {
    /// Another attempt with a fresh temporary may do better.
    Again(Error),
    /// It would not.
    Final(Error),
    /// The name is taken.
    Taken,
}

/// A durable file without its final name.
enum Ready {
    Temporary(Temporary, Stat),
    /// A file of the caller in the staging folder. It is held open so that no other file gets its number meanwhile.
    Adopted(PathBuf, #[expect(dead_code, reason = "held, not used")] Box<dyn FsFile>, Stat),
}

impl Ready {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(temporary, _) => &temporary.path,
            Self::Adopted(path, ..) => path,
        }
    }

    fn stat(&self) -> &Stat {
        match self {
            Self::Temporary(_, stat) | Self::Adopted(_, _, stat) => stat,
        }
    }
}

impl Objects {
    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    pub(super) fn put_new(&self, key: &Key, body: &Body) -> Result<()> {
        let name = self.path(key);
        match self.fs.stat(&name) {
            Ok(_) => return Err(self.taken(key, &name)),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(Error::io(key, &error)),
        }
        let mut adopt = matches!(body, Body::File { path, .. } if self.staging.adopts(path));
        let room = if adopt { (0, 0) } else { (body.len(), 1) };
        let _admitted = self.guard.admit(&*self.fs, self.existing_part(&name), key, body.len(), room)?;
        self.make_folder(key, &name)?;
        self.dirs.settle_seen().map_err(|error| self.unsettled(key, &error))?;
        let mut attempt = 1;
        loop {
            match self.attempt(key, &name, body, &mut adopt) {
                Ok(()) => break,
                Err(Failed::Taken) => return Err(self.taken(key, &name)),
                Err(Failed::Again(_)) if attempt < ATTEMPTS => attempt += 1,
                Err(Failed::Again(error) | Failed::Final(error)) => return Err(error),
            }
        }
        if let Body::File { path, .. } = body
            && !adopt
        {
            // The object is stored; a copy that cannot be removed is only litter.
            let _ = self.fs.unlink(path);
        }
        Ok(())
    }

    /// Whether the reserve would be left with the smallest of packs in it.
    pub(super) fn check_room(&self) -> Result<()> {
        let place = self.existing_part(&self.root);
        self.guard.admit(&*self.fs, place, &"packs/", SMALL + 1, (1, 1)).map(drop)
    }

    fn attempt(
        &self,
        key: &Key,
        name: &Path,
        body: &Body,
        adopt: &mut bool,
    ) -> std::result::Result<(), Failed> {
        let ready = match body {
            Body::File { path, len } if *adopt => self.adopt(path, *len)?,
            _ => self.write(key, body)?,
        };
        if let Err(error) = self.publisher.publish(ready.path(), ready.stat(), name) {
            let report = Error::io(key, &error);
            return Err(match error.kind() {
                io::ErrorKind::AlreadyExists => Failed::Taken,
                io::ErrorKind::NotFound => {
                    // Somebody removed the folder, empty as it was, or our temporary.
                    self.dirs.forget();
                    self.make_folder(key, name).map_err(Failed::Final)?;
                    Failed::Again(report)
                }
                io::ErrorKind::CrossesDevices if *adopt => {
                    *adopt = false;
                    Failed::Again(report)
                }
                io::ErrorKind::CrossesDevices if self.staging.move_inside() => Failed::Again(report),
                _ => Failed::Final(report),
            });
        }
        let folder = name.parent().unwrap_or(&self.root);
        match self.dirs.sync(folder) {
            Ok(()) => {
                if let Ready::Temporary(temporary, _) = ready {
                    temporary.keep();
                }
                Ok(())
            }
            Err(error) => Err(self.withdraw(key, name, ready, &error)),
        }
    }

    /// What cannot be proven durable is not left in its place: a later attempt would find it and take it for stored.
    fn withdraw(&self, key: &Key, name: &Path, ready: Ready, cause: &io::Error) -> Failed {
        match self.publisher.withdraw(name, ready.path()) {
            Ok(()) => Failed::Again(failure(key, "its folder could not be synced", cause)),
            Err(error) => {
                if let Ready::Temporary(temporary, _) = ready {
                    temporary.keep();
                }
                self.dirs.distrust(name.parent().unwrap_or(&self.root));
                let what = format!("its folder could not be synced ({cause}), and it could not be withdrawn");
                Failed::Final(failure(key, &what, &error))
            }
        }
    }

    /// A file of the caller in the staging folder, made durable where it is.
    fn adopt(&self, path: &Path, len: u64) -> std::result::Result<Ready, Failed> {
        const SPOILT: &str =
            "could not be synced, so its contents may be lost: write it again under another name";
        let object = path.display();
        let file = open_body(&*self.fs, path, len).map_err(Failed::Final)?;
        let mut spoilt = self.spoilt.lock().expect("never poisoned");
        if spoilt.contains(path) {
            return Err(Failed::Final(Error::new(ErrorKind::Other, object, SPOILT)));
        }
        drop(spoilt);
        if let Err(error) = file.sync_all() {
            spoilt = self.spoilt.lock().expect("never poisoned");
            spoilt.insert(path.to_owned());
            return Err(Failed::Final(Error::new(ErrorKind::Other, object, format!("{SPOILT} ({error})"))));
        }
        let stat = file.stat().map_err(|error| Failed::Final(Error::io(object, &error)))?;
        Ok(Ready::Adopted(path.to_owned(), file, stat))
    }

    /// A temporary that holds the body, durably.
    fn write(&self, key: &Key, body: &Body) -> std::result::Result<Ready, Failed> {
        let failed = |error: &io::Error| {
            let report = failure(key, "the temporary file could not be written", error);
            match report.kind {
                ErrorKind::NoSpace | ErrorKind::Denied => Failed::Final(report),
                _ => Failed::Again(report),
            }
        };
        let temporary = match body {
            Body::Bytes(bytes) => {
                let mut temporary = self.temporary().map_err(|error| failed(&error))?;
                temporary.write_all(bytes).map_err(|error| failed(&error))?;
                temporary
            }
            Body::File { path, len } => {
                let mut copy = Copying::of(&*self.fs, path, *len)?;
                let mut temporary = self.temporary().map_err(|error| failed(&error))?;
                copy.rest(&mut temporary, failed, |_| Ok(()))?;
                temporary
            }
            Body::Kept(kept) => self.copy_kept(kept, failed)?,
        };
        if let Err(error) = temporary.file.sync_all() {
            // What a failed sync leaves is not gone on with, whoever finds it.
            self.spoilt.lock().expect("never poisoned").insert(temporary.path.clone());
            return Err(failed(&error));
        }
        let stat = temporary.file.stat().map_err(|error| failed(&error))?;
        Ok(Ready::Temporary(temporary, stat))
    }

    /// A fresh temporary.
    fn temporary(&self) -> io::Result<Temporary> {
        loop {
            match self.staging.create() {
                Err(error)
                    if error.kind() == io::ErrorKind::PermissionDenied && self.staging.move_inside() => {}
                created => return created,
            }
        }
    }

    /// A copy of a file that stays where it is. What an earlier process left of it is read again and compared, and the copy goes on
    /// behind what is right.
    fn copy_kept(
        &self,
        kept: &Kept,
        failed: impl Fn(&io::Error) -> Failed + Copy,
    ) -> std::result::Result<Temporary, Failed> {
        let mut copy = Copying::of(&*self.fs, &kept.path, kept.len)?;
        let mut hasher = blake3::Hasher::new();
        let earlier = (kept.len > RESUMED).then(|| self.take_up(kept)).flatten();
        let mut temporary = match earlier {
            Some(mut earlier) => {
                copy.compare(&mut *earlier.file, failed, |bytes| {
                    hasher.update(bytes);
                })?;
                if copy.done > 0 {
                    kept.meter.resumed(copy.done);
                }
                earlier
            }
            None => self.temporary().map_err(|error| failed(&error))?,
        };
        let copied = copy.rest(&mut temporary, failed, |bytes| {
            hasher.update(bytes);
            std::thread::sleep(kept.meter.passing(bytes.len() as u64)?);
            Ok(())
        });
        match copied {
            // The next process goes on with it, if it can find it.
            Err(Failed::Final(error)) if error.kind == ErrorKind::Stopped => {
                if temporary.path == self.staging.copy_path(&kept.hash) {
                    temporary.keep();
                }
                return Err(Failed::Final(error));
            }
            copied => copied?,
        }
        kept.verify(&hasher.finalize()).map_err(Failed::Final)?;
        Ok(temporary)
    }

    /// The copy of a file that is gone on with; `None` when there can be none, or another process is at it.
    fn take_up(&self, kept: &Kept) -> Option<Temporary> {
        let path = self.staging.copy_path(&kept.hash);
        if self.spoilt.lock().expect("never poisoned").contains(&path) {
            return None;
        }
        self.staging.take_up(path).ok().flatten()
    }

    /// The error for a name that is taken, once what is there is durable: who is told that an object exists may build on
    /// it, even when its writer died before it could sync.
    fn taken(&self, key: &Key, name: &Path) -> Error {
        let folder = name.parent().unwrap_or(&self.root);
        let synced = match self.fs.open(name) {
            Ok(file) => {
                let contents = file.sync_all().inspect_err(|_| self.dirs.distrust(folder));
                contents.and_then(|()| self.dirs.sync_others(folder)).and_then(|()| self.dirs.make(folder))
            }
            // A stranger of that name, or gone meanwhile.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                Ok(())
            }
            Err(error) => Err(error),
        };
        match synced {
            Ok(()) => Error::new(ErrorKind::Exists, key, "the name is taken"),
            Err(error) => failure(key, "the name is taken, but what is there could not be synced", &error),
        }
    }

    fn make_folder(&self, key: &Key, name: &Path) -> Result<()> {
        let folder = name.parent().unwrap_or(&self.root);
        self.dirs
            .make(folder)
            .or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    self.dirs.forget();
                    self.dirs.make(folder)
                }
                _ => Err(error),
            })
            .map_err(|error| failure(key, "its folder could not be made", &error))
    }

    fn unsettled(&self, key: &Key, error: &io::Error) -> Error {
        failure(key, "what was there before could not be synced", error)
    }

    /// The longest part of `path` that is there.
    pub(super) fn existing_part<'a>(&self, path: &'a Path) -> &'a Path {
        path.ancestors().find(|part| self.fs.stat(part).is_ok()).unwrap_or(path)
    }

    pub(super) fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        let name = self.path(key);
        let failed = |error: &io::Error| Error::io(key, error);
        let file = self.fs.open(&name).map_err(|error| {
            let missing = is_absent(&error) || error.kind() == io::ErrorKind::InvalidInput;
            if missing { Error::new(ErrorKind::NotFound, key, "no such object") } else { failed(&error) }
        })?;
        let size = file.stat().map_err(|error| failed(&error))?.size;
        let (start, len) = match range {
            ByteRange::All => (0, size),
            ByteRange::Span { start, len } => (start, len),
        };
        if start.checked_add(len).is_none_or(|end| end > size) {
            let message = format!("holds {size} bytes; {len} from {start} were asked for");
            return Err(Error::new(ErrorKind::Truncated, key, message));
        }
        let len = usize::try_from(len).map_err(|error| Error::new(ErrorKind::Invalid, key, error))?;
        let mut buffer = BytesMut::zeroed(len);
        read_exact(&*file, &mut buffer, start).map_err(|error| failed(&error))?;
        Ok(buffer.freeze())
    }

    pub(super) fn delete(&self, key: &Key) -> Result<()> {
        let name = self.path(key);
        if let Err(error) = self.fs.unlink(&name) {
            // Not there counts as removed; so does an error that came after the deed.
            match self.fs.stat(&name) {
                Err(gone) if is_absent(&gone) => {}
                _ => return Err(Error::io(key, &error)),
            }
        }
        // Even when it was not there: an earlier call may have died between removing and syncing.
        match self.dirs.sync(name.parent().unwrap_or(&self.root)) {
            Err(error) if !is_absent(&error) => {
                Err(failure(key, "it was removed, but its folder could not be synced", &error))
            }
            _ => Ok(()),
        }
    }
}

/// An error with what was being done; never [`ErrorKind::Exists`] or [`ErrorKind::NotFound`], which would say something
/// about the object, nor [`ErrorKind::Transient`], for what failed must not be repeated as it was.
fn failure(key: &Key, what: &str, error: &io::Error) -> Error {
    let kind = match Error::io(key, error).kind {
        kind @ (ErrorKind::NoSpace | ErrorKind::Denied) => kind,
        _ => ErrorKind::Other,
    };
    Error::new(kind, key, format!("{what}: {error}"))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
