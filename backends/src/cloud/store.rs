use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fardel_store::{
    Body, ByteRange, Capabilities, Error, ErrorKind, Finding, Key, Listed, Listing, Prefix, Result, Store,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use tokio::sync::Semaphore;

use super::connector::{CONNECT, Connector, READS};
use super::examine;
use super::failure::Failure;
use super::read;
use crate::body::{self, Pieces};
use crate::tls;
use crate::turns::Turns;

/// So many parts an object has at most.
const MOST_PARTS: u64 = 10_000;

/// Requests at once.
const PARALLELISM: usize = 8;

/// What is the same for all services. Proxies are those of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudOptions {
    /// A PEM file of certificates that are trusted besides those of the system.
    pub certificates: Option<PathBuf>,
    /// Bodies beyond this go in parts of this length, in bytes; at least 5 MiB.
    pub part_size: u64,
    /// Parts under way at once, each of them in memory and of another object.
    pub parts_at_once: usize,
    /// A request in which nothing has moved for so long is given up.
    pub stall: Duration,
}

impl Default for CloudOptions {
    fn default() -> Self {
        let stall = Duration::from_secs(60);
        Self { certificates: None, part_size: 8 << 20, parts_at_once: 4, stall }
    }
}

/// A client of some service.
pub(super) trait Service: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Service for T {}

/// Two clients of one bucket.
pub(super) struct Pair {
    /// Repeats what failed: reading changes nothing.
    reader: Arc<dyn Service>,
    /// Repeats nothing.
    writer: Arc<dyn Service>,
}

impl Pair {
    /// Both of what `build` makes.
    pub(super) fn new(
        options: &CloudOptions,
        build: impl Fn(Connector, ClientOptions, RetryConfig) -> Result<Arc<dyn Service>>,
    ) -> Result<Self> {
        tls::prepare();
        let pem = options.certificates.as_deref().map(tls::read_certificates).transpose()?;
        let client_options = ClientOptions::new().with_connect_timeout(CONNECT).with_allow_http(true);
        let build = |is_reader, max_retries| {
            let connector = Connector::new(pem.clone(), options.stall, &client_options, is_reader);
            let retry = RetryConfig { max_retries, ..RetryConfig::default() };
            build(connector, client_options.clone(), retry)
        };
        Ok(Self { reader: build(true, READS)?, writer: build(false, 0)? })
    }
}

/// A part of a bucket or a container as a store; clones share the connections.
#[derive(Clone)]
pub struct CloudStore {
    clients: Arc<Pair>,
    turns: Arc<Turns>,
    /// One for each part that may be in memory.
    memory: Arc<Semaphore>,
    prefix: Arc<str>,
    place: String,
    part_size: u64,
    condition: &'static str,
}

impl CloudStore {
    /// `condition` is the header by which the service stores only where nothing is.
    pub(super) fn of(
        clients: Pair,
        place: String,
        prefix: &str,
        options: &CloudOptions,
        condition: &'static str,
    ) -> Result<Self> {
        let invalid = |what: String| Error::new(ErrorKind::Invalid, &place, what);
        let prefix = Path::parse(prefix).map_err(|error| invalid(error.to_string()))?;
        let prefix = if prefix.as_ref().is_empty() { String::new() } else { format!("{prefix}/") };
        if options.part_size < 5 << 20 {
            return Err(invalid("parts are at least 5 MiB".into()));
        }
        Ok(Self {
            clients: Arc::new(clients),
            turns: Arc::default(),
            memory: Arc::new(Semaphore::new(options.parts_at_once.max(1))),
            prefix: prefix.into(),
            place,
            part_size: options.part_size,
            condition,
        })
    }

    fn path(&self, key: &Key) -> Result<Path> {
        Path::parse(format!("{}{key}", self.prefix))
            .map_err(|error| Error::new(ErrorKind::Invalid, key, error))
    }

