//! A source, its collectors, and replicas that a tool makes of it: names and what they mean, nothing else.

use std::collections::BTreeSet;

use fardel_tests::crash::chance::Chance;

use super::collector::Collector;
use super::rule::Rule;

/// Hours.
pub type Time = u64;
/// So far a tool may be behind when nobody acknowledges anything.
pub const PATIENCE: Time = fardel_engine::prune::PATIENCE.as_secs() / 3600;

/// What lies in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    Pack(usize),
    Root(usize),
    Manifest(usize),
    Seal(usize),
    Tomb(usize),
    /// Of a replica, under its number.
    Ack(usize, usize),
}

pub type Objects = BTreeSet<Object>;

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub packs: Vec<usize>,
    pub created: Time,
}

impl Snapshot {
    pub fn objects(&self, number: usize) -> impl Iterator<Item = Object> + '_ {
        let own = [Object::Root(number), Object::Manifest(number), Object::Seal(number)];
        self.packs.iter().map(|pack| Object::Pack(*pack)).chain(own)
    }

    pub fn is_whole(&self, number: usize, folder: &Objects) -> bool {
        self.objects(number).all(|object| folder.contains(&object))
    }
}

/// What somebody took away.
#[derive(Clone, Debug, Default)]
pub struct Tomb {
    pub created: Time,
    pub forgets: BTreeSet<usize>,
    pub packs: BTreeSet<usize>,
    /// Manifests that were announced.
    pub manifests: BTreeSet<usize>,
    /// Acknowledgements of replicas that were struck off.
    pub acks: BTreeSet<(usize, usize)>,
}

/// A copy, and the tool that makes it.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    pub objects: Objects,
    /// The state of the source that it was last taken towards.
    pub at: usize,
    /// The snapshots that it acknowledged.
    pub acks: Vec<usize>,
    /// When its last full pass began.
    pub full: Time,
    /// Whether something of it counted at the source.
    pub counted: bool,
    pub struck: bool,
    pub was_whole: bool,
}

/// Everything.
pub struct World {
    pub rule: Rule,
    pub now: Time,
    pub source: Objects,
    /// The source at one moment after the other.
    pub states: Vec<Objects>,
    pub snapshots: Vec<Snapshot>,
    pub tombs: Vec<Tomb>,
    pub packs: usize,
    pub replicas: Vec<Replica>,
    /// Whether replicas acknowledge at all.
    pub speaks: bool,
    pub collectors: Vec<Collector>,
    /// Whether collectors go on by single steps.
    pub slow: bool,
}

impl World {
    pub fn new(rule: Rule, replicas: usize, speaks: bool) -> Self {
        Self {
            rule,
            now: 0,
            source: Objects::new(),
            states: vec![Objects::new()],
            snapshots: Vec::new(),
            tombs: Vec::new(),
            packs: 0,
            replicas: vec![Replica::default(); replicas],
            speaks,
            collectors: Vec::new(),
            slow: false,
        }
    }

    pub fn stage(&mut self) {
        if self.states.last() != Some(&self.source) {
            self.states.push(self.source.clone());
        }
    }

    pub fn tombs_in<'a>(&'a self, folder: &'a Objects) -> impl Iterator<Item = &'a Tomb> {
        folder.iter().filter_map(|object| match object {
            Object::Tomb(number) => Some(&self.tombs[*number]),
            _ => None,
        })
    }

    pub fn put_tomb(&mut self, tomb: Tomb) {
        self.source.insert(Object::Tomb(self.tombs.len()));
        self.tombs.push(Tomb { created: self.now, ..tomb });
        self.stage();
    }

    pub fn is_forgotten(&self, number: usize, folder: &Objects) -> bool {
        self.tombs_in(folder).any(|tomb| tomb.forgets.contains(&number))
    }

    /// Whether somebody may be about to delete some of it, as far as these tombs tell.
    pub fn is_doomed(&self, number: usize, folder: &Objects) -> bool {
        let snapshot = &self.snapshots[number];
        self.tombs_in(folder).any(|tomb| {
            tomb.manifests.contains(&number) || snapshot.packs.iter().any(|pack| tomb.packs.contains(pack))
        })
    }

