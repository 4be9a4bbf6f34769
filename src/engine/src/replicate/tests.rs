use std::sync::atomic::{AtomicUsize, Ordering};

use fardel_format::names::{FanOut, Name, PackName};
use fardel_format::root;
use fardel_format::tomb::{MergedForget, Takes};
use fardel_format::{ObjectHash, SnapshotId};
use fardel_store::{Aftermath, ErrorKind, Fault, FaultKind, FaultyStore, MemoryStore};

use super::*;
use crate::check::{self, CheckOptions, Level};
use crate::monitor::Silent;
use crate::status::{Status, status};
use crate::testing::stores::{Counting, Meeting, Recording};
use crate::testing::{self, Fixture, file, fixture, folder, noise};

/// Three snapshots with new data each, oldest first.
fn three(fixture: &Fixture) -> [SnapshotId; 3] {
    [1, 2, 3].map(|number| {
        fixture.write(&format!("f{number}"), noise(number, 100_000));
        fixture.backup(&[&fixture.source()])
    })
}

fn target(name: &str, store: Arc<dyn Store>) -> Target {
    Target {
        name: name.into(),
        store,
        parallelism: Some(2),
        upload: Arc::default(),
        download: Arc::default(),
        monitor: Arc::new(Silent::default()),
    }
}

fn options(fixture: &Fixture) -> ReplicateOptions {
    ReplicateOptions {
        dry_run: false,
        spool: fixture.temp().join("spool"),
        download: Throttle::default(),
        memory: 256 << 20,
    }
}

fn sync_all(fixture: &Fixture, targets: &[Target]) -> Vec<Result<TargetReport>> {
    let (repo, catalog) = fixture.open_with(None).unwrap();
    replicate(&repo, &catalog, targets, &options(fixture)).unwrap()
}

fn sync(fixture: &Fixture, store: Arc<dyn Store>) -> Result<TargetReport> {
    sync_all(fixture, &[target("copy", store)]).pop().unwrap()
}

fn look(fixture: &Fixture, store: &MemoryStore) -> Status {
    let (repo, catalog) = fixture.open_in(Arc::new(store.clone()), None).unwrap();
    status(&repo, &catalog).unwrap()
}

/// Everything that is sealed there is whole, and every byte is the right one.
fn assert_sound(fixture: &Fixture, store: &MemoryStore) {
    let (repo, catalog) = fixture.open_in(Arc::new(store.clone()), Some(fixture.recovery())).unwrap();
    let options = CheckOptions { level: Level::Data, ..CheckOptions::default() };
    let report = check::check(&repo, &catalog, &options, &Silent::default()).unwrap();
    assert!(report.is_whole(), "{report:#?}");
}

fn same_objects(a: &MemoryStore, b: &MemoryStore) {
    let names = a.names();
    assert_eq!(names, b.names());
    assert!(names.iter().all(|name| a.get_raw(name) == b.get_raw(name)));
}

fn put_tomb(fixture: &Fixture, store: &MemoryStore, seq: u32, takes: Takes) {
    testing::put_tomb(store, &fixture.id, &fixture.host, seq, takes);
}

fn packs(store: &MemoryStore) -> Vec<(ObjectHash, Option<fardel_format::ids::Generation>)> {
    let names = store.names();
    let packs = names.iter().filter_map(|name| match Name::parse(name) {
        Some(Name::Pack(hash, generation)) => Some((hash, generation)),
        _ => None,
    });
    packs.collect()
}

