//! Something else happens between any two calls of an operation.

use super::*;

/// Does `other` before each call of `does`, one after the other; tells `check` what came of both.
pub fn at_any_call<T: Send + 'static>(
    fixture: &Arc<Fixture>,
    before: &MemoryStore,
    does: impl Fn(Arc<dyn Store>),
    other: impl Fn(&Fixture, Arc<dyn Store>) -> T + Clone + Send + 'static,
    mut check: impl FnMut(&MemoryStore, T, &str),
) {
    let count = {
        let store = Arc::new(Hooked::new(copy_of(before)));
        does(store.clone());
        store.calls()
    };
    for at in 0..count {
        let store = copy_of(before);
        let came = Arc::new(std::sync::Mutex::new(None));
        let (fixture, other, shared, tell) = (fixture.clone(), other.clone(), store.clone(), came.clone());
        let hook = move || *tell.lock().unwrap() = Some(other(&fixture, Arc::new(shared)));
        does(Arc::new(Hooked::before(store.clone(), at, hook)));
        // Another run takes fewer calls when something was done for it.
        let Some(came) = came.lock().unwrap().take() else { continue };
        check(&store, came, &format!("at {at} of {count}"));
    }
    println!("{count} calls");
}

fn scene() -> (Arc<Fixture>, Vec<SnapshotId>) {
    let fixture = fixture();
    let ids = some(&fixture, 7);
    forget(&fixture, &ids[..3]);
    fixture.write("late", noise(1000, 20_000));
    (Arc::new(fixture), ids)
}

#[test]
fn a_backup_between_any_two_calls_of_a_prune() {
    let (fixture, ids) = scene();
    at_any_call(
        &fixture,
        &fixture.store,
        |store| drop(prune_in(&fixture, store, &at_once()).unwrap()),
        |fixture, store| backup_in(fixture, store).unwrap(),
        |store, id, when| {
            let rest = [&ids[3..], &[id]].concat();
            assert_holds(&fixture, store, &rest, when);
            prune_in(&fixture, Arc::new(store.clone()), &at_once()).unwrap();
            assert_holds(&fixture, store, &rest, when);
        },
    );
}

#[test]
fn a_prune_between_any_two_calls_of_a_backup() {
    let (fixture, ids) = scene();
    let saved = std::sync::Mutex::new(None);
    at_any_call(
        &fixture,
        &fixture.store,
        |store| *saved.lock().unwrap() = Some(backup_in(&fixture, store).unwrap()),
        |fixture, store| drop(prune_in(fixture, store, &at_once()).unwrap()),
        |store, (), when| {
            let rest = [&ids[3..], &[saved.lock().unwrap().unwrap()]].concat();
            assert_holds(&fixture, store, &rest, when);
            prune_in(&fixture, Arc::new(store.clone()), &at_once()).unwrap();
            assert_holds(&fixture, store, &rest, when);
        },
    );
}

#[test]
fn a_prune_between_any_two_calls_of_a_prune() {
    let (fixture, ids) = scene();
    at_any_call(
        &fixture,
        &fixture.store,
        |store| {
            let report = prune_in(&fixture, store, &at_once()).unwrap();
            assert_eq!(report.unreadable, [""; 0], "a pack that another run swept is not damaged");
        },
        |fixture, store| drop(prune_in(fixture, store, &at_once()).unwrap()),
        |store, (), when| assert_holds(&fixture, store, &ids[3..], when),
    );
}

/// Another host forgets `goes` and sweeps, with no grace, between any two calls of `does`; `left` tells what must be there then.
fn a_forget_and_a_sweep_between_any_two_calls(
    fixture: &Arc<Fixture>,
    goes: &[SnapshotId],
    does: impl Fn(Arc<dyn Store>),
    left: impl Fn() -> Vec<SnapshotId>,
) {
    let goes = goes.to_vec();
    at_any_call(
        fixture,
        &fixture.store,
        does,
        move |fixture, store| {
            let _ = forget_in(fixture, store.clone(), &goes);
            drop(prune_in(fixture, store, &at_once()).unwrap());
        },
        |store, (), when| {
            assert_holds(fixture, store, &left(), when);
            prune_in(fixture, Arc::new(store.clone()), &at_once()).unwrap_or_else(|e| panic!("{when}: {e}"));
            assert_holds(fixture, store, &left(), when);
        },
    );
}

