//! Counts, to be printed at the end.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What was looked at, by scenario.
#[derive(Debug)]
pub struct Tally {
    began: Instant,
    seed: u64,
    counts: Mutex<BTreeMap<String, Counts>>,
}

/// The counts of one scenario.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Runs that were made to fail.
    pub runs: u64,
    /// States that were looked at.
    pub states: u64,
    /// Time that it took, of all threads together.
    pub time: Duration,
}

impl Tally {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { began: Instant::now(), seed, counts: Mutex::default() }
    }

    /// Adds to a scenario.
    ///
    /// # Panics
    /// Never.
    pub fn add(&self, scenario: &str, runs: u64, states: u64, time: Duration) {
        let mut counts = self.counts.lock().expect("nobody panics while counting");
        let counts = counts.entry(scenario.to_owned()).or_default();
        counts.runs += runs;
        counts.states += states;
        counts.time += time;
    }

    /// States in all.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn states(&self) -> u64 {
        self.counts.lock().expect("nobody panics while counting").values().map(|counts| counts.states).sum()
    }

    /// Prints the counts as a table.
    ///
    /// # Panics
    /// Never.
    pub fn print(&self, title: &str) {
        let counts = self.counts.lock().expect("nobody panics while counting");
        println!("{title}, seed {}, {:.0} s", self.seed, self.began.elapsed().as_secs_f64());
        println!("{:<45} {:>9} {:>9} {:>9}", "scenario", "runs", "states", "s");
        let mut all = Counts::default();
        for (name, Counts { runs, states, time }) in counts.iter() {
            println!("{name:<45} {runs:>9} {states:>9} {:>9.1}", time.as_secs_f64());
            all.runs += runs;
            all.states += states;
            all.time += *time;
        }
        println!("{:<45} {:>9} {:>9} {:>9.1}", "in all", all.runs, all.states, all.time.as_secs_f64());
    }
}
