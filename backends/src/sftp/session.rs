use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fardel_store::{Error, ErrorKind, Result};
use russh_sftp::client::Config;
use russh_sftp::client::rawsession::{RawSftpSession, SftpResult};
use russh_sftp::extensions::{FSYNC, LIMITS, STATVFS};
use russh_sftp::protocol::{Attrs, FileAttributes, OpenFlags};
use tokio::process::Child;
use tokio::sync::Semaphore;

use super::child::{self, Running, Said};
use super::failure::Failure;
use super::link::Link;
use crate::pulse::{Pulse, Stopped};

/// Bytes that are under way on one connection at once.
const WINDOW: usize = 2 << 20;

/// Bytes in a request where the server does not tell what it takes: every server must take a packet of 34,000 bytes.
const PACKET: usize = 32 << 10;

/// Bytes in a request where the server takes as much: larger ones gain nothing more.
const LARGE_PACKET: usize = 128 << 10;

/// The library's own timeout counts from the sending, which is wrong on a slow line: ours counts from the last byte.
const NEVER: u64 = 365 * 24 * 3600;

/// A sync may take so many times longer than any other request.
const SYNC_PATIENCE: u32 = 5;

/// One connection: a child process and the SFTP session over its pipes.
pub(super) struct Session {
    raw: RawSftpSession,
    pulse: Arc<Pulse>,
    said: Said,
    window: Semaphore,
    stall: Duration,
    /// Whether the server can sync a file.
    pub(super) can_sync: bool,
    can_tell_space: bool,
    /// What the server offers beyond the protocol.
    pub(super) extensions: Vec<String>,
    /// Bytes in one read, and in one write.
    pub(super) packet: usize,
    /// Operations that use it now.
    pub(super) active: AtomicUsize,
    _child: Child,
}

impl Session {
    /// Starts `command` and greets the server behind it; `stall` is how long nothing may move.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it lets nobody in; [`ErrorKind::Transient`] when it cannot be reached.
    pub(super) async fn connect(command: &[String], place: &str, stall: Duration) -> Result<Self> {
        let Running { child, stdin, stdout, said, listener } = child::start(command, place)?;
        let pulse = Pulse::new();
        let link = Link::new(tokio::io::join(stdout, stdin), pulse.clone());
        let config = Config { request_timeout_secs: NEVER, ..Config::default() };
        let raw = RawSftpSession::new_with_config(link, config);
        let mut session = Self {
            raw,
            pulse,
            said,
            window: Semaphore::new(WINDOW / PACKET),
            stall,
            can_sync: false,
            can_tell_space: false,
            extensions: Vec::new(),
            packet: PACKET,
            active: AtomicUsize::new(0),
            _child: child,
        };
        match session.greet().await {
            Ok(()) => Ok(session),
            Err(failure) => {
                // What it said last tells why it ended.
                let _ = tokio::time::timeout(Duration::from_secs(1), listener).await;
                Err(unreachable(place, command, &session.said.last(), &failure))
            }
        }
    }

    async fn greet(&mut self) -> Result<(), Failure> {
        let version = self.wait(self.raw.init()).await?;
        let has = |name: &str| version.extensions.contains_key(name);
        self.can_sync = has(FSYNC);
        self.can_tell_space = has(STATVFS);
        self.extensions =
            version.extensions.keys().map(|name| name.split('@').next().unwrap_or(name).to_owned()).collect();
        self.extensions.sort();
        if has(LIMITS) {
            // Zero means no limit.
            let limits = self.wait(self.raw.limits()).await?;
            let told = [limits.max_read_len, limits.max_write_len].into_iter().filter(|most| *most > 0);
            let most = told.min().map_or(PACKET, |most| usize::try_from(most).unwrap_or(usize::MAX));
            self.packet = most.min(LARGE_PACKET);
            self.window = Semaphore::new(self.at_once());
        }
        Ok(())
    }

    /// How many requests that carry data are under way at once.
    pub(super) fn at_once(&self) -> usize {
        (WINDOW / self.packet).max(1)
    }