/// A collector that looked before their seals condemns roots and lists after them: nothing new may rest on these.
fn condemn_late(fixture: &Fixture, ids: &[SnapshotId]) {
    let (repo, catalog) = fixture.open();
    let sealed = Snapshots::load(&repo, &catalog).unwrap().sealed;
    let late = sealed.iter().filter(|sealed| ids.contains(&sealed.id()));
    let others = late.flat_map(|sealed| {
        let lists = sealed.manifest.lists.iter().map(|list| list.hash);
        lists.chain([sealed.manifest.root.hash])
    });
    let takes = Takes::Condemn { packs: Vec::new(), others: others.collect() };
    crate::testing::put_tomb(&fixture.store, &fixture.id, &fixture.host, 1000, takes);
}

/// What is told of anew is forgotten and swept before it is sealed: its late seal must not look like a loss.
#[test]
fn a_forget_and_a_sweep_between_any_two_calls_of_a_prune() {
    for is_condemned in [false, true] {
        let (fixture, ids) = scene();
        if is_condemned {
            condemn_late(&fixture, &ids[3..5]);
        }
        let prune = |store| {
            let report = prune_in(&fixture, store, &at_once()).unwrap();
            assert_eq!(report.unreadable, [""; 0], "a pack that another run swept is not damaged");
        };
        let left = || ids[5..].to_vec();
        a_forget_and_a_sweep_between_any_two_calls(&fixture, &ids[3..5], prune, left);
    }
}

/// What the backup goes on from is forgotten and swept.
#[test]
fn a_forget_and_a_sweep_between_any_two_calls_of_a_backup() {
    let (fixture, ids) = scene();
    condemn_late(&fixture, &ids[5..]);
    let saved = std::sync::Mutex::new(None);
    let backup = |store| *saved.lock().unwrap() = Some(backup_in(&fixture, store).unwrap());
    let left = || [&ids[3..5], &[saved.lock().unwrap().unwrap()]].concat();
    a_forget_and_a_sweep_between_any_two_calls(&fixture, &ids[5..], backup, left);
}

#[test]
fn a_forget_and_a_sweep_between_any_two_calls_of_a_forget_by_policy() {
    let (fixture, ids) = scene();
    condemn_late(&fixture, &ids[4..6]);
    let forgotten = std::sync::Mutex::new(0);
    let forget = |store| {
        let (repo, catalog) = fixture.open_in(store, host(&fixture)).unwrap();
        let policy = forget::policy::Policy { last: 3, ..Default::default() };
        let selection = Selection::Policy(&policy, &|_: &fardel_format::root::Root| true);
        let plan = forget::plan(&repo, &catalog, &selection).unwrap();
        *forgotten.lock().unwrap() = plan.run(&repo, &catalog, true).unwrap().len();
    };
    // The other's two are among the three that it keeps, unless they had gone before it looked.
    let left = || match *forgotten.lock().unwrap() {
        0 => vec![ids[3], ids[6]],
        _ => vec![ids[6]],
    };
    a_forget_and_a_sweep_between_any_two_calls(&fixture, &ids[4..6], forget, left);
}

/// What a sweep takes away while a check runs is no damage, and what was told anew meanwhile is whole where it lies now.
#[test]
fn a_forget_and_a_sweep_between_any_two_calls_of_a_check() {
    let (fixture, ids) = scene();
    for level in [Level::List, Level::Seals, Level::Hashes, Level::Data] {
        let check = |store| {
            let (repo, catalog) = fixture.open_in(store, Some(fixture.recovery())).unwrap();
            let options = CheckOptions { level, ..CheckOptions::default() };
            let report = check::check(&repo, &catalog, &options, &Silent::default()).unwrap();
            assert!(report.is_clean(), "{level:?}: {report:#?}");
        };
        a_forget_and_a_sweep_between_any_two_calls(&fixture, &ids[3..5], check, || ids[5..].to_vec());
    }
}