#[test]
fn a_copy_is_the_same_objects_and_a_second_run_puts_nothing() {
    let fixture = fixture();
    let ids = three(&fixture);
    let copy = MemoryStore::new();
    let report = sync(&fixture, Arc::new(copy.clone())).unwrap();
    assert_eq!(report.complete.as_ref().unwrap().id, ids[2]);
    assert_eq!((report.behind, report.problems.len()), (0, 0));
    assert_eq!(report.packs.objects, packs(&copy).len() as u64);
    assert_eq!(report.bytes_sent, report.packs.bytes + report.others.bytes, "{report:?}");
    same_objects(&fixture.store, &copy);
    assert_sound(&fixture, &copy);

    let counting = Arc::new(FaultyStore::new(copy.clone()));
    let report = sync(&fixture, counting.clone()).unwrap();
    assert_eq!(report.complete.unwrap().id, ids[2]);
    assert_eq!((report.packs.objects, report.others.objects, report.bytes_sent), (0, 0, 0));
    assert_eq!(counting.mutations(), 0);
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let fixture = fixture();
    three(&fixture);
    let copy = MemoryStore::new();
    let (repo, catalog) = fixture.open_with(None).unwrap();
    let options = ReplicateOptions { dry_run: true, ..options(&fixture) };
    let targets = [target("copy", Arc::new(copy.clone()))];
    let told = replicate(&repo, &catalog, &targets, &options).unwrap().pop().unwrap().unwrap();
    assert!(copy.names().is_empty());
    assert_eq!((told.behind, told.complete), (3, None));
    let done = sync(&fixture, Arc::new(copy.clone())).unwrap();
    assert_eq!((told.packs, told.others), (done.packs, done.others));
}

#[test]
fn wherever_it_stops_what_is_sealed_is_whole_and_the_next_run_ends_it() {
    let fixture = fixture();
    three(&fixture);
    let count = {
        let store = Arc::new(FaultyStore::new(MemoryStore::new()));
        sync(&fixture, store.clone()).unwrap();
        store.mutations()
    };
    let (mut states, mut halfway) = (0, 0);
    for how in [FaultKind::Before, FaultKind::AnswerLost] {
        for at in 0..count {
            let copy = MemoryStore::new();
            let store = FaultyStore::new(copy.clone()).with_fault(Fault { at, how, then: Aftermath::Crash });
            assert!(sync(&fixture, Arc::new(store)).is_err(), "{how:?} at {at}");
            if copy.get_raw("fardel.json").is_some() {
                let found = look(&fixture, &copy);
                assert_eq!((found.behind, found.missing.objects), (0, 0), "{how:?} at {at}");
                halfway += u32::from(found.snapshots > 0 && found.snapshots < 3);
                if found.snapshots > 0 {
                    assert_sound(&fixture, &copy);
                }
            }
            let report = sync(&fixture, Arc::new(copy.clone())).unwrap();
            assert_eq!((report.behind, report.problems), (0, Vec::new()), "{how:?} at {at}");
            copy.names()
                .iter()
                .filter(|name| name.starts_with("intents/"))
                .for_each(|name| drop(copy.remove_raw(name)));
            same_objects(&fixture.store, &copy);
            states += 1;
        }
    }
    println!("{states} interrupted replications, {halfway} of them with some snapshots there and some not");
    assert!(halfway > 0, "the newest snapshot comes before the others");
}

#[test]
fn the_newest_snapshot_comes_first() {
    let fixture = fixture();
    let ids = three(&fixture);
    let copy = MemoryStore::new();
    // One after the other: then nothing of an older snapshot is there before the newest one is sealed.
    let recording = Arc::new(Recording::new(copy.clone()));
    let slow = Target { parallelism: Some(1), ..target("copy", recording.clone()) };
    sync_all(&fixture, &[slow]).pop().unwrap().unwrap();
    let (repo, catalog) = fixture.open_with(None).unwrap();
    let newest = crate::snapshots::Snapshots::load(&repo, &catalog).unwrap().sealed.pop().unwrap();
    assert_eq!(newest.id(), ids[2]);
    let closure = repo.closure(&catalog, &newest.manifest).unwrap();
    let puts = recording.puts();
    let first_seal = puts.iter().position(|key| key.starts_with("seals/")).unwrap();
    assert!(puts[first_seal].contains(&newest.name.hash.to_string()), "{}", puts[first_seal]);
    let before = puts[..first_seal].iter().filter(|key| key.starts_with("packs/")).count();
    assert_eq!(before, closure.len(), "one thread puts no pack of an older snapshot before");
}

