//! Packs: `.tar.zst.age` files that describe themselves.
//!
//! Inside the encryption: frames of tar members, a frame with the tar end, padding, the table of contents and a trailer of
//! 64 bytes; the last three are skippable frames, so that `age -d | zstd -dc | tar x` yields the chunks and nothing else.

use std::io::{self, Write};
use std::ops::Range;

use crate::age_file::{self, Recipients};
use crate::frame::{self, Frame, Member};
use crate::ids::{ChunkId, ObjectHash};
use crate::{Error, Result};

const PADDING_MAGIC: u32 = 0x184D_2A50;
const TOC_MAGIC: u32 = 0x184D_2A51;
const TRAILER_MAGIC: u32 = 0x184D_2A52;
const TOC_HEAD: [u8; 4] = *b"FTOC";
const TRAILER_HEAD: [u8; 8] = *b"FARDELP1";
const TOC_FIXED: u64 = 16;
const FRAME_ROW: u64 = 20;
const MEMBER_ROW: u64 = 40;
/// Bytes of the trailer, its frame header included.
pub const TRAILER_LEN: u64 = 64;
/// Tables of contents beyond this are refused.
pub const MAX_TOC: u64 = 64 << 20;

/// What a pack holds; the two never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackKind {
    /// Content of files and volumes.
    Data,
    /// Trees and maps.
    Meta,
}

/// Where one frame lies in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSpan {
    /// First byte in the plain pack.
    pub offset: u64,
    /// Compressed length in bytes.
    pub stored: u32,
    /// Decompressed length in bytes.
    pub plain: u32,
}

impl FrameSpan {
    /// The bytes of the plain pack that hold it.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(u64::from(self.stored))
    }

    /// The end of [`Self::range`], if readers take such a frame.
    pub(crate) fn checked_end(&self) -> Option<u64> {
        let fits = (1..=frame::MAX_STORED).contains(&(self.stored as usize))
            && self.plain as usize <= frame::MAX_PLAIN;
        self.offset.checked_add(u64::from(self.stored)).filter(|_| fits)
    }
}

/// The table of contents of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toc {
    /// What kind of chunks it holds.
    pub kind: PackKind,
    /// Each frame with the chunks in it, in order.
    pub frames: Vec<(FrameSpan, Vec<Member>)>,
}

