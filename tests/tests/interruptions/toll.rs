use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fardel_tests::crash::tally::tell;
use fardel_tests::crash::{Result, seed};

use crate::server::{ALL, Server};
use crate::site::Site;

/// So many failures tell enough.
const ENOUGH: usize = 4;

/// How much is wanted of a campaign.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Interruptions at each server, at least.
    pub each: u64,
    /// It ends after this time, and fails if there were fewer until then.
    pub longest: Duration,
}

impl Effort {
    /// Ten times as much; `FARDEL_SOAK_MINUTES` for the time.
    pub fn of_a_soak(self) -> Self {
        let minutes = std::env::var("FARDEL_SOAK_MINUTES").ok().and_then(|text| text.parse().ok());
        let longest = minutes.map_or(10 * self.longest, |minutes: u64| Duration::from_secs(60 * minutes));
        Self { each: 10 * self.each, longest }
    }
}

/// What a campaign has done so far, and what went wrong.
pub struct Toll {
    effort: Effort,
    began: Instant,
    /// Interruptions by server and kind.
    counts: Mutex<BTreeMap<(&'static str, String), u64>>,
    failures: Mutex<Vec<String>>,
}

impl Toll {
    /// One interruption of this kind struck.
    pub fn count(&self, server: &Server, kind: impl Into<String>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((server.name(), kind.into())).or_default() += 1;
    }

    /// How many struck at a server.
    pub fn at(&self, server: &str) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().filter(|((name, _), _)| *name == server).map(|(_, count)| count).sum()
    }

    fn goes_on(&self, server: &str) -> bool {
        self.at(server) < self.effort.each
            && self.began.elapsed() < self.effort.longest
            && self.failures.lock().unwrap_or_else(PoisonError::into_inner).len() < ENOUGH
    }

    fn tell(&self, what: &str, servers: &[&str]) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut kinds = BTreeMap::new();
        counts.iter().for_each(|((_, kind), count)| *kinds.entry(kind.as_str()).or_default() += count);
        let mut line = format!("{} {what}:", kinds.values().sum::<u64>());
        kinds.iter().for_each(|(kind, count)| write!(line, " {count} {kind},").expect("it is text"));
        servers.iter().for_each(|server| write!(line, " {server} {},", self.at(server)).expect("it is text"));
        tell(&format!("{line} seed {}, {:.0} s", seed(), self.began.elapsed().as_secs_f64()));
    }
}

/// Interrupts the carrying of replicas to each server, life by life, until there are enough; two servers at a time.
///
/// `life` has a server, the number of the life, and where to count.
pub fn campaign(
    what: &str,
    effort: Effort,
    start: fn(&str) -> Option<Server>,
    life: impl Fn(&Site, &mut Server, u64, &Toll) -> Result + Sync,
) {
    let site = Site::new(seed()).expect("a repository");
    let toll = Toll { effort, began: Instant::now(), counts: Mutex::default(), failures: Mutex::default() };
    // The last one is the slowest to start: it goes first.
    let (waiting, present) = (Mutex::new(ALL.to_vec()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(name) = { waiting.lock().unwrap().pop() } {
                    let Some(mut server) = start(name) else { continue };
                    present.lock().unwrap().push(name);
                    for number in 0.. {
                        if !toll.goes_on(name) {
                            break;
                        }
                        if let Err(why) = life(&site, &mut server, number, &toll) {
                            tell(&format!("{name}, life {number}: {why}"));
                            toll.failures.lock().unwrap().push(format!("{name}, life {number}: {why}"));
                        }
                    }
                    tell(&format!("{what}: {} at {name} by {:.0?}", toll.at(name), toll.began.elapsed()));
                }
            });
        }
    });
    let present = present.into_inner().unwrap();
    toll.tell(what, &present);
    let failures = toll.failures.lock().unwrap();
    assert!(failures.is_empty(), "seed {}:\n{}", seed(), failures.join("\n"));
    for name in present {
        let count = toll.at(name);
        assert!(count >= effort.each, "only {count} {what} at {name} in {:.0?}", toll.began.elapsed());
    }
}
