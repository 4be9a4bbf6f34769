//! Each wrong protocol has a counterexample: the shortest one in a small scope is printed.

use fardel_model::Role::{Collector, Compactor, Merger, Pinner, Replicator, Undo, Writer};
use fardel_model::{Machine, Mutant, Paging, Revocation, Scope, Sweeping, Violation, Walk};

use crate::scopes::{base, large, whole};

/// A scope in which it fails, and how.
fn refuted_in(mutant: Mutant) -> (Scope, fn(Violation) -> bool) {
    use Mutant::*;
    let lacks: fn(Violation) -> bool = |violation| matches!(violation, Violation::SnapshotLacks(_));
    let lost: fn(Violation) -> bool = |violation| matches!(violation, Violation::ReportedSnapshotLost(_));
    let claimed: fn(Violation) -> bool = |violation| matches!(violation, Violation::ClaimedPackDeleted(_));
    let rose: fn(Violation) -> bool = |violation| matches!(violation, Violation::ForgottenSnapshotRose(_));
    let unpinned: fn(Violation) -> bool = |violation| matches!(violation, Violation::PinnedSnapshotLost(_));
    let late = |scope: &mut Scope| scope.late = 2;
    let twice = |scope: &mut Scope| scope.forgets = 2;
    let paged = |scope: &mut Scope| (scope.forgets, scope.paging) = (2, Paging::EvenFirst);
    let odd = |scope: &mut Scope| scope.paging = Paging::OddFirst;
    let sweeping = |scope: &mut Scope| scope.sweeping = Sweeping::WithSnapshot;
    let unforgotten = |scope: &mut Scope| (scope.forgets, scope.inventory) = (0, false);
    match mutant {
        NoCheckBeforeSeal
        | CheckBeforeIntent
        | IntentAndSealInOne
        | StaleListing
        | NoListingAfterCondemn
        | PackNamesReused
        | TombsDroppedPacksListedFirst => (base(&[Writer, Collector], 1), lacks),
        SuccessBeforeRevocationCheck
        | NoRevocationCheck
        | CondemnedManifestIgnored
        | SealsListedBeforeManifests
        | RevokedAtOnce => (base(&[Writer, Collector], 1), lost),
        IndexAsProof | RootsSweptFreely | ListsSweptFreely | CondemnedListIgnored => {
            (whole(&[Writer, Collector], 1, 3), lacks)
        }
        CondemnationWithdrawn | CondemnedAfterManifests => (base(&[Writer, Collector, Collector], 1), lacks),
        SupersededBeforeSeal => (whole(&[Compactor, Collector], 1, 2), lacks),
        RevokedSupersedes | CondemnedSupersedes => {
            (whole(&[Compactor, Collector, Collector], 1, 2).with(unforgotten), lacks)
        }
        ForgetLostInMerge => (whole(&[Collector, Merger], 1, 2).with(late), rose),
        ForgetsDroppedBeforeMerge => (base(&[Collector, Merger], 1), rose),
        ForgetsMergedWithoutNumbers => (whole(&[Undo, Collector, Merger], 1, 3).with(twice), lost),
        PinsIgnoredInMerge => (whole(&[Pinner, Collector, Merger], 1, 2).with(odd), unpinned),
        UndoKeepsRoot => (whole(&[Undo, Collector], 1, 3).with(sweeping), lacks),
        ListsSweptInReplica => (whole(&[Replicator, Collector], 1, 3).with(sweeping), lacks),
        UndoAfterSweep => (whole(&[Undo, Collector], 1, 3), lacks),
        DespiteLostInCompaction => (whole(&[Compactor, Undo, Collector], 1, 2), lost),
        PinBringsBack => (whole(&[Pinner, Collector], 1, 2).with(late), lacks),
        PinsListedWithForgets => (whole(&[Pinner, Collector], 2, 2).with(paged), unpinned),
        NoIntent => (whole(&[Replicator, Collector], 1, 3), claimed),
        IntentReplaced => (base(&[Replicator, Collector], 1).with(odd), claimed),
        GenerationReused => (whole(&[Replicator, Collector], 1, 3), lacks),
    }
}

#[test]
fn each_mutant_is_refuted() {
    for mutant in Mutant::ALL {
        let (scope, how) = refuted_in(mutant);
        let found = Machine { scope: scope.clone() }.search(1, None);
        assert!(
            found.trace.is_none(),
            "{mutant:?}: the right protocol fails there, too:\n{}",
            found.trace.unwrap()
        );
        let found = Machine { scope: scope.with(|scope| scope.mutant = Some(mutant)) }.search(1, None);
        let trace =
            found.trace.unwrap_or_else(|| panic!("{mutant:?} is not refuted in {} states", found.states));
        println!("\n{mutant:?}:\n{trace}");
        assert!(trace.violation.is_some_and(how), "{mutant:?} fails in another way:\n{trace}");
    }
}

/// The mutants of the protocol as it was first written down, where a manifest is revoked at once.
#[test]
fn each_mutant_of_the_first_design_is_refuted_there_too() {
    use Mutant::*;
    let first = [
        NoListingAfterCondemn,
        IntentAndSealInOne,
        NoCheckBeforeSeal,
        StaleListing,
        CheckBeforeIntent,
        SuccessBeforeRevocationCheck,
        NoRevocationCheck,
        SealsListedBeforeManifests,
        CondemnationWithdrawn,
        PackNamesReused,
        TombsDroppedPacksListedFirst,
    ];
    for mutant in first {
        let scope = base(&[Writer, Collector, Collector], 1).with(|scope| {
            (scope.revocation, scope.mutant) = (Revocation::AtOnce, Some(mutant));
        });
        let found = Machine { scope }.search(1, None);
        assert!(found.trace.is_some(), "{mutant:?} is not refuted in {} states", found.states);
    }
}

/// Whether random schedules would find anything: they find each mutant in at least one scope.
#[test]
fn random_schedules_refute_each_mutant_too() {
    for mutant in Mutant::ALL {
        let mut found = Vec::new();
        for (name, scope) in large() {
            let walked = Walk::new(scope.with(|scope| scope.mutant = Some(mutant)), 1).run(20_000);
            found.extend(walked.trace.map(|_| format!("{name} after {}", walked.schedules)));
            if found.len() == 2 {
                break;
            }
        }
        println!("{mutant:?}: {}", found.join(", "));
        assert!(!found.is_empty(), "no schedule refutes {mutant:?}");
    }
}
