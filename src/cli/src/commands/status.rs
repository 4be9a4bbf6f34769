//! `fardel status`: what each copy holds, without any key.
//!
//! All copies are looked at at once; one that cannot be reached costs the others nothing. The replicas are measured by the
//! repository, and all of them by what this machine saw in them before, which lies beside the cache.

mod table;

use fardel_engine::snapshots::Snapshots;
use fardel_engine::status::{Before, Gone, Known, Original, Remembered, Status, status_since};
use fardel_format::RepositoryId;
use jiff::{Timestamp, ZonedDateTime};
use serde::Serialize;

use crate::app::App;
use crate::args::StatusArgs;
use crate::config::{Config, Process};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human;
use crate::location::Location;
use crate::open::{self, Access, Opened};
use crate::schedule::{Due, Schedule};

/// What was found out about one copy.
struct Copy<'a> {
    name: String,
    location: String,
    schedule: Option<&'a Schedule>,
    looked: Result<Looked>,
}

struct Looked {
    id: RepositoryId,
    status: Status,
    remembered: Remembered,
    stall: Option<Stall>,
    /// Snapshots that a copy holds and this one, which is what it is a copy of, does not; and which copy.
    held: Vec<(String, Gone)>,
}

/// That nothing came when something should have come.
struct Stall {
    due: Timestamp,
    why: String,
}

impl Looked {
    fn is_rolled_back(&self) -> bool {
        !self.status.rolled_back.is_empty() || !self.held.is_empty()
    }

    fn is_well(&self) -> bool {
        let status = &self.status;
        let whole = status.behind == 0 && status.incomplete.is_empty() && status.missing.objects == 0;
        whole && !status.is_locked && self.stall.is_none() && !self.is_rolled_back()
    }
}

#[derive(Serialize)]
struct CopyLine<'a> {
    copy: &'a str,
    location: &'a str,
    complete_snapshot: Option<String>,
    complete_time: Option<&'a str>,
    newest_snapshot: Option<String>,
    newest_time: Option<&'a str>,
    behind: u64,
    incomplete_snapshots: usize,
    missing_objects: u64,
    missing_bytes: u64,
    missing_packs: u64,
    missing_pack_bytes: u64,
    missing_at_least: bool,
    missing: Vec<&'a str>,
    locked: bool,
    rollback: bool,
    rolled_back: Vec<GoneLine<'a>>,
    stalled: bool,
    stalled_since: Option<String>,
    stalled_why: Option<&'a str>,
    schedule: Option<String>,
    last_sync: Option<&'a str>,
    named_heads: Vec<String>,
    snapshots: u64,
    packs: u64,
    stored_objects: u64,
    stored_bytes: u64,
    unsealed: u64,
    unexplained_objects: u64,
    unexplained_bytes: u64,
    ignored_names: u64,
    foreign_writers: Vec<String>,
    problems: Vec<String>,
}

/// A snapshot that was there, and is not.
#[derive(Serialize)]
struct GoneLine<'a> {
    writer: String,
    seq: u32,
    snapshot: String,
    /// The copy that still holds it; none when this machine saw it before.
    held_by: Option<&'a str>,
}

#[derive(Serialize)]
struct CopyFailed<'a> {
    copy: &'a str,
    location: &'a str,
    code: u8,
    message: &'a str,
    hint: &'a str,
}

#[derive(Serialize)]
struct Summary {
    repository_id: Option<String>,
    copies: usize,
    complete: usize,
    unreachable: usize,
    rolled_back: usize,
    stalled: usize,
}

