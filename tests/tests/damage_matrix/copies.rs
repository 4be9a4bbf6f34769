//! The same damage with a second copy at hand: what cannot be had from the one that is read comes from the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fardel_engine::copies::Other;
use fardel_engine::keyring::Material;
use fardel_format::ids::Generation;
use fardel_format::names::{FanOut, Name};
use fardel_store::{MemoryStore, Store};

use crate::{DAMAGES, Damage, Kind, Matrix};

/// The same objects as another writer would lay them out: deeper folders, packs in another generation.
fn other_layout(store: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new();
    for name in store.names() {
        let bytes = store.get_raw(&name).unwrap();
        let moved = match Name::parse(&name).unwrap() {
            Name::Pack(hash, None) => {
                Name::Pack(hash, Some(Generation::random())).key(FanOut::for_count(5000))
            }
            name @ (Name::List(_) | Name::Root(_) | Name::Manifest(..)) => {
                name.key(FanOut::for_count(2_000_000))
            }
            _ => name,
        };
        copy.insert_raw(&moved, bytes);
    }
    assert_ne!(copy.names(), store.names());
    copy
}

/// A copy that counts how often it was opened.
fn other(name: &str, store: &MemoryStore, opened: &Arc<AtomicU64>) -> Other {
    let (store, opened) = (store.clone(), opened.clone());
    Other::new(name, move || {
        opened.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(store.clone()) as Arc<dyn Store>)
    })
}

fn material(matrix: &Matrix, kind: Kind) -> Material {
    // Only who has no key file of a host needs those of the repository.
    if kind == Kind::Keys { matrix.ours.vault.recovery() } else { matrix.ours.vault.material() }
}

/// Whether the listing of the place that is read still says that there is such an object.
fn is_known_of(kind: Kind, damage: Damage) -> bool {
    !(matches!(kind, Kind::Seal | Kind::Signers | Kind::SignersSig) && damage == Damage::Missing)
}

#[test]
fn whatever_is_damaged_in_one_copy_comes_from_the_other() {
    let matrix = Matrix::new();
    let vault = &matrix.ours.vault;
    let copy = other_layout(&vault.store);
    let (before, size) = (copy.names(), copy.total_bytes());
    let (mut cells, mut restores, mut from_there) = (0, 0, 0);
    for (kind, name) in matrix.rows.iter().filter(|(kind, _)| *kind != Kind::Card) {
        for damage in DAMAGES.into_iter().filter(|damage| is_known_of(*kind, *damage)) {
            let Some(store) = matrix.damage(*kind, name, damage) else { continue };
            let cell = format!("{name} {damage:?}");
            let asked = Arc::new(AtomicU64::new(0));
            let others = vec![other("second", &copy, &asked)];
            let opened = vault.open_among(&store, material(&matrix, *kind), others);
            let opened = opened.unwrap_or_else(|error| panic!("{cell}: {error}"));
            cells += 1;
            for (id, content) in &matrix.ours.snapshots {
                restores += 1;
                let restored = opened.restore(id).unwrap_or_else(|error| panic!("{cell}: {id}: {error}"));
                let whole = restored.compare(content).unwrap_or_else(|error| panic!("{cell}: {id}: {error}"));
                assert_eq!(whole, content.len(), "{cell}: {id}: {:?}", restored.report);
            }
            let fallbacks = opened.repo.copies().fallbacks();
            assert!(fallbacks.unusable.is_empty(), "{cell}: {fallbacks:?}");
            assert!(asked.load(Ordering::SeqCst) <= 1, "{cell}: a copy is opened once");
            assert_eq!(
                fallbacks.objects.is_empty(),
                asked.load(Ordering::SeqCst) == 0,
                "{cell}: {fallbacks:?}"
            );
            for fallback in &fallbacks.objects {
                assert!(fallback.copy == "second" && !fallback.why.is_empty(), "{cell}: {fallback:?}");
            }
            from_there += usize::from(!fallbacks.objects.is_empty());
        }
    }
    assert_eq!((copy.names(), copy.total_bytes()), (before, size), "nothing is written to the other copy");
    assert!(
        cells > 400 && from_there > 200,
        "{cells} cells, {from_there} with something from the other copy"
    );
    println!(
        "two copies: {cells} cells, {restores} restores, {from_there} cells with something from the other copy"
    );
}

