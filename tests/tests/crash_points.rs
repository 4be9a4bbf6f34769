//! Every way to be interrupted: each changing call of a store, and of a file system that loses what was not synced.
//!
//! A scenario is a repository as it is before, and a backup. The backup is run once for each of its changing calls and
//! each way in which that call can fail. Every state that is left is opened: what was reported as saved is there, what is
//! sealed is whole, and the same backup made again succeeds and adds nothing when it is made once more.
//!
//! `just soak` runs a million states; `FARDEL_SEED` chooses others.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use fardel_engine::Error;
use fardel_engine::bridge::Blocking;
use fardel_engine::keyring::Material;
use fardel_store::{Body, ByteRange, Capabilities, Key, Listed, Store};
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::medium::{Aftermaths, InUse, Medium, Plan};
use fardel_tests::crash::program::{self, Keys, Manner, Ran, Reported};
use fardel_tests::crash::site::{Scale, Site, VERSIONS, View};
use fardel_tests::crash::tally::Tally;
use fardel_tests::crash::verify::{Expected, Known, verify};
use fardel_tests::crash::{Result, is_soak, seed, temporary_folder};
use futures::stream::BoxStream;

/// States in CI, at least.
const STATES: u64 = 20_000;
/// States of a soak, at least.
const SOAK_STATES: u64 = 1_000_000;
/// Losses of power by chance after each run.
const RANDOM_LOSSES: u64 = 4;
/// In one state of so many the backup is made once more after it was made again: it must add nothing.
const ONCE_MORE: u64 = 4;
/// Steps of a chain of crashes; then a new one begins, since each step adds snapshots.
const CHAIN: u64 = 10;
/// Failures after which there is no point in going on.
const ENOUGH_FAILURES: usize = 8;

#[test]
fn every_crash_point() {
    let seed = seed();
    let tally = Tally::new(seed);
    let failures = Mutex::new(Vec::new());
    let wanted = if is_soak() { SOAK_STATES } else { STATES };
    let scenarios = scenarios(seed);
    let jobs: Vec<(usize, Job)> = scenarios
        .iter()
        .enumerate()
        .flat_map(|(i, s)| s.jobs(seed).into_iter().map(move |job| (i, job)))
        .collect();
    let mut jobs = jobs;
    if let Ok(only) = std::env::var("FARDEL_ONLY") {
        jobs.retain(|(i, job)| scenarios[*i].title(job).starts_with(&only));
    }
    jobs.sort_by_key(|(i, job)| Chance::of(seed, &format!("{i}{job:?}"), 0).next());
    println!("{} runs are planned", jobs.len());
    let chains = AtomicU64::new(0);
    let next = AtomicUsize::new(0);
    let tally_start = Instant::now();
    let limit: f64 = std::env::var("LIMIT").ok().and_then(|t| t.parse().ok()).unwrap_or(0.0);
    in_parallel(|| {
        while let Some((scenario, job)) = jobs.get(next.fetch_add(1, Relaxed)) {
            let scenario = &scenarios[*scenario];
            let began = Instant::now();
            match scenario.run(job, seed) {
                Ok(states) => tally.add(&scenario.title(job), 1, states, began.elapsed()),
                Err(why) => failures.lock().unwrap().push(format!("{}, {job:?}: {why}", scenario.title(job))),
            }
            if failures.lock().unwrap().len() >= ENOUGH_FAILURES
                || (limit > 0.0 && tally_start.elapsed().as_secs_f64() > limit)
            {
                return;
            }
        }
        // Whatever is lacking then: crashes upon crashes, by chance.
        while tally.states() < wanted && failures.lock().unwrap().len() < ENOUGH_FAILURES {
            let number = chains.fetch_add(1, Relaxed);
            let began = Instant::now();
            match chain(&scenarios[0].site, seed, number) {
                Ok(states) => tally.add("crashes upon crashes", CHAIN, states, began.elapsed()),
                Err(why) => failures.lock().unwrap().push(format!("chain {number}: {why}")),
            }
        }
    });
    tally.print("crash points");
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "seed {seed}:\n{}", failures.join("\n"));
    assert!(tally.states() >= wanted, "only {} states", tally.states());
}

fn in_parallel(work: impl Fn() + Sync) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(&work)));
    });
}

// -- scenarios -------------------------------------------------------------------------------------------------------

