//! What one store holds: its newest complete snapshot, and what the newer ones lack. Needs no key and signs nothing.
//!
//! A snapshot is complete when its seal, manifest, root and lists are there, and every pack of its closure with the size it
//! must have. In a folder that other tools copy a seal may come before what it seals: that is "not yet arrived", and says
//! how much is to come. Whether the bytes are the right ones is `check`'s question, not this one's.
//!
//! Whether the copy shows an older state than it once did is known from what was seen there before ([`Remembered`]), and
//! from what other copies hold.

mod memory;
mod wholeness;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use fardel_format::names::{FanOut, Name, Numbered};
use fardel_format::{ObjectHash, SnapshotId, WriterId};
use fardel_store::Key;

pub use memory::{Head, Remembered};
pub use wholeness::{Lacks, Wholeness};

use crate::catalog::{Catalog, Stored, key_of};
use crate::repository::{Problem, Repository};
use crate::snapshots::{Sealed, Snapshots};
use crate::{Error, Result, lists};

/// Missing objects that a [`Status`] names at most.
pub const MAX_NAMES: usize = 1000;

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
        Self { id: sealed.id(), time: sealed.manifest.origin().created }
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

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, more: Self) {
        self.objects += more.objects;
        self.bytes += more.bytes;
    }
}

/// The repository that others are copies of.
#[derive(Clone, Copy)]
pub struct Original<'a> {
    /// The repository.
    pub repo: &'a Repository,
    /// What was listed in it.
    pub catalog: &'a Catalog,
    /// Its snapshots.
    pub snapshots: &'a Snapshots,
}

/// What the status of a copy is measured by.
#[derive(Default)]
pub struct Before<'a> {
    /// The repository that it is a copy of.
    pub original: Option<Original<'a>>,
    /// What was seen in it before.
    pub remembered: Option<&'a Remembered>,
}

/// A snapshot that was here, is here no more, and was taken away by nobody who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Who wrote it.
    pub writer: WriterId,
    /// Under which number.
    pub seq: u32,
    /// Its id.
    pub snapshot: SnapshotId,
}

/// What a store holds.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The newest snapshot of which everything is there.
    pub complete: Option<Known>,
    /// The newest snapshot, complete or not.
    pub newest: Option<Known>,
    /// How many snapshots are newer than the newest complete one, those of which only a seal is there too; or, if those are
    /// more, how many snapshots of the original are not whole here and were not taken away here.
    pub behind: u64,
    /// When the oldest snapshot of the original was sealed that is not whole here and was not taken away here.
    pub lacks_since: Option<String>,
    /// Snapshots that exist here and are not whole, newest first.
    pub incomplete: Vec<SnapshotId>,
    /// What those lack, each object once; with the original at hand, also what those lack that only the original has.
    pub missing: Amount,
    /// The packs among it.
    pub missing_packs: Amount,
    /// The keys of the first [`MAX_NAMES`] of it.
    pub missing_names: Vec<Key>,
    /// Whether they may lack more than [`Self::missing`] says, since what would say so is missing itself.
    pub missing_at_least: bool,
    /// Whether no key file is here: whoever has no key of his own cannot open it.
    pub is_locked: bool,
    /// Snapshots that exist.
    pub snapshots: u64,
    /// The newest snapshot of each writer.
    pub heads: BTreeMap<WriterId, Head>,
    /// Snapshots that were the newest of their writers when this copy was looked at before.
    pub rolled_back: Vec<Gone>,
    /// Snapshots newer than the newest of their writers in the original, which nobody took away there.
    pub ahead: Vec<Gone>,
    /// The newest manifests of other writers that snapshots name, and that are newer than all that is here of them: not yet
    /// arrived, never sealed, forgotten and collected, or withheld.
    pub named: BTreeMap<WriterId, Numbered>,
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
    status_since(repo, catalog, &snapshots, &Before::default())
}

