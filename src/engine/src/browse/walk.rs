//! Everything below a place of a snapshot, in the order of names, folders before what is in them.

use fardel_format::Error as FormatError;
use fardel_format::tree::Node;

use super::listing::{Item, Listing};
use super::{Browser, Place, is_fatal, path};
use crate::{Error, Result};

/// Folders in one another at most.
pub const MAX_DEPTH: usize = 100_000;
/// Folders that are held open; the ones above are read again when it is their turn.
const MAX_OPEN: usize = 64;
/// Bytes of entries that open folders hold, about.
const MAX_HELD: usize = 8 << 20;
/// Bytes of the entries of all folders above the current one; only a tree made to exhaust memory has more.
const MAX_ABOVE: usize = 64 << 20;

/// What a walk comes by.
#[derive(Debug)]
pub enum Event<'w> {
    /// Something lies here. `node` is `None` for a folder that is only above a source: nothing is known of it.
    Entry {
        /// Its absolute path.
        path: &'w [u8],
        /// What it is.
        node: Option<&'w Node>,
    },
    /// Everything in this folder was told.
    Leave {
        /// Its absolute path.
        path: &'w [u8],
        /// What it is.
        node: Option<&'w Node>,
    },
    /// A part of this folder, or all of it, cannot be read; what can be read follows.
    Unreadable {
        /// The folder's absolute path.
        path: &'w [u8],
        /// Why.
        error: Error,
    },
}

struct Level<'a> {
    listing: Listing<'a>,
    /// Length of the path of the folder.
    path_len: usize,
    node: Option<Node>,
    weight: usize,
}

/// A walk; it holds one leaf for each open folder, and few folders open, however deep the tree.
pub struct Walk<'a> {
    browser: &'a Browser<'a>,
    path: Vec<u8>,
    levels: Vec<Level<'a>>,
    /// Levels before this are put aside.
    open_from: usize,
    above: usize,
    /// The entry that was told last: the walk goes into it next.
    last: Option<Item>,
    /// The folder that was left last.
    left: Option<Node>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(browser: &'a Browser<'a>, place: &Place) -> Self {
        let listing = browser.listing(place.node.as_ref(), place.stem);
        let path = place.path.clone();
        let level = Level { listing, path_len: path.len(), node: None, weight: 0 };
        Self { browser, path, levels: vec![level], open_from: 0, above: 0, last: None, left: None }
    }

    /// What comes next; `None` at the end.
    ///
    /// # Errors
    /// When the store does not answer. What is missing or damaged is an event.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>> {
        if let Some(item) = self.last.take()
            && item.is_folder(&self.browser.sources)
            && let Err(error) = self.enter(item)
        {
            return Ok(Some(Event::Unreadable { path: &self.path, error }));
        }
        let Some(level) = self.levels.last_mut() else { return Ok(None) };
        self.path.truncate(level.path_len);
        match level.listing.next() {
            Ok(Some(item)) => {
                path::push(&mut self.path, &item.name);
                let item = self.last.insert(item);
                Ok(Some(Event::Entry { path: &self.path, node: item.node.as_ref() }))
            }
            Ok(None) => Ok(self.leave()),
            Err(error) if is_fatal(&error) => Err(error),
            Err(error) => Ok(Some(Event::Unreadable { path: &self.path, error })),
        }
    }

    /// Does not go into the folder that was told last.
    pub fn skip(&mut self) {
        self.last = None;
    }

    /// Whether sources lie below the entry that was told last: then what it holds does not follow from its node alone.
    pub(crate) fn is_above_sources(&self) -> bool {
        self.last.as_ref().is_some_and(|item| item.is_above_sources(&self.browser.sources))
    }

    fn enter(&mut self, item: Item) -> Result<()> {
        let weight = item.node.as_ref().map_or(0, weight);
        let too_deep = |what, limit| Error::object("a tree", FormatError::TooLarge { what, limit });
        if self.levels.len() == MAX_DEPTH {
            return Err(too_deep("the depth of a tree", MAX_DEPTH as u64));
        }
        if self.above + weight > MAX_ABOVE {
            return Err(too_deep("the entries of the folders above", MAX_ABOVE as u64));
        }
        self.above += weight;
        let listing = self.browser.listing(item.node.as_ref(), item.stem);
        self.levels.push(Level { listing, path_len: self.path.len(), node: item.node, weight });
        while self.is_heavy() {
            self.levels[self.open_from].listing.put_aside();
            self.open_from += 1;
        }
        Ok(())
    }

    fn is_heavy(&self) -> bool {
        let open = &self.levels[self.open_from..];
        open.len() > MAX_OPEN
            || (open.len() > 1 && open.iter().map(|l| l.listing.held()).sum::<usize>() > MAX_HELD)
    }

    fn leave(&mut self) -> Option<Event<'_>> {
        let level = self.levels.pop()?;
        self.above -= level.weight;
        self.open_from = self.open_from.min(self.levels.len().saturating_sub(1));
        if self.levels.is_empty() {
            return None;
        }
        self.left = level.node;
        Some(Event::Leave { path: &self.path, node: self.left.as_ref() })
    }
}

/// Bytes that a node holds, about.
fn weight(node: &Node) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let rope = node.entries.as_ref().map_or(0, |rope| rope.lines.iter().map(|line| line.len() + 24).sum());
    let xattrs: usize = node.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len() + 48).sum();
    let names = text(&node.user)
        + text(&node.group)
        + text(&node.target)
        + text(&node.target_b64)
        + text(&node.inconsistent);
    // Its entries stand in the node and in the listing.
    size_of::<Node>() + 2 * rope + xattrs + names
}
