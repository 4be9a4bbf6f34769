//! `fardel dump`: the bytes of one file or volume, on standard output; everything else goes to standard error.

use std::io::{BufWriter, ErrorKind, stdout};
use std::time::Instant;

use fardel_engine::Error as EngineError;
use fardel_engine::browse::{Browser, Contents};
use fardel_engine::dump::{DumpOptions, dump};
use fardel_engine::snapshots::Snapshots;
use serde::Serialize;

use crate::app::App;
use crate::args::DumpArgs;
use crate::choice::choose;
use crate::copies;
use crate::entry::path_for_programs;
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human;
use crate::open::{self, Access};
use crate::progress::Progress;

#[derive(Serialize)]
struct Summary {
    snapshot_id: String,
    path: String,
    bytes: u64,
    inconsistent: Option<String>,
    duration_seconds: f64,
}

/// Runs the command.
///
/// # Errors
/// When there is no such file, or a part of it is missing: then the output ends before that part.
pub fn run(app: &App, args: &DumpArgs) -> Result<Exit> {
    let begun = Instant::now();
    let Some(path) = &args.what.path else {
        return Err(Failure::usage(
            "dump needs the path of a file or volume",
            "write SNAPSHOT:PATH, for example latest:/etc/hosts",
        ));
    };
    let opened = open::open_for_reading(&app.config, Access::Key)?;
    open::make_cache(&app.config.cache)?;
    let snapshots = Snapshots::load_for_reading(&opened.repo, &opened.catalog)?;
    let snapshot = choose(&app.out, &opened, &snapshots, &args.what.snapshot)?;
    let contents = Contents::open(&opened.repo, &opened.catalog)?;
    let chunks = contents.chunks(&opened.repo)?;
    let browser = Browser::open(&opened.repo, &opened.catalog, &chunks, snapshot)?;
    let place = browser.resolve(path)?;
    let options = DumpOptions { memory: app.config.memory / 2, ..DumpOptions::default() };
    let progress = Progress::begin(&app.out, "writing", "files");
    // The file itself and not its lines: std's own handle would look for line ends in all of it.
    let mut out = BufWriter::with_capacity(1 << 20, raw_stdout()?);
    let dumped = dump(&opened.repo, &contents, &chunks, &place, &options, &progress, &mut out);
    drop(progress);
    let report = dumped.map_err(|error| match error {
        EngineError::Io { error, .. } if error.kind() == ErrorKind::BrokenPipe => Failure::stdout(&error),
        error => error.into(),
    })?;
    if let Some(why) = &report.inconsistent {
        app.out.warning(&format!("it is marked inconsistent: {}", human::shown(why.as_bytes())));
    }
    copies::tell(app, &opened.repo)?;
    app.out.summary(&Summary {
        snapshot_id: browser.id().to_string(),
        path: path_for_programs(&place.path).0,
        bytes: report.bytes,
        inconsistent: report.inconsistent,
        duration_seconds: begun.elapsed().as_secs_f64(),
    })?;
    Ok(Exit::Done)
}

fn raw_stdout() -> Result<std::fs::File> {
    rustix::io::dup(stdout()).map(Into::into).map_err(|e| Failure::stdout(&e.into()))
}
