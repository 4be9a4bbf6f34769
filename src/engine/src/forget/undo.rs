//! Brings forgotten snapshots back, as long as no collector has swept what they need.
//!
//! A tomb is never withdrawn. A writer tells of the snapshot anew, in a manifest that stands despite the tombs that forget it.
//! What it needs and is condemned is written anew first, the root always: a collector that decided before takes the old ones
//! away. The rest is the protocol of any other snapshot: whatever is condemned meanwhile is found before the seal.

use std::collections::{BTreeMap, HashMap, HashSet};

use fardel_format::SnapshotId;
use fardel_format::pack_list::PackEntry;

use super::all_tombs_are_known;
use crate::entomb;
use crate::index::ChunkIndex;
use crate::monitor::Monitor;
use crate::packs::{PackReader, PackerOptions};
use crate::prune::relocate::{self, Moved, Retold};
use crate::prune::survey::{Scope, Survey};
use crate::prune::usage::Wants;
use crate::repository::Repository;
use crate::snapshots::Sealed;
use crate::{Error, Result};

/// How to bring snapshots back.
#[derive(Clone, Debug)]
pub struct UndoOptions {
    /// Only say which ones could be brought back.
    pub dry_run: bool,
    /// Bytes that may be held at once.
    pub memory: u64,
    /// How new packs are made.
    pub packer: PackerOptions,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct UndoReport {
    /// Those that exist again, or could.
    pub back: Vec<SnapshotId>,
    /// Those that do not, and why.
    pub gone: Vec<(SnapshotId, String)>,
    /// Bytes stored for them.
    pub bytes_stored: u64,
}

/// Brings back these snapshots (ids or beginnings of ids), or all that can be.
///
/// # Errors
/// When the key may not, a name fits no forgotten snapshot, or the store fails.
pub fn undo(
    repo: &Repository,
    names: &[String],
    options: &UndoOptions,
    monitor: &dyn Monitor,
) -> Result<UndoReport> {
    match try_undo(repo, names, options, monitor) {
        // A sweep may have taken it away after it was listed: a second look tells what is left.
        Err(error) if error.is_damage() => try_undo(repo, names, options, monitor),
        undone => undone,
    }
}

fn try_undo(
    repo: &Repository,
    names: &[String],
    options: &UndoOptions,
    monitor: &dyn Monitor,
) -> Result<UndoReport> {
    let survey = Survey::take(repo, Scope::Everything(false))?;
    entomb::may_forget(repo, &survey.snapshots.registry)?.need_maintain("bringing a snapshot back")?;
    all_tombs_are_known(&survey.snapshots.tombs)?;
    repo.need_reader()?;
    let mut report = UndoReport::default();
    let mut wanted = Vec::new();
    for sealed in find(&survey, names)? {
        match what_lacks(repo, &survey, sealed)? {
            None => wanted.push(sealed),
            Some(why) => report.gone.push((sealed.id(), why)),
        }
    }
    if options.dry_run {
        report.back = wanted.iter().map(|sealed| sealed.id()).collect();
        return Ok(report);
    }
    let moved = write_condemned(repo, &survey, &mut wanted, options, monitor, &mut report)?;
    report.bytes_stored = moved.bytes_stored;
    let mut retold = Vec::new();
    for sealed in &wanted {
        retold.push(Retold {
            root: Some(repo.root(&survey.catalog, sealed)?),
            despite: survey.snapshots.tombs.forgetting(&sealed.manifest).map(|forget| forget.tomb).collect(),
            always: true,
            sealed,
        });
    }
    let told = relocate::tell(repo, &survey, &moved, retold, monitor)?;
    let tombs = crate::commit::load_tombs(repo)?;
    for sealed in told.published {
        match tombs.forgets(&sealed.manifest) {
            false => report.back.push(sealed.id()),
            true => report.gone.push((sealed.id(), "it was forgotten again meanwhile".into())),
        }
    }
    let meanwhile = "a prune took something away meanwhile: try again";
    report.gone.extend(told.left.iter().map(|sealed| (sealed.id(), meanwhile.into())));
    Ok(report)
}

/// One forgotten manifest for each snapshot that was meant.
fn find<'a>(survey: &'a Survey, names: &[String]) -> Result<Vec<&'a Sealed>> {
    let alive: HashSet<_> = survey.snapshots.sealed.iter().map(Sealed::id).collect();
    let forgotten = survey.snapshots.forgotten.iter().filter(|sealed| !alive.contains(&sealed.id()));
    let forgotten: BTreeMap<_, _> = forgotten.map(|sealed| (sealed.id().to_string(), sealed)).collect();
    if names.is_empty() {
        let mut all: Vec<_> = forgotten.into_values().collect();
        all.sort_by_key(|sealed| (sealed.manifest.origin().created, sealed.name));
        return Ok(all);
    }
    let mut found: Vec<&Sealed> = Vec::new();
    for name in names {
        let fits = |id: &&String| !name.is_empty() && id.starts_with(&**name);
        let mut ids = forgotten.keys().filter(fits);
        match (ids.next(), ids.next()) {
            (Some(id), None) => found.push(forgotten[id]),
            (Some(_), Some(_)) => {
                let why = format!("{name} is the beginning of several forgotten snapshots: give more digits");
                return Err(Error::NotFound(why));
            }
            (None, _) => return Err(not_found(survey, name)),
        }
    }
    found.dedup_by_key(|sealed| sealed.id());
    Ok(found)
}

