//! Reads stored objects once, on every core: hashes them, and proves what is in packs from the same bytes.
//!
//! A thread takes a pack, reads it piece by piece, hashes and decrypts each piece and cuts it into frames. Frames are proved
//! by whichever thread is free; when all are busy, by the one that read them. So the last pack keeps every core at work.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use fardel_format::age_file::{self, Header, Identities, Payload};
use fardel_format::frame::{Decompressor, TAR_END};
use fardel_format::ids::ChunkKey;
use fardel_format::pack::{TRAILER_LEN, Toc, Trailer};
use fardel_format::{Error as FormatError, ObjectHash};
use fardel_store::{ByteRange, Key};

use super::assembler::Assembler;
use super::findings::class_of_read;
use super::frames::{FrameJob, Ledger, PackState};
use super::report::Class;
use crate::bridge::Blocking;
use crate::catalog::Stored;
use crate::monitor::Monitor;
use crate::{Error, Result};

/// Stored bytes that one request asks for; whole segments.
const PIECE: u64 = 64 * age_file::SEGMENT;
/// Bytes that a thread holds: a piece and its plain bytes, a frame and its plain bytes.
pub const THREAD_COST: u64 = 28 << 20;

/// What is to be done with an object.
pub enum Depth {
    /// Hash it.
    Hash,
    /// It is the pack of this number: hash it, and prove its chunks.
    Chunks(u32),
    /// It is the pack of this number: read its table only.
    Table(u32),
}

/// An object to read.
pub struct Task<'a> {
    /// Where it lies.
    pub stored: &'a Stored,
    /// The hash that its bytes must have.
    pub hash: ObjectHash,
    /// How much of it.
    pub depth: Depth,
}

/// An object whose stored bytes are not right.
pub struct Wrong {
    /// Its key.
    pub object: Key,
    /// What is wrong.
    pub class: Class,
    /// In words.
    pub why: String,
}

/// What the scan of all tasks says about stored bytes.
#[derive(Default)]
pub struct Scanned {
    /// Objects that are not right.
    pub wrong: Vec<Wrong>,
    /// Bytes of those that are.
    pub bytes: u64,
}

/// What all threads share.
pub struct Scan<'a> {
    pub store: &'a Blocking,
    pub identities: &'a Identities,
    pub chunk_key: Option<&'a ChunkKey>,
    pub ledger: &'a Ledger,
    pub monitor: &'a dyn Monitor,
    pub threads: usize,
}

struct Progress<'t> {
    tasks: &'t [Task<'t>],
    next: AtomicUsize,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
    wrong: Mutex<Vec<Wrong>>,
    bytes: AtomicU64,
}

/// The open end of a pack.
struct Opened {
    payload: Payload,
    head: Bytes,
    toc: Toc,
    toc_at: Range<u64>,
}

struct Worker<'a> {
    scan: &'a Scan<'a>,
    give: Option<Sender<FrameJob>>,
    decompressor: Decompressor,
    plain: Vec<u8>,
}

impl Scan<'_> {
    /// Reads everything.
    ///
    /// # Errors
    /// When the store fails as a whole, a temporary file fails, or the user stops it.
    pub fn run(&self, tasks: &[Task<'_>]) -> Result<Scanned> {
        let progress = Progress {
            tasks,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
            wrong: Mutex::new(Vec::new()),
            bytes: AtomicU64::new(0),
        };
        let (give, take) = crossbeam_channel::bounded(2 * self.threads);
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                let (give, take, progress) = (give.clone(), take.clone(), &progress);
                scope.spawn(move || {
                    if let Err(error) = self.work(progress, give, &take) {
                        progress.stop.store(true, Relaxed);
                        progress.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                });
            }
            // Threads that have no task left prove frames until the last sender is gone.
            drop((give, take));
        });
        if let Some(error) = progress.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let wrong = progress.wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Scanned { wrong, bytes: progress.bytes.into_inner() })
    }

    fn work(&self, progress: &Progress<'_>, give: Sender<FrameJob>, take: &Receiver<FrameJob>) -> Result<()> {
        let decompressor = Decompressor::new().map_err(|e| Error::object("zstd", e))?;
        let mut worker = Worker { scan: self, give: Some(give), decompressor, plain: Vec::new() };
        while let Some(task) = progress.tasks.get(progress.next.fetch_add(1, Relaxed)) {
            if progress.stop.load(Relaxed) {
                break;
            }
            if let Err(wrong) = worker.task(task, progress)? {
                progress.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(wrong);
            }
            self.monitor.counters().done(1, 0);
        }
        worker.give = None;
        take.iter().try_for_each(|job| worker.prove(&job))
    }
}

