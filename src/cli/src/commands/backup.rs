//! `fardel backup`: one snapshot for what stands on the command line, or one for each configured job.

use std::io::stdin;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fardel_engine::Error as EngineError;
use fardel_engine::backup::{BackupOptions, BackupReport, SourceSpec, backup};
use fardel_engine::catalog::Catalog;
use fardel_engine::keyring::Material;
use fardel_engine::packs::PackerOptions;
use fardel_engine::status::Remembered;
use fardel_source::Excludes;
use serde::Serialize;

use crate::app::App;
use crate::args::BackupArgs;
use crate::config::Job;
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human::{self, bytes, count};
use crate::location::Location;
use crate::open::{self, Access, Opened};
use crate::progress::Progress;

use super::init::{self, New};
use super::status;

/// A long backup seals what it has so often, unless told otherwise.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);
/// Bytes that a compressing thread may come to hold: frames in and out, zstd's state.
const THREAD_COST: u64 = 16 << 20;
/// The name of standard input unless another is given.
const STDIN: &str = "stdin";

#[derive(Clone, Debug, Default, Serialize)]
struct Summary {
    #[serde(skip_serializing_if = "String::is_empty")]
    job: String,
    snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    snapshot_ids: Vec<String>,
    partial: bool,
    dry_run: bool,
    files_new: u64,
    files_changed: u64,
    files_unmodified: u64,
    dirs: u64,
    bytes_read: u64,
    bytes_added: u64,
    bytes_stored: u64,
    packs_written: u64,
    unreadable: u64,
    inconsistent: u64,
    excluded: u64,
    parent: Option<String>,
    duration_seconds: f64,
}

#[derive(Serialize)]
struct Entry<'a> {
    path: &'a str,
    message: &'a str,
}

/// Runs the command.
///
/// # Errors
/// When nothing can be saved; what could not be read is in the exit code instead.
pub fn run(app: &App, args: BackupArgs) -> Result<Exit> {
    let jobs = jobs(app, &args)?;
    jobs.iter().try_for_each(check_patterns)?;
    let location = app.config.location()?;
    let opened = open_or_make(app, &args, location)?;
    open::make_cache(&app.config.cache)?;
    let (count, mut total, mut exit) = (jobs.len(), Summary::default(), Exit::Done);
    for (number, job) in jobs.into_iter().enumerate() {
        let begun = Instant::now();
        let fresh;
        let catalog = if number == 0 {
            &opened.catalog
        } else {
            fresh = Catalog::load(opened.repo.store())?;
            &fresh
        };
        let name = job.name.clone();
        let report = save(app, &args, &opened, catalog, job)?;
        let one = Summary::of(name, &report, args.dry_run, begun.elapsed());
        tell(app, &opened.location, &one, &report)?;
        if count > 1 {
            app.out.json("job", &one)?;
        }
        total.add(one);
        exit = exit.max(exit_of(&report));
        if report.partial {
            break;
        }
    }
    app.out.summary(&total)?;
    Ok(exit)
}

fn exit_of(report: &BackupReport) -> Exit {
    match report {
        BackupReport { partial: true, .. } => Exit::Interrupted,
        BackupReport { unreadable, .. } if !unreadable.is_empty() => Exit::SourceUnreadable,
        _ => Exit::Done,
    }
}

fn jobs(app: &App, args: &BackupArgs) -> Result<Vec<Job>> {
    let given = Job {
        sources: args.sources.clone(),
        excludes: args.excludes.clone(),
        exclude_files: args.exclude_from.clone(),
        exclude_caches: args.exclude_caches,
        exclude_larger_than: args.exclude_larger_than.map(|size| size.0),
        one_file_system: args.one_file_system,
        tags: args.tags.clone(),
        name: String::new(),
    };
    if !args.sources.is_empty() || args.stdin_name.is_some() {
        return Ok(vec![given]);
    }
    if app.config.jobs.is_empty() {
        return Err(Failure::usage(
            "there is nothing to back up",
            "name folders or disk images, or write `jobs:` into fardel.yaml",
        ));
    }
    if let Some(name) = args.jobs.iter().find(|name| app.config.jobs.iter().all(|job| job.name != **name)) {
        let names: Vec<&str> = app.config.jobs.iter().map(|job| &*job.name).collect();
        return Err(Failure::usage(
            format!("there is no job {name}"),
            format!("the configuration has {}", names.join(", ")),
        ));
    }
    let wanted = |job: &&Job| args.jobs.is_empty() || args.jobs.contains(&job.name);
    Ok(app.config.jobs.iter().filter(wanted).map(|job| job.clone().with(&given)).collect())
}

