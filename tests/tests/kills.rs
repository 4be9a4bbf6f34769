//! SIGKILL at random moments of the built command: while it makes a repository, a first backup, further ones with and
//! without checkpoints, and restores in place.
//!
//! After each: every snapshot whose summary line was read restores as it was, `check` finds nothing, and the same command
//! again does what it should. `just soak` kills ten times as often; `FARDEL_SEED` chooses other moments.
//!
//! The moments are spread over the time that the operation takes when it is not killed, measured on the way, so that most
//! kills strike a live process. Only those count.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fardel_backends::folder::FolderStore;
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::machine::{Ended, Machine};
use fardel_tests::crash::program::{Keys, Reported};
use fardel_tests::crash::restored::{self, restored, saved};
use fardel_tests::crash::site::{STREAM, Scale, Site, VERSIONS, View};
use fardel_tests::crash::tally::{Counts, Tally, tell};
use fardel_tests::crash::times::Times;
use fardel_tests::crash::verify::{Expected, Known, Verifier};
use fardel_tests::crash::{Result, seed};
use fardel_tests::disk_tree::temporary_folder;
use fardel_tests::fardel_binary;
use serde_json::Value;

/// Kills in CI, at least.
const KILLS: u64 = 200;
/// Kills of a soak, at least.
const SOAK_KILLS: u64 = 2_000;
/// Kills in the life of one repository.
const KILLS_IN_A_LIFE: u64 = 6;

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Init,
    Backup { first: bool, version: usize, checkpoints: bool, stream: bool },
    RestoreInPlace { from: usize, to: usize },
}

impl Operation {
    fn kind(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Backup { first: true, .. } => "first backup",
            Self::Backup { checkpoints: true, .. } => "incremental with checkpoints",
            Self::Backup { .. } => "incremental",
            Self::RestoreInPlace { .. } => "restore in place",
        }
    }
}

#[test]
fn kills_at_random_moments() {
    kill(KILLS);
}

#[test]
#[ignore = "soak: ten times as many kills"]
fn soak_kills_at_random_moments() {
    kill(SOAK_KILLS);
}

/// Kills until so many processes were alive when they were struck.
fn kill(wanted: u64) {
    let seed = seed();
    let site = Site::new(seed, Scale::Small).expect("a site");
    let tally = Tally::new(seed);
    let (lives, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let times = Times::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while tally.all().states < wanted
                    && failures.lock().unwrap().len() < 5
                    && tally.all().runs < 4 * wanted
                {
                    let number = lives.fetch_add(1, Relaxed);
                    if let Err(why) = live(&site, seed, number, &tally, &times) {
                        failures.lock().unwrap().push(format!("life {number}: {why}"));
                    }
                }
            });
        }
    });
    tally.print("kills");
    let Counts { runs, states, .. } = tally.all();
    let seconds = tally.elapsed().as_secs_f64();
    tell(&format!("kills: {states} of {runs} kills struck a live process; seed {seed}, {seconds:.0} s"));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "seed {seed}:\n{}", failures.join("\n"));
    assert!(states >= wanted, "only {states} of {runs} kills struck a live process");
}

/// A repository from its making on; it is killed some times.
fn live(site: &Site, seed: u64, number: u64, tally: &Tally, times: &Times) -> Result {
    let mut chance = Chance::of(seed, "life", number);
    let words = |e: std::io::Error| e.to_string();
    let machine = Machine::new("kills", "chunk_size: 16KiB\n").map_err(words)?;
    let view = site.view(&format!("life-{number}")).map_err(words)?;
    let mut life =
        Life { machine, site, view, times, reported: Vec::new(), known: Known::default(), keys: None };
    let began = Instant::now();
    let killed = life.init(&mut chance)?;
    count(tally, Operation::Init, killed, began);
    for step in 0..KILLS_IN_A_LIFE {
        let operation = life.choose(&mut chance);
        let began = Instant::now();
        let killed =
            life.step(operation, &mut chance).map_err(|why| format!("step {step}, {operation:?}: {why}"))?;
        count(tally, operation, killed, began);
    }
    Ok(())
}

fn count(tally: &Tally, operation: Operation, killed: bool, began: Instant) {
    let counts = Counts { runs: 1, states: killed.into(), time: began.elapsed(), ..Counts::default() };
    tally.add(operation.kind(), counts);
}

struct Life<'a> {
    machine: Machine,
    site: &'a Site,
    view: View,
    times: &'a Times,
    reported: Vec<Reported>,
    known: Known,
    keys: Option<Keys>,
}

