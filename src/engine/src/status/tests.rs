use fardel_format::sign::SigningKey;
use fardel_store::MemoryStore;

use super::*;
use crate::testing::{Fixture, fixture, noise};

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
