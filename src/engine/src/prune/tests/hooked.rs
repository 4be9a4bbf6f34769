//! A store in memory that is not alone, or not as it should be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fardel_store::{
    Body, ByteRange, Capabilities, Error, ErrorKind, Key, Listed, Listing, MemoryStore, Result, Store,
};
use futures::stream::BoxStream;

/// How a store differs from what one wishes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Its listings may lag.
    Lags,
    /// It deletes no pack.
    DeletesNoPack,
    /// A lock keeps packs and tombs.
    Locks,
    /// It says that it keeps everything for a day.
    KeepsForADay,
}

/// Does something before a call of the caller's choice, or fails.
pub struct Hooked {
    inner: MemoryStore,
    calls: AtomicU64,
    at: u64,
    hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    flaw: Option<Flaw>,
    refuses: Arc<Mutex<Option<String>>>,
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Hooked {
    pub fn new(inner: MemoryStore) -> Self {
        let calls = AtomicU64::new(0);
        Self { inner, calls, at: 0, hook: Mutex::default(), flaw: None, refuses: Arc::default() }
    }

    pub fn with(flaw: Flaw, inner: MemoryStore) -> Self {
        Self { flaw: Some(flaw), ..Self::new(inner) }
    }

    /// Does this before call number `at`.
    pub fn before(inner: MemoryStore, at: u64, does: impl FnOnce() + Send + 'static) -> Self {
        Self { at, hook: Mutex::new(Some(Box::new(does))), ..Self::new(inner) }
    }

    /// What begins like this cannot be put; somebody else may decide what.
    pub fn refusing(self, refuses: Arc<Mutex<Option<String>>>) -> Self {
        Self { refuses, ..self }
    }

    pub fn fail_put(&self, prefix: &str) {
        *self.refuses.lock().unwrap() = Some(prefix.into());
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn call(&self) {
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.at
            && let Some(hook) = self.hook.lock().unwrap().take()
        {
            // What it does waits for stores, too: not on a thread that already does.
            std::thread::spawn(hook).join().unwrap();
        }
    }
}

#[async_trait::async_trait]
impl Store for Hooked {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        self.call();
        if self.refuses.lock().unwrap().as_ref().is_some_and(|prefix| key.as_str().starts_with(prefix)) {
            return Err(Error::new(ErrorKind::Other, key, "the process is dead"));
        }
        self.inner.put_new(key, body).await
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<bytes::Bytes> {
        self.call();
        self.inner.get_range(key, range).await
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        self.call();
        self.inner.list(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.call();
        if self.flaw == Some(Flaw::DeletesNoPack) && key.as_str().starts_with("packs/") {
            return Err(Error::new(ErrorKind::Denied, key, "it is locked"));
        }
        let is_kept = ["packs/", "tombs/"].iter().any(|kept| key.as_str().starts_with(kept));
        if self.flaw == Some(Flaw::Locks) && is_kept {
            return Err(Error::new(ErrorKind::Locked, key, "it is kept for a month"));
        }
        self.inner.delete(key).await
    }

    async fn retention(&self) -> Result<Duration> {
        Ok(if self.flaw == Some(Flaw::KeepsForADay) { Duration::from_secs(86_400) } else { Duration::ZERO })
    }

    fn capabilities(&self) -> Capabilities {
        let listing = if self.flaw == Some(Flaw::Lags) { Listing::Unknown } else { Listing::Strong };
        Capabilities { listing, ..self.inner.capabilities() }
    }
}
