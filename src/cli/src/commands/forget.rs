//! `fardel forget`: by name or by policy; `--undo` brings back.

use fardel_engine::forget::policy::Policy;
use fardel_engine::forget::{self, Choice, Plan, Selection, UndoOptions};
use fardel_format::root::Root;
use serde::Serialize;

use super::backup::packer;
use super::prune;
use crate::app::App;
use crate::args::{ForgetArgs, PolicyArgs, PruneArgs};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human::{self, count};
use crate::open::{self, Access, Opened};
use crate::progress::Progress;
use crate::table::{Align, Table};

#[derive(Serialize)]
struct Line {
    id: String,
    time: String,
    host: Option<String>,
    tags: Option<Vec<String>>,
    sources: Option<Vec<String>>,
    partial: Option<bool>,
    keep: bool,
    reasons: Vec<String>,
    group: usize,
}

#[derive(Serialize)]
struct Summary {
    kept: usize,
    forgotten: usize,
    everywhere: bool,
    dry_run: bool,
}

#[derive(Serialize)]
struct UndoLine {
    id: String,
    back: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Serialize)]
struct UndoSummary {
    back: usize,
    gone: usize,
    bytes_stored: u64,
    dry_run: bool,
}

/// Runs the command.
///
/// # Errors
/// When nothing can be decided, or the key does not allow it.
pub fn run(app: &App, args: &ForgetArgs) -> Result<Exit> {
    let policy = match (args.undo, &args.snapshots[..]) {
        (false, []) => policy(app, args)?,
        _ => Policy::default(),
    };
    let opened = open::open(&app.config, Access::Key)?;
    open::make_cache(&app.config.cache)?;
    if args.undo {
        return undo(app, args, &opened);
    }
    let fits = |root: &Root| args.select.fits(&root.host, &root.tags);
    let selection = match args.snapshots.is_empty() {
        true => Selection::Policy(&policy, &fits),
        false => Selection::Named(&args.snapshots),
    };
    // A policy is that of one store; who names a snapshot wants to be rid of it.
    let everywhere = args.everywhere || (!args.here && !args.snapshots.is_empty());
    let plan = forget::plan(&opened.repo, &opened.catalog, &selection)?;
    show(app, &plan)?;
    let forgotten = plan.forgotten().count();
    let kept = plan.choices.len() - forgotten;
    if !args.dry_run && forgotten > 0 {
        plan.run(&opened.repo, &opened.catalog, everywhere)?;
    }
    tell(app, &opened, args, (kept, forgotten), everywhere)?;
    let pruned = match args.prune && !args.dry_run {
        true => prune::run(app, &PruneArgs::default())?,
        false => {
            app.out.summary(&Summary { kept, forgotten, everywhere, dry_run: args.dry_run })?;
            Exit::Done
        }
    };
    Ok(pruned)
}

/// What the command line says is kept; if that is nothing, what the configuration says of this place.
fn policy(app: &App, args: &ForgetArgs) -> Result<Policy> {
    let said = said(&args.policy, args);
    if !said.is_empty() {
        return Ok(said);
    }
    let location = app.config.location()?;
    let configured = app.config.retention_at(&location).filter(|policy| !policy.is_empty());
    let policy = configured.cloned().ok_or_else(|| {
        Failure::usage(
            format!("{location}: it was not said what to forget here"),
            "name snapshots, or say what is kept: with --keep-last, --keep-daily and so on, or with `retention:` in fardel.yaml",
        )
    })?;
    Ok(Policy { group_by: args.group_by.unwrap_or(policy.group_by), ..policy })
}

fn said(keep: &PolicyArgs, args: &ForgetArgs) -> Policy {
    let count = |count: Option<u32>| count.unwrap_or(0);
    Policy {
        last: count(keep.keep_last),
        counts: [keep.keep_hourly, keep.keep_daily, keep.keep_weekly, keep.keep_monthly, keep.keep_yearly]
            .map(count),
        within: keep.keep_within,
        within_each: [
            keep.keep_within_hourly,
            keep.keep_within_daily,
            keep.keep_within_weekly,
            keep.keep_within_monthly,
            keep.keep_within_yearly,
        ],
        tags: keep.keep_tags.iter().map(|tags| tags.split(',').map(str::to_owned).collect()).collect(),
        group_by: args.group_by.unwrap_or_default(),
    }
}

