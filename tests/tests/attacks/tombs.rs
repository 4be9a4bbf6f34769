//! Forgets, condemnations and revocations by those who may not, and deleted objects that come back.

use fardel_engine::check::{Class, Level};
use fardel_format::names::{Name, PackName};
use fardel_format::pack::PackKind;
use fardel_format::signers::Role;
use fardel_format::tomb::Takes;
use fardel_tests::vault::forge;

use super::{Honest, assert_forged, stranger};

fn condemn_all(honest: &Honest) -> Takes {
    let opened = honest.vault.open();
    let packs = opened.catalog.packs.keys().map(|hash| PackName { hash: *hash, generation: None }).collect();
    Takes::Condemn { packs, others: Vec::new() }
}

fn revoke_all(honest: &Honest) -> Takes {
    let opened = honest.vault.open();
    Takes::Revoke { names: opened.catalog.manifests.keys().map(|(_, name)| name.hash.to_string()).collect() }
}

#[test]
fn who_may_not_take_away_takes_nothing() {
    let honest = Honest::new("fake-tombs");
    let writer = honest.vault.add_host("writer", &[Role::Write]);
    let forgetful = honest.vault.add_host("forgetful", &[Role::Write, Role::ForgetOwn]);
    let unknown = stranger(&honest.vault);
    let forget = || Takes::Forget { snapshots: vec![honest.id], everywhere: true };
    for host in [&writer, &unknown] {
        for takes in [forget(), condemn_all(&honest), revoke_all(&honest)] {
            let key = forge::put_tomb(&honest.vault, host, takes);
            assert_forged(&honest.finding(Level::Seals, &key), true);
        }
    }
    // Who may forget its own may not forget another's, nor condemn.
    forge::put_tomb(&honest.vault, &forgetful, forget());
    let key = forge::put_tomb(&honest.vault, &forgetful, condemn_all(&honest));
    assert_forged(&honest.finding(Level::Seals, &key), true);
    assert!(honest.is_listed(&honest.id));
    assert!(honest.check(Level::Data).is_whole());
    honest.restores();
    // Nothing was condemned: the next backup rests on the same packs.
    let report = honest.vault.open().backup(&[&honest.vault.folder("source")]).unwrap();
    assert_eq!(report.bytes_added, 0);
}

#[test]
fn a_tomb_is_no_use_under_another_name_or_changed() {
    let honest = Honest::new("moved-tomb");
    let innocent = honest.vault.backup(&[&honest.vault.folder("source")]);
    let key = forge::put_forget(&honest.vault, &honest.vault.host, &[innocent]);
    assert!(!honest.is_listed(&innocent));
    // Another snapshot's id in the same tomb: its hash gives it away.
    let bytes = honest.vault.store.get_raw(&key).unwrap();
    let text =
        String::from_utf8(bytes.to_vec()).unwrap().replace(&innocent.to_string(), &honest.id.to_string());
    honest.vault.store.insert_raw(&key, text.clone());
    assert_eq!(honest.finding(Level::Seals, &key).class, Class::Corrupt);
    assert!(honest.is_listed(&honest.id));
    // Under the name that it should have: nobody signed that.
    let Some(Name::Tomb(writer, name)) = Name::parse(&key) else { panic!("{key} is a tomb") };
    let hash = fardel_format::ObjectHash::of(text.as_bytes());
    let moved = fardel_format::names::Numbered { hash, ..name };
    let sig = Name::TombSig(writer, name).key(fardel_format::names::FanOut::FLAT);
    let sig = honest.vault.store.get_raw(&sig).unwrap();
    forge::put(&honest.vault.store, &Name::Tomb(writer, moved), text);
    let sig_key = forge::put(&honest.vault.store, &Name::TombSig(writer, moved), sig.to_vec());
    assert_eq!(honest.finding(Level::Seals, &sig_key).class, Class::Forged);
    assert!(honest.is_listed(&honest.id));
}

#[test]
fn a_forgotten_snapshot_that_comes_back_stays_forgotten() {
    let honest = Honest::new("risen");
    let second = honest.vault.backup(&[&honest.vault.folder("source")]);
    forge::put_forget(&honest.vault, &honest.vault.host, &[second]);
    assert!(!honest.is_listed(&second));
    // A collector deletes seal and manifest; a slow copier, or a malicious store, brings them back.
    let opened = honest.vault.open();
    let newest = *opened.catalog.seals.keys().max_by_key(|(_, name)| name.seq).unwrap();
    let keys = [opened.catalog.seals[&newest].key.clone(), opened.catalog.manifests[&newest].key.clone()];
    let kept: Vec<_> = keys.iter().map(|key| honest.vault.store.remove_raw(key.as_str()).unwrap()).collect();
    assert!(honest.check(Level::Data).is_clean());
    keys.iter().zip(kept).for_each(|(key, bytes)| honest.vault.store.insert_raw(key.as_str(), bytes));
    assert!(!honest.is_listed(&second));
    assert!(honest.check(Level::Data).is_clean());
    honest.restores();
}

#[test]
fn a_condemned_pack_that_comes_back_is_not_rested_on() {
    let honest = Honest::new("condemned");
    let source = honest.vault.folder("source");
    let before: Vec<_> = honest.vault.open().packs(PackKind::Data);
    forge::put_tomb(&honest.vault, &honest.vault.host, condemn_all(&honest));
    // Deleted, and back again.
    for pack in &before {
        let bytes = honest.vault.store.remove_raw(pack).unwrap();
        honest.vault.store.insert_raw(pack, bytes);
    }
    let report = honest.vault.open().backup(&[&source]).unwrap();
    assert!(report.bytes_added > 1_000_000, "{report:?}");
    let opened = honest.vault.open();
    let snapshots = opened.snapshots().unwrap();
    let newest = snapshots.find(&report.snapshot.unwrap().to_string()).unwrap();
    let closure = opened.repo.closure(&opened.catalog, &newest.manifest).unwrap();
    assert!(closure.iter().all(|entry| !before.iter().any(|pack| pack.contains(&entry.hash.to_string()))));
    honest.restores();
}
