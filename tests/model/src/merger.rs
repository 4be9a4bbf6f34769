//! Merges the tombs that forget into one that holds them all.
//!
//! A listing by pages may miss both a tomb and the one that it was merged into. Whoever pins a snapshot and misses them began after the pin
//! was there, and before the merged tomb was: so pins are listed in between, and what they name is not deleted.

use crate::scope::FORGETS;
use crate::world::World;
use crate::{Mutant, Scope, Set};

/// The step that comes next.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    #[default]
    ListForgets,
    PutMergedForget,
    ListPins,
    DeleteMergedForgets,
    Done,
}

/// A merger.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub struct Merger {
    /// What comes next.
    pub step: Step,
    /// What was listed, in which places.
    seen: [Set; FORGETS],
    /// The forgets in them.
    held: Set,
    pins: Set,
    page: u8,
    put: bool,
}

impl Merger {
    /// What can be done next: one number for each choice.
    pub fn choices(&self, world: &World) -> Set {
        match self.step {
            Step::Done => Set::EMPTY,
            Step::ListForgets if world.store.tombs().forgets.is_empty() => Set::EMPTY,
            Step::DeleteMergedForgets => self.undeleted(),
            _ => Set::of(0),
        }
    }

    fn undeleted(&self) -> Set {
        (0..FORGETS as u8).filter(|place| !self.seen[*place as usize].is_empty()).collect()
    }

    /// Does it.
    pub fn step(mut self, world: &mut World, scope: &Scope, choice: u8) -> Self {
        match self.step {
            Step::ListForgets => {
                let page = scope.page(self.page);
                for place in (0..FORGETS).filter(|place| page.has(*place as u8)) {
                    self.seen[place] = world.store.forgets[place];
                    self.held |= self.seen[place];
                }
                self.page = (self.page + 1) % scope.pages();
                self.step = match scope.mutant {
                    _ if self.page != 0 => Step::ListForgets,
                    _ if self.held.is_empty() => Step::Done,
                    Some(Mutant::ForgetsDroppedBeforeMerge) => Step::DeleteMergedForgets,
                    _ => Step::PutMergedForget,
                };
            }
            Step::PutMergedForget => {
                self.put_merged(world, scope);
                self.put = true;
                self.step = match scope.mutant {
                    Some(Mutant::ForgetsDroppedBeforeMerge) => Step::Done,
                    Some(Mutant::PinsIgnoredInMerge) => Step::DeleteMergedForgets,
                    _ => Step::ListPins,
                };
            }
            Step::ListPins => {
                self.pins |= world.store.tombs.pins & scope.page(self.page);
                self.page = (self.page + 1) % scope.pages();
                if self.page == 0 {
                    for seen in &mut self.seen {
                        if { *seen }.any(|forget| world.forgets[forget as usize].meets(self.pins)) {
                            *seen = Set::EMPTY;
                        }
                    }
                    let nothing = self.undeleted().is_empty();
                    self.step = if nothing { Step::Done } else { Step::DeleteMergedForgets };
                }
            }
            Step::DeleteMergedForgets => {
                world.store.forgets[choice as usize] = Set::EMPTY;
                self.seen[choice as usize] = Set::EMPTY;
                if self.undeleted().is_empty() {
                    self.step = if self.put { Step::Done } else { Step::PutMergedForget };
                }
            }
            Step::Done => {}
        }
        if self.step == Step::Done { Self { step: Step::Done, ..Self::default() } } else { self }
    }

    fn put_merged(&self, world: &mut World, scope: &Scope) {
        let mut held = self.held;
        if scope.is(Mutant::ForgetLostInMerge) {
            let there: Set = world.store.manifests.map(|m| world.contents[m as usize].snapshot).collect();
            held = held.filter(|forget| world.forgets[*forget as usize].meets(there)).collect();
        }
        if scope.is(Mutant::ForgetsMergedWithoutNumbers) {
            let anew = world.next_forget();
            world.forgets[anew as usize] = held.fold(Set::EMPTY, |all, it| all | world.forgets[it as usize]);
            held = Set::of(anew);
        }
        world.put_forget(held);
    }
}
