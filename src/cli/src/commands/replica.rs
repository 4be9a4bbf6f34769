//! `fardel replica`: which replicas there are, what one holds that another tool makes, and which will never come back.

use fardel_engine::replicas::{self, AckOptions, Known};
use fardel_engine::snapshots::Snapshots;
use fardel_engine::status;
use jiff::{Timestamp, ZonedDateTime};
use serde::Serialize;

use super::init::host_name;
use crate::app::App;
use crate::args::{ReplicaAcknowledgeArgs, ReplicaCommand, ReplicaStrikeArgs};
use crate::config::{Process, Replica};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human::{self, count};
use crate::location::Location;
use crate::open::{self, Access};
use crate::table::{Align, Table};

/// A replica without a schedule that was not heard of for so long is dead.
const MONTH: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

#[derive(Default, Serialize)]
struct ReplicaLine {
    name: String,
    /// Where it lies; nothing when that is not configured.
    location: Option<String>,
    configured: bool,
    /// Why it cannot be looked at.
    unreachable: Option<String>,
    complete_snapshot: Option<String>,
    complete_time: Option<String>,
    acknowledged_snapshot: Option<String>,
    acknowledged: Option<String>,
    last_sync: Option<String>,
    dead: bool,
    struck: bool,
}

#[derive(Serialize)]
struct ListSummary {
    replicas: usize,
    dead: usize,
    struck: usize,
}

#[derive(Serialize)]
struct AcknowledgeSummary {
    replica: String,
    snapshot_id: String,
    snapshot_time: String,
    acknowledged: String,
    newer_incomplete: u64,
    new: bool,
}

#[derive(Serialize)]
struct StrikeSummary {
    replicas: Vec<String>,
    acknowledgements: u64,
}

/// Runs the command.
///
/// # Errors
/// When the repository cannot be opened, or the key does not allow it.
pub fn run(app: &App, command: &ReplicaCommand) -> Result<Exit> {
    match command {
        ReplicaCommand::List => list(app),
        ReplicaCommand::Acknowledge(args) => acknowledge(app, args),
        ReplicaCommand::Strike(args) => strike(app, args),
    }
}

