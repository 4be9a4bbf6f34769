//! Index segments: sorted records that say where chunks lie. They are hints: whoever follows one checks the chunk's id.
//!
//! Little-endian, fixed records, so that a mapped file is searched in place:
//! head (64 bytes), pack table, frame table, records sorted by chunk id.

use crate::ids::{ChunkId, ObjectHash};
use crate::pack::{Cursor, FrameSpan, PackKind, Toc};
use crate::search::first_not_before;
use crate::sign::{PublicKey, SigningKey};
use crate::{Error, Result};

const MAGIC: [u8; 8] = *b"FARDELI1";
/// Bytes of the head.
pub const HEAD: usize = 64;
/// Bytes of an entry of the pack table.
pub const PACK_ENTRY: usize = 48;
/// Bytes of an entry of the frame table.
pub const FRAME_ENTRY: usize = 20;
/// Bytes of a record.
pub const RECORD: usize = 44;
/// Stored segments beyond this are refused, in plain bytes; one that a client merges for itself may be larger.
pub const MAX_SIZE: u64 = 1 << 30;

/// A pack in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentPack {
    /// The pack.
    pub hash: ObjectHash,
    /// Stored size in bytes.
    pub size: u64,
    /// What it holds.
    pub kind: PackKind,
}

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// In which pack.
    pub pack: SegmentPack,
    /// In which of its frames.
    pub frame: FrameSpan,
    /// First byte in the plain frame.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The chunk.
    pub id: ChunkId,
    /// Row of the frame table.
    pub frame: u32,
    /// First byte in the plain frame.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Record {
    /// The record's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; RECORD] {
        let mut out = [0; RECORD];
        out[..32].copy_from_slice(&self.id.0);
        out[32..36].copy_from_slice(&self.frame.to_le_bytes());
        out[36..40].copy_from_slice(&self.offset.to_le_bytes());
        out[40..].copy_from_slice(&self.len.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor { what: "an index segment", rest: bytes };
        Ok(Self {
            id: ChunkId(cursor.array()?),
            frame: cursor.u32()?,
            offset: cursor.u32()?,
            len: cursor.u32()?,
        })
    }
}

/// How many rows each table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows of the pack table.
    pub packs: u32,
    /// Rows of the frame table.
    pub frames: u32,
    /// Records.
    pub records: u64,
}

impl Counts {
    /// The head of a segment with these counts.
    #[must_use]
    pub fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&MAGIC);
        head[8..12].copy_from_slice(&self.packs.to_le_bytes());
        head[12..16].copy_from_slice(&self.frames.to_le_bytes());
        head[16..24].copy_from_slice(&self.records.to_le_bytes());
        head
    }

    /// Length of the whole segment in bytes.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        HEAD as u64
            + u64::from(self.packs) * PACK_ENTRY as u64
            + u64::from(self.frames) * FRAME_ENTRY as u64
            + self.records * RECORD as u64
    }
}

/// A row of the pack table.
#[must_use]
pub fn pack_entry(pack: &SegmentPack) -> [u8; PACK_ENTRY] {
    let mut out = [0; PACK_ENTRY];
    out[..32].copy_from_slice(&pack.hash.0);
    out[32..40].copy_from_slice(&pack.size.to_le_bytes());
    out[40] = u8::from(pack.kind == PackKind::Meta);
    out
}

/// A row of the frame table.
#[must_use]
pub fn frame_entry(pack: u32, span: &FrameSpan) -> [u8; FRAME_ENTRY] {
    let mut out = [0; FRAME_ENTRY];
    out[..4].copy_from_slice(&pack.to_le_bytes());
    out[4..12].copy_from_slice(&span.offset.to_le_bytes());
    out[12..16].copy_from_slice(&span.stored.to_le_bytes());
    out[16..].copy_from_slice(&span.plain.to_le_bytes());
    out
}

