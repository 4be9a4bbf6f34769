//! What differs between two snapshots, or two places in them.
//!
//! Both trees are read along, folder by folder: their entries are sorted. A folder that holds the same is passed over with
//! all that is below it. Where a part of a folder cannot be read on one side, nobody can say whether the other side's
//! entries there are new: they are counted as not compared, never shown as added or removed.

mod maps;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use fardel_format::tree::{Node, NodeKind};

use crate::browse::stack::{self, Level, Stack};
use crate::browse::{Browser, Item, Listing, Place, Unreadable, is_fatal, path};
use crate::monitor::Monitor;
use crate::{Error, Result};

pub use maps::{Changed, changed_ranges};

/// What counts as a difference.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiffOptions {
    /// Owner, permissions, times and extended attributes, too.
    pub metadata: bool,
}

/// One difference.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Only the new side has it. What lies in a folder is told one by one.
    Added(&'a Node),
    /// Only the old side has it.
    Removed(&'a Node),
    /// It is something else now; what lay or lies in a folder is told one by one.
    Retyped {
        /// What it was.
        old: &'a Node,
        /// What it is.
        new: &'a Node,
    },
    /// It changed.
    Modified {
        /// What it was.
        old: &'a Node,
        /// What it is.
        new: &'a Node,
        /// Whether its bytes, or where a link points, or the number of a device, are different.
        content: bool,
        /// Whether its metadata is different; only with [`DiffOptions::metadata`].
        metadata: bool,
        /// For a volume: how much, where that can be told.
        changed: Option<Changed>,
    },
}

/// How many things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files and volumes.
    pub files: u64,
    /// Folders.
    pub dirs: u64,
    /// Everything else.
    pub others: u64,
    /// Bytes of files and volumes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, node: &Node) {
        match node.kind {
            NodeKind::File | NodeKind::Volume => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(node.size);
            }
            NodeKind::Dir => self.dirs += 1,
            _ => self.others += 1,
        }
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct DiffReport {
    /// Only on the new side, what is of another kind now too.
    pub added: Tally,
    /// Only on the old side, what was of another kind too.
    pub removed: Tally,
    /// Different on both sides; bytes are those of the new side.
    pub modified: Tally,
    /// Things that were of one kind and are of another.
    pub retyped: u64,
    /// Bytes of volumes that differ.
    pub volume_bytes_changed: u64,
    /// Entries of which nobody can say whether they differ, since the other side cannot be read there; what lies in them
    /// is not counted.
    pub not_compared: u64,
    /// What could not be read.
    pub unreadable: Unreadable,
}

impl DiffReport {
    /// Whether everything was compared.
    #[must_use]
    pub fn is_conclusive(&self) -> bool {
        self.not_compared == 0 && self.unreadable.is_empty()
    }
}

