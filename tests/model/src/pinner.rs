//! Pins a snapshot: whatever forgets it later, no collector takes it away.

use crate::world::World;
use crate::{Scope, Set};

/// The step that comes next.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    #[default]
    ListSnapshots,
    PutPin,
    ListTombs,
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
                    if !forgotten {
                        world.pinned.add(self.snapshot);
                    }
                    self.step = if forgotten { Step::PutUnpin } else { Step::Done };
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
}
