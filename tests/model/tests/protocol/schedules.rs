//! Random schedules of large scopes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fardel_model::{Walk, Walked};

use crate::scopes::large;

/// Schedules of each scope in CI: over four million in all.
const SCHEDULES: u64 = 510_000;
/// Schedules between two looks at the clock.
const ROUND: u64 = 100_000;

/// From `FARDEL_SEED`, else another one each time.
fn seed() -> u64 {
    let given = std::env::var("FARDEL_SEED").ok();
    let seed = given.map_or_else(
        || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
        |text| text.parse().expect("FARDEL_SEED is a number"),
    );
    println!("FARDEL_SEED={seed}");
    seed
}

/// How long a scope is walked through.
#[derive(Clone, Copy)]
enum Bound {
    Schedules(u64),
    Time(Duration),
}

/// Walks through every scope, on two threads.
fn walk(seed: u64, bound: Bound) -> u64 {
    let scopes = large();
    let walk = |(i, (name, scope)): (usize, &(&str, fardel_model::Scope))| {
        let (mut walk, mut all) = (Walk::new(scope.clone(), seed.wrapping_add(i as u64)), Walked::default());
        let begun = Instant::now();
        loop {
            let schedules = match bound {
                Bound::Schedules(schedules) => schedules - all.schedules,
                Bound::Time(time) => ROUND * u64::from(begun.elapsed() < time),
            };
            if schedules == 0 || all.trace.is_some() {
                break;
            }
            all = all.and(walk.run(schedules));
        }
        println!(
            "{name}: {} schedules, {} steps, {:.0} s; snapshots reported in {}, packs swept in {}, manifests revoked in {}, \
             superseded in {}",
            all.schedules,
            all.steps,
            begun.elapsed().as_secs_f64(),
            all.reported,
            all.swept,
            all.revoked,
            all.superseded,
        );
        if let Some(trace) = &all.trace {
            panic!("{name}, FARDEL_SEED={seed}:\n{trace}");
        }
        assert!(
            all.swept > all.schedules / 20 && all.revoked > all.schedules / 20,
            "{name}: too little happens"
        );
        all.schedules
    };
    std::thread::scope(|scope| {
        let halves: Vec<_> = (0..2)
            .map(|half| {
                let (walk, scopes) = (&walk, &scopes);
                let own =
                    move || scopes.iter().enumerate().filter(|(i, _)| i % 2 == half).map(walk).sum::<u64>();
                scope.spawn(own)
            })
            .collect();
        halves
            .into_iter()
            .map(|half| half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .sum()
    })
}

#[test]
fn four_million_random_schedules_break_nothing() {
    let schedules = walk(seed(), Bound::Schedules(SCHEDULES));
    println!("{schedules} schedules");
    assert!(schedules >= 4_000_000);
}

#[test]
#[ignore = "soak: random schedules for FARDEL_SOAK_MINUTES"]
fn soak_every_schedule() {
    let minutes = std::env::var("FARDEL_SOAK_MINUTES").map_or(10, |text| text.parse().expect("minutes"));
    // Each of two threads has half of the scopes.
    let each = Duration::from_secs(minutes * 60) / (large().len() as u32 / 2);
    let schedules = walk(seed(), Bound::Time(each));
    println!("{schedules} schedules");
    assert!(schedules >= 4_000_000);
}
