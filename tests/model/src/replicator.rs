//! Carries one snapshot here, as it is, without a key.

use crate::scope::SOURCE;
use crate::store::{Manifest, Tombs};
use crate::world::World;
use crate::{Mutant, Scope, Set};

/// The step that comes next.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    #[default]
    ListTarget,
    PutIntent,
    DropReplacedIntent,
    CopyPacks,
    CopyListsRoot,
    CopyManifest,
    ListTombs,
    ListPacks,
    CopySeal,
    ListRevocations,
    DropIntents,
    Done,
}

/// A replicator.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub struct Replicator {
    /// What comes next.
    pub step: Step,
    /// How many intents were not enough.
    pub attempt: u8,
    /// What the snapshot rests on, or will: names of packs.
    names: Set,
    /// Packs to put yet.
    fresh: Set,
    /// Condemned packs, as they were listed.
    condemned: Set,
    /// Whether a collector here counts on the manifest, its root or its list no more, as it was listed.
    given_up: bool,
    /// Packs, as they were listed.
    listed: Set,
    /// Packs that count as there, whatever is condemned.
    trusted: Set,
    /// Whether the list was there already.
    has_list: bool,
    /// Whether list, root and manifest were carried.
    carried: bool,
    page: u8,
}

impl Replicator {
    /// What can be done next: one number for each choice.
    pub fn choices(&self) -> Set {
        match self.step {
            Step::Done => Set::EMPTY,
            Step::CopyPacks => self.fresh,
            _ => Set::of(0),
        }
    }

    /// Does it.
    pub fn step(mut self, world: &mut World, scope: &Scope, me: u8, choice: u8) -> Self {
        match self.step {
            Step::ListTarget => self.plan(world, scope, me),
            Step::PutIntent => self.put_intent(world, scope, me),
            Step::DropReplacedIntent => {
                world.store.intents.remove(scope.intent(me, self.attempt - 1));
                self.step = self.after_intent();
            }
            Step::CopyPacks => {
                world.put_pack(choice);
                self.fresh.remove(choice);
                if self.fresh.is_empty() {
                    self.step = if self.carried { Step::ListTombs } else { Step::CopyListsRoot };
                }
            }
            Step::CopyListsRoot => {
                if scope.inventory {
                    world.store.roots.add(SOURCE);
                    if !self.has_list {
                        world.store.lists.add(scope.source_list());
                    }
                }
                self.step = Step::CopyManifest;
            }
            Step::CopyManifest => {
                world.put_manifest(SOURCE);
                self.carried = true;
                self.step = Step::ListTombs;
            }
            Step::ListTombs => {
                self.condemned |= world.store.tombs.condemned & scope.page(self.page);
                self.given_up |= is_given_up(scope, &world.store.tombs);
                self.page = (self.page + 1) % scope.pages();
                if self.page == 0 {
                    self.step = Step::ListPacks;
                }
            }
            Step::ListPacks => {
                self.listed |= world.store.packs & scope.page(self.page);
                self.page = (self.page + 1) % scope.pages();
                if self.page == 0 {
                    self.check(scope, me);
                }
            }
            Step::CopySeal => {
                world.put_seal(SOURCE);
                self.step = Step::ListRevocations;
            }
            Step::ListRevocations => {
                let tombs = world.store.tombs;
                if tombs.revoked_intents.has(scope.intent(me, self.attempt)) {
                    self.again(scope);
                } else {
                    if !is_given_up(scope, &tombs) {
                        world.reported.add(SOURCE);
                    }
                    self.step = Step::DropIntents;
                }
            }
            Step::DropIntents => {
                world.store.intents -= (0..=self.attempt).map(|a| scope.intent(me, a)).collect();
                self.step = Step::Done;
            }
            Step::Done => {}
        }
        if self.step == Step::Done {
            // Who gave up claims nothing any more.
            (0..scope.attempts).for_each(|a| world.claims[scope.intent(me, a) as usize] = Set::EMPTY);
            return Self { step: Step::Done, ..Self::default() };
        }
        self
    }

    fn plan(&mut self, world: &mut World, scope: &Scope, me: u8) {
        let store = &world.store;
        let tombs = store.tombs();
        let manifest = Manifest {
            closure: scope.source_packs(),
            snapshot: SOURCE,
            root: SOURCE,
            list: scope.source_list(),
            ..Manifest::default()
        };
        let whole = store.seals.has(SOURCE) && scope.lacking(scope.source_packs(), store.packs).is_empty();
        if is_given_up(scope, &tombs) || tombs.forgets(&world.forgets, &manifest) || whole {
            self.step = Step::Done;
            return;
        }
        world.contents[SOURCE as usize] = manifest;
        self.has_list = store.lists.has(scope.source_list());
        let used = store.packs | tombs.condemned;
        for hash in scope.source_packs() {
            let usable = (store.packs - tombs.condemned) & scope.names(hash);
            self.names |= usable;
            if usable.is_empty() {
                let again = used.has(hash) && !scope.is(Mutant::GenerationReused);
                let name = if again { scope.pack(me, 0, hash) } else { hash };
                self.names.add(name);
                self.fresh.add(name);
                if scope.is(Mutant::GenerationReused) {
                    self.trusted.add(name);
                }
            }
        }
        self.step = Step::PutIntent;
    }

    fn put_intent(&mut self, world: &mut World, scope: &Scope, me: u8) {
        let intent = scope.intent(me, self.attempt);
        world.claims[intent as usize] = self.names - world.store.tombs.condemned;
        if !scope.is(Mutant::NoIntent) {
            world.intents[intent as usize] = self.names;
            world.store.intents.add(intent);
        }
        let replaces = self.attempt > 0 && scope.is(Mutant::IntentReplaced);
        self.step = if replaces { Step::DropReplacedIntent } else { self.after_intent() };
    }

    fn after_intent(&self) -> Step {
        match (self.fresh.is_empty(), self.carried) {
            (false, _) => Step::CopyPacks,
            (true, false) => Step::CopyListsRoot,
            (true, true) => Step::ListTombs,
        }
    }

    fn check(&mut self, scope: &Scope, me: u8) {
        let usable = (self.listed - self.condemned) | self.trusted;
        let lost = scope.lacking(scope.source_packs(), usable);
        (self.condemned, self.listed) = (Set::EMPTY, Set::EMPTY);
        if self.given_up {
            self.step = Step::DropIntents;
            return;
        }
        if lost.is_empty() {
            self.step = Step::CopySeal;
            return;
        }
        self.again(scope);
        if scope.is(Mutant::GenerationReused) {
            self.fresh = lost;
            self.trusted |= lost;
        } else {
            self.fresh = lost.map(|hash| scope.pack(me, self.attempt, hash)).collect();
        }
        self.names |= self.fresh;
    }

    /// With a new intent.
    fn again(&mut self, scope: &Scope) {
        self.attempt += 1;
        self.step = if self.attempt < scope.attempts { Step::PutIntent } else { Step::Done };
        self.attempt = self.attempt.min(scope.attempts - 1);
    }
}

/// Whether a collector here counts on the manifest, its root or its list no more: a replicator can give none of them another name.
fn is_given_up(scope: &Scope, tombs: &Tombs) -> bool {
    let gone = tombs.revoked | tombs.condemned_manifests | tombs.condemned_roots;
    gone.has(SOURCE) || tombs.condemned_lists.has(scope.source_list())
}
