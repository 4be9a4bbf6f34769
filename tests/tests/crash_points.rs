//! Every way to be interrupted: each changing call of a store, and of a file system that loses what was not synced.
//!
//! 1. A scenario is a repository as it is before, and an operation: `init`, a first backup, a further one, one that resumes
//!    an interrupted one. It is run once, and what was there before each of its changing calls is recorded.
//! 2. It is run again for calls that fail while the process lives on: not done, done and the answer lost, torn.
//! 3. Each moment of each run gives the states in which a crash can leave it: the process dies before the call, or in the
//!    middle of a write; the machine loses power, and of what was not synced any part is left, whole or torn.
//! 4. Each different state is opened. No temporary stays, no object changes. Each with different objects is verified: every
//!    snapshot that was reported by then is there byte for byte, `check` finds nothing, the same operation succeeds, and
//!    then both hold again after a loss of power.
//! 5. Crashes upon crashes: such a state is the beginning of another operation that is interrupted, and so on.
//!
//! `FARDEL_SEED` chooses others. `just soak` looks at a million states; `FARDEL_SOAK_MINUTES` ends it before, and
//! it fails if there are fewer then.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::seed;
use fardel_tests::crash::tally::{Counts, Tally, tell};

#[path = "crash_points/chain.rs"]
mod chain;
#[path = "crash_points/explorer.rs"]
mod explorer;
#[path = "crash_points/new_repository.rs"]
mod new_repository;
#[path = "crash_points/scenario.rs"]
mod scenario;

use scenario::{Job, Scenario};

/// Failures after which there is no point in going on.
const ENOUGH_FAILURES: usize = 5;

/// Ways to lose power at one moment, at most.
const LOSSES: u64 = 96;
/// Runs of a scenario on one medium with a call that fails, at most.
const FAILING_RUNS: usize = 32;
/// Moments of such a run that are looked at, besides its end.
const FAILING_MOMENTS: usize = 1;
/// Of runs that seal all the time, which take long, and of their moments: one of so many.
const SEALING: u64 = 8;
/// Chains of crashes upon crashes in a round.
const CHAINS: u64 = 4;

#[test]
fn every_crash_point() {
    look_at(20_000, Duration::from_secs(30 * 60));
}

#[test]
#[ignore = "soak: a million states"]
fn soak_every_crash_point() {
    let minutes = std::env::var("FARDEL_SOAK_MINUTES").ok().and_then(|text| text.parse().ok());
    look_at(1_000_000, Duration::from_secs(60 * minutes.unwrap_or(24 * 60)));
}

/// Rounds with one seed after the other, until there are so many different states; or it took too long.
fn look_at(enough: u64, longest: Duration) {
    let tally = Tally::new(seed());
    for round in 0.. {
        look_with(seed() + round, longest, &tally);
        tell(&summary(&tally));
        if tally.all().states >= enough || tally.elapsed() >= longest {
            break;
        }
    }
    tally.print("crash points");
    let states = tally.all().states;
    assert!(states >= enough, "only {states} states in {:.0?}", tally.elapsed());
}

fn summary(tally: &Tally) -> String {
    let Counts { runs, states, contents, .. } = tally.all();
    format!(
        "crash points: {runs} runs, {states} different states, {contents} with different objects; seed {}, {:.0} s",
        seed(),
        tally.elapsed().as_secs_f64()
    )
}

/// One round: every scenario, on two threads.
fn look_with(seed: u64, longest: Duration, tally: &Tally) {
    let scenarios = Scenario::all(seed);
    let mut jobs: VecDeque<(&Scenario, Job)> = VecDeque::new();
    for scenario in &scenarios {
        jobs.extend(scenario.jobs(seed).into_iter().map(|job| (scenario, job)));
    }
    let chains = AtomicU64::new(0);
    let (jobs, failures) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    let fail = |why: String| failures.lock().unwrap().push(why);
    let goes_on = || failures.lock().unwrap().len() < ENOUGH_FAILURES && tally.elapsed() < longest;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while goes_on() {
                    let Some((scenario, job)) = jobs.lock().unwrap().pop_front() else { break };
                    let chance = Chance::of(seed, &format!("{}{job:?}", scenario.name), 0);
                    timed(tally, &scenario.title(&job), || scenario.run(&job, chance), &fail);
                }
                while goes_on() {
                    let number = chains.fetch_add(1, Relaxed);
                    if number >= CHAINS {
                        break;
                    }
                    let chain = || chain::crashes_upon_crashes(&scenarios[0].site, seed, number);
                    timed(tally, "crashes upon crashes", chain, &fail);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "seed {seed}:\n{}", failures.join("\n"));
}

fn timed(
    tally: &Tally,
    title: &str,
    work: impl FnOnce() -> fardel_tests::crash::Result<Counts>,
    fail: &impl Fn(String),
) {
    let began = Instant::now();
    match work() {
        Ok(counts) => tally.add(title, Counts { time: began.elapsed(), ..counts }),
        Err(why) => fail(format!("{title}: {why}")),
    }
}
