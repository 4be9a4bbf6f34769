use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fardel_store::{
    Body, ByteRange, Capabilities, Error, ErrorKind, Finding, Key, Listed, Listing, Prefix, Result, Store,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::sync::OnceCell;

use super::client::Clients;
use super::multipart::MOST_PARTS;
use super::put::Puts;
use crate::Secret;
use crate::body::{self, Pieces};
use crate::cloud::examine;
use crate::cloud::failure::Failure;
use crate::cloud::read;
use crate::journal::Journals;
use crate::turns::Turns;

/// The smallest part that services take, in bytes.
const SMALLEST_PART: u64 = 5 << 20;

/// Requests at once.
const PARALLELISM: usize = 8;

/// Where a repository lies, and how it is reached. Proxies are those of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Options {
    /// The bucket; it has to be there.
    pub bucket: String,
    /// What all names begin with, `/` between parts; empty for the whole bucket.
    pub prefix: String,
    /// `http://…` or `https://…` of the service; `None` for the one in the environment or in the profile, else Amazon's.
    pub endpoint: Option<String>,
    /// The region; `None` for the one in the environment or in the profile, else `us-east-1`.
    pub region: Option<String>,
    /// A profile in `~/.aws`; `None` for `AWS_PROFILE`, or `default` where the environment has no keys.
    pub profile: Option<String>,
    /// Key and secret; `None` for the environment (`AWS_ACCESS_KEY_ID` and so on, web identity, containers), then the profile,
    /// then those of the virtual machine.
    pub keys: Option<(String, Secret)>,
    /// Whether the endpoint's host names the bucket already, instead of the path.
    pub virtual_host: bool,
    /// A PEM file of certificates that are trusted besides those of the system.
    pub certificates: Option<PathBuf>,
    /// Bodies beyond this go in parts of this length, in bytes; at least 5 MiB.
    pub part_size: u64,
    /// Parts under way at once, each of them in memory and of another object.
    pub parts_at_once: usize,
    /// A request in which nothing has moved for so long is given up.
    pub stall: Duration,
    /// Whether a listing shows all that was stored before: so do Amazon, Ceph, MinIO and most others.
    pub listing: Listing,
    /// Where it is written down how far an upload got, so that the next one goes on; `None` to begin anew each time.
    pub journal: Option<PathBuf>,
}

impl S3Options {
    /// A bucket, and the usual for the rest: parts of 8 MiB, four at once, a minute without a byte.
    #[must_use]
    pub fn new(bucket: &str, prefix: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            region: None,
            profile: None,
            keys: None,
            virtual_host: false,
            certificates: None,
            part_size: 8 << 20,
            parts_at_once: 4,
            stall: Duration::from_secs(60),
            listing: Listing::Strong,
            journal: None,
        }
    }
}

/// A part of a bucket as a store; clones share the connections.
///
/// Opening connects to nothing and makes nothing.
#[derive(Clone)]
pub struct S3Store {
    pub(super) clients: Clients,
    puts: Arc<Puts>,
    turns: Arc<Turns>,
    cleaned: Arc<AtomicBool>,
    prefix: Arc<str>,
    place: String,
    listing: Listing,
    part_size: u64,
    retention: Arc<OnceCell<Duration>>,
}

impl S3Store {
    /// The store of these options.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when they cannot be used.
    pub fn open(options: &S3Options) -> Result<Self> {
        let place = format!("s3://{}/{}", options.bucket, options.prefix);
        let invalid = |what: String| Error::new(ErrorKind::Invalid, &place, what);
        let prefix = Path::parse(&options.prefix).map_err(|error| invalid(error.to_string()))?;
        let prefix = if prefix.as_ref().is_empty() { String::new() } else { format!("{prefix}/") };
        if options.part_size < SMALLEST_PART {
            return Err(invalid(format!("parts are at least {SMALLEST_PART} bytes")));
        }
        let clients = Clients::new(options)?;
        let endpoint = options.endpoint.as_deref().unwrap_or_default();
        let journals =
            options.journal.as_ref().map(|folder| Journals::new(folder, &format!("{endpoint} {place}")));
        let puts = Puts::new(clients.clone(), journals, options.part_size, options.parts_at_once);
        Ok(Self {
            clients,
            puts: Arc::new(puts),
            turns: Arc::default(),
            cleaned: Arc::default(),
            prefix: prefix.into(),
            place,
            listing: options.listing,
            part_size: options.part_size,
            retention: Arc::default(),
        })
    }

    pub(super) fn path(&self, key: &Key) -> Result<Path> {
        Path::parse(format!("{}{key}", self.prefix))
            .map_err(|error| Error::new(ErrorKind::Invalid, key, error))
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("place", &self.place).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for S3Store {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        let (pieces, path) = (Pieces::open(&body)?, self.path(key)?);
        let turn = self.turns.take(key).await;
        self.puts.put_new(key, &path, &pieces).await?;
        drop(turn);
        body::remove_file(&body);
        if !self.cleaned.swap(true, Ordering::Relaxed) {
            self.puts.give_up_orphans(&self.prefix).await;
        }
        Ok(())
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        read::read(&self.clients.reader, key, &self.path(key)?, range).await
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        let prefix = match Prefix::new(prefix) {
            Ok(prefix) => format!("{}{}", self.prefix, prefix.as_str()),
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let pages = stream::try_unfold(Some(None), move |after: Option<Option<String>>| {
            let prefix = prefix.clone();
            async move {
                let Some(after) = after else { return Ok(None) };
                let page = self.clients.requests.names(&prefix, after.as_deref()).await;
                let page = page.map_err(|failure| failure.about(&self.place))?;
                Ok::<_, Error>(Some((page.names, page.next.map(Some))))
            }
        });
        let below = |listed: Listed| {
            // Consoles make an empty object for a folder: this one would be the folder itself.
            let name = listed.name.strip_prefix(&*self.prefix).filter(|name| !name.is_empty())?;
            Some(Ok(Listed { name: name.to_owned(), ..listed }))
        };
        pages.map_ok(move |names| stream::iter(names.into_iter().filter_map(below))).try_flatten().boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        match self.clients.writer.delete(&self.path(key)?).await.map_err(Failure::from) {
            Err(failure) if failure.kind() != ErrorKind::NotFound => Err(failure.about(key)),
            _ => Ok(()),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            listing: self.listing,
            max_object: self.part_size.saturating_mul(MOST_PARTS),
            parallelism: PARALLELISM,
            staging: None,
            files: None,
        }
    }

    async fn retention(&self) -> Result<Duration> {
        let asked = self.retention.get_or_try_init(|| self.clients.requests.retention()).await;
        asked.copied().map_err(|failure| failure.about(&self.place))
    }

    fn put_requests(&self, len: u64) -> u64 {
        // The name is looked at before and after; an upload in parts has a beginning and an end.
        2 + if len > self.part_size { 2 + len.div_ceil(self.part_size) } else { 1 }
    }

    async fn examine(&self, scratch: &Prefix) -> Result<Vec<Finding>> {
        let path_of = |key: &Key| self.path(key);
        let mut findings =
            examine::look_around(&self.clients.writer, "If-None-Match: *", scratch, path_of).await?;
        let days = self.retention().await?.as_secs() / (24 * 3600);
        if days > 0 {
            let what = format!("the bucket keeps every object for {days} days, also a deleted one");
            findings.push(Finding::ok(what, "`fardel prune` deletes nothing that is younger"));
        }
        Ok(findings)
    }
}
