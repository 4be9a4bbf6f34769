//! `fardel sync`: carries snapshots to the replicas, without any key.

use std::sync::Arc;

use fardel_engine::Error as EngineError;
use fardel_engine::replicate::{ReplicateOptions, Target, TargetReport, replicate};
use fardel_engine::status::Remembered;
use fardel_store::Throttle;
use serde::Serialize;

use crate::app::App;
use crate::args::SyncArgs;
use crate::commands::status;
use crate::config::{Process, Replica};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human::{self, bytes, count};
use crate::location::Location;
use crate::open::{self, Access};
use crate::progress::Progress;
use crate::timetable::{Governed, Governor, Timetable};

#[derive(Serialize)]
struct TargetLine<'a> {
    target: &'a str,
    location: String,
    dry_run: bool,
    packs_copied: u64,
    objects_copied: u64,
    bytes_to_copy: u64,
    requests: u64,
    bytes_sent: u64,
    bytes_resumed: u64,
    complete_snapshot: Option<String>,
    complete_time: Option<&'a str>,
    behind: u64,
    problems: &'a [String],
    duration_seconds: f64,
}

#[derive(Serialize)]
struct TargetFailed<'a> {
    target: &'a str,
    location: String,
    code: u8,
    message: &'a str,
    hint: &'a str,
}

#[derive(Serialize)]
struct Summary {
    targets: usize,
    complete: usize,
    bytes_sent: u64,
}

/// Runs the command.
///
/// # Errors
/// When the repository itself cannot be read, or no target was named; a target that failed is in the exit code.
pub fn run(app: &App, args: &SyncArgs) -> Result<Exit> {
    let wanted = targets(app, args)?;
    let opened = open::open(&app.config, Access::Keyless)?;
    let mut failed = Vec::new();
    let mut reached = Vec::new();
    for Wanted { name, location, limits } in wanted {
        if location == opened.location {
            return Err(Failure::usage(
                format!("{name}: this is the repository itself"),
                "name another place with --to",
            ));
        }
        match open::store(&app.config, &location) {
            Ok(store) => reached.push((name, location, Fed::new(limits, args), store)),
            Err(failure) => failed.push((name, location, failure)),
        }
    }
    let governor = Governor::start(reached.iter().map(|(_, _, fed, _)| fed.governed()).collect());
    let names: Vec<_> = reached.iter().map(|(name, ..)| name.clone()).collect();
    let progress = Progress::begin_all(&app.out, &names, "objects");
    let targets: Vec<_> = reached
        .iter()
        .zip(&progress)
        .map(|((name, _, fed, store), progress)| Target {
            name: name.clone(),
            store: store.clone(),
            parallelism: args.parallel.map(usize::from),
            upload: fed.upload.clone(),
            download: fed.download.clone(),
            monitor: progress.clone(),
        })
        .collect();
    let options = ReplicateOptions {
        dry_run: args.dry_run,
        spool: app.config.cache.join("spool"),
        download: Throttle::new(args.limit_download.map(|rate| rate.0)),
        memory: app.config.memory,
    };
    let reports = replicate(&opened.repo, &opened.catalog, &targets, &options);
    drop(targets);
    drop(progress);
    drop(governor);

    let mut summary = Summary { targets: reached.len() + failed.len(), complete: 0, bytes_sent: 0 };
    for ((name, location, ..), report) in reached.into_iter().zip(reports?) {
        match report {
            Ok(report) => {
                summary.complete += usize::from(report.behind == 0 && report.problems.is_empty());
                summary.bytes_sent += report.bytes_sent;
                if report.behind == 0 && report.problems.is_empty() && !args.dry_run {
                    let mut remembered = Remembered::load(opened.repo.cache(), &location.to_string());
                    remembered.note_sync();
                    status::remember(app, &remembered);
                }
                tell(app, &location, &report, args.dry_run)?;
            }
            Err(EngineError::Interrupted) => return Err(EngineError::Interrupted.into()),
            Err(error) => failed.push((name, location, error.into())),
        }
    }
    for (name, location, failure) in &failed {
        tell_failure(app, name, location, failure)?;
    }
    app.out.summary(&summary)?;
    Ok(match () {
        () if summary.complete == summary.targets || args.dry_run && failed.is_empty() => Exit::Done,
        () => Exit::Incomplete,
    })
}

/// A copy that is to be fed.
struct Wanted {
    name: String,
    location: Location,
    limits: Timetable,
}

/// How fast a copy is fed.
struct Fed {
    timetable: Timetable,
    upload: Arc<Throttle>,
    download: Arc<Throttle>,
}

