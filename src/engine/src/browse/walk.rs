//! Everything below a place of a snapshot, in the order of names, folders before what is in them.

use fardel_format::tree::Node;

use super::listing::{Item, Listing};
use super::stack::{self, Level, Stack};
use super::{Browser, Place, is_fatal, path};
use crate::{Error, Result};

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

struct Folder<'a> {
    listing: Listing<'a>,
    /// Length of its path.
    path_len: usize,
    node: Option<Node>,
}

impl Level for Folder<'_> {
    fn held(&self) -> usize {
        self.listing.held()
    }

    fn put_aside(&mut self) {
        self.listing.put_aside();
    }

    fn weight(&self) -> usize {
        self.node.as_ref().map_or(0, stack::weight)
    }
}

/// A walk; it holds one leaf for each open folder, and few folders open, however deep the tree.
pub struct Walk<'a> {
    browser: &'a Browser<'a>,
    path: Vec<u8>,
    folders: Stack<Folder<'a>>,
    /// The entry that was told last: the walk goes into it next.
    last: Option<Item>,
    /// The folder that was left last.
    left: Option<Node>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(browser: &'a Browser<'a>, place: &Place) -> Self {
        let listing = browser.listing(place.node.as_ref(), place.stem);
        let path = place.path.clone();
        let folders = Stack::new(Folder { listing, path_len: path.len(), node: None });
        Self { browser, path, folders, last: None, left: None }
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
        let Some(folder) = self.folders.last_mut() else { return Ok(None) };
        self.path.truncate(folder.path_len);
        match folder.listing.next() {
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
        let listing = self.browser.listing(item.node.as_ref(), item.stem);
        self.folders.push(Folder { listing, path_len: self.path.len(), node: item.node })
    }

    fn leave(&mut self) -> Option<Event<'_>> {
        let folder = self.folders.pop()?;
        if self.folders.is_empty() {
            return None;
        }
        self.left = folder.node;
        Some(Event::Leave { path: &self.path, node: self.left.as_ref() })
    }
}
