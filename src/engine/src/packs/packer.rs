//! Fills new packs: chunks into frames, frames through compressing threads into a few packs at once, packs into the store.
//!
//! 1. [`Packer::put`] computes the chunk's id. A chunk that is known is done; another goes into the open frame of its kind.
//! 2. A full frame goes to a worker, which compresses it and appends it to whichever pack of its kind is free; several fill
//!    at once, so that chunk borders do not show.
//! 3. A full pack is stored by the worker that filled it. Only what the store has acknowledged counts as written.
//! 4. Every few packs an index segment says what is where, so that a run after an interruption finds them.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use fardel_format::age_file::{self, Recipients};
use fardel_format::frame::{Compressor, Frame, Plain};
use fardel_format::ids::ChunkKey;
use fardel_format::names::{FanOut, Name};
use fardel_format::pack::{PackKind, PackWriter, Toc};
use fardel_format::pack_list::PackEntry;
use fardel_format::root::Root;
use fardel_format::sign::SigningKey;
use fardel_format::{ChunkId, ObjectHash, RepositoryId, segment};
use fardel_store::Body;

use super::remembered::Remembering;
use super::spool::Spooled;
use crate::bridge::Blocking;
use crate::catalog::{Catalog, key_of};
use crate::index::{ChunkIndex, Run};
use crate::repository::Repository;
use crate::{Error, Result};

/// How packs are made.
#[derive(Clone, Debug)]
pub struct PackerOptions {
    /// Stored size at which a pack is closed, in bytes.
    pub pack_size: u64,
    /// zstd level.
    pub level: i32,
    /// Compressing threads; 0 for as many as suit the machine.
    pub threads: usize,
    /// Packs after which an index segment is stored.
    pub packs_per_segment: usize,
}

impl Default for PackerOptions {
    fn default() -> Self {
        Self { pack_size: 64 << 20, level: 3, threads: 0, packs_per_segment: 4 }
    }
}

/// What a packer has stored so far.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// New packs, acknowledged by the store.
    pub packs: Vec<PackEntry>,
    /// Packs of earlier snapshots that hold chunks which were put again.
    pub reused: HashSet<PackEntry>,
    /// Plain bytes of chunks that were new.
    pub bytes_added: u64,
    /// Bytes stored: packs and index segments.
    pub bytes_stored: u64,
}

struct Ready {
    hash: ObjectHash,
    size: u64,
    toc: Toc,
}

struct State {
    /// Chunks that are on their way and in no segment yet.
    pending: HashSet<(PackKind, ChunkId)>,
    open: Vec<PackWriter<Spooled>>,
    open_meta: Vec<PackWriter<Spooled>>,
    ready: Vec<Ready>,
    packed: Packed,
    in_flight: usize,
    error: Option<Error>,
}

struct Shared {
    store: Blocking,
    repository: RepositoryId,
    cache: PathBuf,
    spool: PathBuf,
    epoch: Recipients,
    segment_readers: Recipients,
    signing: SigningKey,
    chunk_key: ChunkKey,
    fan_out: FanOut,
    options: PackerOptions,
    state: Mutex<State>,
    idle: Condvar,
    index: Mutex<ChunkIndex>,
}

struct Job {
    kind: PackKind,
    frame: Work,
}

/// A frame on its way into a pack.
enum Work {
    Plain(Plain),
    Compressed(Frame),
}

/// Takes chunks in, keeps each new one exactly once.
pub struct Packer {
    shared: Arc<Shared>,
    frames: [Plain; 2],
    spare: Receiver<Plain>,
    remembering: Option<Remembering>,
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
}

