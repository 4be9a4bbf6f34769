//! Random schedules: which of the possible steps comes next is drawn, until nothing is left to do.

use crate::{Action, Scope, Trace, World};

/// Walks at random, the same way for the same seed.
#[derive(Clone, Debug)]
pub struct Walk {
    scope: Scope,
    state: u64,
}

/// What was seen on the way.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// Runs from the beginning to the end.
    pub schedules: u64,
    /// Their steps.
    pub steps: u64,
    /// Runs in which a snapshot was reported.
    pub reported: u64,
    /// Runs in which a pack was deleted.
    pub swept: u64,
    /// Runs in which a manifest was revoked.
    pub revoked: u64,
    /// Runs in which a sealed manifest superseded another.
    pub superseded: u64,
    /// The first run that went wrong; nothing comes after it.
    pub trace: Option<Trace>,
}

impl Walk {
    /// Begins with this seed.
    #[must_use]
    pub fn new(scope: Scope, seed: u64) -> Self {
        Self { scope, state: seed }
    }

    /// Runs so many schedules, or until one goes wrong.
    pub fn run(&mut self, schedules: u64) -> Walked {
        let mut walked = Walked::default();
        let begin = World::new(&self.scope);
        let (mut taken, mut possible) = (Vec::new(), Vec::new());
        while walked.schedules < schedules && walked.trace.is_none() {
            let mut world = begin.clone();
            taken.clear();
            // Some runs change at every step, others let a process go on for a while.
            let patience = self.draw(8);
            let mut last = None;
            while world.wrong.is_none() {
                possible.clear();
                world.actions(&self.scope, &mut possible);
                if possible.is_empty() {
                    break;
                }
                let action = self.choose(&possible, last, patience);
                last = Some(action);
                taken.push(action);
                world.act(&self.scope, action);
            }
            walked.schedules += 1;
            walked.steps += taken.len() as u64;
            walked.count(&begin, &world);
            if world.wrong.is_some() {
                walked.trace = Some(Trace::of(&self.scope, &taken));
            }
        }
        walked
    }

    fn choose(&mut self, possible: &[Action], last: Option<Action>, patience: u64) -> Action {
        if let Some(Action::Step { process: me, .. }) = last
            && self.draw(8) < patience
        {
            let own = |action: &Action| matches!(action, Action::Step { process, .. } if *process == me);
            if let Some(first) = possible.iter().position(own) {
                let choices = possible[first..].iter().take_while(|action| own(action)).count();
                return possible[first + self.draw(choices as u64) as usize];
            }
        }
        possible[self.draw(possible.len() as u64) as usize]
    }

    /// A number below `end` (splitmix64).
    fn draw(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

impl Walked {
    fn count(&mut self, begin: &World, end: &World) {
        self.reported += u64::from(!end.reported.within(begin.reported));
        self.swept += u64::from(!begin.store.packs.within(end.store.packs));
        self.revoked += u64::from(!end.store.tombs.revoked.is_empty());
        let sealed = end.store.manifests & end.store.seals;
        let supersedes = |m: u8| end.contents[m as usize].supersedes.is_some();
        self.superseded += u64::from(sealed.into_iter().any(supersedes));
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            schedules: self.schedules + other.schedules,
            steps: self.steps + other.steps,
            reported: self.reported + other.reported,
            swept: self.swept + other.swept,
            revoked: self.revoked + other.revoked,
            superseded: self.superseded + other.superseded,
            trace: self.trace.or(other.trace),
        }
    }
}
