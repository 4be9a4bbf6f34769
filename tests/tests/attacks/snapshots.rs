//! Snapshots that are forged, replayed, withheld, or turned back.

use std::collections::BTreeMap;
use std::sync::Arc;

use fardel_engine::check::{Class, Level};
use fardel_engine::snapshots::{Sealed, Snapshots};
use fardel_format::SnapshotId;
use fardel_format::names::{FanOut, Name, Numbered};
use fardel_format::pack::PackKind;
use fardel_format::sign::SigningKey;
use fardel_format::signers::{Role, Signer};
use fardel_format::tree::{Node, NodeKind};
use fardel_store::{ErrorKind, FaultyStore, ReadFault, ReadFaultKind};
use fardel_tests::vault::forge::{self, Snapshot};
use fardel_tests::vault::{Furnished, Vault};

use super::{Honest, assert_forged, stranger};

/// A snapshot of nothing.
fn empty(vault: &Vault) -> Snapshot {
    let mut node = Node::new(b"", NodeKind::File);
    node.content = Some(fardel_format::rope::Rope::default());
    Snapshot::new(vault, vec![("/forged", node)], Vec::new())
}

#[test]
fn an_unknown_signer_makes_no_snapshot() {
    let honest = Honest::new("unknown-signer");
    let forged = empty(&honest.vault).put(&honest.vault, &stranger(&honest.vault));
    assert!(!honest.is_listed(&forged.id));
    assert_forged(&honest.finding(Level::List, &forged.seal), true);
    assert!(honest.check(Level::Data).is_whole());
    honest.restores();
}

#[test]
fn a_signer_without_the_role_makes_no_snapshot() {
    let honest = Honest::new("no-role");
    let watcher = honest.vault.add_host("watcher", &[Role::Acknowledge]);
    let forged = empty(&honest.vault).put(&honest.vault, &watcher);
    assert!(!honest.is_listed(&forged.id));
    assert_forged(&honest.finding(Level::Seals, &forged.seal), true);
}

#[test]
fn only_a_maintainer_supersedes() {
    let honest = Honest::new("supersede");
    let writer = honest.vault.add_host("writer", &[Role::Write]);
    let opened = honest.vault.open();
    let victim = opened.snapshots().unwrap().sealed[0].clone();
    let mut manifest = victim.manifest.clone();
    manifest.writer = writer.signing.public().clone();
    manifest.supersedes = Some(victim.name.hash);
    let forged = forge::put_manifest(&honest.vault, &writer, &manifest, true);
    assert_forged(&honest.finding(Level::Seals, &forged.seal), true);
    assert!(honest.is_listed(&honest.id));
    honest.restores();
}

#[test]
fn a_seal_does_not_fit_another_number_writer_or_repository() {
    let honest = Honest::new("moved");
    let opened = honest.vault.open();
    let sealed = opened.snapshots().unwrap().sealed[0].clone();
    let id = (sealed.writer, sealed.name);
    let manifest = honest.vault.store.get_raw(opened.catalog.manifests[&id].key.as_str()).unwrap();
    let seal = honest.vault.store.get_raw(opened.catalog.seals[&id].key.as_str()).unwrap();
    let other = honest.vault.add_host("other", &[Role::Write]).signing.public().writer();
    // The same snapshot again, as if it were newer, or another host's.
    for (writer, seq) in [(sealed.writer, 99), (other, sealed.name.seq)] {
        let name = Numbered { seq, hash: sealed.name.hash };
        forge::put(&honest.vault.store, &Name::Manifest(writer, name), manifest.to_vec());
        let key = forge::put(&honest.vault.store, &Name::Seal(writer, name), seal.to_vec());
        assert_eq!(honest.finding(Level::Seals, &key).class, Class::Forged);
    }
    assert_eq!(honest.vault.open().snapshots().unwrap().sealed.len(), 1);
    honest.restores();
}