fn line(choice: &Choice) -> Line {
    let root = choice.root.as_ref();
    let path = |source: &fardel_format::root::Source| {
        source.path_bytes().map(|path| human::shown(&path)).unwrap_or_default()
    };
    Line {
        id: choice.sealed.id().to_string(),
        time: root.map_or_else(|| choice.sealed.manifest.origin().created, |root| root.time.clone()),
        host: root.map(|root| root.host.clone()),
        tags: root.map(|root| root.tags.clone()),
        sources: root.map(|root| root.sources.iter().map(path).collect()),
        partial: root.map(|root| root.partial),
        keep: choice.decision.keep,
        reasons: choice.decision.reasons.iter().map(ToString::to_string).collect(),
        group: choice.decision.group,
    }
}

/// A table for each group.
fn show(app: &App, plan: &Plan) -> Result<()> {
    let lines: Vec<_> = plan.choices.iter().map(line).collect();
    let groups = lines.iter().map(|line| line.group + 1).max().unwrap_or(0);
    for group in 0..groups {
        let lines: Vec<_> = lines.iter().filter(|line| line.group == group).collect();
        let Some(first) = lines.first() else { continue };
        let sources = first.sources.as_deref().unwrap_or_default().join(", ");
        let host = human::shown(first.host.as_deref().unwrap_or_default().as_bytes());
        app.out.say(app.out.bold(format!("{host} {sources}").trim()))?;
        let mut table = Table::new(&[
            ("", Align::Left),
            ("ID", Align::Left),
            ("Time", Align::Left),
            ("Tags", Align::Left),
            ("Why", Align::Left),
        ]);
        for line in lines {
            let what = if line.keep { "keep" } else { "forget" };
            let tags = line.tags.as_deref().unwrap_or_default().join(",");
            let why = line.reasons.join(", ");
            let (id, time) = (line.id[..8].to_owned(), human::time(&line.time));
            table.row(vec![what.into(), id, time, human::shown(tags.as_bytes()), why]);
        }
        table.lines().iter().try_for_each(|line| app.out.say(line))?;
        app.out.say("")?;
    }
    lines.iter().try_for_each(|line| app.out.json_item("snapshot", line))
}

fn tell(
    app: &App,
    opened: &Opened,
    args: &ForgetArgs,
    (kept, forgotten): (usize, usize),
    everywhere: bool,
) -> Result<()> {
    let snapshots = |number: usize| count(number as u64, "snapshot", "snapshots");
    let kept = if args.snapshots.is_empty() { format!(", {} kept", snapshots(kept)) } else { String::new() };
    if args.dry_run {
        return app.out.say(format!("{} would be forgotten{kept}", snapshots(forgotten)));
    }
    let place = if everywhere { "in every copy" } else { "in this store" };
    app.out.say(format!("{} forgotten {place}{kept}", snapshots(forgotten)))?;
    if forgotten == 0 || args.prune {
        return Ok(());
    }
    let command = |command| app.command(command, &opened.location);
    app.out.say(format!(
        "`{}` frees what they needed; until then `{}` brings them back",
        command("prune"),
        command("forget --undo")
    ))
}

fn undo(app: &App, args: &ForgetArgs, opened: &Opened) -> Result<Exit> {
    let options = UndoOptions { dry_run: args.dry_run, memory: app.config.memory, packer: packer(app) };
    let progress = Progress::begin(&app.out, "bringing back", "packs");
    let undone = forget::undo(&opened.repo, &args.snapshots, &options, &progress);
    drop(progress);
    let report = undone?;
    for id in &report.back {
        let can = if args.dry_run { "can be brought back" } else { "is back" };
        app.out.say(format!("snapshot {} {can}", id.short()))?;
        app.out.json_item("undone", &UndoLine { id: id.to_string(), back: true, message: None })?;
    }
    for (id, why) in &report.gone {
        app.out.warning(&format!("snapshot {}: {why}", id.short()));
        app.out
            .json_item("undone", &UndoLine { id: id.to_string(), back: false, message: Some(why.clone()) })?;
    }
    if report.back.is_empty() && report.gone.is_empty() {
        app.out.say("There is no forgotten snapshot that could be brought back.")?;
    }
    app.out.summary(&UndoSummary {
        back: report.back.len(),
        gone: report.gone.len(),
        bytes_stored: report.bytes_stored,
        dry_run: args.dry_run,
    })?;
    Ok(if report.gone.is_empty() { Exit::Done } else { Exit::Failed })
}
