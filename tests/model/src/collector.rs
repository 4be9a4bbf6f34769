//! Garbage collection.

use crate::scope::SOURCE;
use crate::store::{Tombs, superseded};
use crate::world::World;
use crate::{Mutant, Role, Scope, Set};

/// The step that comes next. `wait_grace` lies between [`Step::Condemn`] and [`Step::ListSealsToRevoke`]: every process waits as
/// long as it likes before every step.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    #[default]
    ListRoots,
    ListPacks,
    Condemn,
    ListSealsToRevoke,
    Revoke,
    ListManifests,
    ListIntents,
    ListSeals,
    ListRevocations,
    ListPins,
    SweepSeals,
    SweepManifests,
    SweepListsRoots,
    SweepIndex,
    SweepPacks,
    DropTombs,
    Done,
}

/// What a collector saw.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
struct Seen {
    manifests: Set,
    intents: Set,
    seals: Set,
    tombs: Tombs,
}

/// A collector.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub struct Collector {
    /// What comes next.
    pub step: Step,
    /// How often it went round.
    cycle: u8,
    seen: Seen,
    /// Packs to condemn; later those that were condemned before manifests were listed again.
    candidates: Set,
    /// Manifests without a seal: to condemn, then to revoke.
    unsealed: Set,
    /// Intents to revoke.
    intents: Set,
    /// Seals and manifests that are to be deleted.
    seals: Set,
    manifests: Set,
    /// Roots and lists: the same as with packs.
    roots: Set,
    lists: Set,
    /// Packs that are to be deleted.
    pub packs: Set,
    /// Packs whose condemnation is dropped when all is deleted.
    dropped: Set,
    page: u8,
}

impl Seen {
    /// Manifests that count.
    fn roots(&self, world: &World, scope: &Scope) -> Set {
        let contents = &world.contents;
        let superseded = superseded(contents, self.manifests, |m| {
            let sealed = self.seals.has(m) || scope.is(Mutant::SupersededBeforeSeal);
            let revoked = self.tombs.revoked.has(m) && !scope.is(Mutant::RevokedSupersedes);
            let condemned = self.tombs.condemned_manifests.has(m)
                && !scope.is(Mutant::CondemnedSupersedes)
                && !scope.is(Mutant::RevokedSupersedes);
            sealed && !revoked && !condemned
        });
        let revoked = self.tombs.revoked.filter(|m| scope.revoked_is_dead(self.seals.has(*m))).collect();
        self.manifests - superseded - revoked - self.forgotten(world)
    }

    /// Manifests of snapshots that are forgotten, and not pinned.
    fn forgotten(&self, world: &World) -> Set {
        let pinned = self.tombs.pins - self.tombs.unpins;
        let forgets = |m: &u8| {
            let needs = &world.contents[*m as usize];
            !pinned.has(needs.root) && self.tombs.forgets(&world.forgets, needs)
        };
        self.manifests.filter(forgets).collect()
    }

    /// Names of packs that something needs.
    fn live(&self, world: &World, scope: &Scope) -> Set {
        let roots = self.roots(world, scope);
        let hashes = roots.fold(Set::EMPTY, |all, m| all | world.contents[m as usize].closure);
        let named = (self.intents - self.tombs.revoked_intents)
            .fold(Set::EMPTY, |all, intent| all | world.intents[intent as usize]);
        scope.all_names(hashes) | named
    }
}

impl Collector {
    /// What can be done next: one number for each choice.
    pub fn choices(&self) -> Set {
        match self.step {
            Step::Done => Set::EMPTY,
            // Revoking is optional.
            Step::Revoke => Set::below(2),
            Step::SweepSeals => self.seals,
            Step::SweepManifests => self.manifests,
            Step::SweepPacks => self.packs,
            _ => Set::of(0),
        }
    }

