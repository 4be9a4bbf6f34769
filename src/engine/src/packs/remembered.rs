//! What a host that may not read its own snapshots remembers of the last one: its root, and the listings of its folders.
//!
//! One file in the cache for each set of sources: frames as in a pack, their table, the root, and where these two begin.
//! None of it is believed: a listing is checked against its id, and the root against the id of a snapshot that this host sealed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fardel_format::frame::{self, Compressor, Decompressor, Member, Plain};
use fardel_format::ids::{ChunkKey, Nonce};
use fardel_format::pack::{FrameSpan, PackKind, Toc};
use fardel_format::root::Root;
use fardel_format::{ChunkId, SnapshotId};

use crate::{Error, Result};

/// Listings beyond this number are not remembered: their table is held in memory, and this many are of some hundred million files.
const MAX_LISTINGS: usize = 500_000;
/// Largest root, in bytes.
const MAX_ROOT: u64 = 16 << 20;
/// The begins of the table and of the root, at the end of the file.
const TRAILER: u64 = 16;
/// Speed counts: the file is read once.
const LEVEL: i32 = 1;

/// The file for a set of sources.
pub fn place(cache: &Path, sources: &[Vec<u8>]) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    for source in sources {
        hasher.update(&(source.len() as u64).to_le_bytes()).update(source);
    }
    cache.join("listings").join(&hasher.finalize().to_hex()[..32])
}

/// Takes listings in while a snapshot is made. Whatever goes wrong only costs the next backup its time.
pub struct Remembering {
    place: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
    at: u64,
    frame: Plain,
    compressor: Compressor,
    table: Toc,
    listings: usize,
}

impl Remembering {
    /// Begins anew; `None` where there can be no such file.
    pub fn begin(place: PathBuf) -> Option<Self> {
        let folder = place.parent()?;
        std::fs::create_dir_all(folder).ok()?;
        let temporary = folder.join(format!("tmp-{}", Nonce::random()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).ok()?;
        Some(Self {
            place,
            temporary,
            out: BufWriter::new(file),
            at: 0,
            frame: Plain::new(),
            compressor: Compressor::new(LEVEL).ok()?,
            table: Toc { kind: PackKind::Meta, frames: Vec::new() },
            listings: 0,
        })
    }

    /// Remembers one listing; `None` when that is not possible.
    pub fn put(&mut self, id: ChunkId, listing: &[u8]) -> Option<()> {
        self.listings += 1;
        if self.listings > MAX_LISTINGS {
            return None;
        }
        if self.frame.is_full_for(listing.len()) {
            self.end_frame()?;
        }
        self.frame.push(id, listing).ok()
    }

    fn end_frame(&mut self) -> Option<()> {
        let frame = self.frame.compress(&mut self.compressor).ok()?;
        self.frame.clear();
        self.out.write_all(&frame.bytes).ok()?;
        let stored = frame.bytes.len() as u32;
        self.table
            .frames
            .push((FrameSpan { offset: self.at, stored, plain: frame.plain_len }, frame.members));
        self.at += u64::from(stored);
        Some(())
    }

    /// These listings are of the snapshot with this root: from now on it is the one that is remembered.
    pub fn keep(mut self, root: &Root) {
        let _ = self.end(root);
    }

    #[expect(clippy::disallowed_methods, reason = "it is a cache, and the newer one is wanted")]
    fn end(&mut self, root: &Root) -> Option<()> {
        if !self.frame.is_empty() {
            self.end_frame()?;
        }
        let table = self.table.to_bytes();
        let root_at = self.at + table.len() as u64;
        for bytes in [&table[..], &root.to_bytes(), &self.at.to_le_bytes(), &root_at.to_le_bytes()] {
            self.out.write_all(bytes).ok()?;
        }
        self.out.flush().ok()?;
        std::fs::rename(&self.temporary, &self.place).ok()
    }
}

impl Drop for Remembering {
    fn drop(&mut self) {
        // Once it was kept there is nothing of this name.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// The frame that was read last, and where it begins.
type Warm = (u64, Arc<Vec<u8>>);

/// What was remembered.
pub struct Remembered {
    file: File,
    place: PathBuf,
    /// Where each listing lies, sorted by id.
    listings: Vec<(ChunkId, FrameSpan, Member)>,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its root.
    pub root: Root,
    warm: Mutex<Option<Warm>>,
}

impl Remembered {
    /// Opens the file; `None` when there is none, or it is damaged.
    pub fn open(place: &Path) -> Option<Self> {
        let file = File::open(place).ok()?;
        let len = file.metadata().ok()?.len();
        let end = len.checked_sub(TRAILER)?;
        let trailer = read(&file, end, TRAILER).ok()?;
        let (table_at, root_at) = trailer.split_at(8);
        let table_at = u64::from_le_bytes(table_at.try_into().ok()?);
        let root_at = u64::from_le_bytes(root_at.try_into().ok()?);
        let table_len = root_at.checked_sub(table_at).filter(|len| *len <= fardel_format::pack::MAX_TOC)?;
        let root_len = end.checked_sub(root_at).filter(|len| *len <= MAX_ROOT)?;
        let table = Toc::from_bytes(&read(&file, table_at, table_len).ok()?).ok()?;
        let root = read(&file, root_at, root_len).ok()?;
        let members = table
            .frames
            .into_iter()
            .flat_map(|(span, members)| members.into_iter().map(move |member| (member.id, span, member)));
        let mut listings: Vec<_> = members.collect();
        listings.sort_by_key(|(id, ..)| *id);
        let (snapshot, root) = (Root::id(&root), Root::from_bytes(&root).ok()?);
        Some(Self { file, place: place.to_owned(), listings, snapshot, root, warm: Mutex::new(None) })
    }

    /// One listing, verified against its id.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it was not remembered, or not whole.
    pub fn get(&self, id: &ChunkId, key: &ChunkKey) -> Result<Vec<u8>> {
        let damaged = |why: &str| Error::Damaged(format!("{}: {why}", self.place.display()));
        let at = self.listings.binary_search_by_key(id, |(id, ..)| *id);
        let (_, span, member) =
            at.map(|at| &self.listings[at]).map_err(|_| damaged("a listing is not in it"))?;
        let plain = self.frame(span)?;
        let chunk = frame::chunk(&plain, member).map_err(|e| Error::object(self.place.display(), e))?;
        if key.id(chunk) == *id { Ok(chunk.to_vec()) } else { Err(damaged("a listing is damaged")) }
    }

    fn frame(&self, span: &FrameSpan) -> Result<Arc<Vec<u8>>> {
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, plain)) = &*warm
            && *at == span.offset
        {
            return Ok(plain.clone());
        }
        let stored =
            read(&self.file, span.offset, u64::from(span.stored)).map_err(|e| Error::io(&self.place, e))?;
        let mut plain = Vec::new();
        Decompressor::new()
            .and_then(|mut d| d.frame(&stored, span.plain, &mut plain))
            .map_err(|e| Error::object(self.place.display(), e))?;
        let plain = Arc::new(plain);
        *warm = Some((span.offset, plain.clone()));
        Ok(plain)
    }
}

fn read(file: &File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}