fn not_found(survey: &Survey, name: &str) -> Error {
    if survey.snapshots.sealed.iter().any(|sealed| sealed.id().to_string().starts_with(name)) {
        return Error::Refused(format!("snapshot {name} is not forgotten: there is nothing to undo"));
    }
    match survey.snapshots.tombs.all_forgotten().find(|id| id.to_string().starts_with(name)) {
        Some(id) => Error::NotFound(format!(
            "snapshot {} was forgotten and pruned: its data is gone from this store; another copy may still have it",
            id.short()
        )),
        None => Error::NotFound(format!("no forgotten snapshot {name}")),
    }
}

/// Why it cannot be brought back.
fn what_lacks(repo: &Repository, survey: &Survey, sealed: &Sealed) -> Result<Option<String>> {
    let gone = || Ok(Some("it was pruned: its data is gone from this store".to_owned()));
    if !survey.catalog.roots.contains_key(&sealed.manifest.root.hash) {
        return gone();
    }
    match repo.closure(&survey.catalog, &sealed.manifest) {
        Ok(closure)
            if closure.iter().all(|pack| survey.catalog.whole_pack(&pack.hash, pack.size).is_some()) =>
        {
            Ok(None)
        }
        Ok(_) => gone(),
        Err(error) if error.is_damage() => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Writes anew what the snapshots need and no snapshot may rest on.
fn write_condemned(
    repo: &Repository,
    survey: &Survey,
    wanted: &mut Vec<&Sealed>,
    options: &UndoOptions,
    monitor: &dyn Monitor,
    report: &mut UndoReport,
) -> Result<Moved> {
    let mut condemned: BTreeMap<_, PackEntry> = BTreeMap::new();
    let mut of: HashMap<SnapshotId, Vec<_>> = HashMap::new();
    for sealed in wanted.iter() {
        for pack in repo.closure(&survey.catalog, &sealed.manifest)? {
            if !crate::index::is_usable(&survey.catalog, &survey.snapshots.tombs, &pack.hash, pack.size) {
                condemned.insert(pack.hash, pack);
                of.entry(sealed.id()).or_default().push(pack.hash);
            }
        }
    }
    if condemned.is_empty() {
        return Ok(Moved::default());
    }
    let reader = PackReader::new(repo, &survey.catalog);
    let index = ChunkIndex::for_reading(repo, &survey.catalog, &reader)?;
    let wants =
        Wants::of(repo, survey, wanted.iter().copied(), (&reader, &index), options.memory / 2, monitor)?;
    let wants = wants.map_err(Error::Damaged)?;
    let batches = [condemned.into_values().collect()];
    let moved = relocate::rewrite(repo, survey, &wants, &batches, &reader, options.packer.clone(), monitor)?;
    wanted.retain(|sealed| {
        let stay = of.get(&sealed.id()).into_iter().flatten().find(|pack| !moved.has(pack));
        let why = stay.map(|pack| format!("pack {} cannot be read whole", pack.short()));
        report.gone.extend(why.map(|why| (sealed.id(), why)));
        stay.is_none()
    });
    Ok(moved)
}