/// A collector that saw a compaction's manifest before its seal condemns it late, when another one has deleted what the replaced
/// manifest alone needed: that one must not come back, and block every later prune.
#[test]
fn a_late_condemnation_does_not_bring_back_what_was_replaced() {
    let fixture = fixture();
    let ids = some(&fixture, 7);
    forget(&fixture, &ids[..3]);
    let before = names(&fixture.store, "manifests/");
    prune(&fixture, &at_once());
    prune(&fixture, &at_once());
    let lists = names(&fixture.store, "lists/");
    let new = names(&fixture.store, "manifests/").into_iter().filter(|name| !before.contains(name));
    let others: Vec<fardel_format::ObjectHash> = new
        .map(|name| match Name::parse(&name) {
            Some(Name::Manifest(_, name)) => name.hash,
            _ => panic!("{name}"),
        })
        .collect();
    assert!(!others.is_empty(), "nothing was told anew");
    let takes = Takes::Condemn { packs: Vec::new(), others };
    crate::testing::put_tomb(&fixture.store, &fixture.id, &fixture.host, 1000, takes);
    assert_holds(&fixture, &fixture.store, &ids[3..], "condemned late");
    for round in 0..3 {
        let report = prune_in(&fixture, Arc::new(fixture.store.clone()), &at_once());
        let report = report.unwrap_or_else(|error| panic!("prune {round}: {error}"));
        assert_eq!(report.swept.blocked, None, "prune {round}, {lists:?}");
        assert_holds(&fixture, &fixture.store, &ids[3..], "pruned");
    }
}

#[test]
fn an_undo_between_any_two_calls_of_a_prune() {
    let (fixture, ids) = scene();
    let wanted = ids[1];
    at_any_call(
        &fixture,
        &fixture.store,
        |store| drop(prune_in(&fixture, store, &at_once()).unwrap()),
        move |fixture, store| undo_in(fixture, store, &[wanted]),
        |store, came, when| {
            let back = came.is_ok_and(|report| report.back == [wanted]);
            let rest = if back { [&[wanted], &ids[3..]].concat() } else { ids[3..].to_vec() };
            assert_holds(&fixture, store, &rest, when);
            prune_in(&fixture, Arc::new(store.clone()), &at_once()).unwrap();
            assert_holds(&fixture, store, &rest, when);
        },
    );
}

#[test]
fn a_prune_between_any_two_calls_of_an_undo() {
    let (fixture, ids) = scene();
    let wanted = ids[1];
    prune(&fixture, &in_time());
    let came = std::sync::Mutex::new(false);
    at_any_call(
        &fixture,
        &fixture.store,
        |store| {
            *came.lock().unwrap() = match undo_in(&fixture, store, &[wanted]) {
                Ok(report) => report.back == [wanted],
                // It was swept before the undo looked.
                Err(Error::NotFound(_)) => false,
                Err(error) => panic!("{error}"),
            };
        },
        |fixture, store| drop(prune_in(fixture, store, &at_once()).unwrap()),
        |store, (), when| {
            let back = *came.lock().unwrap();
            let rest = if back { [&[wanted], &ids[3..]].concat() } else { ids[3..].to_vec() };
            assert_holds(&fixture, store, &rest, when);
        },
    );
}

#[test]
fn a_pin_between_any_two_calls_of_a_prune_that_sweeps_another() {
    let (fixture, ids) = scene();
    let wanted = ids[4];
    at_any_call(
        &fixture,
        &fixture.store,
        |store| drop(prune_in(&fixture, store, &at_once()).unwrap()),
        move |fixture, store| {
            let (repo, catalog) = fixture.open_in(store, host(fixture)).unwrap();
            forget::pin(&repo, &catalog, &[wanted.to_string()]).unwrap()
        },
        |store, _, when| assert_holds(&fixture, store, &ids[3..], when),
    );
}

