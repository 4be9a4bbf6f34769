//! Every state of small scopes. Each test is one search, so that they run side by side.

use fardel_model::Role::{Collector, Compactor, Merger, Pinner, Replicator, Undo, Writer};
use fardel_model::{Machine, Paging, Revocation, Scope, Sweeping};

use crate::scopes::{base, large, whole};

/// Looks at all of it; `least` states, so that a change that makes the search smaller is noticed.
fn holds(name: &str, scope: Scope, least: usize) {
    let found = Machine { scope }.search(1, None);
    println!("{name}: {} states, the farthest after {} steps", found.states, found.depth);
    if let Some(trace) = found.trace {
        panic!("{name}:\n{trace}");
    }
    assert!(found.states >= least, "{name}: {} states are fewer than {least}", found.states);
}

#[test]
fn one_writer_and_two_collectors() {
    holds("1 x 2", base(&[Writer, Collector, Collector], 1), 200_000);
    holds("1 x 2, late", base(&[Writer, Collector, Collector], 1).with(|scope| scope.late = 1), 400_000);
}

#[test]
fn one_writer_and_two_collectors_with_lists_and_roots() {
    holds("1 x 2, whole", whole(&[Writer, Collector, Collector], 1, 3), 1_700_000);
}

#[test]
fn two_writers_and_one_collector() {
    holds("2 x 1", base(&[Writer, Writer, Collector], 1), 50_000);
    let paged = |scope: &mut Scope| (scope.late, scope.paging) = (1, Paging::OddFirst);
    holds("2 x 1, paged, late", base(&[Writer, Writer, Collector], 1).with(paged), 200_000);
}

#[test]
fn two_writers_and_one_collector_with_two_shared_packs() {
    let two = |scope: &mut Scope| (scope.forgets, scope.inventory) = (2, true);
    holds("2 x 1, two packs", base(&[Writer, Writer, Collector], 2).with(two), 1_700_000);
}

#[test]
fn rounds_of_collection_forgets_and_late_requests() {
    let rounds = |scope: &mut Scope| {
        (scope.cycles, scope.forgets, scope.late) = (2, 2, 1);
        (scope.forget_any, scope.paging) = (true, Paging::OddFirst);
    };
    holds("1 x 1, two rounds, paged", whole(&[Writer, Collector], 1, 3).with(rounds), 1_300_000);
}

#[test]
fn compactions() {
    holds("two compactions", whole(&[Compactor, Compactor, Collector], 1, 2), 700_000);
    let unforgotten = |scope: &mut Scope| (scope.forgets, scope.inventory) = (0, false);
    let two = whole(&[Compactor, Collector, Collector], 1, 2).with(unforgotten);
    holds("a compaction and two collectors", two, 40_000);
}

#[test]
fn undos_merges_and_pins() {
    holds("undo", whole(&[Undo, Collector, Collector], 1, 2), 80_000);
    holds("undo and compaction", whole(&[Compactor, Undo, Collector], 1, 2), 120_000);
    let twice = |scope: &mut Scope| scope.forgets = 2;
    holds("undo and merge", whole(&[Undo, Collector, Merger], 1, 3).with(twice), 9_000);
    holds("undo and pin", whole(&[Undo, Pinner, Collector], 1, 2).with(twice), 10_000);
    let late = |scope: &mut Scope| (scope.forgets, scope.late) = (2, 2);
    holds("merge and pin, late", whole(&[Pinner, Collector, Merger], 1, 2).with(late), 1_000);
    for paging in [Paging::EvenFirst, Paging::OddFirst] {
        let paged = |scope: &mut Scope| (scope.forgets, scope.late, scope.paging) = (2, 1, paging);
        holds("merge and pin, paged", whole(&[Pinner, Collector, Merger], 1, 2).with(paged), 1_000);
        let paged = |scope: &mut Scope| (scope.forgets, scope.paging) = (2, paging);
        holds("undo and merge, paged", whole(&[Undo, Collector, Merger], 1, 3).with(paged), 9_000);
        holds("two merges and a pin", whole(&[Pinner, Collector, Merger, Merger], 1, 2).with(paged), 1_000);
    }
    let paged = |scope: &mut Scope| (scope.forgets, scope.paging) = (2, Paging::EvenFirst);
    holds("pin, paged", whole(&[Pinner, Collector], 2, 2).with(paged), 3_000);
}

#[test]
fn replicators() {
    holds("a replicator and two collectors", whole(&[Replicator, Collector, Collector], 1, 2), 200_000);
    holds("two replicators", whole(&[Replicator, Replicator, Collector], 1, 2), 80_000);
    holds("a replicator and a compaction", whole(&[Replicator, Compactor, Collector], 1, 2), 200_000);
    let paged = |scope: &mut Scope| (scope.late, scope.paging) = (1, Paging::OddFirst);
    holds("two packs, paged, late", whole(&[Replicator, Collector], 2, 3).with(paged), 4_000);
}

#[test]
fn roots_and_lists_that_go_with_their_snapshots() {
    let sweeping = |scope: &mut Scope| scope.sweeping = Sweeping::WithSnapshot;
    holds("1 x 1", whole(&[Writer, Collector], 1, 3).with(sweeping), 1_000);
    holds("2 x 1", whole(&[Writer, Writer, Collector], 1, 2).with(sweeping), 30_000);
    holds("undo", whole(&[Undo, Collector, Collector], 1, 2).with(sweeping), 30_000);
    holds("undo and compaction", whole(&[Compactor, Undo, Collector], 1, 2).with(sweeping), 50_000);
}

/// Revoking at once keeps the data of every reported snapshot; that readers see it, too, needs the announcement
/// (`RevokedAtOnce` among the mutants).
#[test]
fn a_manifest_that_is_revoked_at_once_keeps_its_data() {
    let at_once = |scope: &mut Scope| scope.revocation = Revocation::AtOnce;
    holds("1 x 2, at once", base(&[Writer, Collector, Collector], 1).with(at_once), 80_000);
    holds("2 x 1, at once", base(&[Writer, Writer, Collector], 1).with(at_once), 19_000);
}

#[test]
fn the_first_steps_of_large_scopes() {
    for (name, scope) in large() {
        let found = Machine { scope }.search(1, Some(10));
        println!("{name}: {} states within {} steps", found.states, found.depth);
        assert!(found.trace.is_none(), "{name}:\n{}", found.trace.unwrap());
        assert!(found.states > 9_000, "{name}: {} states", found.states);
    }
}

#[test]
#[ignore = "soak: ten million states, and deeper into large scopes"]
fn soak_every_state() {
    let forgets = |scope: &mut Scope| (scope.forgets, scope.forget_any) = (2, true);
    holds("1 x 2, any forgotten", whole(&[Writer, Collector, Collector], 1, 2).with(forgets), 2_000_000);
    holds("1 x 2, two packs", base(&[Writer, Collector, Collector], 2), 2_900_000);
    holds("a compaction and two collectors", whole(&[Compactor, Collector, Collector], 1, 2), 1_900_000);
    let late = |scope: &mut Scope| (scope.forgets, scope.inventory, scope.late) = (2, true, 1);
    holds("2 x 1, two packs, late", base(&[Writer, Writer, Collector], 2).with(late), 2_000_000);
    for (name, scope) in large() {
        let found = Machine { scope }.search(2, Some(13));
        println!("{name}: {} states within {} steps", found.states, found.depth);
        assert!(found.trace.is_none(), "{name}:\n{}", found.trace.unwrap());
    }
}
