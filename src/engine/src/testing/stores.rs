//! Stores that tell what was asked of them, or do it in their own order.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fardel_store::{
    Body, ByteRange, Capabilities, Error, ErrorKind, Key, Listed, MemoryStore, Result, Store,
};
use futures::stream::BoxStream;

/// Counts what is asked of it.
#[derive(Debug)]
pub struct Counting {
    inner: MemoryStore,
    requests: AtomicU64,
    listings: AtomicU64,
}

impl Counting {
    /// Nothing was asked yet.
    pub fn new(inner: MemoryStore) -> Self {
        Self { inner, requests: Default::default(), listings: Default::default() }
    }

    /// Requests that are no listings, and listings.
    pub fn requests(&self) -> (u64, u64) {
        (self.requests.load(SeqCst), self.listings.load(SeqCst))
    }

    fn one_more(&self) {
        self.requests.fetch_add(1, SeqCst);
    }
}

#[async_trait]
impl Store for Counting {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        self.one_more();
        self.inner.put_new(key, body).await
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        self.one_more();
        self.inner.get_range(key, range).await
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        self.listings.fetch_add(1, SeqCst);
        self.inner.list(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.one_more();
        self.inner.delete(key).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// Is told which key is about to be put.
pub type Hook = Box<dyn Fn(&str) + Send>;

/// Remembers what was put and deleted, and can do something just before a put.
pub struct Recording {
    inner: MemoryStore,
    puts: Mutex<Vec<String>>,
    before: Mutex<Hook>,
}

impl Recording {
    /// Nothing was put yet.
    pub fn new(inner: MemoryStore) -> Self {
        Self { inner, puts: Default::default(), before: Mutex::new(Box::new(|_| {})) }
    }

    /// Does this before each put from now on.
    pub fn before(&self, does: impl Fn(&str) + Send + 'static) {
        *self.before.lock().unwrap() = Box::new(does);
    }

    /// Keys that were put, and `deleted KEY`, in their order.
    pub fn puts(&self) -> Vec<String> {
        self.puts.lock().unwrap().clone()
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Store for Recording {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        self.before.lock().unwrap()(key.as_str());
        self.puts.lock().unwrap().push(key.to_string());
        self.inner.put_new(key, body).await
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        self.inner.get_range(key, range).await
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        self.inner.list(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.puts.lock().unwrap().push(format!("deleted {key}"));
        self.inner.delete(key).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// Stores the first list or root only when another one is on its way: one after the other they would never come.
#[derive(Debug)]
pub struct Meeting {
    store: MemoryStore,
    has_begun: AtomicBool,
    second: tokio::sync::Semaphore,
}

impl Meeting {
    /// Nothing has come yet.
    pub fn new(store: MemoryStore) -> Self {
        Self { store, has_begun: AtomicBool::new(false), second: tokio::sync::Semaphore::new(0) }
    }
}

#[async_trait]
impl Store for Meeting {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        if !key.as_str().starts_with("lists/") && !key.as_str().starts_with("roots/") {
            return self.store.put_new(key, body).await;
        }
        if self.has_begun.swap(true, SeqCst) {
            self.second.add_permits(1);
        } else {
            let met = tokio::time::timeout(Duration::from_secs(60), self.second.acquire()).await;
            let _met = met.map_err(|_| Error::new(ErrorKind::Other, key, "it came alone"))?;
        }
        self.store.put_new(key, body).await
    }
    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        self.store.get_range(key, range).await
    }
    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        self.store.list(prefix)
    }
    async fn delete(&self, key: &Key) -> Result<()> {
        self.store.delete(key).await
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}
