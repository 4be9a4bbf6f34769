use std::fmt;
use std::sync::Mutex;

use serde_json::Value;

/// What was done.
#[derive(Default)]
pub struct Counts(Mutex<Numbers>);

/// The numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    pub rounds: u64,
    pub repositories: u64,
    pub saved: u64,
    pub gave_up: u64,
    pub stops: u64,
    pub kills: u64,
    pub clocks: u64,
    pub forgets: u64,
    pub forgotten: u64,
    pub prunes: u64,
    pub condemned: u64,
    pub swept: u64,
    pub retold: u64,
    pub carried: u64,
    pub restored: u64,
}

impl Counts {
    /// Adds.
    pub fn add(&self, add: impl FnOnce(&mut Numbers)) {
        add(&mut self.0.lock().expect("nobody panics while counting"));
    }

    /// Adds what a prune says.
    pub fn pruned(&self, summary: &Value) {
        let number = |name: &str| summary[name].as_u64().unwrap_or(0);
        self.add(|numbers| {
            numbers.prunes += 1;
            numbers.condemned += number("packs_condemned");
            numbers.swept += number("packs_deleted");
            numbers.retold += number("snapshots_retold");
        });
    }

    /// Rounds so far.
    pub fn rounds(&self) -> u64 {
        self.numbers().rounds
    }

    fn numbers(&self) -> Numbers {
        *self.0.lock().expect("nobody panics while counting")
    }

    /// That nothing of what the rounds are for was left out.
    pub fn assert_that_all_happened(&self) {
        let numbers = self.numbers();
        let Numbers { stops, kills, clocks, forgotten, swept, retold, carried, .. } = numbers;
        assert!(
            [stops, kills, clocks, forgotten, swept, retold, carried].iter().all(|n| *n > 0),
            "{numbers:?}"
        );
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.numbers();
        write!(
            f,
            "{} rounds in {} repositories, {} backups acknowledged, {} gave up, ",
            n.rounds, n.repositories, n.saved, n.gave_up
        )?;
        write!(f, "{} stops, {} kills, {} clocks off, ", n.stops, n.kills, n.clocks)?;
        write!(f, "{} forgets of {} snapshots, {} prunes, ", n.forgets, n.forgotten, n.prunes)?;
        write!(f, "{} packs condemned, {} swept, {} snapshots told anew, ", n.condemned, n.swept, n.retold)?;
        write!(f, "{} packs carried, {} restores", n.carried, n.restored)
    }
}
