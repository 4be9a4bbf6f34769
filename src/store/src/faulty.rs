use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use crate::memory::{read_body, slice};
use crate::{Body, ByteRange, Capabilities, Error, ErrorKind, Finding, Key, Listed, Prefix, Result, Store};

/// What a fault does to the call it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing of the call is carried out.
    Before,
    /// The call is carried out, but its answer never comes: the caller sees an error.
    AnswerLost,
    /// `put_new` leaves the first half of the object under its final name, as bad stores do. A `delete` does nothing.
    Torn,
}

/// How things go on after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aftermath {
    /// The process is dead: this call and every later one, reads too, fail with [`ErrorKind::Other`] and "crashed".
    Crash,
    /// This call fails with that kind; then all is well.
    Once(ErrorKind),
    /// This call and every later `put_new` and `delete` fail with that kind (the later ones without any effect).
    Forever(ErrorKind),
}

/// One planned fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which changing call it strikes (`put_new` and `delete`), counted from 0: so many go well before it.
    pub at: u64,
    /// What happens to that call.
    pub how: FaultKind,
    /// What happens to those after it.
    pub then: Aftermath,
}

/// What is wrong with reading an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFaultKind {
    /// Reading fails.
    Fail(ErrorKind),
    /// The object reads as if it ended after so many bytes; listings still tell the full size.
    Truncate(u64),
    /// This bit is flipped: bit `n % 8` of byte `n / 8`.
    FlipBit(u64),
}

/// A fault in reading, until it is taken away or used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFault {
    /// What is wrong.
    pub kind: ReadFaultKind,
    /// Whether it goes away after one read.
    pub once: bool,
}

/// A store that fails when it is told to; for tests.
///
/// To enumerate faults, run once without any, read [`FaultyStore::mutations`], and run again for each number below it.
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    mutations: u64,
    fault: Option<Fault>,
    crashed: bool,
    failing: Option<ErrorKind>,
    reads: BTreeMap<Key, ReadFault>,
    stale: Option<Stale>,
}

/// The last changes, newest at the end, so that a listing can be turned back.
#[derive(Debug)]
struct Stale {
    lag: usize,
    undo: VecDeque<Undo>,
}

#[derive(Debug)]
enum Undo {
    Hide(String),
    Show(Listed),
}

enum Verdict {
    Fine,
    Fail(FaultKind, ErrorKind),
}

impl<S: Store> FaultyStore<S> {
    /// Wraps `inner`; nothing fails yet.
    pub fn new(inner: S) -> Self {
        Self { inner, state: Mutex::default() }
    }

