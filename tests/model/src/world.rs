//! A store and everybody who works on it: one state of the model.

use crate::collector::Collector;
use crate::merger::Merger;
use crate::pinner::Pinner;
use crate::replicator::Replicator;
use crate::scope::{INTENTS, MANIFESTS, OLD, OLDER, PROCESSES};
use crate::store::{Forgets, Manifest, Store, superseded};
use crate::violation::Violation;
use crate::writer::Writer;
use crate::{Mutant, Role, Scope, Set};

/// A process, and how far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    /// A writer, a compaction or an undo.
    Writer(Writer),
    /// A replicator.
    Replicator(Replicator),
    /// A collector.
    Collector(Collector),
    /// A merger of forgets.
    Merger(Merger),
    /// Whoever pins.
    Pinner(Pinner),
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A process does its next step; where it has a choice, this one.
    Step {
        /// Which process.
        process: u8,
        /// Which of its choices.
        choice: u8,
    },
    /// Somebody forgets a snapshot.
    Forget(u8),
    /// A put that was acknowledged takes effect once more.
    LatePut(Object),
    /// A delete that was acknowledged takes effect once more.
    LateDelete(Object),
}

/// An object that a late request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words of the format")]
pub enum Object {
    Pack(u8),
    Manifest(u8),
    Seal(u8),
}

/// What was ever asked of the store.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    packs: [Set; 2],
    manifests: [Set; 2],
    seals: [Set; 2],
}

/// One state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The objects.
    pub store: Store,
    /// What manifests say, whether they are there or not.
    pub contents: [Manifest; MANIFESTS],
    /// What forgets name, by number.
    pub forgets: Forgets,
    /// Names of packs that intents hold.
    pub intents: [Set; INTENTS],
    /// What replicators may rely on while their intents stand: packs that were not condemned when they put them.
    pub claims: [Set; INTENTS],
    /// The processes of the scope.
    pub processes: [Process; PROCESSES],
    /// Snapshots that were reported.
    pub reported: Set,
    /// Snapshots that somebody forgot.
    pub unwanted: Set,
    /// Those of them that somebody is bringing back.
    pub wanted_again: Set,
    /// Snapshots whose pin was reported.
    pub pinned: Set,
    /// What went wrong in the step before.
    pub wrong: Option<Violation>,
    forgets_left: u8,
    forgets_put: u8,
    late: u8,
    asked: Asked,
}

impl World {
    /// A store with snapshots that were reported; nobody has begun.
    #[must_use]
    pub fn new(scope: &Scope) -> Self {
        let mut contents = [Manifest::default(); MANIFESTS];
        let (mut old, mut packs) = (Set::EMPTY, Set::EMPTY);
        for (id, closure) in scope.old() {
            contents[id as usize] =
                Manifest { closure, snapshot: id, root: id, list: id, ..Manifest::default() };
            old.add(id);
            packs |= closure;
        }
        let mut processes = [Process::Merger(Merger::default()); PROCESSES];
        for (process, role) in processes.iter_mut().zip(&scope.roles) {
            *process = match role {
                Role::Writer | Role::Compactor | Role::Undo => Process::Writer(Writer::default()),
                Role::Replicator => Process::Replicator(Replicator::default()),
                Role::Collector => Process::Collector(Collector::default()),
                Role::Merger => Process::Merger(Merger::default()),
                Role::Pinner => Process::Pinner(Pinner::default()),
            };
        }
        let shelved = if scope.inventory { (old, packs) } else { (Set::EMPTY, Set::EMPTY) };
        Self {
            store: Store {
                packs,
                lists: shelved.0,
                roots: shelved.0,
                index: shelved.1,
                manifests: old,
                seals: old,
                ..Store::default()
            },
            contents,
            forgets: Forgets::default(),
            intents: [Set::EMPTY; INTENTS],
            claims: [Set::EMPTY; INTENTS],
            processes,
            reported: old,
            unwanted: Set::EMPTY,
            wanted_again: Set::EMPTY,
            pinned: Set::EMPTY,
            wrong: None,
            forgets_left: scope.forgets,
            forgets_put: 0,
            late: scope.late,
            asked: Asked {
                packs: [packs, Set::EMPTY],
                manifests: [old, Set::EMPTY],
                seals: [old, Set::EMPTY],
            },
        }
    }

