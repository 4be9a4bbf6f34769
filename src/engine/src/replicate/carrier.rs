//! Carries to one target what it lacks.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_channel::Receiver;
use fardel_format::ObjectHash;
use fardel_format::names::{FanOut, Name, PackName};
use fardel_format::pack_list::PackEntry;
use fardel_store::{Body, ErrorKind};

use super::arrival::Arrival;
use super::intent::Standing;
use super::pace::Pace;
use super::packs::{Done, Porter, Tally};
use super::plan::{Plan, Step};
use super::source::Source;
use super::{Target, TargetReport};
use crate::catalog::{Catalog, Stored, key_of};
use crate::status::Known;
use crate::{Error, Result};

/// How often a snapshot is tried when collectors take away what it needs.
const ATTEMPTS: u32 = 5;
/// Objects up to this size are carried in memory, in bytes.
const SMALL: u64 = 1 << 20;

/// Brings one target up to date, with at most so many packs under way as memory allows.
pub fn run(source: &Source<'_>, target: &Target, most: usize, dry_run: bool) -> Result<TargetReport> {
    let begun = Instant::now();
    let arrival = Arrival::open(source, target, dry_run)?;
    let plan = Plan::new(source, &arrival)?;
    let (packs, others) = plan.amounts();
    let tally = Arc::new(Tally {
        monitor: target.monitor.clone(),
        throttle: target.upload.clone(),
        sent: AtomicU64::new(0),
        resumed: AtomicU64::new(0),
    });
    let wanted = plan.wanted;
    let complete = plan.complete.clone();
    let mut carrier = Carrier {
        source,
        target,
        most,
        arrival,
        tally,
        intent: None,
        carried: HashSet::new(),
        elsewhere: HashSet::new(),
        complete,
        report: TargetReport {
            name: target.name.clone(),
            packs,
            others,
            requests: plan.requests(&*target.store),
            problems: plan.problems.clone(),
            ..TargetReport::default()
        },
    };
    if !dry_run {
        target.monitor.counters().set_total(packs.objects + others.objects, packs.bytes + others.bytes);
        let carried = carrier.all(plan);
        if let Some(intent) = carrier.intent.take() {
            let removed = intent.remove(&carrier.arrival.store);
            carried.and(removed)?;
        } else {
            carried?;
        }
    }
    let mut report = carrier.report;
    report.bytes_sent = carrier.tally.sent.load(Ordering::Relaxed);
    report.bytes_resumed = carrier.tally.resumed.load(Ordering::Relaxed);
    report.behind = carrier.complete.as_ref().map_or(wanted, |(_, newer)| *newer);
    report.complete = carrier.complete.map(|(known, _)| known);
    report.duration = begun.elapsed();
    Ok(report)
}

/// What has to be there before something else comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Needs nothing.
    First,
    /// Names what is of the first rank, or is worth something only with it.
    Second,
    /// Vouches for what is of the ranks before.
    Last,
}

impl Rank {
    fn of(name: &Name) -> Self {
        match name {
            Name::Signers(_) | Name::Manifest(..) => Self::Second,
            Name::SignersSig(_) | Name::Seal(..) | Name::TombSig(..) => Self::Last,
            _ => Self::First,
        }
    }
}

/// The place of a record of signers, or of its signature, among the others.
fn record(name: &Name) -> Option<(u32, Rank)> {
    match name {
        Name::Signers(record) | Name::SignersSig(record) => Some((record.seq, Rank::of(name))),
        _ => None,
    }
}

struct Carrier<'a> {
    source: &'a Source<'a>,
    target: &'a Target,
    /// Packs that memory allows to be under way.
    most: usize,
    arrival: Arrival,
    tally: Arc<Tally>,
    intent: Option<Standing>,
    carried: HashSet<Name>,
    /// Lists and roots that were put in a second place.
    elsewhere: HashSet<Name>,
    /// The newest snapshot that is whole there, and how many are newer.
    complete: Option<(Known, u64)>,
    report: TargetReport,
}

