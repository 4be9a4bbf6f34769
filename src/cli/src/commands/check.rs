//! `fardel check`: what is damaged, and what that costs.

use std::collections::HashSet;
use std::time::Instant;

use fardel_engine::check::{self, CheckOptions, CheckReport, Cost, Costs, Finding, Impact};
use fardel_engine::status::Remembered;
use fardel_format::SnapshotId;
use serde::Serialize;

use crate::app::App;
use crate::args::{CheckArgs, Level, Sample};
use crate::config::Process;
use crate::error::Result;
use crate::exit::Exit;
use crate::human::{self, bytes, count};
use crate::open::{self, Access, Opened};
use crate::progress::Progress;

/// People are shown so many paths of a damaged object; programs get all that are known.
const PATHS_SHOWN: usize = 10;

#[derive(Serialize)]
struct FindingLine {
    object: String,
    class: &'static str,
    message: String,
    harmless: bool,
    snapshots: Vec<String>,
    more_snapshots: u64,
    paths: Vec<String>,
    more_paths: u64,
    damage: Vec<CostLine>,
}

#[derive(Serialize)]
struct CostLine {
    path: String,
    folder: bool,
    ranges: Vec<(u64, u64)>,
    more_ranges: u64,
    bytes: u64,
    snapshots: u64,
}

#[derive(Serialize)]
struct SampledLine {
    packs: u64,
    of_packs: u64,
    bytes: u64,
    of_bytes: u64,
}

#[derive(Serialize)]
struct Summary {
    level: &'static str,
    clean: bool,
    errors: Vec<FindingLine>,
    notes: Vec<String>,
    objects_checked: u64,
    bytes_checked: u64,
    snapshots_checked: u64,
    sampled: Option<SampledLine>,
    duration_seconds: f64,
}

