//! `fardel prune`: deletes what nobody needs, and writes anew what is sparse or small.

use std::time::Instant;

use fardel_engine::prune::{self, HeldUp, Planned, PruneOptions, PruneReport};
use fardel_engine::status::Amount;
use serde::Serialize;

use super::backup::packer;
use crate::app::App;
use crate::args::PruneArgs;
use crate::config::Process;
use crate::error::Result;
use crate::exit::Exit;
use crate::human::{self, bytes, count};
use crate::open::{self, Access, Opened};
use crate::progress::Progress;

/// What stays for a replica that another tool makes.
#[derive(Serialize)]
struct HeldUpLine {
    replica: Option<String>,
    snapshot_id: String,
    since: String,
    packs: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct PlanSummary {
    dry_run: bool,
    packs: u64,
    bytes: u64,
    packs_to_delete: u64,
    bytes_to_delete: u64,
    packs_to_condemn: u64,
    bytes_to_condemn: u64,
    packs_to_repack: u64,
    bytes_to_repack: u64,
    bytes_to_store: u64,
    snapshots_to_retell: u64,
    requests: u64,
    unused_bytes: u64,
    packs_unfinished: u64,
    bytes_unfinished: u64,
    packs_young: u64,
    bytes_young: u64,
    young_byte_days: f64,
    min_age_seconds: u64,
    no_repack: Option<String>,
    grace_seconds: u64,
    held_up_by: Vec<HeldUpLine>,
    silent_replicas: Vec<String>,
}

#[derive(Serialize)]
struct Summary<'a> {
    dry_run: bool,
    packs_deleted: u64,
    bytes_deleted: u64,
    objects_deleted: u64,
    snapshots_deleted: u64,
    packs_condemned: u64,
    bytes_condemned: u64,
    packs_waiting: u64,
    bytes_waiting: u64,
    packs_repacked: u64,
    packs_written: u64,
    bytes_stored: u64,
    snapshots_retold: u64,
    snapshots_left: u64,
    denied: &'a [String],
    locked: &'a [String],
    unreadable: &'a [String],
    no_repack: Option<&'a str>,
    grace_seconds: u64,
    held_up_by: Vec<HeldUpLine>,
    silent_replicas: &'a [String],
    duration_seconds: f64,
}

/// Runs the command.
///
/// # Errors
/// When the key does not allow it, the store's listing cannot be trusted, or what a snapshot needs cannot be known.
pub fn run(app: &App, args: &PruneArgs) -> Result<Exit> {
    let begun = Instant::now();
    let opened = match &args.replica {
        Some(replica) => open::open_at(&app.config, app.config.copy(replica, &Process)?, Access::Key)?,
        None => open::open(&app.config, Access::Key)?,
    };
    open::make_cache(&app.config.cache)?;
    let options = PruneOptions {
        replica: args.replica.is_some() || app.config.replica_at(&opened.location).is_some(),
        copied: opened.catalog.is_copied(),
        take_over: args.take_over,
        ..options(app, args)
    };
    let progress = Progress::begin(&app.out, "looking at", "packs");
    let plan = prune::plan(&opened.repo, &options, &progress);
    drop(progress);
    let plan = plan?;
    let planned = plan.planned.clone();
    if let Some(why) = planned.no_repack.as_deref().filter(|_| !args.no_repack) {
        app.out.warning(&format!("nothing is written anew: {why}"));
    }
    if args.dry_run {
        foretell(app, &planned)?;
        hold_ups(app, &opened, &planned)?;
        return Ok(Exit::Done);
    }
    let progress = Progress::begin(&app.out, "pruning", "packs");
    let ran = plan.run(&progress);
    drop(progress);
    let report = ran?;
    tell(app, &planned, &report)?;
    hold_ups(app, &opened, &planned)?;
    app.out.summary(&summary(&planned, &report, begun))?;
    Ok(if report.swept.denied.is_empty() { Exit::Done } else { Exit::Failed })
}

