//! Sequences of what hosts, collectors, replicators and users do, by chance, against the engine on stores in memory: three
//! hosts, a primary store and two replicas.
//!
//! Files change; hosts save, forget by policy, pin, unpin, bring back; two of them collect and compact, in any store, by a clock that
//! the sequence moves; replicators carry to either replica. Caches vanish or are damaged. An act may die at any of its changing
//! calls, and another act may come before any of its calls. A model says what was reported, and therefore what must be there;
//! after each sequence of steps ([`oracle`]):
//!
//! - every snapshot that was reported and not forgotten gives back what was saved, in the primary store; what is forgotten is not there;
//! - whatever a replica shows gives back what was saved; what was carried there whole is there;
//! - `check` at its deepest level finds nothing, in any store;
//! - now and then everything is done again, and leaves nothing undone.
//!
//! A play begins with a repository that has a history of its own, so that a few steps meet condemned packs, forgotten snapshots and old
//! caches; after each step the stores that it changed are judged, so that every beginning of a play is a sequence with a judged end.
//! A failing play is made as short as it can be, and printed. `FARDEL_SEED` chooses others.

#[path = "many_hosts/meanwhile.rs"]
mod meanwhile;
#[path = "many_hosts/model.rs"]
mod model;
#[path = "many_hosts/oracle.rs"]
mod oracle;
#[path = "many_hosts/play.rs"]
mod play;
#[path = "many_hosts/site.rs"]
mod site;
#[path = "many_hosts/step.rs"]
mod step;

use std::time::{Duration, Instant};

use fardel_tests::crash::seed;
use fardel_tests::crash::tally::tell;
use proptest::test_runner::{Config, TestError, TestRunner};

use play::Stage;

/// Sequences in CI: steps after other steps, all of it judged after the last.
const SEQUENCES: u64 = 10_000;
/// Steps of a play, at most; each of its beginnings is a sequence.
const STEPS: usize = 6;
/// How many of the plays are done again to their end.
const THOROUGH: f64 = 1.0 / 16.0;
/// Plays between two looks whether there were enough.
const BATCH: u32 = 50;
/// How often it is told how far they are.
const TELL: Duration = Duration::from_secs(60);

#[test]
fn whatever_many_hosts_do_what_was_reported_is_there() {
    play(SEQUENCES);
}

#[test]
#[ignore = "soak: ten times as many sequences"]
fn soak_whatever_many_hosts_do() {
    play(10 * SEQUENCES);
}

fn play(sequences: u64) {
    let (seed, began) = (seed(), Instant::now());
    let stage = Stage::new(seed);
    let config = Config { cases: BATCH, failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec(step::any_step(), 1..=STEPS);
    let plays = (0..stage.histories(), steps, proptest::bool::weighted(THOROUGH));
    let (mut played, mut told, mut batch) = (Ok(()), Duration::ZERO, 0);
    while played.is_ok() && stage.sequences() < sequences {
        // A runner counts its cases once and for all.
        let mut runner = TestRunner::new_with_rng(config.clone(), play::chance(seed, "plays", batch));
        batch += 1;
        played = runner.run(&plays, |(history, steps, is_thorough)| stage.play(history, &steps, is_thorough));
        if began.elapsed() > told + TELL {
            told = began.elapsed();
            tell(&format!("many hosts: {} sequences after {} s", stage.sequences(), told.as_secs()));
        }
    }
    tell(&format!("many hosts: {}; seed {seed}, {:.0} s", stage.counts(), began.elapsed().as_secs_f64()));
    match played {
        Ok(()) => {}
        Err(TestError::Fail(why, (history, steps, is_thorough))) => {
            panic!("seed {seed}, history {history}, {steps:#?}, thorough: {is_thorough}:\n{why}")
        }
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
}
