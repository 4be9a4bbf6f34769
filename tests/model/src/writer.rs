//! Whoever seals manifests: a backup, a compaction, the undoing of a forget.

use crate::scope::OLD;
use crate::store::Manifest;
use crate::world::World;
use crate::{Mutant, Role, Scope, Set};

/// The step that comes next.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    #[default]
    ListTombsManifestsSealsIndex,
    PutPacks,
    PutListsRootIndex,
    PutManifest,
    ListTombs,
    ListPacks,
    PutSeal,
    ListRevocations,
    Done,
}

/// A writer.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    /// What comes next.
    pub step: Step,
    /// How many manifests were given up.
    pub attempt: u8,
    /// The manifest to supersede.
    base: Option<u8>,
    /// What the manifest will need.
    closure: Set,
    /// Packs to put yet.
    fresh: Set,
    /// Forgets despite which the manifest stands.
    despite: Set,
    /// Condemned packs, as they were listed.
    condemned: Set,
    /// Whether the manifest, its root or its list was condemned in that listing.
    given_up: bool,
    /// Packs, as they were listed.
    listed: Set,
    /// Packs that count as there, whatever is listed.
    trusted: Set,
    /// Whether the list of the old snapshot is there to be shared.
    old_list: bool,
    /// Pages that were listed.
    page: u8,
}

impl Writer {
    /// What can be done next: one number for each choice.
    pub fn choices(&self, world: &World, scope: &Scope, role: Role) -> Set {
        match self.step {
            Step::Done => Set::EMPTY,
            Step::ListTombsManifestsSealsIndex => match role {
                Role::Compactor => world.existing(scope) & world.whole(scope),
                Role::Undo => {
                    let store = &world.store;
                    let tombs = store.tombs();
                    let gone = |m: &u8| tombs.forgets(&world.forgets, &world.contents[*m as usize]);
                    ((store.manifests & store.seals) - tombs.revoked).filter(gone).collect()
                }
                _ => Set::of(0),
            },
            Step::PutPacks => self.fresh,
            _ => Set::of(0),
        }
    }

    /// Does it.
    pub fn step(mut self, world: &mut World, scope: &Scope, me: u8, choice: u8) -> Self {
        let role = scope.roles[me as usize];
        let manifest = scope.manifest(me, self.attempt);
        match self.step {
            Step::ListTombsManifestsSealsIndex => self.begin(world, scope, me, choice),
            Step::PutPacks => {
                world.put_pack(choice);
                self.fresh.remove(choice);
                if self.fresh.is_empty() {
                    self.step = Step::PutListsRootIndex;
                }
            }
            Step::PutListsRootIndex => self.put_lists_root_index(world, scope, role, manifest),
            Step::PutManifest => {
                world.put_manifest(manifest);
                self.step = match scope.mutant {
                    Some(Mutant::NoCheckBeforeSeal | Mutant::CheckBeforeIntent) => Step::PutSeal,
                    Some(Mutant::UndoAfterSweep) if role == Role::Undo => Step::PutSeal,
                    _ => self.first_of_check(scope),
                };
            }
            Step::ListTombs => {
                if !scope.is(Mutant::StaleListing) {
                    self.condemned |= world.store.tombs.condemned & scope.page(self.page);
                    self.given_up |= self.is_given_up(world, scope, manifest, scope.page(self.page));
                }
                if self.next_page(scope) {
                    self.step = Step::ListPacks;
                    if scope.is(Mutant::TombsDroppedPacksListedFirst) {
                        self.check(world, scope, me);
                    }
                }
            }
            Step::ListPacks => {
                self.listed |= world.store.packs & scope.page(self.page);
                if self.next_page(scope) {
                    self.step = Step::ListTombs;
                    if !scope.is(Mutant::TombsDroppedPacksListedFirst) {
                        self.check(world, scope, me);
                    }
                }
            }
            Step::PutSeal => {
                if scope.is(Mutant::IntentAndSealInOne) {
                    world.put_manifest(manifest);
                }
                world.put_seal(manifest);
                self.step = Step::ListRevocations;
                if scope.is(Mutant::SuccessBeforeRevocationCheck) || scope.is(Mutant::NoRevocationCheck) {
                    self.report(world, role, manifest);
                }
                if scope.is(Mutant::NoRevocationCheck) {
                    self.step = Step::Done;
                }
            }
            Step::ListRevocations => {
                if self.is_given_up(world, scope, manifest, Set::ALL) {
                    self.anew(world, scope, role, manifest);
                } else {
                    self.report(world, role, manifest);
                    self.step = Step::Done;
                }
            }
            Step::Done => {}
        }
        if self.step == Step::Done {
            return Self { step: Step::Done, ..Self::default() };
        }
        self
    }

    fn begin(&mut self, world: &mut World, scope: &Scope, me: u8, choice: u8) {
        let store = world.store;
        let role = scope.roles[me as usize];
        if role == Role::Writer {
            let known = if scope.is(Mutant::IndexAsProof) { store.index } else { store.packs };
            let usable = known - store.tombs.condemned;
            for chunk in 0..scope.chunks {
                match { usable }.find(|pack| scope.chunk(*pack) == chunk) {
                    Some(pack) => {
                        self.closure.add(scope.hash(pack));
                        if scope.is(Mutant::IndexAsProof) {
                            self.trusted.add(pack);
                        }
                    }
                    None => self.fresh.add(scope.pack(me, 0, chunk)),
                }
            }
        } else {
            let base = world.contents[choice as usize];
            self.base = Some(choice);
            self.closure = base.closure;
            self.despite = base.despite;
            if role == Role::Undo {
                let names = |forget: &u8| world.forgets[*forget as usize].has(base.snapshot);
                self.despite |= store.tombs().forgets.filter(names).collect();
                world.wanted_again.add(base.snapshot);
            } else {
                if scope.is(Mutant::DespiteLostInCompaction) {
                    self.despite = Set::EMPTY;
                }
                // One of two packs stays as it is.
                let old: Set = self.closure.filter(|pack| scope.chunk(*pack) == 0).collect();
                self.closure -= old;
                self.fresh = Set::of(scope.pack(me, 0, 0));
            }
        }
        self.closure |= self.fresh;
        self.old_list = store.lists.has(OLD) && !store.tombs.condemned_lists.has(OLD);
        if scope.is(Mutant::StaleListing) {
            self.condemned = store.tombs.condemned;
        }
        self.step = if self.fresh.is_empty() { Step::PutListsRootIndex } else { Step::PutPacks };
    }

