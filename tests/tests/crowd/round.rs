use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use fardel_tests::crash::Result;
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::machine::{Ended, Machine};
use fardel_tests::crash::program::Reported;
use fardel_tests::crash::site::VERSIONS;

use crate::age::{Age, Writer, a_moment};
use crate::blow::{Blow, GRACE, run};
use crate::clock::Clock;
use crate::place::Side;

/// What is killed is started again, so often at most.
const STARTS: usize = 4;

/// Starts all seven at once, and waits for their end.
///
/// # Errors
/// When one of them ends as it must not.
pub fn play(age: &mut Age<'_>) -> Result {
    let mut chance = age.chance.clone();
    let mut part = || Chance::new(chance.next());
    let writers: Vec<_> = age.writers.iter().map(|_| part()).collect();
    let collectors: Vec<_> = age.collectors.iter().map(|_| part()).collect();
    let replicator = part();
    age.chance = chance;
    let age = &*age;
    // Collectors go on as long as somebody else is at work.
    let working = AtomicUsize::new(writers.len() + 1);
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (writer, chance) in age.writers.iter().zip(writers) {
            let working = &working;
            running.push(scope.spawn(move || {
                let ended = save(age, writer, chance).map_err(|why| format!("{}: {why}", writer.name));
                working.fetch_sub(1, SeqCst);
                ended
            }));
        }
        for (collector, chance) in age.collectors.iter().zip(collectors) {
            let working = &working;
            running.push(scope.spawn(move || collect(age, collector, chance, working)));
        }
        running.push(scope.spawn(|| {
            let ended = replicate(age, replicator).map_err(|why| format!("the replicator: {why}"));
            working.fetch_sub(1, SeqCst);
            ended
        }));
        let ended = running.into_iter().map(|thread| thread.join());
        failures.extend(ended.filter_map(|ended| ended.unwrap_or_else(|_| Err("it panicked".into())).err()));
    });
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// Who runs a command in a round, and how it is disturbed.
struct Actor<'a> {
    age: &'a Age<'a>,
    chance: Chance,
    clock: Clock,
    operation: &'static str,
    /// What it changes, if that can be seen.
    folders: Vec<PathBuf>,
}

impl<'a> Actor<'a> {
    fn new(
        age: &'a Age<'a>,
        operation: &'static str,
        side: Side,
        folders: &[&str],
        mut chance: Chance,
    ) -> Self {
        let clock = Clock::any(&mut chance, age.place.asks_for_the_time());
        age.counts.add(|numbers| numbers.clocks += u64::from(clock.is_off()));
        let disk = age.place.disk(side);
        let folders = disk.iter().flat_map(|disk| folders.iter().map(|folder| disk.join(folder))).collect();
        Self { age, chance, clock, operation, folders }
    }

    /// Runs a command, perhaps with a blow; one that was killed is started again.
    fn run(
        &mut self,
        command: impl Fn() -> Command,
        mut each: impl FnMut(&Ended) -> Result,
    ) -> Result<Ended> {
        for start in 1.. {
            let mut command = command();
            self.clock.show(&mut command);
            let blow = match start < STARTS {
                true => Blow::any(self.operation, &self.folders, self.age.times, &mut self.chance),
                false => None,
            };
            let began = Instant::now();
            let ended = run(command, blow.as_ref(), self.age.counts)?;
            if blow.is_none() {
                self.age.times.note(self.operation, began.elapsed());
            }
            each(&ended)?;
            if ended.code.is_some() {
                return Ok(ended);
            }
        }
        unreachable!("the last start is not disturbed")
    }
}

fn save(age: &Age<'_>, writer: &Writer, mut chance: Chance) -> Result {
    std::thread::sleep(a_moment(&mut chance));
    let version = chance.below(VERSIONS as u64) as usize;
    let folders = ["packs", "index", "roots", "manifests", "seals"];
    let mut actor = Actor::new(age, "a backup", Side::Primary(age.number), &folders, chance);
    let command = || save_command(writer, version);
    writer.view.show(version).map_err(|e| e.to_string())?;
    let ended = actor.run(command, |ended| note(age, writer, version, ended))?;
    match ended.code {
        Some(0) => Ok(()),
        // Collectors may be quicker again and again; nothing was reported then.
        Some(_) if may_be_overtaken(&ended) => {
            age.counts.add(|numbers| numbers.gave_up += 1);
            Ok(())
        }
        code => Err(format!("the backup ended with {code:?}: {}", ended.told())),
    }
}

fn save_command(writer: &Writer, version: usize) -> Command {
    let tag = format!("v{version}");
    let mut command = writer.machine.command(&["backup", "--host", &writer.name, "--tag", &tag]);
    command.arg(writer.view.tree()).arg(writer.view.image());
    command
}

/// Saves a version.
///
/// # Errors
/// When the command cannot be run, or says what cannot be.
pub fn backup(
    age: &Age<'_>,
    writer: &Writer,
    version: usize,
    clock: Clock,
    blow: Option<&Blow>,
) -> Result<Ended> {
    writer.view.show(version).map_err(|e| e.to_string())?;
    let mut command = save_command(writer, version);
    clock.show(&mut command);
    let ended = run(command, blow, age.counts)?;
    note(age, writer, version, &ended)?;
    Ok(ended)
}

