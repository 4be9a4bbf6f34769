//! What one store holds: its newest complete snapshot, and what the newer ones lack. Needs no key and signs nothing.
//!
//! A snapshot is complete when its seal, manifest, root and lists are there, and every pack of its closure with the size it
//! must have. In a folder that other tools copy a seal may come before what it seals: that is "not yet arrived", and says
//! how much is to come. Whether the bytes are the right ones is `check`'s question, not this one's.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use fardel_format::names::{Name, Numbered};
use fardel_format::{ObjectHash, SnapshotId, WriterId};
use fardel_store::ErrorKind;

use crate::catalog::{Catalog, Stored};
use crate::repository::{Problem, Repository};
use crate::snapshots::{Sealed, Snapshots};
use crate::{Error, Result};

/// Lists beyond this are not read, in bytes: nobody has the tens of terabytes of packs that they would name.
const MAX_LIST: u64 = 64 << 20;

/// A snapshot as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: SnapshotId,
    /// When it was sealed, RFC 3339, as its writer's clock told.
    pub time: String,
}

impl Known {
    pub(crate) fn of(sealed: &Sealed) -> Self {
        Self { id: sealed.id(), time: sealed.manifest.created.clone() }
    }
}

/// Objects and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub objects: u64,
    /// How many bytes, as far as that is known.
    pub bytes: u64,
}

impl Amount {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// What a store holds.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The newest snapshot of which everything is there.
    pub complete: Option<Known>,
    /// The newest snapshot, complete or not.
    pub newest: Option<Known>,
    /// How many snapshots are newer than the newest complete one, those of which only a seal is there too.
    pub behind: u64,
    /// What those lack, each object once.
    pub missing: Amount,
    /// Whether they may lack more than [`Self::missing`] says, since what would say so is missing itself.
    pub missing_at_least: bool,
    /// Snapshots that exist.
    pub snapshots: u64,
    /// Packs and their bytes.
    pub packs: Amount,
    /// All objects of the repository and their bytes.
    pub stored: Amount,
    /// Names that are none of ours.
    pub ignored_names: u64,
    /// The first few of them.
    pub strangers: Vec<String>,
    /// Writers who sealed or wrote something here, and whom the registry does not know.
    pub foreign_writers: Vec<WriterId>,
    /// Packs, lists and roots that no manifest names: of a backup that is under way or was interrupted, or of snapshots that
    /// are forgotten and not collected, or foreign.
    pub unexplained: Amount,
    /// Manifests without a seal: of a backup that is under way or was interrupted, or of which the seal has not arrived.
    pub unsealed: u64,
    /// Seals, manifests, records and tombs that do not verify.
    pub problems: Vec<Problem>,
}

/// Looks at one store.
///
/// # Errors
/// When the store fails.
pub fn status(repo: &Repository, catalog: &Catalog) -> Result<Status> {
    let snapshots = Snapshots::load_for_reading(repo, catalog)?;
    let mut status = Status {
        newest: snapshots.sealed.last().map(Known::of),
        snapshots: snapshots.sealed.len() as u64,
        ignored_names: catalog.ignored,
        strangers: catalog.strangers.clone(),
        ..Status::default()
    };
    let bare = bare_seals(catalog, &snapshots);
    status.count(catalog);
    status.look_for_complete(repo, catalog, &snapshots, &bare)?;
    status.look_for_foreign(repo, catalog, &snapshots)?;
    // Of a seal without its manifest it is only known that something is to come.
    let bare: HashSet<_> = bare.iter().map(|(_, stored)| &stored.key).collect();
    status.problems =
        snapshots.problems.into_iter().filter(|problem| !bare.contains(&problem.object)).collect();
    Ok(status)
}

/// Seals that could count and whose manifests are not there.
fn bare_seals<'a>(
    catalog: &'a Catalog,
    snapshots: &Snapshots,
) -> Vec<(&'a (WriterId, Numbered), &'a Stored)> {
    let is_bare = |(writer, name): &(WriterId, Numbered)| {
        !catalog.manifests.contains_key(&(*writer, *name))
            && snapshots.registry.honours(writer, name.seq).is_some()
            && !snapshots.tombs.revoked.contains(&name.hash.to_string())
    };
    catalog.seals.iter().filter(|(name, _)| is_bare(name)).collect()
}

impl Status {
    fn count(&mut self, catalog: &Catalog) {
        for (name, stored) in catalog.objects() {
            self.stored.add(stored.size);
            if matches!(name, Name::Pack(..)) {
                self.packs.add(stored.size);
            }
        }
        self.unsealed =
            catalog.manifests.keys().filter(|name| !catalog.seals.contains_key(name)).count() as u64;
    }

