use std::sync::Arc;

use fardel_format::sign::SigningKey;
use fardel_format::tomb::Takes;
use fardel_store::MemoryStore;

use super::*;
use crate::testing::{Fixture, fixture, noise, put_tomb};

/// Looks at the fixture's store, without any key.
fn look(fixture: &Fixture) -> Status {
    let (repo, catalog) = fixture.open_with(None).unwrap();
    status(&repo, &catalog).unwrap()
}

/// Three snapshots with new data each; returns their ids and the names that each one added.
fn three(fixture: &Fixture) -> ([SnapshotId; 3], [Vec<String>; 3]) {
    let mut known = fixture.store.names();
    let made = [1, 2, 3].map(|number| {
        fixture.write(&format!("f{number}"), noise(number, 100_000));
        let id = fixture.backup(&[&fixture.source()]);
        let mut new = fixture.store.names();
        new.retain(|name| !known.contains(name));
        known = fixture.store.names();
        (id, new)
    });
    let [(a, x), (b, y), (c, z)] = made;
    ([a, b, c], [x, y, z])
}

fn named<'a>(names: &'a [String], prefix: &str) -> &'a str {
    names.iter().find(|name| name.starts_with(prefix)).unwrap()
}

fn size(store: &MemoryStore, name: &str) -> u64 {
    store.get_raw(name).unwrap().len() as u64
}

#[test]
fn an_empty_repository_has_nothing_and_lacks_nothing() {
    let status = look(&fixture());
    assert!(status.complete.is_none() && status.newest.is_none() && status.problems.is_empty());
    assert_eq!((status.behind, status.missing, status.snapshots), (0, Amount::default(), 0));
    assert!(status.stored.objects > 3);
}

#[test]
fn everything_there() {
    let fixture = fixture();
    let (ids, _) = three(&fixture);
    let status = look(&fixture);
    assert_eq!(status.complete.as_ref().unwrap().id, ids[2]);
    assert_eq!(status.newest, status.complete);
    assert_eq!((status.behind, status.missing, status.missing_at_least), (0, Amount::default(), false));
    assert_eq!((status.snapshots, status.unsealed, status.unexplained), (3, 0, Amount::default()));
    let packs = fixture.store.names().iter().filter(|name| name.starts_with("packs/")).count();
    assert_eq!(status.packs.objects, packs as u64);
    assert_eq!(
        status.stored,
        Amount { objects: fixture.store.names().len() as u64, bytes: fixture.store.total_bytes() }
    );
    assert!(status.foreign_writers.is_empty() && status.problems.is_empty() && status.ignored_names == 0);
}

#[test]
fn the_newest_complete_snapshot_is_offered_and_what_newer_ones_lack_is_counted() {
    let (all, (ids, names)) = {
        let fixture = fixture();
        let made = three(&fixture);
        (fixture, made)
    };
    let full = all.store.deep_clone();
    let put_back =
        || full.names().iter().for_each(|name| all.store.insert_raw(name, full.get_raw(name).unwrap()));

    for kind in ["packs/", "roots/"] {
        let name = named(&names[2], kind);
        all.store.remove_raw(name);
        let status = look(&all);
        assert_eq!(status.complete.as_ref().unwrap().id, ids[1]);
        assert_eq!(status.newest.unwrap().id, ids[2]);
        assert_eq!(status.missing, Amount { objects: 1, bytes: size(&full, name) }, "{kind}");
        assert_eq!((status.behind, status.missing_at_least), (1, false));
        // Of another size is as good as missing.
        all.store.insert_raw(name, vec![0; 5]);
        assert_eq!(look(&all).missing, Amount { objects: 1, bytes: size(&full, name) }, "{kind}");
        put_back();
    }

    // What two snapshots need is missing once.
    let shared = named(&names[1], "packs/");
    all.store.remove_raw(shared);
    let status = look(&all);
    assert_eq!(status.complete.as_ref().unwrap().id, ids[0]);
    assert_eq!((status.behind, status.missing), (2, Amount { objects: 1, bytes: size(&full, shared) }));
    put_back();

    // Without a list nobody knows which packs are needed.
    let list = named(&names[2], "lists/");
    all.store.remove_raw(list);
    let status = look(&all);
    assert_eq!((status.behind, status.missing.objects, status.missing_at_least), (1, 1, true));
    all.store.insert_raw(list, vec![b'x'; size(&full, list) as usize]);
    let status = look(&all);
    assert_eq!((status.behind, status.missing.objects, status.missing_at_least), (1, 0, true));
    put_back();

    // A seal came before its manifest.
    let manifest = named(&names[2], "manifests/");
    all.store.remove_raw(manifest);
    let status = look(&all);
    assert_eq!(status.complete.as_ref().unwrap().id, ids[1]);
    assert_eq!((status.behind, status.missing.objects, status.missing_at_least), (1, 1, true));
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    put_back();
    // One below is no news: its snapshot goes, or was forgotten.
    all.store.remove_raw(named(&names[0], "manifests/"));
    let status = look(&all);
    assert_eq!((status.complete.unwrap().id, status.behind, status.snapshots), (ids[2], 0, 2));
    put_back();

    // A manifest came before its seal: there is no snapshot yet, and nothing is behind.
    all.store.remove_raw(named(&names[2], "seals/"));
    let status = look(&all);
    assert_eq!((status.newest.unwrap().id, status.behind, status.unsealed), (ids[1], 0, 1));
    assert_eq!(status.unexplained, Amount::default());
    put_back();

    all.lose("packs/");
    let status = look(&all);
    assert!(status.complete.is_none());
    assert_eq!(status.behind, 3);
    let packs = full.names().into_iter().filter(|name| name.starts_with("packs/"));
    assert_eq!(status.missing.bytes, packs.map(|name| size(&full, &name)).sum::<u64>());
}

