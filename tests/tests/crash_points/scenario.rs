//! Repositories as they are before an operation, and the operation.

use std::sync::Arc;

use fardel_tests::crash::Result;
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::medium::{Medium, Plan};
use fardel_tests::crash::program::{self, Keys, Manner, Reported};
use fardel_tests::crash::site::{Scale, Site, View};
use fardel_tests::crash::tally::Counts;
use fardel_tests::crash::verify::{Known, Verifier};
use fardel_tests::disk_tree::temporary_folder;

use super::explorer::{Again, Explorer};
use super::new_repository;
use super::{FAILING_MOMENTS, FAILING_RUNS, LOSSES, SEALING};

/// A repository before an operation, and the operation.
pub struct Scenario {
    /// How it is called in the counts.
    pub name: &'static str,
    /// What is saved.
    pub site: Arc<Site>,
    operation: Operation,
    view: View,
    keys: Keys,
    memory: Medium,
    folder: Medium,
    /// The client's cache before.
    cache: tempfile::TempDir,
    reported: Vec<Reported>,
    known: Known,
}

#[derive(Clone, Copy)]
enum Operation {
    Init,
    Backup(Manner),
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    on: On,
    plan: Plan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Store,
    FileSystem,
}

impl Scenario {
    /// All of them, with sources that follow from the seed.
    pub fn all(seed: u64) -> Vec<Self> {
        let tiny = Arc::new(Site::new(seed, Scale::Tiny).expect("a site"));
        let small = Arc::new(Site::new(seed, Scale::Small).expect("a site"));
        let plain = Manner { stream: false, threads: 2, ..Manner::plain() };
        let streaming = Manner { stream: true, ..plain };
        let sealing = Manner { checkpoints: true, packs_per_segment: 2, ..plain };
        let next = |manner: Manner| Manner { version: 1, ..manner };
        let other = |manner: Manner| Manner { host: 1, ..manner };
        let backup = Operation::Backup;
        vec![
            Self::new("init", Operation::Init, &tiny),
            Self::new("first backup", backup(plain), &tiny),
            Self::new("first backup with a stream", backup(streaming), &small),
            Self::new("first backup, sealing", backup(sealing), &tiny),
            Self::new("incremental", backup(next(plain)), &tiny).after(&[plain]),
            Self::new("incremental, sealing", backup(next(sealing)), &tiny).after(&[sealing]),
            Self::new("resume", backup(sealing), &tiny).after_crash(sealing, seed),
            Self::new("resume of incremental", backup(next(sealing)), &tiny)
                .after(&[plain])
                .after_crash(next(sealing), seed),
            Self::new("second host", backup(other(plain)), &tiny).after(&[plain]),
        ]
    }

