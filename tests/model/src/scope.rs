//! How large a model is: who takes part, and how often.

use crate::{Mutant, Set};

/// Who a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Makes a snapshot.
    Writer,
    /// Writes packs of a snapshot anew, and seals a manifest that supersedes.
    Compactor,
    /// Seals a manifest of a forgotten snapshot that stands despite the forget.
    Undo,
    /// Carries the snapshot [`SOURCE`] here.
    Replicator,
    /// Collects garbage.
    Collector,
    /// Merges forgets into one.
    Merger,
    /// Pins a snapshot.
    Pinner,
}

/// When a manifest without a seal is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revocation {
    /// As soon as it was listed without a seal; it stays live if the seal is seen afterwards. A snapshot with such a late
    /// revocation has its data, and is not seen by readers: I1 holds for the data alone.
    AtOnce,
    /// Once it was condemned, and listed without a seal after that.
    Announced,
}

/// How roots and lists are swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sweeping {
    /// Those that nothing needs are condemned first, as packs are.
    Condemned,
    /// Those that no manifest names are condemned first. A root goes with its forgotten snapshot; a list when every pack in it
    /// was condemned before, for whoever names it needs one of them, and finds it condemned. Lists of a replica stay: a
    /// replicator puts a pack under a new generation, and cannot do so with a list.
    WithSnapshot,
}

/// How a listing comes. What is put later may well stand on an earlier page, for names are random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Paging {
    /// Of one moment.
    Whole,
    /// First the even numbers, then the odd ones.
    EvenFirst,
    /// First the odd numbers, then the even ones.
    OddFirst,
}

/// The manifest of the snapshot that was there from the beginning; its number is also that of its root, list and snapshot.
pub const OLD: u8 = 0;
/// The manifest of another such snapshot, which shares a pack with the first; where there are two chunks and no replicator.
pub const OLDER: u8 = 16;
/// The manifest that replicators carry here.
pub const SOURCE: u8 = 17;
/// How many manifests there can be.
pub const MANIFESTS: usize = 18;
/// How many intents there can be.
pub const INTENTS: usize = 8;
/// How many processes there can be.
pub const PROCESSES: usize = 6;
/// How many forgets there can be, and tombs that hold them.
pub const FORGETS: usize = 8;

/// The size of a model.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The processes; those that put packs come first.
    pub roles: Vec<Role>,
    /// Chunks, each of which every snapshot holds: one or two. So many packs are shared.
    pub chunks: u8,
    /// How many manifests or intents a process puts at most; after that it gives up.
    pub attempts: u8,
    /// How often a collector goes round.
    pub cycles: u8,
    /// How many snapshots people forget; with the mergers at most [`FORGETS`].
    pub forgets: u8,
    /// Whether they forget any; else only old ones.
    pub forget_any: bool,
    /// How many acknowledged requests take effect once more.
    pub late: u8,
    /// Whether listings come in pages, between which others go on.
    pub paging: Paging,
    /// Whether there are lists, roots and an index.
    pub inventory: bool,
    /// How roots and lists go.
    pub sweeping: Sweeping,
    /// When manifests are revoked.
    pub revocation: Revocation,
    /// What is done wrong.
    pub mutant: Option<Mutant>,
    /// Every name of the bytes of a chunk that the source calls by this number.
    generations: [Set; 2],
}

impl Scope {
    /// A scope with these processes, and as little as possible of everything else.
    ///
    /// # Panics
    /// When more takes part than the model has numbers for.
    #[must_use]
    pub fn new(roles: &[Role], chunks: u8, attempts: u8) -> Self {
        let mut scope = Self {
            roles: roles.to_vec(),
            chunks,
            attempts,
            cycles: 1,
            forgets: 1,
            forget_any: false,
            late: 0,
            paging: Paging::Whole,
            inventory: false,
            sweeping: Sweeping::Condemned,
            revocation: Revocation::Announced,
            mutant: None,
            generations: [Set::EMPTY; 2],
        };
        let putting = roles.iter().take_while(|role| scope.puts(**role)).count() as u8;
        assert!(roles.iter().filter(|role| scope.puts(**role)).count() as u8 == putting, "they come first");
        assert!(roles.len() <= PROCESSES && (1..=2).contains(&chunks));
        assert!(u32::from(chunks) * (1 + u32::from(putting) * u32::from(attempts)) <= 32, "too many packs");
        assert!(putting * attempts < OLDER, "too many manifests");
        assert!(scope.replicators() as u8 * attempts <= INTENTS as u8, "too many intents");
        for hash in 0..chunks {
            let replicators = (0..putting).filter(|p| roles[*p as usize] == Role::Replicator);
            let names = replicators.flat_map(|p| (0..attempts).map(move |a| (p, a)));
            scope.generations[hash as usize] =
                Set::of(hash) | names.map(|(p, a)| scope.pack(p, a, hash)).collect();
        }
        scope
    }