impl Packer {
    /// Starts the workers. `index` must hold nothing that a new snapshot may not rest on. A dry run stores nothing and only
    /// counts.
    ///
    /// # Errors
    /// [`Error::Key`] without a host's key file.
    pub fn start(
        repo: &Repository,
        catalog: &Catalog,
        index: ChunkIndex,
        options: PackerOptions,
        dry_run: bool,
    ) -> Result<Self> {
        let host = repo.keys().host.as_ref().ok_or_else(|| {
            Error::Key(
                "writing needs this host's own key file; make one with `fardel key add --host NAME`".into(),
            )
        })?;
        let bad = |e: fardel_format::Error| Error::Key(e.to_string());
        let own = age_file::recipient_of(&host.own).map_err(bad)?;
        let mut segment_readers = Recipients::x25519(&host.epoch).map_err(bad)?;
        segment_readers.push_x25519(&own).map_err(bad)?;
        let threads = match options.threads {
            _ if dry_run => 0,
            // One more than there are cores: one of them waits for the store now and then.
            0 => std::thread::available_parallelism().map_or(2, usize::from) + 1,
            n => n,
        };
        let staging = repo.store().capabilities().staging;
        let shared = Arc::new(Shared {
            store: repo.store().clone(),
            repository: *repo.id(),
            cache: repo.cache().join("index"),
            spool: staging.unwrap_or_else(|| repo.cache().join("spool")),
            epoch: Recipients::x25519(&host.epoch).map_err(bad)?,
            segment_readers,
            signing: host.signing.clone(),
            chunk_key: host.chunk_keys.chunk.clone(),
            fan_out: Catalog::fan_out(catalog.packs.len()),
            options,
            state: Mutex::new(State {
                pending: HashSet::new(),
                open: Vec::new(),
                open_meta: Vec::new(),
                ready: Vec::new(),
                packed: Packed::default(),
                in_flight: 0,
                error: None,
            }),
            idle: Condvar::new(),
            index: Mutex::new(index),
        });
        let (jobs, queue) = crossbeam_channel::bounded(threads.max(1));
        let (give_back, spare) = crossbeam_channel::bounded(2 * threads.max(1));
        let workers =
            (0..threads).map(|_| spawn_worker(shared.clone(), queue.clone(), give_back.clone())).collect();
        Ok(Self {
            shared,
            frames: [Plain::new(), Plain::new()],
            spare,
            remembering: None,
            jobs: (!dry_run).then_some(jobs),
            workers,
        })
    }

    /// The id of these bytes; they are stored unless a chunk with that id is.
    ///
    /// # Errors
    /// When an earlier chunk could not be stored.
    pub fn put(&mut self, kind: PackKind, chunk: &[u8]) -> Result<ChunkId> {
        let id = self.shared.chunk_key.id(chunk);
        self.put_verified(kind, id, chunk)?;
        Ok(id)
    }

