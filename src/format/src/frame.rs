//! Frames: solid zstd frames that each hold whole tar members, one member a chunk.

use zstd::zstd_safe::CParameter;

use crate::ids::ChunkId;
use crate::{Error, Result};

/// Plain size at which a frame is closed.
pub const TARGET: usize = 2 << 20;
/// Plain size above which readers refuse a frame.
pub const MAX_PLAIN: usize = 8 << 20;
/// Compressed size above which readers refuse a frame: what cannot be compressed grows a little.
pub const MAX_STORED: usize = MAX_PLAIN + (1 << 20);
/// Largest chunk.
pub const MAX_CHUNK: usize = 4 << 20;
/// At this level zstd would use tables of 768 KiB. Half as much stays in a core's own cache beside what is compressed: a quarter faster, for
/// three thousandths of the size.
const CACHED_LEVEL: i32 = 3;
const BLOCK: usize = 512;

/// Where a chunk lies in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The chunk.
    pub id: ChunkId,
    /// First byte of the chunk in the plain frame.
    pub offset: u32,
    /// Length of the chunk in bytes.
    pub len: u32,
}

/// A frame that is being filled.
#[derive(Default)]
pub struct Plain {
    bytes: Vec<u8>,
    members: Vec<Member>,
}

impl Plain {
    /// An empty one with room for [`TARGET`].
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(TARGET + (64 << 10)), members: Vec::new() }
    }

    /// Appends a chunk as a tar member.
    ///
    /// # Errors
    /// When the chunk is above [`MAX_CHUNK`], or the frame would be above [`MAX_PLAIN`]: nobody would read it again.
    pub fn push(&mut self, id: ChunkId, chunk: &[u8]) -> Result<()> {
        if chunk.len() > MAX_CHUNK {
            return Err(Error::TooLarge { what: "a chunk", limit: MAX_CHUNK as u64 });
        }
        if self.bytes.len() + BLOCK + chunk.len().next_multiple_of(BLOCK) > MAX_PLAIN {
            return Err(Error::TooLarge { what: "a frame", limit: MAX_PLAIN as u64 });
        }
        self.bytes.extend_from_slice(&tar_header(id, chunk.len()));
        self.members.push(Member { id, offset: self.bytes.len() as u32, len: chunk.len() as u32 });
        self.bytes.extend_from_slice(chunk);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// Whether it should be closed before a chunk of `len` bytes is added.
    #[must_use]
    pub fn is_full_for(&self, len: usize) -> bool {
        !self.members.is_empty() && self.bytes.len() + len + BLOCK > TARGET
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Plain size in bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the chunks out, and leaves the memory to be filled again.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.members.clear();
    }

    /// Compresses into a frame that stands alone.
    ///
    /// # Errors
    /// When zstd fails.
    pub fn compress(&self, compressor: &mut Compressor) -> Result<Frame> {
        let bytes = compressor.0.compress(&self.bytes).map_err(|e| Error::damaged("a frame", e))?;
        Ok(Frame { bytes, plain_len: self.bytes.len() as u32, members: self.members.clone() })
    }
}

/// A compressed frame and what lies in it.
pub struct Frame {
    /// The zstd frame.
    pub bytes: Vec<u8>,
    /// Its length once decompressed.
    pub plain_len: u32,
    /// The chunks in it.
    pub members: Vec<Member>,
}