/// A pattern that means nothing is a mistake of the user's, and to be told before anything is saved.
fn check_patterns(job: &Job) -> Result<()> {
    let all = || {
        let mut patterns = Excludes::builder("/");
        job.excludes.iter().try_for_each(|line| patterns.add_line(line).map(drop))?;
        job.exclude_files.iter().try_for_each(|file| patterns.add_file(file).map(drop))?;
        patterns.build()
    };
    let mistake = |error| Failure::usage(error, "a pattern has the form of a line of .gitignore");
    all().map(drop).map_err(mistake)
}

fn open_or_make(app: &App, args: &BackupArgs, location: Location) -> Result<Opened> {
    if !args.init {
        return may_write(open::open(&app.config, Access::Key)?);
    }
    let store = open::store(&app.config, &location)?;
    if open::id(&store)?.is_some() {
        return may_write(open::open(&app.config, Access::Key)?);
    }
    if args.dry_run {
        return Err(Failure::usage("a dry run makes no repository", "leave out --init or --dry-run"));
    }
    let host = args.host.clone().unwrap_or_else(init::host_name);
    let new =
        New { args: &args.new, host, chunk_size: app.config.chunk_size, discreet: !app.out.is_terminal() };
    let created = init::create(app, &location, &store, &new)?;
    app.out.json("init", &created.summary(&location))?;
    app.out.say("")?;
    let material = Material::Host(Box::new(created.host));
    open::open_with(&app.config, store, location, Some(material), Some(created.id))
}

fn may_write(opened: Opened) -> Result<Opened> {
    if opened.repo.keys().host.is_some() {
        return Ok(opened);
    }
    let message = format!(
        "{}: this key can read, but not sign: a backup needs this machine's own key file",
        opened.location
    );
    Err(Failure::key(message, "make one with `fardel key add --host NAME` and the recovery key"))
}

fn save(app: &App, args: &BackupArgs, opened: &Opened, catalog: &Catalog, job: Job) -> Result<BackupReport> {
    let options = BackupOptions {
        sources: sources(&job.sources, args.stdin_name.as_deref()),
        host: args.host.clone().unwrap_or_else(init::host_name),
        user: std::env::var("USER")
            .or_else(|_| std::env::var("LOGNAME"))
            .ok()
            .filter(|user| !user.is_empty()),
        tags: job.tags,
        excludes: job.excludes,
        exclude_files: job.exclude_files,
        exclude_caches: job.exclude_caches,
        exclude_larger_than: job.exclude_larger_than,
        one_file_system: job.one_file_system,
        chunk_size: app.config.chunk_size,
        force: args.force,
        dry_run: args.dry_run,
        checkpoint_every: args.checkpoint_every.unwrap_or(CHECKPOINT_EVERY),
        never: never(app, opened),
        packer: packer(app),
    };
    let progress = Progress::begin(&app.out, if args.dry_run { "looking at" } else { "saving" }, "entries");
    let saved = backup(&opened.repo, catalog, &options, &progress);
    drop(progress);
    if let Ok(BackupReport { snapshot: Some(snapshot), .. }) = &saved
        && opened.location != Location::Memory
    {
        let mut remembered = Remembered::load(opened.repo.cache(), &opened.location.to_string());
        remembered.note_complete(snapshot);
        status::remember(app, &remembered);
    }
    saved.map_err(|error| match error {
        EngineError::Invalid(why) => Failure::new(
            Exit::Failed,
            human::shown(why.as_bytes()),
            "look whether the sources are right, mounted and readable",
        ),
        error => error.into(),
    })
}

/// How packs are made, by the configuration.
#[must_use]
pub fn packer(app: &App) -> PackerOptions {
    let usual = PackerOptions::default();
    PackerOptions {
        pack_size: app.config.pack_size.unwrap_or(usual.pack_size),
        level: app.config.level.unwrap_or(usual.level),
        threads: threads(app.config.memory),
        ..usual
    }
}

/// A compressing thread for each core, as far as memory goes.
fn threads(memory: u64) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.min((memory / THREAD_COST) as usize).max(1)
}

fn sources(paths: &[PathBuf], stdin_name: Option<&str>) -> Vec<SourceSpec> {
    let stream =
        |name: &str| SourceSpec::Stdin { name: name.to_owned(), reader: Mutex::new(Box::new(stdin())) };
    let dash = paths.iter().any(|path| path == Path::new("-"));
    let files = paths.iter().filter(|path| *path != Path::new("-")).cloned().map(SourceSpec::Path);
    let streams = (dash || stdin_name.is_some()).then(|| stream(stdin_name.unwrap_or(STDIN)));
    files.chain(streams).collect()
}

/// What is never saved: the repository, with the folder where it makes its files, and the cache.
fn never(app: &App, opened: &Opened) -> Vec<PathBuf> {
    let mut never = vec![app.config.cache.clone()];
    if let Location::Folder(folder) = &opened.location {
        never.push(folder.clone());
        never.extend(opened.repo.store().capabilities().staging);
    }
    never
}

