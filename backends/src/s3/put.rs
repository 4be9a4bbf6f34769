use std::sync::atomic::{AtomicBool, Ordering};

use fardel_store::{Error, ErrorKind, Key, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::sync::Semaphore;

use super::client::Clients;
use super::multipart::Multipart;
use crate::body::Pieces;
use crate::cloud::failure::Failure;
use crate::journal::Journals;

/// How objects are stored in one bucket.
#[derive(Debug)]
pub(super) struct Puts {
    pub(super) clients: Clients,
    pub(super) journals: Option<Journals>,
    /// In bytes.
    pub(super) part_size: u64,
    /// One for each part that may be in memory.
    pub(super) memory: Semaphore,
    /// Whether the service has not yet refused `If-None-Match`.
    has_conditions: AtomicBool,
}

impl Puts {
    pub(super) fn new(
        clients: Clients,
        journals: Option<Journals>,
        part_size: u64,
        parts_at_once: usize,
    ) -> Self {
        let memory = Semaphore::new(parts_at_once.max(1));
        Self { clients, journals, part_size, memory, has_conditions: AtomicBool::new(true) }
    }

    /// Stores an object; see the module's documentation.
    ///
    /// # Errors
    /// As [`fardel_store::Store::put_new`].
    pub(super) async fn put_new(&self, key: &Key, path: &Path, pieces: &Pieces) -> Result<()> {
        let failed = |failure: Failure| failure.while_storing(key, "the name cannot be looked at");
        if self.size(path).await.map_err(failed)?.is_some() {
            return Err(taken(key));
        }
        if pieces.len() > self.part_size {
            Multipart { puts: self, key, path, pieces }.run().await?;
        } else {
            self.put_small(key, path, pieces).await?;
        }
        match self.size(path).await.map_err(failed)? {
            Some(size) if size == pieces.len() => Ok(()),
            size => {
                let message = format!("the service has {size:?} bytes of it instead of {}", pieces.len());
                Err(Error::new(ErrorKind::Other, key, message))
            }
        }
    }

    /// The length of an object; `None` when there is none.
    async fn size(&self, path: &Path) -> Result<Option<u64>, Failure> {
        match self.clients.reader.head(path).await.map_err(Failure::from) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(failure) if failure.kind() == ErrorKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn put_small(&self, key: &Key, path: &Path, pieces: &Pieces) -> Result<()> {
        let _admitted = self.memory.acquire().await;
        let bytes = pieces.read(0, usize::try_from(pieces.len()).unwrap_or(usize::MAX)).await?;
        pieces.verify()?;
        let put = |mode: PutMode| {
            let options = PutOptions { mode, ..PutOptions::default() };
            self.clients.writer.put_opts(path, PutPayload::from_bytes(bytes.clone()), options)
        };
        if self.has_conditions.load(Ordering::Relaxed) {
            match put(PutMode::Create).await.map_err(Failure::from) {
                Ok(_) => return Ok(()),
                Err(failure) if failure.is_unsupported() => {
                    self.has_conditions.store(false, Ordering::Relaxed)
                }
                // 412 says that it is there; 409 that somebody is about to put it, who may fail.
                Err(failure) if failure.kind() == ErrorKind::Exists => {
                    let look = |failure: Failure| failure.while_storing(key, "the name cannot be looked at");
                    return Err(match self.size(path).await.map_err(look)? {
                        Some(_) => taken(key),
                        None => Error::new(ErrorKind::Transient, key, "somebody else is storing it"),
                    });
                }
                Err(failure) => return Err(failure.while_storing(key, "it could not be sent")),
            }
        }
        let put = put(PutMode::Overwrite).await.map_err(Failure::from);
        put.map(drop).map_err(|failure| failure.while_storing(key, "it could not be sent"))
    }
}

fn taken(key: &Key) -> Error {
    Error::new(ErrorKind::Exists, key, "the name is taken")
}