    /// Does it.
    pub fn step(mut self, world: &mut World, scope: &Scope, choice: u8) -> Self {
        match self.step {
            Step::ListRoots => {
                let store = &world.store;
                self.seen = Seen {
                    manifests: store.manifests,
                    intents: store.intents,
                    seals: store.seals,
                    tombs: store.tombs(),
                };
                self.step = Step::ListPacks;
            }
            Step::ListPacks => self.choose(world, scope),
            Step::Condemn => self.condemn(world, scope),
            Step::ListSealsToRevoke => {
                if !self.revokes_by_first_listing(scope) {
                    self.unsealed -= world.store.seals;
                }
                self.step = self.revoke_or_list(scope);
            }
            Step::Revoke => {
                if choice == 0 {
                    world.store.tombs.revoked |= self.unsealed;
                    world.store.tombs.revoked_intents |= self.intents;
                }
                self.step = self.listing(scope);
            }
            Step::SweepSeals => {
                world.delete_seal(choice);
                self.seals.remove(choice);
                self.step = self.sweeping(scope);
            }
            Step::SweepManifests => {
                world.delete_manifest(choice);
                self.manifests.remove(choice);
                self.step = self.sweeping(scope);
            }
            Step::SweepListsRoots => {
                world.delete_lists_roots(self.lists, self.roots);
                (self.lists, self.roots) = (Set::EMPTY, Set::EMPTY);
                self.step = self.sweeping(scope);
            }
            Step::SweepIndex => {
                world.store.index -= self.packs;
                self.step = Step::SweepPacks;
            }
            Step::SweepPacks => {
                world.delete_pack(choice);
                self.packs.remove(choice);
                self.step = self.sweeping(scope);
            }
            Step::DropTombs => {
                world.store.tombs.condemned -= self.dropped;
                self.end_round(scope);
            }
            Step::Done => {}
            listing => self.list_again(world, scope, listing),
        }
        if self.step == Step::Done {
            return Self { step: Step::Done, ..Self::default() };
        }
        self
    }

    /// What nobody needs is to be condemned; so are manifests without a seal, which belong to a writer that died, or to one that
    /// is slow. Those that an intent names are a replicator's, which cannot write them anew.
    fn choose(&mut self, world: &World, scope: &Scope) {
        let seen = self.seen;
        self.candidates = (world.store.packs - seen.live(world, scope)) - seen.tombs.condemned;
        let of_replicators = if seen.intents.is_empty() { Set::EMPTY } else { Set::of(SOURCE) };
        self.unsealed =
            seen.manifests - seen.seals - seen.tombs.revoked - of_replicators - seen.forgotten(world);
        self.intents = seen.intents - seen.tombs.revoked_intents;
        if scope.inventory {
            let (roots, lists) = self.needed(world, scope);
            self.roots = world.store.roots - roots - seen.tombs.condemned_roots - of_replicators;
            self.lists = world.store.lists - lists - seen.tombs.condemned_lists - of_replicators;
        }
        if scope.is(Mutant::RootsSweptFreely) {
            self.roots = Set::EMPTY;
        }
        if scope.is(Mutant::ListsSweptFreely) {
            self.lists = Set::EMPTY;
        }
        let announced =
            if scope.announces() { self.unsealed - seen.tombs.condemned_manifests } else { Set::EMPTY };
        let nothing = (self.candidates | announced | self.roots | self.lists).is_empty();
        self.step = if nothing { self.after_condemn(scope) } else { Step::Condemn };
    }

    fn condemn(&mut self, world: &mut World, scope: &Scope) {
        world.store.tombs.condemned |= self.candidates;
        world.store.tombs.condemned_roots |= self.roots;
        world.store.tombs.condemned_lists |= self.lists;
        if scope.announces() && !scope.is(Mutant::RevokedAtOnce) {
            world.store.tombs.condemned_manifests |= self.unsealed;
        }
        self.step = self.after_condemn(scope);
    }

    fn revokes_by_first_listing(&self, scope: &Scope) -> bool {
        !scope.announces() || scope.is(Mutant::RevokedAtOnce) || scope.is(Mutant::SealsListedBeforeManifests)
    }

    fn after_condemn(&mut self, scope: &Scope) -> Step {
        // Condemned by this collector, or, as it saw before, by another: all of it before manifests are listed again.
        self.candidates |= self.seen.tombs.condemned;
        self.roots |= self.seen.tombs.condemned_roots;
        self.lists |= self.seen.tombs.condemned_lists;
        if !scope.is(Mutant::NoListingAfterCondemn) {
            self.seen = Seen::default();
        }
        if self.unsealed.is_empty() || self.revokes_by_first_listing(scope) {
            self.revoke_or_list(scope)
        } else {
            Step::ListSealsToRevoke
        }
    }

    fn revoke_or_list(&self, scope: &Scope) -> Step {
        let nothing = self.unsealed.is_empty() && self.intents.is_empty();
        if nothing { self.listing(scope) } else { Step::Revoke }
    }

    /// The first of the listings that decide.
    fn listing(&self, scope: &Scope) -> Step {
        match scope.mutant {
            Some(Mutant::NoListingAfterCondemn) => Step::ListRevocations,
            Some(Mutant::SealsListedBeforeManifests) => Step::ListSeals,
            _ => Step::ListManifests,
        }
    }

