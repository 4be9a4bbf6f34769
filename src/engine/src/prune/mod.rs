//! Collects garbage in one store, and compacts: plan, run, report.
//!
//! 1. `list_roots`: what must stay is what manifests name that are not forgotten, superseded or revoked, and what intents name.
//! 2. Packs that are sparse, or small and many, are written anew, by a writer that seals superseding manifests
//!    ([`relocate`]): what they rested on before is needed no more.
//! 3. `condemn`: a tomb names what nobody needs, and manifests that nobody sealed for long. No new snapshot rests on them.
//! 4. `wait_grace`: a later run goes on; with a grace of nothing, this one. The grace saves work, it is no part of the safety.
//! 5. Look again, in the right order, and delete what was condemned and is still not needed ([`sweep`]).
//!
//! A condemnation is never withdrawn: what turned out to be needed stays, and is closed to new snapshots.

mod choose;
mod doomed;
pub(crate) mod heed;
mod merge_tombs;
mod options;
pub(crate) mod relocate;
mod segments;
pub(crate) mod survey;
mod sweep;
pub(crate) mod usage;

pub use heed::{HeldUp, PATIENCE, how_many_keep};
pub use options::PruneOptions;
pub use segments::Merged;
pub use sweep::Swept;

use std::collections::HashSet;
use std::time::Duration;

use fardel_format::tomb::Takes;
use fardel_format::{ObjectHash, WriterId};
use fardel_store::Listing;
use jiff::Timestamp;

use crate::entomb;
use crate::forget::all_tombs_are_known;
use crate::index::ChunkIndex;
use crate::monitor::Monitor;
use crate::packs::PackReader;
use crate::repository::Repository;
use crate::status::Amount;
use crate::time::since;
use crate::{Error, Result};

use choose::Batch;
use doomed::{Doomed, Seen};
use relocate::Retold;
use survey::{Scope, Survey};
use usage::Wants;

/// Seconds.
const DAY: f64 = 86_400.0;

/// What a run would do, as far as it can be told beforehand.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// All packs.
    pub total: Amount,
    /// Packs that are deleted at once: they were condemned long enough ago.
    pub sweep: Amount,
    /// Packs that are condemned now, and deleted by a run after the grace; with those that are written anew.
    pub condemn: Amount,
    /// Packs that are written anew.
    pub repack: Amount,
    /// About how many bytes are stored for them.
    pub rewrite_bytes: u64,
    /// Snapshots that are told of anew.
    pub snapshots_retold: u64,
    /// About how many requests all of that takes.
    pub requests: u64,
    /// About how many bytes inside packs that are needed are not.
    pub unused_bytes: u64,
    /// How long the store keeps an object at least, by what it says or was said to.
    pub min_age: Duration,
    /// Packs that nobody needs and that are younger than that: they stay until then.
    pub young: Amount,
    /// What deleting those now would be charged for: bytes times days.
    pub young_byte_days: f64,
    /// Packs that no snapshot names yet, of backups that run or were interrupted.
    pub unfinished: Amount,
    /// Why nothing is written anew.
    pub no_repack: Option<String>,
    /// What stays only for replicas that other tools make.
    pub held_up: Vec<HeldUp>,
    /// How long what is condemned stays.
    pub grace: Duration,
    /// Whether that is so long because another tool copies this store and nobody says how far it came.
    pub patient: bool,
    /// Replicas of which acknowledgements lie here, and none that counts.
    pub silent: Vec<String>,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct PruneReport {
    /// What was deleted.
    pub swept: Swept,
    /// Packs that were condemned.
    pub condemned: Amount,
    /// Packs that were written anew, and those that were written instead.
    pub packs_read: u64,
    /// New packs.
    pub packs_written: u64,
    /// Bytes stored for them.
    pub bytes_stored: u64,
    /// Snapshots that were told of anew.
    pub snapshots_retold: u64,
    /// Packs that stay because they cannot be read whole, and why.
    pub unreadable: Vec<String>,
    /// Snapshots that stay as they were, since something was taken away from under them meanwhile; the next run tries again.
    pub left: u64,
    /// Index segments.
    pub index: Merged,
    /// Tombs that were merged into others.
    pub tombs_merged: u64,
    /// Condemned packs that nobody needs and that still wait.
    pub waiting: Amount,
}

/// A prune that is decided.
pub struct Plan<'a> {
    repo: &'a Repository,
    options: PruneOptions,
    survey: Survey,
    batches: Vec<Batch>,
    wants: Option<Wants>,
    reader: PackReader,
    /// What it will do.
    pub planned: Planned,
}