    fn put_lists_root_index(&mut self, world: &mut World, scope: &Scope, role: Role, manifest: u8) {
        let shares = self.old_list && self.closure.within(world.contents[OLD as usize].closure);
        // A compaction or an undo says anew what the same snapshot needs.
        let base = self.base.map(|base| world.contents[base as usize]);
        let snapshot = base.map_or(manifest, |base| base.snapshot);
        // An undo stores the root anew: the old one may go with what was forgotten.
        let kept = base.filter(|_| role == Role::Compactor || scope.is(Mutant::UndoKeepsRoot));
        let root = kept.map_or(manifest, |base| base.root);
        let list = if shares { OLD } else { manifest };
        world.contents[manifest as usize] = Manifest {
            closure: self.closure,
            snapshot,
            root,
            list,
            supersedes: self.base,
            despite: self.despite,
        };
        if scope.inventory {
            world.put_list_root(list, root);
            world.store.index |= self.closure;
        }
        self.step = match scope.mutant {
            Some(Mutant::CheckBeforeIntent | Mutant::IntentAndSealInOne) => self.first_of_check(scope),
            _ => Step::PutManifest,
        };
    }

    fn first_of_check(&mut self, scope: &Scope) -> Step {
        if !scope.is(Mutant::StaleListing) {
            self.condemned = Set::EMPTY;
        }
        self.listed = Set::EMPTY;
        if scope.is(Mutant::TombsDroppedPacksListedFirst) { Step::ListPacks } else { Step::ListTombs }
    }

    /// Whether that was the last page.
    fn next_page(&mut self, scope: &Scope) -> bool {
        self.page = (self.page + 1) % scope.pages();
        self.page == 0
    }

    fn check(&mut self, world: &World, scope: &Scope, me: u8) {
        let usable = (self.listed - self.condemned) | self.trusted;
        let lost = scope.lacking(self.closure, usable);
        if !scope.is(Mutant::StaleListing) {
            self.condemned = Set::EMPTY;
        }
        self.listed = Set::EMPTY;
        if lost.is_empty() && std::mem::take(&mut self.given_up) {
            let manifest = scope.manifest(me, self.attempt);
            self.anew(world, scope, scope.roles[me as usize], manifest);
            return;
        }
        if lost.is_empty() {
            self.step = match scope.mutant {
                Some(Mutant::CheckBeforeIntent) => Step::PutManifest,
                _ => Step::PutSeal,
            };
            return;
        }
        let role = scope.roles[me as usize];
        // A compaction has the bytes as long as its snapshot has them; an undo has nothing to write from.
        let can_read = role != Role::Compactor || self.base.is_some_and(|base| world.whole(scope).has(base));
        if role == Role::Undo || !can_read {
            self.step = Step::Done;
            return;
        }
        self.again(scope, Step::PutPacks);
        if scope.is(Mutant::PackNamesReused) {
            self.fresh = lost;
            self.trusted |= lost;
            return;
        }
        self.closure -= lost;
        self.fresh = lost.map(|hash| scope.pack(me, self.attempt, scope.chunk(hash))).collect();
        self.closure |= self.fresh;
    }

    /// Whether a collector counts on this manifest, its root or its list no more.
    fn is_given_up(&self, world: &World, scope: &Scope, manifest: u8, page: Set) -> bool {
        let (tombs, needs) = (&world.store.tombs, &world.contents[manifest as usize]);
        let announced = scope.announces() && !scope.is(Mutant::CondemnedManifestIgnored);
        let shelved = !scope.is(Mutant::CondemnedListIgnored);
        (tombs.revoked & page).has(manifest)
            || announced && (tombs.condemned_manifests & page).has(manifest)
            || shelved && (tombs.condemned_roots & page).has(needs.root)
            || shelved && (tombs.condemned_lists & page).has(needs.list)
    }

    /// The same snapshot under a new manifest, with a new list. A compaction keeps the root, and gives up.
    fn anew(&mut self, world: &World, scope: &Scope, role: Role, manifest: u8) {
        let root = world.contents[manifest as usize].root;
        if role == Role::Compactor && world.store.tombs.condemned_roots.has(root) {
            self.step = Step::Done;
            return;
        }
        self.old_list = false;
        self.again(scope, Step::PutListsRootIndex);
    }

    /// As a new manifest.
    fn again(&mut self, scope: &Scope, from: Step) {
        self.attempt += 1;
        self.step = if self.attempt < scope.attempts { from } else { Step::Done };
        self.attempt = self.attempt.min(scope.attempts - 1);
    }

    fn report(&self, world: &mut World, role: Role, manifest: u8) {
        let needs = world.contents[manifest as usize];
        match role {
            Role::Compactor => {}
            // Who forgets it again wants it forgotten.
            Role::Undo if world.store.tombs().forgets(&world.forgets, &needs) => {}
            Role::Undo => world.unwanted.remove(needs.snapshot),
            _ => world.reported.add(needs.snapshot),
        }
    }
}
