//! Carries snapshots to other stores, as they are, without any key.
//!
//! Snapshot by snapshot, newest first, so that one is whole as early as possible. In each target store:
//!
//! 1. put an intent that names the manifests and the packs they will rest on;
//! 2. put packs, then lists, root and manifest;
//! 3. list tombs, *then* packs: a pack that is condemned or gone is put again in a new generation;
//! 4. put the seal;
//! 5. list revocations: if the intent is revoked, go to 1; else remove it.
//!
//! Nothing is signed, and nothing is taken away: a forget travels only when it was meant for every copy, condemnations and
//! revocations never. Each target goes its own way, so that a slow or dead one holds up nobody; what several of them send at
//! about the same time is read from the source once.

mod arrival;
mod carrier;
mod gate;
mod intent;
mod pace;
mod packs;
mod plan;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fardel_store::{Store, Throttle};

use crate::bridge::Blocking;
use crate::catalog::Catalog;
use crate::monitor::Monitor;
use crate::repository::Repository;
use crate::status::{Amount, Known};
use crate::{Error, Result};

/// What a pack under way takes of memory, in bytes: the pieces that are read, and those that a store has in its hands.
const PACK_MEMORY: u64 = 8 << 20;

/// A store that is to become a copy.
pub struct Target {
    /// How it is called in messages.
    pub name: String,
    /// Where the copy lies.
    pub store: Arc<dyn Store>,
    /// How many packs go at once; when absent as many as pay off, and no more than the store recommends.
    pub parallelism: Option<usize>,
    /// Bytes a second that may go there.
    pub upload: Arc<Throttle>,
    /// Bytes a second that may be read from the source for this target.
    pub download: Arc<Throttle>,
    /// Watches this target.
    pub monitor: Arc<dyn Monitor>,
}

/// What all targets share.
pub struct ReplicateOptions {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Where packs of a source that is not on this machine lie while they are carried.
    pub spool: PathBuf,
    /// Bytes a second that may be read from the source, for all targets together.
    pub download: Throttle,
    /// Bytes of memory that packs under way may take, of all targets together.
    pub memory: u64,
}

/// What came of one target.
#[derive(Clone, Debug, Default)]
pub struct TargetReport {
    /// How it is called.
    pub name: String,
    /// Packs that were put there, or would be.
    pub packs: Amount,
    /// Other objects that were put there, or would be.
    pub others: Amount,
    /// Requests that this takes, listings of more than a page counted as one.
    pub requests: u64,
    /// Bytes that went there, repeated attempts included.
    pub bytes_sent: u64,
    /// Bytes that an earlier, interrupted upload had brought.
    pub bytes_resumed: u64,
    /// The newest snapshot of which everything is there.
    pub complete: Option<Known>,
    /// How many of the source's snapshots are newer than that.
    pub behind: u64,
    /// Why single snapshots could not be carried.
    pub problems: Vec<String>,
    /// How long it took.
    pub duration: Duration,
}

/// Carries what the targets lack, all of them at once. The reports come in the order of the targets; a target that failed
/// altogether costs the others nothing.
///
/// # Errors
/// When the source cannot be read.
pub fn replicate(
    repo: &Repository,
    catalog: &Catalog,
    targets: &[Target],
    options: &ReplicateOptions,
) -> Result<Vec<Result<TargetReport>>> {
    let source = source::Source::open(repo, catalog, options)?;
    let share = options.memory / targets.len().max(1) as u64;
    let most = usize::try_from(share / PACK_MEMORY).unwrap_or(usize::MAX).max(1);
    Ok(std::thread::scope(|scope| {
        let running: Vec<_> = targets
            .iter()
            .map(|target| {
                let source = &source;
                scope.spawn(move || carrier::run(source, target, most, options.dry_run))
            })
            .collect();
        running
            .into_iter()
            .map(|target| target.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    }))
}

impl Target {
    fn blocking(&self) -> Blocking {
        Blocking::new(self.store.clone())
    }

    fn stop_if_interrupted(&self) -> Result<()> {
        if self.monitor.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
