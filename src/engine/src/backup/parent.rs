//! What an earlier snapshot knows of a file, to tell whether it changed.

use std::borrow::Cow;

use fardel_format::lines::Moment;
use fardel_format::tree::{self, Node, NodeKind};
use fardel_source::{Kind, Meta};
use serde::Deserialize;

use super::node::moment;
use crate::packs::ChunkReader;
use crate::rope_reader::Folder;

/// What tells whether a file is the one that was saved.
pub struct SavedStat {
    kind: NodeKind,
    size: u64,
    mtime: Moment,
    ctime: Moment,
    inode: u64,
    inconsistent: bool,
}

impl SavedStat {
    pub fn of(node: &Node) -> Self {
        let Node { kind, size, mtime, ctime, inode, .. } = *node;
        Self { kind, size, mtime, ctime, inode, inconsistent: node.inconsistent.is_some() }
    }

    /// Whether what is there now is what was saved then. A change at or after `trusted_before` may be younger than what
    /// was read, within the same tick of the clock.
    pub fn is_same(&self, meta: &Meta, trusted_before: Moment) -> bool {
        let same_kind = match (self.kind, &meta.kind) {
            (NodeKind::File | NodeKind::Volume, Kind::File) => self.size == meta.size,
            (NodeKind::Symlink, Kind::Symlink { .. })
            | (NodeKind::Fifo, Kind::Fifo)
            | (NodeKind::Socket, Kind::Socket)
            | (NodeKind::Block, Kind::BlockDevice { .. })
            | (NodeKind::Char, Kind::CharDevice { .. }) => true,
            _ => false,
        };
        same_kind
            && !self.inconsistent
            && self.mtime == moment(meta.mtime)
            && self.ctime == moment(meta.ctime)
            && self.inode == meta.inode
            && self.ctime < trusted_before
    }
}

/// The part of an entry's line that tells whether the file changed; the rest is passed over.
#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name_b64: Option<Cow<'a, str>>,
    #[serde(rename = "type")]
    kind: NodeKind,
    #[serde(default, with = "fardel_format::lines::big")]
    size: u64,
    mtime: Moment,
    ctime: Moment,
    #[serde(default, with = "fardel_format::lines::big")]
    inode: u64,
    #[serde(default)]
    inconsistent: Option<serde::de::IgnoredAny>,
}

fn parse(line: &[u8]) -> Option<(Vec<u8>, SavedStat)> {
    let Seen { name, name_b64, kind, size, mtime, ctime, inode, inconsistent } =
        serde_json::from_slice(line).ok()?;
    let name = tree::bytes_of("a name", name.as_deref(), name_b64.as_deref()).ok()?.into_owned();
    Some((name, SavedStat { kind, size, mtime, ctime, inode, inconsistent: inconsistent.is_some() }))
}

/// What the earlier snapshot says of a name.
pub enum Found {
    /// Nothing.
    New,
    /// It was there, with other content or metadata.
    Changed,
    /// The same: its line can be taken over.
    Same,
}

/// A folder of an earlier snapshot, read along with the walk: both are sorted by name.
pub struct ParentFolder<'a> {
    chunks: &'a ChunkReader<'a>,
    folder: Option<Folder<'a>>,
    line: Vec<u8>,
    at: Option<(Vec<u8>, SavedStat)>,
    trusted_before: Moment,
}

impl<'a> ParentFolder<'a> {
    /// Reads along with the folder `node`; without one, everything is new.
    pub fn open(chunks: &'a ChunkReader<'a>, node: Option<&Node>, trusted_before: Moment) -> Self {
        // A parent that is damaged is no parent: its files are read again.
        let folder =
            node.filter(|n| n.kind == NodeKind::Dir).and_then(|node| Folder::open(chunks, node).ok());
        let mut parent = Self { chunks, folder, line: Vec::new(), at: None, trusted_before };
        parent.advance();
        parent
    }

    fn advance(&mut self) {
        self.line.clear();
        self.at = None;
        let Some(folder) = &mut self.folder else { return };
        if let Ok(Some(line)) = folder.next_line() {
            self.line.extend_from_slice(line);
            self.at = parse(line);
        }
        if self.at.is_none() {
            self.folder = None;
        }
    }

    /// Moves to `name`; names must come in ascending order.
    fn seek(&mut self, name: &[u8]) -> Option<&SavedStat> {
        while self.at.as_ref().is_some_and(|(at, _)| at.as_slice() < name) {
            self.advance();
        }
        self.at.as_ref().filter(|(at, _)| at == name).map(|(_, stat)| stat)
    }

    /// Looks up an entry that is not a folder.
    pub fn find(&mut self, name: &[u8], meta: &Meta) -> Found {
        let trusted_before = self.trusted_before;
        match self.seek(name) {
            None => Found::New,
            Some(stat) if stat.is_same(meta, trusted_before) => Found::Same,
            Some(_) => Found::Changed,
        }
    }

    /// The line found last, its end included.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The folder of this name in the earlier snapshot, if it was one.
    pub fn enter(&mut self, name: &[u8]) -> Self {
        let node = self.seek(name).is_some().then(|| Node::from_line(&self.line).ok()).flatten();
        Self::open(self.chunks, node.as_ref(), self.trusted_before)
    }
}
