//! Reads ropes and folders line by line, holding one leaf a level.

use fardel_format::ChunkId;
use fardel_format::pack::PackKind;
use fardel_format::rope::{self, Line, Rope};
use fardel_format::tree::{Node, NodeKind};

use crate::packs::ChunkReader;
use crate::{Error, Result};

/// Parts of one folder that may be unreadable; beyond, the rest of it is given up: it was made to keep readers busy.
pub const MAX_FAILURES: u32 = 10_000;

/// The lines of depth 0 of a rope, in order.
pub struct RopeLines<'a> {
    chunks: &'a ChunkReader<'a>,
    stack: Vec<(u8, std::vec::IntoIter<Line>)>,
}

impl<'a> RopeLines<'a> {
    /// Begins at the first line.
    ///
    /// # Errors
    /// When the rope is not well formed.
    pub fn new(chunks: &'a ChunkReader<'a>, rope: &Rope) -> Result<Self> {
        let lines = rope.parse_lines().map_err(|e| Error::object("a map", e))?;
        Ok(Self { chunks, stack: vec![(rope.depth, lines.into_iter())] })
    }
}

impl RopeLines<'_> {
    /// Yields nothing more.
    fn stop(&mut self) {
        self.stack.clear();
    }
}

impl Iterator for RopeLines<'_> {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (depth, lines) = self.stack.last_mut()?;
            let depth = *depth;
            let Some(line) = lines.next() else {
                self.stack.pop();
                continue;
            };
            if depth == 0 {
                return Some(Ok(line));
            }
            match leaf(self.chunks, &line) {
                Ok(lines) => self.stack.push((depth - 1, lines.into_iter())),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn leaf(chunks: &ChunkReader<'_>, line: &Line) -> Result<Vec<Line>> {
    let id =
        line.chunk.ok_or_else(|| Error::Damaged("a map has a hole where a part of it belongs".into()))?;
    let bytes = chunks.get(&id, PackKind::Meta)?;
    let damaged = |e| Error::object(format!("chunk {}", id.short()), e);
    rope::parse_leaf(&bytes).and_then(Iterator::collect).map_err(damaged)
}

/// The entries of a folder, in order.
pub struct Folder<'a> {
    lines: RopeLines<'a>,
    leaf: Vec<u8>,
    at: usize,
    id: Option<ChunkId>,
    last: Option<Vec<u8>>,
    failures: u32,
}

impl<'a> Folder<'a> {
    /// Begins at the first entry.
    ///
    /// # Errors
    /// When the node has no entries, or they are not well formed.
    pub fn open(chunks: &'a ChunkReader<'a>, node: &Node) -> Result<Self> {
        let rope = node.entries.as_ref().ok_or_else(|| Error::Damaged("a folder has no entries".into()))?;
        let lines = RopeLines::new(chunks, rope)?;
        Ok(Self { lines, leaf: Vec::new(), at: 0, id: None, last: None, failures: 0 })
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.leaf.len()
    }

    fn stop(&mut self) {
        self.lines.stop();
        self.at = self.leaf.len();
    }

    /// The next entry's line, its end included.
    ///
    /// # Errors
    /// When a part of the folder is missing or damaged; the next call goes on behind it.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>> {
        while self.at >= self.leaf.len() {
            self.leaf.clear();
            self.at = 0;
            let Some(line) = self.lines.next().transpose()? else { return Ok(None) };
            let id = line.chunk.ok_or_else(|| Error::Damaged("a folder has a hole".into()))?;
            self.id = Some(id);
            self.leaf = self.lines.chunks.get(&id, PackKind::Meta)?;
            if self.leaf.last() != Some(&b'\n') {
                self.at = self.leaf.len();
                return Err(Error::object(
                    format!("chunk {}", id.short()),
                    fardel_format::Error::Truncated { what: "a tree" },
                ));
            }
        }
        let rest = &self.leaf[self.at..];
        let len = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |end| end + 1);
        self.at += len;
        Ok(Some(&rest[..len]))
    }

    /// The next entry.
    ///
    /// # Errors
    /// As [`Self::next_line`], and when the line is no entry; after [`MAX_FAILURES`] the folder ends.
    pub fn next_node(&mut self) -> Result<Option<Node>> {
        let next = self.read_node();
        if next.is_ok() {
            return next;
        }
        self.failures += 1;
        if self.failures < MAX_FAILURES {
            return next;
        }
        self.stop();
        let what = "what cannot be read in one folder";
        Err(Error::object("a tree", fardel_format::Error::TooLarge { what, limit: u64::from(MAX_FAILURES) }))
    }

    fn read_node(&mut self) -> Result<Option<Node>> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        let node = Node::from_line(line);
        let id = self.id.map(|id| id.short()).unwrap_or_default();
        let node = node.map_err(|e| Error::object(format!("chunk {id}"), e))?;
        let name = node.name_bytes().map_err(|e| Error::object(format!("chunk {id}"), e))?.into_owned();
        // Sorted names are also what keeps a crafted folder from naming one leaf a million times.
        if self.last.as_ref().is_some_and(|last| *last >= name) {
            self.stop();
            return Err(Error::Damaged(format!("chunk {id}: the entries of the folder are not sorted")));
        }
        self.last = Some(name);
        Ok(Some(node))
    }
}

/// The node at these names below `node`; `None` when there is none.
///
/// # Errors
/// When it was not found, and a part of a folder on the way that could hold it is missing or damaged.
pub fn descend(chunks: &ChunkReader<'_>, node: &Node, names: &[&[u8]]) -> Result<Option<Node>> {
    let mut node = node.clone();
    for name in names {
        if node.kind != NodeKind::Dir {
            return Ok(None);
        }
        let mut folder = Folder::open(chunks, &node)?;
        let mut lost = None;
        node = loop {
            match folder.next_node() {
                Ok(Some(entry)) if entry.name_bytes().is_ok_and(|found| *found == **name) => break entry,
                Ok(Some(_)) => {}
                Ok(None) => return lost.map_or(Ok(None), Err),
                Err(error) if error.is_damage() => lost = Some(error),
                Err(error) => return Err(error),
            }
        };
    }
    Ok(Some(node))
}