/// The segment of a few finished packs.
#[must_use]
pub fn build<'a>(packs: impl IntoIterator<Item = (ObjectHash, u64, &'a Toc)>) -> Vec<u8> {
    let (mut pack_table, mut frame_table, mut records) = (Vec::new(), Vec::new(), Vec::new());
    let mut counts = Counts::default();
    for (hash, size, toc) in packs {
        pack_table.extend_from_slice(&pack_entry(&SegmentPack { hash, size, kind: toc.kind }));
        for (span, members) in &toc.frames {
            frame_table.extend_from_slice(&frame_entry(counts.packs, span));
            let frame = counts.frames;
            records.extend(members.iter().map(|m| Record { id: m.id, frame, offset: m.offset, len: m.len }));
            counts.frames += 1;
        }
        counts.packs += 1;
    }
    records.sort_unstable();
    counts.records = records.len() as u64;
    let mut out = Vec::with_capacity(counts.total_len() as usize);
    out.extend_from_slice(&counts.head());
    out.extend_from_slice(&pack_table);
    out.extend_from_slice(&frame_table);
    records.iter().for_each(|record| out.extend_from_slice(&record.to_bytes()));
    out
}

/// A segment in memory or in a mapped file.
#[derive(Clone, Copy)]
pub struct View<'a> {
    counts: Counts,
    packs: &'a [u8],
    frames: &'a [u8],
    records: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks the head and the length.
    ///
    /// # Errors
    /// When it is no segment.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        let what = "an index segment";
        let mut cursor = Cursor { what, rest: bytes };
        if cursor.take(8)? != MAGIC {
            return Err(Error::damaged(what, "it does not begin as one"));
        }
        let counts = Counts { packs: cursor.u32()?, frames: cursor.u32()?, records: cursor.u64()? };
        if counts.records > bytes.len() as u64 || counts.total_len() != bytes.len() as u64 {
            return Err(Error::damaged(what, "its counts do not fit its length"));
        }
        cursor.take(HEAD - 24)?;
        let packs = cursor.take(counts.packs as usize * PACK_ENTRY)?;
        let frames = cursor.take(counts.frames as usize * FRAME_ENTRY)?;
        Ok(Self { counts, packs, frames, records: cursor.rest })
    }

    /// Rows of each table.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The pack table's bytes.
    #[must_use]
    pub fn pack_table(&self) -> &'a [u8] {
        self.packs
    }

    /// Row `i` of the pack table.
    ///
    /// # Errors
    /// When there is none.
    pub fn pack(&self, i: u32) -> Result<SegmentPack> {
        let mut cursor = row(self.packs, i as usize, PACK_ENTRY)?;
        let (hash, size) = (ObjectHash(cursor.array()?), cursor.u64()?);
        let kind = if cursor.take(1)? == [0] { PackKind::Data } else { PackKind::Meta };
        Ok(SegmentPack { hash, size, kind })
    }

    /// Row `i` of the frame table: the pack's row and the span.
    ///
    /// # Errors
    /// When there is none, or its frame is larger than readers take.
    pub fn frame(&self, i: u32) -> Result<(u32, FrameSpan)> {
        let mut cursor = row(self.frames, i as usize, FRAME_ENTRY)?;
        let pack = cursor.u32()?;
        let span = FrameSpan { offset: cursor.u64()?, stored: cursor.u32()?, plain: cursor.u32()? };
        if span.checked_end().is_none() {
            return Err(Error::damaged("an index segment", "a frame that no pack has"));
        }
        Ok((pack, span))
    }

    /// Record `i` in the order of chunk ids.
    ///
    /// # Errors
    /// When there is none.
    pub fn record(&self, i: u64) -> Result<Record> {
        let i = usize::try_from(i).map_err(|_| Error::Truncated { what: "an index segment" })?;
        Record::from_bytes(row(self.records, i, RECORD)?.rest)
    }

    fn id(&self, i: u64) -> &'a [u8; 32] {
        self.records[i as usize * RECORD..].first_chunk().expect("a record begins with an id")
    }

    /// The first record of this chunk.
    #[must_use]
    pub fn find(&self, id: &ChunkId) -> Option<u64> {
        let first = first_not_before(self.counts.records, &id.0, |i| self.id(i));
        (first < self.counts.records && *self.id(first) == id.0).then_some(first)
    }

    /// The first record from `start` on that does not come before this chunk; sooner than [`Self::find`] when that is not far.
    #[must_use]
    pub fn advance(&self, start: u64, id: &ChunkId) -> u64 {
        let (mut low, mut step) = (start, 1);
        while low + step <= self.counts.records && *self.id(low + step - 1) < id.0 {
            low += step;
            step *= 2;
        }
        let within = step.min(self.counts.records - low);
        low + first_not_before(within, &id.0, |i| self.id(low + i))
    }

    /// Every place where the segment says this chunk lies.
    pub fn locate(&self, id: &ChunkId) -> impl Iterator<Item = Result<Location>> + use<'a> {
        let first = self.find(id).unwrap_or(self.counts.records);
        let view = *self;
        self.records_of(first, id).map(move |record| view.location(&record?))
    }

    /// The records from number `first` on, as long as they are of this chunk.
    pub fn records_of(&self, first: u64, id: &ChunkId) -> impl Iterator<Item = Result<Record>> + use<'a> {
        let (view, id) = (*self, *id);
        (first..view.counts.records).take_while(move |&i| *view.id(i) == id.0).map(move |i| view.record(i))
    }

    /// Where a record points.
    ///
    /// # Errors
    /// When it points outside the tables, or the chunk outside its frame.
    pub fn location(&self, record: &Record) -> Result<Location> {
        let (pack, frame) = self.frame(record.frame)?;
        if u64::from(record.offset) + u64::from(record.len) > u64::from(frame.plain) {
            return Err(Error::damaged("an index segment", "a chunk outside its frame"));
        }
        Ok(Location { pack: self.pack(pack)?, frame, offset: record.offset, len: record.len })
    }
}

