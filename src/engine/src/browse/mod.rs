//! The paths inside a snapshot: its sources lie at the absolute paths where they were backed up.
//!
//! A folder that is only above a source is there without metadata. A source that lies inside another one stands in for what
//! the outer one has at its path (`/` and `/home` of one file system each, for example, make one tree).
//!
//! Nothing here recurses, and what is held in memory does not grow with the tree: trees come from outside.

mod entries;
mod listing;
pub(crate) mod map;
pub(crate) mod path;
mod sources;
pub(crate) mod stack;
#[cfg(test)]
mod tests;
mod unreadable;
mod walk;

use fardel_format::SnapshotId;
use fardel_format::root::Root;
use fardel_format::tree::{Node, NodeKind};
use fardel_store::ErrorKind;

use crate::catalog::Catalog;
use crate::index::ChunkIndex;
use crate::packs::{ChunkReader, PackReader};
use crate::repository::Repository;
use crate::snapshots::Sealed;
use crate::{Error, Result};

pub(crate) use listing::{Item, Listing};
use sources::{Sources, StemId};
pub use stack::MAX_DEPTH;
pub use unreadable::{NotRead, Unreadable};
pub use walk::{Event, Walk};

/// What reading content needs: the packs, and where each chunk lies in them. Opened once for all snapshots.
pub struct Contents {
    /// Reads packs.
    pub packs: PackReader,
    /// Says where chunks lie.
    pub index: ChunkIndex,
}

impl Contents {
    /// Opens every pack that the catalog shows for reading.
    ///
    /// # Errors
    /// [`Error::Key`] when the key at hand cannot read; else when the store fails.
    pub fn open(repo: &Repository, catalog: &Catalog) -> Result<Self> {
        repo.need_reader()?;
        let packs = PackReader::new(repo, catalog);
        let index = ChunkIndex::for_reading(repo, catalog, &packs)?;
        Ok(Self { packs, index })
    }

    /// Reads single chunks.
    ///
    /// # Errors
    /// [`Error::Key`] when no key is at hand.
    pub fn chunks(&self, repo: &Repository) -> Result<ChunkReader<'_>> {
        ChunkReader::new(repo, &self.packs, &self.index)
    }
}

/// A place in a snapshot.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its absolute path; `/` is the top.
    pub path: Vec<u8>,
    /// What lies there; `None` for a folder that is only above a source: nothing is known of it.
    pub node: Option<Node>,
    stem: Option<StemId>,
}

impl Place {
    pub(crate) fn item(&self) -> Item {
        let name = path::names(&self.path).last().unwrap_or_default().to_vec();
        Item { name, node: self.node.clone(), stem: self.stem }
    }

    /// Whether it is a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.node.as_ref().is_none_or(|node| node.kind == NodeKind::Dir)
    }

    /// The path for people.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// An open snapshot.
pub struct Browser<'a> {
    chunks: &'a ChunkReader<'a>,
    id: SnapshotId,
    root: Root,
    sources: Sources,
}

impl<'a> Browser<'a> {
    /// Opens a snapshot.
    ///
    /// # Errors
    /// When its root is missing or damaged, or the store fails.
    pub fn open(
        repo: &Repository,
        catalog: &Catalog,
        chunks: &'a ChunkReader<'a>,
        sealed: &Sealed,
    ) -> Result<Self> {
        let mut root = repo.root(catalog, sealed)?;
        let sources = Sources::of(&mut root)
            .map_err(|e| Error::object(format!("snapshot {}", sealed.id().short()), e))?;
        Ok(Self { chunks, id: sealed.id(), root, sources })
    }

    /// The snapshot's id.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// What the snapshot says of itself, its sources left out: [`Self::sources`] has them.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The path and node of every source, sorted by path.
    #[must_use]
    pub fn sources(&self) -> Vec<(Vec<u8>, &Node)> {
        self.sources.all()
    }

