//! Wherever a forget, an undo or a prune stops, nothing is lost that was not forgotten, and the next prune ends it.

use super::*;

/// A store with much to do: small packs, sparse packs, forgotten snapshots.
fn scene(fixture: &Fixture) -> Vec<SnapshotId> {
    let ids = some(fixture, 8);
    forget(fixture, &ids[..3]);
    ids
}

fn stopped_anywhere(
    fixture: &Fixture,
    what: &str,
    does: impl Fn(Arc<dyn Store>) -> Result<()>,
    check: impl Fn(&MemoryStore, &str),
) {
    let before = copy_of(&fixture.store);
    let count = {
        let store = Arc::new(FaultyStore::new(copy_of(&before)));
        does(store.clone()).unwrap();
        store.mutations()
    };
    let mut states = 0;
    for how in [FaultKind::Before, FaultKind::AnswerLost] {
        for at in 0..count {
            let when = format!("{what}: {how:?} at {at} of {count}");
            let store = copy_of(&before);
            let fault = Fault { at, how, then: Aftermath::Crash };
            let faulty = FaultyStore::new(store.clone()).with_fault(fault);
            assert!(does(Arc::new(faulty)).is_err(), "{when}");
            check(&store, &when);
            states += 1;
        }
    }
    println!("{states} interruptions of {what}");
}

/// Runs until nothing is left to do; a few runs suffice.
fn converges(fixture: &Fixture, store: &MemoryStore, ids: &[SnapshotId], when: &str) {
    for _ in 0..4 {
        prune_in(fixture, Arc::new(store.clone()), &at_once()).unwrap();
    }
    assert_holds(fixture, store, ids, when);
    assert_nothing_to_do(fixture, store, when);
    assert_eq!(names(store, "roots/").len(), ids.len(), "{when}: a root is left over");
}

#[test]
fn a_prune() {
    let fixture = fixture();
    let ids = scene(&fixture);
    stopped_anywhere(
        &fixture,
        "a prune",
        |store| {
            let report = prune_in(&fixture, store, &at_once())?;
            assert!(report.packs_written > 0 && report.swept.packs.objects > 0, "{report:?}");
            Ok(())
        },
        |store, when| {
            assert_holds(&fixture, store, &ids[3..], when);
            converges(&fixture, store, &ids[3..], when);
        },
    );
}

#[test]
fn an_undo_after_a_condemnation() {
    let fixture = fixture();
    let ids = scene(&fixture);
    prune(&fixture, &in_time());
    stopped_anywhere(
        &fixture,
        "an undo",
        |store| {
            let report = undo_in(&fixture, store, &ids[1..2])?;
            assert_eq!(report.back, ids[1..2]);
            Ok(())
        },
        |store, when| {
            let back = listed(&fixture, store).contains(&ids[1]);
            let rest = if back { [&ids[1..2], &ids[3..]].concat() } else { ids[3..].to_vec() };
            assert_holds(&fixture, store, &rest, when);
            // The next one succeeds, whatever the first left.
            if !back {
                assert_eq!(undo_in(&fixture, Arc::new(store.clone()), &ids[1..2]).unwrap().back, ids[1..2]);
            }
            converges(&fixture, store, &[&ids[1..2], &ids[3..]].concat(), when);
        },
    );
}

#[test]
fn a_forget() {
    let fixture = fixture();
    let ids = scene(&fixture);
    stopped_anywhere(
        &fixture,
        "a forget",
        |store| forget_in(&fixture, store, &ids[3..5]),
        |store, when| {
            let left = listed(&fixture, store);
            assert!(left.len() == 3 || left.len() == 5, "{when}: all or nothing");
            forget_in(
                &fixture,
                Arc::new(store.clone()),
                &left.iter().copied().filter(|id| ids[3..5].contains(id)).collect::<Vec<_>>(),
            )
            .unwrap();
            converges(&fixture, store, &ids[5..], when);
        },
    );
}

#[test]
fn a_sweep_of_what_an_earlier_run_condemned() {
    let fixture = fixture();
    let ids = scene(&fixture);
    prune(&fixture, &in_time());
    stopped_anywhere(
        &fixture,
        "a sweep",
        |store| prune_in(&fixture, store, &at_once()).map(drop),
        |store, when| {
            assert_holds(&fixture, store, &ids[3..], when);
            converges(&fixture, store, &ids[3..], when);
        },
    );
}

/// A collector condemns what a compaction has not sealed yet; that seals, and dies before it tells of the snapshot once more. What it
/// replaced is needed still, since the other may be void, until the next compaction replaces it for good.
#[test]
fn a_compaction_that_dies_when_it_was_given_up() {
    let fixture = fixture();
    let ids = scene(&fixture);
    let before = copy_of(&fixture.store);
    let count = {
        let store = Arc::new(Hooked::new(copy_of(&before)));
        prune_in(&fixture, store.clone(), &at_once()).unwrap();
        store.calls()
    };
    let fixture = Arc::new(fixture);
    for at in 0..count {
        let when = format!("given up at {at} of {count}");
        let store = copy_of(&before);
        let refuses = Arc::new(std::sync::Mutex::new(None));
        let (shared, same, dies) = (fixture.clone(), store.clone(), refuses.clone());
        let hook = move || {
            let condemns = PruneOptions { unfinished: Duration::ZERO, repack: false, ..in_time() };
            prune_in(&shared, Arc::new(same), &condemns).unwrap();
            *dies.lock().unwrap() = Some("manifests/".into());
        };
        let hooked = Hooked::before(store.clone(), at, hook).refusing(refuses);
        let _ = prune_in(&fixture, Arc::new(hooked), &at_once());
        assert_holds(&fixture, &store, &ids[3..], &when);
        for _ in 0..4 {
            prune_in(&fixture, Arc::new(store.clone()), &at_once()).unwrap();
        }
        assert_holds(&fixture, &store, &ids[3..], &when);
        assert_nothing_to_do(&fixture, &store, &when);
    }
}