#[test]
fn strangers_are_told() {
    let fixture = fixture();
    let (ids, names) = three(&fixture);
    fixture.store.insert_raw("packs/desktop.ini", vec![1]);
    fixture.store.insert_raw("packs/.syncthing.x.tmp", vec![1]);
    let hash = "ab".repeat(32);
    fixture.store.insert_raw(&format!("packs/{hash}.tar.zst.age"), vec![1; 10]);
    fixture.store.insert_raw(&format!("roots/{hash}.json.zst.age"), vec![1; 7]);
    let other = SigningKey::generate().unwrap().public().writer();
    let seal = fixture.store.get_raw(named(&names[2], "seals/")).unwrap();
    let manifest = fixture.store.get_raw(named(&names[2], "manifests/")).unwrap();
    let forged = named(&names[2], "seals/")
        .replace(&fixture.host.signing.public().writer().to_string(), &other.to_string());
    fixture.store.insert_raw(&forged, seal.clone());
    fixture.store.insert_raw(&forged.replace("seals/", "manifests/").replace(".minisig", ".json"), manifest);
    let status = look(&fixture);
    assert_eq!(status.complete.unwrap().id, ids[2]);
    assert_eq!((status.ignored_names, status.strangers.len()), (2, 2));
    assert_eq!(status.foreign_writers, [other]);
    assert_eq!(status.unexplained, Amount { objects: 2, bytes: 17 });
    assert_eq!(status.problems.len(), 1);
    assert_eq!(status.problems[0].object.as_str(), forged);
}

#[test]
fn a_forged_seal_makes_no_snapshot() {
    let fixture = fixture();
    let (ids, names) = three(&fixture);
    let newest = named(&names[2], "seals/");
    fixture.store.insert_raw(newest, fixture.store.get_raw(named(&names[1], "seals/")).unwrap());
    let status = look(&fixture);
    assert_eq!((status.newest.unwrap().id, status.behind), (ids[1], 0));
    assert_eq!(status.problems[0].object.as_str(), newest);
}

#[test]
fn garbage_in_lists_and_manifests_is_no_failure() {
    let fixture = fixture();
    let (_, names) = three(&fixture);
    for name in names.iter().flatten().filter(|name| !name.starts_with("packs/")) {
        let kept = fixture.store.get_raw(name).unwrap();
        for garbage in [&b""[..], b"?", b"{}\n"] {
            fixture.store.insert_raw(name, garbage.to_vec());
            look(&fixture);
        }
        fixture.store.insert_raw(name, kept);
    }
    assert_eq!(look(&fixture).behind, 0);
}

#[test]
fn an_older_snapshot_that_is_not_whole_is_counted_too() {
    let fixture = fixture();
    let (ids, names) = three(&fixture);
    let root = named(&names[0], "roots/");
    let bytes = size(&fixture.store, root);
    fixture.store.remove_raw(root);
    let status = look(&fixture);
    assert_eq!(status.complete.unwrap().id, ids[2]);
    assert_eq!((status.behind, status.incomplete), (0, vec![ids[0]]));
    assert_eq!((status.missing, status.missing_packs), (Amount { objects: 1, bytes }, Amount::default()));
    assert_eq!(status.missing_names[0].as_str(), root);
}