    /// Everything that can happen next.
    pub fn actions(&self, scope: &Scope, actions: &mut Vec<Action>) {
        for (process, role) in scope.roles.iter().enumerate() {
            let choices = match &self.processes[process] {
                Process::Writer(writer) => writer.choices(self, scope, *role),
                Process::Replicator(replicator) => replicator.choices(),
                Process::Collector(collector) => collector.choices(),
                Process::Merger(merger) => merger.choices(self),
                Process::Pinner(pinner) => pinner.choices(self, scope),
            };
            actions.extend(choices.map(|choice| Action::Step { process: process as u8, choice }));
        }
        if self.forgets_left > 0 {
            let wanted = if scope.forget_any { Set::ALL } else { Set::of(OLD) | Set::of(OLDER) };
            let snapshot = |m: u8| self.contents[m as usize].snapshot;
            let snapshots: Set = self.existing(scope).map(snapshot).collect();
            actions.extend((snapshots & wanted).map(Action::Forget));
        }
        if self.late > 0 {
            let store = &self.store;
            let (packs, manifests, seals) = (self.asked.packs, self.asked.manifests, self.asked.seals);
            actions.extend((packs[0] - store.packs).map(|p| Action::LatePut(Object::Pack(p))));
            actions.extend((manifests[0] - store.manifests).map(|m| Action::LatePut(Object::Manifest(m))));
            actions.extend((seals[0] - store.seals).map(|m| Action::LatePut(Object::Seal(m))));
            actions.extend((packs[1] & store.packs).map(|p| Action::LateDelete(Object::Pack(p))));
            actions.extend((manifests[1] & store.manifests).map(|m| Action::LateDelete(Object::Manifest(m))));
            actions.extend((seals[1] & store.seals).map(|m| Action::LateDelete(Object::Seal(m))));
        }
    }

    /// Lets it happen.
    pub fn act(&mut self, scope: &Scope, action: Action) {
        match action {
            Action::Step { process: me, choice } => {
                let next = match self.processes[me as usize] {
                    Process::Writer(writer) => Process::Writer(writer.step(self, scope, me, choice)),
                    Process::Replicator(it) => Process::Replicator(it.step(self, scope, me, choice)),
                    Process::Collector(it) => Process::Collector(it.step(self, scope, choice)),
                    Process::Merger(merger) => Process::Merger(merger.step(self, scope, choice)),
                    Process::Pinner(pinner) => Process::Pinner(pinner.step(self, scope, choice)),
                };
                self.processes[me as usize] = next;
            }
            Action::Forget(snapshot) => {
                let number = self.next_forget();
                self.forgets[number as usize] = Set::of(snapshot);
                self.put_forget(Set::of(number));
                self.unwanted.add(snapshot);
                self.wanted_again.remove(snapshot);
                self.forgets_left -= 1;
            }
            Action::LatePut(object) => {
                match object {
                    Object::Pack(pack) => self.store.packs.add(pack),
                    Object::Manifest(manifest) => self.store.manifests.add(manifest),
                    Object::Seal(manifest) => self.store.seals.add(manifest),
                }
                self.late -= 1;
            }
            Action::LateDelete(object) => {
                match object {
                    Object::Pack(pack) => self.delete_pack(pack),
                    Object::Manifest(manifest) => self.store.manifests.remove(manifest),
                    Object::Seal(manifest) => self.store.seals.remove(manifest),
                }
                self.late -= 1;
            }
        }
        if self.late == 0 {
            // Nobody asks any more.
            self.asked = Asked { packs: [Set::EMPTY, self.asked.packs[1]], ..Asked::default() };
        }
        if self.wrong.is_none() {
            self.wrong = self.violation(scope);
        }
    }