fn row(table: &[u8], i: usize, len: usize) -> Result<Cursor<'_>> {
    let what = "an index segment";
    let start = i.checked_mul(len).filter(|start| *start <= table.len());
    let rest = start.and_then(|start| table[start..].get(..len)).ok_or(Error::Truncated { what })?;
    Ok(Cursor { what, rest })
}

/// A segment as it is stored: its writer's signature before it, since age gives no sender.
///
/// `<public key>\n<base64 of the signature text>\n` and then the segment.
///
/// # Errors
/// When the key cannot sign.
pub fn sign(segment: &[u8], repository: &crate::RepositoryId, key: &SigningKey) -> Result<Vec<u8>> {
    let signature = key.sign(segment, &comment(repository))?;
    let mut out = format!("{}\n{}\n", key.public(), crate::lines::base64(signature.as_bytes())).into_bytes();
    out.extend_from_slice(segment);
    Ok(out)
}

/// Takes a stored segment apart: who wrote it, and the segment.
///
/// # Errors
/// [`Error::Forged`] when the signature does not hold; [`Error::TooLarge`] beyond [`MAX_SIZE`].
pub fn open_signed<'a>(bytes: &'a [u8], repository: &crate::RepositoryId) -> Result<(PublicKey, &'a [u8])> {
    let what = "an index segment";
    if bytes.len() as u64 > MAX_SIZE {
        return Err(Error::TooLarge { what, limit: MAX_SIZE });
    }
    let mut parts = bytes.splitn(3, |&b| b == b'\n');
    let mut text = || {
        let part = parts.next().filter(|part| part.len() < 4096).ok_or(Error::Truncated { what })?;
        std::str::from_utf8(part).map_err(|e| Error::damaged(what, e))
    };
    let (key, signature) = (PublicKey::try_from(text()?.to_owned())?, text()?);
    let segment = parts.next().ok_or(Error::Truncated { what })?;
    let signature = crate::lines::from_base64(what, signature)?;
    let signature = std::str::from_utf8(&signature).map_err(|e| Error::damaged(what, e))?;
    key.verify(what, segment, signature, &comment(repository))?;
    Ok((key, segment))
}

fn comment(repository: &crate::RepositoryId) -> String {
    format!("fardel index 1 {repository}")
}

#[cfg(test)]
mod tests;
