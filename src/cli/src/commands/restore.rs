//! `fardel restore`: into a folder, and nothing outside it.

use std::time::Instant;

use fardel_engine::Error as EngineError;
use fardel_engine::restore::{RestoreOptions, RestoreReport, restore};
use fardel_engine::snapshots::Snapshots;
use serde::Serialize;

use crate::app::App;
use crate::args::RestoreArgs;
use crate::choice::choose;
use crate::copies;
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human::{self, bytes, count};
use crate::open::{self, Access};
use crate::progress::Progress;

/// People are shown so many missing ranges of a file.
const RANGES_SHOWN: usize = 5;
/// And so many things that are not quite as they were.
const WARNINGS_SHOWN: usize = 10;

#[derive(Serialize)]
struct Summary {
    snapshot_id: String,
    target: String,
    dry_run: bool,
    files: u64,
    dirs: u64,
    others: u64,
    bytes_written: u64,
    bytes_unchanged: u64,
    damaged: usize,
    failed: usize,
    warnings: usize,
    duration_seconds: f64,
}

#[derive(Serialize)]
struct DamagedLine<'a> {
    path: &'a str,
    partial: Option<String>,
    missing: &'a [(u64, u64)],
    message: &'a str,
}

#[derive(Serialize)]
struct FailedLine<'a> {
    path: &'a str,
    message: &'a str,
}

/// Runs the command.
///
/// # Errors
/// When nothing can be restored; damage is in the exit code instead.
pub fn run(app: &App, args: RestoreArgs) -> Result<Exit> {
    let begun = Instant::now();
    let opened = open::open_for_reading(&app.config, Access::Key)?;
    open::make_cache(&app.config.cache)?;
    let snapshots = Snapshots::load_for_reading(&opened.repo, &opened.catalog)?;
    let snapshot = choose(&app.out, &opened, &snapshots, &args.what.snapshot)?;
    let options = RestoreOptions {
        target: args.target.clone(),
        include: args.includes,
        exclude: args.excludes,
        in_place: args.in_place,
        dry_run: args.dry_run,
        devices: args.devices,
        setid: args.setid,
        owners: (args.owner || args.no_owner).then_some(args.owner),
        memory: app.config.memory,
    };
    let progress = Progress::begin(&app.out, if args.dry_run { "comparing" } else { "restoring" }, "entries");
    let restored =
        restore(&opened.repo, &opened.catalog, snapshot, args.what.path.as_deref(), &options, &progress);
    drop(progress);
    let report = restored.map_err(|error| match error {
        EngineError::Interrupted => {
            Failure::from(error).with_hint("whole files stay; run it again with --in-place to go on")
        }
        error => error.into(),
    })?;
    let summary = Summary {
        snapshot_id: snapshot.id().to_string(),
        target: args.target.display().to_string(),
        dry_run: args.dry_run,
        files: report.files,
        dirs: report.dirs,
        others: report.others,
        bytes_written: report.bytes_written,
        bytes_unchanged: report.bytes_unchanged,
        damaged: report.damaged.len(),
        failed: report.failed.len(),
        warnings: report.warnings.len(),
        duration_seconds: begun.elapsed().as_secs_f64(),
    };
    tell(app, &summary, &report, &snapshot.id().short(), begun)?;
    copies::tell(app, &opened.repo)?;
    app.out.summary(&summary)?;
    Ok(match &report {
        RestoreReport { damaged, .. } if !damaged.is_empty() => Exit::Damaged,
        RestoreReport { failed, .. } if !failed.is_empty() => Exit::Failed,
        _ => Exit::Done,
    })
}

fn tell(app: &App, summary: &Summary, report: &RestoreReport, id: &str, begun: Instant) -> Result<()> {
    let out = &app.out;
    let target = human::shown(summary.target.as_bytes());
    let time = human::duration(begun.elapsed());
    match summary.dry_run {
        true => out.say(format!("Dry run: {id} would be restored into {target} ({time})."))?,
        false => out.say(format!("Snapshot {} is restored into {target} ({time}).", out.bold(id)))?,
    }
    let counts = [
        count(summary.files, "file", "files"),
        count(summary.dirs, "folder", "folders"),
        count(summary.others, "other", "others"),
    ];
    out.say(format!("  entries  {}", counts.join(", ")))?;
    let unchanged = if summary.bytes_unchanged > 0 {
        format!("; {} were there already", bytes(summary.bytes_unchanged))
    } else {
        String::new()
    };
    let verb = if summary.dry_run { "to write" } else { "written" };
    out.say(format!("  {verb}  {}{unchanged}", bytes(summary.bytes_written)))?;
    for damaged in &report.damaged {
        let partial = damaged.partial.as_ref().map(|path| path.display().to_string());
        let line = DamagedLine {
            path: &damaged.path,
            partial: partial.clone(),
            missing: &damaged.missing,
            message: &damaged.why,
        };
        out.json_item("damaged", &line)?;
        if !out.is_json() {
            out.warning(&describe(&damaged.path, partial.as_deref(), &damaged.missing, &damaged.why));
        }
    }
    for (path, message) in &report.failed {
        out.json_item("failed", &FailedLine { path, message })?;
    }
    tell_warnings(app, report);
    if summary.damaged > 0 && !out.is_json() {
        let what = count(summary.damaged as u64, "entry is", "entries are");
        out.warning(&format!("{what} damaged and not whole; everything else is restored. `fardel check` says which objects to get from another copy"));
    }
    if summary.failed > 0 && !out.is_json() {
        let what = count(summary.failed as u64, "entry", "entries");
        out.warning(&format!("{what} could not be written (--verbose names all of them)"));
    }
    Ok(())
}

/// What is restored and not quite as it was.
fn tell_warnings(app: &App, report: &RestoreReport) {
    // Whoever wants details was told while it ran.
    let shown = match () {
        () if app.out.is_json() => usize::MAX,
        () if app.out.is_verbose() => 0,
        () => WARNINGS_SHOWN,
    };
    for warning in report.warnings.iter().take(shown) {
        app.out.warning(&human::shown(warning.as_bytes()));
    }
    let more = report.warnings.len().saturating_sub(shown) as u64;
    if more > 0 && shown > 0 {
        app.out.remark(&format!(
            "  and {} (--verbose shows all)",
            count(more, "more like it", "more like these")
        ));
    }
}

fn describe(path: &str, partial: Option<&str>, missing: &[(u64, u64)], why: &str) -> String {
    let shown = missing.iter().take(RANGES_SHOWN).map(|(start, len)| format!("{start}+{len}"));
    let mut ranges = shown.collect::<Vec<_>>().join(", ");
    if missing.len() > RANGES_SHOWN {
        ranges = format!("{ranges} and {} more", missing.len() - RANGES_SHOWN);
    }
    let ranges =
        if ranges.is_empty() { String::new() } else { format!("; missing bytes (start+length): {ranges}") };
    let partial = partial.map(|partial| format!("; what there is: {partial}")).unwrap_or_default();
    human::shown(format!("{path}: {why}{ranges}{partial}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let missing: Vec<_> = (0..7).map(|i| (i * 100, 10)).collect();
        let text = describe("/a", Some("/t/a.partial"), &missing, "lost");
        assert_eq!(
            text,
            "/a: lost; missing bytes (start+length): 0+10, 100+10, 200+10, 300+10, 400+10 and 2 more; what there is: /t/a.partial"
        );
    }
}
