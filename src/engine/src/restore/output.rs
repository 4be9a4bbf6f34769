//! A file on its way: written from several threads, finished by whoever writes its last chunk.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fardel_format::tree::Node;
use fardel_source::Owners;

use super::{Damaged, RestoreReport};
use crate::monitor::Monitor;
use crate::target::{Attributes, InPlaceFile, PartialFile, RelPath, Target};
use crate::{Error, Result};

/// Bytes after which what was written of a large file is sent on its way to the disk, while more is being decoded.
const WRITE_BEHIND: u64 = 64 << 20;

/// Entries that could not be made and that are told of on the way; further ones only to whoever wants details.
const FAILURES_TOLD: usize = 100;

enum Handle {
    Closed,
    New(PartialFile),
    InPlace(InPlaceFile),
}

/// What all files of a restore share.
pub struct Shared<'a> {
    pub target: Option<&'a Target>,
    pub monitor: &'a dyn Monitor,
    pub owners: Owners,
    pub replace: bool,
    pub report: Mutex<RestoreReport>,
    pub bytes_written: AtomicU64,
    /// Bytes of finished files that nobody has sent on their way to the disk.
    pub unsent: AtomicU64,
}

impl Shared<'_> {
    pub fn report(&self) -> MutexGuard<'_, RestoreReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of something that could not be made.
    pub fn failed(&self, path: &str, error: &Error) {
        let mut report = self.report();
        report.failed.push((path.to_owned(), error.to_string()));
        let told = report.failed.len() <= FAILURES_TOLD;
        drop(report);
        let message = format!("{path}: {error}");
        if told { self.monitor.warning(&message) } else { self.monitor.detail(&message) }
    }

    /// Tells of what is not quite as it was.
    pub fn warn(&self, path: &str, warnings: impl IntoIterator<Item = impl std::fmt::Display>) {
        for warning in warnings {
            let warning = format!("{path}: {warning}");
            self.monitor.detail(&warning);
            let mut report = self.report();
            // A million like it help nobody.
            if report.warnings.len() < 1000 {
                report.warnings.push(warning);
            }
        }
    }

    /// The attributes of an entry: owners by name where this machine knows the name.
    pub fn with_attributes<T>(&self, node: &Node, f: impl FnOnce(&Attributes<'_>) -> T) -> T {
        let xattrs: Vec<_> =
            node.xattrs.iter().map(|x| (x.name.clone().into_bytes(), x.value.clone())).collect();
        f(&Attributes {
            mode: node.mode,
            uid: node.user.as_deref().and_then(|name| self.owners.uid_of(name)).unwrap_or(node.uid),
            gid: node.group.as_deref().and_then(|name| self.owners.gid_of(name)).unwrap_or(node.gid),
            mtime: (node.mtime.secs, node.mtime.nanos),
            xattrs: &xattrs,
        })
    }
}

/// One file.
pub struct Output<'a> {
    shared: &'a Shared<'a>,
    /// Where it goes.
    pub at: RelPath,
    /// How it is called in messages.
    pub shown: String,
    pub node: Node,
    /// Locked for writing only while it is opened and closed: several threads write at once.
    handle: RwLock<Handle>,
    /// Chunks that are still to come, and one for the planner until it has wanted them all.
    remaining: AtomicUsize,
    /// Bytes written since the last were sent on their way to the disk.
    behind: AtomicU64,
    sparse: AtomicBool,
    missing: Mutex<Vec<(u64, u64, String)>>,
    failure: Mutex<Option<Error>>,
}

impl<'a> Output<'a> {
    pub fn new(shared: &'a Shared<'a>, at: RelPath, shown: String, node: Node) -> Self {
        Self {
            shared,
            at,
            shown,
            node,
            handle: RwLock::new(Handle::Closed),
            remaining: AtomicUsize::new(1),
            behind: AtomicU64::new(0),
            sparse: AtomicBool::new(false),
            missing: Mutex::new(Vec::new()),
            failure: Mutex::new(None),
        }
    }

