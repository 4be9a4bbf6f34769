//! `fardel snapshots`: with a key all that is known of each, without only what seals show.

use std::collections::HashSet;

use fardel_engine::snapshots::{Sealed, Snapshots};
use fardel_format::root::Root;
use serde::Serialize;

use crate::app::App;
use crate::args::SnapshotsArgs;
use crate::copies;
use crate::error::Result;
use crate::exit::Exit;
use crate::human;
use crate::open::{self, Access, Opened};
use crate::table::{Align, Table};

#[derive(Serialize)]
struct Line {
    id: String,
    time: String,
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    tags: Option<Vec<String>>,
    sources: Option<Vec<String>>,
    complete: bool,
    partial: Option<bool>,
    files: Option<u64>,
    bytes: Option<u64>,
    unreadable: Option<u64>,
    parent: Option<String>,
    writer: String,
    pinned: bool,
}

#[derive(Serialize)]
struct Summary {
    snapshots: usize,
    hidden_partial: usize,
    readable: bool,
}

/// Runs the command.
///
/// # Errors
/// When the repository cannot be read.
pub fn run(app: &App, args: &SnapshotsArgs) -> Result<Exit> {
    let opened = open::open_for_reading(&app.config, Access::Optional)?;
    let snapshots = Snapshots::load_for_reading(&opened.repo, &opened.catalog)?;
    for problem in &snapshots.problems {
        app.out.warning(&human::shown(format!("{}: {}", problem.object, problem.error).as_bytes()));
    }
    let readable = opened.repo.keys().can_read;
    let roots: Vec<Option<Root>> = snapshots.sealed.iter().map(|sealed| root(app, &opened, sealed)).collect();
    let superfluous = superfluous(&roots);
    let (mut lines, mut hidden) = (Vec::new(), 0);
    for (i, (sealed, root)) in snapshots.sealed.iter().zip(&roots).enumerate() {
        let line = line(&opened, &snapshots, sealed, root.as_ref());
        if !args.select.fits(&line.host, line.tags.as_deref().unwrap_or_default()) {
            continue;
        }
        if superfluous.contains(&i) && !args.all {
            hidden += 1;
            continue;
        }
        lines.push(line);
    }
    show(app, &lines, hidden, &opened)?;
    for line in &lines {
        app.out.json_item("snapshot", line)?;
    }
    copies::tell(app, &opened.repo)?;
    app.out.summary(&Summary { snapshots: lines.len(), hidden_partial: hidden, readable })?;
    Ok(Exit::Done)
}

fn root(app: &App, opened: &Opened, sealed: &Sealed) -> Option<Root> {
    if !opened.repo.keys().can_read {
        return None;
    }
    let root = opened.repo.root(&opened.catalog, sealed);
    let complain = |error: &_| {
        app.out.warning(&human::shown(format!("snapshot {}: {error}", sealed.id().short()).as_bytes()))
    };
    root.inspect_err(complain).ok()
}

/// Checkpoints that a later snapshot replaces: any of the same run, or a finished one of the same machine and sources.
fn superfluous(roots: &[Option<Root>]) -> HashSet<usize> {
    let (mut later_runs, mut finished) = (HashSet::new(), HashSet::new());
    let mut superfluous = HashSet::new();
    for (i, root) in roots.iter().enumerate().rev() {
        let Some(root) = root else { continue };
        let paths = || root.sources.iter().map(|source| source.path_bytes().unwrap_or_default().into_owned());
        let is_followed = !later_runs.insert(root.run.to_string());
        if !root.partial {
            finished.extend(paths().map(|path| (&root.host, path)));
        } else if is_followed || paths().all(|path| finished.contains(&(&root.host, path))) {
            superfluous.insert(i);
        }
    }
    superfluous
}

fn line(opened: &Opened, snapshots: &Snapshots, sealed: &Sealed, root: Option<&Root>) -> Line {
    let writer = sealed.manifest.origin().writer;
    let signer = snapshots.registry.get_even_removed(&writer);
    let closure = opened.repo.closure(&opened.catalog, &sealed.manifest);
    let whole = |packs: Vec<fardel_format::pack_list::PackEntry>| {
        packs.iter().all(|pack| opened.catalog.whole_pack(&pack.hash, pack.size).is_some())
    };
    let path = |source: &fardel_format::root::Source| {
        source.path_bytes().map(|path| human::shown(&path)).unwrap_or_default()
    };
    Line {
        id: sealed.id().to_string(),
        time: root.map_or_else(|| sealed.manifest.origin().created, |root| root.time.clone()),
        host: root
            .map(|root| root.host.clone())
            .or(signer.map(|signer| signer.name.clone()))
            .unwrap_or_default(),
        user: root.and_then(|root| root.user.clone()),
        tags: root.map(|root| root.tags.clone()),
        sources: root.map(|root| root.sources.iter().map(path).collect()),
        complete: opened.catalog.roots.contains_key(&sealed.manifest.root.hash) && closure.is_ok_and(whole),
        partial: root.map(|root| root.partial),
        files: root.map(|root| root.totals.files),
        bytes: root.map(|root| root.totals.bytes),
        unreadable: root.map(|root| root.unreadable),
        parent: root.and_then(|root| root.parent).map(|id| id.to_string()),
        writer: writer.to_string(),
        pinned: snapshots.tombs.pins(&sealed.manifest),
    }
}

fn show(app: &App, lines: &[Line], hidden: usize, opened: &Opened) -> Result<()> {
    let (out, keys) = (&app.out, opened.repo.keys());
    let readable = keys.can_read;
    if lines.is_empty() {
        return out.say("There is no such snapshot: `fardel backup FOLDER` makes one.");
    }
    let word = |text: &str| human::shown(text.as_bytes());
    let mut table = match readable {
        true => Table::new(&[
            ("ID", Align::Left),
            ("Time", Align::Left),
            ("Host", Align::Left),
            ("Tags", Align::Left),
            ("Size", Align::Right),
            ("Sources", Align::Left),
        ]),
        false => Table::new(&[
            ("ID", Align::Left),
            ("Time", Align::Left),
            ("Writer", Align::Left),
            ("", Align::Left),
        ]),
    };
    for line in lines {
        let mut remarks = Vec::new();
        if line.partial == Some(true) {
            remarks.push("partial");
        }
        if line.pinned {
            remarks.push("pinned");
        }
        if !line.complete {
            remarks.push("INCOMPLETE");
        }
        let remarks = if remarks.is_empty() { String::new() } else { format!("({})", remarks.join(", ")) };
        let (id, time, host) = (line.id[..8].to_owned(), human::time(&line.time), word(&line.host));
        if readable {
            let tags = word(&line.tags.as_deref().unwrap_or_default().join(","));
            let sources = line.sources.as_deref().unwrap_or_default().join(", ");
            let sources = format!("{sources} {remarks}").trim().to_owned();
            table.row(vec![
                id,
                time,
                host,
                tags,
                line.bytes.map_or_else(|| "?".into(), human::bytes),
                sources,
            ]);
        } else {
            table.row(vec![id, time, host, remarks]);
        }
    }
    out.table(&table)?;
    if hidden > 0 {
        out.say(format!(
            "{} of finished backups not shown: --all shows them",
            human::count(hidden as u64, "checkpoint", "checkpoints")
        ))?;
    }
    match (readable, keys.host.is_some()) {
        (true, _) => Ok(()),
        (false, true) => out.say("This key can only write: tags, sources and sizes are not known."),
        (false, false) => {
            out.say("No key is at hand: tags, sources and sizes are not known. --key-file gives one.")
        }
    }
}
