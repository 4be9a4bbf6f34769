//! `fardel find`: where a file is; and where it could be without being seen.

use fardel_engine::Error as EngineError;
use fardel_engine::browse::Contents;
use fardel_engine::find::{FindOptions, FindReport, Match, Pattern, find};
use fardel_engine::snapshots::Snapshots;
use fardel_format::SnapshotId;
use serde::Serialize;
use std::os::unix::ffi::OsStrExt;

use crate::app::App;
use crate::args::FindArgs;
use crate::choice::choose;
use crate::copies;
use crate::entry::{Entry, long_line, path_for_programs};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human::{self, count};
use crate::open::{self, Access, Opened};
use crate::progress::Progress;

use super::ls::tell_unreadable;

/// People are shown so many volumes.
const VOLUMES_SHOWN: usize = 10;

#[derive(Serialize)]
struct MatchLine<'a> {
    snapshot_id: String,
    entry: Entry<'a>,
}

#[derive(Serialize)]
struct VolumeLine {
    snapshot_id: String,
    path: String,
}

#[derive(Serialize)]
struct Summary {
    matches: u64,
    conclusive: bool,
    snapshots_searched: u64,
    snapshots_incomplete: u64,
    volumes_not_searched: u64,
    unreadable: u64,
}

/// Runs the command.
///
/// # Errors
/// When nothing can be searched; what could not be searched is said, and in the exit code.
pub fn run(app: &App, args: &FindArgs) -> Result<Exit> {
    let pattern = Pattern::new(args.pattern.as_bytes(), args.ignore_case)?;
    let opened = open::open_for_reading(&app.config, Access::Key)?;
    open::make_cache(&app.config.cache)?;
    let snapshots = Snapshots::load_for_reading(&opened.repo, &opened.catalog)?;
    let options = FindOptions {
        snapshots: chosen(app, &opened, &snapshots, args)?,
        newer: args.newer,
        older: args.older,
        min_size: args.min_size.map(|size| size.0),
        max_size: args.max_size.map(|size| size.0),
        ..FindOptions::new(pattern)
    };
    let contents = Contents::open(&opened.repo, &opened.catalog)?;
    let chunks = contents.chunks(&opened.repo)?;
    let progress = Progress::begin(&app.out, "searching", "entries");
    let (mut stopped, mut last) = (None, None);
    let found = find(&opened.repo, &opened.catalog, &snapshots, &chunks, &options, &progress, |found| {
        let shown = progress.above(|| show(app, args, found, &mut last));
        shown.map_err(|failure| {
            stopped = Some(failure);
            EngineError::Interrupted
        })
    });
    drop(progress);
    if let Some(failure) = stopped {
        return Err(failure);
    }
    let report = found?;
    copies::tell(app, &opened.repo)?;
    conclude(app, &report)?;
    Ok(if report.unreadable.is_empty() { Exit::Done } else { Exit::Damaged })
}

/// The snapshots that were named, or that fit the host and tag; all of them when nothing was said.
fn chosen(app: &App, opened: &Opened, snapshots: &Snapshots, args: &FindArgs) -> Result<Vec<SnapshotId>> {
    let mut named = Vec::new();
    for text in &args.snapshots {
        named.push(choose(&app.out, opened, snapshots, text)?.id());
    }
    if args.select.is_empty() {
        return Ok(named);
    }
    let mut chosen = Vec::new();
    for sealed in snapshots.sealed.iter().filter(|sealed| named.is_empty() || named.contains(&sealed.id())) {
        // One whose root cannot be read might fit: the search tells it as unreadable.
        let fits = opened
            .repo
            .root(&opened.catalog, sealed)
            .map_or(true, |root| args.select.fits(&root.host, &root.tags));
        chosen.extend(fits.then(|| sealed.id()));
    }
    if chosen.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            "no snapshot has that host and tag",
            "`fardel snapshots` lists hosts and tags",
        ));
    }
    Ok(chosen)
}

fn show(app: &App, args: &FindArgs, found: &Match<'_>, last: &mut Option<SnapshotId>) -> Result<()> {
    let out = &app.out;
    if out.is_json() {
        let entry = Entry::of(found.path, Some(found.node));
        return out.json_item("match", &MatchLine { snapshot_id: found.snapshot.to_string(), entry });
    }
    if last.replace(found.snapshot) != Some(found.snapshot) {
        out.data(out.bold(&format!("snapshot {}", found.snapshot.short())))?;
    }
    let line = if args.long { long_line(found.path, Some(found.node)) } else { human::shown(found.path) };
    out.data(format!("  {line}"))
}

fn conclude(app: &App, report: &FindReport) -> Result<()> {
    let out = &app.out;
    for (snapshot, path) in &report.volumes_not_searched {
        let line = VolumeLine { snapshot_id: snapshot.to_string(), path: path_for_programs(path).0 };
        out.json_item("volume-not-searched", &line)?;
    }
    tell_unreadable(app, &report.unreadable)?;
    if !out.is_json() {
        tell_gaps(app, report);
        let searched = count(report.snapshots_searched, "snapshot", "snapshots");
        match (report.matches, report.is_conclusive()) {
            (0, true) => out.say(format!("Nothing fits in {searched}, and everything was searched."))?,
            (0, false) => out.say(format!("Nothing fits in what could be searched of {searched}; it may be where the search could not look."))?,
            (matches, _) => out.say(format!("{} in {searched}; each state is shown once, in the newest snapshot that has it.", count(matches, "match", "matches")))?,
        }
    }
    out.summary(&Summary {
        matches: report.matches,
        conclusive: report.is_conclusive(),
        snapshots_searched: report.snapshots_searched,
        snapshots_incomplete: report.snapshots_incomplete,
        volumes_not_searched: report.volumes,
        unreadable: report.unreadable.count(),
    })
}

fn tell_gaps(app: &App, report: &FindReport) {
    if report.volumes > 0 {
        let (what, verb) =
            (count(report.volumes, "volume", "volumes"), if report.volumes == 1 { "was" } else { "were" });
        app.out
            .warning(&format!("{what} {verb} not searched: find does not look for files inside disk images"));
        for (snapshot, path) in report.volumes_not_searched.iter().take(VOLUMES_SHOWN) {
            app.out.remark(&format!("  {}:{}", snapshot.short(), human::shown(path)));
        }
        if report.volumes > VOLUMES_SHOWN as u64 {
            app.out.remark("  …; --json lists more");
        }
    }
    if report.snapshots_incomplete > 0 {
        let (what, verb) = match report.snapshots_incomplete {
            1 => ("1 snapshot".to_owned(), "does"),
            many => (count(many, "snapshot", "snapshots"), "do"),
        };
        app.out.warning(&format!("{what} {verb} not hold all of the sources: the backup could not read something, or was interrupted"));
    }
}
