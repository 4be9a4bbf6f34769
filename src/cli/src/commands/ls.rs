//! `fardel ls`: what is in a snapshot.

use fardel_engine::Error as EngineError;
use fardel_engine::browse::{Browser, Contents, Unreadable};
use fardel_engine::snapshots::Snapshots;
use serde::Serialize;

use crate::app::App;
use crate::args::LsArgs;
use crate::entry::{Entry, long_line, path_for_programs};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human;
use crate::open::{self, Access};

#[derive(Serialize)]
struct Summary {
    snapshot_id: String,
    path: String,
    entries: u64,
    unreadable: u64,
}

#[derive(Serialize)]
struct NotReadLine<'a> {
    snapshot_id: Option<String>,
    path: String,
    message: &'a str,
}

/// Runs the command.
///
/// # Errors
/// When there is no such place; folders that cannot be read are in the exit code instead.
pub fn run(app: &App, args: &LsArgs) -> Result<Exit> {
    let opened = open::open(&app.config, Access::Key)?;
    open::make_cache(&app.config.cache)?;
    let snapshots = Snapshots::load(&opened.repo, &opened.catalog)?;
    let snapshot = snapshots.find(&args.what.snapshot)?;
    let contents = Contents::open(&opened.repo, &opened.catalog)?;
    let chunks = contents.chunks(&opened.repo)?;
    let browser = Browser::open(&opened.repo, &opened.catalog, &chunks, snapshot)?;
    let place = browser.resolve(args.what.path.as_deref().unwrap_or_default())?;
    let (out, mut entries, mut stopped) = (&app.out, 0, None);
    let listed = browser.list(&place, args.recursive, |path, node| {
        entries += 1;
        let shown = match (out.is_json(), args.long) {
            (true, _) => out.json_item("entry", &Entry::of(path, node)),
            (false, true) => out.data(long_line(path, node)),
            (false, false) => out.data(human::shown(path)),
        };
        shown.map_err(|failure| {
            stopped = Some(failure);
            EngineError::Interrupted
        })
    });
    if let Some(failure) = stopped {
        return Err(failure);
    }
    let unreadable = listed?;
    tell_unreadable(app, &unreadable)?;
    let path = path_for_programs(&place.path).0;
    out.summary(&Summary {
        snapshot_id: browser.id().to_string(),
        path,
        entries,
        unreadable: unreadable.count(),
    })?;
    Ok(if unreadable.is_empty() { Exit::Done } else { Exit::Damaged })
}

/// Says what could not be read, so that nobody takes the rest for everything.
///
/// # Errors
/// When standard output fails.
pub fn tell_unreadable(app: &App, unreadable: &Unreadable) -> Result<(), Failure> {
    for not_read in unreadable.first() {
        let snapshot_id = not_read.snapshot.map(|id| id.to_string());
        if app.out.is_json() {
            let path = path_for_programs(&not_read.path).0;
            app.out.json_item("unreadable", &NotReadLine { snapshot_id, path, message: &not_read.why })?;
        } else {
            let snapshot =
                not_read.snapshot.map(|id| format!("snapshot {}: ", id.short())).unwrap_or_default();
            let why = human::shown(not_read.why.as_bytes());
            app.out.warning(&format!("{snapshot}{}: {why}", human::shown(&not_read.path)));
        }
    }
    if !unreadable.is_empty() && !app.out.is_json() {
        let what = human::count(unreadable.count(), "place", "places");
        app.out.warning(&format!("{what} could not be read: what lies there is not shown; `fardel check --level data` says what is damaged"));
    }
    Ok(())
}