    /// From the newest on, until one is complete.
    fn look_for_complete(
        &mut self,
        repo: &Repository,
        catalog: &Catalog,
        snapshots: &Snapshots,
        bare: &[(&(WriterId, Numbered), &Stored)],
    ) -> Result<()> {
        let mut missing = BTreeMap::new();
        let mut newer = 0;
        for sealed in snapshots.sealed.iter().rev() {
            let lacking = Lacking::of(repo, catalog, sealed)?;
            if lacking.objects.is_empty() && !lacking.at_least {
                self.complete = Some(Known::of(sealed));
                break;
            }
            newer += 1;
            self.missing_at_least |= lacking.at_least;
            missing.extend(lacking.objects);
        }
        self.behind = newer as u64;
        let older = &snapshots.sealed[..snapshots.sealed.len() - newer];
        // One below others of its writer is of a forgotten snapshot that a copier has not taken away yet.
        let is_newer = |(writer, name): &(WriterId, Numbered)| {
            !older.iter().any(|sealed| sealed.writer == *writer && sealed.name.seq > name.seq)
        };
        for (writer, name) in bare.iter().map(|(name, _)| **name).filter(is_newer) {
            self.behind += 1;
            self.missing_at_least = true;
            missing.insert(Name::Manifest(writer, name), 0);
        }
        missing.values().for_each(|bytes| self.missing.add(*bytes));
        Ok(())
    }

    fn look_for_foreign(
        &mut self,
        repo: &Repository,
        catalog: &Catalog,
        snapshots: &Snapshots,
    ) -> Result<()> {
        let numbered = [&catalog.manifests, &catalog.seals, &catalog.tombs, &catalog.tomb_sigs];
        let writers: BTreeSet<_> =
            numbered.into_iter().flat_map(BTreeMap::keys).map(|(writer, _)| *writer).collect();
        self.foreign_writers =
            writers.into_iter().filter(|w| snapshots.registry.get_even_removed(w).is_none()).collect();
        let explained = Explained::of(repo, catalog)?;
        let packs = catalog
            .packs
            .iter()
            .flat_map(|(hash, copies)| copies.iter().map(move |copy| (hash, &copy.stored)));
        for (hash, stored) in packs.chain(&catalog.lists).chain(&catalog.roots) {
            if !explained.0.contains(hash) {
                self.unexplained.add(stored.size);
            }
        }
        Ok(())
    }
}

/// What a snapshot needs and is not there.
#[derive(Default)]
struct Lacking {
    objects: BTreeMap<Name, u64>,
    /// Whether more may lack.
    at_least: bool,
}

impl Lacking {
    fn of(repo: &Repository, catalog: &Catalog, sealed: &Sealed) -> Result<Self> {
        let mut lacking = Self::default();
        let root = &sealed.manifest.root;
        lacking.need(Name::Root(root.hash), root.size, catalog.roots.get(&root.hash));
        for list in &sealed.manifest.lists {
            lacking.need(Name::List(list.hash), list.size, catalog.lists.get(&list.hash));
        }
        if !lacking.lists_are_there(sealed) {
            lacking.at_least = true;
            return Ok(lacking);
        }
        match repo.closure(catalog, &sealed.manifest) {
            Ok(packs) => {
                for pack in packs.iter().filter(|pack| catalog.whole_pack(&pack.hash, pack.size).is_none()) {
                    lacking.objects.insert(Name::Pack(pack.hash, None), pack.size);
                }
            }
            Err(Error::Store(error)) if error.kind != ErrorKind::NotFound => return Err(error.into()),
            // A list has its size, and not its bytes; or it went while we looked.
            Err(_) => lacking.at_least = true,
        }
        Ok(lacking)
    }

    fn need(&mut self, name: Name, size: u64, stored: Option<&Stored>) {
        if stored.is_none_or(|stored| stored.size != size) {
            self.objects.insert(name, size);
        }
    }

    fn lists_are_there(&self, sealed: &Sealed) -> bool {
        sealed.manifest.lists.iter().all(|list| !self.objects.contains_key(&Name::List(list.hash)))
    }
}

/// What some manifest names: packs, lists and roots. A list explains all its packs, whichever of them are meant.
struct Explained(HashSet<ObjectHash>);

impl Explained {
    fn of(repo: &Repository, catalog: &Catalog) -> Result<Self> {
        let mut explained = Self(HashSet::new());
        for ((writer, name), stored) in &catalog.manifests {
            let Some(bytes) = there(repo.small(stored))? else { continue };
            // Intents count: what they name is on its way.
            let manifest = fardel_format::manifest::Manifest::from_bytes(&bytes, repo.id(), writer, name);
            let Ok(manifest) = manifest else { continue };
            explained.0.insert(manifest.root.hash);
            for list in &manifest.lists {
                let stored = catalog.lists.get(&list.hash).filter(|stored| stored.size <= MAX_LIST);
                if explained.0.insert(list.hash)
                    && stored.is_some()
                    && let Some(packs) = there(repo.list(catalog, &list.hash))?
                {
                    explained.0.extend(packs.iter().map(|pack| pack.hash));
                }
            }
        }
        Ok(explained)
    }
}

/// The bytes, if they can be had; only a store that fails is an error.
fn there<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Error::Store(error)) if error.kind != ErrorKind::NotFound => Err(error.into()),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
