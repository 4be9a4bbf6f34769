use bytes::Bytes;
use fardel_store::{Error, ErrorKind, Key, Result};
use futures::StreamExt;
use futures::stream::{self, Stream};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::client::{Client, Sent};
use super::failure::Failure;
use super::folders::RemoteFolders;
use crate::body::Pieces;
use crate::staging::{self, STAGING};

/// A body is sent so often: again when its folder was missing, or the server asked for a pause.
const ATTEMPTS: u32 = 4;

/// Bodies are read in blocks of this many bytes.
const BLOCK: u64 = 256 << 10;

/// One object that is to be stored.
pub(super) struct Put<'a> {
    pub(super) client: &'a Client,
    pub(super) folders: &'a RemoteFolders,
    pub(super) key: &'a Key,
    pub(super) pieces: &'a Pieces,
}

impl Put<'_> {
    /// Stores the object; see the module's documentation. Returns the server's time, in seconds since 1970.
    ///
    /// # Errors
    /// As [`fardel_store::Store::put_new`].
    pub(super) async fn run(&self) -> Result<Option<i64>> {
        let failed = |failure: Failure| failure.while_storing(self.key, "the name cannot be looked at");
        if self.client.look(self.key.as_str()).await.map_err(failed)?.is_some() {
            return Err(self.taken());
        }
        let (temporary, now) = self.upload().await?;
        let published = self.publish(&temporary).await;
        if published.is_err() {
            self.discard(&temporary).await;
        }
        published.map(|()| now)
    }

    /// Sends the body to a new temporary, and returns its path once all of it is there.
    async fn upload(&self) -> Result<(String, Option<i64>)> {
        let mut attempt = 1;
        loop {
            let temporary = format!("{STAGING}/{}", staging::new_name()?);
            match self.send(&temporary).await {
                Ok(Sent::Done { now }) => return Ok((temporary, now)),
                Ok(Sent::Wait(pause)) if attempt < ATTEMPTS => {
                    tokio::time::sleep(pause).await;
                }
                Ok(Sent::Wait(pause)) => {
                    let message = "the server asks again and again to wait";
                    return Err(Error::new(ErrorKind::Transient, self.key, message).with_delay(Some(pause)));
                }
                // Somebody removed the folder, empty as it was.
                Err(failure) if failure.may_lack_a_folder() && attempt == 1 => self.folders.forget(),
                Err(failure) => {
                    self.discard(&temporary).await;
                    return Err(failure.while_storing(self.key, "it could not be sent"));
                }
            }
            attempt += 1;
        }
    }

    async fn send(&self, temporary: &str) -> Result<Sent, Failure> {
        self.folders.make_above(temporary).await?;
        let len = self.pieces.len();
        let sent = self.client.put(&self.client.url(temporary), len, blocks(self.pieces.clone())).await?;
        if let Sent::Done { .. } = sent {
            self.pieces.verify().map_err(Failure::Body)?;
            self.compare(temporary).await?;
        }
        Ok(sent)
    }

    /// Whether what lies under a name is as long as the body.
    async fn compare(&self, path: &str) -> Result<(), Failure> {
        let size = self.client.look(path).await?.and_then(|item| item.size);
        if size == Some(self.pieces.len()) {
            return Ok(());
        }
        Err(Failure::Lost(format!("the server has {size:?} bytes of {} at {path}", self.pieces.len())))
    }

    /// Gives the temporary its name.
    async fn publish(&self, temporary: &str) -> Result<()> {
        let failed = |failure: Failure| failure.while_storing(self.key, "it could not get its name");
        let mut moved = self.rename(temporary).await;
        if let Err(failure) = &moved
            && failure.may_lack_a_folder()
            && self.client.look(temporary).await.map_err(failed)?.is_some()
        {
            self.folders.forget();
            moved = self.rename(temporary).await;
        }
        match moved {
            Ok(()) => self.compare(self.key.as_str()).await.map_err(failed),
            Err(failure) if failure.kind() == ErrorKind::Exists => Err(self.taken()),
            // Whether it is done nobody knows: whoever tries again finds out.
            Err(failure) => Err(failed(failure)),
        }
    }

    async fn rename(&self, temporary: &str) -> Result<(), Failure> {
        self.folders.make_above(self.key.as_str()).await?;
        let to = self.client.url(self.key.as_str());
        let to = HeaderValue::from_str(to.as_str()).map_err(|error| Failure::Protocol(error.to_string()))?;
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("destination"), to),
            (HeaderName::from_static("overwrite"), HeaderValue::from_static("F")),
        ]);
        self.client.tell("MOVE", &self.client.url(temporary), headers).await.map(drop)
    }

    /// Removes a temporary, as far as that is possible: one that stays is only litter.
    async fn discard(&self, temporary: &str) {
        self.folders.discarded.note(temporary.to_owned());
        let _ = self.client.tell("DELETE", &self.client.url(temporary), HeaderMap::new()).await;
    }

    fn taken(&self) -> Error {
        Error::new(ErrorKind::Exists, self.key, "the name is taken")
    }
}

fn blocks(pieces: Pieces) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    let len = pieces.len();
    let starts = stream::iter((0..).map(|n| n * BLOCK).take_while(move |start| *start < len));
    starts.then(move |start| {
        let pieces = pieces.clone();
        async move { pieces.read(start, BLOCK.min(len - start) as usize).await }
    })
}