/// Looks at the store and decides.
///
/// # Errors
/// When the store's listings cannot be trusted, the key does not allow it, what a snapshot needs cannot be known, or the store
/// fails.
pub fn plan<'a>(repo: &'a Repository, options: &PruneOptions, monitor: &dyn Monitor) -> Result<Plan<'a>> {
    may_collect(repo)?;
    let survey = Survey::take(repo, Scope::Everything(options.copied))?;
    let rights = entomb::may_forget(repo, &survey.snapshots.registry)?;
    rights.need_maintain("pruning")?;
    if survey.heed.copied && !options.take_over {
        one_side_collects(&survey, rights.writer)?;
    }
    all_tombs_are_known(&survey.snapshots.tombs)?;
    let reader = PackReader::new(repo, &survey.catalog);
    let min_age = options.min_age.max(repo.store().retention()?);
    let mut plan = Plan {
        repo,
        options: PruneOptions { min_age, ..survey.heed.adjust(options) },
        survey,
        batches: Vec::new(),
        wants: None,
        reader,
        planned: Planned::default(),
    };
    plan.choose(monitor)?;
    plan.foretell();
    Ok(plan)
}

/// That what was written before a listing is in it: else something needed could be taken for garbage.
fn may_collect(repo: &Repository) -> Result<()> {
    match repo.store().capabilities().listing {
        Listing::Strong => Ok(()),
        Listing::Unknown => Err(Error::Refused(
            "nobody knows whether a listing of this store shows everything that was written before: nothing can be deleted \
             safely here"
                .into(),
        )),
    }
}

/// Both sides of a folder that a tool copies would delete what the other one counts on.
fn one_side_collects(survey: &Survey, me: WriterId) -> Result<()> {
    let Some((when, other)) = survey.snapshots.tombs.collector.as_ref().filter(|(_, by)| *by != me) else {
        return Ok(());
    };
    let signer = survey.snapshots.registry.get_even_removed(other);
    let name = signer.map_or_else(|| other.to_string(), |signer| signer.name.clone());
    Err(Error::Refused(format!(
        "another tool copies this store, and {name} collected in it last, on {when}: only one side may. If {name} never will again, or \
         works on this very folder: `fardel prune --take-over`"
    )))
}