impl Toc {
    /// The table's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let chunks: usize = self.frames.iter().map(|(_, members)| members.len()).sum();
        let mut out = Vec::with_capacity((TOC_FIXED + table_rows(self.frames.len(), chunks)) as usize);
        out.extend_from_slice(&TOC_HEAD);
        out.extend_from_slice(&[1, u8::from(self.kind == PackKind::Meta), 0, 0]);
        out.extend_from_slice(&(self.frames.len() as u32).to_le_bytes());
        out.extend_from_slice(&(chunks as u32).to_le_bytes());
        for (span, members) in &self.frames {
            out.extend_from_slice(&span.offset.to_le_bytes());
            out.extend_from_slice(&span.stored.to_le_bytes());
            out.extend_from_slice(&span.plain.to_le_bytes());
            out.extend_from_slice(&(members.len() as u32).to_le_bytes());
        }
        for member in self.frames.iter().flat_map(|(_, members)| members) {
            out.extend_from_slice(&member.id.0);
            out.extend_from_slice(&member.offset.to_le_bytes());
            out.extend_from_slice(&member.len.to_le_bytes());
        }
        out
    }

    /// Reads a table.
    ///
    /// # Errors
    /// When it is none, or points outside a frame or a pack.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let what = "a table of contents";
        let mut cursor = Cursor { what, rest: bytes };
        if cursor.take(4)? != TOC_HEAD {
            return Err(Error::damaged(what, "it does not begin as one"));
        }
        let flags = cursor.take(4)?;
        let kind = match flags {
            [1, 0, 0, 0] => PackKind::Data,
            [1, 1, 0, 0] => PackKind::Meta,
            [1, ..] => return Err(Error::damaged(what, "an unknown kind of pack")),
            [version, ..] => return Err(Error::Version { what, found: u64::from(*version), known: 1 }),
            [] => return Err(Error::Truncated { what }),
        };
        let (frames, chunks) = (cursor.u32()?, cursor.u32()?);
        // In 64 bits: where `usize` has 32, false counts would wrap around to the right length.
        if cursor.rest.len() as u64 != u64::from(frames) * FRAME_ROW + u64::from(chunks) * MEMBER_ROW {
            return Err(Error::damaged(what, "its counts do not fit its length"));
        }
        let mut spans = Vec::with_capacity(frames as usize);
        let mut end = 0;
        for _ in 0..frames {
            let span = FrameSpan { offset: cursor.u64()?, stored: cursor.u32()?, plain: cursor.u32()? };
            let next = span.checked_end().filter(|_| span.offset >= end);
            end = next.ok_or_else(|| Error::damaged(what, "a frame out of place"))?;
            spans.push((span, cursor.u32()?));
        }
        if spans.iter().map(|(_, n)| u64::from(*n)).sum::<u64>() != u64::from(chunks) {
            return Err(Error::damaged(what, "its counts do not fit"));
        }
        let mut toc = Self { kind, frames: Vec::with_capacity(frames as usize) };
        for (span, count) in spans {
            let mut members = Vec::with_capacity(count as usize);
            for _ in 0..count {
                let member =
                    Member { id: ChunkId(cursor.array()?), offset: cursor.u32()?, len: cursor.u32()? };
                if u64::from(member.offset) + u64::from(member.len) > u64::from(span.plain) {
                    return Err(Error::damaged(what, "a chunk outside its frame"));
                }
                members.push(member);
            }
            toc.frames.push((span, members));
        }
        Ok(toc)
    }
}

fn table_rows(frames: usize, members: usize) -> u64 {
    frames as u64 * FRAME_ROW + members as u64 * MEMBER_ROW
}

/// A pack that is being written into `W`.
pub struct PackWriter<W: Write> {
    out: age::stream::StreamWriter<Hashing<W>>,
    offset: u64,
    toc: Toc,
    /// What the table will take so far.
    toc_len: u64,
}

/// A pack that is complete.
pub struct Finished<W> {
    /// Where it was written.
    pub out: W,
    /// BLAKE3 of the stored bytes.
    pub hash: ObjectHash,
    /// Stored length in bytes.
    pub size: u64,
    /// What lies in it.
    pub toc: Toc,
}

impl<W: Write> PackWriter<W> {
    /// Begins a pack.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn create(out: W, kind: PackKind, recipients: &Recipients) -> Result<Self> {
        let out = age_file::writer(Hashing { out, hasher: blake3::Hasher::new(), len: 0 }, recipients)?;
        Ok(Self { out, offset: 0, toc: Toc { kind, frames: Vec::new() }, toc_len: TOC_FIXED })
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// When `out` fails, or when readers would refuse the frame or the pack's table: nothing is written then.
    pub fn add(&mut self, frame: Frame) -> io::Result<()> {
        let stored = u32::try_from(frame.bytes.len()).map_err(io::Error::other)?;
        let span = FrameSpan { offset: self.offset, stored, plain: frame.plain_len };
        let toc_len = self.toc_len + table_rows(1, frame.members.len());
        if span.checked_end().is_none() || toc_len > MAX_TOC {
            return Err(io::Error::other("a frame or a table of contents that no reader would take"));
        }
        self.write(&frame.bytes)?;
        self.toc_len = toc_len;
        self.toc.frames.push((span, frame.members));
        Ok(())
    }

