use bytes::Bytes;
use fardel_store::{Error, ErrorKind, Key, Result};
use futures::StreamExt;
use futures::future::{BoxFuture, Fuse, FusedFuture, FutureExt};
use futures::stream::{self, Stream};

use super::failure::Failure;
use super::read::read_span;
use super::session::{Handle, Lease};
use super::staging::{Staging, Temporary};
use crate::body::Pieces;
use crate::journal::{Journal, Journals};
use crate::staging;

/// Bodies beyond this are resumed, in bytes.
const RESUMED: u64 = 8 << 20;

/// After so many acknowledged bytes the file is synced, and that written down: more than this is never read again to go on.
const STEP: u64 = 16 << 20;

/// Bodies are read in blocks of this many bytes.
const BLOCK: u64 = 1 << 20;

/// How the note about the name of a temporary begins.
pub(super) const TEMPORARY: &str = "temporary ";

/// One object that is to be stored.
pub(super) struct Put<'a> {
    pub(super) session: &'a Lease,
    pub(super) staging: &'a Staging,
    pub(super) journals: Option<&'a Journals>,
    pub(super) key: &'a Key,
    /// The path of the object at the server.
    pub(super) path: &'a str,
    pub(super) pieces: &'a Pieces,
}

/// A temporary, how much of it need not go, how much of that is durable, and where the latter is written down.
struct Begun {
    temporary: Temporary,
    there: u64,
    durable: u64,
    journal: Option<Journal>,
}

/// Writes down that the temporary is durable from `start` to `end` too, after what was read for it.
fn note(journal: &mut Option<Journal>, start: u64, end: u64, pieces: &Pieces) {
    if let Some(journal) = journal {
        pieces.record(start, end).iter().for_each(|line| journal.note(line));
        journal.note(&format!("durable {end}"));
    }
}

