//! Finds the files and byte ranges that lost chunks cost: walks snapshots with their paths, over every part of a tree that
//! is not known to be free of losses.

use fardel_format::pack::PackKind;
use fardel_format::rope::{self, FIXED_LEAF, Line, Rope};
use fardel_format::tree::{Node, NodeKind};
use fardel_format::{ChunkId, SnapshotId};

use super::frames::{LOST, split_kind, word};
use super::key_set::KeySet;
use super::sorter::{Scratch, Sorted};
use super::tally::{FileLoss, Tallies};
use crate::index::ChunkIndex;
use crate::monitor::Monitor;
use crate::packs::ChunkReader;
use crate::{Error, Result};

/// Folders within one another beyond which nobody looks.
const MAX_NESTING: usize = 4096;
/// Bytes of folders that are held open at most.
const MAX_OPEN: usize = 64 << 20;
/// Costs beyond which counting on helps nobody; crafted trees could make it endless.
const MAX_COSTS: u64 = 1_000_000;

/// Walks snapshots and counts.
pub struct CostWalk<'a> {
    chunks: &'a ChunkReader<'a>,
    monitor: &'a dyn Monitor,
    lost: &'a Sorted<LOST>,
    /// Objects of which nobody knows which chunks they hold, and what is known of other chunks.
    opaque: (Vec<u32>, &'a ChunkIndex),
    /// Parts below which nothing is lost.
    clean: KeySet,
    tallies: Tallies,
    snapshot: SnapshotId,
    path: Vec<u8>,
    /// Whether there was more than could be looked at.
    pub cut: bool,
}

/// A part of a folder that is being read.
enum Part {
    /// Lines of its rope, of this depth.
    Rope(std::vec::IntoIter<Line>, u8),
    /// Its entries.
    Entries(Vec<u8>, usize),
}

/// A part of a map that is being read.
struct Level {
    lines: std::vec::IntoIter<Line>,
    depth: u8,
    key: Option<[u8; 32]>,
    dirty: bool,
}

struct Open {
    part: Part,
    key: Option<[u8; 32]>,
    dirty: bool,
    path_len: usize,
}

impl<'a> CostWalk<'a> {
    /// `lost` names chunks and the numbers of `objects` objects.
    pub fn new(
        chunks: &'a ChunkReader<'a>,
        monitor: &'a dyn Monitor,
        lost: &'a Sorted<LOST>,
        opaque: (Vec<u32>, &'a ChunkIndex),
        objects: usize,
        scratch: &Scratch,
        memory: u64,
    ) -> Self {
        Self {
            chunks,
            monitor,
            lost,
            opaque,
            clean: KeySet::new(scratch, memory),
            tallies: Tallies::new(objects),
            snapshot: SnapshotId([0; 32]),
            path: Vec::new(),
            cut: false,
        }
    }

    /// Counts what a snapshot loses below this node.
    ///
    /// # Errors
    /// When the store or a temporary file fails, or the user stops it.
    pub fn source(&mut self, snapshot: SnapshotId, path: &[u8], node: &Node) -> Result<()> {
        self.snapshot = snapshot;
        self.path = path.to_vec();
        let mut stack: Vec<Open> = Vec::new();
        self.node(node, &mut stack)?;
        while !stack.is_empty() {
            if self.monitor.interrupted() {
                return Err(Error::Interrupted);
            }
            if self.tallies.count > MAX_COSTS {
                self.cut = true;
                return Ok(());
            }
            self.step(&mut stack)?;
        }
        Ok(())
    }

    /// The costs of each object.
    pub fn finish(self) -> Vec<super::report::Costs> {
        self.tallies.finish()
    }

    fn step(&mut self, stack: &mut Vec<Open>) -> Result<()> {
        let top = stack.last_mut().expect("it is not empty");
        match &mut top.part {
            Part::Rope(lines, depth) => match lines.next() {
                Some(Line { chunk: Some(id), .. }) => {
                    let depth = *depth;
                    return self.open(&id, depth, stack);
                }
                Some(_) => return Ok(()),
                None => {}
            },
            Part::Entries(bytes, at) if *at < bytes.len() => {
                let rest = &bytes[*at..];
                let len = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |end| end + 1);
                let node = Node::from_line(&rest[..len]);
                *at += len;
                self.path.truncate(top.path_len);
                let Ok(node) = node else { return Ok(()) };
                let Ok(name) = node.name_bytes() else { return Ok(()) };
                self.path.push(b'/');
                self.path.extend_from_slice(&name);
                return self.node(&node, stack);
            }
            Part::Entries(..) => {}
        }
        let done = stack.pop().expect("it is not empty");
        self.path.truncate(done.path_len);
        match (done.dirty, stack.last_mut(), done.key) {
            (true, Some(above), _) => above.dirty = true,
            (false, _, Some(key)) => drop(self.clean.insert(key)?),
            _ => {}
        }
        Ok(())
    }

