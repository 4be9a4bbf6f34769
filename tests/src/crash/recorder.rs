//! A store in memory that remembers what was there before each changing call.

use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use fardel_store::{Body, ByteRange, Capabilities, Key, Listed, MemoryStore, Result, Store};
use futures::FutureExt;
use futures::stream::BoxStream;

/// Wraps a store in memory.
#[derive(Debug)]
pub struct Recorder {
    inner: MemoryStore,
    steps: Mutex<Vec<Step>>,
}

/// What was there before one changing call.
#[derive(Clone, Debug)]
pub struct Step {
    /// All objects.
    pub before: MemoryStore,
    /// The object that the call put.
    put: Option<(String, Bytes)>,
}

impl Recorder {
    /// Nothing is recorded yet.
    #[must_use]
    pub fn new(inner: MemoryStore) -> Self {
        Self { inner, steps: Mutex::default() }
    }

    /// Changing calls so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.steps().len()
    }

    /// What was there before each call, and at the end.
    #[must_use]
    pub fn take_steps(&self) -> Vec<Step> {
        let mut steps = std::mem::take(&mut *self.steps());
        steps.push(Step { before: self.inner.deep_clone(), put: None });
        steps
    }

    fn steps(&self) -> MutexGuard<'_, Vec<Step>> {
        self.steps.lock().expect("no code panics while it holds this lock")
    }

    /// Makes one call at a time, so that the order of the steps is that of the calls.
    fn record<T>(&self, call: impl Future<Output = Result<T>>, key: &Key) -> Result<T> {
        let mut steps = self.steps();
        let before = self.inner.deep_clone();
        let done = call.now_or_never().expect("a store in memory never waits");
        let is_new = before.get_raw(key.as_str()).is_none();
        let put = self.inner.get_raw(key.as_str()).filter(|_| is_new);
        steps.push(Step { before, put: put.map(|bytes| (key.as_str().to_owned(), bytes)) });
        done
    }
}

impl Step {
    /// The length of the object that the call put; 0 when it put none.
    #[must_use]
    pub fn putting(&self) -> usize {
        self.put.as_ref().map_or(0, |(_, bytes)| bytes.len())
    }

    /// The store as a bad one can leave it: with so many bytes of the object under its name.
    #[must_use]
    pub fn torn(&self, len: usize) -> Option<MemoryStore> {
        let (name, bytes) = self.put.as_ref()?;
        let store = self.before.deep_clone();
        store.insert_raw(name, bytes.slice(..len));
        Some(store)
    }
}

#[async_trait]
impl Store for Recorder {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        self.record(self.inner.put_new(key, body), key)
    }
    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        self.inner.get_range(key, range).await
    }
    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        self.inner.list(prefix)
    }
    async fn delete(&self, key: &Key) -> Result<()> {
        self.record(self.inner.delete(key), key)
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