    /// The length of an object; `None` when there is none.
    async fn size(&self, path: &Path) -> Result<Option<u64>, Failure> {
        match self.clients.reader.head(path).await.map_err(Failure::from) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(failure) if failure.kind() == ErrorKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn put(&self, key: &Key, path: &Path, pieces: &Pieces) -> Result<()> {
        let look = |failure: Failure| failure.while_storing(key, "the name cannot be looked at");
        let taken = || Error::new(ErrorKind::Exists, key, "the name is taken");
        if self.size(path).await.map_err(look)?.is_some() {
            return Err(taken());
        }
        let sent = if pieces.len() > self.part_size {
            self.put_large(path, pieces).await
        } else {
            self.put_small(path, pieces).await
        };
        match sent {
            // Somebody else was first, or is about to be, who may fail.
            Err(failure) if failure.kind() == ErrorKind::Exists => {
                return Err(match self.size(path).await.map_err(look)? {
                    Some(_) => taken(),
                    None => Error::new(ErrorKind::Transient, key, "somebody else is storing it"),
                });
            }
            sent => sent.map_err(|failure| failure.while_storing(key, "it could not be sent"))?,
        }
        match self.size(path).await.map_err(look)? {
            Some(size) if size == pieces.len() => Ok(()),
            size => {
                let message = format!("the service has {size:?} bytes of it instead of {}", pieces.len());
                Err(Error::new(ErrorKind::Other, key, message))
            }
        }
    }

    async fn put_small(&self, path: &Path, pieces: &Pieces) -> Result<(), Failure> {
        let _admitted = self.memory.acquire().await;
        let payload = read_part(pieces, 0, pieces.len()).await?;
        pieces.verify().map_err(|error| Failure::of_body(&error))?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.clients.writer.put_opts(path, payload, options).await?;
        Ok(())
    }

    /// One part after the other; when one fails, the upload is given up.
    async fn put_large(&self, path: &Path, pieces: &Pieces) -> Result<(), Failure> {
        let writer = &self.clients.writer;
        let id = writer.create_multipart(path).await?;
        let sent = async {
            let least = pieces.len().div_ceil(MOST_PARTS).next_multiple_of(1 << 20);
            let part_size = self.part_size.max(least);
            let mut parts = Vec::new();
            for (number, start) in (0..pieces.len()).step_by(in_steps(part_size)).enumerate() {
                let _admitted = self.memory.acquire().await;
                let payload = read_part(pieces, start, part_size.min(pieces.len() - start)).await?;
                parts.push(writer.put_part(path, &id, number, payload).await?);
            }
            pieces.verify().map_err(|error| Failure::of_body(&error))?;
            writer.complete_multipart(path, &id, parts).await?;
            Ok(())
        };
        let sent = sent.await;
        if sent.is_err() {
            let _ = writer.abort_multipart(path, &id).await;
        }
        sent
    }
}

fn in_steps(part_size: u64) -> usize {
    usize::try_from(part_size).unwrap_or(usize::MAX)
}

async fn read_part(pieces: &Pieces, start: u64, len: u64) -> Result<PutPayload, Failure> {
    let bytes = pieces.read(start, usize::try_from(len).unwrap_or(usize::MAX)).await;
    Ok(PutPayload::from_bytes(bytes.map_err(|error| Failure::of_body(&error))?))
}

impl fmt::Debug for CloudStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudStore").field("place", &self.place).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for CloudStore {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        let (pieces, path) = (Pieces::open(&body)?, self.path(key)?);
        let turn = self.turns.take(key).await;
        self.put(key, &path, &pieces).await?;
        drop(turn);
        body::remove_file(&body);
        Ok(())
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        read::read(&*self.clients.reader, key, &self.path(key)?, range).await
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        let path = Prefix::new(prefix).and_then(|prefix| {
            let path = format!("{}{}", self.prefix, prefix.as_str());
            Path::parse(path).map_err(|error| Error::new(ErrorKind::Invalid, prefix.as_str(), error))
        });
        let path = match path {
            Ok(path) => path,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let names = self.clients.reader.list(Some(&path)).filter_map(move |listed| {
            let listed = match listed {
                Ok(meta) => {
                    let name = meta.location.as_ref().strip_prefix(&*self.prefix);
                    name.map(|name| Ok(Listed { name: name.to_owned(), size: meta.size }))
                }
                Err(error) => Some(Err(Failure::from(error).about(&self.place))),
            };
            std::future::ready(listed)
        });
        names.boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        match self.clients.writer.delete(&self.path(key)?).await.map_err(Failure::from) {
            Err(failure) if failure.kind() != ErrorKind::NotFound => Err(failure.about(key)),
            _ => Ok(()),
        }
    }

    async fn examine(&self, scratch: &Prefix) -> Result<Vec<Finding>> {
        examine::look_around(&*self.clients.writer, self.condition, scratch, |key| self.path(key)).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Both services promise it.
            listing: Listing::Strong,
            max_object: self.part_size.saturating_mul(MOST_PARTS),
            parallelism: PARALLELISM,
            staging: None,
            files: None,
        }
    }

    fn put_requests(&self, len: u64) -> u64 {
        // The name is looked at before and after; an upload in parts has a beginning and an end.
        2 + if len > self.part_size { 2 + len.div_ceil(self.part_size) } else { 1 }
    }
}