    /// Opens a part of a folder, unless nothing is lost below it.
    fn open(&mut self, id: &ChunkId, depth: u8, stack: &mut Vec<Open>) -> Result<()> {
        let key = *blake3::hash(&[&id.0[..], &[0, depth]].concat()).as_bytes();
        if self.clean.contains(&key)? {
            return Ok(());
        }
        let path_len = stack.last().map_or(self.path.len(), |open| open.path_len);
        self.path.truncate(path_len);
        let losses = self.losses(id, PackKind::Meta, 0)?;
        if !losses.is_empty() {
            let path = String::from_utf8_lossy(&self.path).into_owned();
            losses.into_iter().for_each(|object| self.tallies.folder(self.snapshot, &path, object));
            stack.last_mut().into_iter().for_each(|above| above.dirty = true);
            return Ok(());
        }
        // What cannot be read and is not known as lost is a finding of its own.
        let Some(bytes) = self.read(id)? else { return Ok(()) };
        let part = match depth {
            0 => Part::Entries(bytes, 0),
            _ => {
                let lines = rope::parse_leaf(&bytes).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                Part::Rope(lines.unwrap_or_default().into_iter(), depth - 1)
            }
        };
        stack.push(Open { part, key: Some(key), dirty: false, path_len });
        Ok(())
    }

    fn read(&self, id: &ChunkId) -> Result<Option<Vec<u8>>> {
        match self.chunks.get(id, PackKind::Meta) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Store(error)) if super::findings::class_of_read(&error).is_none() => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// The objects with which this chunk is lost, when it is named with this length.
    fn losses(&self, id: &ChunkId, kind: PackKind, len: u64) -> Result<Vec<u32>> {
        let mut objects = Vec::new();
        for record in self.lost.find(&id.0)? {
            let (of_kind, object) = split_kind(word(&record, 0));
            let named = word(&record, 1);
            if of_kind == kind && (named == 0 || u64::from(named) == len) {
                objects.push(object);
            }
        }
        let (opaque, index) = &self.opaque;
        if objects.is_empty() && !opaque.is_empty() && index.locate(id, kind).is_none() {
            return Ok(opaque.clone());
        }
        Ok(objects)
    }

    fn node(&mut self, node: &Node, stack: &mut Vec<Open>) -> Result<()> {
        match (node.kind, &node.content, &node.entries) {
            (NodeKind::File | NodeKind::Volume, Some(rope), _) => {
                let mut loss = FileLoss::default();
                self.content(rope, node.size, &mut loss)?;
                if !loss.is_empty() {
                    stack.last_mut().into_iter().for_each(|above| above.dirty = true);
                    let path = String::from_utf8_lossy(&self.path).into_owned();
                    self.tallies.file(self.snapshot, &path, loss);
                }
            }
            (NodeKind::Dir, _, Some(rope)) => {
                let held =
                    |open: &Open| if let Part::Entries(bytes, _) = &open.part { bytes.len() } else { 0 };
                if stack.len() > MAX_NESTING || stack.iter().map(held).sum::<usize>() > MAX_OPEN {
                    self.cut = true;
                    return Ok(());
                }
                let Ok(lines) = rope.parse_lines() else { return Ok(()) };
                let part = Part::Rope(lines.into_iter(), rope.depth);
                stack.push(Open { part, key: None, dirty: false, path_len: self.path.len() });
            }
            _ => {}
        }
        Ok(())
    }

    fn content(&mut self, rope: &Rope, size: u64, loss: &mut FileLoss) -> Result<()> {
        let Ok(lines) = rope.parse_lines() else { return Ok(()) };
        let unit = |depth: u8| {
            let lines = (FIXED_LEAF as u64).checked_pow(depth.into())?;
            lines.checked_mul(u64::from(rope.chunk_size?))
        };
        let mut levels = vec![Level { lines: lines.into_iter(), depth: rope.depth, key: None, dirty: false }];
        let mut at = 0u64;
        while let Some(level) = levels.last_mut() {
            let depth = level.depth;
            let Some(line) = level.lines.next() else {
                let done = levels.pop().expect("it is not empty");
                match (done.dirty, done.key, levels.last_mut()) {
                    (true, _, Some(above)) => above.dirty = true,
                    (false, Some(key), _) => drop(self.clean.insert(key)?),
                    _ => {}
                }
                continue;
            };
            let len = line.len.or_else(|| unit(depth)).unwrap_or(u64::MAX).min(size - at);
            let objects = match line.chunk {
                None => Vec::new(),
                Some(id) if depth == 0 => self.losses(&id, PackKind::Data, len)?,
                Some(id) => match self.part(&id, depth)? {
                    Ok(Some(below)) => {
                        levels.push(below);
                        continue;
                    }
                    Ok(None) => Vec::new(),
                    Err(objects) => objects,
                },
            };
            if !objects.is_empty() {
                level.dirty = true;
                objects.into_iter().for_each(|object| loss.add(object, at, len));
                if loss.chunks > MAX_COSTS || self.monitor.interrupted() {
                    self.cut = true;
                    return Ok(());
                }
            }
            at += len;
        }
        Ok(())
    }

    /// A part of a map: `None` when nothing is lost below it; `Err` when it cannot be read itself.
    fn part(&mut self, id: &ChunkId, depth: u8) -> Result<Result<Option<Level>, Vec<u32>>> {
        let key = *blake3::hash(&[&id.0[..], &[1, depth]].concat()).as_bytes();
        if self.clean.contains(&key)? {
            return Ok(Ok(None));
        }
        let losses = self.losses(id, PackKind::Meta, 0)?;
        if !losses.is_empty() {
            return Ok(Err(losses));
        }
        let Some(bytes) = self.read(id)? else { return Ok(Ok(None)) };
        let lines =
            rope::parse_leaf(&bytes).and_then(Iterator::collect::<Result<Vec<_>, _>>).unwrap_or_default();
        Ok(Ok(Some(Level { lines: lines.into_iter(), depth: depth - 1, key: Some(key), dirty: false })))
    }
}
