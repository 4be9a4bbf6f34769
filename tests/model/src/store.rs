//! What lies in the store.

use crate::Set;
use crate::scope::FORGETS;

/// What a manifest says; it never changes.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub struct Manifest {
    /// Hashes of the packs it needs.
    pub closure: Set,
    /// Its snapshot, by the first manifest of it.
    pub snapshot: u8,
    /// Its root, by the manifest for which that was written.
    pub root: u8,
    /// Its list, by the manifest for which that was first written.
    pub list: u8,
    /// The manifest it supersedes.
    pub supersedes: Option<u8>,
    /// Forgets that do not hold for it.
    pub despite: Set,
}

/// The tombs, read.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub struct Tombs {
    /// Packs.
    pub condemned: Set,
    /// Manifests without a seal that are about to be revoked.
    pub condemned_manifests: Set,
    /// Roots.
    pub condemned_roots: Set,
    /// Lists.
    pub condemned_lists: Set,
    /// Manifests that never become snapshots.
    pub revoked: Set,
    /// Intents that were given up.
    pub revoked_intents: Set,
    /// Forgets, by number: see [`Forgets`].
    pub forgets: Set,
    /// Snapshots that somebody pinned.
    pub pins: Set,
    /// Those whose pin was taken back.
    pub unpins: Set,
}

/// What each forget names, by its number. A merged tomb holds several forgets, and keeps their numbers apart.
pub type Forgets = [Set; FORGETS];

impl Tombs {
    /// Whether the snapshot of this manifest is forgotten, and the manifest does not stand despite that.
    #[must_use]
    pub fn forgets(&self, forgets: &Forgets, manifest: &Manifest) -> bool {
        (self.forgets - manifest.despite)
            .into_iter()
            .any(|forget| forgets[forget as usize].has(manifest.snapshot))
    }

    /// Takes over what one page of a listing of this store shows.
    pub fn read(&mut self, store: &Store, page: Set) {
        let other = &store.tombs;
        self.condemned |= other.condemned & page;
        self.condemned_manifests |= other.condemned_manifests & page;
        self.condemned_roots |= other.condemned_roots & page;
        self.condemned_lists |= other.condemned_lists & page;
        self.revoked |= other.revoked & page;
        self.revoked_intents |= other.revoked_intents & page;
        self.forgets |= store.forgets_on(page);
        self.pins |= other.pins & page;
        self.unpins |= other.unpins & page;
    }
}

/// The objects of a store.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// Names of packs.
    pub packs: Set,
    /// Lists, each by the manifest for which it was first written.
    pub lists: Set,
    /// Roots.
    pub roots: Set,
    /// Names of packs that an index segment speaks of.
    pub index: Set,
    /// Manifests.
    pub manifests: Set,
    /// Seals, by manifest.
    pub seals: Set,
    /// Intents.
    pub intents: Set,
    /// All tombs but those that forget.
    pub tombs: Tombs,
    /// Tombs that forget: the numbers of the forgets in each.
    pub forgets: [Set; FORGETS],
}

impl Store {
    /// A listing of all tombs at this moment.
    #[must_use]
    pub fn tombs(&self) -> Tombs {
        Tombs { forgets: self.forgets_on(Set::ALL), ..self.tombs }
    }

    /// The forgets in the tombs of one page: a merged tomb may stand on another page than those that it merges.
    #[must_use]
    pub fn forgets_on(&self, page: Set) -> Set {
        let tombs = self.forgets.iter().enumerate().filter(|(place, _)| page.has(*place as u8));
        tombs.fold(Set::EMPTY, |all, (_, tomb)| all | *tomb)
    }
}

/// Manifests that a sealed one supersedes, as far as these listings tell.
#[must_use]
pub fn superseded(contents: &[Manifest], manifests: Set, counts: impl Fn(u8) -> bool) -> Set {
    manifests.filter(|m| counts(*m)).filter_map(|m| contents[m as usize].supersedes).collect()
}