/// Carries everything to a store.
fn carry(fixture: &Fixture, store: Arc<dyn Store>) -> crate::replicate::TargetReport {
    carry_from(fixture, Arc::new(fixture.store.clone()), store)
}

fn carry_from(
    fixture: &Fixture,
    source: Arc<dyn Store>,
    store: Arc<dyn Store>,
) -> crate::replicate::TargetReport {
    let (repo, catalog) = fixture.open_in(source, None).unwrap();
    let target = crate::replicate::Target {
        name: "copy".into(),
        store,
        parallelism: Some(1),
        upload: Arc::default(),
        download: Arc::default(),
        monitor: Arc::new(Silent::default()),
    };
    let options = crate::replicate::ReplicateOptions {
        dry_run: false,
        spool: fixture.temp().join("spool"),
        download: fardel_store::Throttle::default(),
        memory: 64 << 20,
    };
    crate::replicate::replicate(&repo, &catalog, &[target], &options).unwrap().pop().unwrap().unwrap()
}

#[test]
fn a_prune_of_a_copy_between_any_two_calls_of_the_replication_that_fills_it() {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    let copy = MemoryStore::new();
    carry(&fixture, Arc::new(copy.clone()));
    // The copy has forgotten all it holds, and what comes next needs much of it.
    let (repo, catalog) = fixture.open_in(Arc::new(copy.clone()), host(&fixture)).unwrap();
    let takes = Takes::Forget { snapshots: ids.clone(), everywhere: false };
    entomb::entomb(&repo, &catalog, takes).unwrap();
    let options = || PruneOptions { replica: true, ..at_once() };
    prune_in(&fixture, Arc::new(copy.clone()), &PruneOptions { replica: true, ..in_time() }).unwrap();
    fixture.write("next", noise(500, 20_000));
    let next = fixture.backup(&[&fixture.source()]);
    let fixture = Arc::new(fixture);
    at_any_call(
        &fixture,
        &copy,
        |store| {
            let report = carry(&fixture, store);
            assert_eq!((report.behind, report.problems), (0, Vec::new()));
        },
        move |fixture, store| drop(prune_in(fixture, store, &options()).unwrap()),
        |store, (), when| {
            assert_holds(&fixture, store, &[next], when);
            prune_in(&fixture, Arc::new(store.clone()), &PruneOptions { replica: true, ..at_once() })
                .unwrap();
            assert_holds(&fixture, store, &[next], when);
        },
    );
}

/// Does `other` in the store that a replication reads, before each of its calls there. The next one has nothing to tell of; `check` gets
/// the copy that it leaves.
pub fn at_any_call_of_a_replication(
    fixture: &Arc<Fixture>,
    other: impl Fn(&Fixture, Arc<dyn Store>) + Clone + Send + 'static,
    check: impl Fn(&MemoryStore, &str),
) {
    let copy = std::sync::Mutex::new(MemoryStore::new());
    at_any_call(
        fixture,
        &fixture.store,
        |source| {
            let new = MemoryStore::new();
            carry_from(fixture, source, Arc::new(new.clone()));
            *copy.lock().unwrap() = new;
        },
        other,
        |source, (), when| {
            let copy = copy.lock().unwrap().clone();
            let report = carry_from(fixture, Arc::new(source.clone()), Arc::new(copy.clone()));
            assert_eq!((report.behind, report.problems), (0, Vec::new()), "{when}");
            check(&copy, when);
        },
    );
}

