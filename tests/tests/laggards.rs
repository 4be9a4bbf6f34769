//! Tools that copy a folder and are behind, by hours or by whole generations, while its source forgets and collects.
//!
//! A source backs up, forgets, and collects with up to three collectors at once. Replicas are taken from one of its states towards a
//! later one: in any order, deletes first, stopped anywhere. Acknowledgements are signed at any moment and arrive late, in any order or
//! never; replicas are struck off. After every single file that a tool touches: a replica that once held a whole snapshot still
//! holds one, if the source ever heard of it and it was not struck off; where nobody acknowledges anything, if its tool is
//! never as far behind as Fardel waits.
//!
//! The collector of this model goes the way of `engine/prune` and asks the same code which acknowledgements keep something. It
//! can be told to leave out one thing: then something must be lost.
//!
//! `FARDEL_SEED` chooses others; a failure names the seed and the sequence. `just soak` runs ten times as many.

#[path = "laggards/collector.rs"]
mod collector;
#[path = "laggards/copier.rs"]
mod copier;
#[path = "laggards/real.rs"]
mod real;
#[path = "laggards/rule.rs"]
mod rule;
#[path = "laggards/world.rs"]
mod world;

use std::time::Instant;

use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::seed;

use collector::Collector;
use rule::Rule;
use world::{Object, PATIENCE, World};

/// A weaker rule has to lose something within so many sequences.
const LOSES_WITHIN: u64 = 60_000;

#[test]
fn no_replica_that_is_behind_is_left_without_a_snapshot() {
    run(10_000);
}

#[test]
#[ignore = "soak: some minutes"]
fn soak_no_replica_that_is_behind_is_left_without_a_snapshot() {
    run(100_000);
}

#[test]
fn no_real_replica_that_is_behind_is_left_without_a_snapshot() {
    run_real(40);
}

#[test]
#[ignore = "soak: some minutes"]
fn soak_no_real_replica_that_is_behind_is_left_without_a_snapshot() {
    run_real(400);
}

fn run_real(sequences: u64) {
    let (seed, began) = (seed(), Instant::now());
    eprintln!("laggards: seed {seed}, {sequences} sequences of real repositories");
    let mut counts = real::Counts::default();
    for number in 0..sequences {
        real::sequence(seed, number, &mut counts);
    }
    eprintln!("laggards: {sequences} real sequences in {:.1} s: {counts:?}", began.elapsed().as_secs_f64());
    for (count, least) in [
        (counts.packs_deleted, 2 * sequences),
        (counts.snapshots_retold, sequences / 4),
        (counts.held_up, sequences / 2),
        (counts.acknowledged, sequences),
    ] {
        assert!(count >= least, "too few of a kind: {counts:?}");
    }
}

#[test]
fn every_weaker_rule_leaves_one_without() {
    let (seed, began) = (seed(), Instant::now());
    let loses = |&(rule, speaks): &(Rule, bool)| {
        let lost = (0..LOSES_WITHIN).find_map(|number| {
            let mut counts = Counts::default();
            sequence(seed, number, rule, Some(speaks), &mut counts).err().map(|why| (number, why))
        });
        match &lost {
            Some((number, why)) => eprintln!("laggards: {rule:?} loses in sequence {number}: {why}"),
            None => eprintln!("laggards: FARDEL_SEED={seed}: {rule:?} loses nothing in {LOSES_WITHIN}"),
        }
        lost.is_some()
    };
    let (one, other) = Rule::WEAKER.split_at(Rule::WEAKER.len() / 2);
    let all = std::thread::scope(|scope| {
        let halves = [one, other].map(|half| scope.spawn(|| half.iter().filter(|rule| loses(rule)).count()));
        halves.into_iter().map(|half| half.join().unwrap()).sum::<usize>()
    });
    eprintln!("laggards: seed {seed}, weaker rules refuted in {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(all, Rule::WEAKER.len(), "a weaker rule lost nothing");
}

/// What the sequences had in them, so that nobody takes easy ones for all.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    backups: u64,
    forgets: u64,
    collections: u64,
    deleted: u64,
    passes: u64,
    acknowledged: u64,
    heeded: u64,
    struck: u64,
    silent: u64,
    promised: u64,
}

