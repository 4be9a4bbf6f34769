use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fardel_store::{
    Body, ByteRange, Capabilities, Error, ErrorKind, Finding, Key, Listed, Listing, Prefix, Result, Store,
};
use futures::stream::BoxStream;
use russh_sftp::protocol::StatusCode;

use super::failure::Failure;
use super::pool::Pool;
use super::put::Put;
use super::staging::Staging;
use super::walk::RemoteFolders;
use super::{SshHost, ciphers, read};
use crate::body::{self, Pieces};
use crate::journal::Journals;
use crate::walk;

/// Where a repository lies, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SftpOptions {
    /// The command whose standard input and output speak SFTP: [`SshHost::command`], or another one.
    pub command: Vec<String>,
    /// The folder at the server: absolute, or relative to where the server begins.
    pub folder: String,
    /// How messages call this place; without secrets.
    pub place: String,
    /// Connections at once, at most.
    pub connections: usize,
    /// A connection on which nothing has moved for so long is given up.
    pub stall: Duration,
    /// Where it is written down how far an upload got, so that the next one goes on; `None` to begin anew each time.
    pub journal: Option<PathBuf>,
}

impl SftpOptions {
    /// A folder of a machine that `ssh` reaches: four connections, a minute without a byte, no journal. `ssh` is asked for what its
    /// configuration allows, and connects to nothing yet.
    #[must_use]
    pub fn new(host: &SshHost, folder: &str, place: &str) -> Self {
        Self {
            command: ciphers::prefer(host.command()),
            folder: folder.to_owned(),
            place: place.to_owned(),
            connections: 4,
            stall: Duration::from_secs(60),
            journal: None,
        }
    }
}

/// A folder of another machine as a store; clones share the connections.
///
/// Opening connects to nothing and makes nothing.
#[derive(Clone)]
pub struct SftpStore {
    pub(super) pool: Arc<Pool>,
    pub(super) staging: Arc<Staging>,
    journals: Option<Journals>,
    /// Ends in `/`, unless it is empty.
    pub(super) root: Arc<str>,
    place: String,
    connections: usize,
}

impl SftpStore {
    /// The store of these options.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when there is no command, or the folder holds a NUL.
    pub fn open(options: SftpOptions) -> Result<Self> {
        let SftpOptions { command, folder, place, connections, stall, journal } = options;
        if command.is_empty() || folder.contains('\0') {
            return Err(Error::new(ErrorKind::Invalid, place, "there is no command, or no such folder"));
        }
        let root = match folder.trim_end_matches('/') {
            "" if folder.is_empty() => String::new(),
            folder => format!("{folder}/"),
        };
        Ok(Self {
            staging: Arc::new(Staging::new(&root)),
            // The command is a part of the name: it may be all that tells two machines apart.
            journals: journal.map(|folder| Journals::new(&folder, &format!("{command:?} {root}"))),
            pool: Arc::new(Pool::new(command, place.clone(), connections, stall)),
            root: root.into(),
            place,
            connections,
        })
    }

    fn path(&self, key: &Key) -> String {
        format!("{}{key}", self.root)
    }
}

impl fmt::Debug for SftpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpStore").field("place", &self.place).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SftpStore {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        let pieces = Pieces::open(&body)?;
        let session = self.pool.lease().await?;
        let put = Put {
            session: &session,
            staging: &self.staging,
            journals: self.journals.as_ref(),
            key,
            path: &self.path(key),
            pieces: &pieces,
        };
        put.run().await?;
        body::remove_file(&body);
        Ok(())
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        let session = self.pool.lease().await?;
        read::read(&session, key, &self.path(key), range).await
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        walk::walk(RemoteFolders { pool: self.pool.clone(), root: self.root.clone() }, prefix)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let session = self.pool.lease().await?;
        let path = self.path(key);
        match session.remove(&path).await {
            Ok(()) => Ok(()),
            Err(failure) if failure.is_absent() => Ok(()),
            Err(failure) => match session.look(&path).await {
                // Removed all the same, or by somebody else meanwhile.
                Ok(None) => Ok(()),
                _ => Err(failure.about(key)),
            },
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            listing: Listing::Strong,
            max_object: i64::MAX.unsigned_abs(),
            parallelism: 2 * self.connections,
            staging: None,
            files: None,
        }
    }

    async fn examine(&self, scratch: &Prefix) -> Result<Vec<Finding>> {
        self.look_around(scratch).await
    }

    async fn remove_made_folders(&self) -> Result<Vec<String>> {
        let made = self.staging.made.take();
        if made.is_empty() {
            return Ok(Vec::new());
        }
        let session = self.pool.lease().await?;
        for folder in made {
            match session.remove_folder(&folder).await {
                // It is gone, or something is in it: the protocol has no word for that.
                Ok(()) | Err(Failure::Status(StatusCode::NoSuchFile | StatusCode::Failure, _)) => {}
                Err(failure) => return Err(failure.about(&folder)),
            }
        }
        Ok(Vec::new())
    }
}