/// A repository before an operation, and the operation.
struct Scenario {
    name: &'static str,
    operation: Operation,
    site: Arc<Site>,
    view: View,
    keys: Keys,
    memory: Medium,
    folder: Medium,
    /// The client's cache before.
    cache: tempfile::TempDir,
    reported: Vec<Reported>,
    known: Known,
    /// About so many runs are made in CI.
    runs: usize,
}

#[derive(Clone, Copy)]
enum Operation {
    Init,
    Backup(Manner),
    /// While this backup is made, another host makes its own.
    Beside(Manner, Manner),
}

/// One run.
#[derive(Clone, Copy, Debug)]
struct Job {
    on: On,
    plan: Plan,
    /// The other host makes its backup before this call.
    beside: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Memory,
    Folder,
}

fn scenarios(seed: u64) -> Vec<Scenario> {
    let tiny = Arc::new(Site::new(seed, Scale::Tiny).expect("a site"));
    let small = Arc::new(Site::new(seed, Scale::Small).expect("a site"));
    let large = Arc::new(Site::new(seed, Scale::Large).expect("a site"));
    let plain = Manner { stream: false, ..Manner::plain() };
    let streaming = Manner::plain();
    let sealing = Manner { checkpoints: true, threads: 2, packs_per_segment: 2, ..plain };
    let next = |manner: Manner| Manner { version: 1, ..manner };
    let other = |manner: Manner| Manner { host: 1, ..manner };
    let backup = Operation::Backup;
    vec![
        Scenario::new("init", Operation::Init, &tiny, 250),
        Scenario::new("first backup", backup(plain), &tiny, 500),
        Scenario::new("first backup with a stream", backup(streaming), &small, 60),
        Scenario::new("first backup, large", backup(streaming), &large, 10),
        Scenario::new("first backup, sealing", backup(sealing), &tiny, 90),
        Scenario::new("incremental", backup(next(plain)), &tiny, 500).after(&[plain]),
        Scenario::new("incremental with a stream", backup(next(streaming)), &small, 40).after(&[streaming]),
        Scenario::new("incremental, large", backup(Manner { threads: 2, ..next(streaming) }), &large, 10)
            .after(&[streaming]),
        Scenario::new("incremental, sealing", backup(next(sealing)), &tiny, 70).after(&[sealing]),
        Scenario::new("resume", backup(sealing), &tiny, 70).after_crash(sealing, seed),
        Scenario::new("resume of incremental", backup(next(sealing)), &tiny, 70)
            .after(&[plain])
            .after_crash(next(sealing), seed),
        Scenario::new("second host", backup(other(plain)), &tiny, 400).after(&[plain]),
        Scenario::new("two hosts at once", Operation::Beside(next(plain), next(other(plain))), &tiny, 400)
            .after(&[plain, other(plain)]),
    ]
}