impl Life<'_> {
    fn choose(&self, chance: &mut Chance) -> Operation {
        let version = chance.below(VERSIONS as u64) as usize;
        let (checkpoints, stream) = (chance.one_in(2), chance.one_in(3));
        let versions: Vec<usize> = self.reported.iter().filter(|r| !r.partial).map(|r| r.version).collect();
        match versions[..] {
            [] => Operation::Backup { first: true, version, checkpoints, stream },
            [.., from] if chance.one_in(3) => Operation::RestoreInPlace { from, to: *chance.pick(&versions) },
            _ => Operation::Backup { first: false, version, checkpoints, stream },
        }
    }

    // -- init --------------------------------------------------------------------------------------------------------

    /// Makes the repository; whether it was killed. When it is there afterwards, its keys were shown before.
    fn init(&mut self, chance: &mut Chance) -> Result<bool> {
        let mut killed = false;
        for attempt in 0.. {
            let mut command = self.machine.program(&fardel_binary());
            // Each attempt has files of its own: no key file is ever written over.
            let (key, recovery) = (format!("host-{attempt}.key"), format!("recovery-{attempt}"));
            command
                .args(["init", "--recovery-file", &recovery])
                .env("FARDEL_KEY_FILE", self.machine.path(&key));
            let moment = if attempt == 0 { self.times.moment(Operation::Init.kind(), chance) } else { None };
            let began = Instant::now();
            let output = run(command, moment)?;
            match output.status.code() {
                Some(0) => self.times.note(Operation::Init.kind(), began.elapsed()),
                None => killed = true,
                Some(_) => return Err(format!("init failed: {}", Ended::of(output).told())),
            }
            if self.machine.path("repo/fardel.json").exists() {
                self.open(&key, &recovery)?;
                return Ok(killed);
            }
            if output.status.success() {
                return Err("init succeeded, and there is no repository".into());
            }
        }
        unreachable!("an attempt that is not killed makes it")
    }

    /// The keys that were shown open what is there.
    fn open(&mut self, key: &str, recovery: &str) -> Result {
        let words = |e: std::io::Error| e.to_string();
        let host = self.machine.host_key(key)?;
        std::fs::copy(self.machine.path(key), self.machine.path("host.key")).map_err(words)?;
        let recovery = self.machine.path(recovery);
        self.machine.succeed(&[Path::new("snapshots"), Path::new("--key-file"), &recovery])?;
        let recovery = zeroize::Zeroizing::new(String::new());
        self.keys = Some(Keys { id: host.repository, recovery, hosts: vec![host] });
        self.machine.succeed(&["check", "--level", "data"]).map(drop)
    }

    // -- backups and restores ----------------------------------------------------------------------------------------

    /// Kills an operation, looks at what is left, and does it again; whether it was killed before its end.
    fn step(&mut self, operation: Operation, chance: &mut Chance) -> Result<bool> {
        match operation {
            Operation::Init => Err("there is a repository".into()),
            Operation::Backup { version, checkpoints, stream, .. } => {
                self.view.show(version).map_err(|e| e.to_string())?;
                let moment = self.times.moment(operation.kind(), chance);
                let killed = self.backup(operation, version, checkpoints, stream, moment)?;
                self.look(chance)?;
                self.backup(operation, version, checkpoints, stream, None)
                    .map_err(|why| format!("again: {why}"))?;
                self.look(chance).map_err(|why| format!("after doing it again: {why}"))?;
                Ok(killed)
            }
            Operation::RestoreInPlace { from, to } => self.restore_in_place(operation, from, to, chance),
        }
    }

    fn backup(
        &mut self,
        operation: Operation,
        version: usize,
        checkpoints: bool,
        stream: bool,
        moment: Option<Duration>,
    ) -> Result<bool> {
        let tag = format!("v{version}");
        let mut command = self.machine.command(&["backup", "--host", "machine", "--tag", &tag]);
        command.arg(self.view.tree()).arg(self.view.image());
        if checkpoints {
            command.args(["--checkpoint-every", "5ms"]);
        }
        if stream {
            let path = self.machine.path("stream");
            std::fs::write(&path, &self.site.version(version).stream).map_err(|e| e.to_string())?;
            let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
            command.args(["--stdin-name", STREAM]).stdin(Stdio::from(file));
        }
        let began = Instant::now();
        let ended = Ended::of(run(command, moment)?);
        if let Some(summary) = ended.summary() {
            let id = summary["snapshot_id"].as_str().ok_or("a summary without a snapshot")?.to_owned();
            self.reported.push(Reported { id, version, partial: false, at: 0 });
        }
        match (ended.code, ended.summary()) {
            (Some(0), Some(_)) => {
                self.times.note(operation.kind(), began.elapsed());
                Ok(false)
            }
            (None, _) if moment.is_some() => Ok(true),
            (code, _) => Err(format!("the backup ended with {code:?}: {}", ended.told())),
        }
    }

    fn restore_in_place(
        &mut self,
        operation: Operation,
        from: usize,
        to: usize,
        chance: &mut Chance,
    ) -> Result<bool> {
        let folder = temporary_folder("target");
        let target = folder.path().join("t");
        let (first, second) = (self.newest(from)?, self.newest(to)?);
        self.restore(&first, &target, false, None)?;
        let before = restored(&target)?;
        let killed = self.restore(&second, &target, true, self.times.moment(operation.kind(), chance))?;
        let began = Instant::now();
        self.restore(&second, &target, true, None).map_err(|why| format!("again: {why}"))?;
        self.times.note(operation.kind(), began.elapsed());
        let mut wanted = before;
        wanted.merge(saved(self.site, to));
        let mut found = restored(&target)?;
        // Killed between the last attribute and the renaming: a whole copy stays beside, and is nobody's.
        found.0.retain(|path, item| {
            let name = path.strip_suffix(b".partial").filter(|_| !wanted.0.contains_key(path));
            name.and_then(|name| wanted.0.get(name)).is_none_or(|whole| whole.content != item.content)
        });
        let wrong = wanted.differences(&found);
        if !wrong.is_empty() {
            return Err(format!("in place: {}", wrong.join("; ")));
        }
        self.look(chance)?;
        Ok(killed)
    }

    fn newest(&self, version: usize) -> Result<String> {
        let found = self.reported.iter().rfind(|r| r.version == version && !r.partial);
        found.map(|r| r.id.clone()).ok_or_else(|| "no snapshot of this version".into())
    }

    /// Restores the folder and the image; whether it was killed.
    fn restore(&self, id: &str, target: &Path, in_place: bool, moment: Option<Duration>) -> Result<bool> {
        let mut command = restored::restore(&self.machine, &self.view, id, target);
        if in_place {
            command.arg("--in-place");
        }
        let ended = Ended::of(run(command, moment)?);
        match ended.code {
            Some(0) => Ok(false),
            None if moment.is_some() => Ok(true),
            code => Err(format!("the restore ended with {code:?}: {}", ended.told())),
        }
    }

    // -- looking -----------------------------------------------------------------------------------------------------

    /// Every snapshot that was told reads as it was; the newest restores; `check` finds nothing.
    fn look(&self, chance: &mut Chance) -> Result {
        let keys = self.keys.as_ref().ok_or("there are no keys")?;
        let store = FolderStore::open(&self.machine.path("repo")).map_err(|e| e.to_string())?;
        let expected = Expected { reported: self.reported.clone(), torn: false };
        let cache = temporary_folder("cache");
        let verifier = Verifier { keys, site: self.site, known: &self.known };
        verifier.verify(std::sync::Arc::new(store), cache.path(), &expected, chance)?;
        let checked = self.machine.succeed(&["check", "--level", "data"])?;
        if checked["errors"].as_array().is_some_and(|errors| !errors.is_empty()) {
            return Err(format!("check finds {checked}"));
        }
        self.listed()?;
        let Some(reported) = self.reported.last() else { return Ok(()) };
        restored::restores(&self.machine, self.site, &self.view, reported, None)
    }

    /// `snapshots` shows everything that was told, and calls it complete.
    fn listed(&self) -> Result {
        let ended = self.machine.run(&["snapshots", "--all"])?;
        let is_there = |id: &str| {
            ended.lines.iter().any(|line| line["id"] == *id && line["complete"] == Value::Bool(true))
        };
        match self.reported.iter().find(|reported| !is_there(&reported.id)) {
            Some(lost) => Err(format!("`snapshots` does not show {} as complete: {}", lost.id, ended.told())),
            None => Ok(()),
        }
    }
}

/// Runs a command to its end, or kills it at a moment.
fn run(mut command: Command, moment: Option<Duration>) -> Result<Output> {
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    if let Some(moment) = moment {
        std::thread::sleep(moment);
        child.kill().map_err(|e| e.to_string())?;
    }
    child.wait_with_output().map_err(|e| e.to_string())
}