    /// The same, with more of something.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn puts(&self, role: Role) -> bool {
        !matches!(role, Role::Collector | Role::Merger | Role::Pinner)
    }

    /// Whether this is what is done wrong.
    #[must_use]
    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether manifests are condemned before they are revoked.
    #[must_use]
    pub fn announces(&self) -> bool {
        self.revocation == Revocation::Announced
    }

    /// How many replicators there are.
    #[must_use]
    pub fn replicators(&self) -> usize {
        self.roles.iter().filter(|role| **role == Role::Replicator).count()
    }

    /// The snapshots that are there from the beginning, with their packs. Where replicators come, there is only one, and it lacks
    /// a pack that the source's snapshot needs.
    #[must_use]
    pub fn old(&self) -> Vec<(u8, Set)> {
        let one = Set::of(0);
        match (self.chunks, self.replicators()) {
            (2, 0) => vec![(OLD, Set::below(2)), (OLDER, Set::of(1))],
            _ => vec![(OLD, one)],
        }
    }

    /// The packs (hashes) of the source's snapshot.
    #[must_use]
    pub fn source_packs(&self) -> Set {
        Set::below(self.chunks)
    }

    /// The list of the source's snapshot. One that needs the same packs as the old snapshot has the same list.
    #[must_use]
    pub fn source_list(&self) -> u8 {
        if self.chunks == 1 { OLD } else { SOURCE }
    }

    /// The name under which a process puts a chunk.
    #[must_use]
    pub fn pack(&self, process: u8, attempt: u8, chunk: u8) -> u8 {
        self.chunks + (process * self.attempts + attempt) * self.chunks + chunk
    }

    /// The manifest that a process puts.
    #[must_use]
    pub fn manifest(&self, process: u8, attempt: u8) -> u8 {
        1 + process * self.attempts + attempt
    }

    /// The intent that a replicator puts.
    #[must_use]
    pub fn intent(&self, process: u8, attempt: u8) -> u8 {
        let first = self.roles.iter().position(|role| *role == Role::Replicator).unwrap_or_default() as u8;
        (process - first) * self.attempts + attempt
    }

    /// The chunk in this pack.
    #[must_use]
    pub fn chunk(&self, pack: u8) -> u8 {
        pack % self.chunks
    }

    /// The hash of the bytes that lie under this name, written as the name that they had first.
    #[must_use]
    pub fn hash(&self, pack: u8) -> u8 {
        let chunk = self.chunk(pack);
        if self.generations[chunk as usize].has(pack) { chunk } else { pack }
    }

    /// Every name of the bytes with this hash.
    #[must_use]
    pub fn names(&self, hash: u8) -> Set {
        if hash < self.chunks { self.generations[hash as usize] } else { Set::of(hash) }
    }

    /// Those hashes of a closure for which no name is among these.
    #[must_use]
    pub fn lacking(&self, closure: Set, names: Set) -> Set {
        (closure - names).filter(|hash| !self.names(*hash).meets(names)).collect()
    }

    /// Every name of the hashes of a closure.
    #[must_use]
    pub fn all_names(&self, closure: Set) -> Set {
        closure.fold(closure, |all, hash| all | self.names(hash))
    }

    /// How many pages a listing has.
    #[must_use]
    pub fn pages(&self) -> u8 {
        if self.paging == Paging::Whole { 1 } else { 2 }
    }

    /// What stands on a page.
    #[must_use]
    pub fn page(&self, page: u8) -> Set {
        match (self.paging, page) {
            (Paging::Whole, _) => Set::ALL,
            (Paging::EvenFirst, 0) | (Paging::OddFirst, 1) => Set::EVEN,
            _ => Set::ODD,
        }
    }

    /// Whether a manifest is dead for a collector that saw it revoked, with or without a seal.
    #[must_use]
    pub fn revoked_is_dead(&self, sealed: bool) -> bool {
        self.announces() || !sealed
    }
}
