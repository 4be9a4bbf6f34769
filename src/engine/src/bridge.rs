//! The one place where plain threads meet asynchronous stores.

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use fardel_store::{Body, ByteRange, Capabilities, Error, ErrorKind, Key, Listed, Result, Store};
use futures::StreamExt;
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .thread_name("fardel-store")
        .build()
        .expect("the operating system gives threads")
});

/// Runs one asynchronous piece of work to its end on the runtime that stores share.
pub fn block_on<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

/// A store as plain threads use it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Blocking(Arc<dyn Store>);

impl Blocking {
    /// Wraps a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// See [`Store::put_new`].
    pub fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        block_on(self.0.put_new(key, body))
    }

    /// Stores a small object whose name follows from its bytes; the same bytes already there count as stored.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] when other bytes lie under that name.
    pub fn put_same(&self, key: &Key, bytes: Vec<u8>) -> Result<()> {
        let bytes = Bytes::from(bytes);
        match self.put_new(key, Body::Bytes(bytes.clone())) {
            Err(error) if error.kind == ErrorKind::Exists => {
                if self.get(key)? == bytes {
                    return Ok(());
                }
                Err(Error::new(
                    ErrorKind::Exists,
                    key,
                    "other bytes lie under this name: check the repository",
                ))
            }
            other => other,
        }
    }

    /// Reads a whole object.
    pub fn get(&self, key: &Key) -> Result<Bytes> {
        self.get_range(key, ByteRange::All)
    }

    /// See [`Store::get_range`].
    pub fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        block_on(self.0.get_range(key, range))
    }

    /// Hands every listed name to `each`.
    pub fn list(&self, prefix: &str, mut each: impl FnMut(Listed)) -> Result<()> {
        block_on(async {
            let mut names = self.0.list(prefix);
            while let Some(listed) = names.next().await {
                each(listed?);
            }
            Ok(())
        })
    }

    /// See [`Store::delete`].
    pub fn delete(&self, key: &Key) -> Result<()> {
        block_on(self.0.delete(key))
    }

    /// See [`Store::check_room`].
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] when there is no room for packs.
    pub fn check_room(&self) -> Result<()> {
        block_on(self.0.check_room())
    }

    /// See [`Store::retention`].
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn retention(&self) -> Result<Duration> {
        block_on(self.0.retention())
    }

    /// See [`Store::capabilities`].
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}