impl Scenario {
    fn new(name: &'static str, operation: Operation, site: &Arc<Site>, runs: usize) -> Self {
        let view = site.view(&name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")).expect("a view");
        let cache = temporary_folder("cache");
        let (memory, keys) = match operation {
            Operation::Init => (Medium::Memory(fardel_store::MemoryStore::new()), None),
            _ => program::repository(2, cache.path()).map(|(m, k)| (m, Some(k))).expect("a repository"),
        };
        let keys = keys.unwrap_or_else(|| program::repository(1, cache.path()).expect("a repository").1);
        let site = site.clone();
        let folder = memory.on_a_file_system();
        Self { name, operation, site, view, keys, memory, folder, cache, reported: Vec::new(), known: Known::default(), runs }
    }

    /// The same, after these backups were made.
    fn after(mut self, backups: &[Manner]) -> Self {
        for manner in backups {
            let in_use = self.memory.open(Plan::Well);
            let ran =
                program::backup(in_use.store, &self.keys, self.cache.path(), &self.site, &self.view, manner);
            ran.outcome.expect("nothing fails");
            self.reported.extend(ran.reported);
        }
        self.folder = self.memory.on_a_file_system();
        self
    }

    /// The same, after this backup was interrupted somewhere in its second half.
    fn after_crash(mut self, manner: Manner, seed: u64) -> Self {
        let calls = self.calls(&self.memory, &manner);
        let at = calls / 2 + Chance::of(seed, self.name, 0).below(calls / 2);
        let fault = fardel_store::Fault {
            at,
            how: fardel_store::FaultKind::AnswerLost,
            then: fardel_store::Aftermath::Crash,
        };
        let in_use = self.memory.open(Plan::Store(fault));
        let ran =
            program::backup(in_use.store, &self.keys, self.cache.path(), &self.site, &self.view, &manner);
        self.reported.extend(ran.reported);
        self.folder = self.memory.on_a_file_system();
        self
    }

    /// How many changing calls the backup makes when nothing fails.
    fn calls(&self, medium: &Medium, manner: &Manner) -> u64 {
        let cache = self.copy_of_cache();
        let medium = medium.fork();
        let in_use = medium.open(Plan::Well);
        let before = in_use.calls();
        let ran =
            program::backup(in_use.store.clone(), &self.keys, cache.path(), &self.site, &self.view, manner);
        ran.outcome.expect("nothing fails");
        in_use.calls() - before
    }

    fn copy_of_cache(&self) -> tempfile::TempDir {
        let copy = temporary_folder("cache");
        copy_folder(self.cache.path(), copy.path()).expect("a copy of the cache");
        copy
    }

    fn title(&self, job: &Job) -> String {
        format!("{}, {}", self.name, if job.on == On::Memory { "store" } else { "file system" })
    }

    /// The runs of the scenario: in a soak all of them, else a choice that follows from the seed.
    fn jobs(&self, seed: u64) -> Vec<Job> {
        let mut jobs = self.all_jobs();
        let mut chance = Chance::of(seed, self.name, 1);
        while !is_soak() && jobs.len() > self.runs {
            jobs.swap_remove(chance.below(jobs.len() as u64) as usize);
        }
        jobs
    }

    fn all_jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (on, medium) in [(On::Memory, &self.memory), (On::Folder, &self.folder)] {
            let plans = |at| if on == On::Memory { Plan::of_store(at) } else { Plan::of_fs(at) };
            match self.operation {
                Operation::Init => {
                    let calls = init_calls(medium);
                    jobs.extend((0..calls).flat_map(plans).map(|plan| Job { on, plan, beside: None }));
                }
                Operation::Backup(manner) => {
                    let points = 0..self.calls(medium, &manner);
                    jobs.extend(points.flat_map(plans).map(|plan| Job { on, plan, beside: None }));
                }
                Operation::Beside(manner, _) => {
                    let puts = self.calls(&self.memory, &manner);
                    jobs.extend((0..puts).map(|at| Job { on, plan: Plan::Well, beside: Some(at) }));
                    if on == On::Memory {
                        let plans =
                            (0..puts).flat_map(|at| (0..puts).step_by(3).map(move |beside| (at, beside)));
                        jobs.extend(plans.map(|(at, beside)| {
                            let kinds = Plan::of_store(at);
                            let plan = kinds[(at + beside) as usize % kinds.len()];
                            Job { on, plan, beside: Some(beside) }
                        }));
                    }
                }
            }
        }
        jobs
    }

    /// Runs the operation as planned and looks at every state that it can leave; returns how many there were.
    fn run(&self, job: &Job, seed: u64) -> Result<u64> {
        let medium = if job.on == On::Memory { self.memory.fork() } else { self.folder.fork() };
        let mut chance = Chance::of(seed, &format!("{}{job:?}", self.name), 0);
        let expected = Expected { reported: self.reported.clone(), torn: job.plan.tears() };
        match self.operation {
            Operation::Init => init_run(&medium, job.plan, &self.site, &self.view, &mut chance),
            Operation::Backup(manner) => {
                let cache = self.copy_of_cache();
                let in_use = medium.open(job.plan);
                let ran = program::backup(
                    in_use.store.clone(),
                    &self.keys,
                    cache.path(),
                    &self.site,
                    &self.view,
                    &manner,
                );
                self.states(in_use, cache.path(), expected.with(ran), &[manner], &mut chance)
            }
            Operation::Beside(manner, other) => {
                self.run_beside(&medium, job, manner, other, expected, &mut chance)
            }
        }
    }