    /// Reads chunks of trees and maps.
    #[must_use]
    pub fn chunks(&self) -> &'a ChunkReader<'a> {
        self.chunks
    }

    /// The top, above everything.
    #[must_use]
    pub fn top(&self) -> Place {
        Place { path: b"/".to_vec(), node: self.sources.at(Sources::TOP).cloned(), stem: Some(Sources::TOP) }
    }

    /// What lies at a path; one that does not begin with a slash is taken from the top.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing lies there; [`Error::Damaged`] when that cannot be told, since a folder on the
    /// way cannot be read.
    pub fn resolve(&self, path: &[u8]) -> Result<Place> {
        let mut place = self.top();
        let shown = || String::from_utf8_lossy(path).into_owned();
        if path::names(path).any(|name| name == b"..") {
            return Err(Error::Invalid(format!("{}: `..` has no meaning in a snapshot", shown())));
        }
        for name in path::names(path).filter(|name| *name != b".") {
            let listing = self.listing(place.node.as_ref(), place.stem);
            let found = listing.find(name).map_err(|error| match is_fatal(&error) {
                true => error,
                false => Error::Damaged(format!("{}: {} cannot be read: {error}", shown(), place.shown())),
            })?;
            let missing = || {
                let near = place.shown();
                Error::NotFound(format!(
                    "snapshot {} has no {}; the nearest folder is {near}",
                    self.id.short(),
                    shown()
                ))
            };
            let item = found.ok_or_else(missing)?;
            path::push(&mut place.path, &item.name);
            (place.node, place.stem) = (item.node, item.stem);
        }
        Ok(place)
    }

    fn listing(&self, node: Option<&Node>, stem: Option<StemId>) -> Listing<'_> {
        Listing::open(self.chunks, &self.sources, node, stem)
    }

    /// What lies in the folder `item`.
    pub(crate) fn listing_of(&self, item: &Item) -> Listing<'_> {
        self.listing(item.node.as_ref(), item.stem)
    }

    /// Whether something can lie in `item`.
    pub(crate) fn is_folder(&self, item: &Item) -> bool {
        item.is_folder(&self.sources)
    }

    /// Whether sources lie below `item`: then what it holds does not follow from its node alone.
    pub(crate) fn is_above_sources(&self, item: &Item) -> bool {
        item.is_above_sources(&self.sources)
    }

    /// Goes through everything below `place`.
    #[must_use]
    pub fn walk(&self, place: &Place) -> Walk<'_> {
        Walk::new(self, place)
    }

    /// Hands what lies in the folder `place` to `each`, sorted; all that is below when `recursive`. A file is handed over
    /// itself. The node is `None` for a folder that is only above a source.
    ///
    /// Returns what could not be read: without looking there, nobody may say that something is not in the snapshot.
    ///
    /// # Errors
    /// Those of `each`, and when the store does not answer.
    pub fn list(
        &self,
        place: &Place,
        recursive: bool,
        mut each: impl FnMut(&[u8], Option<&Node>) -> Result<()>,
    ) -> Result<Unreadable> {
        let mut unreadable = Unreadable::default();
        if !place.is_folder() {
            each(&place.path, place.node.as_ref())?;
        }
        let mut walk = self.walk(place);
        while let Some(event) = walk.next_event()? {
            match event {
                Event::Entry { path, node } => {
                    each(path, node)?;
                    if !recursive {
                        walk.skip();
                    }
                }
                Event::Leave { .. } => {}
                Event::Unreadable { path, error } => unreadable.push(Some(self.id), path, &error),
            }
        }
        Ok(unreadable)
    }
}

/// Whether going on makes no sense: the store does not answer, or the user stops it. Anything else is damage of one object.
pub(crate) fn is_fatal(error: &Error) -> bool {
    match error {
        // Whether trying again helps is all that is known; a single object that is denied or broken is no reason to stop.
        Error::Store(error) => error.kind == ErrorKind::Transient,
        Error::Interrupted => true,
        _ => false,
    }
}
