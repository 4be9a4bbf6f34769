//! What lies in one folder of a snapshot: its saved entries, and the sources that lie at or below its names.

use std::collections::btree_map;
use std::iter::Peekable;

use fardel_format::tree::{Node, NodeKind};

use super::entries::Entries;
use super::sources::{Sources, StemId};
use crate::packs::ChunkReader;
use crate::{Error, Result};

/// One name in a folder.
#[derive(Clone, Debug)]
pub struct Item {
    /// The name.
    pub name: Vec<u8>,
    /// What lies there; `None` for a folder that is only above a source: nothing is known of it.
    pub node: Option<Node>,
    /// Sources at or below it.
    pub(super) stem: Option<StemId>,
}

impl Item {
    /// Whether something can lie in it.
    pub fn is_folder(&self, sources: &Sources) -> bool {
        let above = self.stem.is_some_and(|stem| !sources.below(stem).is_empty());
        above || self.node.as_ref().is_none_or(|node| node.kind == NodeKind::Dir)
    }

    /// Whether sources lie below it.
    pub(super) fn is_above_sources(&self, sources: &Sources) -> bool {
        self.stem.is_some_and(|stem| !sources.below(stem).is_empty())
    }
}

/// The names in a folder, in order. A source stands in for an entry of its name: what was named explicitly counts.
pub struct Listing<'a> {
    sources: &'a Sources,
    entries: Option<Entries<'a>>,
    /// Why there are no entries, until it was told.
    broken: Option<Error>,
    ahead: Option<(Vec<u8>, Node)>,
    stems: Option<Peekable<btree_map::Iter<'a, Vec<u8>, StemId>>>,
}

impl<'a> Listing<'a> {
    /// Of the folder with this node, or of one that is only above sources.
    pub fn open(
        chunks: &'a ChunkReader<'a>,
        sources: &'a Sources,
        node: Option<&Node>,
        stem: Option<StemId>,
    ) -> Self {
        let opened =
            node.filter(|n| n.kind == NodeKind::Dir).map(|node| Entries::open(chunks, node)).transpose();
        let (entries, broken) = match opened {
            Ok(entries) => (entries, None),
            Err(error) => (None, Some(error)),
        };
        let stems = stem.map(|stem| sources.below(stem).iter().peekable());
        Self { sources, entries, broken, ahead: None, stems }
    }

    /// Bytes that it holds.
    pub fn held(&self) -> usize {
        self.entries.as_ref().map_or(0, Entries::held)
    }

    /// Lets go of everything that can be read again.
    pub fn put_aside(&mut self) {
        self.entries.iter_mut().for_each(Entries::put_aside);
    }

    /// The next name; `None` at the end.
    ///
    /// # Errors
    /// When a part of the folder cannot be read; the next call goes on behind it.
    pub fn next(&mut self) -> Result<Option<Item>> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        if self.ahead.is_none()
            && let Some(entries) = &mut self.entries
        {
            self.ahead = entries.next()?;
        }
        let stem = self.stems.as_mut().and_then(|stems| stems.peek().copied());
        let Some((stem_name, stem)) = stem else {
            return Ok(self.ahead.take().map(|(name, node)| Item { name, node: Some(node), stem: None }));
        };
        if self.ahead.as_ref().is_some_and(|(name, _)| name < stem_name) {
            return Ok(self.ahead.take().map(|(name, node)| Item { name, node: Some(node), stem: None }));
        }
        self.stems.as_mut().map(Iterator::next);
        let hidden = self.ahead.take_if(|(name, _)| name == stem_name).map(|(_, node)| node);
        let node = self.sources.at(*stem).cloned().or(hidden);
        Ok(Some(Item { name: stem_name.clone(), node, stem: Some(*stem) }))
    }

    /// The item of this name.
    ///
    /// # Errors
    /// When it was not found, and a part of the folder that could hold it cannot be read.
    pub fn find(mut self, name: &[u8]) -> Result<Option<Item>> {
        let stem = self
            .stems
            .as_mut()
            .and_then(|stems| stems.find(|(below, _)| *below == name))
            .map(|(_, stem)| *stem);
        if let Some(node) = stem.and_then(|stem| self.sources.at(stem)) {
            return Ok(Some(Item { name: name.to_vec(), node: Some(node.clone()), stem }));
        }
        let found = match (self.broken.take(), &mut self.entries) {
            (Some(error), _) => Err(error),
            (None, Some(entries)) => entries.find(name),
            (None, None) => Ok(None),
        };
        match (found, stem) {
            (Ok(None), None) => Ok(None),
            (Ok(node), stem) => Ok(Some(Item { name: name.to_vec(), node, stem })),
            // What is above a source is there in any case; only what is known of it is lost.
            (Err(_), Some(stem)) => Ok(Some(Item { name: name.to_vec(), node: None, stem: Some(stem) })),
            (Err(error), None) => Err(error),
        }
    }
}