    fn run_beside(
        &self,
        medium: &Medium,
        job: &Job,
        manner: Manner,
        other: Manner,
        expected: Expected,
        chance: &mut Chance,
    ) -> Result<u64> {
        let (cache, other_cache) = (self.copy_of_cache(), self.copy_of_cache());
        let in_use = medium.open(job.plan);
        let other_use = medium.open(Plan::Well);
        let ran = Mutex::new(None);
        let backup = |store, cache: &Path, manner| {
            program::backup(store, &self.keys, cache, &self.site, &self.view, manner)
        };
        let meanwhile =
            || *ran.lock().unwrap() = Some(backup(other_use.store.clone(), other_cache.path(), &other));
        let own = std::thread::scope(|scope| {
            let (ask, asked) = std::sync::mpsc::sync_channel::<()>(0);
            let (answer, answered) = std::sync::mpsc::sync_channel::<()>(0);
            scope.spawn(move || {
                if asked.recv().is_ok() {
                    meanwhile();
                    let _ = answer.send(());
                }
            });
            let pause = Mutex::new(Some((ask, answered)));
            let store = Pausing {
                inner: in_use.store.clone(),
                at: job.beside.unwrap_or_default(),
                calls: AtomicU64::new(0),
                pause,
            };
            backup(Arc::new(store), cache.path(), &manner)
        });
        drop(other_use);
        let mut expected = expected.with(own);
        if let Some(other) = ran.into_inner().unwrap() {
            other.outcome.as_ref().map_err(|why| format!("the other host failed: {why}"))?;
            expected = expected.with(other);
        }
        self.states(in_use, cache.path(), expected, &[manner, other], chance)
    }

    fn states(
        &self,
        in_use: InUse,
        cache: &Path,
        expected: Expected,
        again: &[Manner],
        chance: &mut Chance,
    ) -> Result<u64> {
        let look = Look { keys: &self.keys, site: &self.site, view: &self.view, known: &self.known, again };
        look.at_all(in_use, cache, &expected, chance)
    }
}

/// What is expected once an operation ran.
trait With {
    fn with(self, ran: Ran) -> Self;
}

impl With for Expected {
    fn with(mut self, ran: Ran) -> Self {
        self.reported.extend(ran.reported);
        self
    }
}

// -- looking at what a crash left ------------------------------------------------------------------------------------

struct Look<'a> {
    keys: &'a Keys,
    site: &'a Site,
    view: &'a View,
    known: &'a Known,
    /// What is done again afterwards.
    again: &'a [Manner],
}

impl Look<'_> {
    fn at_all(&self, in_use: InUse, cache: &Path, expected: &Expected, chance: &mut Chance) -> Result<u64> {
        let medium = in_use.after(Aftermaths::ProcessDeath);
        let aftermaths = Aftermaths::of(&medium, chance, RANDOM_LOSSES);
        for aftermath in &aftermaths {
            let cache = after(*aftermath, cache, chance);
            let state = in_use.after(*aftermath);
            self.at(&state, cache.path(), expected, chance).map_err(|why| format!("{aftermath:?}: {why}"))?;
        }
        Ok(aftermaths.len() as u64)
    }

    /// One state: what was reported is there; the same again succeeds; once more, in some states, adds nothing.
    fn at(&self, state: &Medium, cache: &Path, expected: &Expected, chance: &mut Chance) -> Result {
        self.verify(state, cache, expected, chance)?;
        let mut expected = expected.clone();
        for manner in self.again {
            let report =
                self.backup(state, cache, manner, &mut expected).map_err(|why| format!("again: {why}"))?;
            if report.snapshot.is_none() || report.partial {
                return Err("again: it was not finished".into());
            }
        }
        self.verify(state, cache, &expected, chance).map_err(|why| format!("after doing it again: {why}"))?;
        if !chance.one_in(ONCE_MORE) {
            return Ok(());
        }
        let manner = &self.again[0];
        let report =
            self.backup(state, cache, manner, &mut expected).map_err(|why| format!("once more: {why}"))?;
        if report.bytes_added > 0 || report.packs_written > 0 {
            return Err(format!(
                "once more: {} bytes were added in {} packs",
                report.bytes_added, report.packs_written
            ));
        }
        self.verify(state, cache, &expected, chance).map_err(|why| format!("after doing it once more: {why}"))
    }

    fn verify(&self, state: &Medium, cache: &Path, expected: &Expected, chance: &mut Chance) -> Result {
        // A copy, so that looking does not repair anything for the next run.
        let store = state.fork().open(Plan::Well).store;
        verify(store, self.keys, cache, self.site, self.known, expected, chance)
    }

    fn backup(
        &self,
        state: &Medium,
        cache: &Path,
        manner: &Manner,
        expected: &mut Expected,
    ) -> Result<fardel_engine::backup::BackupReport> {
        let store = state.open(Plan::Well).store;
        let ran = program::backup(store, self.keys, cache, self.site, self.view, manner);
        expected.reported.extend(ran.reported);
        ran.outcome
    }
}

