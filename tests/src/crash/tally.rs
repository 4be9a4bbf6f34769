//! Counts, to be told at the end.

use std::collections::BTreeMap;
use std::io::Write;
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
    /// Operations that were run.
    pub runs: u64,
    /// Different states in which a crash left them, each of them looked at.
    pub states: u64,
    /// Of those, how many had different objects, and so were opened, read, checked and gone on from.
    pub contents: u64,
    /// Time that it took, of all threads together.
    pub time: Duration,
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.states += other.states;
        self.contents += other.contents;
        self.time += other.time;
    }
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
    pub fn add(&self, scenario: &str, counts: Counts) {
        let mut all = self.counts.lock().expect("nobody panics while counting");
        all.entry(scenario.to_owned()).or_default().add(counts);
    }

    /// The counts of all scenarios together.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn all(&self) -> Counts {
        let mut all = Counts::default();
        self.counts
            .lock()
            .expect("nobody panics while counting")
            .values()
            .for_each(|counts| all.add(*counts));
        all
    }

    /// Time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Prints the counts as a table.
    ///
    /// # Panics
    /// Never.
    pub fn print(&self, title: &str) {
        println!("{title}, seed {}, {:.0} s", self.seed, self.began.elapsed().as_secs_f64());
        println!("{:<45} {:>8} {:>9} {:>9} {:>8}", "scenario", "runs", "states", "contents", "s");
        let counts = self.counts.lock().expect("nobody panics while counting").clone();
        for (name, counts) in counts.into_iter().chain([("in all".into(), self.all())]) {
            let Counts { runs, states, contents, time } = counts;
            println!("{name:<45} {runs:>8} {states:>9} {contents:>9} {:>8.1}", time.as_secs_f64());
        }
    }
}

/// Writes a line that is seen even when the test passes and its other output is not.
pub fn tell(line: &str) {
    // Whoever closed standard error does not want to know.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