    /// The same, with a fault planned.
    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        self.set_fault(Some(fault));
        self
    }

    /// Plans a fault, or none; calls already made count.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Plans a fault in reading `key`, or none.
    pub fn set_read_fault(&self, key: &Key, fault: Option<ReadFault>) {
        let mut state = self.state();
        match fault {
            Some(fault) => drop(state.reads.insert(key.clone(), fault)),
            None => drop(state.reads.remove(key)),
        }
    }

    /// From now on listings show the state as of `lag` changes ago (changes made through this wrapper, from now on);
    /// `None` makes them fresh again. Reads are always fresh.
    pub fn set_stale_listing(&self, lag: Option<usize>) {
        self.state().stale = lag.map(|lag| Stale { lag, undo: VecDeque::new() });
    }

    /// How many changing calls were made so far, those that failed included.
    pub fn mutations(&self) -> u64 {
        self.state().mutations
    }

    /// Whether the planned crash has happened.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// The store behind.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    fn alive(&self, object: &str) -> Result<()> {
        if self.has_crashed() { Err(Error::new(ErrorKind::Other, object, "crashed")) } else { Ok(()) }
    }

    /// Counts a changing call and says what is to become of it.
    fn judge(&self) -> Verdict {
        let mut state = self.state();
        let number = state.mutations;
        state.mutations += 1;
        if let Some(kind) = state.failing {
            return Verdict::Fail(FaultKind::Before, kind);
        }
        let Some(fault) = state.fault.filter(|fault| fault.at == number) else { return Verdict::Fine };
        match fault.then {
            Aftermath::Crash => {
                state.crashed = true;
                Verdict::Fail(fault.how, ErrorKind::Other)
            }
            Aftermath::Once(kind) => Verdict::Fail(fault.how, kind),
            Aftermath::Forever(kind) => {
                state.failing = Some(kind);
                Verdict::Fail(fault.how, kind)
            }
        }
    }

    fn injected(&self, key: &Key, kind: ErrorKind) -> Error {
        Error::new(kind, key, if self.has_crashed() { "crashed" } else { "a fault that the test asked for" })
    }

    async fn put_and_note(&self, key: &Key, body: Body) -> Result<()> {
        self.inner.put_new(key, body).await?;
        self.note(Undo::Hide(key.as_str().to_owned()));
        Ok(())
    }

    async fn delete_and_note(&self, key: &Key) -> Result<()> {
        let before = if self.state().stale.is_some() { self.listed(key).await? } else { None };
        self.inner.delete(key).await?;
        if let Some(listed) = before {
            self.note(Undo::Show(listed));
        }
        Ok(())
    }

    async fn listed(&self, key: &Key) -> Result<Option<Listed>> {
        let folder = key.as_str().rfind('/').map_or("", |slash| &key.as_str()[..=slash]);
        let all: Vec<Listed> = self.inner.list(folder).try_collect().await?;
        Ok(all.into_iter().find(|listed| listed.name == key.as_str()))
    }

    fn note(&self, undo: Undo) {
        if let Some(stale) = &mut self.state().stale {
            stale.undo.push_back(undo);
            while stale.undo.len() > stale.lag {
                stale.undo.pop_front();
            }
        }
    }

    /// Turns back in `listed` what the last changes did.
    fn turn_back(&self, prefix: &str, listed: Vec<Listed>) -> Result<Vec<Listed>> {
        let prefix = Prefix::new(prefix)?;
        let mut names: BTreeMap<_, _> = listed.into_iter().map(|l| (l.name, l.size)).collect();
        if let Some(stale) = &self.state().stale {
            for undo in stale.undo.iter().rev() {
                match undo {
                    Undo::Hide(name) => drop(names.remove(name)),
                    Undo::Show(listed) if prefix.holds(&listed.name) => {
                        names.insert(listed.name.clone(), listed.size);
                    }
                    Undo::Show(_) => {}
                }
            }
        }
        Ok(names.into_iter().map(|(name, size)| Listed { name, size }).collect())
    }

    fn read_fault(&self, key: &Key) -> Option<ReadFaultKind> {
        let mut state = self.state();
        let fault = *state.reads.get(key)?;
        if fault.once {
            state.reads.remove(key);
        }
        Some(fault.kind)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Store> Store for FaultyStore<S> {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        self.alive(key.as_str())?;
        let Verdict::Fail(how, kind) = self.judge() else { return self.put_and_note(key, body).await };
        match how {
            FaultKind::Before => {}
            // What the store itself says is lost with the answer.
            FaultKind::AnswerLost => drop(self.put_and_note(key, body).await),
            FaultKind::Torn => {
                let whole = read_body(key, &body)?;
                drop(self.put_and_note(key, Body::Bytes(whole.slice(..whole.len() / 2))).await);
            }
        }
        Err(self.injected(key, kind))
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        self.alive(key.as_str())?;
        match self.read_fault(key) {
            None => self.inner.get_range(key, range).await,
            Some(ReadFaultKind::Fail(kind)) => Err(self.injected(key, kind)),
            Some(ReadFaultKind::Truncate(end)) => {
                let whole = self.inner.get_range(key, ByteRange::All).await?;
                slice(key, &whole.slice(..whole.len().min(usize::try_from(end).unwrap_or(usize::MAX))), range)
            }
            Some(ReadFaultKind::FlipBit(bit)) => {
                let mut bytes = BytesMut::from(&*self.inner.get_range(key, range).await?);
                let start = if let ByteRange::Span { start, .. } = range { start } else { 0 };
                let place = (bit / 8).checked_sub(start).and_then(|place| usize::try_from(place).ok());
                if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
                    *byte ^= 1 << (bit % 8);
                }
                Ok(bytes.freeze())
            }
        }
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        let listing = async move {
            self.alive(prefix)?;
            if self.state().stale.is_none() {
                return Ok(self.inner.list(prefix));
            }
            let listed = self.inner.list(prefix).try_collect().await?;
            Ok(stream::iter(self.turn_back(prefix, listed)?.into_iter().map(Ok)).boxed())
        };
        stream::once(listing).try_flatten().boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.alive(key.as_str())?;
        let Verdict::Fail(how, kind) = self.judge() else { return self.delete_and_note(key).await };
        if how == FaultKind::AnswerLost {
            drop(self.delete_and_note(key).await);
        }
        Err(self.injected(key, kind))
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
#[path = "faulty_tests.rs"]
mod tests;
