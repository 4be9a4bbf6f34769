//! What snapshots lack in a store, as its listing tells. Each list of packs is compared with it once, however many snapshots
//! share it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fardel_format::ObjectHash;
use fardel_format::manifest::ListRef;
use fardel_format::names::Name;
use fardel_format::pack_list::{Bitmap, PackEntry};

use super::there;
use crate::Result;
use crate::catalog::{Catalog, Stored};
use crate::repository::Repository;
use crate::snapshots::Sealed;

/// Compares snapshots with a listing.
pub struct Wholeness<'a> {
    /// Where lists are read.
    repo: &'a Repository,
    catalog: &'a Catalog,
    /// The listing.
    here: &'a Catalog,
    lists: HashMap<ObjectHash, Option<Arc<Gaps>>>,
}

/// The lines of a list whose packs are not there in their right size.
struct Gaps {
    lines: usize,
    packs: Vec<(usize, PackEntry)>,
}

/// What a snapshot needs and is not there.
#[derive(Clone, Debug, Default)]
pub struct Lacks {
    /// Each object, with the bytes that it must have.
    pub objects: BTreeMap<Name, u64>,
    /// Whether it may lack more, since what would say so is missing itself.
    pub at_least: bool,
}

impl Lacks {
    /// Whether the snapshot is whole.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.objects.is_empty() && !self.at_least
    }

    fn need(&mut self, name: Name, size: u64, stored: Option<&Stored>) {
        if stored.is_none_or(|stored| stored.size != size) {
            self.objects.insert(name, size);
        }
    }
}

impl<'a> Wholeness<'a> {
    /// Compares the snapshots of a store with its own listing.
    #[must_use]
    pub fn new(repo: &'a Repository, catalog: &'a Catalog) -> Self {
        Self { repo, catalog, here: catalog, lists: HashMap::new() }
    }

    /// Compares them with the listing of a copy.
    #[must_use]
    pub fn in_copy(repo: &'a Repository, catalog: &'a Catalog, copy: &'a Catalog) -> Self {
        Self { repo, catalog, here: copy, lists: HashMap::new() }
    }

    /// What a copy lacks of this snapshot, its manifest and seal too.
    ///
    /// # Errors
    /// When the store fails.
    pub fn lacks_with_seal(&mut self, sealed: &Sealed) -> Result<Lacks> {
        let mut lacks = self.lacks(sealed)?;
        let (writer, number) = (sealed.writer, sealed.name);
        for name in [Name::Manifest(writer, number), Name::Seal(writer, number)] {
            if let Some(stored) = self.catalog.get(&name) {
                let here = self.here.get(&name);
                lacks.need(name, stored.size, here);
            }
        }
        Ok(lacks)
    }

    /// What this snapshot lacks.
    ///
    /// # Errors
    /// When the store fails.
    pub fn lacks(&mut self, sealed: &Sealed) -> Result<Lacks> {
        let mut lacks = Lacks::default();
        let root = &sealed.manifest.root;
        lacks.need(Name::Root(root.hash), root.size, self.here.roots.get(&root.hash));
        for list in &sealed.manifest.lists {
            lacks.need(Name::List(list.hash), list.size, self.here.lists.get(&list.hash));
            match self.gaps(list)? {
                Some(gaps) => match Bitmap::from_text(&list.packs, gaps.lines) {
                    Ok(marked) => {
                        let needed = gaps.packs.iter().filter(|(line, _)| marked.get(*line));
                        lacks
                            .objects
                            .extend(needed.map(|(_, pack)| (Name::Pack(pack.hash, None), pack.size)));
                    }
                    Err(_) => lacks.at_least = true,
                },
                // It is not there, has its size and not its bytes, or went while we looked.
                None => lacks.at_least = true,
            }
        }
        Ok(lacks)
    }

    fn gaps(&mut self, list: &ListRef) -> Result<Option<Arc<Gaps>>> {
        if let Some(gaps) = self.lists.get(&list.hash) {
            return Ok(gaps.clone());
        }
        let stored = self.catalog.lists.get(&list.hash).filter(|stored| stored.size == list.size);
        let entries = match stored {
            Some(_) => there(self.repo.list(self.catalog, &list.hash))?,
            None => None,
        };
        let gaps = entries.map(|entries| {
            let is_gone = |pack: &PackEntry| self.here.whole_pack(&pack.hash, pack.size).is_none();
            let gone = entries.iter().copied().enumerate().filter(|(_, pack)| is_gone(pack));
            Arc::new(Gaps { lines: entries.len(), packs: gone.collect() })
        });
        self.lists.insert(list.hash, gaps.clone());
        Ok(gaps)
    }
}
