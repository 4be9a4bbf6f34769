//! What an operation runs on, and the states in which a crash can leave it.
//!
//! A medium in use records what was there before each changing call. One run therefore gives every crash within it: before
//! and after each call, in the middle of each write, and whatever a loss of power leaves of what was not synced.

use std::path::Path;
use std::sync::Arc;

use fardel_backends::folder::{FolderOptions, FolderStore, Loss, Moment, SimFault, SimFaultKind, SimFs};
use fardel_engine::bridge::Blocking;
use fardel_store::{
    Aftermath, Body, ErrorKind, Fault, FaultKind, FaultyStore, Key, MemoryStore, RetryPolicy, Retrying, Store,
};

use super::chance::Chance;
use super::digest::{Digests, Hashes, is_temporary};
use super::recorder::{Recorder, Step};

/// Where the repository lies on a simulated file system.
pub const ROOT: &str = "/sim/backups/repository";

/// The state of a repository's medium.
#[derive(Clone, Debug)]
pub enum Medium {
    /// A store in memory.
    Memory(MemoryStore),
    /// A folder on a file system that tells what is durable.
    Folder(SimFs),
}

/// A fault of the medium that the process lives through.
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

/// A medium in use; every changing call is recorded.
pub struct InUse {
    /// The store to run on.
    pub store: Arc<dyn Store>,
    recording: Recording,
}

/// What is recorded while a medium is in use; clones share it.
#[derive(Clone)]
pub enum Recording {
    /// Of a store in memory.
    Memory(Arc<Recorder>),
    /// Of a file system.
    Folder(SimFs),
}

/// What a run went through, call by call; the last one is its end.
pub enum Moments {
    /// Of a store in memory.
    Memory(Vec<Step>),
    /// Of a file system.
    Folder(Vec<Moment>),
}

/// What a crash left.
pub struct State {
    /// What the next process finds.
    pub medium: Medium,
    /// Which crash it was.
    pub crash: Crash,
}

/// A crash at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is gone, the machine goes on.
    ProcessDeath,
    /// The same in the middle of a write, after so many bytes.
    InTheMiddle(usize),
    /// The machine loses power.
    PowerLoss(Loss),
    /// A bad store shows so many bytes of an object under its name, though it promised not to.
    TornObject(usize),
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

    /// What is left of it when power is lost now.
    ///
    /// Everything, where a sync had failed and only a dead process knew: the next one's syncs succeed and store nothing, so
    /// that nothing could be proven. Real systems stop writing to such a disk instead.
    #[must_use]
    pub fn durable(&self) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(memory.deep_clone()),
            Self::Folder(fs) if fs.has_forgotten() => Self::Folder(fs.deep_clone()),
            Self::Folder(fs) => Self::Folder(fs.after_power_loss(Loss::DropUnsynced)),
        }
    }

    /// Opens it; it fails as planned, counted from now.
    #[must_use]
    pub fn open(&self, plan: Plan) -> InUse {
        match self {
            Self::Memory(memory) => {
                let recorder = Arc::new(Recorder::new(memory.clone()));
                let recording = Recording::Memory(recorder.clone());
                let faulty = FaultyStore::new(recorder);
                let store: Arc<dyn Store> = match plan {
                    Plan::Retried(fault) => {
                        let none = std::time::Duration::ZERO;
                        let policy = RetryPolicy { attempts: 3, first_pause: none, longest_pause: none };
                        Arc::new(Retrying::with_policy(faulty.with_fault(fault), policy))
                    }
                    Plan::Store(fault) => Arc::new(faulty.with_fault(fault)),
                    Plan::Well | Plan::Fs(_) => Arc::new(faulty),
                };
                InUse { store, recording }
            }
            Self::Folder(fs) => {
                fs.record();
                if let Plan::Fs(fault) = plan {
                    let at = fs.calls() + fault.at;
                    fs.set_fault(Some(SimFault { at, ..fault }));
                }
                InUse { store: Arc::new(folder(fs)), recording: Recording::Folder(fs.clone()) }
            }
        }
    }

    /// What it holds, in short.
    #[must_use]
    pub fn digests(&self, hashes: &mut Hashes) -> Digests {
        match self {
            Self::Memory(memory) => {
                let names = memory.names().into_iter();
                hashes.of_objects(names.filter_map(|name| memory.get_raw(&name).map(|bytes| (name, bytes))))
            }
            Self::Folder(fs) => hashes.of_files(fs.visible(Path::new("/sim")), Path::new(ROOT)),
        }
    }

    /// Whether there are no temporaries.
    #[must_use]
    pub fn is_tidy(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Folder(fs) => !fs.visible(Path::new("/sim")).iter().any(|file| is_temporary(&file.path)),
        }
    }
}

