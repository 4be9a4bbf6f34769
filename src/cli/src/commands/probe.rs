//! `fardel probe`: tries out what a store can do and how fast, and leaves nothing there.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use fardel_engine::bridge::block_on;
use fardel_store::probe::{ProbeOptions, ProbeReport, Rate, Watch, probe};
use fardel_store::{Finding, Level};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::app::App;
use crate::args::ProbeArgs;
use crate::config::Process;
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human::{self, bytes, count};
use crate::interrupt;
use crate::location::Location;
use crate::open;
use crate::table::{Align, Table};

#[derive(Serialize)]
struct FindingLine<'a> {
    level: String,
    what: &'a str,
    means: &'a str,
}

#[derive(Serialize)]
struct RateLine {
    parallel: usize,
    upload_bytes_per_second: u64,
    download_bytes_per_second: u64,
}

#[derive(Serialize)]
struct Summary<'a> {
    location: String,
    usable: bool,
    interrupted: bool,
    ok: usize,
    notes: usize,
    #[serde(rename = "unsafe")]
    not_safe: usize,
    put_seconds: Option<f64>,
    get_seconds: Option<f64>,
    rates: Vec<RateLine>,
    recommended_parallelism: Option<usize>,
    left_behind: &'a [String],
}

/// Tells what is being tried.
#[derive(Debug)]
struct Steps(ProgressBar);

impl Watch for Steps {
    fn step(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    fn stopped(&self) -> bool {
        interrupt::wanted()
    }
}

/// Runs the command.
///
/// # Errors
/// When the place is none, or this machine cannot do its part. What the store cannot do is in the exit code.
pub fn run(app: &App, args: &ProbeArgs) -> Result<Exit> {
    let location = match &args.place {
        Some(place) => app.config.copy(place, &Process)?,
        None => app.config.location()?,
    };
    // Without a journal: an upload that is given up shall leave nothing that a later one could go on with.
    let store = open::store_without_journal(&app.config, &location)?;
    let other = match location {
        Location::Memory => store.clone(),
        _ => open::store_without_journal(&app.config, &location)?,
    };
    interrupt::watch_saying(
        "stopping: what was put there is removed (Ctrl-C again stops at once, and leaves it)",
    );
    open::make_cache(&app.config.cache)?;
    let options = ProbeOptions::new(app.config.cache.join("probe"));
    let bar = match app.out.progress && !app.out.is_json() && std::io::stderr().is_terminal() {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::hidden(),
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    let report = block_on(probe(store, other, &options, Arc::new(Steps(bar.clone()))));
    bar.finish_and_clear();
    // Other probes may be under way; an empty folder of the cache is no litter.
    let _ = std::fs::remove_dir(&options.files);
    tell(app, &location, &report?)
}

fn tell(app: &App, location: &Location, report: &ProbeReport) -> Result<Exit> {
    let out = &app.out;
    for Finding { level, what, means } in &report.findings {
        out.json("probe", &FindingLine { level: level.to_string(), what, means })?;
    }
    if !out.is_json() {
        show(app, location, report)?;
    }
    for left in &report.left {
        out.warning(&format!("this stays behind at {location}: {}", human::shown(left.as_bytes())));
    }
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    out.summary(&Summary {
        location: location.to_string(),
        usable: report.is_usable,
        interrupted: report.was_stopped,
        ok: report.count(Level::Ok),
        notes: report.count(Level::Note),
        not_safe: report.count(Level::Unsafe),
        put_seconds: seconds(report.small_put),
        get_seconds: seconds(report.small_get),
        rates: report.rates.iter().map(RateLine::of).collect(),
        recommended_parallelism: report.parallelism,
        left_behind: &report.left,
    })?;
    match report {
        ProbeReport { was_stopped: true, .. } => {
            let hint = "run it again to try the rest";
            Err(Failure::new(
                Exit::Interrupted,
                format!("{location}: stopped before everything was tried"),
                hint,
            ))
        }
        ProbeReport { is_usable: false, .. } => Ok(Exit::Failed),
        _ => Ok(Exit::Done),
    }
}

fn show(app: &App, location: &Location, report: &ProbeReport) -> Result<()> {
    let out = &app.out;
    out.data(out.bold(&location.to_string()))?;
    for Finding { level, what, means } in &report.findings {
        out.data(format!("  {level:<8}{}", human::shown(what.as_bytes())))?;
        if *level > Level::Ok && !means.is_empty() {
            out.data(format!("          {}", human::shown(means.as_bytes())))?;
        }
    }
    if let (Some(put), Some(get)) = (report.small_put, report.small_get) {
        out.data(format!("  small objects: {} to store one, {} to read one", brief(put), brief(get)))?;
    }
    if !report.rates.is_empty() {
        let columns = [("  at once", Align::Right), ("upload", Align::Right), ("download", Align::Right)];
        let mut table = Table::new(&columns);
        let rate = |rate: f64| format!("{}/s", bytes(rate as u64));
        for Rate { parallel, upload, download } in &report.rates {
            table.row(vec![parallel.to_string(), rate(*upload), rate(*download)]);
        }
        out.table(&table)?;
    }
    if let Some(parallel) = report.parallelism {
        out.data(format!("  recommended: {} at once", count(parallel as u64, "object", "objects")))?;
    }
    if report.was_stopped {
        return Ok(());
    }
    let not_safe = report.count(Level::Unsafe) as u64;
    out.say(match (report.is_usable, not_safe) {
        (false, _) => "no repository can lie there".to_owned(),
        (true, 0) => "a repository can lie there".to_owned(),
        (true, many) => {
            let what = count(
                many,
                "thing is not as other programs expect",
                "things are not as other programs expect",
            );
            format!("a repository can lie there; {what}: see above what Fardel does about it")
        }
    })
}

/// `0.3 ms`, `12 ms`, `1.2 s`.
fn brief(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        millis if millis < 10.0 => format!("{millis:.1} ms"),
        millis if millis < 1000.0 => format!("{millis:.0} ms"),
        _ => human::duration(time),
    }
}

impl RateLine {
    fn of(rate: &Rate) -> Self {
        Self {
            parallel: rate.parallel,
            upload_bytes_per_second: rate.upload as u64,
            download_bytes_per_second: rate.download as u64,
        }
    }
}