/// Compresses frames; keeps its working memory between them.
pub struct Compressor(zstd::bulk::Compressor<'static>);

impl Compressor {
    /// For a zstd level (1 to 19).
    ///
    /// # Errors
    /// When zstd refuses the level.
    pub fn new(level: i32) -> Result<Self> {
        let error = |e: std::io::Error| Error::damaged("the compression level", e);
        let mut compressor = zstd::bulk::Compressor::new(level).map_err(error)?;
        if level == CACHED_LEVEL {
            for table in [CParameter::HashLog(16), CParameter::ChainLog(15)] {
                compressor.set_parameter(table).map_err(error)?;
            }
        }
        // age and the chunk ids already prove the bytes.
        compressor.include_checksum(false).map_err(error)?;
        compressor.include_contentsize(true).map_err(error)?;
        Ok(Self(compressor))
    }
}

/// Decompresses frames; keeps its working memory between them.
pub struct Decompressor(zstd::bulk::Decompressor<'static>);

impl Decompressor {
    /// A new one.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> Result<Self> {
        zstd::bulk::Decompressor::new().map(Self).map_err(|e| Error::damaged("a frame", e))
    }

    /// The plain bytes of a frame that is known to have `plain_len` of them, in `plain`.
    ///
    /// # Errors
    /// When it is not such a frame, or larger than [`MAX_PLAIN`].
    pub fn frame(&mut self, stored: &[u8], plain_len: u32, plain: &mut Vec<u8>) -> Result<()> {
        let what = "a frame";
        if plain_len as usize > MAX_PLAIN {
            return Err(Error::TooLarge { what, limit: MAX_PLAIN as u64 });
        }
        let declared = check_declared(what, stored, MAX_PLAIN)?;
        if declared != plain_len as usize {
            return Err(Error::damaged(what, format!("it says {declared} bytes instead of {plain_len}")));
        }
        plain.clear();
        plain.reserve(plain_len as usize);
        let found = self.0.decompress_to_buffer(stored, plain).map_err(|e| Error::damaged(what, e))?;
        if found != plain_len as usize {
            return Err(Error::damaged(what, format!("it has {found} bytes instead of {plain_len}")));
        }
        Ok(())
    }
}

/// Decompresses one document that declares its size, up to `limit` bytes; it is one frame and nothing else.
pub(crate) fn decompress_limited(what: &'static str, stored: &[u8], limit: usize) -> Result<Vec<u8>> {
    let declared = check_declared(what, stored, limit)?;
    zstd::bulk::decompress(stored, declared).map_err(|e| Error::damaged(what, e))
}

/// The plain size that `stored` declares, if it is exactly one frame.
fn check_declared(what: &'static str, stored: &[u8], limit: usize) -> Result<usize> {
    if zstd::zstd_safe::find_frame_compressed_size(stored) != Ok(stored.len()) {
        return Err(Error::damaged(what, "not one whole zstd frame"));
    }
    match zstd::zstd_safe::get_frame_content_size(stored) {
        Ok(Some(size)) if size <= limit as u64 => Ok(size as usize),
        Ok(Some(_)) => Err(Error::TooLarge { what, limit: limit as u64 }),
        Ok(None) => Err(Error::damaged(what, "it does not say its size")),
        Err(_) => Err(Error::damaged(what, "not a zstd frame")),
    }
}

/// The chunk of `member` within the plain frame.
///
/// # Errors
/// When it ends beyond the frame.
pub fn chunk<'a>(plain: &'a [u8], member: &Member) -> Result<&'a [u8]> {
    let start = member.offset as usize;
    let end = start.checked_add(member.len as usize);
    end.and_then(|end| plain.get(start..end)).ok_or(Error::Truncated { what: "a frame" })
}

/// Whether the frame is laid out as its members say, so that stock `tar` finds the same chunks.
///
/// # Errors
/// When a tar header is not where it belongs or names another chunk.
pub fn check_members(plain: &[u8], members: &[Member]) -> Result<()> {
    let mut at = 0;
    for member in members {
        let header = tar_header(member.id, member.len as usize);
        if plain.get(at..at + BLOCK) != Some(&header[..]) || member.offset as usize != at + BLOCK {
            return Err(Error::damaged("a frame", format!("no tar header for chunk {} at {at}", member.id)));
        }
        at = (at + BLOCK + chunk(plain, member)?.len()).next_multiple_of(BLOCK);
    }
    if at == plain.len() { Ok(()) } else { Err(Error::damaged("a frame", "bytes outside its tar members")) }
}

/// The blocks that end a tar archive.
pub const TAR_END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

fn tar_header(id: ChunkId, len: usize) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    hex::encode_to_slice(id.0, &mut header[..64]).expect("64 digits");
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    octal(&mut header[124..136], len as u64);
    octal(&mut header[136..148], 0);
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = header.iter().map(|&b| u64::from(b)).sum();
    octal(&mut header[148..155], sum);
    header
}

/// Octal digits that fill `field`, with a NUL at the end.
fn octal(field: &mut [u8], mut value: u64) {
    let (last, digits) = field.split_last_mut().expect("a field has room");
    *last = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

#[cfg(test)]
mod tests;
