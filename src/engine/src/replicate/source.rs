//! What is carried, and where its bytes come from.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use fardel_format::ObjectHash;
use fardel_store::{ByteRange, ErrorKind, Kept, Meter, Throttle};

use super::ReplicateOptions;
use crate::catalog::{Catalog, Stored};
use crate::packs::Spooled;
use crate::repository::Repository;
use crate::snapshots::Snapshots;
use crate::{Error, Result};

/// Bytes of one request.
const STEP: u64 = 4 << 20;
/// Bytes on the disk that were read last and are kept for the other targets.
const WINDOW: u64 = 512 << 20;

/// The repository that is copied.
pub struct Source<'a> {
    pub repo: &'a Repository,
    pub catalog: &'a Catalog,
    pub snapshots: Snapshots,
    /// Where objects lie as files, if they do.
    files: Option<PathBuf>,
    spool: PathBuf,
    download: &'a Throttle,
    window: Mutex<Window>,
}

/// What was read for one target and may serve another.
#[derive(Default)]
struct Window {
    slots: HashMap<ObjectHash, Arc<Mutex<Weak<Spooled>>>>,
    recent: VecDeque<Arc<Spooled>>,
}

/// An object ready to be sent; its file stays as long as this does.
pub struct Carried {
    pub kept: Arc<Kept>,
    _spooled: Option<Arc<Spooled>>,
}

impl Carried {
    /// Why it could not be put: because of what it is here, or of the target.
    pub fn failed(&self, stored: &Stored, error: fardel_store::Error) -> Error {
        match error.kind {
            ErrorKind::Damaged => Error::Damaged(format!("{} is damaged here", stored.key)),
            ErrorKind::Stopped => Error::Interrupted,
            _ if !self.kept.path.exists() => gone(stored),
            _ => error.into(),
        }
    }
}

/// Somebody swept it after it was listed: that costs its own snapshots, which were forgotten here.
fn gone(stored: &Stored) -> Error {
    Error::Damaged(format!("{} is not here any more", stored.key))
}

impl<'a> Source<'a> {
    pub fn open(repo: &'a Repository, catalog: &'a Catalog, options: &'a ReplicateOptions) -> Result<Self> {
        Ok(Self {
            repo,
            catalog,
            snapshots: Snapshots::load_for_reading(repo, catalog)?,
            files: repo.store().capabilities().files,
            spool: options.spool.clone(),
            download: &options.download,
            window: Mutex::default(),
        })
    }

    /// All bytes of a small object.
    pub fn get(&self, stored: &Stored) -> Result<Vec<u8>> {
        match self.repo.store().get(&stored.key) {
            Err(error) if error.kind == ErrorKind::NotFound => Err(gone(stored)),
            bytes => Ok(bytes?.to_vec()),
        }
    }

    /// An object whose bytes must have this hash, read no faster than `download` allows.
    pub fn carry(
        &self,
        stored: &Stored,
        hash: &ObjectHash,
        meter: Arc<dyn Meter>,
        download: &Throttle,
    ) -> Result<Carried> {
        let kept = |path, len| {
            Arc::new(Kept { path, len, hash: blake3::Hash::from_bytes(hash.0), meter: meter.clone() })
        };
        if let Some(files) = &self.files {
            let path = files.join(stored.key.as_str());
            return Ok(Carried { kept: kept(path, stored.size), _spooled: None });
        }
        let spooled = self.spooled(stored, hash, download)?;
        Ok(Carried { kept: kept(spooled.path().to_owned(), spooled.written()), _spooled: Some(spooled) })
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy on this machine. Who asks while it is being read waits for it.
    fn spooled(&self, stored: &Stored, hash: &ObjectHash, download: &Throttle) -> Result<Arc<Spooled>> {
        let slot = self.window().slots.entry(*hash).or_default().clone();
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spooled) = slot.upgrade() {
            return Ok(spooled);
        }
        let spooled = Arc::new(self.read(stored, hash, download)?);
        *slot = Arc::downgrade(&spooled);
        let mut window = self.window();
        window.recent.push_back(spooled.clone());
        while window.recent.iter().map(|spooled| spooled.written()).sum::<u64>() > WINDOW {
            window.recent.pop_front();
        }
        window.slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|s| s.strong_count() > 0)
        });
        Ok(spooled)
    }

    fn read(&self, stored: &Stored, hash: &ObjectHash, download: &Throttle) -> Result<Spooled> {
        let mut spooled = Spooled::create(&self.spool)?;
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < stored.size {
            let end = stored.size.min(at + STEP);
            let now = Instant::now();
            let waits = [self.download, download].map(|throttle| throttle.pass(end - at, now));
            std::thread::sleep(waits[0].max(waits[1]));
            let bytes = match self.repo.store().get_range(&stored.key, ByteRange::between(at, end)) {
                Err(error) if error.kind == ErrorKind::NotFound => return Err(gone(stored)),
                bytes => bytes?,
            };
            hasher.update(&bytes);
            spooled.write_all(&bytes).map_err(|e| Error::io(spooled.path(), e))?;
            at = end;
        }
        if *hasher.finalize().as_bytes() != hash.0 {
            return Err(Error::Damaged(format!("{} is damaged here", stored.key)));
        }
        Ok(spooled)
    }
}
