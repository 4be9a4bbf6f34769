use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fardel_store::{Body, ByteRange, Capabilities, Finding, Key, Listed, MemoryStore, Prefix, Result, Store};
use futures::stream::BoxStream;

type Other = Box<dyn FnOnce() + Send>;

/// A store in memory; just before the call of a given number, something else is done.
pub struct Meanwhile {
    inner: MemoryStore,
    calls: AtomicU64,
    at: u64,
    other: Mutex<Option<Other>>,
}

impl Meanwhile {
    /// Does `other` before call number `at`, counted from 0, reads too.
    pub fn new(inner: MemoryStore, at: u64, other: impl FnOnce() + Send + 'static) -> Self {
        Self { inner, calls: AtomicU64::new(0), at, other: Mutex::new(Some(Box::new(other))) }
    }

    fn call(&self) {
        if self.calls.fetch_add(1, Relaxed) == self.at
            && let Some(other) = self.other.lock().expect("nobody panics while it is held").take()
        {
            // What it does waits for stores, too: not on a thread that already does.
            std::thread::spawn(other).join().expect("what it does tells its failures");
        }
    }
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Meanwhile {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        self.call();
        self.inner.put_new(key, body).await
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        self.call();
        self.inner.get_range(key, range).await
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        self.call();
        self.inner.list(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.call();
        self.inner.delete(key).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn retention(&self) -> Result<Duration> {
        self.inner.retention().await
    }

    async fn check_room(&self) -> Result<()> {
        self.inner.check_room().await
    }

    fn put_requests(&self, len: u64) -> u64 {
        self.inner.put_requests(len)
    }

    async fn examine(&self, scratch: &Prefix) -> Result<Vec<Finding>> {
        self.inner.examine(scratch).await
    }

    async fn remove_made_folders(&self) -> Result<Vec<String>> {
        self.inner.remove_made_folders().await
    }
}