/// What is carried is forgotten, and swept or told anew where it comes from.
#[test]
fn a_forget_and_a_sweep_between_any_two_calls_of_the_replication_that_reads_there() {
    let (fixture, ids) = scene();
    condemn_late(&fixture, &ids[3..5]);
    let goes = ids[3..5].to_vec();
    at_any_call_of_a_replication(
        &fixture,
        move |fixture, store| {
            forget_in(fixture, store.clone(), &goes).unwrap();
            drop(prune_in(fixture, store, &at_once()).unwrap());
        },
        |copy, when| assert_holds(&fixture, copy, &ids[5..], when),
    );
}

#[test]
fn a_copy_that_was_compacted_by_itself_is_not_filled_again() {
    let fixture = fixture();
    let ids = some(&fixture, 8);
    let copy = MemoryStore::new();
    carry(&fixture, Arc::new(copy.clone()));
    let (repo, catalog) = fixture.open_in(Arc::new(copy.clone()), host(&fixture)).unwrap();
    let takes = Takes::Forget { snapshots: ids[..4].to_vec(), everywhere: false };
    entomb::entomb(&repo, &catalog, takes).unwrap();
    let report =
        prune_in(&fixture, Arc::new(copy.clone()), &PruneOptions { replica: true, ..at_once() }).unwrap();
    assert!(report.packs_written > 0 && report.swept.packs.objects > 0, "{report:?}");
    assert_holds(&fixture, &copy, &ids[4..], "compacted");
    let before = copy.names();
    let report = carry(&fixture, Arc::new(copy.clone()));
    assert_eq!((report.packs.objects, report.behind, report.problems), (0, 0, Vec::new()));
    assert_eq!(report.complete.unwrap().id, ids[7]);
    assert_eq!(copy.names(), before);
    // The next snapshot comes all the same, and what the copy forgot for itself stays forgotten.
    fixture.write("next", noise(501, 20_000));
    let next = fixture.backup(&[&fixture.source()]);
    carry(&fixture, Arc::new(copy.clone()));
    assert_holds(&fixture, &copy, &[&ids[4..], &[next]].concat(), "carried");
}

#[test]
fn a_pin_and_what_it_holds_against_travel() {
    let fixture = fixture();
    let ids = some(&fixture, 2);
    let copy = MemoryStore::new();
    carry(&fixture, Arc::new(copy.clone()));
    let (repo, catalog) = fixture.open();
    forget::pin(&repo, &catalog, &[ids[0].to_string()]).unwrap();
    let takes = Takes::Forget { snapshots: ids.clone(), everywhere: true };
    entomb::entomb(&repo, &Catalog::load(repo.store()).unwrap(), takes).unwrap();
    carry(&fixture, Arc::new(copy.clone()));
    assert_holds(&fixture, &copy, &ids[..1], "pinned in the copy");
}

/// Between the listing and the reading of what was listed, a sweep takes some of it away.
#[test]
fn what_a_sweep_takes_away_after_it_was_listed_hinders_nobody() {
    let fixture = fixture();
    let ids = some(&fixture, 4);
    let sweep_one = |id: SnapshotId| {
        forget(&fixture, &[id]);
        let opened = fixture.open();
        prune(&fixture, &at_once());
        opened
    };
    let (repo, catalog) = sweep_one(ids[0]);
    assert_eq!(forget::pin(&repo, &catalog, &[ids[3].to_string()]).unwrap(), ids[3..]);
    let (repo, catalog) = sweep_one(ids[1]);
    assert_eq!(forget::unpin(&repo, &catalog, &[ids[3].to_string()]).unwrap(), ids[3..]);
    fixture.write("next", noise(502, 20_000));
    let next = fixture.backup(&[&fixture.source()]);
    let (repo, catalog) = sweep_one(ids[2]);
    let policy = forget::policy::Policy { last: 1, ..Default::default() };
    let selection = Selection::Policy(&policy, &|_: &fardel_format::root::Root| true);
    forget::plan(&repo, &catalog, &selection).unwrap().run(&repo, &catalog, true).unwrap();
    assert_holds(&fixture, &fixture.store, &[next], "forgotten by policy");
}
