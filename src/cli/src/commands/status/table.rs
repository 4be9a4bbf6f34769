//! A table of all copies for people, and below it what has to be known of single ones.

use fardel_engine::status::{Known, Status};

use super::{Copy, Looked};
use crate::app::App;
use crate::error::Result;
use crate::exit::Exit;
use crate::human::{self, bytes, count};
use crate::table::{Align, Table};

/// Of these, people are shown so many.
const SHOWN: usize = 5;

/// Shows everything.
///
/// # Errors
/// When standard output fails.
pub fn show(app: &App, copies: &[Copy<'_>]) -> Result<()> {
    let out = &app.out;
    let mut table = Table::new(&[
        ("Copy", Align::Left),
        ("Newest complete", Align::Left),
        ("Time", Align::Left),
        ("Behind", Align::Right),
        ("Lacks", Align::Left),
        ("Holds", Align::Left),
        ("State", Align::Left),
    ]);
    for copy in copies {
        table.row(match &copy.looked {
            Ok(looked) => row(copy, looked),
            Err(failure) => {
                let state = if failure.exit == Exit::NoRepository { "NO COPY" } else { "UNREACHABLE" };
                let mut cells = vec![human::shown(copy.name.as_bytes())];
                cells.extend(["-", "-", "-", "-", "-", state].map(str::to_owned));
                cells
            }
        });
    }
    out.table(&table)?;
    for copy in copies {
        let name = human::shown(copy.name.as_bytes());
        let place = human::shown(copy.location.as_bytes());
        match &copy.looked {
            Ok(looked) => {
                out.data("")?;
                out.data(out.bold(&format!("{name}: {place}, repository {}", looked.id.short())))?;
                details(app, copy, looked)?;
            }
            Err(failure) => {
                let what = if name == "repository" { "the repository" } else { &*format!("replica {name}") };
                out.warning(&format!("{what}: {}\n  {}", failure.message, failure.hint));
            }
        }
    }
    Ok(())
}

fn row(copy: &Copy<'_>, looked: &Looked) -> Vec<String> {
    let status = &looked.status;
    let complete = status.complete.as_ref();
    let none = if status.snapshots == 0 && status.behind == 0 { "none yet" } else { "none" };
    vec![
        human::shown(copy.name.as_bytes()),
        complete.map_or_else(|| none.into(), |known| known.id.short()),
        complete.map_or_else(|| "-".into(), |known| human::time(&known.time)),
        status.behind.to_string(),
        lacks(status),
        format!("{}, {}", count(status.snapshots, "snapshot", "snapshots"), bytes(status.stored.bytes)),
        state(looked),
    ]
}

/// `14 packs, 620.0 MiB`.
fn lacks(status: &Status) -> String {
    if status.missing.objects == 0 {
        return if status.missing_at_least { "unknown".into() } else { "nothing".into() };
    }
    let others = status.missing.objects - status.missing_packs.objects;
    let what = match status.missing_packs.objects {
        0 => count(others, "object", "objects"),
        packs if others == 0 => count(packs, "pack", "packs"),
        packs => format!("{}, {} more", count(packs, "pack", "packs"), human::thousands(others)),
    };
    let least = if status.missing_at_least { "at least " } else { "" };
    format!("{least}{what}, {}", bytes(status.missing.bytes))
}

fn state(looked: &Looked) -> String {
    let status = &looked.status;
    let states = [
        (looked.is_rolled_back(), "ROLLED BACK"),
        (looked.stall.is_some(), "STALLED"),
        (status.behind > 0, "behind"),
        (status.behind == 0 && !(status.incomplete.is_empty() && status.missing.objects == 0), "not whole"),
        (status.is_locked, "no key file"),
    ];
    let said: Vec<_> = states.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
    if said.is_empty() { "complete".into() } else { said.join(", ") }
}

fn details(app: &App, copy: &Copy<'_>, looked: &Looked) -> Result<()> {
    let (out, status) = (&app.out, &looked.status);
    let line = |what: &str, value: String| out.data(format!("  {what:<16}{value}"));
    let known = |known: &Known| format!("{} of {}", known.id.short(), human::time(&known.time));
    if status.newest != status.complete
        && let Some(newest) = &status.newest
    {
        line("newest", format!("{}, not whole", known(newest)))?;
    }
    if status.missing.objects > 0 {
        let names = status.missing_names.iter().take(if out.is_verbose() { usize::MAX } else { 0 });
        line("lacks", format!("{} (not yet arrived, or lost: `fardel check` tells)", lacks(status)))?;
        for name in names {
            out.data(format!("    {name}"))?;
        }
    }
    if status.is_locked {
        line("no key file", "only whoever has a key file of his own can open what is here".into())?;
    }
    rollback(app, looked)?;
    if let Some(stall) = &looked.stall {
        let schedule = copy.schedule.map(ToString::to_string).unwrap_or_default();
        let due = human::time(&stall.due.to_string());
        line("stalled", format!("{}; by its schedule ({schedule}) a run was due at {due}", stall.why))?;
    }
    for (writer, name) in &status.named {
        let short = name.hash.short();
        line(
            "named",
            format!(
                "number {} of {writer} ({short}), by others: to come, never finished, forgotten or withheld",
                name.seq
            ),
        )?;
    }
    let packs = count(status.packs.objects, "pack", "packs");
    line("holds", format!("{} in {packs}", bytes(status.stored.bytes)))?;
    if status.unsealed > 0 {
        let what = count(status.unsealed, "backup", "backups");
        line("under way", format!("{what} without a seal: running, interrupted, or still to come"))?;
    }
    if status.unexplained.objects > 0 {
        let what = count(status.unexplained.objects, "object", "objects");
        let size = bytes(status.unexplained.bytes);
        line("unexplained", format!("{what}, {size}, that no snapshot here needs"))?;
    }
    if status.ignored_names > 0 {
        let first: Vec<String> =
            status.strangers.iter().take(SHOWN).map(|name| human::shown(name.as_bytes())).collect();
        let more = if status.ignored_names > SHOWN as u64 { ", …" } else { "" };
        let what = count(status.ignored_names, "name", "names");
        line("ignored", format!("{what}: {}{more}", first.join(", ")))?;
    }
    for writer in &status.foreign_writers {
        line("foreign writer", format!("{writer}: its snapshots do not count"))?;
    }
    for problem in &status.problems {
        out.warning(&human::shown(format!("{}: {}", problem.object, problem.error).as_bytes()));
    }
    Ok(())
}

fn rollback(app: &App, looked: &Looked) -> Result<()> {
    let out = &app.out;
    for gone in &looked.status.rolled_back {
        out.data(format!(
            "  rolled back     snapshot {} (number {} of {}) was here, is gone, and nobody forgot it",
            gone.snapshot.short(),
            gone.seq,
            gone.writer
        ))?;
    }
    for (copy, gone) in looked.held.iter().take(SHOWN) {
        out.data(format!(
            "  rolled back     snapshot {} (number {} of {}) is in {} and not here, and nobody forgot it",
            gone.snapshot.short(),
            gone.seq,
            gone.writer,
            human::shown(copy.as_bytes())
        ))?;
    }
    if looked.held.len() > SHOWN {
        out.data(format!("                  and {} more", looked.held.len() - SHOWN))?;
    }
    if !looked.status.rolled_back.is_empty() {
        let path = human::path(looked.remembered.path());
        out.data(format!("                  if that was meant: remove {path}"))?;
    }
    Ok(())
}