#[test]
fn a_condemned_or_short_pack_is_put_in_a_new_generation() {
    let fixture = fixture();
    three(&fixture);
    let copy = MemoryStore::new();
    sync(&fixture, Arc::new(copy.clone())).unwrap();
    let (condemned, short) = (packs(&copy)[0].0, packs(&copy)[1].0);
    put_tomb(
        &fixture,
        &copy,
        1,
        Takes::Condemn { packs: vec![PackName { hash: condemned, generation: None }], others: Vec::new() },
    );
    let short_name = Name::Pack(short, None).key(FanOut::FLAT);
    copy.insert_raw(&short_name, copy.get_raw(&short_name).unwrap().slice(..100));

    let report = sync(&fixture, Arc::new(copy.clone())).unwrap();
    assert_eq!((report.packs.objects, report.behind, report.problems.len()), (2, 0, 0));
    for hash in [condemned, short] {
        let generations: Vec<_> =
            packs(&copy).into_iter().filter(|(h, _)| *h == hash).map(|(_, g)| g).collect();
        assert_eq!(generations.len(), 2, "the old one stays, the new one has another name");
        assert!(generations.contains(&None));
    }
    assert_eq!(look(&fixture, &copy).missing.objects, 0);
    assert_eq!(sync(&fixture, Arc::new(copy.clone())).unwrap().packs.objects, 0);
}

#[test]
fn what_a_collector_takes_away_meanwhile_is_put_again() {
    let fixture = fixture();
    three(&fixture);
    let (condemned, _) = packs(&fixture.store)[0];
    let condemn =
        Takes::Condemn { packs: vec![PackName { hash: condemned, generation: None }], others: Vec::new() };
    for number in 0..2 {
        let copy = MemoryStore::new();
        let store = Recording::new(copy.clone());
        // Just before the first manifest, or just before the first seal.
        let prefix = ["manifests/", "seals/"][number];
        let (shared, takes) = (copy.clone(), condemn.clone());
        let (id, host) = (fixture.id, fixture.host.clone());
        let done = std::sync::Once::new();
        store.before(move |key| {
            if key.starts_with(prefix) {
                done.call_once(|| testing::put_tomb(&shared, &id, &host, 1, takes.clone()));
            }
        });
        let report = sync(&fixture, Arc::new(store)).unwrap();
        assert_eq!((report.behind, report.problems.len()), (0, 0));
        let generations = packs(&copy).into_iter().filter(|(hash, _)| *hash == condemned).count();
        // A collector that condemns after the manifest is there lists it, and keeps the pack.
        assert_eq!(generations, if number == 0 { 2 } else { 1 }, "condemned before {prefix}");
        assert!(copy.names().iter().all(|name| !name.starts_with("intents/")));
    }
}

#[test]
fn a_revoked_intent_is_replaced_by_a_new_one() {
    let fixture = fixture();
    three(&fixture);
    let copy = MemoryStore::new();
    let store = Recording::new(copy.clone());
    let (shared, done) = (copy.clone(), std::sync::Once::new());
    let (id, host) = (fixture.id, fixture.host.clone());
    store.before(move |key| {
        if key.starts_with("seals/") {
            done.call_once(|| {
                let intent = shared.names().into_iter().find(|name| name.starts_with("intents/")).unwrap();
                let Some(Name::Intent(nonce)) = Name::parse(&intent) else { panic!("{intent}") };
                testing::put_tomb(&shared, &id, &host, 1, Takes::Revoke { names: vec![nonce.to_string()] });
            });
        }
    });
    let store = Arc::new(store);
    let report = sync(&fixture, store.clone()).unwrap();
    assert_eq!((report.behind, report.problems.len()), (0, 0));
    let intents = store.puts().iter().filter(|key| key.starts_with("intents/")).count();
    assert_eq!(intents, 2);
    assert!(copy.names().iter().all(|name| !name.starts_with("intents/")));
}

/// A listing comes in pages: one that misses the larger intent on an early page must still find the smaller one on a later.
#[test]
fn a_smaller_intent_stays_until_what_a_larger_one_names_is_sealed() {
    let fixture = fixture();
    three(&fixture);
    let copy = MemoryStore::new();
    let store = Recording::new(copy.clone());
    let (shared, done) = (copy.clone(), std::sync::Once::new());
    store.before(move |key| {
        if key.starts_with("manifests/") {
            done.call_once(|| {
                let (gone, generation) = packs(&shared)[0];
                shared.remove_raw(&Name::Pack(gone, generation).key(FanOut::FLAT));
            });
        }
    });
    let store = Arc::new(store);
    let report = sync(&fixture, store.clone()).unwrap();
    assert_eq!((report.behind, report.problems.len()), (0, 0));
    let events = store.puts();
    let at = |prefix: &str| -> Vec<usize> {
        (0..events.len()).filter(|i| events[*i].starts_with(prefix)).collect()
    };
    assert_eq!((at("intents/").len(), at("deleted intents/").len()), (2, 2));
    assert!(at("seals/").last() < at("deleted intents/").first(), "{events:#?}");
    assert!(copy.names().iter().all(|name| !name.starts_with("intents/")));
}