#[test]
fn two_damaged_copies_make_one_whole() {
    let matrix = Matrix::new();
    let vault = &matrix.ours.vault;
    let needed: Vec<_> = matrix
        .rows
        .iter()
        .filter(|(kind, _)| {
            matches!(kind, Kind::DataPack | Kind::MetaPack | Kind::List | Kind::Root | Kind::Index)
        })
        .collect();
    // Every second object is damaged here, every other one there.
    let (here, there) = (vault.store.deep_clone(), vault.store.deep_clone());
    for (number, (_, name)) in needed.iter().enumerate() {
        let (store, bytes) =
            (if number % 2 == 0 { &here } else { &there }, vault.store.get_raw(name).unwrap());
        match number % 3 {
            0 => drop(store.remove_raw(name)),
            1 => store.insert_raw(name, bytes.slice(..bytes.len() / 2)),
            _ => store.insert_raw(name, vec![0; bytes.len()]),
        }
    }
    let (opened_there, opened_none) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let nowhere = MemoryStore::new();
    let others =
        vec![other("empty", &nowhere, &opened_none), other("there", &other_layout(&there), &opened_there)];
    let opened = vault.open_among(&here, vault.material(), others).unwrap();
    for (id, content) in &matrix.ours.snapshots {
        let restored = opened.restore(id).unwrap();
        assert_eq!(restored.compare(content), Ok(content.len()), "{:?}", restored.report);
    }
    let fallbacks = opened.repo.copies().fallbacks();
    assert_eq!(fallbacks.unusable.len(), 1, "{fallbacks:?}");
    assert!(fallbacks.unusable[0].1.contains("no repository"), "{fallbacks:?}");
    assert_eq!((opened_there.load(Ordering::SeqCst), opened_none.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn what_is_damaged_in_both_copies_is_told_and_never_made_up() {
    let matrix = Matrix::new();
    let vault = &matrix.ours.vault;
    let packs = matrix.rows.iter().filter(|(kind, _)| matches!(kind, Kind::DataPack | Kind::MetaPack));
    let mut told = 0;
    for (kind, name) in packs {
        for (one, two) in [(Damage::Missing, Damage::Zeroed), (Damage::Flipped(500), Damage::Truncated(500))]
        {
            let (Some(here), Some(there)) =
                (matrix.damage(*kind, name, one), matrix.damage(*kind, name, two))
            else {
                continue;
            };
            let others = vec![other("there", &there, &Arc::default())];
            let opened = vault.open_among(&here, vault.material(), others).unwrap();
            for (id, content) in &matrix.ours.snapshots {
                let restored = opened.restore(id).unwrap_or_else(|error| panic!("{name}: {id}: {error}"));
                let whole = restored.compare(content).unwrap_or_else(|error| panic!("{name}: {id}: {error}"));
                told += content.len() - whole;
            }
        }
    }
    assert!(told > 0);
}

#[test]
fn another_repository_is_no_copy() {
    let matrix = Matrix::new();
    let vault = &matrix.ours.vault;
    let (_, pack) = matrix.rows.iter().find(|(kind, _)| *kind == Kind::DataPack).unwrap();
    let store = matrix.damage(Kind::DataPack, pack, Damage::Missing).unwrap();
    // It has the object, and another card.
    let stranger = vault.store.deep_clone();
    stranger.insert_raw("fardel.json", matrix.foreign_store.get_raw("fardel.json").unwrap());
    let opened = vault
        .open_among(&store, vault.material(), vec![other("stranger", &stranger, &Arc::default())])
        .unwrap();
    let restored: Vec<_> = matrix
        .ours
        .snapshots
        .iter()
        .map(|(id, content)| opened.restore(id).unwrap().compare(content).unwrap() == content.len())
        .collect();
    assert!(restored.contains(&false), "nothing is taken from it");
    let fallbacks = opened.repo.copies().fallbacks();
    assert!(
        fallbacks.objects.is_empty() && fallbacks.unusable[0].1.contains("it holds repository"),
        "{fallbacks:?}"
    );
}