    fn new(name: &'static str, operation: Operation, site: &Arc<Site>) -> Self {
        let view = site.view(&name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")).expect("a view");
        let cache = temporary_folder("cache");
        let (memory, keys) = match operation {
            Operation::Init => {
                let keys = program::repository(1, cache.path()).expect("a repository").1;
                (Medium::Memory(fardel_store::MemoryStore::new()), keys)
            }
            Operation::Backup(_) => program::repository(2, cache.path()).expect("a repository"),
        };
        let folder = memory.on_a_file_system();
        Self {
            name,
            operation,
            site: site.clone(),
            view,
            keys,
            memory,
            folder,
            cache,
            reported: Vec::new(),
            known: Known::default(),
        }
    }

    /// The same, after these backups were made.
    fn after(mut self, backups: &[Manner]) -> Self {
        for manner in backups {
            let in_use = self.memory.open(Plan::Well);
            let ran = program::backup(&in_use, &self.keys, self.cache.path(), &self.site, &self.view, manner);
            ran.outcome.expect("nothing fails");
            self.remember(ran.reported);
        }
        self.folder = self.memory.on_a_file_system();
        self
    }

    /// The same, after this backup was interrupted somewhere in its second half.
    fn after_crash(mut self, manner: Manner, seed: u64) -> Self {
        let in_use = self.memory.fork().open(Plan::Well);
        let mut ran =
            program::backup(&in_use, &self.keys, self.cache.path(), &self.site, &self.view, &manner);
        let moments = in_use.end();
        let half = moments.len() / 2;
        let at = half + Chance::of(seed, self.name, 0).below(half as u64) as usize;
        let state = moments.states(at, 0, &mut Chance::new(seed)).pop().expect("the death of the process");
        self.memory = state.medium;
        ran.reported.retain(|reported| reported.at <= at);
        self.remember(ran.reported);
        self.folder = self.memory.on_a_file_system();
        self
    }

    fn remember(&mut self, reported: Vec<Reported>) {
        self.reported.extend(reported.into_iter().map(|reported| Reported { at: 0, ..reported }));
    }

    fn medium(&self, on: On) -> Medium {
        if on == On::Store { self.memory.fork() } else { self.folder.fork() }
    }

    /// How a run is called in the counts.
    pub fn title(&self, job: &Job) -> String {
        format!("{}, {}", self.name, if job.on == On::Store { "store" } else { "file system" })
    }

    /// One run where nothing fails, on each medium; and runs where a call does, a choice that follows from the seed.
    pub fn jobs(&self, seed: u64) -> Vec<Job> {
        let mut jobs = Vec::new();
        for on in [On::Store, On::FileSystem] {
            jobs.push(Job { on, plan: Plan::Well });
            let medium = self.medium(on);
            let in_use = medium.open(Plan::Well);
            match self.operation {
                Operation::Init => drop(new_repository::make(&in_use)),
                Operation::Backup(manner) => drop(program::backup(
                    &in_use,
                    &self.keys,
                    self.copy_of_cache().path(),
                    &self.site,
                    &self.view,
                    &manner,
                )),
            }
            let calls = in_use.recording().calls() as u64;
            let mut plans: Vec<Plan> = (0..calls).flat_map(|at| Plan::all(&medium, at)).collect();
            let mut chance = Chance::of(seed, self.name, u64::from(on == On::Store));
            let sealing = matches!(self.operation, Operation::Backup(Manner { checkpoints: true, .. }));
            let most = if sealing { FAILING_RUNS / SEALING as usize } else { FAILING_RUNS };
            while plans.len() > most {
                plans.swap_remove(chance.below(plans.len() as u64) as usize);
            }
            jobs.extend(plans.into_iter().map(|plan| Job { on, plan }));
        }
        jobs
    }

    fn copy_of_cache(&self) -> tempfile::TempDir {
        super::explorer::copy(self.cache.path())
    }

    /// Runs the operation as planned, and looks at the states that it can leave.
    ///
    /// # Errors
    /// When one of them is not as it must be.
    pub fn run(&self, job: &Job, mut chance: Chance) -> Result<Counts> {
        let medium = self.medium(job.on);
        let in_use = medium.open(job.plan);
        let manner = match self.operation {
            Operation::Init => return new_repository::run(in_use, job.plan, self, chance),
            Operation::Backup(manner) => manner,
        };
        let cache = self.copy_of_cache();
        let ran = program::backup(&in_use, &self.keys, cache.path(), &self.site, &self.view, &manner);
        let in_words = |why: String| format!("{job:?}: {why}");
        if job.plan == Plan::Well {
            ran.outcome.as_ref().map_err(|why| in_words(why.clone()))?;
        }
        let mut explorer = Explorer::new(
            Verifier { keys: &self.keys, site: &self.site, known: &self.known },
            // Sealing all the time is for crashes alone: it takes long.
            Again { view: &self.view, manner: Manner { checkpoints: false, ..manner } },
            [self.cache.path(), cache.path()],
        );
        explorer.reported.clone_from(&self.reported);
        explorer.reported.extend(ran.reported);
        explorer.torn = job.plan.tears();
        let moments = in_use.end();
        let mut chosen = chosen(job.plan, moments.len(), &mut chance);
        if manner.checkpoints {
            chosen.retain(|at| at + 1 == moments.len() || chance.one_in(SEALING));
        }
        for at in chosen {
            explorer.explore(&moments, at, LOSSES, &mut chance).map_err(in_words)?;
        }
        Ok(explorer.counts)
    }

    /// What it saves, to be shown by those who go on from a new repository.
    pub fn view(&self) -> &View {
        &self.view
    }
}

/// The moments that are looked at: all, or after a call that failed its end and some by chance.
pub fn chosen(plan: Plan, moments: usize, chance: &mut Chance) -> Vec<usize> {
    let first = match plan {
        Plan::Well => return (0..moments).collect(),
        Plan::Store(fault) | Plan::Retried(fault) => fault.at,
        Plan::Fs(fault) => fault.at,
    };
    let first = (first as usize).min(moments - 1);
    let mut chosen: Vec<usize> =
        (0..FAILING_MOMENTS).map(|_| first + chance.below((moments - first) as u64) as usize).collect();
    chosen.push(moments - 1);
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}