    /// The same of bytes that are known to have this id.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_verified(&mut self, kind: PackKind, id: ChunkId, chunk: &[u8]) -> Result<()> {
        if !self.shared.is_known(kind, &id, chunk.len())? && self.jobs.is_some() {
            let frame = &mut self.frames[slot(kind)];
            if frame.is_full_for(chunk.len()) {
                self.send(kind)?;
            }
            self.frames[slot(kind)].push(id, chunk).map_err(|e| Error::object("a chunk", e))?;
        }
        Ok(())
    }

    /// Puts a compressed frame as it is, of which it is known that its chunks have these ids and lie in it as told. `false` when one of
    /// them need not be stored: then none is, and each is to be put by itself.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_frame(&mut self, kind: PackKind, frame: Frame) -> Result<bool> {
        let mut state = self.shared.lock();
        state.check()?;
        for member in &frame.members {
            if state.is_on_its_way(kind, &member.id) || self.shared.index().locate(&member.id, kind).is_some()
            {
                return Ok(false);
            }
        }
        for member in &frame.members {
            state.expect(kind, &member.id, member.len as usize);
        }
        drop(state);
        self.submit(kind, Work::Compressed(frame))?;
        Ok(true)
    }

    /// From now on remembers the listings of folders on this machine.
    pub fn remember(&mut self, remembering: Option<Remembering>) {
        self.remembering = remembering;
    }

    /// Puts a part of a folder's listing.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_listing(&mut self, listing: &[u8]) -> Result<ChunkId> {
        let id = self.put(PackKind::Meta, listing)?;
        if self.remembering.as_mut().is_some_and(|remembering| remembering.put(id, listing).is_none()) {
            self.remembering = None;
        }
        Ok(id)
    }

    /// What was put is sealed under this root: it is what is remembered.
    pub fn sealed(&mut self, root: &Root) {
        if let Some(remembering) = self.remembering.take() {
            remembering.keep(root);
        }
    }

    fn send(&mut self, kind: PackKind) -> Result<()> {
        let empty = self.spare.try_recv().unwrap_or_default();
        let frame = std::mem::replace(&mut self.frames[slot(kind)], empty);
        self.submit(kind, Work::Plain(frame))
    }

    fn submit(&self, kind: PackKind, frame: Work) -> Result<()> {
        self.shared.lock().in_flight += 1;
        let jobs = self.jobs.as_ref().expect("open until dropped");
        jobs.send(Job { kind, frame }).map_err(|_| Error::Damaged("the compressing threads are gone".into()))
    }

    /// Waits until everything that was put is stored and acknowledged, and indexed.
    ///
    /// # Errors
    /// When something could not be stored.
    pub fn flush(&mut self) -> Result<Packed> {
        for kind in [PackKind::Data, PackKind::Meta] {
            if !self.frames[slot(kind)].is_empty() {
                self.send(kind)?;
            }
        }
        let mut state = self.shared.lock();
        while state.in_flight > 0 {
            state = self.shared.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check()?;
        let open: Vec<_> =
            std::mem::take(&mut state.open).into_iter().chain(std::mem::take(&mut state.open_meta)).collect();
        drop(state);
        for pack in open {
            self.shared.store_pack(pack)?;
        }
        self.shared.store_segment(1)?;
        Ok(self.shared.lock().packed.clone())
    }

    /// The same, and what follows is counted anew.
    ///
    /// # Errors
    /// When something could not be stored.
    pub fn take(&mut self) -> Result<Packed> {
        self.flush()?;
        Ok(std::mem::take(&mut self.shared.lock().packed))
    }

    /// Indexes the packs that are stored, after a failure, so that the next run finds them. Best effort: without it they
    /// are stored once more.
    pub fn keep_finished(&self) {
        if self.jobs.is_some() {
            let _ = self.shared.store_segment(1);
        }
    }

    /// What is stored so far.
    #[must_use]
    pub fn so_far(&self) -> Packed {
        self.shared.lock().packed.clone()
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn slot(kind: PackKind) -> usize {
    match kind {
        PackKind::Data => 0,
        PackKind::Meta => 1,
    }
}

fn spawn_worker(shared: Arc<Shared>, queue: Receiver<Job>, give_back: Sender<Plain>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut compressor = Compressor::new(shared.options.level);
        for Job { kind, frame } in queue {
            let compressed = match frame {
                Work::Compressed(frame) => Ok(frame),
                Work::Plain(mut frame) => {
                    let compressed = match &mut compressor {
                        Ok(compressor) => frame.compress(compressor).map_err(|e| Error::object("a frame", e)),
                        Err(error) => Err(Error::object("zstd", error.clone())),
                    };
                    frame.clear();
                    // When enough wait, this one's memory is given back instead.
                    let _ = give_back.try_send(frame);
                    compressed
                }
            };
            let done = compressed.and_then(|frame| shared.add_frame(kind, frame));
            let mut state = shared.lock();
            state.in_flight -= 1;
            if let Err(error) = done {
                state.error.get_or_insert(error);
            }
            drop(state);
            shared.idle.notify_all();
        }
    })
}