/// Looks at one store, and compares it with the original and with what was seen before.
///
/// # Errors
/// When the store fails.
pub fn status_since(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &Snapshots,
    before: &Before<'_>,
) -> Result<Status> {
    let mut status = Status {
        newest: snapshots.sealed.last().map(Known::of),
        snapshots: snapshots.sealed.len() as u64,
        ignored_names: catalog.ignored,
        strangers: catalog.strangers.clone(),
        is_locked: catalog.keys.is_empty(),
        heads: heads(snapshots),
        ..Status::default()
    };
    let bare = bare_seals(catalog, snapshots);
    status.count(catalog);
    let (whole, mut missing) = status.look_for_whole(repo, catalog, snapshots, &bare)?;
    status.look_for_foreign(repo, catalog, snapshots)?;
    status.look_for_named(catalog, snapshots);
    if let Some(original) = before.original {
        missing.extend(status.compare(original, catalog, snapshots, &whole)?);
    }
    status.count_missing(&missing);
    if let Some(remembered) = before.remembered {
        status.rolled_back = remembered.gone(catalog, snapshots);
    }
    // Of a seal without its manifest it is only known that something is to come.
    let bare: HashSet<_> = bare.iter().map(|(_, stored)| &stored.key).collect();
    status.problems =
        snapshots.problems.iter().filter(|problem| !bare.contains(&problem.object)).cloned().collect();
    Ok(status)
}

/// The newest snapshot of which everything can be had, and what newer ones lack.
pub struct Latest<'a> {
    /// The snapshot.
    pub complete: &'a Sealed,
    /// Newer ones, oldest first.
    pub newer: Vec<Known>,
    /// What they lack.
    pub lacks: Lacks,
    /// Whether it was forgotten: nothing else is whole.
    pub forgotten: bool,
}

/// Finds the newest snapshot of which everything is there, or what is not there lies in another copy that can be asked; `None`
/// when there is none. One that was forgotten does when there are others and none of them is whole: another tool may bring a tomb
/// long before what is to take the place of the snapshot that it takes away.
///
/// # Errors
/// When the store fails.
pub fn latest<'a>(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &'a Snapshots,
) -> Result<Option<Latest<'a>>> {
    let mut wholeness = Wholeness::new(repo, catalog);
    let (mut newer, mut lacks) = (Vec::new(), Lacks::default());
    for sealed in snapshots.sealed.iter().rev() {
        let its = wholeness.lacks(sealed)?;
        if its.is_nothing() || others_hold(repo, &its) {
            newer.reverse();
            return Ok(Some(Latest { complete: sealed, newer, lacks, forgotten: false }));
        }
        newer.push(Known::of(sealed));
        lacks.at_least |= its.at_least;
        lacks.objects.extend(its.objects);
    }
    newer.reverse();
    for sealed in snapshots.forgotten.iter().rev().filter(|_| !newer.is_empty()) {
        let its = wholeness.lacks(sealed)?;
        if its.is_nothing() || others_hold(repo, &its) {
            return Ok(Some(Latest { complete: sealed, newer, lacks, forgotten: true }));
        }
    }
    Ok(None)
}

fn others_hold(repo: &Repository, lacks: &Lacks) -> bool {
    let holds = |catalog: &Catalog, name: &Name, size: u64| match name {
        Name::Pack(hash, _) => catalog.whole_pack(hash, size).is_some(),
        _ => catalog.get(name).is_some_and(|stored| stored.size == size),
    };
    let copies = repo.copies();
    let is_held =
        |(name, size): (&Name, &u64)| copies.reached().any(|(_, copy)| holds(&copy.catalog, name, *size));
    copies.are_there() && lacks.objects.iter().all(is_held)
}

/// The newest snapshot of each writer.
fn heads(snapshots: &Snapshots) -> BTreeMap<WriterId, Head> {
    let mut heads = BTreeMap::<WriterId, Head>::new();
    for sealed in &snapshots.sealed {
        let head = Head { seq: sealed.name.seq, manifest: sealed.name.hash, snapshot: sealed.id() };
        let newest = heads.entry(sealed.writer).or_insert(head);
        if newest.seq < head.seq {
            *newest = head;
        }
    }
    heads
}