#[test]
fn objects_of_another_repository_are_told_and_count_for_nothing() {
    let honest = Honest::new("replayed");
    let foreign = Furnished::new("foreign");
    let before = honest.vault.store.names().len();
    for name in foreign.vault.store.names() {
        if honest.vault.store.get_raw(&name).is_none() {
            honest.vault.store.insert_raw(&name, foreign.vault.store.get_raw(&name).unwrap());
        }
    }
    assert!(honest.vault.store.names().len() > before + 30);
    honest.restores();
    assert_eq!(honest.vault.open().snapshots().unwrap().sealed.len(), 1);
    let report = honest.check(Level::Data);
    assert!(report.is_whole(), "{report:#?}");
    assert!(report.notes.iter().any(|note| note.contains("another repository")), "{:?}", report.notes);
    for name in foreign.vault.store.names() {
        let told = report.errors.iter().any(|finding| finding.object == name && finding.harmless);
        let is_kind = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        assert!(told || !is_kind(&["seals/", "packs/"]), "{name} is not told: {report:#?}");
    }
    // The honest host goes on as if nothing were there.
    let source = honest.vault.folder("source");
    let again = honest.vault.backup(&[&source]);
    assert!(honest.is_listed(&again));
}

/// A seal, manifest, tomb or record that the store does not give back hinders no reader of other snapshots; and no writer
/// goes on without it.
#[test]
fn what_cannot_be_read_costs_its_own_snapshot() {
    let honest = Honest::new("unreadable-seal");
    let source = honest.vault.folder("source");
    let second = honest.vault.backup(&[&source]);
    honest.vault.add_host("other", &[Role::Write]);
    forge::put_forget(&honest.vault, &honest.vault.host, &[SnapshotId([9; 32])]);
    let opened = honest.vault.open();
    let snapshots = opened.snapshots().unwrap();
    let victim = snapshots.find(&second.to_string()).unwrap();
    let id = (victim.writer, victim.name);
    let (catalog, of_victim) =
        (&opened.catalog, [&opened.catalog.seals[&id], &opened.catalog.manifests[&id]]);
    let others = catalog.tombs.values().chain(catalog.tomb_sigs.values());
    let others: Vec<_> = others.chain(catalog.signers.values().next_back()).collect();
    assert_eq!(others.len(), 3);
    for stored in of_victim.into_iter().chain(others) {
        for kind in [ErrorKind::Other, ErrorKind::Denied, ErrorKind::NotFound].map(ReadFaultKind::Fail) {
            let faulty = FaultyStore::new(honest.vault.store.deep_clone());
            faulty.set_read_fault(&stored.key, Some(ReadFault { kind, once: false }));
            let opened = honest.vault.open_store(Arc::new(faulty), Some(honest.vault.material())).unwrap();
            let snapshots = opened.snapshots().unwrap();
            assert_eq!(snapshots.find(&second.to_string()).is_err(), of_victim.contains(&stored));
            assert_eq!(snapshots.problems.len(), 1, "{}: {:?}", stored.key, snapshots.problems);
            let restored = opened.restore(&honest.id).unwrap();
            assert_eq!(restored.compare(&honest.content), Ok(honest.content.len()), "{:?}", restored.report);
            assert!(Snapshots::load(&opened.repo, &opened.catalog).is_err(), "{}", stored.key);
            assert!(opened.backup(&[&source]).is_err(), "{}", stored.key);
        }
    }
}

#[test]
fn lists_are_read_once_a_run() {
    let honest = Honest::new("lists");
    honest.vault.backup(&[&honest.vault.folder("source")]);
    let faulty = Arc::new(FaultyStore::new(honest.vault.store.clone()));
    let opened = honest.vault.open_store(faulty.clone(), Some(honest.vault.material())).unwrap();
    let closures = || -> Vec<_> {
        let sealed = opened.snapshots().unwrap().sealed;
        let closure = |sealed: &Sealed| opened.repo.closure(&opened.catalog, &sealed.manifest).unwrap();
        sealed.iter().map(closure).collect()
    };
    let before = closures();
    assert!(before.len() == 2 && before.iter().all(|packs| !packs.is_empty()));
    for stored in opened.catalog.lists.values() {
        let kind = ReadFaultKind::Fail(ErrorKind::Other);
        faulty.set_read_fault(&stored.key, Some(ReadFault { kind, once: false }));
    }
    assert_eq!(closures(), before);
}

