use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use fardel_tests::crash::Result;
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::machine::Ended;
use fardel_tests::crash::times::Times;
use rustix::process::{Pid, Signal, kill_process};

use crate::clock;
use crate::counts::Counts;

/// The grace of the collectors: what is stopped for longer is overtaken by them.
pub const GRACE: &str = "1s";
/// A command takes no longer, however busy the machine is.
const LONGEST: Duration = Duration::from_secs(180);
/// How often it is looked whether something has appeared.
const LOOK: Duration = Duration::from_micros(200);

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// It is stopped for so long, and goes on.
    Stop(Duration),
    Kill,
}

/// When.
#[derive(Clone, Debug)]
pub enum When {
    After(Duration),
    /// When something has appeared in, or vanished from, this folder.
    Changed(PathBuf),
}

/// A strike, and its moment.
#[derive(Clone, Debug)]
pub struct Blow {
    pub strike: Strike,
    pub when: When,
}

impl Blow {
    /// For half of the processes one: as many stops as kills. `folders` is what the process writes to, if that can be seen.
    pub fn any(
        operation: &'static str,
        folders: &[PathBuf],
        times: &Times,
        chance: &mut Chance,
    ) -> Option<Self> {
        let strike = match chance.below(4) {
            0 => Strike::Stop(Duration::from_millis(1_100 + chance.below(900))),
            1 => Strike::Kill,
            _ => return None,
        };
        let when = match folders {
            [] => When::After(times.moment(operation, chance)?),
            _ if chance.one_in(2) => When::After(times.moment(operation, chance)?),
            _ => When::Changed(chance.pick(folders).clone()),
        };
        Some(Self { strike, when })
    }
}

/// Runs a command to its end, which a blow may bring.
///
/// # Errors
/// When it cannot be run, or does not end.
pub fn run(mut command: Command, blow: Option<&Blow>, counts: &Counts) -> Result<Ended> {
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let (begun, number) = (Instant::now(), child.id());
    if let Some(blow) = blow
        && wait_for(&blow.when, &mut child)?
    {
        strike(blow.strike, &mut child, counts)?;
    }
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    clock::tidy(number);
    match begun.elapsed() > LONGEST {
        true => Err(format!("{command:?} took {:?}", begun.elapsed())),
        false => Ok(Ended::of(output)),
    }
}

/// Whether the moment came before the end of the process.
fn wait_for(when: &When, child: &mut Child) -> Result<bool> {
    let begun = Instant::now();
    let before = match when {
        When::Changed(folder) => entries(folder),
        When::After(_) => 0,
    };
    loop {
        if child.try_wait().map_err(|e| e.to_string())?.is_some() {
            return Ok(false);
        }
        let has_come = match when {
            When::After(moment) => begun.elapsed() >= *moment,
            When::Changed(folder) => entries(folder) != before,
        };
        if has_come {
            return Ok(true);
        }
        std::thread::sleep(LOOK);
    }
}

fn strike(strike: Strike, child: &mut Child, counts: &Counts) -> Result {
    match strike {
        Strike::Kill => {
            counts.add(|numbers| numbers.kills += 1);
            child.kill().map_err(|e| e.to_string())
        }
        Strike::Stop(length) => {
            // It is not waited for yet: its number is its own, even if it has just ended.
            let pid = Pid::from_child(child);
            let signal = |signal| kill_process(pid, signal).map_err(|e| e.to_string());
            signal(Signal::STOP)?;
            counts.add(|numbers| numbers.stops += 1);
            std::thread::sleep(length);
            signal(Signal::CONT)
        }
    }
}

/// How many files there are in a folder of a repository, which may have folders of its own.
fn entries(folder: &Path) -> usize {
    let below = |path: PathBuf| if path.is_dir() { entries(&path) } else { 1 };
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| below(entry.path())).sum()
}
