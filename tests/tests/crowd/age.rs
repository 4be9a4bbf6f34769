use std::sync::Mutex;
use std::time::{Duration, Instant};

use fardel_tests::crash::Result;
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::machine::{Ended, Machine};
use fardel_tests::crash::program::{Keys, Reported};
use fardel_tests::crash::site::{Site, View};
use fardel_tests::crash::times::Times;
use fardel_tests::crash::verify::Known;
use serde_json::Value;

use crate::clock::Clock;
use crate::counts::Counts;
use crate::judge;
use crate::place::{Place, Side};
use crate::round;

/// Hosts that save.
pub const WRITERS: usize = 4;
/// Hosts that collect.
pub const COLLECTORS: usize = 2;
/// How all of them make packs: quickly, and small ones.
const CONFIGURATION: &str = "chunk_size: 16KiB\ncompression: 1\nmemory: 128MiB\n";
/// Runs of a collector after which it has nothing left to do.
const PRUNES: usize = 6;

/// One repository, and who uses it.
pub struct Age<'a> {
    pub place: &'a Place,
    pub site: &'a Site,
    pub counts: &'a Counts,
    pub times: &'a Times,
    pub number: u64,
    pub chance: Chance,
    pub keys: Keys,
    pub known: Known,
    pub writers: Vec<Writer>,
    pub collectors: Vec<Machine>,
    pub replicator: Machine,
}

/// A host that saves.
pub struct Writer {
    pub name: String,
    pub machine: Machine,
    pub view: View,
    /// What it was told, oldest first.
    pub told: Mutex<Vec<Reported>>,
}

impl<'a> Age<'a> {
    /// Makes a repository, and a key for each host.
    ///
    /// # Errors
    /// When the command does not.
    pub fn begin(
        place: &'a Place,
        site: &'a Site,
        seed: u64,
        number: u64,
        counts: &'a Counts,
        times: &'a Times,
    ) -> Result<Self> {
        let machine = |name: &str| {
            let mut machine = Machine::new(name, CONFIGURATION).map_err(|e| e.to_string())?;
            place.tell(&mut machine, number);
            Ok::<_, String>(machine)
        };
        let maker = machine("maker")?;
        maker.succeed(&["init", "--recovery-file", "recovery"])?;
        let host = |name: &str, roles: &[&str]| {
            let machine = machine(name)?;
            let mut add = vec!["key", "add", "--host", name, "--key-file", "recovery"];
            roles.iter().for_each(|role| add.extend(["--role", role]));
            let key = machine.path("host.key").display().to_string();
            add.extend(["--out", &key]);
            maker.succeed(&add)?;
            Ok::<_, String>(machine)
        };
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let name = format!("writer-{writer}");
            let machine = host(&name, &["write", "forget-own"])?;
            let view = site.view(&format!("{name}-{number}-{}", place.name())).map_err(|e| e.to_string())?;
            writers.push(Writer { name, machine, view, told: Mutex::default() });
        }
        let collectors =
            (0..COLLECTORS).map(|number| host(&format!("collector-{number}"), &["write", "maintain"]));
        let collectors = collectors.collect::<Result<Vec<_>>>()?;
        let first = maker.host_key("host.key")?;
        let keys = Keys { id: first.repository, recovery: Default::default(), hosts: vec![first] };
        counts.add(|numbers| numbers.repositories += 1);
        let replicator = machine("replicator")?;
        let chance = Chance::of(seed, place.name(), number);
        let known = Known::default();
        Ok(Self { place, site, counts, times, number, chance, keys, known, writers, collectors, replicator })
    }

    /// Plays rounds, and judges after each; then does everything again, undisturbed.
    ///
    /// # Errors
    /// When anything is not as it must be.
    pub fn live(&mut self, rounds: u64, until: Instant) -> Result {
        if self.place.asks_for_the_time() {
            self.a_clock_that_is_days_off_is_refused()?;
        }
        for number in 0..rounds.min(self.place.rounds()) {
            if Instant::now() > until {
                break;
            }
            let at = |why: String| format!("round {number}: {why}");
            round::play(self).map_err(at)?;
            judge::judge(self, number % 4 == 3).map_err(at)?;
            self.counts.add(|numbers| numbers.rounds += 1);
        }
        self.end().map_err(|why| format!("in the end: {why}"))?;
        judge::judge(self, true).map_err(|why| format!("in the end: {why}"))?;
        self.place.remove(self.number);
        Ok(())
    }

    fn a_clock_that_is_days_off_is_refused(&self) -> Result {
        let writer = &self.writers[0];
        writer.view.show(0).map_err(|e| e.to_string())?;
        let mut command = writer.machine.command(&["backup", "--tag", "v0"]);
        command.arg(writer.view.tree());
        Clock::off("+3d").show(&mut command);
        let ended = Ended::of(command.output().map_err(|e| e.to_string())?);
        match (ended.code, ended.summary()) {
            (Some(1), None) => Ok(()),
            (code, _) => Err(format!("with a clock that is off it ended with {code:?}: {}", ended.told())),
        }
    }

    /// Everybody does what he does, one after the other, until nothing is left to do.
    fn end(&self) -> Result {
        for writer in &self.writers {
            let ended = round::backup(self, writer, 0, Clock::default(), None)?;
            if ended.code != Some(0) {
                return Err(format!("{} cannot save: {}", writer.name, ended.told()));
            }
        }
        let collector = &self.collectors[0];
        collector.succeed(&["forget", "--keep-last", "2", "--everywhere"])?;
        let mut last = Value::Null;
        let nothing =
            ["packs_deleted", "objects_deleted", "packs_condemned", "packs_repacked", "packs_waiting"];
        for _ in 0..PRUNES {
            last = collector.succeed(&["prune", "--grace", "0s", "--unfinished", "0s"])?;
            self.counts.pruned(&last);
            if nothing.iter().all(|field| last[*field] == 0) {
                break;
            }
        }
        if nothing.iter().any(|field| last[*field] != 0) {
            return Err(format!("the collector does not come to its end: {last}"));
        }
        let copy = self.place.url(Side::Replica(self.number));
        for again in [false, true] {
            let summary = self.replicator.succeed(&["sync", "--to", &copy])?;
            if again && summary["bytes_sent"] != 0 {
                return Err(format!("the replica lacked something after a sync: {summary}"));
            }
        }
        Ok(())
    }
}

/// A time that is long enough for a process to have begun.
pub fn a_moment(chance: &mut Chance) -> Duration {
    Duration::from_millis(chance.below(400))
}