/// Looks at a store as at a copy of the fixture's.
fn look_at_copy(fixture: &Fixture, copy: &MemoryStore, remembered: Option<&Remembered>) -> Status {
    let (repo, catalog) = fixture.open_with(None).unwrap();
    let snapshots = Snapshots::load_for_reading(&repo, &catalog).unwrap();
    let original = Some(Original { repo: &repo, catalog: &catalog, snapshots: &snapshots });
    let (repo, catalog) = fixture.open_in(Arc::new(copy.clone()), None).unwrap();
    let snapshots = Snapshots::load_for_reading(&repo, &catalog).unwrap();
    status_since(&repo, &catalog, &snapshots, &Before { original, remembered }).unwrap()
}

fn forget(fixture: &Fixture, store: &MemoryStore, id: SnapshotId) {
    let takes = Takes::Forget { snapshots: vec![id], everywhere: false };
    put_tomb(store, &fixture.id, &fixture.host, 1, takes);
}

#[test]
fn a_copy_is_behind_by_every_snapshot_that_it_lacks_and_did_not_take_away() {
    let fixture = fixture();
    let (ids, names) = three(&fixture);
    let copy = fixture.store.deep_clone();
    assert_eq!(look_at_copy(&fixture, &copy, None).behind, 0);
    // One in the middle, of which nobody there knows.
    for kind in ["seals/", "manifests/"] {
        copy.remove_raw(named(&names[1], kind));
    }
    let status = look_at_copy(&fixture, &copy, None);
    assert_eq!((status.behind, status.complete.unwrap().id), (1, ids[2]));
    let bytes = ["seals/", "manifests/"].map(|kind| size(&fixture.store, named(&names[1], kind)));
    assert_eq!(status.missing, Amount { objects: 2, bytes: bytes.iter().sum() });
    forget(&fixture, &copy, ids[1]);
    assert_eq!(look_at_copy(&fixture, &copy, None).behind, 0, "it keeps what it wants");

    // The original was rolled back, and the copy knows better.
    for name in &names[2] {
        fixture.store.remove_raw(name);
    }
    let status = look_at_copy(&fixture, &copy, None);
    assert_eq!(status.ahead.iter().map(|gone| gone.snapshot).collect::<Vec<_>>(), [ids[2]]);
    forget(&fixture, &fixture.store, ids[2]);
    assert_eq!(look_at_copy(&fixture, &copy, None).ahead, []);
}

#[test]
fn a_copy_without_key_files_is_told() {
    let fixture = fixture();
    three(&fixture);
    let copy = fixture.store.deep_clone();
    assert!(!look_at_copy(&fixture, &copy, None).is_locked);
    let keys: Vec<_> = copy.names().into_iter().filter(|name| name.starts_with("keys/")).collect();
    copy.remove_raw(&keys[0]);
    let status = look_at_copy(&fixture, &copy, None);
    let bytes = size(&fixture.store, &keys[0]);
    assert_eq!((status.behind, status.missing, status.is_locked), (0, Amount { objects: 1, bytes }, false));
    assert_eq!(status.missing_names[0].as_str(), keys[0]);
    keys.iter().for_each(|name| drop(copy.remove_raw(name)));
    assert!(look_at_copy(&fixture, &copy, None).is_locked);
}