impl State {
    fn check(&mut self) -> Result<()> {
        match self.error.take() {
            Some(error) => {
                // Whoever asks again learns that it failed, too.
                self.error = Some(Error::Damaged(error.to_string()));
                Err(error)
            }
            None => Ok(()),
        }
    }

    fn is_on_its_way(&self, kind: PackKind, id: &ChunkId) -> bool {
        self.pending.contains(&(kind, *id))
    }

    /// From now on this chunk is on its way.
    fn expect(&mut self, kind: PackKind, id: &ChunkId, len: usize) {
        self.pending.insert((kind, *id));
        self.packed.bytes_added += len as u64;
    }

    fn pool(&mut self, kind: PackKind) -> &mut Vec<PackWriter<Spooled>> {
        match kind {
            PackKind::Data => &mut self.open,
            PackKind::Meta => &mut self.open_meta,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, ChunkIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the chunk need not be stored; if it must, it counts as known from now on.
    fn is_known(&self, kind: PackKind, id: &ChunkId, len: usize) -> Result<bool> {
        let mut state = self.lock();
        state.check()?;
        if state.is_on_its_way(kind, id) {
            return Ok(true);
        }
        let known = self.index().locate(id, kind);
        match known {
            Some(location) => drop(
                state.packed.reused.insert(PackEntry { hash: location.pack.hash, size: location.pack.size }),
            ),
            None => state.expect(kind, id, len),
        }
        Ok(known.is_some())
    }

    fn add_frame(&self, kind: PackKind, frame: Frame) -> Result<()> {
        let free = self.lock().pool(kind).pop();
        let mut pack = match free {
            Some(pack) => pack,
            None => {
                let spooled = Spooled::create(&self.spool)?;
                PackWriter::create(spooled, kind, &self.epoch).map_err(|e| Error::object("a new pack", e))?
            }
        };
        pack.add(frame).map_err(|e| Error::io(&self.spool, e))?;
        if pack.len() < self.options.pack_size {
            self.lock().pool(kind).push(pack);
            return Ok(());
        }
        self.store_pack(pack)?;
        self.store_segment(self.options.packs_per_segment)
    }

    fn store_pack(&self, pack: PackWriter<Spooled>) -> Result<()> {
        let finished = pack.finish().map_err(|e| Error::io(&self.spool, e))?;
        let key = key_of(&Name::Pack(finished.hash, None), self.fan_out);
        self.store.put_new(&key, finished.out.body())?;
        let mut state = self.lock();
        state.packed.packs.push(PackEntry { hash: finished.hash, size: finished.size });
        state.packed.bytes_stored += finished.size;
        state.ready.push(Ready { hash: finished.hash, size: finished.size, toc: finished.toc });
        Ok(())
    }

    /// Stores an index segment once at least so many packs are in none.
    fn store_segment(&self, at_least: usize) -> Result<()> {
        let ready = {
            let mut state = self.lock();
            if state.ready.len() < at_least {
                return Ok(());
            }
            std::mem::take(&mut state.ready)
        };
        if ready.is_empty() {
            return Ok(());
        }
        let plain = segment::build(ready.iter().map(|pack| (pack.hash, pack.size, &pack.toc)));
        let failed = |e| Error::object("an index segment", e);
        let signed = segment::sign(&plain, &self.repository, &self.signing).map_err(failed)?;
        let stored = age_file::encrypt(&signed, &self.segment_readers).map_err(failed)?;
        let (hash, size) = (ObjectHash::of(&stored), stored.len() as u64);
        self.store.put_new(&key_of(&Name::Index(hash), self.fan_out), Body::from(stored))?;
        let run = Run::save(&self.cache.join(format!("{hash}.own")), plain, true)?;
        self.index().add(run)?;
        let mut state = self.lock();
        state.packed.bytes_stored += size;
        for pack in &ready {
            for member in pack.toc.frames.iter().flat_map(|(_, members)| members) {
                state.pending.remove(&(pack.toc.kind, member.id));
            }
        }
        Ok(())
    }
}