/// The client's cache as the next process finds it: nobody syncs it, so that a loss of power can leave anything.
fn after(aftermath: Aftermaths, cache: &Path, chance: &mut Chance) -> tempfile::TempDir {
    let copy = temporary_folder("cache");
    let lost = matches!(aftermath, Aftermaths::PowerLoss(_)) && chance.one_in(3);
    if !lost {
        copy_folder(cache, copy.path()).expect("a copy of the cache");
    }
    if matches!(aftermath, Aftermaths::PowerLoss(_)) {
        for file in files(copy.path()) {
            damage(&file, chance).expect("a damaged cache");
        }
    }
    copy
}

fn damage(file: &Path, chance: &mut Chance) -> std::io::Result<()> {
    let mut bytes = std::fs::read(file)?;
    let cut = chance.below(bytes.len() as u64 + 1) as usize;
    match chance.below(4) {
        0 => bytes.truncate(cut),
        1 => bytes[cut..].fill(0),
        _ => return Ok(()),
    }
    std::fs::write(file, bytes)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    for file in files(from) {
        let at = to.join(file.strip_prefix(from).expect("it lies there"));
        std::fs::create_dir_all(at.parent().expect("a folder"))?;
        std::fs::copy(&file, at)?;
    }
    Ok(())
}

// -- init ------------------------------------------------------------------------------------------------------------

fn init_calls(medium: &Medium) -> u64 {
    let medium = medium.fork();
    let in_use = medium.open(Plan::Well);
    let before = in_use.calls();
    program::begin(&Blocking::new(in_use.store.clone())).and_then(|(_, made)| made).expect("nothing fails");
    in_use.calls() - before
}

/// Makes a repository and is interrupted. Either there is none and the next attempt makes one; or there is one, and the
/// recovery identity that was shown before opens it.
fn init_run(medium: &Medium, plan: Plan, site: &Site, view: &View, chance: &mut Chance) -> Result<u64> {
    let in_use = medium.open(plan);
    let begun = program::begin(&Blocking::new(in_use.store.clone()));
    let aftermaths = Aftermaths::of(&in_use.after(Aftermaths::ProcessDeath), chance, 2 * RANDOM_LOSSES);
    for aftermath in &aftermaths {
        let state = in_use.after(*aftermath);
        init_state(&state, &begun, plan.tears(), site, view, chance)
            .map_err(|why| format!("{aftermath:?}: {why}"))?;
    }
    Ok(aftermaths.len() as u64)
}

fn init_state(
    state: &Medium,
    begun: &Result<(Keys, Result<Keys>)>,
    torn: bool,
    site: &Site,
    view: &View,
    chance: &mut Chance,
) -> Result {
    let cache = temporary_folder("cache");
    let acknowledged = matches!(begun, Ok((_, Ok(_))));
    let opened = begun.as_ref().ok().map(|(keys, _)| {
        let material = Material::Identities(program::identities(&keys.recovery));
        let options = fardel_engine::OpenOptions {
            material: Some(material),
            cache: cache.path().to_owned(),
            display: "the test's".into(),
            pinned: Some(keys.id),
        };
        fardel_engine::Repository::open(state.open(Plan::Well).store, options)
            .map(|(repo, _)| (keys.clone(), repo))
    });
    let keys = match opened {
        Some(Ok((keys, repo))) if repo.keys().root.is_some() => keys,
        Some(Ok(_)) => return Err("the recovery identity does not open the root key".into()),
        Some(Err(error)) if acknowledged => return Err(format!("it was acknowledged, and is lost: {error}")),
        Some(Err(Error::NoRepository(_))) | None => again(state)?,
        // A bad store tore the card itself: there is nothing else yet that could be lost.
        Some(Err(_)) if torn => again(state)?,
        Some(Err(error)) => return Err(error.to_string()),
    };
    let known = Known::default();
    let look = Look { keys: &keys, site, view, known: &known, again: &[Manner { tree: false, ..Manner::plain() }] };
    look.at(state, cache.path(), &Expected { reported: Vec::new(), torn }, chance)
}