#[test]
fn another_repository_is_refused_and_left_alone() {
    let (fixture, other) = (fixture(), fixture_with_data());
    three(&fixture);
    let before = other.store.names();
    let error = sync(&fixture, Arc::new(other.store.clone())).unwrap_err();
    assert!(matches!(error, Error::OtherRepository { .. }), "{error}");
    assert_eq!(other.store.names(), before);
}

fn fixture_with_data() -> Fixture {
    let other = fixture();
    three(&other);
    other
}

#[test]
fn a_damaged_pack_costs_its_own_snapshots_only_and_is_not_passed_on() {
    let fixture = fixture();
    let ids = three(&fixture);
    // The pack that only the newest snapshot needs.
    let (repo, catalog) = fixture.open();
    let sealed = crate::snapshots::Snapshots::load(&repo, &catalog).unwrap().sealed;
    let closures: Vec<_> = sealed.iter().map(|s| repo.closure(&catalog, &s.manifest).unwrap()).collect();
    let pack = closures[2].iter().find(|pack| !closures[1].contains(pack)).unwrap().hash;
    let name = Name::Pack(pack, None).key(FanOut::FLAT);
    let mut bytes = fixture.store.get_raw(&name).unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fixture.store.insert_raw(&name, bytes);

    let copy = MemoryStore::new();
    let report = sync(&fixture, Arc::new(copy.clone())).unwrap();
    assert_eq!(report.complete.unwrap().id, ids[1]);
    assert_eq!(report.behind, 1);
    assert!(report.problems[0].contains(&ids[2].short()), "{:?}", report.problems);
    assert!(copy.get_raw(&name).is_none());
    assert_sound(&fixture, &copy);
    assert_eq!(look(&fixture, &copy).snapshots, 2);

    // Missing here, and there already: nothing is lacking.
    fixture.store.remove_raw(&name);
    let report = sync(&fixture, Arc::new(copy.clone())).unwrap();
    assert!(report.problems[0].contains("missing"), "{:?}", report.problems);
}

/// Just before each put in turn, a sweep takes away all that the newest snapshot alone needs.
#[test]
fn what_is_swept_here_meanwhile_costs_its_own_snapshots_only() {
    let whole = fixture();
    whole.write("f1", noise(1, 100_000));
    let first = whole.backup(&[&whole.source()]);
    let before = whole.store.names();
    whole.write("f2", noise(2, 100_000));
    let second = whole.backup(&[&whole.source()]);
    let (all, counting) = (whole.store.deep_clone(), Arc::new(Recording::new(MemoryStore::new())));
    sync(&whole, counting.clone()).unwrap();
    for number in 0..counting.puts().len() {
        all.names().iter().for_each(|name| whole.store.insert_raw(name, all.get_raw(name).unwrap()));
        let (source, kept, copy) = (whole.store.clone(), before.clone(), MemoryStore::new());
        let store = Recording::new(copy.clone());
        let puts = AtomicUsize::new(0);
        store.before(move |_| {
            if puts.fetch_add(1, Ordering::Relaxed) == number {
                source
                    .names()
                    .iter()
                    .filter(|name| !kept.contains(name))
                    .for_each(|name| drop(source.remove_raw(name)));
            }
        });
        let report =
            sync(&whole, Arc::new(store)).unwrap_or_else(|error| panic!("before put {number}: {error}"));
        let complete = report.complete.unwrap().id;
        let told = report.problems.len() == 1;
        assert!(complete == second || (complete == first && told), "put {number}: {:?}", report.problems);
        assert_sound(&whole, &copy);
    }
}