/// Seals that could count and whose manifests are not there.
fn bare_seals<'a>(
    catalog: &'a Catalog,
    snapshots: &Snapshots,
) -> Vec<(&'a (WriterId, Numbered), &'a Stored)> {
    let is_bare = |(writer, name): &(WriterId, Numbered)| {
        !catalog.manifests.contains_key(&(*writer, *name))
            && snapshots.registry.honours(writer, name.seq).is_some()
            && !snapshots.tombs.revokes(&name.hash)
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

    /// Which snapshots are whole.
    fn look_for_whole(
        &mut self,
        repo: &Repository,
        catalog: &Catalog,
        snapshots: &Snapshots,
        bare: &[(&(WriterId, Numbered), &Stored)],
    ) -> Result<(HashSet<SnapshotId>, BTreeMap<Name, u64>)> {
        let mut wholeness = Wholeness::new(repo, catalog);
        let (mut missing, mut whole) = (BTreeMap::new(), HashSet::new());
        let mut newer = snapshots.sealed.len();
        for (i, sealed) in snapshots.sealed.iter().enumerate().rev() {
            let lacks = wholeness.lacks(sealed)?;
            if lacks.is_nothing() {
                whole.insert(sealed.id());
                if self.complete.is_none() {
                    self.complete = Some(Known::of(sealed));
                    newer = snapshots.sealed.len() - 1 - i;
                }
                continue;
            }
            self.incomplete.push(sealed.id());
            self.missing_at_least |= lacks.at_least;
            missing.extend(lacks.objects);
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
        Ok((whole, missing))
    }

    fn count_missing(&mut self, missing: &BTreeMap<Name, u64>) {
        for (name, bytes) in missing {
            self.missing.add(*bytes);
            if matches!(name, Name::Pack(..)) {
                self.missing_packs.add(*bytes);
            }
        }
        self.missing_names = missing.keys().take(MAX_NAMES).map(|name| key_of(name, FanOut::FLAT)).collect();
    }

    /// What the original has and this has not, and the reverse; returns the objects that are lacking.
    fn compare(
        &mut self,
        original: Original<'_>,
        catalog: &Catalog,
        here: &Snapshots,
        whole: &HashSet<SnapshotId>,
    ) -> Result<BTreeMap<Name, u64>> {
        let is_wanted = |sealed: &&Sealed| {
            !here.tombs.forgets(&sealed.manifest)
                && !here.tombs.revoked.contains(&sealed.name.hash.to_string())
        };
        let Original { repo, catalog: originals, snapshots: original } = original;
        let lacking = original.sealed.iter().filter(is_wanted).filter(|sealed| !whole.contains(&sealed.id()));
        let lacking: Vec<_> = lacking.collect();
        self.behind = self.behind.max(lacking.len() as u64);
        self.lacks_since = lacking.first().map(|sealed| sealed.manifest.origin().created);
        let (mut wholeness, mut missing) = (Wholeness::in_copy(repo, originals, catalog), BTreeMap::new());
        for sealed in lacking {
            missing.extend(wholeness.lacks_with_seal(sealed)?.objects);
        }
        let keys = originals.keys.iter().filter(|(hash, _)| !catalog.keys.contains_key(hash));
        missing.extend(keys.map(|(hash, stored)| (Name::Keys(*hash), stored.size)));
        let newest: HashMap<_, _> = heads(original).into_iter().map(|(w, head)| (w, head.seq)).collect();
        // A copy that was compacted by itself tells in newer manifests of snapshots that are known here.
        let known: HashSet<_> = original.sealed.iter().map(Sealed::id).collect();
        let is_ahead = |sealed: &&Sealed| {
            newest.get(&sealed.writer).is_none_or(|seq| *seq < sealed.name.seq)
                && !known.contains(&sealed.id())
                && !original.tombs.forgets(&sealed.manifest)
                && !original.tombs.revoked.contains(&sealed.name.hash.to_string())
        };
        let ahead = here.sealed.iter().filter(is_ahead);
        let gone =
            |sealed: &Sealed| Gone { writer: sealed.writer, seq: sealed.name.seq, snapshot: sealed.id() };
        self.ahead = ahead.map(gone).collect();
        Ok(missing)
    }

    fn look_for_named(&mut self, catalog: &Catalog, snapshots: &Snapshots) {
        let mut here = HashMap::<WriterId, u32>::new();
        for (writer, name) in catalog.manifests.keys().chain(catalog.seals.keys()) {
            let newest = here.entry(*writer).or_insert(name.seq);
            *newest = (*newest).max(name.seq);
        }
        let named = snapshots.sealed.iter().flat_map(|sealed| &sealed.manifest.heads);
        for (writer, name) in named {
            let Some(name) = Numbered::parse(name) else { continue };
            let is_known = here.get(writer).is_some_and(|seq| *seq >= name.seq)
                || snapshots.tombs.revoked.contains(&name.hash.to_string());
            if !is_known {
                let newest = self.named.entry(*writer).or_insert(name);
                *newest = (*newest).max(name);
            }
        }
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
                let stored = catalog.lists.get(&list.hash).filter(|stored| stored.size <= lists::MAX_SIZE);
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
        Err(error @ Error::Store(_)) if !error.is_gone() => Err(error),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