fn list(app: &App) -> Result<Exit> {
    let opened = open::open(&app.config, Access::Keyless)?;
    let snapshots = Snapshots::load_for_reading(&opened.repo, &opened.catalog)?;
    let known = replicas::known(&opened.repo, &opened.catalog, &snapshots)?;
    let now = ZonedDateTime::now();
    let mut lines: Vec<ReplicaLine> = std::thread::scope(|scope| {
        let opened = &opened;
        let look_at = |replica| scope.spawn(move || configured(app, replica, opened));
        let running: Vec<_> = app.config.replicas.iter().map(look_at).collect();
        let done = running.into_iter().map(|thread| thread.join());
        done.map(|line| line.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    for known in known {
        let place = lines.iter().position(|line| ack_name(&line.name) == known.name);
        let place = place.unwrap_or_else(|| {
            lines.push(ReplicaLine { name: known.name.clone(), ..ReplicaLine::default() });
            lines.len() - 1
        });
        lines[place].add(known);
    }
    for line in &mut lines {
        let schedule = app.config.replicas.iter().find(|replica| replica.name == line.name);
        line.judge(schedule, &now);
    }
    show(app, &lines)?;
    let is = |is: fn(&ReplicaLine) -> bool| lines.iter().filter(|line| is(line)).count();
    app.out.summary(&ListSummary {
        replicas: lines.len(),
        dead: is(|line| line.dead),
        struck: is(|line| line.struck),
    })?;
    Ok(Exit::Done)
}

/// What a configured replica holds.
fn configured(app: &App, replica: &Replica, opened: &open::Opened) -> ReplicaLine {
    let mut line = ReplicaLine { name: replica.name.clone(), configured: true, ..ReplicaLine::default() };
    let looked = replica.location().and_then(|location| {
        line.location = Some(location.to_string());
        let remembered = status::Remembered::load(opened.repo.cache(), &location.to_string());
        line.last_sync = remembered.synced().map(str::to_owned);
        let store = open::store(&app.config, &location)?;
        let there = open::open_with(&app.config, store, location, None, Some(*opened.repo.id()))?;
        Ok(status::status(&there.repo, &there.catalog)?)
    });
    match looked {
        Ok(status) => {
            line.complete_snapshot = status.complete.as_ref().map(|known| known.id.to_string());
            line.complete_time = status.complete.map(|known| known.time);
        }
        Err(failure) => line.unreachable = Some(failure.message),
    }
    line
}

impl ReplicaLine {
    /// What it acknowledged; what was seen there counts more.
    fn add(&mut self, known: Known) {
        self.acknowledged_snapshot = known.snapshot.map(|id| id.to_string());
        self.acknowledged = known.acknowledged;
        self.struck = known.struck;
        if self.complete_snapshot.is_none() {
            self.complete_snapshot.clone_from(&self.acknowledged_snapshot);
            self.complete_time = known.time;
        }
    }

    /// Whether nothing was heard of it since before the last run but one of its schedule, or for a month.
    fn judge(&mut self, replica: Option<&Replica>, now: &ZonedDateTime) {
        let moment = |text: &Option<String>| text.as_ref()?.parse::<Timestamp>().ok();
        let heard = moment(&self.acknowledged).max(moment(&self.last_sync));
        let due = replica.and_then(|replica| replica.schedule.as_ref()?.due(now));
        let limit = due.map_or_else(|| now.timestamp() - MONTH, |due| due.before);
        self.dead = !self.struck && heard.is_some_and(|heard| heard < limit);
    }

    fn state(&self) -> &'static str {
        match self {
            Self { struck: true, .. } => "struck off",
            Self { dead: true, .. } => "DEAD",
            Self { unreachable: Some(_), .. } => "UNREACHABLE",
            Self { acknowledged: None, last_sync: None, .. } => "never heard of",
            _ => "alive",
        }
    }
}

fn show(app: &App, lines: &[ReplicaLine]) -> Result<()> {
    let out = &app.out;
    lines.iter().try_for_each(|line| out.json("replica", line))?;
    if out.is_json() {
        return Ok(());
    }
    if lines.is_empty() {
        return out.say("There is no replica: none is configured, and none acknowledged anything.");
    }
    let mut table = Table::new(&[
        ("Replica", Align::Left),
        ("Newest complete", Align::Left),
        ("Time", Align::Left),
        ("Acknowledged", Align::Left),
        ("Synced", Align::Left),
        ("State", Align::Left),
        ("Place", Align::Left),
    ]);
    let time = |time: &Option<String>| time.as_ref().map_or_else(|| "-".into(), |time| human::time(time));
    for line in lines {
        table.row(vec![
            human::shown(line.name.as_bytes()),
            line.complete_snapshot.as_ref().map_or_else(|| "-".into(), |id| id[..8].to_owned()),
            time(&line.complete_time),
            time(&line.acknowledged),
            time(&line.last_sync),
            line.state().into(),
            line.location.as_ref().map_or_else(|| "-".into(), |place| human::shown(place.as_bytes())),
        ]);
    }
    out.table(&table)?;
    for line in lines {
        if let Some(why) = &line.unreachable {
            out.warning(&format!("replica {}: {why}", human::shown(line.name.as_bytes())));
        }
    }
    if let Some(dead) = lines.iter().find(|line| line.dead && line.acknowledged.is_some()) {
        let opened = app.config.location()?;
        let strike = app.command(&format!("replica strike {}", ack_name(&dead.name)), &opened);
        out.say(format!("If {} never comes back: `{strike}`", human::shown(dead.name.as_bytes())))?;
    }
    Ok(())
}

fn acknowledge(app: &App, args: &ReplicaAcknowledgeArgs) -> Result<Exit> {
    let opened = open::open(&app.config, Access::Key)?;
    open::make_cache(&app.config.cache)?;
    let name = args.name.clone().unwrap_or_else(|| match &args.copy {
        Some(copy) if app.config.replicas.iter().any(|replica| replica.name == *copy) => ack_name(copy),
        _ => ack_name(&host_name()),
    });
    let here = (&opened.repo, &opened.catalog);
    let said = match &args.copy {
        Some(copy) => {
            let location = app.config.copy(copy, &Process)?;
            if location == opened.location {
                let hint = "leave the name out: the repository is then the copy itself";
                return Err(Failure::usage(format!("{copy}: this is the repository itself"), hint));
            }
            let store = open::store(&app.config, &location)?;
            let there = open::open_with(&app.config, store, location, None, Some(*opened.repo.id()))?;
            let copy = (&there.repo, &there.catalog);
            replicas::acknowledge(&AckOptions { replica: &name, copy, source: Some(here) })?
        }
        None if !matches!(opened.location, Location::Folder(_)) => {
            let message =
                format!("{}: this is no folder that a tool on this machine copies", opened.location);
            return Err(Failure::usage(message, "name the copy: `fardel replica acknowledge NAME|URL`"));
        }
        None => replicas::acknowledge(&AckOptions { replica: &name, copy: here, source: None })?,
    };
    let lacks = match said.newer {
        0 => String::new(),
        newer => format!("; {} newer and not whole", count(newer, "snapshot is", "snapshots are")),
    };
    let was = if said.new { "" } else { " already" };
    app.out.say(format!(
        "{name} has{was} acknowledged snapshot {} of {}{lacks}",
        said.snapshot.short(),
        human::time(&said.time)
    ))?;
    app.out.summary(&AcknowledgeSummary {
        replica: name,
        snapshot_id: said.snapshot.to_string(),
        snapshot_time: said.time,
        acknowledged: said.created,
        newer_incomplete: said.newer,
        new: said.new,
    })?;
    Ok(Exit::Done)
}

fn strike(app: &App, args: &ReplicaStrikeArgs) -> Result<Exit> {
    let opened = open::open(&app.config, Access::Key)?;
    open::make_cache(&app.config.cache)?;
    let mut summary = StrikeSummary { replicas: Vec::new(), acknowledgements: 0 };
    for name in &args.names {
        let name = ack_name(name);
        let struck = replicas::strike(&opened.repo, &opened.catalog, &name)?;
        summary.acknowledgements += struck;
        app.out.say(match struck {
            0 => format!("{name} was struck off before"),
            _ => format!("{name} is struck off: it holds up nothing until it acknowledges something anew"),
        })?;
        summary.replicas.push(name);
    }
    app.out.summary(&summary)?;
    Ok(Exit::Done)
}

/// A name as acknowledgements carry it: small letters, digits and hyphens.
fn ack_name(name: &str) -> String {
    let letter = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '-',
    };
    name.chars().map(letter).take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_to_fit() {
        for (name, fits) in [("NAS 2", "nas-2"), ("laptop.local", "laptop-local"), ("x", "x")] {
            assert_eq!(ack_name(name), fits);
        }
        assert_eq!(ack_name(&"a".repeat(50)).len(), 32);
    }

    #[test]
    fn a_replica_is_dead_when_it_is_older_than_its_schedule_allows_or_a_month() {
        let now: ZonedDateTime = "2026-11-25T16:00[UTC]".parse().unwrap();
        let dead = |heard: &str, struck: bool| {
            let heard = Some(heard.to_owned());
            let mut line = ReplicaLine { acknowledged: heard, struck, ..ReplicaLine::default() };
            line.judge(None, &now);
            line.dead
        };
        assert!(!dead("2026-10-27T00:00:00Z", false) && dead("2026-10-25T00:00:00Z", false));
        assert!(!dead("2026-10-25T00:00:00Z", true), "it is struck off");
        let mut never = ReplicaLine::default();
        never.judge(None, &now);
        assert!(!never.dead && never.state() == "never heard of");
    }
}
