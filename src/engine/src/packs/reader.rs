//! Reads stored packs by ranges: the header once, then whole segments around the frames that are wanted.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use fardel_format::age_file::{self, Identities, Payload};
use fardel_format::frame::{self, Decompressor, Member};
use fardel_format::ids::ChunkKey;
use fardel_format::names::{FanOut, Name};
use fardel_format::pack::{PackKind, TRAILER_LEN, Toc, Trailer};
use fardel_format::segment::Location;
use fardel_format::{ChunkId, Error as FormatError, ObjectHash};
use fardel_store::{ByteRange, Key};

use super::remembered::Remembered;
use crate::bridge::Blocking;
use crate::catalog::{Catalog, key_of};
use crate::index::ChunkIndex;
use crate::repository::Repository;
use crate::{Error, Result};

/// How many packs stay open: a key and a length each.
const OPEN_PACKS: usize = 1024;
/// Places that index segments tell of one chunk and that are tried; beyond, the packs themselves are asked.
const MAX_HINTS: usize = 64;
/// Places of one chunk in one pack that are tried: an honest pack has one.
const MAX_CLAIMS: usize = 8;
/// How many decompressed frames of metadata are kept.
const WARM_FRAMES: usize = 12;

struct OpenPack {
    key: Key,
    payload: Payload,
}

/// Reads packs; shared between threads.
pub struct PackReader {
    store: Blocking,
    identities: Arc<Identities>,
    /// Where each pack lies, when not at its plainest name.
    keys: HashMap<ObjectHash, Vec<(Key, u64)>>,
    open: Mutex<Bounded<ObjectHash, Arc<OpenPack>>>,
    cache: PathBuf,
    /// What the packs' own tables say; made when it is first needed.
    truth: Mutex<Option<Arc<ChunkIndex>>>,
}

impl PackReader {
    /// For the packs of a catalog.
    #[must_use]
    pub fn new(repo: &Repository, catalog: &Catalog) -> Self {
        let keys = catalog.packs.iter().map(|(hash, copies)| {
            (*hash, copies.iter().map(|c| (c.stored.key.clone(), c.stored.size)).collect())
        });
        Self {
            store: repo.store().clone(),
            identities: repo.keys().readers.clone(),
            keys: keys.collect(),
            open: Mutex::new(Bounded::new(OPEN_PACKS)),
            cache: repo.cache().to_owned(),
            truth: Mutex::new(None),
        }
    }

    /// Every place where a chunk lies, by what the packs themselves say.
    ///
    /// The first call reads the tables of all packs: it is for chunks that cannot be had where index segments say, because
    /// those lie or are withheld.
    ///
    /// # Errors
    /// When the store fails as a whole. A pack whose table cannot be read says nothing.
    pub fn search(&self, id: &ChunkId, kind: PackKind) -> Result<Vec<Location>> {
        let mut truth = self.truth.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match &*truth {
            Some(index) => index.clone(),
            None => truth.insert(Arc::new(self.true_index()?)).clone(),
        };
        drop(truth);
        let mut places: Vec<Location> = Vec::new();
        for place in index.locate_all(id, kind) {
            let claimed = places.iter().rev().take_while(|before| before.pack == place.pack).count();
            if claimed < MAX_CLAIMS {
                places.push(place);
            }
        }
        Ok(places)
    }

    fn true_index(&self) -> Result<ChunkIndex> {
        let mut index = ChunkIndex::default();
        let packs = self.keys.iter().flat_map(|(hash, copies)| copies.iter().map(|(_, size)| (*hash, *size)));
        index.add_tables(&self.cache, self, packs, false)?;
        Ok(index)
    }

    fn open(&self, hash: &ObjectHash, size: u64) -> Result<Arc<OpenPack>> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pack) = lock().get(hash) {
            return Ok(pack);
        }
        let name = || key_of(&Name::Pack(*hash, None), FanOut::FLAT);
        let copies = self.keys.get(hash).ok_or_else(|| Error::Damaged(format!("{} is missing", name())))?;
        let whole = copies.iter().find(|(_, stored)| *stored == size);
        let (key, _) = whole
            .ok_or_else(|| Error::Damaged(format!("{} has not the {size} bytes it must have", name())))?;
        let damaged = |e| Error::object(key, e);
        let mut guess = age_file::HEADER_GUESS.min(size);
        let header = loop {
            let prefix = self.store.get_range(key, ByteRange::between(0, guess))?;
            match age_file::Header::parse(&prefix).map_err(damaged)? {
                Some(header) => break header,
                None if guess < size => guess = (guess * 8).min(size),
                None => return Err(damaged(FormatError::Truncated { what: "a pack" })),
            }
        };
        let payload = header.open(&self.identities, size).map_err(damaged)?;
        let pack = Arc::new(OpenPack { key: key.clone(), payload });
        lock().insert(*hash, pack.clone());
        Ok(pack)
    }

    /// Decrypts a range of a pack's plain bytes with one request.
    ///
    /// # Errors
    /// When the pack is missing or damaged, or the store fails.
    pub fn read(&self, hash: &ObjectHash, size: u64, plain: &Range<u64>) -> Result<Vec<u8>> {
        let pack = self.open(hash, size)?;
        self.read_open(&pack, plain)
    }

    fn read_open(&self, pack: &OpenPack, plain: &Range<u64>) -> Result<Vec<u8>> {
        let damaged = |e| Error::object(&pack.key, e);
        let stored = pack.payload.stored_range(plain).map_err(damaged)?;
        let bytes = self.store.get_range(&pack.key, ByteRange::between(stored.start, stored.end))?;
        pack.payload.decrypt(plain, &bytes).map_err(damaged)
    }

    /// A pack's own table of contents.
    ///
    /// # Errors
    /// When the pack is missing or damaged, or the store fails.
    pub fn toc(&self, hash: &ObjectHash, size: u64) -> Result<Toc> {
        let pack = self.open(hash, size)?;
        let damaged = |e| Error::object(&pack.key, e);
        let len = pack.payload.plain_len();
        // The tail is read as whole segments, so that the mark of the last one is checked.
        let start = len
            .saturating_sub(TRAILER_LEN)
            .min(len.saturating_sub(1) / age_file::SEGMENT * age_file::SEGMENT);
        let tail = self.read_open(&pack, &(start..len))?;
        let at = tail
            .len()
            .checked_sub(TRAILER_LEN as usize)
            .ok_or_else(|| damaged(FormatError::Truncated { what: "a pack" }))?;
        let trailer = Trailer::parse(&tail[at..], len).map_err(damaged)?;
        if trailer.toc.start >= start {
            let (from, to) = ((trailer.toc.start - start) as usize, (trailer.toc.end - start) as usize);
            return trailer.open(&tail[from..to]).map_err(damaged);
        }
        trailer.open(&self.read_open(&pack, &trailer.toc)?).map_err(damaged)
    }

    /// The key of a pack as it was listed, for messages.
    #[must_use]
    pub fn key(&self, hash: &ObjectHash) -> String {
        let listed = self.keys.get(hash).and_then(|copies| copies.first()).map(|(key, _)| key.to_string());
        listed.unwrap_or_else(|| key_of(&Name::Pack(*hash, None), FanOut::FLAT).to_string())
    }
}