fn options(app: &App, args: &PruneArgs) -> PruneOptions {
    let usual = PruneOptions::default();
    PruneOptions {
        grace: args.grace.unwrap_or(usual.grace),
        unfinished: args.unfinished.unwrap_or(usual.unfinished),
        max_unused: args.max_unused.unwrap_or(usual.max_unused),
        max_repack: args.max_repack.map_or(usual.max_repack, |size| size.0),
        repack: !args.no_repack,
        min_age: args.min_age.unwrap_or(usual.min_age),
        memory: app.config.memory,
        packer: packer(app),
        ..usual
    }
}

fn packs(amount: &Amount) -> String {
    format!("{} of {}", count(amount.objects, "pack", "packs"), bytes(amount.bytes))
}

/// Says for whom something stays that nobody else needs.
fn hold_ups(app: &App, opened: &Opened, planned: &Planned) -> Result<()> {
    let (out, time) = (&app.out, human::time);
    for held in &planned.held_up {
        let (snapshot, stays) = (held.snapshot.short(), packs(&held.packs));
        out.say(match &held.replica {
            Some(replica) => format!(
                "replica {replica} holds up {stays}: it acknowledged snapshot {snapshot} on {} and nothing newer since; if it \
                 never comes back: `{}`",
                time(&held.since),
                app.command(&format!("replica strike {replica}"), &opened.location)
            ),
            None => format!(
                "left {stays}: for copies that acknowledged nothing, snapshot {snapshot} of {} stays, and all newer ones",
                time(&held.since)
            ),
        })?;
    }
    if !planned.patient {
        return Ok(());
    }
    let grace = human::duration(planned.grace);
    out.say(match planned.silent.first() {
        None => format!(
            "another tool copies this folder, and no replica acknowledged what it got: what is condemned stays for {grace}; \
             `fardel replica acknowledge` at the other side lets it go sooner"
        ),
        Some(replica) => format!(
            "replica {replica} acknowledged nothing that is still to be had here: what is condemned stays for {grace}, or until it \
             does, or until `{}`",
            app.command(&format!("replica strike {replica}"), &opened.location)
        ),
    })
}

fn lines_of(held_up: &[HeldUp]) -> Vec<HeldUpLine> {
    let line = |held: &HeldUp| HeldUpLine {
        replica: held.replica.clone(),
        snapshot_id: held.snapshot.to_string(),
        since: held.since.clone(),
        packs: held.packs.objects,
        bytes: held.packs.bytes,
    };
    held_up.iter().map(line).collect()
}

fn foretell(app: &App, planned: &Planned) -> Result<()> {
    let out = &app.out;
    out.say(format!(
        "{} are here, {} within needed ones is not used",
        packs(&planned.total),
        bytes(planned.unused_bytes)
    ))?;
    out.say(format!("would delete       {}", packs(&planned.sweep)))?;
    let after = match planned.grace.is_zero() {
        true => ", and delete them at once".into(),
        false => format!(", for a run after {}", human::duration(planned.grace)),
    };
    out.say(format!("would condemn      {}{after}", packs(&planned.condemn)))?;
    let retold = count(planned.snapshots_retold, "snapshot", "snapshots");
    out.say(format!(
        "would write anew   {}, about {}, for {retold}",
        packs(&planned.repack),
        bytes(planned.rewrite_bytes)
    ))?;
    if planned.unfinished.objects > 0 {
        out.say(format!("would leave        {} that no snapshot names yet", packs(&planned.unfinished)))?;
    }
    if planned.young.objects > 0 {
        let days = planned.young_byte_days / f64::from(1 << 30);
        out.say(format!(
            "would leave        {} below the store's minimum age of {}: deleted now they would be charged for {days:.1} GiB times days",
            packs(&planned.young),
            human::duration(planned.min_age)
        ))?;
    }
    out.say(format!("about {}", count(planned.requests, "request", "requests")))?;
    out.summary(&PlanSummary {
        dry_run: true,
        packs: planned.total.objects,
        bytes: planned.total.bytes,
        packs_to_delete: planned.sweep.objects,
        bytes_to_delete: planned.sweep.bytes,
        packs_to_condemn: planned.condemn.objects,
        bytes_to_condemn: planned.condemn.bytes,
        packs_to_repack: planned.repack.objects,
        bytes_to_repack: planned.repack.bytes,
        bytes_to_store: planned.rewrite_bytes,
        snapshots_to_retell: planned.snapshots_retold,
        requests: planned.requests,
        unused_bytes: planned.unused_bytes,
        packs_unfinished: planned.unfinished.objects,
        bytes_unfinished: planned.unfinished.bytes,
        packs_young: planned.young.objects,
        bytes_young: planned.young.bytes,
        young_byte_days: planned.young_byte_days,
        min_age_seconds: planned.min_age.as_secs(),
        no_repack: planned.no_repack.clone(),
        grace_seconds: planned.grace.as_secs(),
        held_up_by: lines_of(&planned.held_up),
        silent_replicas: planned.silent.clone(),
    })
}

