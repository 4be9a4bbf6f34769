//! Ropes: the content of a file, a volume or a folder as lines of text, kept in chunks that form a Merkle tree.
//!
//! At depth 0 the lines stand in place. At depth 1 each line names a chunk that holds lines of depth 0, and so on. What a line
//! of depth 0 says depends on the [`Layout`].

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::ids::ChunkId;
use crate::lines::parse_u64;
use crate::{Error, Result};

/// Lines in a leaf of a volume's map.
pub const FIXED_LEAF: usize = 256;
/// Up to so many lines stand in place.
pub const INLINE: usize = 8;
/// Readers refuse deeper ropes.
pub const MAX_DEPTH: u8 = 8;
const MIN_LEAF: usize = 32;
/// Lines in any leaf at most; readers refuse more.
pub const MAX_LEAF: usize = 1024;

/// What the lines say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A volume: `id`, or `-` for a hole; each line stands for `chunk_size` bytes, the last for what is left.
    Fixed {
        /// In bytes.
        chunk_size: u32,
    },
    /// A file: `id length`, or `- length` for a hole.
    Variable,
    /// A folder: `id` of a chunk with lines of NDJSON.
    Listing,
}

/// The root of a rope, as it stands in a tree entry.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rope {
    /// How many levels of chunks lie between these lines and those of depth 0.
    pub depth: u8,
    /// Present for volumes: bytes for each line of depth 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_size: Option<u32>,
    /// The topmost lines.
    pub lines: Vec<String>,
}

/// One line, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The chunk; `None` for a hole.
    pub chunk: Option<ChunkId>,
    /// How many bytes of the file it stands for, where the line says so.
    pub len: Option<u64>,
}

impl Line {
    /// Reads one line.
    ///
    /// # Errors
    /// When it is neither `id`, `-`, `id length` nor `- length`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::damaged("a line of a map", text.chars().take(100).collect::<String>());
        let (chunk, len) = match text.split_once(' ') {
            // A line that stands for nothing would cost a reader time and yield no byte.
            Some((chunk, len)) => (chunk, Some(parse_u64(len).filter(|len| *len > 0).ok_or_else(bad)?)),
            None => (text, None),
        };
        let chunk = if chunk == "-" { None } else { Some(chunk.parse().map_err(|_| bad())?) };
        Ok(Self { chunk, len })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.chunk {
            Some(id) => write!(f, "{id}")?,
            None => write!(f, "-")?,
        }
        self.len.map_or(Ok(()), |len| write!(f, " {len}"))
    }
}

/// The lines of a chunk of a rope.
///
/// # Errors
/// When it is not text, or not of lines, or has more than [`MAX_LEAF`].
pub fn parse_leaf(bytes: &[u8]) -> Result<impl Iterator<Item = Result<Line>> + '_> {
    let text = std::str::from_utf8(bytes).map_err(|e| Error::damaged("a map", e))?;
    let body = text.strip_suffix('\n').ok_or(Error::Truncated { what: "a map" })?;
    if body.bytes().filter(|&b| b == b'\n').count() >= MAX_LEAF {
        return Err(Error::TooLarge { what: "a map", limit: MAX_LEAF as u64 });
    }
    Ok(body.split('\n').map(Line::parse))
}

#[derive(Clone, Default)]
struct Level {
    text: String,
    lines: usize,
    bytes: u64,
}

/// Builds a rope line by line; holds one leaf a level, whatever the length.
#[derive(Clone)]
pub struct RopeBuilder {
    layout: Layout,
    levels: Vec<Level>,
}

impl RopeBuilder {
    /// An empty rope.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self { layout, levels: vec![Level::default()] }
    }

    /// Appends a line that stands for `bytes` bytes; `store` keeps finished leaves.
    ///
    /// In a file's rope a line that stands for no bytes is left out: it would add nothing but a line.
    ///
    /// # Errors
    /// Those of `store`.
    pub fn push<E>(
        &mut self,
        chunk: Option<ChunkId>,
        bytes: u64,
        store: &mut impl FnMut(&[u8]) -> std::result::Result<ChunkId, E>,
    ) -> std::result::Result<(), E> {
        if bytes == 0 && self.layout == Layout::Variable {
            return Ok(());
        }
        self.push_at(0, chunk, bytes, store)
    }

    fn push_at<E>(
        &mut self,
        depth: usize,
        chunk: Option<ChunkId>,
        bytes: u64,
        store: &mut impl FnMut(&[u8]) -> std::result::Result<ChunkId, E>,
    ) -> std::result::Result<(), E> {
        if self.levels.len() == depth {
            self.levels.push(Level::default());
        }
        let level = &mut self.levels[depth];
        let len = (self.layout == Layout::Variable).then_some(bytes);
        writeln!(level.text, "{}", Line { chunk, len }).expect("a string takes all");
        level.lines += 1;
        level.bytes += bytes;
        let full = match self.layout {
            Layout::Fixed { .. } => level.lines == FIXED_LEAF,
            Layout::Variable | Layout::Listing => {
                let border = chunk.is_some_and(|id| id.0[0] == 0);
                (border && level.lines >= MIN_LEAF) || level.lines == MAX_LEAF
            }
        };
        if full { self.flush(depth, store) } else { Ok(()) }
    }

    fn flush<E>(
        &mut self,
        depth: usize,
        store: &mut impl FnMut(&[u8]) -> std::result::Result<ChunkId, E>,
    ) -> std::result::Result<(), E> {
        let Level { text, bytes, .. } = std::mem::take(&mut self.levels[depth]);
        let id = store(text.as_bytes())?;
        self.push_at(depth + 1, Some(id), bytes, store)
    }

    /// Finishes the rope.
    ///
    /// # Errors
    /// Those of `store`.
    pub fn finish<E>(
        mut self,
        store: &mut impl FnMut(&[u8]) -> std::result::Result<ChunkId, E>,
    ) -> std::result::Result<Rope, E> {
        let mut depth = 0;
        loop {
            let topmost = self.levels.len() == depth + 1;
            if topmost && self.levels[depth].lines <= INLINE {
                break;
            }
            if self.levels[depth].lines > 0 {
                self.flush(depth, store)?;
            }
            depth += 1;
        }
        let chunk_size = match self.layout {
            Layout::Fixed { chunk_size } => Some(chunk_size),
            Layout::Variable | Layout::Listing => None,
        };
        let lines = self.levels[depth].text.lines().map(str::to_owned).collect();
        Ok(Rope { depth: depth as u8, chunk_size, lines })
    }
}

impl Rope {
    /// The topmost lines, parsed.
    ///
    /// # Errors
    /// When one is not a line, or there are more than [`MAX_LEAF`], or the rope is deeper than [`MAX_DEPTH`], or its chunk
    /// size is none that volumes have.
    pub fn parse_lines(&self) -> Result<Vec<Line>> {
        self.chunk_size.map_or(Ok(()), crate::card::check_volume_chunk_size)?;
        if self.lines.len() > MAX_LEAF {
            return Err(Error::TooLarge { what: "a map", limit: MAX_LEAF as u64 });
        }
        if self.depth > MAX_DEPTH {
            return Err(Error::TooLarge { what: "the depth of a map", limit: u64::from(MAX_DEPTH) });
        }
        self.lines.iter().map(|line| Line::parse(line)).collect()
    }
}

#[cfg(test)]
mod tests;