/// Whatever was reported counts, also of a process that was killed then.
fn note(age: &Age<'_>, writer: &Writer, version: usize, ended: &Ended) -> Result {
    let Some(summary) = ended.summary() else { return Ok(()) };
    let id = summary["snapshot_id"].as_str().ok_or("a summary without a snapshot")?.to_owned();
    writer.told.lock().expect("nobody panics while it is held").push(Reported {
        id,
        version,
        partial: false,
        at: 0,
    });
    age.counts.add(|numbers| numbers.saved += 1);
    Ok(())
}

/// Forgets and prunes for as long as others are at work, and once more.
fn collect(age: &Age<'_>, machine: &Machine, mut chance: Chance, working: &AtomicUsize) -> Result {
    std::thread::sleep(a_moment(&mut chance));
    for turn in 1.. {
        let is_last = working.load(SeqCst) == 0 || turn == age.place.turns();
        forget(age, machine, &mut chance)?;
        prune(age, machine, &mut chance)?;
        if is_last {
            break;
        }
    }
    Ok(())
}

fn forget(age: &Age<'_>, machine: &Machine, chance: &mut Chance) -> Result {
    let keep = (1 + chance.below(3)).to_string();
    let everywhere = chance.one_in(2).then_some("--everywhere");
    let command = || {
        let mut command = machine.command(&["forget", "--keep-last", &keep]);
        command.args(everywhere);
        command
    };
    let part = Chance::new(chance.next());
    let mut actor = Actor::new(age, "a forget", Side::Primary(age.number), &["tombs"], part);
    let ended = actor.run(command, |ended| {
        let forgotten = ended.summary().and_then(|summary| summary["forgotten"].as_u64());
        age.counts.add(|numbers| {
            numbers.forgets += u64::from(forgotten.is_some());
            numbers.forgotten += forgotten.unwrap_or(0);
        });
        Ok(())
    })?;
    match ended.code {
        Some(0) => Ok(()),
        _ if may_be_overtaken(&ended) => Ok(()),
        code => Err(format!("a forget ended with {code:?}: {}", ended.told())),
    }
}

/// In the repository, or now and then in the replica.
fn prune(age: &Age<'_>, machine: &Machine, chance: &mut Chance) -> Result {
    let unfinished = *chance.pick(&["0s", "1s", "7d"]);
    let is_replica = chance.one_in(4);
    let url = age.place.url(Side::Replica(age.number));
    let command = || {
        let mut command = machine.command(&["prune", "--grace", GRACE, "--unfinished", unfinished]);
        if is_replica {
            command.args(["--replica", &url]);
        }
        command
    };
    let (side, folders) = match is_replica {
        true => (Side::Replica(age.number), ["tombs", "seals", "packs"]),
        false => (Side::Primary(age.number), ["tombs", "manifests", "packs"]),
    };
    let mut actor = Actor::new(age, "a prune", side, &folders, Chance::new(chance.next()));
    let ended = actor.run(command, |ended| {
        ended.summary().into_iter().for_each(|summary| age.counts.pruned(summary));
        Ok(())
    })?;
    match ended.code {
        Some(0) => Ok(()),
        // No sync has come there yet, or none that has brought the collector's own registration.
        Some(10 | 12) if is_replica => Ok(()),
        _ if may_be_overtaken(&ended) => Ok(()),
        code => Err(format!("a prune ended with {code:?}: {}", ended.told())),
    }
}

fn replicate(age: &Age<'_>, mut chance: Chance) -> Result {
    let copy = age.place.url(Side::Replica(age.number));
    for _ in 0..2 {
        std::thread::sleep(a_moment(&mut chance));
        let folders = ["intents", "packs", "manifests", "seals"];
        let part = Chance::new(chance.next());
        let mut actor = Actor::new(age, "a sync", Side::Replica(age.number), &folders, part);
        let command = || age.replicator.command(&["sync", "--to", &copy]);
        let ended = actor.run(command, |ended| {
            let packs = ended.lines.iter().filter_map(|line| line["packs_copied"].as_u64()).sum::<u64>();
            age.counts.add(|numbers| numbers.carried += packs);
            Ok(())
        })?;
        // What a collector sweeps meanwhile cannot be carried; the next sync finds the rest.
        if ended.code != Some(0) && ended.code != Some(5) && !may_be_overtaken(&ended) {
            return Err(format!("a sync ended with {:?}: {}", ended.code, ended.told()));
        }
    }
    Ok(())
}

/// Whether somebody else was quicker, and the user is told so: nothing was reported, and running it again is all it takes.
fn may_be_overtaken(ended: &Ended) -> bool {
    let told = ended.told();
    ["while this ran", "meanwhile", "run it again", "no longer there"]
        .iter()
        .any(|words| told.contains(words))
}