/// The inner result is about one object, the outer one about everything.
type Read<T> = Result<Result<T, Wrong>>;

impl Worker<'_> {
    fn task(&mut self, task: &Task<'_>, progress: &Progress<'_>) -> Read<()> {
        let read = match task.depth {
            Depth::Hash => self.hash(task, progress)?,
            Depth::Chunks(number) => self.chunks(task, number, progress)?,
            Depth::Table(number) => {
                match self.open(task)? {
                    Ok(Ok(opened)) => {
                        self.scan.ledger.table(number, &task.hash, task.stored.size, &opened.toc)?;
                        self.scan.ledger.trust(number, &opened.toc)?;
                    }
                    Ok(Err(error)) => {
                        self.scan.ledger.blame(task.stored.key.as_str(), &error.to_string(), true)
                    }
                    Err(wrong) => return Ok(Err(wrong)),
                }
                return Ok(Ok(()));
            }
        };
        let hash = match read {
            Ok(hash) => hash,
            Err(wrong) => return Ok(Err(wrong)),
        };
        if hash != task.hash {
            let why = "its hash differs from its name".to_owned();
            return Ok(Err(Wrong { object: task.stored.key.clone(), class: Class::Corrupt, why }));
        }
        progress.bytes.fetch_add(task.stored.size, Relaxed);
        Ok(Ok(()))
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Read<Bytes> {
        if self.scan.monitor.interrupted() {
            return Err(Error::Interrupted);
        }
        match self.scan.store.get_range(key, ByteRange::between(range.start, range.end)) {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(error) => match class_of_read(&error) {
                // A store that does not even show its card has failed as a whole.
                Some(class) if self.scan.store.get(&Key::new(fardel_format::names::CARD)?).is_ok() => {
                    Ok(Err(Wrong { object: key.clone(), class, why: error.to_string() }))
                }
                _ => Err(error.into()),
            },
        }
    }

    fn hash(&self, task: &Task<'_>, progress: &Progress<'_>) -> Read<ObjectHash> {
        let mut hasher = blake3::Hasher::new();
        for start in (0..task.stored.size).step_by(PIECE as usize) {
            let end = (start + PIECE).min(task.stored.size);
            match self.get(&task.stored.key, start..end)? {
                Ok(bytes) => drop(hasher.update(&bytes)),
                Err(wrong) => return Ok(Err(wrong)),
            }
            self.scan.monitor.counters().done(0, end - start);
            if progress.stop.load(Relaxed) {
                break;
            }
        }
        Ok(Ok(ObjectHash(*hasher.finalize().as_bytes())))
    }

    /// Reads the two ends of a pack. The innermost result tells whether they are in order.
    fn open(&self, task: &Task<'_>) -> Read<Result<Opened, FormatError>> {
        let (key, size) = (&task.stored.key, task.stored.size);
        let mut guess = age_file::HEADER_GUESS.min(size);
        let (header, prefix) = loop {
            let prefix = match self.get(key, 0..guess)? {
                Ok(prefix) => prefix,
                Err(wrong) => return Ok(Err(wrong)),
            };
            match Header::parse(&prefix) {
                Ok(Some(header)) => break (header, prefix),
                Ok(None) if guess < size => guess = (guess * 8).min(size),
                Ok(None) => return Ok(Ok(Err(FormatError::Truncated { what: "a pack" }))),
                Err(error) => return Ok(Ok(Err(error))),
            }
        };
        let payload = match header.open(self.scan.identities, size) {
            Ok(payload) => payload,
            Err(error) => return Ok(Ok(Err(error))),
        };
        let len = payload.plain_len();
        let Some(trailer_at) = len.checked_sub(TRAILER_LEN) else {
            return Ok(Ok(Err(FormatError::Truncated { what: "a pack" })));
        };
        let read = |range: Range<u64>| -> Read<Result<Vec<u8>, FormatError>> {
            let stored = match payload.stored_range(&range) {
                Ok(stored) => stored,
                Err(error) => return Ok(Ok(Err(error))),
            };
            Ok(self.get(key, stored)?.map(|bytes| payload.decrypt(&range, &bytes)))
        };
        let tail = match read(trailer_at..len)? {
            Ok(Ok(tail)) => tail,
            Ok(Err(error)) => return Ok(Ok(Err(error))),
            Err(wrong) => return Ok(Err(wrong)),
        };
        let trailer = match Trailer::parse(&tail, len) {
            Ok(trailer) => trailer,
            Err(error) => return Ok(Ok(Err(error))),
        };
        let table = match read(trailer.toc.clone())? {
            Ok(Ok(table)) => table,
            Ok(Err(error)) => return Ok(Ok(Err(error))),
            Err(wrong) => return Ok(Err(wrong)),
        };
        let head = payload.stored_range(&(0..1)).map(|first| prefix.slice(..first.start as usize));
        let opened = trailer.open(&table).and_then(|toc| {
            let head = head?;
            Ok(Opened { payload, head, toc, toc_at: trailer.toc })
        });
        Ok(Ok(opened))
    }

    fn chunks(&mut self, task: &Task<'_>, number: u32, progress: &Progress<'_>) -> Read<ObjectHash> {
        let opened = match self.open(task)? {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                self.scan.ledger.blame(task.stored.key.as_str(), &error.to_string(), true);
                return self.hash(task, progress);
            }
            Err(wrong) => return Ok(Err(wrong)),
        };
        self.scan.ledger.table(number, &task.hash, task.stored.size, &opened.toc)?;
        let Opened { payload, head, toc, toc_at } = opened;
        let pack = Arc::new(PackState { number, key: task.stored.key.to_string(), toc });
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head);
        let mut assembler = Assembler::new();
        let (mut next, mut tailed) = (0, false);
        let len = payload.plain_len();
        for start in (0..len).step_by(PIECE as usize) {
            let range = start..(start + PIECE).min(len);
            let stored = payload.stored_range(&range).map_err(|e| Error::object(&task.stored.key, e))?;
            let count = stored.end - stored.start;
            let bytes = match self.get(&task.stored.key, stored)? {
                Ok(bytes) => bytes,
                Err(wrong) => {
                    self.lose(&pack, next)?;
                    return Ok(Err(wrong));
                }
            };
            hasher.update(&bytes);
            if !tailed {
                let (plain, bad) = decrypt(&payload, &range, &bytes);
                assembler.push(plain, bad);
            }
            while let Some((span, _)) = pack.toc.frames.get(next)
                && let Some(stored) = assembler.take(&span.range())
            {
                self.pass_on(FrameJob { pack: pack.clone(), frame: next, stored })?;
                next += 1;
            }
            if next == pack.toc.frames.len() && !tailed {
                tailed = self.tail(&pack, &mut assembler, &toc_at);
            }
            self.scan.monitor.counters().done(0, count);
            if progress.stop.load(Relaxed) {
                return Ok(Ok(task.hash));
            }
        }
        // Frames that the table places beyond the end.
        self.lose(&pack, next)?;
        Ok(Ok(ObjectHash(*hasher.finalize().as_bytes())))
    }

    /// Counts the frames from `next` on as lost.
    fn lose(&mut self, pack: &Arc<PackState>, next: usize) -> Result<()> {
        (next..pack.toc.frames.len())
            .try_for_each(|frame| self.prove(&FrameJob { pack: pack.clone(), frame, stored: None }))
    }

    fn pass_on(&mut self, job: FrameJob) -> Result<()> {
        let job = match &self.give {
            Some(give) => match give.try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
            },
            None => job,
        };
        self.prove(&job)
    }

    fn prove(&mut self, job: &FrameJob) -> Result<()> {
        let chunk_key = self.scan.chunk_key.ok_or_else(|| Error::Key("proving chunks needs a key".into()))?;
        self.scan.ledger.prove(job, chunk_key, &mut self.decompressor, &mut self.plain)
    }

    /// Between the last frame and the table lie the end of the archive and the padding, and nothing else; frames follow one
    /// another. So stock tools find every chunk. `false` when more of it must come first.
    fn tail(&mut self, pack: &PackState, assembler: &mut Assembler, toc_at: &Range<u64>) -> bool {
        let frames = &pack.toc.frames;
        let end = frames.last().map_or(0, |(span, _)| span.range().end);
        let range = end..toc_at.start.saturating_sub(8).max(end);
        let is_huge = range.end - range.start > PIECE;
        if assembler.end() < range.end && !is_huge {
            return false;
        }
        let gapless = frames
            .iter()
            .try_fold(0, |at, (span, _)| (span.offset == at).then_some(span.range().end))
            .is_some();
        let ends = match assembler.take(&range) {
            Some(Some(bytes)) => self.is_end(&bytes),
            // Padding of a huge pack; what cannot be decrypted was found already.
            _ => true,
        };
        if !gapless || !ends {
            let why = "it is not laid out as the format says: stock tools may not read it";
            self.scan.ledger.blame(&pack.key, why, false);
        }
        true
    }

    fn is_end(&mut self, bytes: &[u8]) -> bool {
        const PADDING: [u8; 4] = 0x184D_2A50u32.to_le_bytes();
        let is_padding = |at: usize| {
            let len = bytes[at + 4..].first_chunk().map(|len| u32::from_le_bytes(*len) as usize);
            bytes[at..].starts_with(&PADDING) && len == (bytes.len() - at).checked_sub(8)
        };
        let starts = 1..bytes.len().saturating_sub(7).min(256);
        starts.into_iter().filter(|at| is_padding(*at)).any(|at| {
            let decoded = self.decompressor.frame(&bytes[..at], TAR_END.len() as u32, &mut self.plain);
            decoded.is_ok() && self.plain == TAR_END
        })
    }
}

/// Decrypts a piece; where that fails, segment by segment, with zeros for what cannot be had.
fn decrypt(payload: &Payload, range: &Range<u64>, stored: &Bytes) -> (Bytes, Vec<Range<u64>>) {
    if let Ok(plain) = payload.decrypt(range, stored) {
        return (plain.into(), Vec::new());
    }
    let (mut plain, mut bad) = (Vec::with_capacity((range.end - range.start) as usize), Vec::new());
    let mut sealed = stored.chunks((age_file::SEGMENT + 16) as usize);
    for start in range.clone().step_by(age_file::SEGMENT as usize) {
        let segment = start..(start + age_file::SEGMENT).min(range.end);
        match payload.decrypt(&segment, sealed.next().unwrap_or_default()) {
            Ok(bytes) => plain.extend_from_slice(&bytes),
            Err(_) => {
                plain.resize(plain.len() + (segment.end - segment.start) as usize, 0);
                bad.push(segment);
            }
        }
    }
    (plain.into(), bad)
}