impl Job {
    /// With what the command line adds.
    fn with(mut self, given: &Self) -> Self {
        self.excludes.extend(given.excludes.iter().cloned());
        self.exclude_files.extend(given.exclude_files.iter().cloned());
        self.tags.extend(given.tags.iter().cloned());
        self.exclude_caches |= given.exclude_caches;
        self.one_file_system |= given.one_file_system;
        self.exclude_larger_than = given.exclude_larger_than.or(self.exclude_larger_than);
        self
    }
}

impl Summary {
    fn of(job: String, report: &BackupReport, dry_run: bool, time: Duration) -> Self {
        Self {
            job,
            snapshot_id: report.snapshot.map(|id| id.to_string()),
            snapshot_ids: Vec::new(),
            partial: report.partial,
            dry_run,
            files_new: report.files_new,
            files_changed: report.files_changed,
            files_unmodified: report.files_unmodified,
            dirs: report.dirs,
            bytes_read: report.bytes_read,
            bytes_added: report.bytes_added,
            bytes_stored: report.bytes_stored,
            packs_written: report.packs_written,
            unreadable: report.unreadable.len() as u64,
            inconsistent: report.inconsistent.len() as u64,
            excluded: report.excluded,
            parent: report.parent.map(|id| id.to_string()),
            duration_seconds: time.as_secs_f64(),
        }
    }

    /// Adds the next job; the last one's snapshot is the one that is named.
    fn add(&mut self, one: Self) {
        let counts = [
            (&mut self.files_new, one.files_new),
            (&mut self.files_changed, one.files_changed),
            (&mut self.files_unmodified, one.files_unmodified),
            (&mut self.dirs, one.dirs),
            (&mut self.bytes_read, one.bytes_read),
            (&mut self.bytes_added, one.bytes_added),
            (&mut self.bytes_stored, one.bytes_stored),
            (&mut self.packs_written, one.packs_written),
            (&mut self.unreadable, one.unreadable),
            (&mut self.inconsistent, one.inconsistent),
            (&mut self.excluded, one.excluded),
        ];
        counts.into_iter().for_each(|(sum, more)| *sum += more);
        self.duration_seconds += one.duration_seconds;
        self.partial |= one.partial;
        self.dry_run |= one.dry_run;
        self.snapshot_ids.extend(one.snapshot_id.clone());
        (self.snapshot_id, self.parent) = (one.snapshot_id.or(self.snapshot_id.take()), one.parent);
    }
}

fn tell(app: &App, location: &Location, one: &Summary, report: &BackupReport) -> Result<()> {
    let out = &app.out;
    for (path, message) in &report.unreadable {
        out.json_item("unreadable", &Entry { path, message })?;
    }
    for (path, message) in &report.inconsistent {
        out.json_item("inconsistent", &Entry { path, message })?;
    }
    let short = report.snapshot.map(|id| id.short());
    let time = human::duration(Duration::from_secs_f64(one.duration_seconds));
    let job = if one.job.is_empty() { String::new() } else { format!(" of job {}", one.job) };
    match (&short, one.dry_run, one.partial) {
        (_, true, _) => out.say(format!("Dry run{job}: nothing was saved ({time})."))?,
        (Some(id), _, false) => out.say(format!("Snapshot {}{job} is saved ({time}).", out.bold(id)))?,
        (Some(id), _, true) => out
            .say(format!("Interrupted{job}: what was finished is kept as partial snapshot {id} ({time})."))?,
        (None, ..) => {
            out.say(format!("Interrupted{job}: finished packs are kept, and found again ({time})."))?
        }
    }
    let files = format!(
        "{} new, {} changed, {} unmodified",
        human::thousands(one.files_new),
        human::thousands(one.files_changed),
        human::thousands(one.files_unmodified)
    );
    out.say(format!("  files   {files}; {}", count(one.dirs, "folder", "folders")))?;
    let stored =
        format!("stored as {} in {}", bytes(one.bytes_stored), count(one.packs_written, "pack", "packs"));
    let stored = if one.dry_run { String::new() } else { format!(", {stored}") };
    out.say(format!(
        "  read    {}; {} new, metadata included{stored}",
        bytes(one.bytes_read),
        bytes(one.bytes_added)
    ))?;
    if one.inconsistent > 0 {
        out.say(format!(
            "  note    {} while being read, marked inconsistent",
            count(one.inconsistent, "file changed", "files changed")
        ))?;
    }
    if one.unreadable > 0 {
        out.warning(&format!(
            "{} could not be read, and what they hold is not in this snapshot",
            count(one.unreadable, "entry", "entries")
        ));
    }
    match &short {
        Some(_) if one.partial => out.say("Run the same command again to go on from there."),
        Some(id) => out.say(format!(
            "Get it back:  {}",
            app.command(&format!("restore {id} --target FOLDER"), location)
        )),
        None if one.partial => out.say("Run the same command again to go on from there."),
        None => Ok(()),
    }
}
