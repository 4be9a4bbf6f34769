//! Tries again after passing faults.
//!
//! A `put_new` whose answer was lost may have stored the object: the next attempt then says `Exists`, or finds that the
//! body's file was taken over. In both cases the object is read back and compared with the body, byte by byte, so that
//! `Ok` is never a guess and somebody else's object is never taken for ours.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::{Body, ByteRange, Capabilities, Error, ErrorKind, Finding, Key, Listed, Prefix, Result, Store};

/// How many bytes are read back at once when an object is compared with a body.
const COMPARE_STEP: u64 = 1 << 20;

/// A store that asks to be left alone for longer gets this pause, and then another error.
const LONGEST_DELAY: Duration = Duration::from_secs(120);

/// How often and how soon a request is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Requests in all, the first included; at least 1.
    pub attempts: u32,
    /// Pause after the first failure; it doubles with each further one.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 5, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(10) }
    }
}

impl RetryPolicy {
    /// The pause after failure number `failure` (from 0), between half and all of its nominal length, so that many
    /// clients that failed together do not come back together.
    #[must_use]
    pub fn pause(&self, failure: u32) -> Duration {
        let nominal = self.first_pause.saturating_mul(1 << failure.min(20)).min(self.longest_pause);
        // Without a source of randomness the pauses are merely regular.
        let random = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        nominal.mul_f64(0.5 + random / 2.0)
    }
}

/// A store that makes requests again when they failed with [`ErrorKind::Transient`], a bounded number of times.
///
/// A listing is begun again only as long as it has not shown anything; afterwards its error is passed on, for a second
/// listing would show names twice. Backends that list in pages repeat single pages themselves.
#[derive(Clone, Debug)]
pub struct Retrying<S> {
    inner: S,
    policy: RetryPolicy,
}

impl<S: Store> Retrying<S> {
    /// Wraps `inner` with the default policy: 5 attempts, pauses of 200 ms to 10 s.
    pub fn new(inner: S) -> Self {
        Self::with_policy(inner, RetryPolicy::default())
    }

    /// Wraps `inner`.
    pub fn with_policy(inner: S, policy: RetryPolicy) -> Self {
        Self { inner, policy }
    }

    /// The store behind.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Waits if `error` is worth another attempt after `failure` earlier ones, else gives it back.
    async fn pause_or(&self, failure: u32, error: Error) -> Result<()> {
        if error.kind != ErrorKind::Transient || failure + 1 >= self.policy.attempts {
            return Err(error);
        }
        // What the store asks for is the least; clients that were sent away together still come back apart.
        let asked = error.delay.unwrap_or_default().min(LONGEST_DELAY);
        let pause = asked + self.policy.pause(failure);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Whether the object under `key` holds exactly the bytes of `body`.
    async fn holds(&self, key: &Key, body: &Original<'_>) -> Result<bool> {
        let len = body.len();
        for start in (0..len).step_by(COMPARE_STEP as usize) {
            let end = len.min(start + COMPARE_STEP);
            let stored = match self.get_range(key, ByteRange::between(start, end)).await {
                Err(error) if error.kind == ErrorKind::Truncated => return Ok(false),
                stored => stored?,
            };
            if stored != body.read(start, end)? {
                return Ok(false);
            }
        }
        match self.get_range(key, ByteRange::Span { start: len, len: 1 }).await {
            Err(error) if error.kind == ErrorKind::Truncated => Ok(true),
            Err(error) => Err(error),
            Ok(_) => Ok(false),
        }
    }

    /// What a `put_new` comes to that found the name taken, or its file gone, after an attempt of unknown outcome.
    async fn settle(&self, key: &Key, body: &Original<'_>, otherwise: Error) -> Result<()> {
        if !self.holds(key, body).await? {
            return Err(otherwise);
        }
        if let Original::File { path, owned: true, .. } = body {
            // The object is stored; a file that cannot be removed is only litter.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }
}

/// The bytes that were to be stored, readable even after a store took the file over.
enum Original<'a> {
    Bytes(&'a Bytes),
    /// Opened before the first attempt.
    File {
        path: &'a Path,
        file: File,
        len: u64,
        /// Whether the store may take it over.
        owned: bool,
    },
    /// Could not be opened here: the store has its own idea of where files lie.
    Unreadable {
        path: &'a Path,
        len: u64,
    },
}

impl<'a> Original<'a> {
    fn of(body: &'a Body) -> Self {
        match body {
            Body::Bytes(bytes) => Self::Bytes(bytes),
            Body::File { path, len } => Self::open(path, *len, true),
            Body::Kept(kept) => Self::open(&kept.path, kept.len, false),
        }
    }

    fn open(path: &'a Path, len: u64, owned: bool) -> Self {
        match File::open(path) {
            Ok(file) => Self::File { path, file, len, owned },
            Err(_) => Self::Unreadable { path, len },
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } | Self::Unreadable { len, .. } => *len,
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self, Self::File { path, owned: true, .. } if !path.exists())
    }

    fn read(&self, start: u64, end: u64) -> Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.slice(start as usize..end as usize)),
            Self::File { path, file, .. } => {
                let mut buffer = vec![0; (end - start) as usize];
                file.read_exact_at(&mut buffer, start).map_err(|e| Error::io(path.display(), &e))?;
                Ok(buffer.into())
            }
            Self::Unreadable { path, .. } => {
                let message =
                    "cannot be read to compare it with what is stored; store it again under a new name";
                Err(Error::new(ErrorKind::Other, path.display(), message))
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Store> Store for Retrying<S> {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        let original = Original::of(&body);
        let mut failure = 0;
        loop {
            match self.inner.put_new(key, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind == ErrorKind::Exists && failure > 0 => {
                    return self.settle(key, &original, error).await;
                }
                Err(error) => self.pause_or(failure, error).await?,
            }
            failure += 1;
            if original.is_gone() {
                let message = "the store took the file of this object, but does not hold its bytes";
                return self.settle(key, &original, Error::new(ErrorKind::Other, key, message)).await;
            }
        }
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        let mut failure = 0;
        loop {
            match self.inner.get_range(key, range).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => self.pause_or(failure, error).await?,
            }
            failure += 1;
        }
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        let begin = async move {
            let mut failure = 0;
            loop {
                let mut listing = self.inner.list(prefix).fuse();
                match listing.next().await {
                    Some(Err(error)) => {
                        if let Err(error) = self.pause_or(failure, error).await {
                            return stream::iter([Err(error)]).boxed();
                        }
                    }
                    first => return stream::iter(first).chain(listing).boxed(),
                }
                failure += 1;
            }
        };
        stream::once(begin).flatten().boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let mut failure = 0;
        loop {
            match self.inner.delete(key).await {
                Ok(()) => return Ok(()),
                Err(error) => self.pause_or(failure, error).await?,
            }
            failure += 1;
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn check_room(&self) -> Result<()> {
        self.inner.check_room().await
    }

    async fn retention(&self) -> Result<Duration> {
        self.inner.retention().await
    }

    fn put_requests(&self, len: u64) -> u64 {
        self.inner.put_requests(len)
    }

    async fn examine(&self, scratch: &Prefix) -> Result<Vec<Finding>> {
        self.inner.examine(scratch).await
    }

    async fn remove_made_folders(&self) -> Result<Vec<String>> {
        self.inner.remove_made_folders().await
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
