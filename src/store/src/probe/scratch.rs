use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::Watch;
use crate::noise::noise;
use crate::{Body, Error, ErrorKind, Kept, Key, Listed, Meter, Prefix, Result, Store};

/// Removals at once.
const AT_ONCE: usize = 4;

/// The names and the bytes of one probe.
pub(super) struct Scratch {
    folder: Prefix,
    seed: u64,
    /// Every name that may be there.
    tried: BTreeSet<Key>,
    files: Files,
}

/// Bytes on this machine; gone when dropped.
struct Files {
    folder: PathBuf,
    made: Vec<PathBuf>,
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.made {
            // One that stays is litter in a cache.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A large body, as a file.
#[derive(Clone)]
pub(super) struct Sample {
    path: PathBuf,
    pub(super) bytes: Bytes,
    hash: blake3::Hash,
}

impl Sample {
    /// The body; its upload ends when it shall stop.
    pub(super) fn body(&self, watch: &Arc<dyn Watch>) -> Body {
        self.body_with(Arc::new(UntilStopped(watch.clone())))
    }

    /// The body; its upload is given up when half of it was sent.
    pub(super) fn half(&self) -> Body {
        self.body_with(Arc::new(Half { len: self.bytes.len() as u64, passed: AtomicU64::new(0) }))
    }

    fn body_with(&self, meter: Arc<dyn Meter>) -> Body {
        let len = self.bytes.len() as u64;
        Body::Kept(Arc::new(Kept { path: self.path.clone(), len, hash: self.hash, meter }))
    }
}

#[derive(Debug)]
struct UntilStopped(Arc<dyn Watch>);

impl Meter for UntilStopped {
    fn passing(&self, _: u64) -> Result<Duration> {
        match self.0.stopped() {
            true => Err(Error::new(ErrorKind::Stopped, "the upload", "it was interrupted")),
            false => Ok(Duration::ZERO),
        }
    }

    fn resumed(&self, _: u64) {}
}

#[derive(Debug)]
struct Half {
    len: u64,
    passed: AtomicU64,
}

impl Meter for Half {
    fn passing(&self, bytes: u64) -> Result<Duration> {
        let before = self.passed.fetch_add(bytes, Ordering::Relaxed);
        match before * 2 >= self.len {
            true => Err(Error::new(ErrorKind::Stopped, "the upload", "it is given up halfway")),
            false => Ok(Duration::ZERO),
        }
    }

    fn resumed(&self, _: u64) {}
}

impl Scratch {
    pub(super) fn new(files: &Path) -> Result<Self> {
        let seed = getrandom::u64().map_err(|error| Error::new(ErrorKind::Other, "a random name", error))?;
        std::fs::create_dir_all(files).map_err(|error| Error::io(files.display(), &error))?;
        Ok(Self {
            folder: Prefix::new(&format!("probe-{seed:016x}"))?,
            seed,
            tried: BTreeSet::new(),
            files: Files { folder: files.to_owned(), made: Vec::new() },
        })
    }

    /// Where all of it lies.
    pub(super) fn folder(&self) -> &Prefix {
        &self.folder
    }

    /// A name there.
    pub(super) fn key(&mut self, name: &str) -> Result<Key> {
        let key = Key::new(format!("{}{name}", self.folder.as_str()))?;
        self.tried.insert(key.clone());
        Ok(key)
    }

    /// Bytes that no other probe has, and no other number.
    pub(super) fn bytes(&self, number: u64, len: usize) -> Bytes {
        noise(self.seed ^ number.wrapping_add(1), len).into()
    }

    /// A file of such bytes.
    pub(super) fn sample(&mut self, len: u64) -> Result<Sample> {
        let bytes = self.bytes(len, usize::try_from(len).unwrap_or(usize::MAX));
        let path = self.files.folder.join(format!("probe-{:016x}-{len}", self.seed));
        self.files.made.push(path.clone());
        std::fs::write(&path, &bytes).map_err(|error| Error::io(path.display(), &error))?;
        Ok(Sample { path, hash: blake3::hash(&bytes), bytes })
    }

    /// What a listing shows there.
    pub(super) async fn listed(&self, store: &dyn Store) -> Result<Vec<Listed>> {
        store.list(self.folder.as_str()).try_collect().await
    }

    /// Removes these.
    pub(super) async fn remove_some(
        &self,
        store: &dyn Store,
        keys: impl IntoIterator<Item = Key>,
    ) -> Vec<String> {
        let removals = keys.into_iter().map(|key| async move {
            let removed = store.delete(&key).await;
            removed.err().map(|error| error.to_string())
        });
        futures::stream::iter(removals)
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// Removes everything that may be there. Returns what stays, and why.
    pub(super) async fn remove(self, stores: &[&dyn Store]) -> Vec<String> {
        let Some(store) = stores.first().copied() else { return Vec::new() };
        let mut left = BTreeSet::new();
        let mut names = self.tried.clone();
        // The store's own trials put names that are not ours; a listing may lag behind ours.
        match self.listed(store).await {
            Ok(listed) => names.extend(listed.into_iter().filter_map(|listed| Key::new(listed.name).ok())),
            Err(_) if names.is_empty() => {}
            Err(error) => left.extend([format!("{}: it cannot be listed: {error}", self.folder.as_str())]),
        }
        left.extend(self.remove_some(store, names).await);
        if let Ok(listed) = self.listed(store).await {
            let known = |name: &str| left.iter().any(|line: &String| line.starts_with(name));
            let more: Vec<_> =
                listed.into_iter().map(|listed| listed.name).filter(|name| !known(name)).collect();
            left.extend(more.into_iter().map(|name| format!("{name}: it is still listed")));
        }
        for store in stores {
            match store.remove_made_folders().await {
                Ok(folders) => {
                    left.extend(folders.into_iter().map(|folder| format!("{folder}: an empty folder")))
                }
                Err(error) => left.extend([error.to_string()]),
            }
        }
        left.into_iter().collect()
    }
}