    /// Whether nothing more can be asked of it.
    pub(super) fn is_lost(&self) -> bool {
        self.pulse.has_ended()
    }

    /// The answer to a request, unless the connection ends or stands still.
    pub(super) async fn wait<T>(&self, request: impl Future<Output = SftpResult<T>>) -> Result<T, Failure> {
        self.wait_longer(request, self.stall).await
    }

    async fn wait_longer<T>(
        &self,
        request: impl Future<Output = SftpResult<T>>,
        stall: Duration,
    ) -> Result<T, Failure> {
        match self.pulse.watch(request, stall).await {
            Ok(answer) => answer.map_err(|error| self.explain(error.into())),
            Err(stopped @ Stopped::Ended) => Err(self.explain(Failure::Lost(stopped.to_string()))),
            Err(stopped @ Stopped::Still(_)) => Err(Failure::Lost(stopped.to_string())),
        }
    }

    /// A lost connection, with the last words of the child.
    fn explain(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Lost(what) => {
                self.pulse.end();
                let said = self.said.last();
                Failure::Lost(if said.is_empty() { what } else { said })
            }
            failure => failure,
        }
    }

    /// Opens a file.
    pub(super) async fn open(self: &Arc<Self>, path: &str, flags: OpenFlags) -> Result<Handle, Failure> {
        let opened = self.wait(self.raw.open(path, flags, FileAttributes::empty())).await?;
        Ok(Handle { session: self.clone(), id: Some(opened.handle) })
    }

    /// Attributes of what lies under a name, links not followed; `None` when nothing does.
    pub(super) async fn look(&self, path: &str) -> Result<Option<FileAttributes>, Failure> {
        match self.wait(self.raw.lstat(path)).await {
            Ok(Attrs { attrs, .. }) => Ok(Some(attrs)),
            Err(failure) if failure.is_absent() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Whether a folder lies under a name, or a link to one.
    pub(super) async fn is_folder(&self, path: &str) -> Result<bool, Failure> {
        match self.wait(self.raw.stat(path)).await {
            Ok(Attrs { attrs, .. }) => Ok(attrs.is_dir()),
            Err(failure) if failure.is_absent() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn rename(&self, from: &str, to: &str) -> Result<(), Failure> {
        self.wait(self.raw.rename(from, to)).await.map(drop)
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), Failure> {
        self.wait(self.raw.remove(path)).await.map(drop)
    }

    pub(super) async fn remove_folder(&self, path: &str) -> Result<(), Failure> {
        self.wait(self.raw.rmdir(path)).await.map(drop)
    }

    pub(super) async fn make_folder(&self, path: &str) -> Result<(), Failure> {
        self.wait(self.raw.mkdir(path, FileAttributes::empty())).await.map(drop)
    }

    /// Everything in a folder but itself and the one above; refused beyond `most` names.
    pub(super) async fn folder(
        self: &Arc<Self>,
        path: &str,
        most: usize,
    ) -> Result<Vec<(String, FileAttributes)>, Failure> {
        let opened = self.wait(self.raw.opendir(path)).await?;
        let handle = Handle { session: self.clone(), id: Some(opened.handle) };
        let mut names = Vec::new();
        loop {
            match self.wait(self.raw.readdir(handle.id())).await {
                Ok(batch) if batch.files.is_empty() => break,
                Ok(batch) => {
                    let files = batch.files.into_iter().filter(|file| !matches!(&*file.filename, "." | ".."));
                    names.extend(files.map(|file| (file.filename, file.attrs)));
                }
                Err(Failure::Status(russh_sftp::protocol::StatusCode::Eof, _)) => break,
                Err(failure) => return Err(failure),
            }
            if names.len() > most {
                return Err(Failure::Protocol(format!("more than {most} names in one folder")));
            }
        }
        Ok(names)
    }

    /// Whether the file system that holds `path` is full for us; `None` when the server does not tell.
    pub(super) async fn is_full(&self, path: &str, len: u64) -> Option<bool> {
        let room = self.room(path).await?;
        Some(room.free < len.max(1) || room.files == Some(0))
    }

    /// The room on the file system that holds `path`; `None` when the server does not tell.
    pub(super) async fn room(&self, path: &str) -> Option<Room> {
        if !self.can_tell_space {
            return None;
        }
        let space = self.wait(self.raw.statvfs(path)).await.ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.fragment_size.max(1));
        Some(Room {
            total: bytes(space.blocks),
            free: bytes(space.blocks_avail),
            // A file system without a number of inodes tells zero of zero.
            files: (space.inodes > 0).then_some(space.inodes_avail),
        })
    }
}

/// How much fits on a file system.
pub(super) struct Room {
    /// Bytes in all.
    pub(super) total: u64,
    /// Bytes that are free for us.
    pub(super) free: u64,
    /// How many more files fit, where there is a bound.
    pub(super) files: Option<u64>,
}

/// An open file or folder at the server, closed when dropped.
pub(super) struct Handle {
    session: Arc<Session>,
    id: Option<String>,
}

impl Handle {
    fn id(&self) -> String {
        self.id.clone().unwrap_or_default()
    }

    /// Bytes from `start`, at most `len`; `None` at the end of the file.
    pub(super) async fn read(&self, start: u64, len: usize) -> Result<Option<Vec<u8>>, Failure> {
        let _admitted = self.session.window.acquire().await;
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        match self.session.wait(self.session.raw.read(self.id(), start, len)).await {
            Ok(answer) if answer.data.len() > len as usize => {
                Err(Failure::Protocol("more bytes than were asked for".into()))
            }
            Ok(answer) if answer.data.is_empty() => Ok(None),
            Ok(answer) => Ok(Some(answer.data)),
            Err(Failure::Status(russh_sftp::protocol::StatusCode::Eof, _)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Writes one packet.
    pub(super) async fn write(&self, start: u64, bytes: &[u8]) -> Result<(), Failure> {
        let _admitted = self.session.window.acquire().await;
        self.session.wait(self.session.raw.write(self.id(), start, bytes.to_vec())).await.map(drop)
    }

    pub(super) async fn attributes(&self) -> Result<FileAttributes, Failure> {
        self.session.wait(self.session.raw.fstat(self.id())).await.map(|answer| answer.attrs)
    }

    /// Makes the file durable, as far as the server can.
    pub(super) async fn sync(&self) -> Result<(), Failure> {
        if !self.session.can_sync {
            return Ok(());
        }
        let patience = self.session.stall * SYNC_PATIENCE;
        self.session.wait_longer(self.session.raw.fsync(self.id()), patience).await.map(drop)
    }

    /// Closes it, and waits for the answer: some servers say only now that a write failed.
    pub(super) async fn close(mut self) -> Result<(), Failure> {
        let Some(id) = self.id.take() else { return Ok(()) };
        self.session.wait(self.session.raw.close(id)).await.map(drop)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let session = self.session.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !session.is_lost()
        {
            runtime.spawn(async move {
                let _ = session.wait(session.raw.close(id)).await;
            });
        }
    }
}

/// An operation that uses a session.
pub(super) struct Lease(Arc<Session>);

impl Lease {
    pub(super) fn new(session: Arc<Session>) -> Self {
        session.active.fetch_add(1, Ordering::Relaxed);
        Self(session)
    }
}

impl std::ops::Deref for Lease {
    type Target = Arc<Session>;
    fn deref(&self) -> &Arc<Session> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why there is no connection. `ssh` says it in words alone.
fn unreachable(place: &str, command: &[String], said: &str, failure: &Failure) -> Error {
    let program = command.first().map_or("", String::as_str);
    let kind = match failure {
        Failure::Lost(_) => {
            let refused = ["Permission denied", "Host key verification failed", "REMOTE HOST IDENTIFICATION"];
            if refused.iter().any(|words| said.contains(words)) {
                ErrorKind::Denied
            } else {
                ErrorKind::Transient
            }
        }
        other => other.kind(),
    };
    let message = if said.is_empty() { failure.to_string() } else { said.to_owned() };
    Error::new(kind, place, format!("{program} found no SFTP server: {message}"))
}