#[test]
fn a_dead_target_costs_the_others_nothing() {
    let fixture = fixture();
    let ids = three(&fixture);
    let copy = MemoryStore::new();
    let fault = Fault { at: 3, how: FaultKind::Before, then: Aftermath::Forever(ErrorKind::NoSpace) };
    let full = FaultyStore::new(MemoryStore::new()).with_fault(fault);
    let reports =
        sync_all(&fixture, &[target("full", Arc::new(full)), target("copy", Arc::new(copy.clone()))]);
    assert!(
        matches!(&reports[0], Err(Error::Store(error)) if error.kind == ErrorKind::NoSpace),
        "{:?}",
        reports[0]
    );
    assert_eq!(reports[1].as_ref().unwrap().complete.as_ref().unwrap().id, ids[2]);
    same_objects(&fixture.store, &copy);
}

#[test]
fn small_objects_go_several_at_once() {
    let fixture = fixture();
    three(&fixture);
    let copy = MemoryStore::new();
    assert_eq!(sync(&fixture, Arc::new(Meeting::new(copy.clone()))).unwrap().behind, 0);
    same_objects(&fixture.store, &copy);
}

#[test]
fn only_a_forget_for_every_copy_travels() {
    let fixture = fixture();
    let ids = three(&fixture);
    let copy = MemoryStore::new();
    sync(&fixture, Arc::new(copy.clone())).unwrap();
    put_tomb(&fixture, &fixture.store, 1, Takes::Forget { snapshots: vec![ids[0]], everywhere: true });
    put_tomb(&fixture, &fixture.store, 2, Takes::Forget { snapshots: vec![ids[1]], everywhere: false });
    let condemned = PackName { hash: packs(&fixture.store)[0].0, generation: None };
    put_tomb(&fixture, &fixture.store, 3, Takes::Condemn { packs: vec![condemned], others: Vec::new() });
    let report = sync(&fixture, Arc::new(copy.clone())).unwrap();
    assert_eq!((report.others.objects, report.packs.objects), (2, 0), "a tomb and its signature");
    assert_eq!(look(&fixture, &copy).snapshots, 2);

    // What the copy has forgotten for itself does not come back.
    let small = MemoryStore::new();
    put_tomb(&fixture, &small, 7, Takes::Forget { snapshots: vec![ids[2]], everywhere: false });
    small.insert_raw("fardel.json", fixture.store.get_raw("fardel.json").unwrap());
    let report = sync(&fixture, Arc::new(small.clone())).unwrap();
    assert_eq!((report.behind, report.packs.objects, report.complete), (0, 0, None));
}

#[test]
fn forgets_that_were_merged_there_do_not_come_again() {
    let fixture = fixture();
    let ids = three(&fixture);
    let copy = MemoryStore::new();
    sync(&fixture, Arc::new(copy.clone())).unwrap();
    let forget = Takes::Forget { snapshots: vec![ids[0]], everywhere: true };
    put_tomb(&fixture, &fixture.store, 1, forget);
    sync(&fixture, Arc::new(copy.clone())).unwrap();
    let is_tomb = |name: &String| name.starts_with("tombs/");
    let tomb =
        fixture.store.names().into_iter().find(|name| is_tomb(name) && name.ends_with(".json")).unwrap();
    let bytes = fixture.store.get_raw(&tomb).unwrap();
    let merged = MergedForget {
        writer: fixture.host.signing.public().writer(),
        seq: 1,
        tomb: fardel_format::ObjectHash::of(&bytes),
        created: crate::time::now(),
        snapshots: vec![ids[0]],
    };
    let merged = || Takes::MergedForgets { everywhere: true, forgets: vec![merged.clone()] };
    // Merged there: the one here brings nothing new.
    copy.names().iter().filter(|name| is_tomb(name)).for_each(|name| drop(copy.remove_raw(name)));
    put_tomb(&fixture, &copy, 2, merged());
    let report = sync(&fixture, Arc::new(copy.clone())).unwrap();
    assert_eq!((report.others.objects, look(&fixture, &copy).snapshots), (0, 2));
    // Merged here: it travels to where nothing of it is, and nowhere else.
    fixture
        .store
        .names()
        .iter()
        .filter(|name| is_tomb(name))
        .for_each(|name| drop(fixture.store.remove_raw(name)));
    put_tomb(&fixture, &fixture.store, 3, merged());
    assert_eq!(sync(&fixture, Arc::new(copy.clone())).unwrap().others.objects, 0);
    let new = MemoryStore::new();
    sync(&fixture, Arc::new(new.clone())).unwrap();
    assert_eq!(look(&fixture, &new).snapshots, 2);
    assert_eq!(new.names().iter().filter(|name| is_tomb(name)).count(), 2);
}