    /// Takes over the file that is there; `None` when there is none that can be.
    ///
    /// # Errors
    /// When the target fails.
    pub fn open_in_place(&self) -> Result<bool> {
        let Some(target) = self.shared.target else { return Ok(false) };
        match target.open_in_place(&self.at, self.node.size)? {
            Some(file) => {
                *self.exclusive() = Handle::InPlace(file);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn shared(&self) -> RwLockReadGuard<'_, Handle> {
        self.handle.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Handle> {
        self.handle.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is there, of a file that is taken over.
    pub fn read_existing(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        match &*self.shared() {
            Handle::InPlace(file) => file.read_at(offset, buffer),
            Handle::New(_) | Handle::Closed => Ok(0),
        }
    }

    /// A part of the file takes no room: its length must be set at the end, since no chunk may reach it.
    pub fn is_sparse(&self) {
        self.sparse.store(true, Ordering::Relaxed);
    }

    /// Makes a range of a file that is taken over read as zeros.
    pub fn hole(&self, offset: u64, len: u64) -> Result<()> {
        match &*self.shared() {
            Handle::InPlace(file) => file.punch_hole(offset, len),
            // A new file has nothing there yet.
            Handle::New(_) | Handle::Closed => Ok(()),
        }
    }

    /// One more chunk is to come.
    pub fn want(&self) {
        self.remaining.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes one chunk.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.write_run(offset, &mut [IoSlice::new(bytes)]);
    }

    /// Writes chunks that follow each other in the file.
    pub fn write_run(&self, offset: u64, chunks: &mut [IoSlice<'_>]) {
        let (count, bytes) = (chunks.len(), chunks.iter().map(|chunk| chunk.len() as u64).sum());
        if let Err(error) = self.try_write(offset, chunks, bytes) {
            self.fail(error);
        }
        self.arrived(count, bytes);
    }

    fn try_write(&self, offset: u64, chunks: &mut [IoSlice<'_>], bytes: u64) -> Result<()> {
        let Some(target) = self.shared.target else { return Ok(()) };
        let mut handle = self.shared();
        if matches!(*handle, Handle::Closed) {
            drop(handle);
            self.open_new(target)?;
            handle = self.shared();
        }
        match &*handle {
            Handle::New(file) => file.write_all_at(offset, chunks)?,
            Handle::InPlace(file) => file.write_all_at(offset, chunks)?,
            Handle::Closed => {}
        }
        self.shared.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        let behind = self.behind.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if behind >= WRITE_BEHIND {
            self.behind.store(0, Ordering::Relaxed);
            if let Handle::New(file) = &*handle {
                file.write_behind();
            }
        }
        Ok(())
    }

    fn open_new(&self, target: &Target) -> Result<()> {
        let mut handle = self.exclusive();
        if matches!(*handle, Handle::Closed) {
            *handle = Handle::New(target.begin_file(&self.at)?);
        }
        Ok(())
    }

    /// The chunk for this range cannot be had.
    pub fn missing(&self, offset: u64, len: u64, why: &str) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).push((offset, len, why.to_owned()));
        self.arrived(1, len);
    }

    /// It cannot be written, or not be known what belongs into it.
    pub fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn arrived(&self, chunks: usize, bytes: u64) {
        self.shared.monitor.counters().done(0, bytes);
        self.settle(chunks);
    }

    /// The planner has wanted all chunks.
    pub fn release(&self) {
        self.settle(1);
    }

    /// So many fewer are to come: the last one finishes the file.
    fn settle(&self, chunks: usize) {
        if self.remaining.fetch_sub(chunks, Ordering::AcqRel) == chunks {
            self.finish();
        }
    }

    fn finish(&self) {
        self.shared.monitor.counters().done(1, 0);
        self.shared.unsent.fetch_add(self.behind.load(Ordering::Relaxed), Ordering::Relaxed);
        let mut handle = std::mem::replace(&mut *self.exclusive(), Handle::Closed);
        let missing = std::mem::take(&mut *self.missing.lock().unwrap_or_else(PoisonError::into_inner));
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(target) = self.shared.target else {
            if missing.is_empty() && failure.is_none() {
                self.shared.report().files += 1;
            } else {
                self.damaged(None, missing, failure);
            }
            return;
        };
        if matches!(handle, Handle::Closed) && failure.is_none() {
            // Empty, or nothing but holes, or nothing that could be had.
            match target.begin_file(&self.at) {
                Ok(file) => handle = Handle::New(file),
                Err(error) => return self.shared.failed(&self.shown, &error),
            }
        }
        if !missing.is_empty() || failure.is_some() {
            let partial = match handle {
                Handle::New(file) => Some(file.fail()),
                Handle::InPlace(file) => Some(file.fail()),
                Handle::Closed => None,
            };
            return self.damaged(partial, missing, failure);
        }
        let done = self.shared.with_attributes(&self.node, |attributes| match handle {
            Handle::New(file) => {
                let sized =
                    if self.sparse.load(Ordering::Relaxed) { file.set_len(self.node.size) } else { Ok(()) };
                sized.and_then(|()| file.finish(attributes, self.shared.replace))
            }
            Handle::InPlace(file) => file.finish(attributes),
            Handle::Closed => Ok(Vec::new()),
        });
        match done {
            Ok(warnings) => {
                self.shared.report().files += 1;
                self.shared.warn(&self.shown, warnings);
            }
            Err(error) => self.shared.failed(&self.shown, &error),
        }
    }

    fn damaged(&self, partial: Option<PathBuf>, missing: Vec<(u64, u64, String)>, failure: Option<Error>) {
        if let (true, Some(error)) = (missing.is_empty(), &failure)
            && !matches!(error, Error::Damaged(_) | Error::Object { .. })
        {
            return self.shared.failed(&self.shown, error);
        }
        let why = match (&failure, missing.first()) {
            (Some(error), _) => error.to_string(),
            (None, Some((_, _, why))) => why.clone(),
            (None, None) => String::new(),
        };
        let missing = coalesce(missing.into_iter().map(|(offset, len, _)| (offset, len)).collect());
        self.shared.monitor.warning(&format!("{}: not whole: {why}", self.shown));
        self.shared.report().damaged.push(Damaged { path: self.shown.clone(), partial, missing, why });
    }
}

/// Sorts ranges and joins those that touch.
fn coalesce(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, len) in ranges {
        match joined.last_mut() {
            Some(last) if last.0 + last.1 >= start => last.1 = last.1.max(start + len - last.0),
            _ => joined.push((start, len)),
        }
    }
    joined
}
