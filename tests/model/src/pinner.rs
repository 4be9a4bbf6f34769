//! Pins a snapshot: whatever forgets it later, no collector takes it away.

use crate::world::World;
use crate::{Mutant, Scope, Set};

/// The step that comes next.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    #[default]
    ListSnapshots,
    PutPin,
    ListTombs,
    ListManifests,
    PutUnpin,
    Done,
}

/// Whoever pins.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub struct Pinner {
    /// What comes next.
    pub step: Step,
    snapshot: u8,
    forgets: Set,
    manifests: Set,
    page: u8,
}

impl Pinner {
    /// What can be done next: one number for each choice.
    pub fn choices(&self, world: &World, scope: &Scope) -> Set {
        match self.step {
            Step::Done => Set::EMPTY,
            Step::ListSnapshots => {
                let pinned = world.store.tombs.pins;
                let snapshot = |m: u8| world.contents[m as usize].snapshot;
                world.existing(scope).map(snapshot).filter(|it| !pinned.has(*it)).collect()
            }
            _ => Set::of(0),
        }
    }

    /// Does it.
    pub fn step(mut self, world: &mut World, scope: &Scope, choice: u8) -> Self {
        match self.step {
            Step::ListSnapshots => {
                self.snapshot = choice;
                self.step = Step::PutPin;
            }
            Step::PutPin => {
                world.store.tombs.pins.add(self.snapshot);
                self.step = Step::ListTombs;
            }
            Step::ListTombs => {
                self.forgets |= world.store.forgets_on(scope.page(self.page));
                self.page = (self.page + 1) % scope.pages();
                if self.page == 0 {
                    // A collector may have seen that, and not the pin.
                    let forgotten = self.forgets.any(|it| world.forgets[it as usize].has(self.snapshot));
                    match forgotten {
                        true => self.step = Step::PutUnpin,
                        false if scope.is(Mutant::PinnedUnlooked) => self.report(world),
                        false => self.step = Step::ListManifests,
                    }
                }
            }
            Step::ListManifests => {
                self.manifests |= world.store.manifests & scope.page(self.page);
                self.page = (self.page + 1) % scope.pages();
                if self.page == 0 {
                    // The listing of tombs may have missed a forget that was merged then: its snapshot was gone before.
                    match self.manifests.any(|m| world.contents[m as usize].snapshot == self.snapshot) {
                        true => self.report(world),
                        false => self.step = Step::PutUnpin,
                    }
                }
            }
            Step::PutUnpin => {
                world.store.tombs.unpins.add(self.snapshot);
                self.step = Step::Done;
            }
            Step::Done => {}
        }
        if self.step == Step::Done { Self { step: Step::Done, ..Self::default() } } else { self }
    }

    fn report(&mut self, world: &mut World) {
        world.pinned.add(self.snapshot);
        self.step = Step::Done;
    }
}