    /// Puts a pack.
    pub fn put_pack(&mut self, pack: u8) {
        if self.asked.packs[1].has(pack) && !self.store.tombs.condemned.has(pack) {
            self.wrong = Some(Violation::NameUsedAgain(pack));
        }
        self.store.packs.add(pack);
        self.asked.packs[0].add(pack);
    }

    /// Puts a manifest.
    pub fn put_manifest(&mut self, manifest: u8) {
        self.store.manifests.add(manifest);
        self.asked.manifests[0].add(manifest);
    }

    /// Puts a seal.
    pub fn put_seal(&mut self, manifest: u8) {
        self.store.seals.add(manifest);
        self.asked.seals[0].add(manifest);
    }

    /// Puts a list and a root.
    pub fn put_list_root(&mut self, list: u8, root: u8) {
        self.store.lists.add(list);
        self.store.roots.add(root);
    }

    /// Deletes a pack.
    pub fn delete_pack(&mut self, pack: u8) {
        if self.store.packs.has(pack) && self.is_claimed(pack) {
            self.wrong = Some(Violation::ClaimedPackDeleted(pack));
        }
        self.store.packs.remove(pack);
        self.asked.packs[1].add(pack);
    }

    /// Deletes a manifest.
    pub fn delete_manifest(&mut self, manifest: u8) {
        self.store.manifests.remove(manifest);
        self.asked.manifests[1].add(manifest);
    }

    /// Deletes a seal.
    pub fn delete_seal(&mut self, manifest: u8) {
        self.store.seals.remove(manifest);
        self.asked.seals[1].add(manifest);
    }

    /// Deletes lists and roots.
    pub fn delete_lists_roots(&mut self, lists: Set, roots: Set) {
        self.store.lists -= lists;
        self.store.roots -= roots;
    }

    /// The number of the next forget.
    ///
    /// # Panics
    /// When the scope has more forgets and mergers than there are numbers.
    #[must_use]
    pub fn next_forget(&self) -> u8 {
        self.forgets.iter().position(|names| names.is_empty()).expect("the scope is small enough") as u8
    }

    /// Puts a tomb that holds these forgets, under a name that no other had.
    pub fn put_forget(&mut self, held: Set) {
        self.store.forgets[self.forgets_put as usize] = held;
        self.forgets_put += 1;
    }

    /// Manifests of snapshots that exist: sealed, not forgotten, not revoked, not superseded.
    #[must_use]
    pub fn existing(&self, scope: &Scope) -> Set {
        let (store, contents) = (&self.store, &self.contents);
        let tombs = store.tombs();
        let sealed = (store.manifests & store.seals) - tombs.revoked;
        let superseded = superseded(contents, sealed, |_| true);
        (sealed - superseded)
            .filter(|m| {
                let needs = &contents[*m as usize];
                let pinned = tombs.pins.has(needs.snapshot) && !tombs.unpins.has(needs.snapshot);
                pinned && scope.is(Mutant::PinBringsBack) || !tombs.forgets(&self.forgets, needs)
            })
            .collect()
    }

    /// Manifests of which everything is there.
    #[must_use]
    pub fn whole(&self, scope: &Scope) -> Set {
        let store = &self.store;
        let whole = |m: &u8| {
            let needs = &self.contents[*m as usize];
            let shelved = !scope.inventory || store.lists.has(needs.list) && store.roots.has(needs.root);
            shelved && scope.lacking(needs.closure, store.packs).is_empty()
        };
        store.manifests.filter(whole).collect()
    }

    /// Whether a replicator whose intent stands may rely on this pack.
    fn is_claimed(&self, pack: u8) -> bool {
        let standing = Set::below(INTENTS as u8) - self.store.tombs.revoked_intents;
        standing.into_iter().any(|intent| self.claims[intent as usize].has(pack))
    }
}