/// Decompressed frames, by pack and offset.
type WarmFrames = Bounded<(ObjectHash, u64), Arc<Vec<u8>>>;

/// Reads single chunks of metadata, keeping the frames around them warm: neighbours are usually wanted next.
pub struct ChunkReader<'a> {
    packs: &'a PackReader,
    index: &'a ChunkIndex,
    chunk_key: ChunkKey,
    warm: Mutex<WarmFrames>,
    /// Where all of it is to be found, on a host that may not read packs.
    remembered: Option<&'a Remembered>,
}

impl<'a> ChunkReader<'a> {
    /// Reads through `packs` what `index` points at.
    ///
    /// # Errors
    /// When no key is at hand.
    pub fn new(repo: &Repository, packs: &'a PackReader, index: &'a ChunkIndex) -> Result<Self> {
        let chunk_key = repo.chunk_keys()?.chunk.clone();
        Ok(Self { packs, index, chunk_key, warm: Mutex::new(Bounded::new(WARM_FRAMES)), remembered: None })
    }

    /// Reads only what is remembered, if anything is.
    #[must_use]
    pub fn of(self, remembered: Option<&'a Remembered>) -> Self {
        Self { remembered, ..self }
    }

    /// The chunk's plain bytes, verified against its id: from where the index says, else from any pack that holds it.
    ///
    /// # Errors
    /// [`Error::Damaged`] when no pack holds it whole.
    pub fn get(&self, id: &ChunkId, kind: PackKind) -> Result<Vec<u8>> {
        if let Some(remembered) = self.remembered {
            return remembered.get(id, &self.chunk_key);
        }
        let (mut last, mut tried) = (None, Vec::new());
        let mut try_at = |location: Location| {
            if tried.contains(&location) {
                return None;
            }
            tried.push(location);
            self.get_at(id, &location).map_err(|error| last = Some(error)).ok()
        };
        let hinted = self.index.locate_all(id, kind).take(MAX_HINTS).find_map(&mut try_at);
        if let Some(chunk) = hinted {
            return Ok(chunk);
        }
        if let Some(chunk) = self.packs.search(id, kind)?.into_iter().find_map(try_at) {
            return Ok(chunk);
        }
        Err(last
            .unwrap_or_else(|| Error::Damaged(format!("chunk {} is in no pack that is here", id.short()))))
    }

    fn get_at(&self, id: &ChunkId, location: &Location) -> Result<Vec<u8>> {
        let plain = self.frame(location)?;
        let member = Member { id: *id, offset: location.offset, len: location.len };
        let damaged = |e| Error::object(self.packs.key(&location.pack.hash), e);
        let chunk = frame::chunk(&plain, &member).map_err(damaged)?;
        if self.chunk_key.id(chunk) != *id {
            return Err(damaged(FormatError::Damaged {
                what: "a chunk",
                why: format!("it is not {}", id.short()),
            }));
        }
        Ok(chunk.to_vec())
    }

    fn frame(&self, location: &Location) -> Result<Arc<Vec<u8>>> {
        let lock = || self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (location.pack.hash, location.frame.offset);
        if let Some(frame) = lock().get(&name) {
            return Ok(frame);
        }
        let stored = self.packs.read(&location.pack.hash, location.pack.size, &location.frame.range())?;
        let mut plain = Vec::new();
        let damaged = |e| Error::object(self.packs.key(&location.pack.hash), e);
        Decompressor::new()
            .and_then(|mut d| d.frame(&stored, location.frame.plain, &mut plain))
            .map_err(damaged)?;
        let plain = Arc::new(plain);
        lock().insert(name, plain.clone());
        Ok(plain)
    }
}

/// A map that forgets what came in first.
struct Bounded<K, V> {
    map: HashMap<K, V>,
    order: VecDeque<K>,
    capacity: usize,
}

impl<K: Copy + Eq + std::hash::Hash, V: Clone> Bounded<K, V> {
    fn new(capacity: usize) -> Self {
        Self { map: HashMap::new(), order: VecDeque::new(), capacity }
    }

    fn get(&self, key: &K) -> Option<V> {
        self.map.get(key).cloned()
    }

    fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }
}