impl InUse {
    /// What is recorded, to ask while the medium is in use.
    #[must_use]
    pub fn recording(&self) -> Recording {
        self.recording.clone()
    }

    /// The end of the use: every moment of it.
    #[must_use]
    pub fn end(self) -> Moments {
        // Closing may change something too.
        drop(self.store);
        match self.recording {
            Recording::Memory(recorder) => Moments::Memory(recorder.take_steps()),
            Recording::Folder(fs) => Moments::Folder(fs.take_moments()),
        }
    }
}

impl Recording {
    /// Changing calls so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        match self {
            Self::Memory(recorder) => recorder.calls(),
            Self::Folder(fs) => fs.recorded(),
        }
    }
}

impl Moments {
    /// How many there are; never none.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the end is always there")]
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(steps) => steps.len(),
            Self::Folder(moments) => moments.len(),
        }
    }

    /// What a crash at moment number `at` can leave. Losses of power are at most `losses`, if there are more by chance.
    #[must_use]
    pub fn states(&self, at: usize, losses: u64, chance: &mut Chance) -> Vec<State> {
        match self {
            Self::Memory(steps) => {
                let step = &steps[at];
                let torn = |len| {
                    Some(State { medium: Medium::Memory(step.torn(len)?), crash: Crash::TornObject(len) })
                };
                let dead =
                    State { medium: Medium::Memory(step.before.deep_clone()), crash: Crash::ProcessDeath };
                lengths(step.putting()).into_iter().filter_map(torn).chain([dead]).collect()
            }
            Self::Folder(moments) => {
                let moment = &moments[at];
                let fs = moment.file_system();
                let middle = |len| State {
                    medium: Medium::Folder(moment.torn(len).file_system()),
                    crash: Crash::InTheMiddle(len),
                };
                let lost = |loss| State {
                    medium: Medium::Folder(fs.after_power_loss(loss)),
                    crash: Crash::PowerLoss(loss),
                };
                let mut states: Vec<State> = lengths(moment.writing()).into_iter().map(middle).collect();
                states.extend(ways(fs.losses(), losses, chance).into_iter().map(Loss::Nth).map(lost));
                states.push(State { medium: Medium::Folder(fs.deep_clone()), crash: Crash::ProcessDeath });
                states
            }
        }
    }
}

impl Crash {
    /// Whether the store broke its promise: then what does not verify is no mistake.
    #[must_use]
    pub fn tears(self) -> bool {
        matches!(self, Self::TornObject(_))
    }
}

/// Where a write of so many bytes is torn.
fn lengths(len: usize) -> Vec<usize> {
    let mut lengths = vec![0, 1, len / 2, len.saturating_sub(1)];
    lengths.retain(|cut| *cut < len);
    lengths.dedup();
    lengths
}

/// All numbers below `all`; or the first, the last, and others by chance, `most` in all.
fn ways(all: u64, most: u64, chance: &mut Chance) -> Vec<u64> {
    if all <= most {
        return (0..all).collect();
    }
    let others = (2..most).map(|_| 1 + chance.below(all - 2));
    [0, all - 1].into_iter().chain(others).collect()
}

fn folder(fs: &SimFs) -> FolderStore {
    FolderStore::with_fs(Arc::new(fs.clone()), Path::new(ROOT), FolderOptions::default())
}

impl Plan {
    /// Every way in which changing call number `at` of a store can fail while the process lives on.
    #[must_use]
    pub fn of_store(at: u64) -> Vec<Self> {
        let mut plans = Vec::new();
        for how in [FaultKind::Before, FaultKind::AnswerLost, FaultKind::Torn] {
            let once = Aftermath::Once(ErrorKind::Transient);
            for then in [once, Aftermath::Forever(ErrorKind::NoSpace)] {
                plans.push(Self::Store(Fault { at, how, then }));
            }
            plans.push(Self::Retried(Fault { at, how, then: once }));
        }
        plans
    }

    /// Every way in which changing call number `at` of a file system can fail while the process lives on.
    #[must_use]
    pub fn of_fs(at: u64) -> Vec<Self> {
        use SimFaultKind::{AnswerLost, FailForever, FailOnce};
        [FailOnce, AnswerLost, FailForever].into_iter().map(|how| Self::Fs(SimFault { at, how })).collect()
    }

    /// Every way in which changing call number `at` of this medium can fail while the process lives on.
    #[must_use]
    pub fn all(medium: &Medium, at: u64) -> Vec<Self> {
        if matches!(medium, Medium::Memory(_)) { Self::of_store(at) } else { Self::of_fs(at) }
    }

    /// Whether an object may now lie torn under its final name, as bad stores leave them.
    #[must_use]
    pub fn tears(self) -> bool {
        matches!(self, Self::Store(fault) | Self::Retried(fault) if fault.how == FaultKind::Torn)
    }
}