    /// Bytes so far, about as many as will be stored: the table grows with them, and of tiny chunks it is the larger part.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.offset + self.toc_len
    }

    /// Whether it has no frame yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.toc.frames.is_empty()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Writes the end, the padding, the table and the trailer.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn finish(mut self) -> io::Result<Finished<W>> {
        let end = zstd::bulk::compress(&frame::TAR_END, 1)?;
        self.write(&end)?;
        let toc = self.toc.to_bytes();
        let tail = 8 + toc.len() as u64 + TRAILER_LEN;
        let padding = padding(self.offset + 8 + tail) as usize;
        self.write(&skippable(PADDING_MAGIC, padding))?;
        self.write(&vec![0; padding])?;
        self.write(&skippable(TOC_MAGIC, toc.len()))?;
        let toc_at = self.offset;
        self.write(&toc)?;
        let mut trailer = Vec::with_capacity(TRAILER_LEN as usize);
        trailer.extend_from_slice(&skippable(TRAILER_MAGIC, TRAILER_LEN as usize - 8));
        trailer.extend_from_slice(&TRAILER_HEAD);
        trailer.extend_from_slice(&toc_at.to_le_bytes());
        trailer.extend_from_slice(&(toc.len() as u64).to_le_bytes());
        trailer.extend_from_slice(blake3::hash(&toc).as_bytes());
        self.write(&trailer)?;
        let Hashing { out, hasher, len } = self.out.finish()?;
        Ok(Finished { out, hash: ObjectHash(*hasher.finalize().as_bytes()), size: len, toc: self.toc })
    }
}

/// How many bytes are added to a plain pack of `len` bytes, so that its length says little about what is in it.
///
/// Lengths are rounded up so that only their leading nine bits remain, at least to 512 bytes: under 0.4 % of a pack.
fn padding(len: u64) -> u64 {
    let granule = (1u64 << len.max(1).ilog2().saturating_sub(9)).max(512);
    len.next_multiple_of(granule) - len
}

fn skippable(magic: u32, len: usize) -> [u8; 8] {
    let mut header = [0; 8];
    header[..4].copy_from_slice(&magic.to_le_bytes());
    header[4..].copy_from_slice(&(len as u32).to_le_bytes());
    header
}

/// Where the table of contents lies, as the trailer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// The table's bytes in the plain pack.
    pub toc: Range<u64>,
    hash: [u8; 32],
}

impl Trailer {
    /// Reads the last [`TRAILER_LEN`] bytes of a plain pack of `plain_len` bytes.
    ///
    /// # Errors
    /// When it is no trailer, or points outside the pack.
    pub fn parse(bytes: &[u8], plain_len: u64) -> Result<Self> {
        let what = "a pack's trailer";
        let mut cursor = Cursor { what, rest: bytes };
        let frame = cursor.take(8)? == skippable(TRAILER_MAGIC, TRAILER_LEN as usize - 8);
        if !frame || cursor.take(8)? != TRAILER_HEAD {
            return Err(Error::damaged(what, "it does not look like one"));
        }
        let (offset, len, hash) = (cursor.u64()?, cursor.u64()?, cursor.array()?);
        if !cursor.rest.is_empty() {
            return Err(Error::damaged(what, "it is too long"));
        }
        if len > MAX_TOC {
            return Err(Error::TooLarge { what: "a table of contents", limit: MAX_TOC });
        }
        if offset.checked_add(len).and_then(|end| end.checked_add(TRAILER_LEN)) != Some(plain_len) {
            return Err(Error::damaged(what, "the table is not before it"));
        }
        Ok(Self { toc: offset..offset + len, hash })
    }

    /// Reads the table's bytes and checks them.
    ///
    /// # Errors
    /// When they are not the ones that were written.
    pub fn open(&self, toc: &[u8]) -> Result<Toc> {
        if *blake3::hash(toc).as_bytes() != self.hash {
            return Err(Error::damaged("a table of contents", "its hash differs"));
        }
        Toc::from_bytes(toc)
    }
}

struct Hashing<W> {
    out: W,
    hasher: blake3::Hasher,
    len: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads little-endian fields off the front.
pub(crate) struct Cursor<'a> {
    pub what: &'static str,
    pub rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Error::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(*head)
    }

    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests;