fn run(sequences: u64) {
    let (seed, began) = (seed(), Instant::now());
    eprintln!("laggards: seed {seed}, {sequences} sequences");
    let mut counts = Counts::default();
    for number in 0..sequences {
        if let Err(why) = sequence(seed, number, Rule::Ours, None, &mut counts) {
            panic!("laggards: FARDEL_SEED={seed}, sequence {number}: {why}");
        }
    }
    eprintln!("laggards: {sequences} sequences in {:.1} s: {counts:?}", began.elapsed().as_secs_f64());
    for (count, least) in [
        (counts.deleted, 2 * sequences),
        (counts.collections, 2 * sequences),
        (counts.heeded, sequences),
        (counts.struck, sequences / 10),
        (counts.silent, sequences / 5),
        (counts.promised, sequences),
    ] {
        assert!(count >= least, "too few of a kind: {counts:?}");
    }
}

fn sequence(
    seed: u64,
    number: u64,
    rule: Rule,
    speaks: Option<bool>,
    counts: &mut Counts,
) -> Result<(), String> {
    let mut chance = Chance::of(seed, "laggards", number);
    let speaks = speaks.unwrap_or(!chance.one_in(4));
    let mut world = World::new(rule, 1 + chance.below(3) as usize, speaks);
    world.slow = chance.one_in(2);
    counts.silent += u64::from(!speaks);
    let steps = 100 + chance.below(200);
    let weights = USUAL.map(|weight| weight * [1, 1, 3, 8][chance.below(4) as usize]);
    for _ in 0..steps {
        step(&mut world, &weights, &mut chance, counts)?;
    }
    counts.promised +=
        world.replicas.iter().filter(|replica| replica.counted || replica.was_whole).count() as u64;
    Ok(())
}

/// How often what is done, before chance makes much more of some of it in each sequence.
const USUAL: [u64; 9] = [2, 2, 1, 3, 2, 2, 1, 4, 7];

fn step(world: &mut World, weights: &[u64], chance: &mut Chance, counts: &mut Counts) -> Result<(), String> {
    let replica = chance.below(world.replicas.len() as u64) as usize;
    let mut left = chance.below(weights.iter().sum());
    let is_it = |weight: &u64| {
        let is_it = left < *weight;
        left = left.saturating_sub(*weight);
        is_it
    };
    match weights.iter().position(is_it) {
        Some(0) => {
            counts.backups += 1;
            world.back_up(chance);
        }
        Some(1) => {
            counts.forgets += 1;
            world.forget(chance);
        }
        Some(2) => pass_time(world, chance)?,
        Some(3) if world.collectors.len() < 3 => {
            counts.collections += 1;
            let grace = if chance.one_in(4) { 24 } else { 0 };
            world.collectors.push(Collector::begin(grace));
        }
        Some(4) if world.speaks => {
            counts.acknowledged += 1;
            world.acknowledge(replica);
        }
        Some(5) if world.speaks => {
            let before = world.source.len();
            world.deliver(replica, chance);
            counts.heeded += u64::from(world.source.len() > before);
        }
        Some(6) if world.speaks && chance.one_in(20) => {
            counts.struck += 1;
            world.strike(replica);
        }
        Some(7) => {
            counts.passes += 1;
            world.copy(replica, false, chance)?;
        }
        _ => collect(world, chance, counts),
    }
    Ok(())
}

/// A collector goes on, by one step or by many.
fn collect(world: &mut World, chance: &mut Chance, counts: &mut Counts) {
    if world.collectors.is_empty() {
        return;
    }
    let which = chance.below(world.collectors.len() as u64) as usize;
    let mut collector = world.collectors.swap_remove(which);
    let packs =
        |world: &World| world.source.iter().filter(|object| matches!(object, Object::Pack(_))).count();
    let before = packs(world);
    let steps = if world.slow { 1 + chance.below(4) } else { 40 };
    for _ in 0..steps {
        collector.step(world);
    }
    counts.deleted += (before - packs(world)) as u64;
    if !collector.is_done() {
        world.collectors.push(collector);
    }
}

/// Hours or weeks. Where nobody acknowledges anything a tool is never as far behind as Fardel waits.
fn pass_time(world: &mut World, chance: &mut Chance) -> Result<(), String> {
    let hours = if chance.one_in(3) { 1 + chance.below(PATIENCE - 1) } else { 1 + chance.below(48) };
    if !world.speaks {
        for replica in 0..world.replicas.len() {
            if world.now + hours - world.replicas[replica].full >= PATIENCE {
                world.copy(replica, true, chance)?;
            }
        }
    }
    world.now += hours;
    Ok(())
}
