//! `fardel ls`: what is in a snapshot.

use fardel_engine::Error as EngineError;
use fardel_engine::browse::{Browser, Contents, Place, Unreadable};
use fardel_engine::snapshots::Snapshots;
use fardel_format::tree::{Node, NodeKind};
use serde::Serialize;

use crate::app::App;
use crate::args::LsArgs;
use crate::choice::choose;
use crate::copies;
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
    let opened = open::open_for_reading(&app.config, Access::Key)?;
    open::make_cache(&app.config.cache)?;
    let snapshots = Snapshots::load_for_reading(&opened.repo, &opened.catalog)?;
    let snapshot = choose(&app.out, &opened, &snapshots, &args.what.snapshot)?;
    let contents = Contents::open(&opened.repo, &opened.catalog)?;
    let chunks = contents.chunks(&opened.repo)?;
    let browser = Browser::open(&opened.repo, &opened.catalog, &chunks, snapshot)?;
    let mut list = List { app, args, entries: 0, unreadable: 0 };
    let path = match (&args.what.path, args.recursive) {
        // Folders that are only above the sources tell nobody anything.
        (None, false) => {
            for (path, node) in browser.sources() {
                list.show(&path, Some(node))?;
                if node.kind == NodeKind::Dir {
                    list.folder(&browser, &browser.resolve(&path)?)?;
                }
            }
            "/".to_owned()
        }
        (path, _) => {
            let place = browser.resolve(path.as_deref().unwrap_or_default())?;
            list.folder(&browser, &place)?;
            path_for_programs(&place.path).0
        }
    };
    let List { entries, unreadable, .. } = list;
    copies::tell(app, &opened.repo)?;
    app.out.summary(&Summary { snapshot_id: browser.id().to_string(), path, entries, unreadable })?;
    Ok(if unreadable == 0 { Exit::Done } else { Exit::Damaged })
}

/// What was listed so far.
struct List<'a> {
    app: &'a App,
    args: &'a LsArgs,
    entries: u64,
    unreadable: u64,
}

impl List<'_> {
    fn folder(&mut self, browser: &Browser<'_>, place: &Place) -> Result<()> {
        let mut stopped = None;
        let listed = browser.list(place, self.args.recursive, |path, node| {
            self.show(path, node).map_err(|failure| {
                stopped = Some(failure);
                EngineError::Interrupted
            })
        });
        if let Some(failure) = stopped {
            return Err(failure);
        }
        let unreadable = listed?;
        self.unreadable += unreadable.count();
        tell_unreadable(self.app, &unreadable)
    }

    fn show(&mut self, path: &[u8], node: Option<&Node>) -> Result<()> {
        self.entries += 1;
        let out = &self.app.out;
        match (out.is_json(), self.args.long) {
            (true, _) => out.json_item("entry", &Entry::of(path, node)),
            (false, true) => out.data(long_line(path, node)),
            (false, false) => out.data(human::shown(path)),
        }
    }
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
