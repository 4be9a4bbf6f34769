use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::{
    Body, ByteRange, Capabilities, Error, ErrorKind, Finding, Key, Listed, Listing, Prefix, Result, Store,
};

/// A store in memory, for tests and for trying things out; clones share the same objects.
#[derive(Clone, Default)]
pub struct MemoryStore {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An independent copy of what is stored now; cheap, for the bytes are shared.
    #[must_use]
    pub fn deep_clone(&self) -> Self {
        Self { objects: Arc::new(Mutex::new(self.objects().clone())) }
    }

    /// Puts `bytes` under any name at all, over whatever is there: what a stranger or a damaged disk would do.
    pub fn insert_raw(&self, name: &str, bytes: impl Into<Bytes>) {
        self.objects().insert(name.to_owned(), bytes.into());
    }

    /// Takes an object away, as a store that loses it would, and returns its bytes.
    pub fn remove_raw(&self, name: &str) -> Option<Bytes> {
        self.objects().remove(name)
    }

    /// The bytes stored under `name`.
    #[must_use]
    pub fn get_raw(&self, name: &str) -> Option<Bytes> {
        self.objects().get(name).cloned()
    }

    /// All names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.objects().keys().cloned().collect()
    }

    /// Bytes in all objects together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.objects().values().map(|bytes| bytes.len() as u64).sum()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().expect("no code panics while it holds this lock")
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("objects", &self.objects().len()).finish()
    }
}

/// Reads a body into memory; a file that is not as long as it was said to be is refused.
pub(crate) fn read_body(key: &Key, body: &Body) -> Result<Bytes> {
    match body {
        Body::Bytes(bytes) => Ok(bytes.clone()),
        Body::File { path, len } => read_file(key, path, *len),
        Body::Kept(kept) => {
            let bytes = read_file(key, &kept.path, kept.len)?;
            kept.verify(&blake3::hash(&bytes))?;
            // Nothing goes anywhere: whatever it says, there is nothing to wait for.
            kept.meter.passing(kept.len)?;
            Ok(bytes)
        }
    }
}

fn read_file(key: &Key, path: &Path, len: u64) -> Result<Bytes> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(len + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::io(path.display(), &error))?;
    if bytes.len() as u64 != len {
        let message = format!("{} does not hold the {len} bytes it should", path.display());
        return Err(Error::new(ErrorKind::Invalid, key, message));
    }
    Ok(bytes.into())
}

/// The part of `whole` that `range` asks for.
pub(crate) fn slice(key: &Key, whole: &Bytes, range: ByteRange) -> Result<Bytes> {
    let ByteRange::Span { start, len } = range else { return Ok(whole.clone()) };
    match start.checked_add(len) {
        Some(end) if end <= whole.len() as u64 => Ok(whole.slice(start as usize..end as usize)),
        _ => {
            let message = format!("holds {} bytes; {len} from {start} were asked for", whole.len());
            Err(Error::new(ErrorKind::Truncated, key, message))
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for MemoryStore {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        let bytes = read_body(key, &body)?;
        {
            let mut objects = self.objects();
            if objects.contains_key(key.as_str()) {
                return Err(Error::new(ErrorKind::Exists, key, "the name is taken"));
            }
            objects.insert(key.as_str().to_owned(), bytes);
        }
        if let Body::File { path, .. } = &body {
            // The object is stored; a file that cannot be removed is only litter.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        let whole = self.get_raw(key.as_str());
        slice(key, &whole.ok_or_else(|| Error::new(ErrorKind::NotFound, key, "no such object"))?, range)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        let prefix = match Prefix::new(prefix) {
            Ok(prefix) => prefix,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let listed: Vec<_> = self
            .objects()
            .range(prefix.as_str().to_owned()..)
            .take_while(|(name, _)| prefix.holds(name))
            .map(|(name, bytes)| Ok(Listed { name: name.clone(), size: bytes.len() as u64 }))
            .collect();
        stream::iter(listed).boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.remove_raw(key.as_str());
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            listing: Listing::Strong,
            max_object: u64::MAX,
            parallelism: 16,
            staging: None,
            files: None,
        }
    }

    async fn check_room(&self) -> Result<()> {
        Ok(())
    }

    async fn retention(&self) -> Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn put_requests(&self, _: u64) -> u64 {
        1
    }

    async fn examine(&self, _: &Prefix) -> Result<Vec<Finding>> {
        Ok(vec![Finding::not_safe("memory", "everything here is gone when the command ends")])
    }

    async fn remove_made_folders(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        crate::conformance::run(&MemoryStore::new()).await;
    }

    #[tokio::test]
    async fn clones_share_and_deep_clones_do_not() {
        let store = MemoryStore::new();
        let (shared, copy) = (store.clone(), store.deep_clone());
        store.put_new(&Key::new("a").unwrap(), Body::from(b"xyz".to_vec())).await.unwrap();
        store.insert_raw("desktop.ini (1)", Bytes::from_static(b"?"));
        assert_eq!(shared.names(), ["a", "desktop.ini (1)"]);
        assert_eq!(shared.total_bytes(), 4);
        assert!(copy.names().is_empty());
        assert_eq!(store.remove_raw("a").unwrap(), "xyz");
        assert!(shared.get_raw("a").is_none());
    }
}
