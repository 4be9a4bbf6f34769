//! A collector, step by step: anything may happen between any two of its steps, another collector's too.

use std::collections::{BTreeMap, BTreeSet};

use fardel_engine::prune::how_many_keep;

use super::rule::Rule;
use super::world::{Object, Objects, PATIENCE, Time, Tomb, World};

/// One run.
pub struct Collector {
    grace: Time,
    step: u8,
    /// Packs and roots that were listed at first.
    there: Objects,
    /// What was listed last of everything that decides.
    seen: Objects,
    /// Tombs that were listed before the last look.
    before: Objects,
    /// What is left to delete.
    doomed: Vec<Object>,
}

#[derive(Default)]
struct Heed {
    snapshots: BTreeSet<usize>,
    spent: Vec<Object>,
    patient: bool,
}

fn is_tomb(object: &Object) -> bool {
    matches!(object, Object::Tomb(_))
}

fn is_ack(object: &Object) -> bool {
    matches!(object, Object::Ack(..))
}

impl Collector {
    pub fn begin(grace: Time) -> Self {
        Self {
            grace,
            step: 0,
            there: Objects::new(),
            seen: Objects::new(),
            before: Objects::new(),
            doomed: Vec::new(),
        }
    }

    pub fn is_done(&self) -> bool {
        self.step > 8 && self.doomed.is_empty()
    }

    fn list(&mut self, world: &World, is: impl Fn(&Object) -> bool) {
        self.seen.retain(|object| !is(object));
        self.seen.extend(world.source.iter().filter(|object| is(object)));
    }

    pub fn step(&mut self, world: &mut World) {
        let others = |object: &Object| matches!(object, Object::Manifest(_) | Object::Seal(_));
        match self.step {
            0 => self.there = world.source.clone(),
            1 | 5 => self.list(world, is_ack),
            2 | 6 => self.list(world, others),
            3 | 7 => self.list(world, is_tomb),
            4 => {
                self.condemn(world);
                self.before = world.source.iter().filter(|object| is_tomb(object)).copied().collect();
            }
            8 => self.decide(world),
            _ => {
                if let Some(object) = self.doomed.pop() {
                    world.source.remove(&object);
                    world.stage();
                }
            }
        }
        self.step = self.step.saturating_add(1);
    }

    fn condemn(&self, world: &mut World) {
        let heed = self.heed(world);
        let needed = self.needed(world, &heed);
        let condemned = |pack: &usize| world.tombs_in(&self.seen).any(|tomb| tomb.packs.contains(pack));
        let packs = self.there.iter().filter_map(|object| match object {
            Object::Pack(pack) => Some(*pack),
            _ => None,
        });
        let packs: BTreeSet<_> =
            packs.filter(|pack| !needed.contains(pack)).filter(|pack| !condemned(pack)).collect();
        let gone = self.forgotten(world, &heed).into_iter();
        let announced = |number: &usize| world.tombs_in(&self.seen).any(|t| t.manifests.contains(number));
        let manifests: BTreeSet<_> = match world.rule {
            Rule::Unannounced => BTreeSet::new(),
            _ => gone.filter(|number| !announced(number)).collect(),
        };
        if !packs.is_empty() || !manifests.is_empty() {
            world.put_tomb(Tomb { packs, manifests, ..Tomb::default() });
        }
    }

    fn decide(&mut self, world: &World) {
        let heed = self.heed(world);
        let needed = self.needed(world, &heed);
        let patient = heed.patient && world.rule != Rule::Impatient;
        let grace = if patient { self.grace.max(PATIENCE) } else { self.grace };
        let over = |created: Time| world.now - created >= grace;
        let before = || world.tombs_in(&self.before).filter(|tomb| over(tomb.created));
        let mut doomed = Vec::new();
        for number in self.forgotten(world, &heed) {
            let forgotten = before().any(|tomb| tomb.forgets.contains(&number));
            let announced =
                world.rule == Rule::Unannounced || before().any(|tomb| tomb.manifests.contains(&number));
            if forgotten && announced {
                // From the last to the first.
                doomed.extend([Object::Manifest(number), Object::Root(number), Object::Seal(number)]);
            }
        }
        let dead = self.there.iter().filter(|object| match object {
            Object::Pack(pack) => !needed.contains(pack) && before().any(|tomb| tomb.packs.contains(pack)),
            _ => false,
        });
        doomed.splice(0..0, dead.copied());
        doomed.splice(0..0, heed.spent);
        self.doomed = doomed;
    }

    fn listed(&self) -> impl Iterator<Item = usize> + '_ {
        self.seen.iter().filter_map(|object| match object {
            Object::Manifest(number) => Some(*number),
            _ => None,
        })
    }

    fn forgotten(&self, world: &World, heed: &Heed) -> Vec<usize> {
        let gone = self.listed().filter(|number| world.is_forgotten(*number, &self.seen));
        gone.filter(|number| !heed.snapshots.contains(number)).collect()
    }

    /// Packs that must stay.
    fn needed(&self, world: &World, heed: &Heed) -> BTreeSet<usize> {
        let live = self.listed().filter(|number| !world.is_forgotten(*number, &self.seen));
        let all = live.chain(heed.snapshots.iter().copied());
        all.flat_map(|number| world.snapshots[number].packs.iter().copied()).collect()
    }

    fn counts(&self, world: &World, number: usize) -> bool {
        let snapshot = &world.snapshots[number];
        let is_here = self.seen.contains(&Object::Manifest(number))
            && self.seen.contains(&Object::Seal(number))
            && self.there.contains(&Object::Root(number))
            && snapshot.packs.iter().all(|pack| self.there.contains(&Object::Pack(*pack)));
        is_here && (world.rule == Rule::DoomedCounts || !world.is_doomed(number, &self.seen))
    }

    fn heed(&self, world: &World) -> Heed {
        let mut lines: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for object in self.seen.iter().rev() {
            if let Object::Ack(replica, number) = object {
                let struck = |tomb: &Tomb| tomb.acks.contains(&(*replica, *number));
                if !world.tombs_in(&self.seen).any(struck) {
                    lines.entry(*replica).or_default().push(*number);
                }
            }
        }
        let mut heed = Heed::default();
        if world.rule == Rule::NoAcks {
            return heed;
        }
        let mut heard = 0;
        for (replica, line) in &lines {
            let said = |number: &usize| world.replicas[*replica].acks[*number];
            let counts: Vec<_> = line.iter().map(|number| self.counts(world, said(number))).collect();
            let any = counts.contains(&true);
            let keep = match world.rule {
                Rule::NewestAlone => 1,
                Rule::NoneWhenNoneCounts if !any => 0,
                _ => how_many_keep(counts.iter().copied()),
            };
            heed.snapshots.extend(line[..keep].iter().map(said));
            if any {
                heard += 1;
                heed.spent.extend(line[keep..].iter().map(|number| Object::Ack(*replica, *number)));
            }
        }
        heed.patient = lines.is_empty() || heard < lines.len() && world.rule != Rule::NoneWhenNoneCounts;
        if heed.patient && world.rule != Rule::Impatient {
            let mut all: Vec<_> = self.listed().collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            let is_old = |number: usize| world.now - world.snapshots[number].created >= PATIENCE;
            let counts = |number: &usize| is_old(*number) && self.counts(world, *number);
            let keep = how_many_keep(all.iter().map(counts));
            heed.snapshots.extend(&all[..keep]);
        }
        heed
    }
}
