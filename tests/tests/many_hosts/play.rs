use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fardel_store::{Aftermath, Fault, FaultKind, FaultyStore, Store};
use fardel_tests::crash::Result;
use fardel_tests::crash::chance::Chance;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestCaseResult, TestRng, TestRunner};

use crate::meanwhile::Meanwhile;
use crate::model::Model;
use crate::oracle::Oracle;
use crate::site::{Done, Ended, Files, Site};
use crate::step::{Act, HOSTS, Poison, Step, any_step};

/// Repositories that sequences begin with.
const HISTORIES: usize = 32;
/// So many of them go on from each other; then one is new again.
const AGES: usize = 4;
/// Steps between a history and the next.
const STEPS: usize = 12;

/// Everything that sequences share.
pub struct Stage {
    histories: Vec<History>,
    oracle: Oracle,
    counts: Mutex<Counts>,
}

/// A repository that was in use, with what is on the disks of its hosts.
#[derive(Clone)]
struct History {
    site: Site,
    model: Model,
    files: [Files; HOSTS],
    caches: [Cache; HOSTS],
}

/// The files of a cache.
type Cache = BTreeMap<PathBuf, Vec<u8>>;

#[derive(Debug, Default)]
struct Counts {
    /// Steps that came after others, and after which everything was judged.
    sequences: u64,
    plays: u64,
    steps: u64,
    thorough: u64,
    struck: u64,
    met: u64,
    acts: BTreeMap<&'static str, u64>,
}

/// What comes from a seed for one purpose.
pub fn chance(seed: u64, what: &str, number: u64) -> TestRng {
    TestRng::from_seed(RngAlgorithm::ChaCha, &Chance::of(seed, what, number).bytes(32))
}

impl Stage {
    /// Makes the histories.
    pub fn new(seed: u64) -> Self {
        let site = Site::new(seed);
        let new =
            History { site, model: Model::default(), files: Default::default(), caches: Default::default() };
        let mut stage = Self { histories: vec![new], oracle: Oracle::default(), counts: Mutex::default() };
        let mut runner = TestRunner::new_with_rng(Config::default(), chance(seed, "histories", 0));
        while stage.histories.len() < HISTORIES {
            let steps = proptest::collection::vec(any_step(), STEPS).new_tree(&mut runner);
            let steps = steps.expect("nothing is refused").current();
            let before =
                if stage.histories.len().is_multiple_of(AGES) { 0 } else { stage.histories.len() - 1 };
            let mut scene = Scene::begin(&stage.histories[before]);
            if let Err(why) = scene.play(&steps, &stage) {
                panic!("seed {seed}, the making of history {}, {steps:#?}:\n{why}", stage.histories.len());
            }
            let history = scene.end();
            stage.histories.push(history);
        }
        stage
    }

    /// How many there are.
    pub fn histories(&self) -> usize {
        self.histories.len()
    }

    /// Plays steps after a history, and judges after each; in the end of a thorough play everything is done again.
    pub fn play(&self, history: usize, steps: &[Step], is_thorough: bool) -> TestCaseResult {
        self.count(|counts| {
            counts.plays += 1;
            counts.thorough += u64::from(is_thorough);
        });
        let mut scene = Scene::begin(&self.histories[history]);
        let played = scene.play(steps, self).and_then(|()| {
            if is_thorough { self.oracle.converges(&scene.site, &scene.model) } else { Ok(()) }
        });
        played.map_err(TestCaseError::fail)
    }

    fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.counts.lock().expect("nobody panics while counting"));
    }

    /// Sequences so far.
    pub fn sequences(&self) -> u64 {
        self.counts.lock().expect("nobody panics while counting").sequences
    }

    /// What was done, in words.
    pub fn counts(&self) -> String {
        let counts = self.counts.lock().expect("nobody panics while counting");
        let Counts { sequences, plays, steps, thorough, struck, met, acts } = &*counts;
        let mut text = format!(
            "{sequences} sequences in {plays} plays, {steps} steps, {struck} of them cut, {met} with another within, {thorough} done again to the end"
        );
        acts.iter().for_each(|(act, count)| write!(text, ", {count} {act}").expect("it is text"));
        text
    }
}

/// A sequence that is played.
struct Scene {
    site: Site,
    model: Model,
    /// The caches as they were before some earlier act.
    before: [Cache; HOSTS],
}

impl Scene {
    fn begin(history: &History) -> Self {
        let site = history.site.fork();
        for host in 0..HOSTS {
            for (slot, content) in history.files[host].iter().enumerate() {
                if site.place.files(host)[slot] != *content {
                    site.place.change(host, slot, *content);
                }
            }
            put_cache(&site.place.cache(host), &history.caches[host]);
        }
        Self { site, model: history.model.clone(), before: history.caches.clone() }
    }

    fn end(self) -> History {
        let files = std::array::from_fn(|host| self.site.place.files(host));
        let caches = std::array::from_fn(|host| cache_at(&self.site.place.cache(host)));
        History { site: self.site, model: self.model, files, caches }
    }

