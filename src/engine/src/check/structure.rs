//! Walks trees and maps, each distinct part once, and writes down every chunk that they name.

use std::sync::{Mutex, PoisonError};

use fardel_format::ChunkId;
use fardel_format::pack::PackKind;
use fardel_format::tree::Node;

use super::frames::id_of;
use super::key_set::KeySet;
use super::look::{Eye, Look, PART, WANT};
use super::sorter::{Scratch, Sorter};
use super::stack::Stack;
use crate::monitor::Monitor;
use crate::packs::ChunkReader;
use crate::{Error, Result};

/// Parts that are looked at together.
const TOGETHER: usize = 64;
/// Parts that were written wrong and that are told of.
const MOST_NONSENSE: usize = 1000;

/// What is wrong with a part that can be read.
pub struct Nonsense {
    /// The part; `None` for the root.
    pub chunk: Option<ChunkId>,
    /// In words.
    pub why: String,
}

/// Walks the snapshots of one chain.
pub struct Walker<'a> {
    chunks: &'a ChunkReader<'a>,
    order: bool,
    monitor: &'a dyn Monitor,
    visited: KeySet,
    stack: Stack<PART>,
    wants: Sorter<WANT>,
    /// Parts that were written wrong.
    pub nonsense: Vec<Nonsense>,
    /// Such parts, whether they are listed or not.
    pub nonsense_count: u64,
}

impl<'a> Walker<'a> {
    /// Holds about so many bytes.
    pub fn new(
        chunks: &'a ChunkReader<'a>,
        monitor: &'a dyn Monitor,
        scratch: &Scratch,
        memory: u64,
    ) -> Self {
        Self {
            chunks,
            order: true,
            monitor,
            visited: KeySet::new(scratch, memory / 4),
            stack: Stack::new(scratch, memory / 16),
            wants: Sorter::new(scratch, memory / 2),
            nonsense: Vec::new(),
            nonsense_count: 0,
        }
    }

    /// In whatever order entries are from part to part of a folder: for those who want to know only what is named.
    #[must_use]
    pub fn in_any_order(self) -> Self {
        Self { order: false, ..self }
    }

    /// Walks from the nodes of the snapshot at this position.
    ///
    /// # Errors
    /// When the store or a temporary file fails, or the user stops it.
    pub fn walk<'n>(&mut self, position: u32, nodes: impl IntoIterator<Item = &'n Node>) -> Result<()> {
        let eye = Eye { chunks: self.chunks, position, order: self.order };
        for node in nodes {
            self.take(Look::at_node(eye, node)?, None)?;
            loop {
                let parts = self.next_parts()?;
                if parts.is_empty() {
                    break;
                }
                if self.monitor.interrupted() {
                    return Err(Error::Interrupted);
                }
                self.look_at(eye, parts)?;
            }
        }
        Ok(())
    }

    /// A few parts that were not looked at yet; none at the end.
    fn next_parts(&mut self) -> Result<Vec<[u8; PART]>> {
        let mut parts = Vec::new();
        while parts.len() < TOGETHER
            && let Some(part) = self.stack.pop()?
        {
            if self.visited.insert(*blake3::hash(&part).as_bytes())? {
                parts.push(part);
            }
        }
        Ok(parts)
    }

    /// Looks at parts in several threads, at those of one frame in one of them.
    fn look_at(&mut self, eye: Eye<'_>, parts: Vec<[u8; PART]>) -> Result<()> {
        let frame_of = |part: [u8; PART]| (eye.chunks.frame_of(&id_of(&part), PackKind::Meta), part);
        let mut parts: Vec<_> = parts.into_iter().map(frame_of).collect();
        parts.sort_by_key(|(frame, _)| *frame);
        let groups: Vec<_> = parts.chunk_by(|a, b| a.0 == b.0).collect();
        let walker = Mutex::new(self);
        let look = |group: &&[(_, [u8; PART])]| {
            group.iter().try_for_each(|(_, part)| {
                let look = Look::at_part(eye, part)?;
                walker.lock().unwrap_or_else(PoisonError::into_inner).take(look, Some(part))
            })
        };
        eye.chunks.store().for_many(&groups, look, |_, looked| looked)
    }

    /// Notes what a part names; `None` for the root.
    fn take(&mut self, look: Look<'_>, part: Option<&[u8; PART]>) -> Result<()> {
        look.wants.into_iter().try_for_each(|want| self.wants.push(want))?;
        look.parts.into_iter().try_for_each(|part| self.stack.push(part))?;
        if let Some(why) = look.wrong {
            self.nonsense_count += 1;
            if self.nonsense.len() < MOST_NONSENSE {
                self.nonsense.push(Nonsense { chunk: part.map(|part| id_of(part)), why });
            }
        }
        Ok(())
    }

    /// Everything that was named.
    pub fn finish(self) -> (Sorter<WANT>, Vec<Nonsense>, u64) {
        (self.wants, self.nonsense, self.nonsense_count)
    }
}