/// Runs the command.
///
/// # Errors
/// When the only copy cannot be looked at; one of several that cannot is told, and in the exit code.
pub fn run(app: &App, args: &StatusArgs) -> Result<Exit> {
    let mut copies = match &args.replica {
        Some(replica) => {
            let location = app.config.copy(replica, &Process)?;
            let schedule = app.config.replicas.iter().find(|known| known.name == *replica);
            let schedule = schedule.and_then(|known| known.schedule.as_ref());
            vec![only(app, replica, location, schedule)?]
        }
        None if app.config.replicas.is_empty() => {
            vec![only(app, "repository", app.config.location()?, None)?]
        }
        None => all(app)?,
    };
    for copy in &copies {
        match &copy.looked {
            Ok(looked) => app.out.json("copy", &CopyLine::of(copy, looked))?,
            Err(failure) => app.out.json("copy-failed", &CopyFailed::of(copy, failure))?,
        }
    }
    if !app.out.is_json() {
        table::show(app, &copies)?;
    }
    for looked in copies.iter_mut().filter_map(|copy| copy.looked.as_mut().ok()) {
        looked.remembered.note(&looked.status);
        remember(app, &looked.remembered);
    }
    let looked = || copies.iter().filter_map(|copy| copy.looked.as_ref().ok());
    let summary = Summary {
        repository_id: looked().next().map(|looked| looked.id.to_string()),
        copies: copies.len(),
        complete: looked().filter(|looked| looked.is_well()).count(),
        unreachable: copies.len() - looked().count(),
        rolled_back: looked().filter(|looked| looked.is_rolled_back()).count(),
        stalled: looked().filter(|looked| looked.stall.is_some()).count(),
    };
    app.out.summary(&summary)?;
    Ok(if summary.complete == summary.copies { Exit::Done } else { Exit::Incomplete })
}

/// One copy, measured by nothing but itself.
fn only<'a>(app: &App, name: &str, location: Location, schedule: Option<&'a Schedule>) -> Result<Copy<'a>> {
    let shown = location.to_string();
    let (looked, ..) = look(&app.config, location, None, schedule)?;
    Ok(Copy { name: name.to_owned(), location: shown, schedule, looked: Ok(looked) })
}

/// The repository, and then all replicas at once.
fn all(app: &App) -> Result<Vec<Copy<'_>>> {
    let location = app.config.location()?;
    let shown = location.to_string();
    let (looked, original) = match look(&app.config, location, None, None) {
        Ok((looked, opened, snapshots)) => (Ok(looked), Some((opened, snapshots))),
        Err(failure) => (Err(failure), None),
    };
    let original = original.as_ref().map(|(opened, snapshots)| Original {
        repo: &opened.repo,
        catalog: &opened.catalog,
        snapshots,
    });
    let repository = Copy { name: "repository".into(), location: shown, schedule: None, looked };
    let replicas: Vec<Copy<'_>> = std::thread::scope(|scope| {
        let look_at = |replica| scope.spawn(move || look_at_replica(&app.config, replica, original));
        let running: Vec<_> = app.config.replicas.iter().map(look_at).collect();
        let done = running.into_iter().map(|thread| thread.join());
        done.map(|copy| copy.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut copies = vec![repository];
    copies.extend(replicas);
    let mut held: Vec<_> = copies
        .iter()
        .filter_map(|copy| Some((copy.name.clone(), &copy.looked.as_ref().ok()?.status.ahead)))
        .flat_map(|(name, ahead)| ahead.iter().map(move |gone| (name.clone(), *gone)))
        .collect();
    if !held.is_empty() {
        // A backup and a replication may have come between the two looks.
        let (.., again) = look(&app.config, app.config.location()?, None, None)?;
        held.retain(|(_, gone)| !again.sealed.iter().any(|sealed| sealed.id() == gone.snapshot));
    }
    if let Ok(looked) = &mut copies[0].looked {
        looked.held = held;
    }
    Ok(copies)
}

fn look_at_replica<'a>(
    config: &Config,
    replica: &'a crate::config::Replica,
    original: Option<Original<'_>>,
) -> Copy<'a> {
    let (location, schedule) = (replica.location(), replica.schedule.as_ref());
    let shown = location.as_ref().map_or_else(|_| String::new(), Location::to_string);
    let looked = location.and_then(|location| look(config, location, original, schedule));
    Copy {
        name: replica.name.clone(),
        location: shown,
        schedule,
        looked: looked.map(|(looked, ..)| looked).map_err(without_copy),
    }
}

