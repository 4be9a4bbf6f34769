//! Garbage collection.

use crate::scope::SOURCE;
use crate::seen::Seen;
use crate::world::World;
use crate::{Mutant, Role, Scope, Set, Sweeping};

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
    /// Packs as they were listed at first, where they may have several names.
    listed: Set,
    /// Packs whose condemnation is dropped when all is deleted.
    dropped: Set,
    page: u8,
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
        if scope.replicators() > 0 {
            self.listed = world.store.packs;
        }
        if scope.inventory {
            let (roots, lists) = match scope.sweeping {
                Sweeping::Condemned => self.named(world, seen.roots(world, scope)),
                Sweeping::WithSnapshot => self.named(world, seen.manifests),
            };
            // A replicator is on its way with those that nothing names yet.
            let kept = if seen.intents.is_empty() { Set::EMPTY } else { Set::ALL };
            self.roots = world.store.roots - roots - seen.tombs.condemned_roots - kept;
            self.lists = world.store.lists - lists - seen.tombs.condemned_lists - kept;
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
            _ => self.seen.tombs.read(store, page),
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

    /// Of several names of the same bytes, one that is condemned is not needed when another one serves.
    fn needed_names(&self, live: Set, world: &World, scope: &Scope) -> Set {
        let good = (self.listed - self.seen.tombs.condemned) & live;
        let standing = self.seen.intents - self.seen.tombs.revoked_intents;
        let named = standing.fold(Set::EMPTY, |all, intent| all | world.intents[intent as usize]);
        let replaced = |name: &u8| {
            let others = scope.names(scope.hash(*name)) - Set::of(*name);
            !named.has(*name) && self.seen.tombs.condemned.has(*name) && others.meets(good)
        };
        if self.listed.is_empty() { live } else { live - live.filter(replaced).collect() }
    }

    /// A pin is put before the forget against which it holds: it is looked for after forgets were.
    fn looks_for_pins(&self, scope: &Scope, listed: Step) -> bool {
        let pins = scope.roles.contains(&Role::Pinner) && !scope.is(Mutant::PinsListedWithForgets);
        pins && listed != Step::ListPins
    }

    fn decide(&mut self, world: &mut World, scope: &Scope) {
        let seen = self.seen;
        let live = self.needed_names(seen.live(world, scope), world, scope);
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
        if scope.inventory {
            self.choose_roots_lists(world, scope);
        }
        (self.seen, self.candidates, self.listed) = (Seen::default(), Set::EMPTY, Set::EMPTY);
        self.step = self.sweeping(scope);
    }

    /// Roots and lists that these manifests name.
    fn named(&self, world: &World, manifests: Set) -> (Set, Set) {
        let contents = &world.contents;
        (
            manifests.map(|m| contents[m as usize].root).collect(),
            manifests.map(|m| contents[m as usize].list).collect(),
        )
    }

    fn choose_roots_lists(&mut self, world: &World, scope: &Scope) {
        let seen = self.seen;
        let (needed_roots, needed_lists) = self.named(world, seen.roots(world, scope));
        if scope.is(Mutant::RootsSweptFreely) {
            self.roots = world.store.roots - needed_roots;
        }
        if scope.is(Mutant::ListsSweptFreely) {
            self.lists = world.store.lists - needed_lists;
        }
        self.roots -= needed_roots;
        self.lists -= needed_lists;
        let in_replica = scope.replicators() > 0;
        let sweeps_lists = !in_replica || scope.is(Mutant::ListsSweptInReplica);
        if scope.sweeping == Sweeping::WithSnapshot {
            let (named_roots, named_lists) = self.named(world, seen.manifests);
            let (staying_roots, _) = self.named(world, seen.manifests - self.manifests);
            let (gone_roots, _) = self.named(world, self.manifests);
            let condemned = |list: &u8| {
                let names = scope.all_names(world.contents[*list as usize].closure);
                names.meets(self.candidates) && (names & world.store.packs).within(self.candidates)
            };
            let of_condemned: Set = if sweeps_lists {
                (named_lists - needed_lists).filter(condemned).collect()
            } else {
                Set::EMPTY
            };
            self.roots = (self.roots - named_roots) | (gone_roots - staying_roots);
            self.lists = (self.lists - named_lists) | of_condemned;
        }
        if !seen.intents.is_empty() && scope.sweeping == Sweeping::WithSnapshot {
            self.lists = Set::EMPTY;
        }
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