    /// A snapshot that shares some packs with the one before it, unless those are condemned.
    pub fn back_up(&mut self, chance: &mut Chance) {
        let usable = |pack: &usize| {
            self.source.contains(&Object::Pack(*pack))
                && !self.tombs_in(&self.source).any(|tomb| tomb.packs.contains(pack))
        };
        let earlier = self.snapshots.last().map(|last| last.packs.clone()).unwrap_or_default();
        let mut packs: Vec<_> = earlier.into_iter().filter(|_| !chance.one_in(3)).filter(usable).collect();
        for _ in 0..chance.below(3) {
            packs.push(self.packs);
            self.source.insert(Object::Pack(self.packs));
            self.packs += 1;
            if chance.one_in(2) {
                self.stage();
            }
        }
        let snapshot = Snapshot { packs, created: self.now };
        self.source.extend(snapshot.objects(self.snapshots.len()));
        self.snapshots.push(snapshot);
        self.stage();
    }

    /// Snapshots that exist in the source.
    pub fn live(&self) -> Vec<usize> {
        let sealed = (0..self.snapshots.len()).filter(|number| self.source.contains(&Object::Seal(*number)));
        sealed.filter(|number| !self.is_forgotten(*number, &self.source)).collect()
    }

    pub fn forget(&mut self, chance: &mut Chance) {
        let live = self.live();
        let keep = if chance.one_in(8) { 0 } else { 1 + chance.below(2) as usize };
        let forgets: BTreeSet<_> = live.iter().rev().skip(keep).copied().collect();
        if !forgets.is_empty() {
            self.put_tomb(Tomb { forgets, ..Tomb::default() });
        }
    }

    pub fn strike(&mut self, replica: usize) {
        self.replicas[replica].struck = true;
        let here = self.source.iter().filter_map(|object| match object {
            Object::Ack(of, number) if *of == replica => Some((*of, *number)),
            _ => None,
        });
        let acks: BTreeSet<_> = here.collect();
        self.put_tomb(Tomb { acks, ..Tomb::default() });
    }

    /// The machine at the other side says what is whole there.
    pub fn acknowledge(&mut self, replica: usize) {
        let folder = &self.replicas[replica].objects;
        let newest = (0..self.snapshots.len()).rev().find(|number| {
            self.snapshots[*number].is_whole(*number, folder)
                && !self.is_forgotten(*number, folder)
                && !self.is_doomed(*number, folder)
        });
        let Some(newest) = newest else { return };
        let replica_ = &mut self.replicas[replica];
        if replica_.acks.last() != Some(&newest) {
            replica_.objects.insert(Object::Ack(replica, replica_.acks.len()));
            replica_.acks.push(newest);
        }
    }

    /// An acknowledgement arrives at the source: from now on one of what the replica holds must stay.
    pub fn deliver(&mut self, replica: usize, chance: &mut Chance) {
        let made = self.replicas[replica].acks.len();
        if made == 0 {
            return;
        }
        // Not always the newest, and never what a collector tidied up.
        let number = made - 1 - chance.below(2).min(made as u64 - 1) as usize;
        let ack = Object::Ack(replica, number);
        if !self.replicas[replica].objects.contains(&ack) || !self.source.insert(ack) {
            return;
        }
        let said = self.replicas[replica].acks[number];
        let counts = self.snapshots[said].is_whole(said, &self.source) && !self.is_doomed(said, &self.source);
        let replica = &mut self.replicas[replica];
        replica.counted |= counts && !replica.struck;
        self.stage();
    }

    /// What the promise is about: nobody may be left without a whole snapshot who once held one, as long as the source heard of it,
    /// or its tool keeps the time that it has.
    pub fn check(&mut self, replica: usize) -> Result<(), String> {
        let all = &self.snapshots;
        let this = &self.replicas[replica];
        let whole = (0..all.len()).any(|number| all[number].is_whole(number, &this.objects));
        let promised = !this.struck && if self.speaks { this.counted } else { this.was_whole };
        if promised && !whole {
            let heard = &this.acks;
            return Err(format!("replica {replica} holds no whole snapshot; it acknowledged {heard:?}"));
        }
        self.replicas[replica].was_whole |= whole;
        Ok(())
    }
}