/// A replica that nothing was carried to yet is made by `sync`, not by `init`.
fn without_copy(failure: Failure) -> Failure {
    match failure.exit {
        Exit::NoRepository => failure.with_hint("`fardel sync` carries the repository there"),
        _ => failure,
    }
}

fn look(
    config: &Config,
    location: Location,
    original: Option<Original<'_>>,
    schedule: Option<&Schedule>,
) -> Result<(Looked, Opened, Snapshots)> {
    let opened = match original {
        Some(original) => {
            let store = open::store(config, &location)?;
            open::open_with(config, store, location, None, Some(*original.repo.id()))?
        }
        None => open::open_at(config, location, Access::Keyless)?,
    };
    let remembered = Remembered::load(opened.repo.cache(), &opened.location.to_string());
    let before = Before { original, remembered: Some(&remembered) };
    let snapshots = Snapshots::load_for_reading(&opened.repo, &opened.catalog)?;
    let status = status_since(&opened.repo, &opened.catalog, &snapshots, &before)?;
    let now = ZonedDateTime::now();
    let due = schedule.and_then(|schedule| schedule.due(&now));
    let stall = due.and_then(|due| stall(&status, &remembered, due, now.timestamp()));
    let looked = Looked { id: *opened.repo.id(), status, remembered, stall, held: Vec::new() };
    Ok((looked, opened, snapshots))
}

/// Whether a run that was due did not bring what it should have brought.
fn stall(status: &Status, remembered: &Remembered, due: Due, now: Timestamp) -> Option<Stall> {
    let moment = |text: &str| text.parse::<Timestamp>().ok();
    let told = |why: String| Some(Stall { due: due.run, why });
    let synced = remembered.synced().and_then(moment);
    if synced.is_some_and(|synced| synced >= due.run) {
        return None;
    }
    let shown = |moment: Timestamp| human::time(&moment.to_string());
    if let Some(since) = status.lacks_since.as_deref().and_then(moment).filter(|since| *since < due.run) {
        return told(format!("a snapshot of {} is still not whole here", shown(since)));
    }
    let Some(complete) = &status.complete else {
        let nothing = status.snapshots == 0 && status.behind == 0;
        return if nothing { None } else { told("no snapshot is whole yet".into()) };
    };
    // What a writer's clock told wrongly, this machine's own clock tells.
    let written = moment(&complete.time).filter(|time| *time <= now);
    let seen = || remembered.complete_since(&complete.id).and_then(moment);
    let newest = written.or_else(seen).max(synced)?;
    if newest >= due.before {
        return None;
    }
    told(format!("nothing newer came since {}", shown(newest)))
}

/// Writes down what was seen, for the next time.
pub fn remember(app: &App, remembered: &Remembered) {
    let saved = open::make_cache(&app.config.cache).and_then(|()| Ok(remembered.save()?));
    if let Err(failure) = saved {
        app.out.warning(&format!("what was seen cannot be remembered: {}", failure.message));
    }
}