#[test]
fn a_withheld_snapshot_is_missed_by_its_successor() {
    let honest = Honest::new("withheld");
    let source = honest.vault.folder("source");
    let second = honest.vault.backup(&[&source]);
    honest.vault.backup(&[&source]);
    let opened = honest.vault.open();
    let snapshots = opened.snapshots().unwrap();
    let withheld = snapshots.find(&second.to_string()).unwrap();
    let id = (withheld.writer, withheld.name);
    honest.vault.store.remove_raw(opened.catalog.seals[&id].key.as_str());
    // The manifest alone: it is named as having no seal.
    let report = honest.check(Level::Seals);
    assert!(report.notes.iter().any(|note| note.contains("no seal")), "{report:#?}");
    honest.vault.store.remove_raw(opened.catalog.manifests[&id].key.as_str());
    let report = honest.check(Level::Seals);
    let hash = withheld.name.hash.to_string();
    assert!(report.is_clean());
    assert!(report.notes.iter().any(|note| note.contains("withheld") && note.contains(&hash)), "{report:#?}");
    honest.restores();
}

#[test]
fn an_older_state_is_betrayed_by_another_host_and_never_numbered_again() {
    let honest = Honest::new("turned-back");
    let source = honest.vault.folder("source");
    let old = honest.vault.store.deep_clone();
    honest.vault.backup(&[&source]);
    let other = honest.vault.add_host("other", &[Role::Write]);
    let seen = honest.vault.backup_as(&other, &[&source]);
    // The store shows the first host's old state; the other host's snapshot has seen the newer one.
    let turned_back = honest.vault.store.deep_clone();
    let me = honest.vault.host.signing.public().writer().to_string();
    for name in turned_back.names().iter().filter(|name| name.contains(&me) && old.get_raw(name).is_none()) {
        turned_back.remove_raw(name);
    }
    let opened = honest.vault.open_in(&turned_back, Some(honest.vault.material())).unwrap();
    assert!(opened.snapshots().unwrap().find(&seen.to_string()).is_ok());
    let report = opened.check(Level::Seals).unwrap();
    assert!(report.notes.iter().any(|note| note.contains(&me) && note.contains("withheld")), "{report:#?}");
    // Without such a witness the host's own memory keeps it from using a number twice.
    let opened = honest.vault.open_in(&old, Some(honest.vault.material())).unwrap();
    let store = old.deep_clone();
    let numbers = |store: &fardel_store::MemoryStore| -> BTreeMap<String, u32> {
        let names = store.names().into_iter().filter_map(|name| Name::parse(&name));
        names
            .filter_map(|name| if let Name::Seal(_, n) = name { Some((n.to_string(), n.seq)) } else { None })
            .collect()
    };
    opened.backup(&[&source]).unwrap();
    let first: Vec<_> = numbers(&old).into_values().collect();
    // The same cache, and the store as it was before.
    let again = honest.vault.open_with_cache(&store, opened.cache()).unwrap();
    again.backup(&[&source]).unwrap();
    let second: Vec<_> = numbers(&store).into_values().collect();
    assert_eq!((first.len(), second.len()), (2, 2));
    assert!(second.iter().max() > first.iter().max(), "{first:?} {second:?}");
}

#[test]
fn a_fork_is_told_and_both_sides_count() {
    let honest = Honest::new("fork");
    let (one, two) = (empty(&honest.vault), empty(&honest.vault));
    let host = &honest.vault.host;
    let one = Snapshot { seq: Some(7), ..one }.put(&honest.vault, host);
    let two = Snapshot { seq: Some(7), ..two }.put(&honest.vault, host);
    assert!(honest.is_listed(&one.id) && honest.is_listed(&two.id));
    let report = honest.check(Level::Seals);
    assert!(report.is_clean() && report.notes.iter().any(|note| note.contains("fork")), "{report:#?}");
}

#[test]
fn a_registry_of_another_root_key_counts_for_nothing() {
    let honest = Honest::new("other-root");
    let intruder = stranger(&honest.vault);
    let signer = Signer {
        public_key: intruder.signing.public().clone(),
        name: "intruder".into(),
        roles: vec![Role::Write, Role::Maintain],
    };
    let other_root = SigningKey::generate().unwrap();
    let [_, signature] = forge::put_record(&honest.vault, &other_root, 2, vec![signer]);
    let forged = empty(&honest.vault).put(&honest.vault, &intruder);
    assert!(!honest.is_listed(&forged.id));
    assert_eq!(honest.finding(Level::List, &signature).class, Class::Forged);
    honest.restores();
}

