//! The entries of one saved folder, read leaf by leaf; it can be put aside, and then holds next to nothing.

use fardel_format::pack::PackKind;
use fardel_format::rope::Rope;
use fardel_format::tree::Node;
use fardel_format::{ChunkId, Error as FormatError};

use crate::packs::ChunkReader;
use crate::rope_reader::{MAX_FAILURES, RopeLines};
use crate::{Error, Result};

/// How many of [`MAX_FAILURES`] a name out of order counts for: no writer of ours makes one.
const DISORDER: u32 = 100;

/// Reads the entries of a folder in order.
pub struct Entries<'a> {
    chunks: &'a ChunkReader<'a>,
    rope: Rope,
    /// `None` while it is put aside.
    lines: Option<RopeLines<'a>>,
    /// How often `lines` was asked.
    asked: u64,
    id: Option<ChunkId>,
    leaf: Vec<u8>,
    /// First byte of the leaf that is not read yet.
    at: usize,
    /// Whether the leaf must be fetched again before `at` means anything.
    aside: bool,
    last: Vec<u8>,
    failures: u32,
}

impl<'a> Entries<'a> {
    /// Begins at the first entry of `folder`.
    ///
    /// # Errors
    /// When the node does not say what is in it.
    pub fn open(chunks: &'a ChunkReader<'a>, folder: &Node) -> Result<Self> {
        let none = || Error::Damaged("its entry does not say what is in it".into());
        let rope = folder.entries.clone().ok_or_else(none)?;
        let lines = Some(RopeLines::new(chunks, &rope)?);
        let (leaf, last) = (Vec::new(), Vec::new());
        Ok(Self { chunks, rope, lines, asked: 0, id: None, leaf, at: 0, aside: false, last, failures: 0 })
    }

    /// Bytes that it holds.
    pub fn held(&self) -> usize {
        self.leaf.len()
    }

    /// Lets go of everything that can be read again.
    pub fn put_aside(&mut self) {
        self.lines = None;
        self.aside = self.at < self.leaf.len();
        self.leaf = Vec::new();
    }

    fn lines(&mut self) -> Result<&mut RopeLines<'a>> {
        if self.lines.is_none() {
            let mut lines = RopeLines::new(self.chunks, &self.rope)?;
            // What could not be read the first time was told then.
            (0..self.asked).for_each(|_| drop(lines.next()));
            self.lines = Some(lines);
        }
        Ok(self.lines.as_mut().expect("it was just opened"))
    }

    /// Fetches the next leaf, whole lines; `false` at the end.
    fn next_leaf(&mut self) -> Result<bool> {
        self.leaf.clear();
        (self.at, self.aside) = (0, false);
        let line = self.lines()?.next();
        self.asked += 1;
        let Some(line) = line.transpose()? else { return Ok(false) };
        self.id = Some(line.chunk.ok_or_else(|| Error::Damaged("a folder has a hole".into()))?);
        self.fetch()?;
        Ok(true)
    }

    fn fetch(&mut self) -> Result<()> {
        let Some(id) = self.id else { return Ok(()) };
        self.leaf = self.chunks.get(&id, PackKind::Meta)?;
        if self.leaf.last() != Some(&b'\n') {
            self.leaf.clear();
            return Err(self.damaged(FormatError::Truncated { what: "a tree" }));
        }
        Ok(())
    }

    fn damaged(&self, error: FormatError) -> Error {
        Error::object(format!("chunk {}", self.id.map(|id| id.short()).unwrap_or_default()), error)
    }

    /// The next entry and its name.
    ///
    /// # Errors
    /// When a part of the folder is missing or damaged, or its names are not in order, so that one could stand in it twice;
    /// the next call goes on behind it.
    pub fn next(&mut self) -> Result<Option<(Vec<u8>, Node)>> {
        if self.failures >= MAX_FAILURES {
            return Ok(None);
        }
        let next = self.read_next();
        if next.is_err() {
            self.failures += 1;
        }
        if self.failures >= MAX_FAILURES {
            let error = FormatError::TooLarge {
                what: "what cannot be read in one folder",
                limit: u64::from(MAX_FAILURES),
            };
            return Err(Error::object("a tree", error));
        }
        next
    }

    fn read_next(&mut self) -> Result<Option<(Vec<u8>, Node)>> {
        if std::mem::take(&mut self.aside) {
            self.fetch()?;
        }
        while self.at >= self.leaf.len() {
            if !self.next_leaf()? {
                return Ok(None);
            }
        }
        let rest = &self.leaf[self.at..];
        let len = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |end| end + 1);
        let parsed = parse(&rest[..len]);
        self.at += len;
        let (name, node) = parsed.map_err(|e| self.damaged(e))?;
        if name <= self.last {
            self.failures += DISORDER;
            let why = format!("{:?} is not behind the name before it", String::from_utf8_lossy(&name));
            return Err(self.damaged(FormatError::Damaged { what: "a tree", why }));
        }
        self.last.clone_from(&name);
        Ok(Some((name, node)))
    }

    /// The entry of this name, passing over leaves that end before it.
    ///
    /// # Errors
    /// When it was not found, and a part of the folder that could hold it cannot be read.
    pub fn find(&mut self, wanted: &[u8]) -> Result<Option<Node>> {
        let mut lost = None;
        loop {
            match self.find_leaf(wanted) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.failures += 1;
                    if self.failures >= MAX_FAILURES {
                        return Err(error);
                    }
                    lost = Some(error);
                    continue;
                }
            }
            while self.at < self.leaf.len() {
                match self.next() {
                    Ok(Some((name, node))) if name == wanted => return Ok(Some(node)),
                    Ok(Some((name, _))) if *name > *wanted => return lost.map_or(Ok(None), Err),
                    Ok(_) => {}
                    Err(error) => lost = Some(error),
                }
            }
        }
        lost.map_or(Ok(None), Err)
    }

    /// Goes to the first leaf whose last name is not before `wanted`; `false` when there is none.
    fn find_leaf(&mut self, wanted: &[u8]) -> Result<bool> {
        while self.next_leaf()? {
            let body = &self.leaf[..self.leaf.len() - 1];
            let line = body.rsplit(|&b| b == b'\n').next().unwrap_or(body);
            let (name, _) = parse(line).map_err(|e| self.damaged(e))?;
            if *name >= *wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn parse(line: &[u8]) -> Result<(Vec<u8>, Node), FormatError> {
    let node = Node::from_line(line)?;
    let name = node.name_bytes()?.into_owned();
    Ok((name, node))
}