/// Hands every difference to `each` with its path, in the order of paths. A path is that of the new side, of the old one for
/// what was removed.
///
/// # Errors
/// Those of `each`; [`Error::Interrupted`]; when the store does not answer. What is missing or damaged is in the report.
pub fn diff(
    old: (&Browser<'_>, &Place),
    new: (&Browser<'_>, &Place),
    options: DiffOptions,
    monitor: &dyn Monitor,
    each: impl FnMut(&[u8], &Change<'_>) -> Result<()>,
) -> Result<DiffReport> {
    let names = Vec::new();
    let mut comparison =
        Comparison { old, new, options, monitor, each, names, report: DiffReport::default() };
    comparison.run()?;
    Ok(comparison.report)
}

struct Comparison<'a, F> {
    old: (&'a Browser<'a>, &'a Place),
    new: (&'a Browser<'a>, &'a Place),
    options: DiffOptions,
    monitor: &'a dyn Monitor,
    each: F,
    /// The path below both places.
    names: Vec<u8>,
    report: DiffReport,
}

/// One side of a folder.
struct Side<'a> {
    listing: Listing<'a>,
    ahead: Option<Item>,
    ended: bool,
    /// Whether names may be missing before the one ahead.
    gap: bool,
}

/// A folder on one side or both.
struct Pair<'a> {
    old: Option<Side<'a>>,
    new: Option<Side<'a>>,
    names_len: usize,
    weight: usize,
}

impl Level for Pair<'_> {
    fn held(&self) -> usize {
        [&self.old, &self.new].into_iter().flatten().map(|side| side.listing.held()).sum()
    }

    fn put_aside(&mut self) {
        [&mut self.old, &mut self.new].into_iter().flatten().for_each(|side| side.listing.put_aside());
    }

    fn weight(&self) -> usize {
        self.weight
    }
}

/// One name on the old side, on the new side, or on both.
struct Items {
    old: Option<Item>,
    new: Option<Item>,
}

impl<'a, F: FnMut(&[u8], &Change<'_>) -> Result<()>> Comparison<'a, F> {
    fn run(&mut self) -> Result<()> {
        let top = Items { old: Some(self.old.1.item()), new: Some(self.new.1.item()) };
        let Some(pair) = self.compare(&top)? else { return Ok(()) };
        let mut stack = Stack::new(pair);
        while let Some(pair) = stack.last_mut() {
            if self.monitor.interrupted() {
                return Err(Error::Interrupted);
            }
            self.names.truncate(pair.names_len);
            let Some(items) = self.next(pair)? else {
                stack.pop();
                continue;
            };
            if let Some(item) = items.new.as_ref().or(items.old.as_ref()) {
                path::push(&mut self.names, &item.name);
            }
            self.monitor.counters().done(1, 0);
            if let Some(below) = self.compare(&items)?
                && let Err(error) = stack.push(below)
            {
                let side = if items.new.is_none() { self.old } else { self.new };
                self.report.unreadable.push(Some(side.0.id()), &self.path(side), &error);
            }
        }
        Ok(())
    }

    fn path(&self, side: (&Browser<'_>, &Place)) -> Vec<u8> {
        match (&side.1.path[..], &self.names[..]) {
            (path, b"") => path.to_vec(),
            (b"/", names) => names.to_vec(),
            (path, names) => [path, names].concat(),
        }
    }

    /// The next name of a folder that can be compared.
    fn next(&mut self, pair: &mut Pair<'_>) -> Result<Option<Items>> {
        loop {
            self.pull(&mut pair.old, self.old)?;
            self.pull(&mut pair.new, self.new)?;
            let order = match (ahead(&pair.old), ahead(&pair.new)) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.cmp(new),
            };
            let gap = |side: &Option<Side<'_>>| side.as_ref().is_some_and(|side| side.gap);
            let (old, new) = match order {
                Ordering::Equal => (take(&mut pair.old), take(&mut pair.new)),
                Ordering::Less => (take(&mut pair.old), None),
                Ordering::Greater => (None, take(&mut pair.new)),
            };
            if (new.is_none() && gap(&pair.new)) || (old.is_none() && gap(&pair.old)) {
                self.report.not_compared += 1;
                continue;
            }
            return Ok(Some(Items { old, new }));
        }
    }

    /// Makes the next item of a side known.
    fn pull(&mut self, side: &mut Option<Side<'_>>, of: (&Browser<'_>, &Place)) -> Result<()> {
        let Some(side) = side else { return Ok(()) };
        while side.ahead.is_none() && !side.ended {
            match side.listing.next() {
                Ok(Some(item)) => side.ahead = Some(item),
                Ok(None) => side.ended = true,
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    side.gap = true;
                    self.report.unreadable.push(Some(of.0.id()), &self.path(of), &error);
                }
            }
        }
        Ok(())
    }

    /// Tells what differs in the items themselves; returns what lies in them if that must be compared.
    fn compare(&mut self, items: &Items) -> Result<Option<Pair<'a>>> {
        let (old, new) = (items.old.as_ref(), items.new.as_ref());
        match (old.and_then(|item| item.node.as_ref()), new.and_then(|item| item.node.as_ref())) {
            (None, None) => {}
            (Some(old), None) if new.is_none() || old.kind != NodeKind::Dir => {
                self.tell(&Change::Removed(old))?
            }
            (None, Some(new)) if old.is_none() || new.kind != NodeKind::Dir => {
                self.tell(&Change::Added(new))?
            }
            // Of a folder that is only above a source nothing is known that could differ.
            (Some(_), None) | (None, Some(_)) => {}
            (Some(old), Some(new)) if old.kind != new.kind => self.tell(&Change::Retyped { old, new })?,
            (Some(old), Some(new)) => self.compare_nodes(old, new)?,
        }
        Ok(self.below(old, new))
    }

    fn below(&self, old: Option<&Item>, new: Option<&Item>) -> Option<Pair<'a>> {
        let (old, new) =
            (old.filter(|item| self.old.0.is_folder(item)), new.filter(|item| self.new.0.is_folder(item)));
        if let (Some(old), Some(new)) = (old, new)
            && !self.old.0.is_above_sources(old)
            && !self.new.0.is_above_sources(new)
            && let (Some(before), Some(after)) = (&old.node, &new.node)
            && before.entries.is_some()
            && before.entries == after.entries
        {
            return None;
        }
        let weight = |item: Option<&Item>| item.and_then(|item| item.node.as_ref()).map_or(0, stack::weight);
        let side = |listing| Side { listing, ahead: None, ended: false, gap: false };
        let pair = Pair {
            old: old.map(|item| side(self.old.0.listing_of(item))),
            new: new.map(|item| side(self.new.0.listing_of(item))),
            names_len: self.names.len(),
            weight: weight(old) + weight(new),
        };
        (pair.old.is_some() || pair.new.is_some()).then_some(pair)
    }

    fn compare_nodes(&mut self, old: &Node, new: &Node) -> Result<()> {
        let content = differs_in_content(old, new);
        let metadata = self.options.metadata && differs_in_metadata(old, new);
        if !content && !metadata {
            return Ok(());
        }
        let mut changed = None;
        if content && new.kind == NodeKind::Volume {
            match changed_ranges((self.old.0, old), (self.new.0, new), |_| Ok(())) {
                Ok(found) => changed = found,
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    self.report.unreadable.push(Some(self.new.0.id()), &self.path(self.new), &error)
                }
            }
            if let Some(lost) = changed.filter(|changed| changed.unknown > 0) {
                let error = Error::Damaged(format!(
                    "{} bytes are not compared: a part of a map is missing",
                    lost.unknown
                ));
                self.report.unreadable.push(Some(self.new.0.id()), &self.path(self.new), &error);
            }
        }
        self.tell(&Change::Modified { old, new, content, metadata, changed })
    }

    fn tell(&mut self, change: &Change<'_>) -> Result<()> {
        let mut side = self.new;
        match change {
            Change::Added(node) => self.report.added.add(node),
            Change::Removed(node) => {
                self.report.removed.add(node);
                side = self.old;
            }
            Change::Retyped { old, new } => {
                self.report.retyped += 1;
                self.report.removed.add(old);
                self.report.added.add(new);
            }
            Change::Modified { new, changed, .. } => {
                self.report.modified.add(new);
                self.report.volume_bytes_changed += changed.map_or(0, |changed| changed.bytes);
            }
        }
        let path = self.path(side);
        (self.each)(&path, change)
    }
}

fn ahead<'s>(side: &'s Option<Side<'_>>) -> Option<&'s [u8]> {
    Some(&side.as_ref()?.ahead.as_ref()?.name)
}

fn take(side: &mut Option<Side<'_>>) -> Option<Item> {
    let side = side.as_mut()?;
    side.gap = false;
    side.ahead.take()
}

fn differs_in_content(old: &Node, new: &Node) -> bool {
    match new.kind {
        NodeKind::File | NodeKind::Volume => old.size != new.size || old.content != new.content,
        NodeKind::Symlink => (&old.target, &old.target_b64) != (&new.target, &new.target_b64),
        NodeKind::Block | NodeKind::Char => old.device != new.device,
        NodeKind::Dir | NodeKind::Fifo | NodeKind::Socket => false,
    }
}

/// Whether a restore would set something else.
fn differs_in_metadata(old: &Node, new: &Node) -> bool {
    let owner = |node: &Node| (node.uid, node.gid, node.user.clone(), node.group.clone());
    (old.mode, old.mtime, owner(old)) != (new.mode, new.mtime, owner(new)) || old.xattrs != new.xattrs
}