    fn play(&mut self, steps: &[Step], stage: &Stage) -> Result {
        for (number, step) in steps.iter().enumerate() {
            self.step(step, stage)
                .and_then(|changed| self.judge(changed, stage))
                .map_err(|why| format!("step {number}: {why}"))?;
        }
        Ok(())
    }

    /// The stores that a step may have changed hold what they must.
    fn judge(&self, changed: BTreeSet<usize>, stage: &Stage) -> Result {
        if changed.is_empty() {
            return Ok(());
        }
        stage.count(|counts| counts.sequences += 1);
        changed.into_iter().try_for_each(|store| stage.oracle.judge(&self.site, &self.model, store, false))
    }

    fn step(&mut self, step: &Step, stage: &Stage) -> Result<BTreeSet<usize>> {
        let (ends, cut) = match *step {
            Step::Whole(act) => (self.whole(act), false),
            Step::Cut { act, at, carried_out } => {
                let how = if carried_out { FaultKind::AnswerLost } else { FaultKind::Before };
                let fault = Fault { at, how, then: Aftermath::Crash };
                let store =
                    Arc::new(FaultyStore::new(self.site.stores[act.store()].clone()).with_fault(fault));
                let ended = self.site.act(&act, store.clone());
                stage.count(|counts| counts.struck += u64::from(store.has_crashed()));
                (vec![(act, ended)], store.has_crashed())
            }
            Step::Around { act, at, other } => {
                let came = Arc::new(Mutex::new(None));
                let (site, tell) = (self.site.clone(), came.clone());
                let does = move || {
                    let store: Arc<dyn Store> = Arc::new(site.stores[other.store()].clone());
                    let ended = site.act(&other, store);
                    *tell.lock().expect("nobody else has it") = Some(ended);
                };
                let store = Meanwhile::new(self.site.stores[act.store()].clone(), at, does);
                let ended = self.site.act(&act, Arc::new(store));
                let came = came.lock().expect("it is over").take();
                stage.count(|counts| counts.met += u64::from(came.is_some()));
                (came.map(|came| (other, came)).into_iter().chain([(act, ended)]).collect(), false)
            }
        };
        stage.count(|counts| {
            counts.steps += 1;
            ends.iter().for_each(|(act, _)| *counts.acts.entry(act.name()).or_default() += 1);
            for (_, ended) in &ends {
                if let Ok(Done::Pruned { swept, retold }) = &ended.done {
                    *counts.acts.entry("packs swept").or_default() += swept;
                    *counts.acts.entry("snapshots told anew").or_default() += retold;
                }
            }
        });
        self.model.take_in(&ends, cut, self.site.today())?;
        Ok(ends.iter().filter_map(|(act, _)| act.changes()).collect())
    }

    /// An act to its end.
    fn whole(&mut self, act: Act) -> Vec<(Act, Ended)> {
        let place = self.site.place.clone();
        match act {
            Act::Change { host, slot, content } => place.change(host, slot, content),
            Act::DropCache { host } => drop(std::fs::remove_dir_all(place.cache(host))),
            Act::PoisonCache { host, which, how } => self.poison(host, which, how),
            Act::Tomorrow => {
                self.before = std::array::from_fn(|host| cache_at(&place.cache(host)));
                self.site.tomorrow();
            }
            act => {
                let store = Arc::new(self.site.stores[act.store()].clone());
                return vec![(act, self.site.act(&act, store))];
            }
        }
        vec![(act, Ended { done: Ok(Done::Nothing), touched: Vec::new(), saving: None })]
    }

    fn poison(&self, host: usize, which: usize, how: Poison) {
        let folder = self.site.place.cache(host);
        let mut cache = cache_at(&folder);
        if matches!(how, Poison::OfBefore) {
            return put_cache(&folder, &self.before[host]);
        }
        let Some(path) = cache.keys().nth(which % cache.len().max(1)).cloned() else { return };
        let bytes = cache.get_mut(&path).expect("it is there");
        match how {
            Poison::Flipped { at } if !bytes.is_empty() => {
                let at = at % bytes.len();
                bytes[at] ^= 1 << (at % 8);
            }
            Poison::CutOff { at } => bytes.truncate(at % (bytes.len() + 1)),
            Poison::Another { which } => {
                let others = cache_at(&self.site.place.cache((host + 1) % HOSTS));
                if let Some(other) = others.values().nth(which % others.len().max(1)) {
                    bytes.clone_from(other);
                }
            }
            _ => {}
        }
        put_cache(&folder, &cache);
    }
}

/// Reads a cache.
fn cache_at(folder: &Path) -> Cache {
    let mut cache = Cache::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("nobody else changes it");
                cache.insert(path, bytes);
            }
        }
    }
    cache
}

/// Makes a cache be this one.
fn put_cache(folder: &Path, cache: &Cache) {
    let _ = std::fs::remove_dir_all(folder);
    for (path, bytes) in cache {
        std::fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("a folder");
        std::fs::write(path, bytes).expect("it can be written");
    }
}
