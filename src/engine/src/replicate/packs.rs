//! Puts packs into the target, several at once, in the order of the plan.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use fardel_format::ObjectHash;
use fardel_format::ids::Generation;
use fardel_format::names::Name;
use fardel_format::pack_list::PackEntry;
use fardel_store::{Body, ByteRange, ErrorKind, Key, Meter, Throttle};

use super::Target;
use super::arrival::Arrival;
use super::gate::Gate;
use super::pace::Pace;
use super::source::Source;
use crate::bridge::Blocking;
use crate::catalog::{Catalog, key_of};
use crate::monitor::Monitor;
use crate::{Error, Result};

/// Names that are tried for one pack.
const NAMES: u32 = 4;

/// Counts what goes to one target, and holds it up as the user wants.
pub struct Tally {
    pub monitor: Arc<dyn Monitor>,
    pub throttle: Arc<Throttle>,
    pub sent: AtomicU64,
    pub resumed: AtomicU64,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// The bytes of one attempt, so that a failed one can be taken back from the progress.
#[derive(Debug)]
struct Attempt {
    tally: Arc<Tally>,
    bytes: AtomicU64,
    /// Where a pack of this length waited for its turn.
    gate: Option<(Arc<Gate>, u64)>,
}

impl Attempt {
    /// More bytes than there are: the store wanted, or had, to be sent some again.
    fn is_repeated(before: u64, now: u64, len: u64) -> bool {
        let times = |bytes: u64| bytes.saturating_sub(1) / len.max(1);
        times(now) > times(before)
    }
}

impl Meter for Attempt {
    fn passing(&self, bytes: u64) -> fardel_store::Result<Duration> {
        if self.tally.monitor.interrupted() {
            return Err(fardel_store::Error::new(ErrorKind::Stopped, "the upload", "it was interrupted"));
        }
        let now = Instant::now();
        self.tally.sent.fetch_add(bytes, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some((gate, len)) = &self.gate {
            if Self::is_repeated(before, before + bytes, *len) {
                gate.pushed_back();
            }
            gate.passing(bytes, now);
        }
        self.tally.monitor.counters().done(0, bytes);
        Ok(self.tally.throttle.pass(bytes, now))
    }

    fn resumed(&self, bytes: u64) {
        self.tally.resumed.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tally.monitor.counters().done(0, bytes);
    }
}

/// Puts single packs.
pub struct Porter<'a> {
    source: &'a Source<'a>,
    target: &'a Target,
    store: Blocking,
    tally: Arc<Tally>,
    gate: Arc<Gate>,
    /// How many packs the target has: it decides how deep new ones lie.
    siblings: usize,
    /// Packs of which the plain name was used before: condemned, or not as long as they should be.
    used: HashSet<ObjectHash>,
}

/// A pack to put, and for which step of the plan.
pub type Job = (usize, PackEntry);

/// What became of a job.
pub struct Done {
    pub step: usize,
    pub pack: PackEntry,
    pub result: Result<()>,
}

impl<'a> Porter<'a> {
    pub fn new(
        source: &'a Source<'a>,
        target: &'a Target,
        arrival: &Arrival,
        tally: Arc<Tally>,
        pace: Pace,
    ) -> Self {
        let listed = arrival.catalog.packs.keys().copied();
        let condemned = arrival.tombs.condemned.keys().map(|(hash, _)| *hash);
        Self {
            source,
            target,
            store: arrival.store.clone(),
            tally,
            gate: Arc::new(Gate::new(pace)),
            siblings: arrival.catalog.packs.len(),
            used: listed.chain(condemned).collect(),
        }
    }

    /// Counts the bytes of something that is no pack.
    pub fn meter(tally: &Arc<Tally>) -> Arc<dyn Meter> {
        Arc::new(Attempt { tally: tally.clone(), bytes: AtomicU64::new(0), gate: None })
    }

    /// Puts these packs, so many at once as suits, the first ones first, until `stop`.
    pub fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        most: usize,
        jobs: Vec<Job>,
        stop: &'scope AtomicBool,
    ) -> Receiver<Done> {
        let (give, take) = crossbeam_channel::bounded(jobs.len());
        let (tell, hear) = crossbeam_channel::bounded(jobs.len());
        for job in jobs {
            give.send(job).expect("there is room for all of them");
        }
        drop(give);
        for _ in 0..most {
            let (take, tell) = (take.clone(), tell.clone());
            scope.spawn(move || {
                loop {
                    let _turn = self.gate.enter();
                    let Ok((step, pack)) = take.try_recv() else { break };
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let result = self.put(&pack, self.used.contains(&pack.hash));
                    // Who does not listen any more has given up.
                    if tell.send(Done { step, pack, result }).is_err() {
                        break;
                    }
                }
            });
        }
        hear
    }

    /// Puts one pack, in a new generation if its plain name was used before.
    pub fn put(&self, pack: &PackEntry, anew: bool) -> Result<()> {
        let mut generation = anew.then(Generation::random);
        let mut last = None;
        for _ in 0..NAMES {
            let key = key_of(&Name::Pack(pack.hash, generation), Catalog::fan_out(self.siblings));
            match self.put_as(&key, pack) {
                Err(Error::Store(error)) if error.kind == ErrorKind::Exists => {
                    // Somebody else brings it too, or the answer to an earlier attempt was lost.
                    if self.is_whole(&key, pack.size)? {
                        return Ok(());
                    }
                    last = Some(Error::Store(error));
                    generation = Some(Generation::random());
                }
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| Error::Damaged("no name is free for a pack".into())))
    }

    fn put_as(&self, key: &Key, pack: &PackEntry) -> Result<()> {
        let copy = self
            .source
            .catalog
            .whole_pack(&pack.hash, pack.size)
            .ok_or_else(|| Error::Damaged(format!("pack {} is missing here", pack.hash.short())))?;
        let gate = Some((self.gate.clone(), pack.size));
        let attempt = Arc::new(Attempt { tally: self.tally.clone(), bytes: AtomicU64::new(0), gate });
        let carried = self.source.carry(&copy.stored, &pack.hash, attempt.clone(), &self.target.download)?;
        let put = self.store.put_new(key, Body::Kept(carried.kept.clone()));
        let counters = self.tally.monitor.counters();
        match &put {
            Ok(()) => counters.done(1, 0),
            Err(_) => counters.ahead(0, attempt.bytes.load(Ordering::Relaxed)),
        }
        put.map_err(|error| carried.failed(&copy.stored, error))
    }

    /// Whether the object has this many bytes, no more and no fewer.
    fn is_whole(&self, key: &Key, size: u64) -> Result<bool> {
        let last = ByteRange::Span { start: size.saturating_sub(1), len: size.min(1) };
        let beyond = ByteRange::Span { start: size, len: 1 };
        for (range, there) in [(last, true), (beyond, false)] {
            match self.store.get_range(key, range) {
                Ok(_) if there => {}
                Err(error) if error.kind == ErrorKind::Truncated && !there => {}
                Ok(_) => return Ok(false),
                Err(error) if matches!(error.kind, ErrorKind::Truncated | ErrorKind::NotFound) => {
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}