impl Plan<'_> {
    /// Which packs are written anew.
    fn choose(&mut self, monitor: &dyn Monitor) -> Result<()> {
        let Self { repo, options, survey, reader, planned, .. } = self;
        if !options.repack {
            planned.no_repack = Some("it was not asked for".into());
            return Ok(());
        }
        if !repo.keys().can_read {
            planned.no_repack = Some("this key can only write: only whole packs are deleted".into());
            return Ok(());
        }
        if let Some(why) = &survey.opaque {
            planned.no_repack = Some(why.clone());
            return Ok(());
        }
        let index = ChunkIndex::for_reading(repo, &survey.catalog, reader)?;
        let snapshots = usage::movable(survey);
        let wants = match Wants::of(repo, survey, snapshots, (&*reader, &index), options.memory / 2, monitor)?
        {
            Ok(wants) => wants,
            Err(why) => {
                planned.no_repack = Some(format!("{why}: `fardel check` tells more"));
                return Ok(());
            }
        };
        let now = Timestamp::now();
        let young = |hash: &_| survey.born.get(hash).is_some_and(|born| since(born, now) < options.min_age);
        let used = usage::of_packs(survey, &wants, &index, young)?;
        let held = usage::held(repo, survey)?;
        self.batches = choose::choose(&used, &held, options);
        let chosen: HashSet<_> = self.batches.iter().flatten().map(|pack| pack.hash).collect();
        for used in &used {
            planned.unused_bytes += used.size - used.live;
            if used.live == 0 && used.young && !used.condemned {
                let age = survey.born.get(&used.hash).map_or(Duration::ZERO, |born| since(born, now));
                let left = options.min_age.saturating_sub(age);
                planned.young.add(used.size);
                planned.young_byte_days += used.size as f64 * left.as_secs_f64() / DAY;
            }
            if chosen.contains(&used.hash) {
                planned.repack.add(used.size);
                planned.rewrite_bytes += used.live;
            }
        }
        for sealed in usage::movable(survey) {
            let closure = repo.closure(&survey.catalog, &sealed.manifest)?;
            planned.snapshots_retold += u64::from(closure.iter().any(|pack| chosen.contains(&pack.hash)));
        }
        self.wants = Some(wants);
        Ok(())
    }

    fn foretell(&mut self) {
        let Self { repo, options, survey, planned, .. } = self;
        let now = Timestamp::now();
        let copies = survey.catalog.packs.values().flatten();
        copies.for_each(|copy| planned.total.add(copy.stored.size));
        // A plan remembers nothing: a dry run changes nothing.
        let doomed = Doomed::find(survey, &mut Seen::load(repo.cache()), options, now);
        planned.min_age = options.min_age;
        planned.sweep = doomed::sweepable(survey, options, now);
        planned.condemn.objects = doomed.amount.objects + planned.repack.objects;
        planned.condemn.bytes = doomed.amount.bytes + planned.repack.bytes;
        planned.young += doomed.young;
        planned.young_byte_days += doomed.young_byte_seconds as f64 / DAY;
        planned.unfinished = doomed.unfinished;
        planned.held_up = survey.heed.held_up(survey);
        planned.grace = options.grace;
        planned.patient = survey.heed.patient;
        planned.silent = survey.heed.silent.iter().cloned().collect();
        let new_packs = planned.rewrite_bytes.div_ceil(options.packer.pack_size.max(1));
        let retold = planned.snapshots_retold;
        let at_once = if options.grace.is_zero() { planned.condemn.objects } else { 0 };
        // Tables and frames of what is read; packs and their segments; list, manifest and seal of each snapshot; tombs.
        planned.requests = 3 * planned.repack.objects
            + planned.repack.bytes / (2 << 20)
            + 2 * new_packs
            + 3 * retold
            + planned.sweep.objects
            + at_once
            + 4;
    }

    /// Does it.
    ///
    /// # Errors
    /// When the store fails, or the user stops it. Nothing that is needed is ever gone then, and the next run goes on.
    pub fn run(self, monitor: &dyn Monitor) -> Result<PruneReport> {
        let Self { repo, options, mut survey, batches, wants, reader, .. } = self;
        let mut report = PruneReport::default();
        if let Some(wants) = wants.filter(|_| !batches.is_empty()) {
            let packer = options.packer.clone();
            let moved = relocate::rewrite(repo, &survey, &wants, &batches, &reader, packer, monitor)?;
            let snapshots = usage::movable(&survey).into_iter().map(Retold::moved);
            let told = relocate::tell(repo, &survey, &moved, snapshots, monitor)?;
            report.packs_read = moved.packs_read;
            report.packs_written = moved.packs_written;
            report.bytes_stored = moved.bytes_stored;
            report.snapshots_retold = told.published.len() as u64;
            report.left = told.left.len() as u64;
            survey = Survey::take(repo, Scope::Everything(options.copied))?;
            let stays = moved.unreadable.into_iter().filter(|(pack, _)| !was_swept(&survey, pack));
            report.unreadable = stays.map(|(_, why)| why).collect();
        }
        let now = Timestamp::now();
        let mut seen = Seen::load(repo.cache());
        let doomed = Doomed::find(&survey, &mut seen, &options, now);
        seen.save();
        report.condemned = doomed.amount;
        if !doomed.is_empty() {
            let Doomed { packs, others, .. } = doomed;
            entomb::entomb(repo, &survey.catalog, Takes::Condemn { packs, others })?;
        }
        report.swept = sweep::sweep(repo, &survey, &options, now, monitor)?;
        report.waiting = waiting(&survey, &report);
        report.index = segments::merge_all(repo)?;
        let is_old = |created: &str| since(created, now) >= options.min_age;
        report.tombs_merged = merge_tombs::merge_all(repo, &survey.manifests, is_old)?;
        Ok(report)
    }
}

/// Whether another run swept this pack.
fn was_swept(survey: &Survey, pack: &ObjectHash) -> bool {
    !survey.catalog.packs.contains_key(pack) && survey.snapshots.tombs.condemns_any(pack)
}

/// What is condemned, by this run or an earlier one, and still here.
fn waiting(survey: &Survey, report: &PruneReport) -> Amount {
    let mut waiting = report.condemned;
    for (hash, copy) in doomed::condemned_copies(survey) {
        if !doomed::is_needed(survey, hash, copy) {
            waiting.add(copy.stored.size);
        }
    }
    Amount {
        objects: waiting.objects.saturating_sub(report.swept.packs.objects),
        bytes: waiting.bytes.saturating_sub(report.swept.packs.bytes),
    }
}

#[cfg(test)]
mod tests;