impl Fed {
    /// What stands on the command line counts instead of what the configuration says. What is read is then limited for all
    /// copies together.
    fn new(mut timetable: Timetable, args: &SyncArgs) -> Self {
        let hours = timetable.hours.iter_mut().map(|hours| &mut hours.rates);
        for rates in hours.chain([&mut timetable.usual]) {
            if let Some(rate) = args.limit_upload {
                rates.upload = Some(rate.0);
            }
            if args.limit_download.is_some() {
                rates.download = None;
            }
        }
        Self { timetable, upload: Arc::default(), download: Arc::default() }
    }

    fn governed(&self) -> Governed {
        Governed {
            timetable: self.timetable.clone(),
            upload: self.upload.clone(),
            download: self.download.clone(),
        }
    }
}

fn targets(app: &App, args: &SyncArgs) -> Result<Vec<Wanted>> {
    let config = &app.config;
    let limits = |name: &str| {
        let replica = config.replicas.iter().find(|replica| replica.name == name);
        replica.map(|replica| replica.limits.clone()).unwrap_or_default()
    };
    if !args.to.is_empty() {
        let wanted = |to: &String| {
            Ok(Wanted { name: to.clone(), location: config.copy(to, &Process)?, limits: limits(to) })
        };
        return args.to.iter().map(wanted).collect();
    }
    if config.replicas.is_empty() {
        return Err(Failure::usage(
            "there is no replica to carry anything to",
            "name one with --to URL, or write `replicas:` into fardel.yaml",
        ));
    }
    let wanted = |replica: &Replica| {
        Ok(Wanted {
            name: replica.name.clone(),
            location: replica.location()?,
            limits: replica.limits.clone(),
        })
    };
    config.replicas.iter().map(wanted).collect()
}

fn tell(app: &App, location: &Location, report: &TargetReport, dry_run: bool) -> Result<()> {
    let out = &app.out;
    out.json(
        "target",
        &TargetLine {
            target: &report.name,
            location: location.to_string(),
            dry_run,
            packs_copied: report.packs.objects,
            objects_copied: report.packs.objects + report.others.objects,
            bytes_to_copy: report.packs.bytes + report.others.bytes,
            requests: report.requests,
            bytes_sent: report.bytes_sent,
            bytes_resumed: report.bytes_resumed,
            complete_snapshot: report.complete.as_ref().map(|known| known.id.to_string()),
            complete_time: report.complete.as_ref().map(|known| &*known.time),
            behind: report.behind,
            problems: &report.problems,
            duration_seconds: report.duration.as_secs_f64(),
        },
    )?;
    let name = out.bold(&human::shown(report.name.as_bytes()));
    let packs = count(report.packs.objects, "pack", "packs");
    let others = count(report.others.objects, "other object", "other objects");
    let amount = bytes(report.packs.bytes + report.others.bytes);
    if dry_run {
        let requests = count(report.requests, "request", "requests");
        return match report.packs.objects + report.others.objects {
            0 => out.say(format!("{name}: nothing to send")),
            _ => out.say(format!("{name}: would send {packs} and {others}, {amount}, with {requests}")),
        };
    }
    let complete = match &report.complete {
        Some(known) => format!("complete up to {} of {}", known.id.short(), human::time(&known.time)),
        None if report.behind == 0 => "there is no snapshot yet".into(),
        None => "no snapshot is complete".into(),
    };
    let behind = match report.behind {
        0 => String::new(),
        behind => format!(", {} behind", count(behind, "snapshot", "snapshots")),
    };
    out.say(format!("{name}: {complete}{behind}"))?;
    let sent = bytes(report.bytes_sent);
    let resumed = match report.bytes_resumed {
        0 => String::new(),
        resumed => format!(", {} of an earlier run used", bytes(resumed)),
    };
    let time = human::duration(report.duration);
    match report.bytes_sent {
        0 => out.say(format!("  nothing was to be sent ({time})")),
        _ => out.say(format!("  sent    {sent} in {packs} and {others}{resumed} ({time})")),
    }
}

fn tell_failure(app: &App, name: &str, location: &Location, failure: &Failure) -> Result<()> {
    let (code, message, hint) = (failure.exit.code(), &*failure.message, &*failure.hint);
    app.out.json(
        "target-failed",
        &TargetFailed { target: name, location: location.to_string(), code, message, hint },
    )?;
    if !app.out.is_json() {
        app.out.warning(&format!("{}: {message}\n  {hint}", human::shown(name.as_bytes())));
    }
    Ok(())
}