    fn list_again(&mut self, world: &mut World, scope: &Scope, listing: Step) {
        (self.unsealed, self.intents) = (Set::EMPTY, Set::EMPTY);
        let page = scope.page(self.page);
        let store = &world.store;
        match listing {
            Step::ListManifests => self.seen.manifests |= store.manifests & page,
            Step::ListIntents => self.seen.intents |= store.intents & page,
            Step::ListSeals => self.seen.seals |= store.seals & page,
            Step::ListPins => {
                self.seen.tombs.pins |= store.tombs.pins & page;
                self.seen.tombs.unpins |= store.tombs.unpins & page;
            }
            _ => self.seen.tombs.read(store.tombs(), page),
        }
        self.page = (self.page + 1) % scope.pages();
        if self.page != 0 {
            return;
        }
        let seals_first = scope.is(Mutant::SealsListedBeforeManifests);
        // What supersedes must be seen to be neither condemned nor revoked after its seal was seen.
        let tombs_last = scope.announces() && !scope.is(Mutant::CondemnedSupersedes) || seals_first;
        let after_manifests =
            if tombs_last && !seals_first { Step::ListSeals } else { Step::ListRevocations };
        let has_intents = scope.roles.contains(&Role::Replicator);
        let next = match listing {
            Step::ListManifests if has_intents => Some(Step::ListIntents),
            Step::ListManifests | Step::ListIntents => Some(after_manifests),
            Step::ListSeals if seals_first => Some(Step::ListManifests),
            Step::ListSeals if tombs_last => Some(Step::ListRevocations),
            Step::ListRevocations if !tombs_last && !scope.is(Mutant::NoListingAfterCondemn) => {
                Some(Step::ListSeals)
            }
            _ => None,
        };
        match next {
            Some(next) => self.step = next,
            None if self.looks_for_pins(scope, listing) => self.step = Step::ListPins,
            None => self.decide(world, scope),
        }
    }

    /// A pin is put before the forget against which it holds: it is looked for after forgets were.
    fn looks_for_pins(&self, scope: &Scope, listed: Step) -> bool {
        let pins = scope.roles.contains(&Role::Pinner) && !scope.is(Mutant::PinsListedWithForgets);
        pins && listed != Step::ListPins
    }

    fn decide(&mut self, world: &mut World, scope: &Scope) {
        let seen = self.seen;
        let live = seen.live(world, scope);
        if scope.is(Mutant::CondemnedAfterManifests) {
            self.candidates |= seen.tombs.condemned;
        }
        if scope.is(Mutant::CondemnationWithdrawn) {
            world.store.tombs.condemned -= self.candidates & live;
        }
        self.packs = self.candidates - live;
        if scope.is(Mutant::TombsDroppedPacksListedFirst) {
            self.dropped = self.packs;
        }
        self.manifests = seen.forgotten(world);
        self.seals = self.manifests & seen.seals;
        let (roots, lists) = self.needed(world, scope);
        if scope.is(Mutant::RootsSweptFreely) {
            self.roots = world.store.roots;
        }
        if scope.is(Mutant::ListsSweptFreely) {
            self.lists = world.store.lists;
        }
        self.roots -= roots;
        self.lists -= lists;
        (self.seen, self.candidates) = (Seen::default(), Set::EMPTY);
        self.step = self.sweeping(scope);
    }

    /// Roots and lists that a manifest needs which counts.
    fn needed(&self, world: &World, scope: &Scope) -> (Set, Set) {
        let (roots, contents) = (self.seen.roots(world, scope), &world.contents);
        (
            roots.map(|m| contents[m as usize].root).collect(),
            roots.map(|m| contents[m as usize].list).collect(),
        )
    }

    /// What is to be deleted next: seals, manifests, lists and roots, index, packs.
    fn sweeping(&mut self, scope: &Scope) -> Step {
        if !self.seals.is_empty() {
            Step::SweepSeals
        } else if !self.manifests.is_empty() {
            Step::SweepManifests
        } else if !(self.lists | self.roots).is_empty() {
            Step::SweepListsRoots
        } else if !self.packs.is_empty() {
            let begins = self.step != Step::SweepPacks && scope.inventory;
            if begins { Step::SweepIndex } else { Step::SweepPacks }
        } else if !self.dropped.is_empty() {
            Step::DropTombs
        } else {
            self.end_round(scope);
            self.step
        }
    }

    fn end_round(&mut self, scope: &Scope) {
        let cycle = self.cycle + 1;
        let step = if cycle < scope.cycles { Step::ListRoots } else { Step::Done };
        *self = Self { cycle, step, ..Self::default() };
    }
}
