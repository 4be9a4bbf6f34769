//! The one place where plain threads meet asynchronous stores.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fardel_store::{Body, ByteRange, Capabilities, Error, ErrorKind, Key, Listed, Result, Store};
use futures::StreamExt;
use tokio::runtime::Runtime;

/// So many results are held at a time.
const BATCH: usize = 256;

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

    /// Makes something of every item, as many at once as requests to this store pay off, and hands it to `then` in the order of the
    /// items; some hundred are held at a time.
    ///
    /// # Errors
    /// The first of `then`.
    pub fn for_many<T: Sync, R: Send, E>(
        &self,
        items: &[T],
        each: impl Fn(&T) -> R + Sync,
        mut then: impl FnMut(&T, R) -> Result<(), E>,
    ) -> Result<(), E> {
        for batch in items.chunks(BATCH) {
            let made: Vec<_> = batch.iter().map(|_| Mutex::new(None)).collect();
            let taken = AtomicUsize::new(0);
            let take = || Some(taken.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < batch.len());
            let work = || {
                while let Some(at) = take() {
                    *made[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(each(&batch[at]));
                }
            };
            std::thread::scope(|scope| {
                // A thread for a single item costs more than it saves; this one works, too.
                let threads = self.capabilities().parallelism.min(batch.len() / 2);
                (1..threads).for_each(|_| drop(scope.spawn(work)));
                work();
            });
            for (item, made) in batch.iter().zip(made) {
                let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
                then(item, made.expect("a thread that panics is told by the scope"))?;
            }
        }
        Ok(())
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
