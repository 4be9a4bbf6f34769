//! Forgets are merged, and hold for ever.

use fardel_format::signers::Role;
use fardel_format::tomb::MergedForget;

use super::together::{at_any_call, at_any_call_of_a_replication};
use super::*;
use crate::testing::put_tomb;

/// How many tombs forget something, and in how many of them several do.
fn forgetting(store: &MemoryStore) -> (usize, usize) {
    let texts = names(store, "tombs/").into_iter().filter(|name| name.ends_with(".json"));
    let texts: Vec<_> =
        texts.map(|name| String::from_utf8_lossy(&store.get_raw(&name).unwrap()).into_owned()).collect();
    let count =
        |kind: &str| texts.iter().filter(|text| text.contains(&format!("\"what\": \"{kind}\""))).count();
    (count("forget") + count("merged-forgets"), count("merged-forgets"))
}

/// Everything that once lay in `before` lies here, too: a slow copier brought it.
fn with_late_copies(store: &MemoryStore, before: &MemoryStore) -> MemoryStore {
    let late = copy_of(store);
    for name in before.names().into_iter().filter(|name| !name.starts_with("tombs/")) {
        late.insert_raw(&name, before.get_raw(&name).unwrap());
    }
    late
}

/// Forgets of snapshots that never came here.
fn forget_strangers(fixture: &Fixture, count: u32) -> Vec<SnapshotId> {
    let ids: Vec<_> = (0..count).map(|n| SnapshotId(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
    for id in &ids {
        let (repo, catalog) = fixture.open();
        let takes = Takes::Forget { snapshots: vec![*id], everywhere: true };
        entomb::entomb(&repo, &catalog, takes).unwrap();
    }
    ids
}

/// Three snapshots of which the first two were forgotten and pruned, and 18 more forgets; and what lay there before.
fn many_forgets() -> (Fixture, Vec<SnapshotId>, MemoryStore) {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    let before = copy_of(&fixture.store);
    forget(&fixture, &ids[..2]);
    prune(&fixture, &at_once());
    forget_strangers(&fixture, 18);
    (fixture, ids, before)
}

#[test]
fn however_often_something_is_forgotten_few_tombs_tell_of_it() {
    let fixture = fixture();
    let mut gone = Vec::new();
    let last = some(&fixture, 1);
    let before = {
        let before = copy_of(&fixture.store);
        for round in 0..40 {
            fixture.write("changing", noise(500 + round, 3_000));
            let id = fixture.backup(&[&fixture.source()]);
            for name in fixture.store.names() {
                before.insert_raw(&name, fixture.store.get_raw(&name).unwrap());
            }
            forget(&fixture, &[id]);
            gone.push(id);
            if round % 7 == 0 {
                prune(&fixture, &at_once());
            }
            let (tombs, _) = forgetting(&fixture.store);
            assert!(tombs <= 16 + 7 + 2, "round {round}: {tombs}");
        }
        before
    };
    let report = prune(&fixture, &at_once());
    let (tombs, merged) = forgetting(&fixture.store);
    println!("{tombs} tombs forget {} snapshots, {merged} of them several; {report:?}", gone.len());
    assert!(tombs <= 18 && merged >= 1);
    assert_holds(&fixture, &fixture.store, &last, "merged");
    let late = with_late_copies(&fixture.store, &before);
    assert_holds(&fixture, &late, &last, "late copies of old seals");
    assert_eq!(prune(&fixture, &at_once()).tombs_merged, 0, "few are left as they are");
}

#[test]
fn what_was_brought_back_stays_and_what_was_forgotten_again_goes() {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    forget(&fixture, &ids[..1]);
    undo(&fixture, &ids[..1]).unwrap();
    let undone = copy_of(&fixture.store);
    forget_strangers(&fixture, 20);
    assert!(prune(&fixture, &at_once()).tombs_merged >= 19);
    assert_holds(&fixture, &fixture.store, &ids, "the forget of what is here is not merged");
    // Now it is, and the snapshot stands despite one of the forgets in the merged tomb, and not despite the other.
    forget(&fixture, &ids[..1]);
    prune(&fixture, &at_once());
    forget_strangers(&fixture, 20);
    assert!(prune(&fixture, &at_once()).tombs_merged >= 20);
    assert_holds(&fixture, &fixture.store, &ids[1..], "merged");
    assert_holds(&fixture, &with_late_copies(&fixture.store, &undone), &ids[1..], "late copies");
    assert_holds(&fixture, &undone, &ids, "where nobody forgot it again");
}

#[test]
fn a_merged_forget_may_no_more_than_the_tomb_that_it_was() {
    let fixture = fixture();
    let (repo, catalog) = fixture.open();
    let admin = crate::key::Admin::open(&repo, &catalog, &fixture.recovery()).unwrap();
    let own = admin.add_host("own", &[Role::Write, Role::ForgetOwn], false).unwrap();
    let before = copy_of(&fixture.store);
    let ids = some(&fixture, 2);
    let arrived = copy_of(&fixture.store);
    // Before they arrive, somebody who may forget only its own names them.
    for name in fixture.store.names() {
        fixture.store.remove_raw(&name);
    }
    before.names().iter().for_each(|name| fixture.store.insert_raw(name, before.get_raw(name).unwrap()));
    let takes = Takes::Forget { snapshots: ids.clone(), everywhere: true };
    put_tomb(&fixture.store, &fixture.id, &own, 1, takes);
    put_tomb(&fixture.store, &fixture.id, &own, 2, Takes::Unpin { pins: Vec::new() });
    forget_strangers(&fixture, 20);
    assert!(prune(&fixture, &at_once()).tombs_merged >= 20);
    assert_eq!(forgetting(&fixture.store).1, 1);
    for name in arrived.names() {
        fixture.store.insert_raw(&name, arrived.get_raw(&name).unwrap());
    }
    assert_eq!(listed(&fixture, &fixture.store), ids.iter().copied().collect());
    // Nor does it help to tell of a tomb of somebody who might.
    let forged = MergedForget {
        writer: fixture.host.signing.public().writer(),
        seq: 1,
        tomb: fardel_format::ObjectHash([7; 32]),
        created: crate::time::now(),
        snapshots: ids.clone(),
    };
    let takes = Takes::MergedForgets { everywhere: true, forgets: vec![forged] };
    put_tomb(&fixture.store, &fixture.id, &own, 3, takes);
    assert_holds(&fixture, &fixture.store, &ids, "told by somebody who may not");
}

#[test]
fn a_merging_that_stops_anywhere_loses_no_forget() {
    let (fixture, ids, before) = many_forgets();
    let count = {
        let store = Arc::new(FaultyStore::new(copy_of(&fixture.store)));
        assert!(prune_in(&fixture, store.clone(), &at_once()).unwrap().tombs_merged >= 18);
        store.mutations()
    };
    for how in [FaultKind::Before, FaultKind::AnswerLost] {
        for at in 0..count {
            let when = format!("{how:?} at {at} of {count}");
            let store = copy_of(&fixture.store);
            let fault = Fault { at, how, then: Aftermath::Crash };
            let faulty = FaultyStore::new(store.clone()).with_fault(fault);
            assert!(prune_in(&fixture, Arc::new(faulty), &at_once()).is_err(), "{when}");
            assert_holds(&fixture, &with_late_copies(&store, &before), &ids[2..], &when);
            // And the tombs become few in spite of it.
            forget_strangers_in(&fixture, &store, 17);
            prune_in(&fixture, Arc::new(store.clone()), &at_once()).unwrap();
            prune_in(&fixture, Arc::new(store.clone()), &at_once()).unwrap();
            let (tombs, _) = forgetting(&store);
            assert!(tombs <= 4, "{when}: {tombs}");
            assert_holds(&fixture, &with_late_copies(&store, &before), &ids[2..], &when);
        }
    }
    println!("{} interruptions", 2 * count);
}

fn forget_strangers_in(fixture: &Fixture, store: &MemoryStore, count: u32) {
    for number in 0..count {
        let id = SnapshotId(*blake3::hash(&(1000 + number).to_le_bytes()).as_bytes());
        let (repo, catalog) = fixture.open_in(Arc::new(store.clone()), host(fixture)).unwrap();
        let takes = Takes::Forget { snapshots: vec![id], everywhere: true };
        entomb::entomb(&repo, &catalog, takes).unwrap();
    }
}

#[test]
fn whoever_listed_the_tombs_before_reads_the_merged_one() {
    let (fixture, ids, before) = many_forgets();
    let (repo, catalog) = fixture.open();
    assert!(prune(&fixture, &at_once()).tombs_merged >= 18);
    assert_eq!(Snapshots::load(&repo, &catalog).unwrap().sealed.len(), 1);
    let tombs = Snapshots::load_for_reading(&repo, &catalog).unwrap().tombs;
    assert!(
        tombs.problems.is_empty() && ids[..2].iter().all(|id| tombs.all_forgotten().any(|all| all == id))
    );
    assert_holds(&fixture, &with_late_copies(&fixture.store, &before), &ids[2..], "late copies");
}

#[test]
fn a_prune_that_merges_between_any_two_calls_of_another() {
    let (fixture, ids, _) = many_forgets();
    let fixture = Arc::new(fixture);
    at_any_call(
        &fixture,
        &fixture.store,
        |store| drop(prune_in(&fixture, store, &at_once()).unwrap()),
        |fixture, store| drop(prune_in(fixture, store, &at_once()).unwrap()),
        |store, (), when| {
            assert!(forgetting(store).0 <= 3, "{when}: {:?}", forgetting(store));
            assert_holds(&fixture, store, &ids[2..], when);
        },
    );
}

#[test]
fn a_prune_that_merges_between_any_two_calls_of_the_replication_that_reads_there() {
    let (fixture, ids, _) = many_forgets();
    let strangers: Vec<_> = {
        let (repo, catalog) = fixture.open();
        let all = Snapshots::load(&repo, &catalog).unwrap().tombs;
        all.all_forgotten().copied().collect()
    };
    let fixture = Arc::new(fixture);
    at_any_call_of_a_replication(
        &fixture,
        |fixture, store| drop(prune_in(fixture, store, &at_once()).unwrap()),
        |copy, when| {
            assert_holds(&fixture, copy, &ids[2..], when);
            let (repo, catalog) = fixture.open_in(Arc::new(copy.clone()), None).unwrap();
            let tombs = Snapshots::load(&repo, &catalog).unwrap().tombs;
            assert!(strangers.iter().all(|id| tombs.all_forgotten().any(|all| all == id)), "{when}");
        },
    );
}

#[test]
fn where_nothing_can_be_deleted_nothing_is_merged_again_and_again() {
    let fixture = fixture();
    some(&fixture, 1);
    forget_strangers(&fixture, 20);
    for _ in 0..5 {
        let locked = Arc::new(Hooked::with(Flaw::Locks, fixture.store.clone()));
        prune_in(&fixture, locked, &at_once()).unwrap();
    }
    assert_eq!(forgetting(&fixture.store), (21, 1));
    // Nor is anything that is too young to be deleted.
    let month = PruneOptions { min_age: Duration::from_secs(30 * 86_400), ..at_once() };
    assert_eq!(prune(&fixture, &month).tombs_merged, 0);
    assert_eq!(prune(&fixture, &at_once()).tombs_merged, 19);
}

#[test]
fn a_forget_of_what_somebody_pins_stays() {
    let fixture = fixture();
    some(&fixture, 1);
    let ids = forget_strangers(&fixture, 18);
    let (repo, catalog) = fixture.open();
    entomb::entomb(&repo, &catalog, Takes::Pin { snapshots: ids[..1].to_vec() }).unwrap();
    assert_eq!(prune(&fixture, &at_once()).tombs_merged, 17);
    assert_eq!(forgetting(&fixture.store), (2, 1), "whoever pins may have missed the merged one");
}

#[test]
fn a_pin_between_any_two_calls_of_a_prune_that_merges() {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    // Whoever read then that it exists pins it later.
    let (_, read) = fixture.open();
    forget_strangers(&fixture, 17);
    forget(&fixture, &ids[..1]);
    let fixture = Arc::new(fixture);
    let (pinned, name) = (ids[0], ids[0].to_string());
    let count = {
        let store = Arc::new(Hooked::new(copy_of(&fixture.store)));
        prune_in(&fixture, store.clone(), &at_once()).unwrap();
        store.calls()
    };
    for at in 0..count {
        let store = copy_of(&fixture.store);
        let (shared, other, name, read) = (store.clone(), fixture.clone(), name.clone(), read.clone());
        let hook = move || {
            let (repo, _) = other.open_in(Arc::new(shared), host(&other)).unwrap();
            assert!(forget::pin(&repo, &read, &[name]).is_err(), "it is forgotten");
        };
        prune_in(&fixture, Arc::new(Hooked::before(store.clone(), at, hook)), &at_once()).unwrap();
        assert!(!listed(&fixture, &store).contains(&pinned), "at {at} of {count}");
    }
}
