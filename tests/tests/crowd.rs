//! Many processes on one repository, without any lock between them: four hosts that save, two collectors that forget and prune
//! with a grace of one second, one replicator; on a folder, and on a bucket of a real Ceph.
//!
//! A round starts all seven at once. Some are stopped (SIGSTOP) for longer than the grace and go on, some are killed (SIGKILL)
//! and started again, at moments of chance or just when an object of a certain kind has appeared; the clocks of some are off by hours,
//! days or years. Collectors go on until the others have come to their end. Then ([`judge`]):
//!
//! - every snapshot that was reported, and that no tomb forgets, is read by a reader of its own and compared with what was saved, as is
//!   whatever else is sealed, in the repository and in the replica; `check` at its deepest level finds nothing there;
//! - no newest snapshot of a host was forgotten; none is forgotten and there at once;
//! - the newest of each host is restored by the command, in every fourth round all of them, and from the replica its newest.
//!
//! After some rounds in one repository, so that it ages, everything is done again, undisturbed: then nothing is left to collect, and the
//! replica lacks nothing. `just soak` plays ten thousand rounds; `FARDEL_SEED` chooses other ones, `FARDEL_SOAK_MINUTES` limits the time.
//!
//! A service signs what it is asked with the time, and refuses a clock that is off by more than a quarter of an hour: on Ceph, clocks
//! are off by minutes, and one that is off by days is shown to be refused before it changes anything.

#[path = "crowd/age.rs"]
mod age;
#[path = "crowd/blow.rs"]
mod blow;
#[path = "crowd/clock.rs"]
mod clock;
#[path = "crowd/counts.rs"]
mod counts;
#[path = "crowd/judge.rs"]
mod judge;
#[path = "crowd/place.rs"]
mod place;
#[path = "crowd/round.rs"]
mod round;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fardel_tests::crash::seed;
use fardel_tests::crash::site::{Scale, Site};
use fardel_tests::crash::tally::tell;
use fardel_tests::crash::times::Times;
use fardel_tests::servers::Ceph;

use age::Age;
use counts::Counts;
use place::Place;

/// How much is wanted.
#[derive(Clone, Copy)]
struct Effort {
    rounds: u64,
    /// It ends after this time, and fails if there were fewer until then.
    longest: Duration,
}

/// Repositories at a time: most of a round is waiting for those who are stopped.
const AT_ONCE: usize = 2;
/// Rounds in CI.
const FOLDER: Effort = Effort { rounds: 100, longest: Duration::from_secs(20 * 60) };
const CEPH: Effort = Effort { rounds: 4, longest: Duration::from_secs(10 * 60) };
/// Rounds of a soak.
const SOAK_FOLDER: Effort = Effort { rounds: 8_000, longest: Duration::from_secs(24 * 3600) };
const SOAK_CEPH: Effort = Effort { rounds: 2_000, longest: Duration::from_secs(24 * 3600) };

#[test]
fn a_crowd_in_a_folder_loses_nothing() {
    crowd(&Place::folder(), FOLDER);
}

#[test]
fn a_crowd_on_s3_loses_nothing() {
    if let Some(ceph) = Ceph::shared() {
        crowd(&Place::ceph(ceph), CEPH);
    }
}

#[test]
#[ignore = "soak: a hundred times as many rounds"]
fn soak_a_crowd_in_a_folder() {
    crowd(&Place::folder(), of_a_soak(SOAK_FOLDER));
}

#[test]
#[ignore = "soak: a hundred times as many rounds"]
fn soak_a_crowd_on_s3() {
    if let Some(ceph) = Ceph::shared() {
        crowd(&Place::ceph(ceph), of_a_soak(SOAK_CEPH));
    }
}

fn of_a_soak(effort: Effort) -> Effort {
    let minutes = std::env::var("FARDEL_SOAK_MINUTES").ok().and_then(|text| text.parse().ok());
    let longest = minutes.map_or(effort.longest, |minutes: u64| Duration::from_secs(60 * minutes));
    Effort { longest, ..effort }
}

/// Plays rounds, some in each repository, until there are enough.
fn crowd(place: &Place, effort: Effort) {
    let (seed, began) = (seed(), Instant::now());
    clock::the_command_goes_by_a_clock_that_is_off();
    let site = Site::new(seed, Scale::Tiny).expect("a site");
    let (counts, times) = (Counts::default(), Times::default());
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let failed = || failures.lock().expect("nobody panics while telling");
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let left = effort.rounds.saturating_sub(counts.rounds());
                    if left == 0 || began.elapsed() > effort.longest || failed().len() > 2 {
                        break;
                    }
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let lived = Age::begin(place, &site, seed, number, &counts, &times)
                        .and_then(|mut age| age.live(left, began + effort.longest));
                    if let Err(why) = lived {
                        tell(&format!("{}, repository {number}: {why}", place.name()));
                        failed().push(format!("repository {number}: {why}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nobody panics while telling");
    tell(&format!("{}: {counts}; seed {seed}, {:.0} s", place.name(), began.elapsed().as_secs_f64()));
    assert!(failures.is_empty(), "{}, seed {seed}:\n{}", place.name(), failures.join("\n"));
    assert!(counts.rounds() >= effort.rounds, "only {counts}");
    if effort.rounds >= 50 {
        counts.assert_that_all_happened();
    }
}
