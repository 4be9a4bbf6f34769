//! A tool that takes a folder from one state of the source towards a later one, and stops anywhere.

use fardel_tests::crash::chance::Chance;

use super::world::{Object, World};

#[derive(Clone, Copy)]
enum Step {
    Put(Object),
    Delete(Object),
}

impl World {
    /// One pass; `full` ends it, towards what the source is now.
    pub fn copy(&mut self, replica: usize, full: bool, chance: &mut Chance) -> Result<(), String> {
        let newest = self.states.len() - 1;
        let from = self.replicas[replica].at;
        let at = if full || chance.one_in(3) {
            newest
        } else {
            from + chance.below((newest - from) as u64 + 1) as usize
        };
        self.replicas[replica].at = at;
        let (goal, here) = (&self.states[at], &self.replicas[replica].objects);
        let own = |object: &Object| matches!(object, Object::Ack(of, _) if *of == replica);
        let mut puts: Vec<_> =
            goal.difference(here).filter(|object| !own(object)).copied().map(Step::Put).collect();
        let mut deletes: Vec<_> =
            here.difference(goal).filter(|object| !own(object)).copied().map(Step::Delete).collect();
        if !chance.one_in(3) {
            shuffle(&mut puts, chance);
            shuffle(&mut deletes, chance);
        }
        let mut steps = Vec::new();
        match chance.below(4) {
            0 | 1 => steps.extend(deletes.into_iter().chain(puts)),
            2 => steps.extend(puts.into_iter().chain(deletes)),
            _ => {
                steps.extend(puts.into_iter().chain(deletes));
                shuffle(&mut steps, chance);
            }
        }
        let end = if full || chance.one_in(4) {
            steps.len()
        } else {
            chance.below(steps.len() as u64 + 1) as usize
        };
        for step in &steps[..end] {
            match step {
                // One that cannot be read just now, or is gone from the source, holds nothing else up.
                Step::Put(_) if !full && chance.one_in(10) => {}
                Step::Put(object) => {
                    self.replicas[replica].objects.insert(*object);
                }
                Step::Delete(object) => {
                    self.replicas[replica].objects.remove(object);
                }
            }
            self.check(replica)?;
        }
        if full {
            self.replicas[replica].full = self.now;
        }
        self.check(replica)
    }
}

fn shuffle<T>(all: &mut [T], chance: &mut Chance) {
    for i in (1..all.len()).rev() {
        all.swap(i, chance.below(i as u64 + 1) as usize);
    }
}