fn tell(app: &App, planned: &Planned, report: &PruneReport) -> Result<()> {
    let out = &app.out;
    for why in report.unreadable.iter().chain(&report.swept.blocked) {
        out.warning(&human::shown(format!("{why}: it stays as it is; `fardel check` tells more").as_bytes()));
    }
    for why in &report.swept.denied {
        out.warning(&human::shown(
            format!("the store does not delete {why}: the next prune tries again").as_bytes(),
        ));
    }
    for why in &report.swept.locked {
        out.warning(&human::shown(format!("a lock keeps {why}: a prune after that deletes it").as_bytes()));
    }
    if report.left > 0 {
        let left = count(report.left, "snapshot", "snapshots");
        out.warning(&format!(
            "{left} stay as they were: something else was pruned meanwhile; the next prune tries again"
        ));
    }
    if report.packs_read > 0 {
        let (read, written) =
            (count(report.packs_read, "pack", "packs"), count(report.packs_written, "pack", "packs"));
        out.say(format!("wrote {read} anew: {written}, {}", bytes(report.bytes_stored)))?;
    }
    let deleted = packs(&report.swept.packs);
    let others = count(report.swept.others.objects, "other object", "other objects");
    out.say(format!("deleted {deleted} and {others}"))?;
    if report.waiting.objects > 0 {
        let grace = human::duration(planned.grace);
        out.say(format!("condemned {}: a prune after {grace} deletes them", packs(&report.waiting)))?;
    }
    if planned.young.objects > 0 {
        let age = human::duration(planned.min_age);
        out.say(format!("left {} below the store's minimum age of {age}", packs(&planned.young)))?;
    }
    Ok(())
}

fn summary<'a>(planned: &'a Planned, report: &'a PruneReport, begun: Instant) -> Summary<'a> {
    Summary {
        dry_run: false,
        packs_deleted: report.swept.packs.objects,
        bytes_deleted: report.swept.packs.bytes + report.swept.others.bytes,
        objects_deleted: report.swept.packs.objects + report.swept.others.objects,
        snapshots_deleted: report.swept.snapshots,
        packs_condemned: report.condemned.objects,
        bytes_condemned: report.condemned.bytes,
        packs_waiting: report.waiting.objects,
        bytes_waiting: report.waiting.bytes,
        packs_repacked: report.packs_read,
        packs_written: report.packs_written,
        bytes_stored: report.bytes_stored,
        snapshots_retold: report.snapshots_retold,
        snapshots_left: report.left,
        denied: &report.swept.denied,
        locked: &report.swept.locked,
        unreadable: &report.unreadable,
        no_repack: planned.no_repack.as_deref(),
        grace_seconds: planned.grace.as_secs(),
        held_up_by: lines_of(&planned.held_up),
        silent_replicas: &planned.silent,
        duration_seconds: begun.elapsed().as_secs_f64(),
    }
}