#[derive(Serialize)]
struct ImpactSummary {
    object: String,
    message: String,
    snapshots: Vec<String>,
    more_snapshots: u64,
    paths: Vec<String>,
    more_paths: u64,
    damage: Vec<CostLine>,
    notes: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When nothing can be checked; damage is in the exit code instead.
pub fn run(app: &App, args: &CheckArgs) -> Result<Exit> {
    let begun = Instant::now();
    let level = args.level.unwrap_or(Level::Hashes);
    let access = if level == Level::Data { Access::Key } else { Access::Optional };
    let opened = match &args.replica {
        Some(replica) => open::open_at(&app.config, app.config.copy(replica, &Process)?, access)?,
        None => open::open_at(&app.config, app.config.location()?, access)?,
    };
    open::make_cache(&app.config.cache)?;
    if let Some(object) = &args.impact {
        return impact(app, &opened, object);
    }
    let options = CheckOptions {
        level: match level {
            Level::List => check::Level::List,
            Level::Seals => check::Level::Seals,
            Level::Hashes => check::Level::Hashes,
            Level::Data => check::Level::Data,
        },
        sample: args.sample.map(|sample| match sample {
            Sample::Percent(percent) => check::Sample::Percent(percent),
            Sample::Bytes(bytes) => check::Sample::Bytes(bytes),
        }),
        memory: app.config.memory,
        impact: opened.repo.keys().can_read,
        copy: args.replica.is_some() || !opened.catalog.copiers.is_empty(),
        arrived: arrived(&opened),
    };
    let progress = Progress::begin(&app.out, "checking", "objects");
    let checked = check::check(&opened.repo, &opened.catalog, &options, &progress);
    drop(progress);
    let report = checked?;
    tell(app, &opened, level, &report, begun)?;
    app.out.summary(&Summary {
        level: name(level),
        clean: report.is_clean(),
        errors: report.errors.iter().map(FindingLine::of).collect(),
        notes: report.notes.clone(),
        objects_checked: report.objects_checked,
        bytes_checked: report.bytes_checked,
        snapshots_checked: report.snapshots_checked,
        sampled: report.sampled.map(|s| SampledLine {
            packs: s.packs,
            of_packs: s.of_packs,
            bytes: s.bytes,
            of_bytes: s.of_bytes,
        }),
        duration_seconds: begun.elapsed().as_secs_f64(),
    })?;
    Ok(exit_of(&report))
}

/// The snapshot of which this machine knows that everything was here once: it wrote it here, or saw it whole.
fn arrived(opened: &Opened) -> HashSet<SnapshotId> {
    let remembered = Remembered::load(opened.repo.cache(), &opened.location.to_string());
    remembered.complete().copied().into_iter().collect()
}

/// What a foreign tool has not copied yet makes a copy incomplete and not damaged.
fn exit_of(report: &CheckReport) -> Exit {
    let on_its_way = |finding: &Finding| finding.class == check::Class::NotYetArrived;
    match () {
        () if report.is_clean() => Exit::Done,
        () if report.errors.iter().all(on_its_way) => Exit::Incomplete,
        () => Exit::Damaged,
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::List => "list",
        Level::Seals => "seals",
        Level::Hashes => "hashes",
        Level::Data => "data",
    }
}

impl FindingLine {
    fn of(finding: &Finding) -> Self {
        Self {
            object: finding.object.clone(),
            class: finding.class.as_str(),
            message: finding.why.clone(),
            harmless: finding.harmless,
            snapshots: finding.costs.snapshots.iter().map(ToString::to_string).collect(),
            more_snapshots: finding.costs.more_snapshots,
            paths: finding.costs.paths.iter().map(|cost| cost.path.clone()).collect(),
            more_paths: finding.costs.more_paths,
            damage: finding.costs.paths.iter().map(CostLine::of).collect(),
        }
    }
}

impl CostLine {
    fn of(cost: &Cost) -> Self {
        Self {
            path: cost.path.clone(),
            folder: cost.folder,
            ranges: cost.ranges.clone(),
            more_ranges: cost.more_ranges,
            bytes: cost.bytes,
            snapshots: cost.snapshots,
        }
    }
}

fn impact(app: &App, opened: &Opened, object: &str) -> Result<Exit> {
    let progress = Progress::begin(&app.out, "looking", "objects");
    let found = check::impact(&opened.repo, &opened.catalog, object, &progress);
    drop(progress);
    let Impact { object, meaning, costs, notes } = found?;
    let out = &app.out;
    out.data(format!("{}: {}", human::shown(object.as_bytes()), human::shown(meaning.as_bytes())))?;
    if costs.snapshots.is_empty() && costs.paths.is_empty() {
        out.data("  Its loss would cost no snapshot anything that is known.")?;
    }
    show_costs(app, &costs)?;
    for note in &notes {
        out.data(format!("  note: {}", human::shown(note.as_bytes())))?;
    }
    out.summary(&ImpactSummary {
        object,
        message: meaning,
        snapshots: costs.snapshots.iter().map(ToString::to_string).collect(),
        more_snapshots: costs.more_snapshots,
        paths: costs.paths.iter().map(|cost| cost.path.clone()).collect(),
        more_paths: costs.more_paths,
        damage: costs.paths.iter().map(CostLine::of).collect(),
        notes,
    })?;
    Ok(Exit::Done)
}

fn tell(app: &App, opened: &Opened, level: Level, report: &CheckReport, begun: Instant) -> Result<()> {
    let out = &app.out;
    for finding in &report.errors {
        let harmless = if finding.harmless { " (no snapshot needs it)" } else { "" };
        let class = out.bold(finding.class.as_str());
        let object = human::shown(finding.object.as_bytes());
        out.data(format!("{class}  {object}{harmless}\n  {}", human::shown(finding.why.as_bytes())))?;
        show_costs(app, &finding.costs)?;
    }
    for note in &report.notes {
        out.say(format!("note: {}", human::shown(note.as_bytes())))?;
    }
    let what = [
        count(report.snapshots_checked, "snapshot", "snapshots"),
        count(report.objects_checked, "object", "objects"),
        format!("{} read", bytes(report.bytes_checked)),
        human::duration(begun.elapsed()),
    ];
    out.say(format!("Checked {} at level {}: {}.", opened.location, name(level), what.join(", ")))?;
    if let Some(s) = &report.sampled {
        let part =
            format!("{} of {} packs, {} of {}", s.packs, s.of_packs, bytes(s.bytes), bytes(s.of_bytes));
        out.say(format!("A sample: {part}. The rest was not read."))?;
    }
    match (report.is_clean(), report.is_whole()) {
        (true, _) => out.say("Nothing is damaged.")?,
        (false, true) => out.say("No snapshot is damaged; what was found is needed by none.")?,
        (false, false) if exit_of(report) == Exit::Incomplete => out.say(format!(
            "{} not here yet: what copies this folder has not brought them.",
            count(report.errors.len() as u64, "object is", "objects are")
        ))?,
        (false, false) => out.say(format!(
            "{} not as they must be. Another copy may have them whole.",
            count(report.errors.len() as u64, "object is", "objects are")
        ))?,
    }
    match level {
        Level::List | Level::Seals => {
            out.say("Stored bytes were not read: --level hashes does, without a key; --level data with one.")
        }
        _ => Ok(()),
    }
}

fn show_costs(app: &App, costs: &Costs) -> Result<()> {
    let out = &app.out;
    if !costs.snapshots.is_empty() {
        let ids: Vec<String> = costs.snapshots.iter().take(PATHS_SHOWN).map(|id| id.short()).collect();
        let more = costs.snapshots.len().saturating_sub(PATHS_SHOWN) as u64 + costs.more_snapshots;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        out.data(format!("  snapshots: {}{more}", ids.join(", ")))?;
    }
    for cost in costs.paths.iter().take(PATHS_SHOWN) {
        let what = if cost.folder { "entries of a folder".to_owned() } else { describe(cost) };
        out.data(format!("  {}: {what}", human::shown(cost.path.as_bytes())))?;
    }
    let more = costs.paths.len().saturating_sub(PATHS_SHOWN) as u64 + costs.more_paths;
    if more > 0 {
        out.data(format!("  and {} more (--json names them)", count(more, "path", "paths")))
    } else {
        Ok(())
    }
}

fn describe(cost: &Cost) -> String {
    let ranges: Vec<String> =
        cost.ranges.iter().take(3).map(|(start, len)| format!("{start}+{len}")).collect();
    let more = cost.ranges.len().saturating_sub(3) as u64 + cost.more_ranges;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} (start+length: {}{more})", bytes(cost.bytes), ranges.join(", "))
}
