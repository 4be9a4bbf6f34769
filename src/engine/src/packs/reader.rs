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
use crate::copies::Copies;
use crate::index::ChunkIndex;
use crate::repository::Repository;
use crate::{Error, Result};

/// How many packs stay open: a key and a length each.
const OPEN_PACKS: usize = 1024;
/// Places that index segments tell of one chunk and that are tried; beyond, the packs themselves are asked.
const MAX_HINTS: usize = 64;
/// Places of one chunk in one pack that are tried: an honest pack has one.
const MAX_CLAIMS: usize = 8;
/// Writings of one pack in one place that are tried: an honest place has a few.
const MAX_WRITINGS: usize = 8;
/// How many decompressed frames of metadata are kept.
const WARM_FRAMES: usize = 12;

struct OpenPack {
    key: Key,
    payload: Payload,
}

/// A place, from 0 for the one that is read, and a writing there.
type SpotNumber = (usize, usize);

/// One of the places where a pack may be had.
struct Spot<'a> {
    /// The place and which of its writings, of whatever size: what is known of it is remembered by this.
    number: SpotNumber,
    store: &'a Blocking,
    key: &'a Key,
    /// The other copy that this is in.
    copy: Option<&'a str>,
}

/// Reads packs; shared between threads.
pub struct PackReader {
    store: Blocking,
    identities: Arc<Identities>,
    /// Where each pack lies, when not at its plainest name.
    keys: HashMap<ObjectHash, Vec<(Key, u64)>>,
    open: Mutex<Bounded<(ObjectHash, SpotNumber), Arc<OpenPack>>>,
    cache: PathBuf,
    /// What the packs' own tables say; made when it is first needed.
    truth: Mutex<Option<Arc<ChunkIndex>>>,
    copies: Arc<Copies>,
    /// Spots where a pack could not be opened, while another one can be asked.
    shut: Mutex<Bounded<(ObjectHash, SpotNumber), ()>>,
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
            copies: repo.copies().clone(),
            shut: Mutex::new(Bounded::new(OPEN_PACKS)),
        }
    }

    /// Where a pack of this size lies: first here, then in the other copies, each of which is opened when it is its turn.
    fn spots(&self, hash: &ObjectHash, size: u64) -> impl Iterator<Item = Spot<'_>> {
        let hash = *hash;
        let here = self.keys.get(&hash).into_iter().flatten().enumerate();
        let here = here.filter(move |(_, (_, stored))| *stored == size).take(MAX_WRITINGS);
        let here = here.map(|(writing, (key, _))| Spot {
            number: (0, writing),
            store: &self.store,
            key,
            copy: None,
        });
        let there = self.copies.reached().zip(1..).flat_map(move |((name, reached), place)| {
            let copies = reached.catalog.packs.get(&hash).into_iter().flatten().enumerate();
            let whole = copies.filter(move |(_, copy)| copy.stored.size == size).take(MAX_WRITINGS);
            whole.map(move |(writing, copy)| Spot {
                number: (place, writing),
                store: &reached.store,
                key: &copy.stored.key,
                copy: Some(name),
            })
        });
        here.chain(there)
    }

    /// What the first spot gives that has what is wanted; what comes from another copy is noted.
    fn at_first<T>(
        &self,
        hash: &ObjectHash,
        size: u64,
        mut read: impl FnMut(&Spot<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut first = None;
        for spot in self.spots(hash, size) {
            match read(&spot) {
                Ok(got) => {
                    if let Some(copy) = spot.copy {
                        let why = first.unwrap_or_else(|| self.lacking(hash, size));
                        self.copies.note(&key_of(&Name::Pack(*hash, None), FanOut::FLAT), &why, copy);
                    }
                    return Ok(got);
                }
                Err(error) if error.is_damage() || self.copies.may_help(&error) => {
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first.unwrap_or_else(|| self.lacking(hash, size)))
    }

    /// Why a pack cannot be had at all.
    fn lacking(&self, hash: &ObjectHash, size: u64) -> Error {
        let name = key_of(&Name::Pack(*hash, None), FanOut::FLAT);
        Error::Damaged(match self.keys.get(hash) {
            None => format!("{name} is missing"),
            Some(_) => format!("{name} has not the {size} bytes it must have"),
        })
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
        let here = self.keys.iter().flat_map(|(hash, copies)| copies.iter().map(|(_, size)| (*hash, *size)));
        let is_here = |hash: &ObjectHash, size: u64| {
            self.keys.get(hash).is_some_and(|copies| copies.iter().any(|(_, stored)| *stored == size))
        };
        let there = self.copies.reached().flat_map(|(_, reached)| {
            let sizes = reached.catalog.packs.iter();
            let sizes = sizes.flat_map(|(hash, copies)| copies.iter().map(|copy| (*hash, copy.stored.size)));
            sizes.filter(|(hash, size)| !is_here(hash, *size))
        });
        index.add_tables(&self.cache, self, here.chain(there), false)?;
        Ok(index)
    }

    fn open(&self, hash: &ObjectHash, size: u64, spot: &Spot<'_>) -> Result<Arc<OpenPack>> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let shut = || self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (*hash, spot.number);
        if let Some(pack) = lock().get(&name) {
            return Ok(pack);
        }
        if shut().get(&name).is_some() {
            return Err(Error::Damaged(format!("{} could not be opened before", spot.key)));
        }
        let opened = self.open_at(size, spot);
        match &opened {
            Ok(pack) => lock().insert(name, pack.clone()),
            Err(_) if self.copies.are_there() => shut().insert(name, ()),
            Err(_) => {}
        }
        opened
    }

    fn open_at(&self, size: u64, spot: &Spot<'_>) -> Result<Arc<OpenPack>> {
        let damaged = |e| Error::object(spot.key, e);
        let mut guess = age_file::HEADER_GUESS.min(size);
        let header = loop {
            let prefix = spot.store.get_range(spot.key, ByteRange::between(0, guess))?;
            match age_file::Header::parse(&prefix).map_err(damaged)? {
                Some(header) => break header,
                None if guess < size => guess = (guess * 8).min(size),
                None => return Err(damaged(FormatError::Truncated { what: "a pack" })),
            }
        };
        let payload = header.open(&self.identities, size).map_err(damaged)?;
        Ok(Arc::new(OpenPack { key: spot.key.clone(), payload }))
    }

    /// Decrypts a range of a pack's plain bytes with one request.
    ///
    /// # Errors
    /// When the pack is missing or damaged, or the store fails.
    pub fn read(&self, hash: &ObjectHash, size: u64, plain: &Range<u64>) -> Result<Vec<u8>> {
        self.at_first(hash, size, |spot| self.read_at(hash, size, spot, plain))
    }

    fn read_at(&self, hash: &ObjectHash, size: u64, spot: &Spot<'_>, plain: &Range<u64>) -> Result<Vec<u8>> {
        let pack = self.open(hash, size, spot)?;
        read_open(spot.store, &pack, plain)
    }

    /// A pack's own table of contents.
    ///
    /// # Errors
    /// When the pack is missing or damaged, or the store fails.
    pub fn toc(&self, hash: &ObjectHash, size: u64) -> Result<Toc> {
        self.at_first(hash, size, |spot| self.toc_at(hash, size, spot))
    }

    fn toc_at(&self, hash: &ObjectHash, size: u64, spot: &Spot<'_>) -> Result<Toc> {
        let pack = self.open(hash, size, spot)?;
        let damaged = |e| Error::object(&pack.key, e);
        let len = pack.payload.plain_len();
        // The tail is read as whole segments, so that the mark of the last one is checked.
        let start = len
            .saturating_sub(TRAILER_LEN)
            .min(len.saturating_sub(1) / age_file::SEGMENT * age_file::SEGMENT);
        let tail = read_open(spot.store, &pack, &(start..len))?;
        let at = tail
            .len()
            .checked_sub(TRAILER_LEN as usize)
            .ok_or_else(|| damaged(FormatError::Truncated { what: "a pack" }))?;
        let trailer = Trailer::parse(&tail[at..], len).map_err(damaged)?;
        if trailer.toc.start >= start {
            let (from, to) = ((trailer.toc.start - start) as usize, (trailer.toc.end - start) as usize);
            return trailer.open(&tail[from..to]).map_err(damaged);
        }
        trailer.open(&read_open(spot.store, &pack, &trailer.toc)?).map_err(damaged)
    }

    /// The key of a pack as it was listed, for messages.
    #[must_use]
    pub fn key(&self, hash: &ObjectHash) -> String {
        let listed = self.keys.get(hash).and_then(|copies| copies.first()).map(|(key, _)| key.to_string());
        listed.unwrap_or_else(|| key_of(&Name::Pack(*hash, None), FanOut::FLAT).to_string())
    }
}

fn read_open(store: &Blocking, pack: &OpenPack, plain: &Range<u64>) -> Result<Vec<u8>> {
    let damaged = |e| Error::object(&pack.key, e);
    let stored = pack.payload.stored_range(plain).map_err(damaged)?;
    let bytes = store.get_range(&pack.key, ByteRange::between(stored.start, stored.end))?;
    pack.payload.decrypt(plain, &bytes).map_err(damaged)
}

/// A decompressed frame, once somebody has read it; others that want it wait for that one.
type WarmFrame = Arc<Mutex<Option<Arc<Vec<u8>>>>>;

/// Decompressed frames, by pack, spot and offset.
type WarmFrames = Bounded<(ObjectHash, SpotNumber, u64), WarmFrame>;

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

    /// Where packs lie.
    pub fn store(&self) -> &Blocking {
        &self.packs.store
    }

    /// In which frame of which pack the index says that a chunk lies: chunks of one frame are best read together.
    #[must_use]
    pub fn frame_of(&self, id: &ChunkId, kind: PackKind) -> Option<(ObjectHash, u64)> {
        let place = self.remembered.is_none().then(|| self.index.locate(id, kind)).flatten()?;
        Some((place.pack.hash, place.frame.offset))
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

    /// The chunk from the first copy of its pack that gives it whole.
    fn get_at(&self, id: &ChunkId, location: &Location) -> Result<Vec<u8>> {
        let pack = location.pack;
        self.packs.at_first(&pack.hash, pack.size, |spot| {
            let plain = self.frame(location, spot)?;
            let member = Member { id: *id, offset: location.offset, len: location.len };
            let damaged = |e| Error::object(spot.key, e);
            let chunk = frame::chunk(&plain, &member).map_err(damaged)?;
            if self.chunk_key.id(chunk) != *id {
                return Err(damaged(FormatError::Damaged {
                    what: "a chunk",
                    why: format!("it is not {}", id.short()),
                }));
            }
            Ok(chunk.to_vec())
        })
    }

    fn frame(&self, location: &Location, spot: &Spot<'_>) -> Result<Arc<Vec<u8>>> {
        let pack = location.pack;
        let frame = self.warm(&(pack.hash, spot.number, location.frame.offset));
        let mut frame = frame.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plain) = &*frame {
            return Ok(plain.clone());
        }
        let stored = self.packs.read_at(&pack.hash, pack.size, spot, &location.frame.range())?;
        let mut plain = Vec::new();
        Decompressor::new()
            .and_then(|mut d| d.frame(&stored, location.frame.plain, &mut plain))
            .map_err(|e| Error::object(spot.key, e))?;
        Ok(frame.insert(Arc::new(plain)).clone())
    }

    fn warm(&self, name: &(ObjectHash, SpotNumber, u64)) -> WarmFrame {
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        warm.get(name).unwrap_or_else(|| {
            let frame = WarmFrame::default();
            warm.insert(*name, frame.clone());
            frame
        })
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