#[test]
fn another_card_is_another_repository() {
    let honest = Honest::new("other-card");
    let other = Vault::new("its-card");
    let store = honest.vault.store.deep_clone();
    store.insert_raw("fardel.json", other.store.get_raw("fardel.json").unwrap());
    assert!(honest.vault.open_in(&store, Some(honest.vault.material())).is_err());
    assert!(honest.vault.open_in(&store, Some(honest.vault.recovery())).is_err());
    assert!(honest.vault.open_in(&store, None).is_err());
}

#[test]
fn a_manifest_that_names_too_little_is_told() {
    // An insider's snapshot rests on a pack that its manifest does not name: a collection would delete it.
    let honest = Honest::new("too-little");
    let opened = honest.vault.open();
    let sealed = opened.snapshots().unwrap().sealed[0].clone();
    let root = opened.repo.root(&opened.catalog, &sealed).unwrap();
    let closure = opened.repo.closure(&opened.catalog, &sealed.manifest).unwrap();
    assert!(closure.len() >= 2);
    for left_out in 0..closure.len() {
        let mut packs = closure.clone();
        packs.remove(left_out);
        let mut snapshot = Snapshot::new(&honest.vault, Vec::new(), packs);
        snapshot.root.sources = root.sources.clone();
        let put = snapshot.put(&honest.vault, &honest.vault.host);
        let finding = honest.finding(Level::Data, &put.manifest);
        assert_forged(&finding, false);
        assert!(finding.why.contains("does not name"), "{finding:#?}");
        assert_eq!(finding.costs.snapshots, [put.id]);
    }
    honest.restores();
}

#[test]
fn a_list_with_a_false_size_or_bitmap_is_told() {
    let honest = Honest::new("false-size");
    let opened = honest.vault.open();
    let sealed = opened.snapshots().unwrap().sealed[0].clone();
    let mut packs = opened.repo.closure(&opened.catalog, &sealed.manifest).unwrap();
    packs[0].size += 1;
    let host = &honest.vault.host;
    let put = Snapshot::new(&honest.vault, Vec::new(), packs.clone()).put(&honest.vault, host);
    let pack = Name::Pack(packs[0].hash, None).key(FanOut::FLAT);
    let finding = honest.finding(Level::List, &pack);
    assert_eq!(finding.costs.snapshots, [put.id], "only the one that lies: {finding:#?}");
    let mut snapshot = Snapshot::new(&honest.vault, Vec::new(), packs);
    snapshot.change = |manifest| manifest.lists[0].packs = "/////w==".into();
    let put = snapshot.put(&honest.vault, host);
    assert_forged(&honest.finding(Level::List, &put.manifest), false);
    honest.restores();
}

#[test]
fn a_false_size_hides_no_damage() {
    // An insider's list tells another size of a pack that is corrupt: it is read nevertheless, and costs the honest snapshot.
    let honest = Honest::new("false-size-damage");
    let opened = honest.vault.open();
    let sealed = opened.snapshots().unwrap().sealed[0].clone();
    for pack in opened.packs(PackKind::Data) {
        let mut packs = opened.repo.closure(&opened.catalog, &sealed.manifest).unwrap();
        packs.iter_mut().for_each(|entry| entry.size += 1);
        let host = &honest.vault.host;
        let liar = Snapshot::new(&honest.vault, Vec::new(), packs).put(&honest.vault, host);
        let whole = honest.vault.store.get_raw(&pack).unwrap();
        let mut bytes = whole.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        honest.vault.store.insert_raw(&pack, bytes);
        for level in [Level::Hashes, Level::Data] {
            let finding = honest.finding(level, &pack);
            assert_eq!(finding.class, Class::Corrupt, "{finding:#?}");
            assert!(finding.costs.snapshots.contains(&honest.id), "{level:?}: {finding:#?}");
            assert!(finding.costs.paths.iter().any(|cost| cost.bytes > 0), "{level:?}: {finding:#?}");
        }
        honest.vault.store.insert_raw(&pack, whole);
        let finding = honest.finding(Level::Data, &pack);
        assert_eq!(finding.costs.snapshots, [liar.id], "{finding:#?}");
    }
    honest.restores();
}