/// A repository of so many packs.
fn many_packs(packs: u64) -> Fixture {
    let fixture = fixture();
    fixture.craft(|packer| {
        let nodes: Vec<_> = (0..packs)
            .map(|number| {
                let node = file(packer, &format!("f{number:05}"), &[Ok(&noise(number + 1, 1000))]);
                packer.flush().unwrap();
                node
            })
            .collect();
        vec![root::Source::new(b"/s", folder(packer, "", &nodes))]
    });
    let stored = fixture.store.names().iter().filter(|name| name.starts_with("packs/")).count() as u64;
    assert!((packs..=packs + 2).contains(&stored), "{stored}");
    fixture
}

#[test]
fn a_sync_that_changes_nothing_makes_few_requests() {
    let fixture = many_packs(1000);
    let copy = MemoryStore::new();
    let report = sync(&fixture, Arc::new(copy.clone())).unwrap();
    assert!(report.packs.objects >= 1000 && report.behind == 0, "{report:?}");

    let here = Arc::new(Counting::new(fixture.store.clone()));
    let there = Arc::new(Counting::new(copy));
    let (repo, catalog) = fixture.open_in(here.clone(), None).unwrap();
    let target = target("copy", there.clone());
    let report = replicate(&repo, &catalog, &[target], &options(&fixture)).unwrap().pop().unwrap().unwrap();
    assert_eq!((report.bytes_sent, report.behind, report.requests), (0, 0, 0), "{report:?}");
    let (here, there) = (here.requests(), there.requests());
    assert!(here.0 + there.0 <= 10, "{} requests here, {} there", here.0, there.0);
    assert!(here.1 + there.1 <= 3, "{} listings here, {} there", here.1, there.1);
}

#[test]
fn a_dry_run_tells_the_requests_that_a_sync_makes() {
    let fixture = many_packs(20);
    let there = Arc::new(Counting::new(MemoryStore::new()));
    let (repo, catalog) = fixture.open_with(None).unwrap();
    let dry = ReplicateOptions { dry_run: true, ..options(&fixture) };
    let targets = [target("copy", there.clone())];
    let planned = replicate(&repo, &catalog, &targets, &dry).unwrap().pop().unwrap().unwrap().requests;
    let before = there.requests();
    replicate(&repo, &catalog, &targets, &options(&fixture)).unwrap().pop().unwrap().unwrap();
    let after = there.requests();
    let made = after.0 + after.1 - before.0 - before.1;
    // Besides it looks what is there: the card, which it puts when there is none, and a listing.
    assert!((planned..=planned + 4).contains(&made), "{made} were made, {planned} planned");
}

#[test]
fn a_limit_holds_over_all_that_is_sent() {
    let fixture = fixture();
    three(&fixture);
    let (repo, catalog) = fixture.open_with(None).unwrap();
    const RATE: u64 = 400_000;
    let limited = Target {
        upload: Arc::new(Throttle::new(Some(RATE))),
        ..target("limited", Arc::new(MemoryStore::new()))
    };
    let report = replicate(&repo, &catalog, &[limited], &options(&fixture)).unwrap().pop().unwrap().unwrap();
    assert!(report.bytes_sent > 300_000 && report.behind == 0, "{report:?}");
    // What goes last need not be waited for: no object is larger than a pack of these.
    let least = (report.bytes_sent - 120_000) as f64 / RATE as f64;
    assert!(report.duration.as_secs_f64() >= least, "{report:?}");
}

#[test]
fn what_was_revoked_at_the_target_is_a_problem_and_not_behind() {
    let fixture = fixture();
    fixture.write("f", noise(1, 1000));
    fixture.backup(&[&fixture.source()]);
    let (_, catalog) = fixture.open();
    let (_, name) = catalog.manifests.keys().next().unwrap();
    let copy = MemoryStore::new();
    copy.insert_raw("fardel.json", fixture.store.get_raw("fardel.json").unwrap());
    put_tomb(&fixture, &copy, 1, Takes::Revoke { names: vec![name.hash.to_string()] });
    let report = sync(&fixture, Arc::new(copy)).unwrap();
    assert_eq!((report.behind, report.complete), (0, None));
    assert!(report.problems[0].contains("revoked there"), "{:?}", report.problems);
}
