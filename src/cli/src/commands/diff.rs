//! `fardel diff`: what changed from one snapshot, or folder in it, to another.

use fardel_engine::Error as EngineError;
use fardel_engine::browse::{Browser, Contents};
use fardel_engine::diff::{Change, Changed, DiffOptions, DiffReport, Tally, diff};
use fardel_engine::snapshots::Snapshots;
use fardel_format::tree::{Node, NodeKind};
use serde::Serialize;

use crate::app::App;
use crate::args::DiffArgs;
use crate::choice::choose;
use crate::copies;
use crate::entry::path_for_programs;
use crate::error::Result;
use crate::exit::Exit;
use crate::human::{self, bytes, count};
use crate::open::{self, Access};
use crate::progress::Progress;

use super::ls::tell_unreadable;

#[derive(Serialize)]
struct ChangeLine {
    change: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
    kind: NodeKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_kind: Option<NodeKind>,
    content: bool,
    metadata: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_bytes_changed: Option<u64>,
}

#[derive(Serialize)]
struct TallyLine {
    files: u64,
    dirs: u64,
    others: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Summary {
    before: String,
    after: String,
    added: TallyLine,
    removed: TallyLine,
    modified: TallyLine,
    retyped: u64,
    volume_bytes_changed: u64,
    not_compared: u64,
    unreadable: u64,
}

/// Runs the command.
///
/// # Errors
/// When one of them is not there; what could not be compared is in the exit code.
pub fn run(app: &App, args: &DiffArgs) -> Result<Exit> {
    let opened = open::open_for_reading(&app.config, Access::Key)?;
    open::make_cache(&app.config.cache)?;
    let snapshots = Snapshots::load_for_reading(&opened.repo, &opened.catalog)?;
    let choose = |text: &str| choose(&app.out, &opened, &snapshots, text);
    let (old, new) = (choose(&args.before.snapshot)?, choose(&args.after.snapshot)?);
    let contents = Contents::open(&opened.repo, &opened.catalog)?;
    let chunks = contents.chunks(&opened.repo)?;
    let old = Browser::open(&opened.repo, &opened.catalog, &chunks, old)?;
    let new = Browser::open(&opened.repo, &opened.catalog, &chunks, new)?;
    let before = old.resolve(args.before.path.as_deref().unwrap_or_default())?;
    let after = new.resolve(args.after.path.as_deref().unwrap_or_default())?;
    let options = DiffOptions { metadata: args.metadata };
    let progress = Progress::begin(&app.out, "comparing", "entries");
    let mut stopped = None;
    let compared = diff((&old, &before), (&new, &after), options, &progress, |path, change| {
        progress.above(|| show(app, path, change)).map_err(|failure| {
            stopped = Some(failure);
            EngineError::Interrupted
        })
    });
    drop(progress);
    if let Some(failure) = stopped {
        return Err(failure);
    }
    let report = compared?;
    tell_unreadable(app, &report.unreadable)?;
    conclude(app, &report)?;
    copies::tell(app, &opened.repo)?;
    app.out.summary(&Summary {
        before: old.id().to_string(),
        after: new.id().to_string(),
        added: TallyLine::of(&report.added),
        removed: TallyLine::of(&report.removed),
        modified: TallyLine::of(&report.modified),
        retyped: report.retyped,
        volume_bytes_changed: report.volume_bytes_changed,
        not_compared: report.not_compared,
        unreadable: report.unreadable.count(),
    })?;
    Ok(if report.is_conclusive() { Exit::Done } else { Exit::Damaged })
}

impl TallyLine {
    fn of(tally: &Tally) -> Self {
        Self { files: tally.files, dirs: tally.dirs, others: tally.others, bytes: tally.bytes }
    }
}

fn show(app: &App, path: &[u8], change: &Change<'_>) -> Result<()> {
    let (sign, name, node, old, content, metadata, volume): (_, _, &Node, _, _, _, Option<Changed>) =
        match *change {
            Change::Added(node) => ('+', "added", node, None, true, true, None),
            Change::Removed(node) => ('-', "removed", node, None, true, true, None),
            Change::Retyped { old, new } => ('T', "retyped", new, Some(old.kind), true, true, None),
            Change::Modified { new, content, metadata, changed, .. } => {
                (if content { 'M' } else { 'm' }, "modified", new, None, content, metadata, changed)
            }
        };
    if app.out.is_json() {
        let (path, path_b64) = path_for_programs(path);
        let volume_bytes_changed = volume.map(|changed| changed.bytes);
        let line = ChangeLine {
            change: name,
            path,
            path_b64,
            kind: node.kind,
            old_kind: old,
            content,
            metadata,
            volume_bytes_changed,
        };
        return app.out.json_item("change", &line);
    }
    let volume = volume.map(|changed| {
        let unknown =
            if changed.unknown > 0 { format!(", {} unknown", bytes(changed.unknown)) } else { String::new() };
        format!("  ({} of {} changed{unknown})", bytes(changed.bytes), bytes(node.size))
    });
    app.out.data(format!("{sign}  {}{}", human::shown(path), volume.unwrap_or_default()))
}

fn conclude(app: &App, report: &DiffReport) -> Result<()> {
    let out = &app.out;
    let parts = |tally: &Tally| {
        let (files, dirs) = (count(tally.files, "file", "files"), count(tally.dirs, "folder", "folders"));
        format!("{files}, {dirs}, {}; {}", count(tally.others, "other", "others"), bytes(tally.bytes))
    };
    out.say(format!("  added     {}", parts(&report.added)))?;
    out.say(format!("  removed   {}", parts(&report.removed)))?;
    out.say(format!("  modified  {}", parts(&report.modified)))?;
    if report.not_compared > 0 && !out.is_json() {
        out.warning(&format!(
            "{} could not be compared, since the other side cannot be read there",
            count(report.not_compared, "entry", "entries")
        ));
    }
    Ok(())
}