fn again(state: &Medium) -> Result<Keys> {
    program::begin(&Blocking::new(state.open(Plan::Well).store))
        .and_then(|(_, made)| made)
        .map_err(|why| format!("init again: {why}"))
}

// -- another host at the same time -----------------------------------------------------------------------------------

/// A store that waits at one of its `put_new` until somebody else is done.
#[derive(Debug)]
struct Pausing {
    inner: Arc<dyn Store>,
    at: u64,
    calls: AtomicU64,
    pause: Mutex<Option<(std::sync::mpsc::SyncSender<()>, std::sync::mpsc::Receiver<()>)>>,
}

#[async_trait::async_trait]
impl Store for Pausing {
    async fn put_new(&self, key: &Key, body: Body) -> fardel_store::Result<()> {
        if self.calls.fetch_add(1, Relaxed) == self.at
            && let Some((ask, answered)) = self.pause.lock().unwrap().take()
        {
            let _ = ask.send(()).map(|()| answered.recv());
        }
        self.inner.put_new(key, body).await
    }
    async fn get_range(&self, key: &Key, range: ByteRange) -> fardel_store::Result<bytes::Bytes> {
        self.inner.get_range(key, range).await
    }
    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, fardel_store::Result<Listed>> {
        self.inner.list(prefix)
    }
    async fn delete(&self, key: &Key) -> fardel_store::Result<()> {
        self.inner.delete(key).await
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

// -- crashes upon crashes --------------------------------------------------------------------------------------------

/// A repository that is interrupted again and again, by both hosts, whatever they save; returns how many states were seen.
fn chain(site: &Site, seed: u64, number: u64) -> Result<u64> {
    let mut chance = Chance::of(seed, "chain", number);
    let view = site.view(&format!("chain-{number}")).map_err(|e| e.to_string())?;
    let mut caches: Vec<_> = (0..2).map(|_| temporary_folder("cache")).collect();
    let (mut medium, keys) = program::repository(2, caches[0].path())?;
    if !chance.one_in(4) {
        medium = medium.on_a_file_system();
    }
    let (mut expected, known) = (Expected::default(), Known::default());
    let mut states = 0;
    for step in 0..CHAIN {
        let manner = Manner {
            host: chance.below(2) as usize,
            version: chance.below(VERSIONS as u64) as usize,
            threads: 1 + chance.below(2) as usize,
            checkpoints: chance.one_in(3),
            packs_per_segment: 1 + chance.below(2) as usize,
            tree: !chance.one_in(4),
            stream: !chance.one_in(4),
        };
        let calls = if matches!(medium, Medium::Memory(_)) { 20 } else { 150 };
        let calls = if manner.checkpoints { calls * 3 } else { calls };
        let plan = if chance.one_in(4) { Plan::Well } else { Plan::by_chance(&mut chance, &medium, calls) };
        expected.torn |= plan.tears();
        let in_use = medium.open(plan);
        let cache = caches[manner.host].path().to_owned();
        let ran = program::backup(in_use.store.clone(), &keys, &cache, site, &view, &manner);
        let in_words = |why: String| format!("step {step}, {manner:?}, {plan:?}: {why}");
        if plan == Plan::Well {
            ran.outcome.as_ref().map_err(|why| in_words(why.clone()))?;
        }
        expected.reported.extend(ran.reported);
        let mut left = Vec::new();
        for aftermath in Aftermaths::of(&medium, &mut chance, RANDOM_LOSSES) {
            let state = in_use.after(aftermath);
            let cache = after(aftermath, &cache, &mut chance);
            let store = state.fork().open(Plan::Well).store;
            verify(store, &keys, cache.path(), site, &known, &expected, &mut chance)
                .map_err(|why| in_words(format!("{aftermath:?}: {why}")))?;
            left.push((state, cache));
        }
        states += left.len() as u64;
        let (state, cache) = left.swap_remove(chance.below(left.len() as u64) as usize);
        drop(in_use);
        (medium, caches[manner.host]) = (state, cache);
    }
    Ok(states)
}