impl Carrier<'_> {
    fn all(&mut self, plan: Plan) -> Result<()> {
        if plan.steps.is_empty() {
            self.common(&plan.common)?;
        } else {
            let manifests = plan.steps.iter().map(|step| step.sealed.name.hash).collect();
            let packs = plan.rests_on(self.source, &self.arrival);
            self.intent = Some(Standing::put(self.source, &self.arrival.store, manifests, packs)?);
            self.steps(&plan.steps, &plan.common)?;
        }
        // A forget makes room there: not before something newer is whole.
        if !self.report.problems.is_empty() {
            return Ok(());
        }
        self.in_order(&plan.forgets)?.into_values().next().map_or(Ok(()), |why| Err(Error::Damaged(why)))
    }

    /// What every snapshot has use for, and none rests on.
    fn common(&mut self, common: &[(Name, Stored)]) -> Result<()> {
        let is_record = |(name, _): &&(Name, Stored)| record(name).is_some();
        let (mut records, others): (Vec<_>, Vec<_>) = common.iter().partition(is_record);
        records.sort_by_key(|(name, _)| record(name));
        let mut damaged = HashMap::new();
        // One by one: a record of signers of which an earlier one is lacking looks as if that had been lost.
        for record in records {
            damaged.extend(self.objects([record])?);
        }
        damaged.extend(self.in_order(others)?);
        for why in damaged.into_values() {
            self.target.monitor.warning(&why);
        }
        Ok(())
    }

    fn steps(&mut self, steps: &[Step], common: &[(Name, Stored)]) -> Result<()> {
        let jobs: Vec<_> = steps
            .iter()
            .enumerate()
            .flat_map(|(i, step)| step.packs.iter().map(move |pack| (i, *pack)))
            .collect();
        let pace = match self.target.parallelism {
            Some(number) => Pace::fixed(number),
            None => Pace::adaptive(self.arrival.store.capabilities().parallelism.min(self.most)),
        };
        let most = pace.most().min(jobs.len());
        let porter = Porter::new(self.source, self.target, &self.arrival, self.tally.clone(), pace);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let hear = porter.start(scope, most, jobs, &stop);
            // Packs are long, these are many: they go while the first packs do.
            let common = self.common(common);
            let result = common.and_then(|()| self.publish_as_they_come(steps, &porter, &hear));
            stop.store(true, Ordering::Relaxed);
            result
        })
    }

    /// Publishes each snapshot as soon as its packs are there; those that are ready by then with it.
    fn publish_as_they_come(
        &mut self,
        steps: &[Step],
        porter: &Porter<'_>,
        hear: &Receiver<Done>,
    ) -> Result<()> {
        let mut waiting: Vec<_> = steps.iter().map(|step| step.packs.len()).collect();
        let mut next = 0;
        let mut damaged = BTreeSet::new();
        let counters = self.target.monitor.counters();
        let mut ahead = counters.get().bytes_done;
        let mut counted = 0;
        while next < steps.len() {
            ahead += steps[counted..=next].iter().map(Step::bytes).sum::<u64>();
            counted = next + 1;
            counters.set_milestone(ahead);
            while waiting[next] > 0 {
                self.target.stop_if_interrupted()?;
                let done = hear.recv().map_err(|_| Error::Interrupted)?;
                self.arrived(done, &mut waiting, &mut damaged)?;
            }
            while let Ok(done) = hear.try_recv() {
                self.arrived(done, &mut waiting, &mut damaged)?;
            }
            let end = (next..steps.len()).find(|&i| waiting[i] > 0).unwrap_or(steps.len());
            self.target.stop_if_interrupted()?;
            self.publish(&steps[next..end], porter, &mut damaged)?;
            next = end;
        }
        counters.set_milestone(0);
        Ok(())
    }

    /// A pack that is damaged here costs its snapshots only; whatever else goes wrong would go wrong again.
    fn arrived(
        &mut self,
        done: Done,
        waiting: &mut [usize],
        damaged: &mut BTreeSet<ObjectHash>,
    ) -> Result<()> {
        waiting[done.step] -= 1;
        match done.result {
            Err(Error::Damaged(why)) => {
                self.target.monitor.warning(&why);
                damaged.insert(done.pack.hash);
                Ok(())
            }
            other => other,
        }
    }

    fn publish(
        &mut self,
        steps: &[Step],
        porter: &Porter<'_>,
        damaged: &mut BTreeSet<ObjectHash>,
    ) -> Result<()> {
        let mut steps: Vec<_> = steps.iter().collect();
        for _ in 0..ATTEMPTS {
            for rank in [Rank::First, Rank::Second] {
                self.carry_of_steps(&mut steps, rank)?;
            }
            let closure = |step: &&Step| self.source.repo.closure(self.source.catalog, &step.sealed.manifest);
            let closures = steps.iter().map(closure).collect::<Result<Vec<_>>>()?;
            let lost = self.arrival.look_again(self.source, closures.iter().flatten())?;
            self.put_elsewhere(&steps)?;
            let lost: BTreeSet<_> = lost.into_iter().collect();
            if lost.is_empty() {
                if self.seal(&mut steps)? {
                    return Ok(());
                }
                continue;
            }
            for pack in &lost {
                if damaged.contains(&pack.hash) {
                    continue;
                }
                match porter.put(pack, true) {
                    Err(Error::Damaged(why)) => {
                        self.target.monitor.warning(&why);
                        damaged.insert(pack.hash);
                    }
                    other => other?,
                }
            }
            self.name_all(&closures)?;
            self.give_up_damaged(&mut steps, &closures, damaged);
        }
        for step in steps {
            self.problem(step, "what it needs is taken away there as fast as it comes");
        }
        Ok(())
    }

    /// Carries what these steps have of one rank; those that need something damaged cannot be done.
    fn carry_of_steps(&mut self, steps: &mut Vec<&Step>, rank: Rank) -> Result<()> {
        let objects = steps.iter().flat_map(|step| &step.objects);
        let damaged = self.objects(objects.filter(|(name, _)| Rank::of(name) == rank))?;
        steps.retain(|step| {
            let why = step.objects.iter().find_map(|(name, _)| damaged.get(name));
            if let Some(why) = why {
                self.problem(step, why);
            }
            why.is_none()
        });
        Ok(())
    }

    /// Names in the intent every generation that is there now.
    fn name_all(&mut self, closures: &[Vec<PackEntry>]) -> Result<()> {
        let packs = Catalog::load_prefix(&self.arrival.store, "packs/")?.packs;
        let hashes: BTreeSet<_> = closures.iter().flatten().map(|pack| pack.hash).collect();
        let names = hashes.iter().flat_map(|hash| {
            let copies = packs.get(hash).into_iter().flatten();
            copies.map(|copy| PackName { hash: *hash, generation: copy.generation })
        });
        let names = names.collect();
        if let Some(intent) = self.intent.take() {
            self.intent = Some(intent.extend(self.source, &self.arrival.store, names)?);
        }
        Ok(())
    }

    /// Steps that need a pack which is damaged here cannot be done.
    fn give_up_damaged(
        &mut self,
        steps: &mut Vec<&Step>,
        closures: &[Vec<PackEntry>],
        damaged: &BTreeSet<ObjectHash>,
    ) {
        let mut closures = closures.iter();
        steps.retain(|step| {
            let needs = closures.next().into_iter().flatten();
            let bad = needs.filter(|pack| damaged.contains(&pack.hash) && !self.arrival.has(pack)).count();
            if bad > 0 {
                self.problem(step, &format!("{bad} of its packs are damaged here"));
            }
            bad == 0
        });
    }

    /// Puts the seals; `false` when the intent was revoked meanwhile, and everything must be looked at again.
    fn seal(&mut self, steps: &mut Vec<&Step>) -> Result<bool> {
        self.carry_of_steps(steps, Rank::Last)?;
        self.arrival.look_for_tombs(self.source)?;
        if let Some(intent) = self.intent.take_if(|intent| intent.is_revoked(&self.arrival.tombs)) {
            self.intent = Some(intent.extend(self.source, &self.arrival.store, Vec::new())?);
            return Ok(false);
        }
        for step in steps {
            if self.arrival.tombs.revokes(&step.sealed.name.hash) {
                self.problem(step, "it was revoked there");
            } else if self.complete.as_ref().is_none_or(|(_, newer)| step.newer < *newer) {
                self.complete = Some((Known::of(&step.sealed), step.newer));
            }
        }
        Ok(true)
    }

    /// Puts lists and roots that a collector may be about to sweep in a second place: it decided about the first one. Their
    /// names cannot be others, for manifests tell their hashes.
    fn put_elsewhere(&mut self, steps: &[&Step]) -> Result<()> {
        for manifest in steps.iter().map(|step| &step.sealed.manifest) {
            let lists = manifest.lists.iter().map(|list| Name::List(list.hash));
            for name in lists.chain([Name::Root(manifest.root.hash)]) {
                if self.elsewhere.contains(&name) || !self.arrival.may_be_swept(self.source, &name)? {
                    continue;
                }
                let Some(stored) = self.source.catalog.get(&name) else { continue };
                let bytes = self.source.get(stored)?;
                let usual = key_of(&name, Catalog::fan_out(self.arrival.catalog.siblings(&name)));
                let taken = [self.arrival.catalog.get(&name).map_or(&usual, |stored| &stored.key), &usual];
                let depths = [0, 5_000, 5_000_000].map(FanOut::for_count);
                let free =
                    depths.into_iter().map(|depth| key_of(&name, depth)).find(|key| !taken.contains(&key));
                if let Some(key) = free {
                    self.arrival.store.put_same(&key, bytes)?;
                }
                self.elsewhere.insert(name);
            }
        }
        Ok(())
    }

    fn problem(&mut self, step: &Step, why: &str) {
        let problem = format!("snapshot {}: {why}", step.sealed.id().short());
        self.target.monitor.warning(&problem);
        self.report.problems.push(problem);
    }

    /// How many small objects go at once.
    fn parallelism(&self) -> usize {
        let recommended = || self.arrival.store.capabilities().parallelism.min(self.most);
        self.target.parallelism.unwrap_or_else(recommended).max(1)
    }

    /// Carries these, those of one rank before those of the next. Returns which are damaged here, and in what way.
    fn in_order<'o>(
        &mut self,
        objects: impl IntoIterator<Item = &'o (Name, Stored)>,
    ) -> Result<HashMap<Name, String>> {
        let objects: Vec<_> = objects.into_iter().collect();
        let mut damaged = HashMap::new();
        for rank in [Rank::First, Rank::Second, Rank::Last] {
            let of_rank = objects.iter().copied().filter(|(name, _)| Rank::of(name) == rank);
            damaged.extend(self.objects(of_rank)?);
        }
        Ok(damaged)
    }

    /// Carries these, but for what was carried before: several at once and in no order, since a small object is nothing but round
    /// trips. Returns which are damaged here, and in what way.
    fn objects<'o>(
        &mut self,
        objects: impl IntoIterator<Item = &'o (Name, Stored)>,
    ) -> Result<HashMap<Name, String>> {
        let mut seen = HashSet::new();
        let lacking =
            objects.into_iter().filter(|(name, _)| !self.carried.contains(name) && seen.insert(name));
        let lacking: Vec<_> = lacking.collect();
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let carry = || {
            let mut done = Vec::new();
            while !stop.load(Ordering::Relaxed)
                && let Some((name, stored)) = lacking.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let result = self.target.stop_if_interrupted().and_then(|()| self.object(name, stored));
                let goes_on = matches!(result, Ok(()) | Err(Error::Damaged(_)));
                stop.fetch_or(!goes_on, Ordering::Relaxed);
                done.push((name, result));
            }
            done
        };
        let done = std::thread::scope(|scope| {
            let threads = self.parallelism().min(lacking.len());
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(carry)).collect();
            let joined = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.flatten().collect::<Vec<_>>()
        });
        let mut damaged = HashMap::new();
        let mut failed = Ok(());
        for (name, result) in done {
            match result {
                Ok(()) => drop(self.carried.insert(name.clone())),
                Err(Error::Damaged(why)) => drop(damaged.insert(name.clone(), why)),
                Err(error) => failed = Err(error),
            }
        }
        failed.map(|()| damaged)
    }

    /// Carries an object that is no pack.
    fn object(&self, name: &Name, stored: &Stored) -> Result<()> {
        let store = &self.arrival.store;
        let key = key_of(name, Catalog::fan_out(self.arrival.catalog.siblings(name)));
        let done = || {
            self.target.monitor.counters().done(1, 0);
            Ok(())
        };
        if let (Some(hash), true) = (name.content_hash(), stored.size > SMALL) {
            let carried =
                self.source.carry(stored, &hash, Porter::meter(&self.tally), &self.target.download)?;
            return match store.put_new(&key, Body::Kept(carried.kept.clone())) {
                // The name says which bytes these are.
                Err(error) if error.kind == ErrorKind::Exists => done(),
                other => other.map_err(|error| carried.failed(stored, error)).and_then(|()| done()),
            };
        }
        let bytes = match self.source.get(stored) {
            // It was merged into another one, which the next listing shows.
            Err(Error::Damaged(_)) if matches!(name, Name::Tomb(..) | Name::TombSig(..)) => return done(),
            bytes => bytes?,
        };
        if name.content_hash().is_some_and(|hash| ObjectHash::of(&bytes) != hash) {
            return Err(Error::Damaged(format!(
                "{} is damaged here: `fardel check` says what that costs",
                stored.key
            )));
        }
        Porter::meter(&self.tally)
            .passing(bytes.len() as u64)
            .map(std::thread::sleep)
            .map_err(|_| Error::Interrupted)?;
        store.put_same(&key, bytes)?;
        done()
    }
}
