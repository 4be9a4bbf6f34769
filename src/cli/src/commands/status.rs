//! `fardel status`: what each copy holds, without any key.

use fardel_engine::snapshots::Snapshots;
use fardel_engine::status::{Known, Status, status};
use fardel_format::{RepositoryId, SnapshotId};
use serde::Serialize;

use crate::app::App;
use crate::args::StatusArgs;
use crate::config::Process;
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human::{self, bytes, count};
use crate::location::Location;
use crate::open::{self, Access, Opened};

#[derive(Serialize)]
struct CopyLine {
    copy: String,
    location: String,
    complete_snapshot: Option<String>,
    complete_time: Option<String>,
    newest_snapshot: Option<String>,
    newest_time: Option<String>,
    behind: u64,
    missing_objects: u64,
    missing_bytes: u64,
    missing_at_least: bool,
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

#[derive(Serialize)]
struct CopyFailed<'a> {
    copy: &'a str,
    location: String,
    code: u8,
    message: &'a str,
    hint: &'a str,
}

#[derive(Serialize)]
struct Summary {
    repository_id: Option<String>,
    copies: usize,
    complete: usize,
}

/// The snapshots of the repository itself, oldest first: what its replicas are measured by.
struct Original {
    id: RepositoryId,
    snapshots: Vec<SnapshotId>,
}

/// Runs the command.
///
/// # Errors
/// When the repository itself cannot be looked at; a replica that cannot is told, and in the exit code.
pub fn run(app: &App, args: &StatusArgs) -> Result<Exit> {
    let (mut copies, mut complete, mut original) = (0, 0, None);
    if let Some(replica) = &args.replica {
        copies += 1;
        let opened = open::open_at(&app.config, app.config.copy(replica, &Process)?, Access::Keyless)?;
        complete += usize::from(look(app, replica, &opened, None)?);
        original = Some(Original { id: *opened.repo.id(), snapshots: Vec::new() });
    } else {
        copies += 1;
        let opened = open::open(&app.config, Access::Keyless)?;
        complete += usize::from(look(app, "repository", &opened, None)?);
        let snapshots = Snapshots::load_for_reading(&opened.repo, &opened.catalog)?;
        let known =
            Original { id: *opened.repo.id(), snapshots: snapshots.sealed.iter().map(|s| s.id()).collect() };
        for replica in &app.config.replicas {
            copies += 1;
            let location = replica.location();
            let shown = location.as_ref().map_or_else(|_| String::new(), Location::to_string);
            match location.and_then(|location| look_at_replica(app, &replica.name, location, &known)) {
                Ok(is_complete) => complete += usize::from(is_complete),
                Err(failure) if failure.silent => return Err(failure),
                Err(failure) => tell_failure(app, &replica.name, shown, &failure)?,
            }
        }
        original = Some(known).or(original);
    }
    let repository_id = original.map(|original| original.id.to_string());
    app.out.summary(&Summary { repository_id, copies, complete })?;
    Ok(if complete == copies { Exit::Done } else { Exit::Incomplete })
}

fn look_at_replica(app: &App, name: &str, location: Location, original: &Original) -> Result<bool> {
    let store = open::store(&app.config, &location)?;
    let opened = open::open_with(&app.config, store, location, None, Some(original.id))?;
    look(app, name, &opened, Some(original))
}

/// Tells what a copy holds; returns whether it is complete and up to date.
fn look(app: &App, name: &str, opened: &Opened, original: Option<&Original>) -> Result<bool> {
    let status = status(&opened.repo, &opened.catalog)?;
    let behind =
        status.behind.max(original.map_or(0, |original| original.newer_than(status.complete.as_ref())));
    app.out.json("copy", &CopyLine::of(name, &opened.location, &status, behind))?;
    if !app.out.is_json() {
        show(app, name, opened, &status, behind)?;
    }
    Ok(behind == 0)
}

