//! What an operation runs on, and the states in which a crash can leave it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fardel_backends::folder::{FolderOptions, FolderStore, Loss, SimFault, SimFaultKind, SimFs};
use fardel_engine::bridge::Blocking;
use fardel_store::{
    Aftermath, Body, ErrorKind, Fault, FaultKind, FaultyStore, Key, MemoryStore, RetryPolicy, Retrying, Store,
};

use super::chance::Chance;

const ROOT: &str = "/sim/backups/repository";

/// The state of a repository's medium.
#[derive(Clone, Debug)]
pub enum Medium {
    /// A store in memory.
    Memory(MemoryStore),
    /// A folder on a file system that tells what is durable.
    Folder(SimFs),
}

/// A fault of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// None.
    Well,
    /// The store fails.
    Store(Fault),
    /// The store fails, and the client tries again.
    Retried(Fault),
    /// The file system fails.
    Fs(SimFault),
}

/// What else a crash does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aftermaths {
    /// The process is gone, the machine goes on.
    ProcessDeath,
    /// The machine loses power.
    PowerLoss(Loss),
}

/// A medium in use.
pub struct InUse {
    /// The store to run on.
    pub store: Arc<dyn Store>,
    source: Source,
}

enum Source {
    Memory(MemoryStore, Arc<FaultyStore<MemoryStore>>),
    Folder(SimFs),
}

impl Medium {
    /// The same objects on a simulated file system, all durable.
    ///
    /// # Panics
    /// Never, unless the folder store is broken.
    #[must_use]
    pub fn on_a_file_system(&self) -> Self {
        let Self::Memory(memory) = self else { return self.fork() };
        let fs = SimFs::new();
        let store = Blocking::new(Arc::new(folder(&fs)));
        for name in memory.names() {
            let bytes = memory.get_raw(&name).expect("it was listed");
            store.put_new(&Key::new(&*name).expect("a key"), Body::Bytes(bytes)).expect("nothing fails");
        }
        drop(store);
        Self::Folder(fs.after_power_loss(Loss::DropUnsynced))
    }

    /// An independent copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(memory.deep_clone()),
            Self::Folder(fs) => Self::Folder(fs.deep_clone()),
        }
    }

    /// Opens it; it fails as planned.
    #[must_use]
    pub fn open(&self, plan: Plan) -> InUse {
        match self {
            Self::Memory(memory) => {
                let faulty = Arc::new(FaultyStore::new(memory.clone()));
                let store: Arc<dyn Store> = match plan {
                    Plan::Retried(fault) => {
                        faulty.set_fault(Some(fault));
                        let none = std::time::Duration::ZERO;
                        let policy = RetryPolicy { attempts: 3, first_pause: none, longest_pause: none };
                        Arc::new(Retrying::with_policy(faulty.clone(), policy))
                    }
                    Plan::Store(fault) => {
                        faulty.set_fault(Some(fault));
                        faulty.clone()
                    }
                    Plan::Well | Plan::Fs(_) => faulty.clone(),
                };
                InUse { store, source: Source::Memory(memory.clone(), faulty) }
            }
            Self::Folder(fs) => {
                if let Plan::Fs(fault) = plan {
                    let at = fs.calls() + fault.at;
                    fs.set_fault(Some(SimFault { at, ..fault }));
                }
                InUse { store: Arc::new(folder(fs)), source: Source::Folder(fs.clone()) }
            }
        }
    }

    /// Every object with its bytes.
    #[must_use]
    pub fn objects(&self) -> Vec<(String, Bytes)> {
        match self {
            Self::Memory(memory) => {
                memory.names().into_iter().filter_map(|n| Some((n.clone(), memory.get_raw(&n)?))).collect()
            }
            Self::Folder(fs) => {
                let files = fs.files(Path::new(ROOT)).into_iter();
                let name = |path: &Path| {
                    path.strip_prefix(ROOT).map(|p| p.display().to_string()).unwrap_or_default()
                };
                files.map(|(path, bytes)| (name(&path), bytes.into())).collect()
            }
        }
    }
}

impl InUse {
    /// Changing calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        match &self.source {
            Source::Memory(_, faulty) => faulty.mutations(),
            Source::Folder(fs) => fs.calls(),
        }
    }

    /// Whether the process counts as dead.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        match &self.source {
            Source::Memory(_, faulty) => faulty.has_crashed(),
            Source::Folder(fs) => fs.is_dead(),
        }
    }

    /// What the next process finds; the store must not be used any more.
    #[must_use]
    pub fn after(&self, aftermath: Aftermaths) -> Medium {
        match (&self.source, aftermath) {
            (Source::Memory(memory, _), _) => Medium::Memory(memory.deep_clone()),
            (Source::Folder(fs), Aftermaths::ProcessDeath) => Medium::Folder(fs.after_process_death()),
            (Source::Folder(fs), Aftermaths::PowerLoss(loss)) => Medium::Folder(fs.after_power_loss(loss)),
        }
    }
}

fn folder(fs: &SimFs) -> FolderStore {
    FolderStore::with_fs(Arc::new(fs.clone()), Path::new(ROOT), FolderOptions::default())
}

impl Plan {
    /// Every plan for changing call number `at` of a store.
    #[must_use]
    pub fn of_store(at: u64) -> Vec<Self> {
        let mut plans = Vec::new();
        for how in [FaultKind::Before, FaultKind::AnswerLost, FaultKind::Torn] {
            let once = Aftermath::Once(ErrorKind::Transient);
            for then in [Aftermath::Crash, once, Aftermath::Forever(ErrorKind::NoSpace)] {
                plans.push(Self::Store(Fault { at, how, then }));
            }
            plans.push(Self::Retried(Fault { at, how, then: once }));
        }
        plans
    }

    /// Every plan for changing call number `at` of a file system.
    #[must_use]
    pub fn of_fs(at: u64) -> Vec<Self> {
        use SimFaultKind::{AnswerLost, CrashAfter, CrashBefore, CrashTorn, FailForever, FailOnce};
        let kinds = [CrashBefore, CrashAfter, CrashTorn, FailOnce, AnswerLost, FailForever];
        kinds.into_iter().map(|how| Self::Fs(SimFault { at, how })).collect()
    }

    /// One plan by chance, before call `end`.
    pub fn by_chance(chance: &mut Chance, medium: &Medium, end: u64) -> Self {
        let at = chance.below(end);
        match medium {
            Medium::Memory(_) => *chance.pick(&Self::of_store(at)),
            Medium::Folder(_) => *chance.pick(&Self::of_fs(at)),
        }
    }

    /// Whether an object may now lie torn under its final name, as bad stores leave them.
    #[must_use]
    pub fn tears(self) -> bool {
        matches!(self, Self::Store(fault) | Self::Retried(fault) if fault.how == FaultKind::Torn)
    }
}

impl Aftermaths {
    /// What to look at after a run on this medium: `random` losses of power by chance.
    #[must_use]
    pub fn of(medium: &Medium, chance: &mut Chance, random: u64) -> Vec<Self> {
        let mut all = vec![Self::ProcessDeath];
        if matches!(medium, Medium::Folder(_)) {
            all.extend([Loss::DropUnsynced, Loss::KeepAll].map(Self::PowerLoss));
            all.extend((0..random).map(|_| Self::PowerLoss(Loss::Random(chance.next()))));
        }
        all
    }
}
