//! Proves frames: decompresses each, and computes the id of every chunk in it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fardel_format::frame::{self, Decompressor, Member};
use fardel_format::ids::ChunkKey;
use fardel_format::pack::{FrameSpan, PackKind, Toc};
use fardel_format::{ChunkId, ObjectHash, segment};

use super::sorter::{Scratch, Sorted, Sorter};
use crate::Result;
use crate::index::{ChunkIndex, Run};

/// Records of metadata in one run of the true index: about so many bytes.
const META_RUN: usize = 16 << 20;

/// A chunk that a pack proved to hold: id, kind and length, pack number.
pub const HOLDING: usize = 40;
/// A chunk that a damaged pack should hold: id, kind and pack number.
pub const SUSPECT: usize = 36;
/// A chunk that cannot be had: id, kind and number of an object, the length under which it is named (0 for any).
pub const LOST: usize = 40;
const META: u32 = 1 << 31;

/// Kind and length as they stand in a record.
pub fn kind_and(kind: PackKind, number: u32) -> u32 {
    if kind == PackKind::Meta { number | META } else { number }
}

/// What [`kind_and`] was given.
pub fn split_kind(word: u32) -> (PackKind, u32) {
    let kind = if word & META == 0 { PackKind::Data } else { PackKind::Meta };
    (kind, word & !META)
}

/// A record of [`HOLDING`] or the like: an id and two words.
pub fn holding(id: &ChunkId, kind: PackKind, len: u32, pack: u32) -> [u8; HOLDING] {
    let mut record = [0; HOLDING];
    record[..32].copy_from_slice(&id.0);
    record[32..36].copy_from_slice(&kind_and(kind, len).to_be_bytes());
    record[36..].copy_from_slice(&pack.to_be_bytes());
    record
}

/// A record of [`SUSPECT`].
pub fn suspect(id: &ChunkId, kind: PackKind, pack: u32) -> [u8; SUSPECT] {
    let mut record = [0; SUSPECT];
    record[..32].copy_from_slice(&id.0);
    record[32..].copy_from_slice(&kind_and(kind, pack).to_be_bytes());
    record
}

/// A record of [`LOST`].
pub fn lost(id: &ChunkId, kind: PackKind, object: u32, len: u32) -> [u8; LOST] {
    let mut record = [0; LOST];
    record[..36].copy_from_slice(&suspect(id, kind, object));
    record[36..].copy_from_slice(&len.to_be_bytes());
    record
}

/// Word `n` behind the id of a record.
pub fn word(record: &[u8], n: usize) -> u32 {
    u32::from_be_bytes(*record[32 + 4 * n..].first_chunk().expect("a record has such a word"))
}

/// The id of a record.
pub fn id_of(record: &[u8]) -> ChunkId {
    ChunkId(*record.first_chunk().expect("a record begins with an id"))
}

/// A pack that is being read.
pub struct PackState {
    /// Its number.
    pub number: u32,
    /// Its key.
    pub key: String,
    /// What it says is in it.
    pub toc: Toc,
}

/// A frame to prove.
pub struct FrameJob {
    /// Of which pack.
    pub pack: std::sync::Arc<PackState>,
    /// Which of its frames.
    pub frame: usize,
    /// The stored bytes; `None` when they cannot be decrypted.
    pub stored: Option<Bytes>,
}

/// What is wrong inside packs.
#[derive(Clone, Debug, Default)]
pub struct Bad {
    /// Frames of which something is lost.
    pub frames: u64,
    /// Chunks that are lost in them.
    pub chunks: u64,
    /// The first thing that was found.
    pub why: String,
    /// Whether its table cannot be read, so that nobody knows which chunks it holds.
    pub opaque: bool,
}

struct State {
    holdings: Sorter<HOLDING>,
    suspects: Sorter<SUSPECT>,
    bad: BTreeMap<String, Bad>,
    digests: Vec<Option<[u8; 32]>>,
    meta: Vec<(ObjectHash, u64, Toc)>,
    meta_members: usize,
    runs: Vec<Run>,
}

/// Where everything that packs prove comes together.
pub struct Ledger {
    scratch: Scratch,
    state: Mutex<State>,
}

/// What all packs together prove.
pub struct Proven {
    /// Chunks that are there and right.
    pub holdings: Sorted<HOLDING>,
    /// Chunks that are not, of packs that are here.
    pub suspects: Sorter<SUSPECT>,
    /// Packs that are not right inside, by key.
    pub bad: BTreeMap<String, Bad>,
    /// Of each pack by number: a digest of its table.
    pub digests: Vec<Option<[u8; 32]>>,
    /// Where metadata really lies.
    pub runs: Vec<Run>,
}