impl<'a> CopyLine<'a> {
    fn of(copy: &'a Copy<'_>, looked: &'a Looked) -> Self {
        let status = &looked.status;
        let (complete, newest) = (status.complete.as_ref(), status.newest.as_ref());
        let id = |known: Option<&Known>| known.map(|known| known.id.to_string());
        let seen = status.rolled_back.iter().map(|gone| GoneLine::of(gone, None));
        let held = looked.held.iter().map(|(copy, gone)| GoneLine::of(gone, Some(copy)));
        Self {
            copy: &copy.name,
            location: &copy.location,
            complete_snapshot: id(complete),
            complete_time: complete.map(|known| &*known.time),
            newest_snapshot: id(newest),
            newest_time: newest.map(|known| &*known.time),
            behind: status.behind,
            incomplete_snapshots: status.incomplete.len(),
            missing_objects: status.missing.objects,
            missing_bytes: status.missing.bytes,
            missing_packs: status.missing_packs.objects,
            missing_pack_bytes: status.missing_packs.bytes,
            missing_at_least: status.missing_at_least,
            missing: status.missing_names.iter().map(fardel_store::Key::as_str).collect(),
            locked: status.is_locked,
            rollback: looked.is_rolled_back(),
            rolled_back: seen.chain(held).collect(),
            stalled: looked.stall.is_some(),
            stalled_since: looked.stall.as_ref().map(|stall| stall.due.to_string()),
            stalled_why: looked.stall.as_ref().map(|stall| &*stall.why),
            schedule: copy.schedule.map(ToString::to_string),
            last_sync: looked.remembered.synced(),
            named_heads: status.named.iter().map(|(writer, name)| format!("{writer}/{name}")).collect(),
            snapshots: status.snapshots,
            packs: status.packs.objects,
            stored_objects: status.stored.objects,
            stored_bytes: status.stored.bytes,
            unsealed: status.unsealed,
            unexplained_objects: status.unexplained.objects,
            unexplained_bytes: status.unexplained.bytes,
            ignored_names: status.ignored_names,
            foreign_writers: status.foreign_writers.iter().map(ToString::to_string).collect(),
            problems: status.problems.iter().map(|p| format!("{}: {}", p.object, p.error)).collect(),
        }
    }
}

impl<'a> GoneLine<'a> {
    fn of(gone: &Gone, held_by: Option<&'a String>) -> Self {
        let (writer, snapshot) = (gone.writer.to_string(), gone.snapshot.to_string());
        Self { writer, seq: gone.seq, snapshot, held_by: held_by.map(String::as_str) }
    }
}

impl<'a> CopyFailed<'a> {
    fn of(copy: &'a Copy<'_>, failure: &'a Failure) -> Self {
        Self {
            copy: &copy.name,
            location: &copy.location,
            code: failure.exit.code(),
            message: &failure.message,
            hint: &failure.hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use fardel_format::SnapshotId;
    use jiff::SignedDuration;

    use super::*;

    fn known(time: &str) -> Option<Known> {
        Some(Known { id: SnapshotId([1; 32]), time: time.to_owned() })
    }

    #[test]
    fn a_copy_stalls_when_what_was_due_did_not_come() {
        let folder = tempfile::tempdir().unwrap();
        let mut remembered = Remembered::load(folder.path(), "usb");
        let now: Timestamp = "2026-11-25T16:00:00Z".parse().unwrap();
        let days = |n: i64| now - SignedDuration::from_hours(24 * n);
        let due = Due { run: days(1), before: days(2) };
        let why = |status: &Status, remembered: &Remembered| {
            stall(status, remembered, due, now).map(|stall| stall.why)
        };
        let mut status =
            Status { complete: known("2026-11-24T00:00:00Z"), snapshots: 1, ..Status::default() };
        assert_eq!(why(&status, &remembered), None, "younger than the run before");
        status.lacks_since = Some("2026-11-24T15:59:00Z".into());
        assert!(why(&status, &remembered).unwrap().contains("still not whole"));
        status.lacks_since = Some("2026-11-24T16:01:00Z".into());
        assert_eq!(why(&status, &remembered), None, "the next run may carry it");
        status = Status { complete: known("2026-11-23T00:00:00Z"), snapshots: 1, ..Status::default() };
        assert!(why(&status, &remembered).unwrap().contains("nothing newer came since"));
        // A clock that is ahead hides nothing for longer than this machine has seen it.
        status.complete = known("2031-01-01T00:00:00Z");
        remembered.note(&status);
        assert_eq!(why(&status, &remembered), None);
        let later = Due { run: Timestamp::now(), before: Timestamp::now() };
        assert!(stall(&status, &remembered, later, Timestamp::now()).is_some());
        // Nothing was there to be carried.
        assert_eq!(why(&Status::default(), &remembered), None);
        status = Status { snapshots: 1, behind: 1, ..Status::default() };
        assert_eq!(why(&status, &remembered).unwrap(), "no snapshot is whole yet");
        remembered.note_sync();
        assert_eq!(why(&status, &remembered), None, "it was carried a moment ago");
    }
}