#[test]
fn a_copy_that_shows_an_older_state_is_known_by_what_was_seen() {
    let fixture = fixture();
    let (ids, names) = three(&fixture);
    let newest = fixture.store.deep_clone();
    let gone = |remembered: &Remembered| {
        let status = look_at_copy(&fixture, &fixture.store, Some(remembered));
        (status.rolled_back.iter().map(|gone| gone.snapshot).collect::<Vec<_>>(), status)
    };
    let load = || Remembered::load(fixture.temp(), "usb");
    let mut remembered = load();
    let (nothing, status) = gone(&remembered);
    assert!(nothing.is_empty() && remembered.complete().is_none());
    remembered.note(&status);
    remembered.save().unwrap();

    for name in &names[2] {
        fixture.store.remove_raw(name);
    }
    let mut remembered = load();
    assert_eq!(remembered.complete(), Some(&ids[2]));
    let (seen, status) = gone(&remembered);
    assert_eq!(seen, [ids[2]]);
    // It stays remembered, however often somebody looks.
    remembered.note(&status);
    remembered.save().unwrap();
    assert_eq!(gone(&load()).0, [ids[2]]);
    // A newer snapshot does not hide it.
    fixture.write("f4", noise(4, 1000));
    fixture.backup(&[&fixture.source()]);
    assert_eq!(gone(&load()).0, [ids[2]]);

    // Who may, may take it away.
    let rolled_back = fixture.store.deep_clone();
    forget(&fixture, &fixture.store, ids[2]);
    let mut remembered = load();
    let (seen, status) = gone(&remembered);
    assert_eq!(seen, []);
    remembered.note(&status);
    assert_eq!(remembered.complete(), Some(&status.complete.unwrap().id));
    for name in fixture.store.names() {
        fixture.store.remove_raw(&name);
    }
    rolled_back
        .names()
        .iter()
        .for_each(|name| fixture.store.insert_raw(name, rolled_back.get_raw(name).unwrap()));
    assert_eq!(gone(&load()).0, [ids[2]]);
    // Or it comes back.
    names[2].iter().for_each(|name| fixture.store.insert_raw(name, newest.get_raw(name).unwrap()));
    assert_eq!(gone(&load()).0, []);

    // What is no memory is no reason to stop.
    std::fs::write(load().path(), "{").unwrap();
    assert_eq!(gone(&load()).0, []);
}

#[test]
fn snapshots_name_what_was_seen_of_other_writers() {
    let fixture = fixture();
    fixture.write("f", noise(1, 1000));
    let id = fixture.backup(&[&fixture.source()]);
    let (repo, catalog) = fixture.open_with(None).unwrap();
    let snapshots = Snapshots::load_for_reading(&repo, &catalog).unwrap();
    let other = SigningKey::generate().unwrap().public().writer();
    let newest = Numbered { seq: 7, hash: ObjectHash([7; 32]) };
    let mut naming = snapshots.clone();
    naming.sealed[0].manifest.heads = [(other, newest.to_string())].into();
    let named = |snapshots: &Snapshots| {
        let mut status = Status::default();
        status.look_for_named(&catalog, snapshots);
        status.named.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(snapshots.sealed[0].id(), id);
    assert_eq!((named(&snapshots), named(&naming)), (vec![], vec![(other, newest)]));
    naming.tombs.revoked.insert(newest.hash.to_string());
    assert_eq!(named(&naming), []);
}

#[test]
fn the_newest_complete_snapshot_is_found_with_what_newer_ones_lack() {
    let fixture = fixture();
    let (ids, names) = three(&fixture);
    let found = || {
        let (repo, catalog) = fixture.open_with(None).unwrap();
        let snapshots = Snapshots::load_for_reading(&repo, &catalog).unwrap();
        let found = latest(&repo, &catalog, &snapshots).unwrap();
        found.map(|found| (found.complete.id(), found.newer.len(), found.lacks.objects.len()))
    };
    assert_eq!(found(), Some((ids[2], 0, 0)));
    let pack = named(&names[1], "packs/");
    fixture.store.remove_raw(pack);
    assert_eq!(found(), Some((ids[0], 2, 1)));
    fixture.store.remove_raw(named(&names[0], "roots/"));
    assert_eq!(found(), None);
}

#[test]
fn where_nothing_else_is_whole_a_forgotten_snapshot_is_taken() {
    let fixture = fixture();
    let (ids, names) = three(&fixture);
    let takes = Takes::Forget { snapshots: ids[..2].to_vec(), everywhere: true };
    put_tomb(&fixture.store, &fixture.id, &fixture.host, 1, takes);
    let found = || {
        let (repo, catalog) = fixture.open_with(None).unwrap();
        let snapshots = Snapshots::load_for_reading(&repo, &catalog).unwrap();
        latest(&repo, &catalog, &snapshots)
            .unwrap()
            .map(|found| (found.complete.id(), found.forgotten, found.newer.len()))
    };
    assert_eq!(found(), Some((ids[2], false, 0)));
    // The tomb came before the pack of the snapshot that is to stay.
    fixture.store.remove_raw(named(&names[2], "packs/"));
    assert_eq!(found(), Some((ids[1], true, 1)));
    let takes = Takes::Forget { snapshots: ids[2..].to_vec(), everywhere: true };
    put_tomb(&fixture.store, &fixture.id, &fixture.host, 2, takes);
    assert_eq!(found(), None, "all of it is forgotten");
}