impl Original {
    /// How many snapshots are newer than this one; all of them than none.
    fn newer_than(&self, complete: Option<&Known>) -> u64 {
        let position = complete.and_then(|known| self.snapshots.iter().rposition(|id| *id == known.id));
        (self.snapshots.len() - position.map_or(0, |position| position + 1)) as u64
    }
}

impl CopyLine {
    fn of(name: &str, location: &Location, status: &Status, behind: u64) -> Self {
        let (complete, newest) = (status.complete.as_ref(), status.newest.as_ref());
        Self {
            copy: name.to_owned(),
            location: location.to_string(),
            complete_snapshot: complete.map(|known| known.id.to_string()),
            complete_time: complete.map(|known| known.time.clone()),
            newest_snapshot: newest.map(|known| known.id.to_string()),
            newest_time: newest.map(|known| known.time.clone()),
            behind,
            missing_objects: status.missing.objects,
            missing_bytes: status.missing.bytes,
            missing_at_least: status.missing_at_least,
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

fn show(app: &App, name: &str, opened: &Opened, status: &Status, behind: u64) -> Result<()> {
    let out = &app.out;
    let line = |what: &str, value: String| out.data(format!("  {what:<16}{value}"));
    let known = |known: &Known| format!("{} of {}", known.id.short(), human::time(&known.time));
    out.data(out.bold(&format!(
        "{}: {}, repository {}",
        human::shown(name.as_bytes()),
        opened.location,
        opened.repo.id().short()
    )))?;
    let none =
        || if status.snapshots == 0 && behind == 0 { "none yet".to_owned() } else { "none".to_owned() };
    line("newest complete", status.complete.as_ref().map_or_else(none, known))?;
    if status.newest != status.complete {
        line("newest", status.newest.as_ref().map_or_else(none, known))?;
    }
    if behind > 0 {
        line("behind by", count(behind, "snapshot", "snapshots"))?;
    }
    if status.missing.objects > 0 {
        let least = if status.missing_at_least { "at least " } else { "" };
        let what = count(status.missing.objects, "object", "objects");
        line(
            "lacks",
            format!(
                "{least}{what}, {} (not yet arrived, or lost: `fardel check` tells)",
                bytes(status.missing.bytes)
            ),
        )?;
    }
    let packs = count(status.packs.objects, "pack", "packs");
    let stored = format!(
        "{}, {} in {packs}",
        count(status.snapshots, "snapshot", "snapshots"),
        bytes(status.stored.bytes)
    );
    line("holds", stored)?;
    if status.unsealed > 0 {
        line(
            "under way",
            format!(
                "{} without a seal: running, interrupted, or still to come",
                count(status.unsealed, "backup", "backups")
            ),
        )?;
    }
    if status.unexplained.objects > 0 {
        let what = count(status.unexplained.objects, "object", "objects");
        line(
            "unexplained",
            format!("{what}, {}, that no snapshot here needs", bytes(status.unexplained.bytes)),
        )?;
    }
    if status.ignored_names > 0 {
        let first: Vec<String> =
            status.strangers.iter().take(3).map(|name| human::shown(name.as_bytes())).collect();
        let more = if status.ignored_names > 3 { ", …" } else { "" };
        line(
            "ignored",
            format!("{}: {}{more}", count(status.ignored_names, "name", "names"), first.join(", ")),
        )?;
    }
    for writer in &status.foreign_writers {
        line("foreign writer", format!("{writer}: its snapshots do not count"))?;
    }
    for problem in &status.problems {
        out.warning(&human::shown(format!("{}: {}", problem.object, problem.error).as_bytes()));
    }
    Ok(())
}

fn tell_failure(app: &App, name: &str, location: String, failure: &Failure) -> Result<()> {
    let (code, message, hint) = (failure.exit.code(), &*failure.message, &*failure.hint);
    app.out.json("copy-failed", &CopyFailed { copy: name, location, code, message, hint })?;
    if !app.out.is_json() {
        app.out.warning(&format!("replica {}: {message}\n  {hint}", human::shown(name.as_bytes())));
    }
    Ok(())
}