impl Put<'_> {
    /// Stores the object; see the module's documentation.
    ///
    /// # Errors
    /// As [`fardel_store::Store::put_new`].
    pub(super) async fn run(&self) -> Result<()> {
        if self.session.look(self.path).await.map_err(|failure| self.failed("the name", &failure))?.is_some()
        {
            return Err(self.taken());
        }
        let mut begun = self.begin().await?;
        if let Err(failure) = self.fill(&mut begun).await {
            return Err(self.give_up(begun, failure).await);
        }
        let Begun { temporary, journal, .. } = begun;
        let Temporary { file, path } = temporary;
        let published = match file.close().await {
            Ok(()) => self.publish(&path).await,
            Err(failure) => Err(self.explain("closing the temporary", &failure).await),
        };
        if let Err(error) = published {
            if error.kind != ErrorKind::Transient {
                let _ = self.session.remove(&path).await;
                if let Some(journal) = journal {
                    journal.remove();
                }
            }
            return Err(error);
        }
        if let Some(journal) = journal {
            journal.remove();
        }
        self.verify().await
    }

    /// A new temporary, or the one of an upload that was interrupted.
    async fn begin(&self) -> Result<Begun> {
        let len = self.pieces.len();
        let mut journal = None;
        if let Some(journals) = self.journals.filter(|_| len > RESUMED && self.session.can_sync) {
            let opened = journals.open(self.key, len, &self.pieces.hash().await?);
            if let Some((mut opened, notes)) = opened {
                if let Some((name, durable)) = read_notes(&notes, len)
                    && let Some((temporary, size)) = self.take_up(name, durable).await
                {
                    self.pieces.recall_until(durable, &notes);
                    let there = self.compare(&temporary.file, durable, size).await;
                    return Ok(Begun { temporary, there, durable, journal: Some(opened) });
                }
                opened.restart();
                journal = Some(opened);
            }
        }
        let name = staging::new_name()?;
        match self.staging.create(self.session, &name).await {
            Ok(temporary) => {
                if let Some(journal) = &mut journal {
                    journal.note(&format!("{TEMPORARY}{name}"));
                }
                Ok(Begun { temporary, there: 0, durable: 0, journal })
            }
            Err(failure) => Err(self.explain("a temporary could not be made", &failure).await),
        }
    }

    /// The temporary of an earlier upload and its size, if it is there and holds what was made durable.
    async fn take_up(&self, name: &str, durable: u64) -> Option<(Temporary, u64)> {
        let temporary = self.staging.reopen(self.session, name).await.ok()?;
        let size = temporary.file.attributes().await.ok()?.size?;
        (durable..=self.pieces.len()).contains(&size).then_some((temporary, size))
    }

    /// How far a temporary of this size holds the body: behind what is durable, a server that lost its power may have lost some.
    async fn compare(&self, file: &Handle, durable: u64, size: u64) -> u64 {
        let mut end = durable;
        while end + BLOCK <= size {
            let there = read_span(file, self.key, end, BLOCK as usize, self.session).await;
            let here = self.pieces.look(end, BLOCK as usize).await;
            match (there, here) {
                (Ok(there), Ok(here)) if there == here => self.pieces.found(end, &here),
                _ => break,
            }
            end += BLOCK;
        }
        end
    }

    /// Writes what is not durable yet, and makes it so.
    async fn fill(&self, begun: &mut Begun) -> Result<(), Stopped> {
        self.write(begun).await?;
        let (file, len) = (&begun.temporary.file, self.pieces.len());
        let (synced, attributes) = tokio::join!(file.sync(), file.attributes());
        synced.map_err(Stopped::Sync)?;
        let attributes = attributes?;
        if attributes.size != Some(len) {
            let size = attributes.size.map_or_else(|| "an unknown number of".into(), |size| size.to_string());
            return Err(Stopped::Short(format!("the temporary holds {size} bytes instead of {len}")));
        }
        self.pieces.verify().map_err(Stopped::Body)?;
        if let Some(now) = attributes.mtime {
            self.staging.clean(self.session, self.journals, now).await;
        }
        note(&mut begun.journal, begun.durable, len, self.pieces);
        Ok(())
    }

    /// Writes the rest of the body. Acknowledged parts are synced while the next ones are under way.
    async fn write(&self, begun: &mut Begun) -> Result<(), Stopped> {
        let Begun { temporary: Temporary { file, .. }, there, durable, journal } = begun;
        let file = &*file;
        let writes = self.packets(*there).map(|packet| write(file, packet)).buffered(self.session.at_once());
        futures::pin_mut!(writes);
        let mut sync: Fuse<BoxFuture<'_, Result<(), Failure>>> = Fuse::terminated();
        let (mut acknowledged, mut asked) = (*there, *durable);
        loop {
            tokio::select! {
                biased;
                synced = &mut sync => {
                    synced.map_err(Stopped::Sync)?;
                    note(journal, *durable, asked, self.pieces);
                    *durable = asked;
                }
                written = writes.next() => match written {
                    Some(end) => acknowledged = end?,
                    None => return Ok(()),
                },
            }
            // One sync at a time: it covers all that was acknowledged before it was asked for.
            if journal.is_some() && acknowledged >= asked + STEP && sync.is_terminated() {
                asked = acknowledged - acknowledged % BLOCK;
                sync = file.sync().boxed().fuse();
            }
        }
    }

    /// The body from `start` on, in packets with the place of each.
    fn packets(&self, start: u64) -> impl Stream<Item = Result<(u64, Bytes)>> {
        let (len, packet) = (self.pieces.len(), self.session.packet);
        let pieces = self.pieces;
        let starts = (0..).map(move |n| start + n * BLOCK).take_while(move |from| *from < len);
        let blocks = stream::iter(starts)
            .map(move |from| async move { (from, pieces.read(from, BLOCK.min(len - from) as usize).await) });
        blocks.buffered(2).flat_map(move |(from, block)| {
            let packets: Vec<_> = match block {
                Err(error) => vec![Err(error)],
                Ok(block) => (0..block.len())
                    .step_by(packet)
                    .map(|at| Ok((from + at as u64, block.slice(at..block.len().min(at + packet)))))
                    .collect(),
            };
            stream::iter(packets)
        })
    }

    /// Gives the temporary its name.
    async fn publish(&self, temporary: &str) -> Result<()> {
        let mut renamed = self.session.rename(temporary, self.path).await;
        if renamed.as_ref().is_err_and(Failure::is_absent) {
            if let Some((folder, _)) = self.path.rsplit_once('/').filter(|(folder, _)| !folder.is_empty()) {
                let made = self.staging.make_folders(self.session, folder).await;
                if let Err(failure) = made {
                    return Err(self.explain("its folder could not be made", &failure).await);
                }
            }
            renamed = self.session.rename(temporary, self.path).await;
        }
        let Err(failure) = renamed else { return Ok(()) };
        // The protocol has no word for a name that is taken.
        if matches!(failure, Failure::Status(..)) && matches!(self.session.look(self.path).await, Ok(Some(_)))
        {
            return Err(self.taken());
        }
        Err(self.explain("it could not get its name", &failure).await)
    }

    /// Whether the object is there now as long as it should be.
    async fn verify(&self) -> Result<()> {
        let stored = self.session.look(self.path).await;
        let stored = stored.map_err(|failure| failure.while_storing(self.key, "it cannot be looked at"))?;
        let size = stored.and_then(|attributes| attributes.size);
        if size == Some(self.pieces.len()) {
            return Ok(());
        }
        let message = format!("the server has {size:?} bytes of it instead of {}", self.pieces.len());
        Err(Error::new(ErrorKind::Other, self.key, message))
    }

    /// What is left of a temporary that could not be filled.
    async fn give_up(&self, begun: Begun, stopped: Stopped) -> Error {
        let Begun { temporary, journal, .. } = begun;
        let error = match &stopped {
            Stopped::Failed(failure) => self.explain("it could not be written", failure).await,
            Stopped::Body(error) => error.clone(),
            // What a failed sync leaves is not to be trusted: the next attempt begins anew.
            Stopped::Sync(failure) => {
                let error = self.explain("it could not be synced", failure).await;
                let again = error.kind == ErrorKind::Other;
                Error { kind: if again { ErrorKind::Transient } else { error.kind }, ..error }
            }
            Stopped::Short(what) => Error::new(ErrorKind::Transient, self.key, what),
        };
        let goes_on = match &stopped {
            Stopped::Failed(Failure::Lost(_)) | Stopped::Sync(Failure::Lost(_)) => true,
            Stopped::Body(error) => error.kind == ErrorKind::Stopped,
            _ => false,
        };
        if !goes_on || journal.is_none() {
            let _ = self.session.remove(&temporary.path).await;
            if let Some(journal) = journal {
                journal.remove();
            }
        }
        error
    }

    /// A failure in words; a mere "Failure" is looked into, for that is how SFTP says that a disk is full.
    async fn explain(&self, what: &str, failure: &Failure) -> Error {
        let error = self.failed(what, failure);
        if error.kind == ErrorKind::Other {
            let folder = self.staging.root();
            if self.session.is_full(folder, self.pieces.len()).await == Some(true) {
                return Error {
                    kind: ErrorKind::NoSpace,
                    message: format!("{what}: no room is left there"),
                    ..error
                };
            }
        }
        error
    }

    fn failed(&self, what: &str, failure: &Failure) -> Error {
        failure.while_storing(self.key, what)
    }

    fn taken(&self) -> Error {
        Error::new(ErrorKind::Exists, self.key, "the name is taken")
    }
}

/// Why a temporary could not be filled.
enum Stopped {
    Failed(Failure),
    Sync(Failure),
    Body(Error),
    Short(String),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Writes one packet, and returns where it ends.
async fn write(file: &Handle, packet: Result<(u64, Bytes)>) -> Result<u64, Stopped> {
    let (from, bytes) = packet.map_err(Stopped::Body)?;
    file.write(from, &bytes).await?;
    Ok(from + bytes.len() as u64)
}

/// The temporary's name, and how much of it is durable: lines `temporary NAME` first, then `durable END` for each sync, if there was one.
fn read_notes(notes: &[String], len: u64) -> Option<(&str, u64)> {
    let (first, rest) = notes.split_first()?;
    let name = first.strip_prefix(TEMPORARY).filter(|name| staging::is_name(name))?;
    let durable = rest.iter().rev().find_map(|line| line.strip_prefix("durable ")?.parse().ok()).unwrap_or(0);
    (durable <= len).then_some((name, durable))
}
