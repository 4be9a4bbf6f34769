use std::sync::Arc;

use fardel_format::ids::Generation;
use fardel_format::names::{FanOut, Name, PackName};
use fardel_format::signers::Role;
use fardel_format::tomb::Takes;
use fardel_store::MemoryStore;

use super::*;
use crate::Result;
use crate::catalog::Catalog;
use crate::entomb;
use crate::key::Admin;
use crate::keyring::Material;
use crate::snapshots::Snapshots;
use crate::testing::{Fixture, failure, fixture, noise};

fn two_snapshots() -> Fixture {
    let fixture = fixture();
    for number in 0..2 {
        fixture.write("file", noise(number, 30_000));
        fixture.backup(&[&fixture.source()]);
    }
    fixture
}

/// By another machine than the one that backed up.
fn acknowledge_at(fixture: &Fixture, store: &MemoryStore, name: &str) -> Result<Acknowledged> {
    let (repo, catalog) = fixture.open();
    let admin = Admin::open(&repo, &catalog, &fixture.recovery()).unwrap();
    let nas = admin.add_host("nas", &[Role::Acknowledge], true).unwrap();
    for record in fixture.store.names().into_iter().filter(|name| name.starts_with("signers/")) {
        store.insert_raw(&record, fixture.store.get_raw(&record).unwrap());
    }
    let material = Some(Material::Host(Box::new(nas)));
    let (repo, catalog) = fixture.open_in(Arc::new(store.clone()), material)?;
    acknowledge(&AckOptions { replica: name, copy: (&repo, &catalog), source: None })
}

fn said(fixture: &Fixture, store: &MemoryStore) -> Vec<fardel_format::ack::Ack> {
    let (repo, catalog) = fixture.open_in(Arc::new(store.clone()), None).unwrap();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let acks = Acks::load(&repo, &catalog, &snapshots.registry, &snapshots.tombs).unwrap();
    assert!(acks.problems.is_empty(), "{:?}", acks.problems);
    acks.lines.into_iter().flat_map(|line| line.acks).map(|heard| heard.ack).collect()
}

fn copy_of(fixture: &Fixture) -> MemoryStore {
    let copy = MemoryStore::new();
    for name in fixture.store.names() {
        copy.insert_raw(&name, fixture.store.get_raw(&name).unwrap());
    }
    copy
}

#[test]
fn the_newest_whole_snapshot_is_acknowledged() {
    let fixture = two_snapshots();
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let ids: Vec<_> = snapshots.sealed.iter().map(|sealed| sealed.id()).collect();
    let copy = copy_of(&fixture);
    let older = repo.closure(&catalog, &snapshots.sealed[0].manifest).unwrap();
    let newer = repo.closure(&catalog, &snapshots.sealed[1].manifest).unwrap();
    let own = newer.iter().find(|pack| !older.contains(pack)).unwrap();
    copy.remove_raw(&Name::Pack(own.hash, None).key(FanOut::FLAT));
    let got = acknowledge_at(&fixture, &copy, "nas").unwrap();
    assert_eq!((got.snapshot, got.newer, got.new), (ids[0], 1, true));
    // In another writing it is whole as well.
    let again = Generation([1, 2, 3, 4]);
    let place = Name::Pack(own.hash, Some(again)).key(FanOut::FLAT);
    let bytes = fixture.store.get_raw(&Name::Pack(own.hash, None).key(FanOut::FLAT)).unwrap();
    copy.insert_raw(&place, bytes);
    let got = acknowledge_at(&fixture, &copy, "other").unwrap();
    assert_eq!((got.snapshot, got.newer), (ids[1], 0));
    let acks = said(&fixture, &copy);
    let of = |name: &str| acks.iter().find(|ack| ack.replica == name).unwrap();
    assert!(of("nas").generations.is_empty());
    assert_eq!(of("other").generations, [PackName { hash: own.hash, generation: Some(again) }]);
}

#[test]
fn what_is_condemned_or_forgotten_is_not_acknowledged() {
    let fixture = two_snapshots();
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let (first, second) = (&snapshots.sealed[0], &snapshots.sealed[1]);
    let older = repo.closure(&catalog, &first.manifest).unwrap();
    let newer = repo.closure(&catalog, &second.manifest).unwrap();
    let own = newer.iter().find(|pack| !older.contains(pack)).unwrap();
    let packs = vec![PackName { hash: own.hash, generation: None }];
    entomb::entomb(&repo, &catalog, Takes::Condemn { packs, others: Vec::new() }).unwrap();
    assert_eq!(acknowledge_at(&fixture, &copy_of(&fixture), "nas").unwrap().snapshot, first.id());
    let catalog = Catalog::load(repo.store()).unwrap();
    let takes = Takes::Forget { snapshots: vec![first.id()], everywhere: true };
    entomb::entomb(&repo, &catalog, takes).unwrap();
    let why = failure(acknowledge_at(&fixture, &copy_of(&fixture), "nas"));
    assert!(why.contains("nothing to acknowledge"), "{why}");
}

#[test]
fn who_made_the_snapshots_here_acknowledges_copies_elsewhere_alone() {
    let fixture = two_snapshots();
    let (repo, catalog) = fixture.open();
    let here = AckOptions { replica: "here", copy: (&repo, &catalog), source: None };
    let why = failure(acknowledge(&here));
    assert!(why.contains("that another machine wrote"), "{why}");
    let copy = copy_of(&fixture);
    let (there, listed) = fixture.open_in(Arc::new(copy.clone()), None).unwrap();
    let options = AckOptions { replica: "usb", copy: (&there, &listed), source: Some((&repo, &catalog)) };
    assert!(acknowledge(&options).unwrap().new);
    assert_eq!(said(&fixture, &fixture.store)[0].replica, "usb");
    assert!(said(&fixture, &copy).is_empty(), "it lies where it is heeded");
    for name in ["", "NAS", "a b", "con", "../x"] {
        let options = AckOptions { replica: name, ..options };
        assert!(failure(acknowledge(&options)).contains("cannot name a replica"), "{name}");
    }
}

#[test]
fn numbers_go_on_where_nothing_is_listed() {
    let fixture = two_snapshots();
    let copy = copy_of(&fixture);
    acknowledge_at(&fixture, &copy, "nas").unwrap();
    acknowledge_at(&fixture, &copy_of(&fixture), "nas").unwrap();
    let names: Vec<_> = copy.names().into_iter().filter(|name| name.starts_with("acks/")).collect();
    assert!(names[0].starts_with("acks/nas/00000001-"), "{names:?}");
    let other = copy_of(&fixture);
    acknowledge_at(&fixture, &other, "nas").unwrap();
    assert_eq!(said(&fixture, &other)[0].seq, 3, "it is remembered beside the store");
}
