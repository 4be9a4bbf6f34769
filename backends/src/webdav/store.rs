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
use futures::stream::BoxStream;
use reqwest::Url;
use reqwest::header::HeaderMap;

use super::client::Client;
use super::credentials::Credentials;
use super::folders::RemoteFolders;
use super::put::Put;
use super::read;
use crate::body::{self, Pieces};
use crate::litter::ABANDONED;
use crate::staging::{STAGING, is_name};
use crate::turns::Turns;
use crate::{tls, walk};

/// Some services allow ten connections in all.
const PARALLELISM: usize = 6;

/// Where a repository lies, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebDavOptions {
    /// The folder: `http://…` or `https://…`. Proxies are those of the environment (`HTTPS_PROXY`, `NO_PROXY` and so on).
    pub url: String,
    /// What the server is shown; sent at once, as most of these services expect it.
    pub credentials: Credentials,
    /// A PEM file of certificates that are trusted besides those of the system.
    pub certificates: Option<PathBuf>,
    /// A request in which nothing has moved for so long is given up.
    pub stall: Duration,
}

impl WebDavOptions {
    /// A folder that is reached without a password; two minutes without a byte are too long.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            credentials: Credentials::None,
            certificates: None,
            stall: Duration::from_secs(120),
        }
    }
}

/// A folder of a WebDAV server as a store; clones share the connections.
///
/// Opening connects to nothing and makes nothing.
#[derive(Clone)]
pub struct WebDavStore {
    pub(super) client: Arc<Client>,
    pub(super) folders: RemoteFolders,
    turns: Arc<Turns>,
    cleaned: Arc<AtomicBool>,
}

impl WebDavStore {
    /// The store of these options.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the URL is none, holds a name or a password, or the certificates cannot be read.
    pub fn open(options: &WebDavOptions) -> Result<Self> {
        // The URL is not repeated: it may hold a password.
        let invalid = |what: &str| Error::new(ErrorKind::Invalid, "WebDAV", what);
        let mut root = Url::parse(&options.url).map_err(|error| invalid(&format!("no URL: {error}")))?;
        if !matches!(root.scheme(), "http" | "https") || !root.has_host() {
            return Err(invalid("no URL that begins with http:// or https:// and a host"));
        }
        if !root.username().is_empty() || root.password().is_some() {
            return Err(invalid("a name or a password stands in the URL; they belong into the credentials"));
        }
        if root.query().is_some() || root.fragment().is_some() {
            return Err(invalid("a folder's URL has no ? and no #"));
        }
        if !root.path().ends_with('/') {
            root.set_path(&format!("{}/", root.path()));
        }
        let pem = options.certificates.as_deref().map(tls::read_certificates).transpose()?;
        let client = Client::new(root, options.credentials.clone(), pem.as_deref(), options.stall)?;
        let client = Arc::new(client);
        let folders = RemoteFolders::new(client.clone());
        Ok(Self { client, folders, turns: Arc::default(), cleaned: Arc::default() })
    }

    /// Removes temporaries that nobody has written to for days, once. Best effort: one that stays is only litter.
    async fn clean(&self, now: i64) {
        if self.cleaned.swap(true, Ordering::Relaxed) {
            return;
        }
        let folder = self.client.url(&format!("{STAGING}/"));
        let items = self.client.propfind(&folder, "1").await.ok().flatten().unwrap_or_default();
        for item in items {
            let name = item.path.rsplit('/').next().unwrap_or_default();
            let age = item.modified.and_then(|modified| u64::try_from(now - modified).ok());
            if !item.is_folder && is_name(name) && age.is_some_and(|age| age > ABANDONED) {
                let url = self.client.url(&format!("{STAGING}/{name}"));
                if self.client.tell("DELETE", &url, HeaderMap::new()).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl fmt::Debug for WebDavStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebDavStore").field("root", &self.client.url("").as_str()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for WebDavStore {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        let pieces = Pieces::open(&body)?;
        let turn = self.turns.take(key).await;
        let put = Put { client: &self.client, folders: &self.folders, key, pieces: &pieces };
        let now = put.run().await?;
        drop(turn);
        body::remove_file(&body);
        if let Some(now) = now {
            self.clean(now).await;
        }
        Ok(())
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        read::read(&self.client, key, range).await
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        walk::walk(self.folders.clone(), prefix)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        // DELETE of a folder would take all that is in it.
        let about = |failure: super::failure::Failure| failure.about(key);
        match self.client.look(key.as_str()).await.map_err(about)? {
            None => Ok(()),
            Some(item) if item.is_folder => {
                Err(Error::new(ErrorKind::Other, key, "a folder has this name: it is left as it is"))
            }
            Some(_) => {
                match self.client.tell("DELETE", &self.client.url(key.as_str()), HeaderMap::new()).await {
                    Err(failure) if failure.kind() != ErrorKind::NotFound => Err(about(failure)),
                    _ => Ok(()),
                }
            }
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            listing: Listing::Strong,
            max_object: i64::MAX.unsigned_abs(),
            parallelism: PARALLELISM,
            staging: None,
            files: None,
        }
    }

    fn put_requests(&self, _len: u64) -> u64 {
        // PUT and MOVE, and three looks around them.
        5
    }

    async fn examine(&self, scratch: &Prefix) -> Result<Vec<Finding>> {
        self.look_around(scratch).await
    }

    async fn remove_made_folders(&self) -> Result<Vec<String>> {
        self.folders.remove_made().await
    }
}
