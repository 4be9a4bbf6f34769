//! The map of a file or volume, read along with offsets; parts that are not wanted are passed over without fetching them.

use fardel_format::pack::PackKind;
use fardel_format::rope::{self, FIXED_LEAF, Line};
use fardel_format::tree::Node;
use fardel_format::{ChunkId, Error as FormatError};

use crate::packs::ChunkReader;
use crate::{Error, Result};

/// A run of bytes of the file that one line of its map stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// 0 for content; above, the chunk holds lines in its turn.
    pub depth: u8,
    /// Where the bytes are; `None` for a hole.
    pub chunk: Option<ChunkId>,
    /// First byte.
    pub start: u64,
    /// How many bytes.
    pub len: u64,
}

impl Span {
    /// The byte behind it.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }
}

struct Level {
    depth: u8,
    lines: std::iter::Peekable<std::vec::IntoIter<Line>>,
    /// Where the lines must end.
    end: u64,
}

/// Reads a map in order; holds one leaf a level.
pub struct MapCursor<'a> {
    chunks: &'a ChunkReader<'a>,
    chunk_size: Option<u32>,
    at: u64,
    stack: Vec<Level>,
}

impl<'a> MapCursor<'a> {
    /// The content of a file or volume from its first byte.
    ///
    /// # Errors
    /// When the node says nothing of its content.
    pub fn new(chunks: &'a ChunkReader<'a>, node: &Node) -> Result<Self> {
        let none = || Error::Damaged("its entry does not say what is in it".into());
        let rope = node.content.as_ref().ok_or_else(none)?;
        let lines = rope.parse_lines().map_err(|e| Error::object("a map", e))?;
        let top = Level { depth: rope.depth, lines: lines.into_iter().peekable(), end: node.size };
        Ok(Self { chunks, chunk_size: rope.chunk_size, at: 0, stack: vec![top] })
    }

    /// Bytes for each line of a volume's map.
    pub fn chunk_size(&self) -> Option<u32> {
        self.chunk_size
    }

    /// The byte that comes next.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The part that comes next; `None` at the end.
    ///
    /// # Errors
    /// When the lines and the length contradict each other.
    pub fn peek(&mut self) -> Result<Option<Span>> {
        loop {
            let Some(level) = self.stack.last_mut() else { return Ok(None) };
            let (depth, left) = (level.depth, level.end - self.at);
            let Some(line) = level.lines.peek() else {
                if left > 0 {
                    return Err(contradiction(format!(
                        "it says nothing of the {left} bytes from {}",
                        self.at
                    )));
                }
                self.stack.pop();
                continue;
            };
            let len = match (line.len, self.chunk_size) {
                (Some(len), None) => len,
                (None, Some(size)) => covered(size, depth).min(left),
                _ => return Err(contradiction("it is of two kinds")),
            };
            if len > left || len == 0 {
                return Err(contradiction(format!("it goes on behind the end at {}", level.end)));
            }
            return Ok(Some(Span { depth, chunk: line.chunk, start: self.at, len }));
        }
    }

    /// Passes over the part that [`Self::peek`] shows.
    pub fn skip(&mut self, span: &Span) {
        if let Some(level) = self.stack.last_mut() {
            level.lines.next();
        }
        self.at = span.end();
    }

    /// Goes into the part that [`Self::peek`] shows, which must have a depth.
    ///
    /// # Errors
    /// When its lines are missing or damaged; it can be passed over then.
    pub fn enter(&mut self, span: &Span) -> Result<()> {
        let id = span.chunk.ok_or_else(|| contradiction("it has a hole where a part of it belongs"))?;
        let bytes = self.chunks.get(&id, PackKind::Meta)?;
        let damaged = |e| Error::object(format!("chunk {}", id.short()), e);
        let lines: Vec<Line> = rope::parse_leaf(&bytes).and_then(Iterator::collect).map_err(damaged)?;
        let depth = span.depth.checked_sub(1).ok_or_else(|| contradiction("it ends here"))?;
        if let Some(level) = self.stack.last_mut() {
            level.lines.next();
        }
        self.stack.push(Level { depth, lines: lines.into_iter().peekable(), end: span.end() });
        Ok(())
    }

    /// The next part of depth 0, which is passed over.
    ///
    /// # Errors
    /// Those of [`Self::peek`] and [`Self::enter`].
    pub fn next(&mut self) -> Result<Option<Span>> {
        while let Some(span) = self.peek()? {
            if span.depth == 0 {
                self.skip(&span);
                return Ok(Some(span));
            }
            self.enter(&span)?;
        }
        Ok(None)
    }

    /// Goes on at the part that holds byte `offset`, without fetching what lies before it.
    ///
    /// # Errors
    /// Those of [`Self::peek`] and [`Self::enter`].
    pub fn seek(&mut self, offset: u64) -> Result<()> {
        while let Some(span) = self.peek()? {
            if span.end() <= offset {
                self.skip(&span);
            } else if span.depth == 0 || span.start >= offset {
                break;
            } else {
                self.enter(&span)?;
            }
        }
        Ok(())
    }
}

/// Bytes that a line of a volume's map stands for at this depth, unless the volume ends in it.
fn covered(chunk_size: u32, depth: u8) -> u64 {
    (FIXED_LEAF as u64).saturating_pow(u32::from(depth)).saturating_mul(u64::from(chunk_size))
}

fn contradiction(why: impl ToString) -> Error {
    Error::object("a map", FormatError::Damaged { what: "a map", why: why.to_string() })
}