impl Ledger {
    /// For so many packs, holding about `memory` bytes.
    pub fn new(scratch: &Scratch, packs: usize, memory: u64) -> Self {
        let state = State {
            holdings: Sorter::new(scratch, memory / 2),
            suspects: Sorter::new(scratch, memory / 4),
            bad: BTreeMap::new(),
            digests: vec![None; packs],
            meta: Vec::new(),
            meta_members: 0,
            runs: Vec::new(),
        };
        Self { scratch: scratch.clone(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pack's own table was read.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn table(&self, number: u32, hash: &ObjectHash, size: u64, toc: &Toc) -> Result<()> {
        let digest = digest(
            toc.kind,
            toc.frames.iter().flat_map(|(span, members)| members.iter().map(move |m| (*span, *m))),
        );
        let mut state = self.lock();
        state.digests[number as usize] = Some(digest);
        if toc.kind == PackKind::Meta {
            state.meta_members += toc.frames.iter().map(|(_, members)| members.len()).sum::<usize>();
            state.meta.push((*hash, size, toc.clone()));
            if state.meta_members * segment::RECORD > META_RUN {
                state.close_run(&self.scratch)?;
            }
        }
        Ok(())
    }

    /// All chunks of a table count as there, unread.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn trust(&self, number: u32, toc: &Toc) -> Result<()> {
        let mut state = self.lock();
        for member in toc.frames.iter().flat_map(|(_, members)| members) {
            state.holdings.push(holding(&member.id, toc.kind, member.len, number))?;
        }
        Ok(())
    }

    /// Something is wrong with a pack, beside its chunks.
    pub fn blame(&self, key: &str, why: &str, opaque: bool) {
        let mut state = self.lock();
        state.blame(key, why);
        state.bad.entry(key.to_owned()).or_default().opaque |= opaque;
    }

    /// Proves a frame.
    ///
    /// # Errors
    /// When a temporary file fails. What is wrong with the frame is noted instead.
    pub fn prove(
        &self,
        job: &FrameJob,
        chunk_key: &ChunkKey,
        decompressor: &mut Decompressor,
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        let pack = &job.pack;
        let (span, members) = &pack.toc.frames[job.frame];
        let decoded = match &job.stored {
            Some(stored) => decompressor.frame(stored, span.plain, plain).map_err(|e| e.to_string()),
            None => Err("a part of it was altered and cannot be decrypted".to_owned()),
        };
        let mut good = Vec::with_capacity(members.len());
        if decoded.is_ok() {
            let holds = |m: &Member| frame::chunk(plain, m).is_ok_and(|chunk| chunk_key.id(chunk) == m.id);
            good.extend(members.iter().map(holds));
        }
        let mut state = self.lock();
        for (i, member) in members.iter().enumerate() {
            if good.get(i) == Some(&true) {
                state.holdings.push(holding(&member.id, pack.toc.kind, member.len, pack.number))?;
            } else {
                state.suspects.push(suspect(&member.id, pack.toc.kind, pack.number))?;
            }
        }
        let lost = good.iter().filter(|good| !**good).count() + members.len() - good.len();
        let at = span.offset;
        match decoded {
            Err(why) => state.blame(&pack.key, &format!("the frame at {at}: {why}")),
            Ok(()) if lost > 0 => {
                let why = format!("the frame at {at}: {lost} chunks are not those that its table names");
                state.blame(&pack.key, &why);
            }
            Ok(()) => {
                if let Err(error) = frame::check_members(plain, members) {
                    let why = format!("the frame at {at}: stock tar would not find its chunks: {error}");
                    state.blame(&pack.key, &why);
                }
                return Ok(());
            }
        }
        let bad = state.bad.entry(pack.key.clone()).or_default();
        bad.frames += 1;
        bad.chunks += lost as u64;
        Ok(())
    }

    /// Everything together.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn finish(self) -> Result<Proven> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.close_run(&self.scratch)?;
        let State { holdings, suspects, bad, digests, runs, .. } = state;
        Ok(Proven { holdings: holdings.finish()?, suspects, bad, digests, runs })
    }
}

impl State {
    fn blame(&mut self, key: &str, why: &str) {
        let bad = self.bad.entry(key.to_owned()).or_default();
        if bad.why.is_empty() {
            why.clone_into(&mut bad.why);
        }
    }

    fn close_run(&mut self, scratch: &Scratch) -> Result<()> {
        if self.meta.is_empty() {
            return Ok(());
        }
        let segment = segment::build(self.meta.iter().map(|(hash, size, toc)| (*hash, *size, toc)));
        let path = scratch.path();
        self.runs.push(Run::save(&path, segment, false)?);
        // The mapping stays; nobody needs the name.
        let _ = std::fs::remove_file(path);
        self.meta.clear();
        self.meta_members = 0;
        Ok(())
    }
}

impl Proven {
    /// `index`, asked after what the packs themselves say about metadata.
    ///
    /// # Errors
    /// When a run cannot be read.
    pub fn add_runs(&mut self, index: &mut ChunkIndex) -> Result<()> {
        self.runs.drain(..).try_for_each(|run| index.add(run))
    }
}

/// A digest of where a pack's chunks lie, whatever the order in which that is told.
pub fn digest(kind: PackKind, rows: impl Iterator<Item = (FrameSpan, Member)>) -> [u8; 32] {
    let mut rows: Vec<_> =
        rows.map(|(span, m)| (span.offset, m.offset, m.id, m.len, span.stored, span.plain)).collect();
    rows.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[u8::from(kind == PackKind::Meta)]);
    for (frame, offset, id, len, stored, plain) in rows {
        hasher.update(&frame.to_le_bytes());
        for number in [offset, len, stored, plain] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(&id.0);
    }
    *hasher.finalize().as_bytes()
}
