//! Every object of a repository, damaged in every way: found at the level that can find it, named with its class, and
//! nothing else is lost.
//!
//! Rows are the objects of a furnished vault, columns the kinds of damage. For each cell:
//! 1. the check finds it at the lowest level that reads what is wrong, and at every level above;
//! 2. every snapshot that does not need the object restores byte for byte;
//! 3. one that does restores all but what the damage costs: a file under its name is whole, any other is told.

mod damage_matrix {
    mod copies;
}

use std::collections::{BTreeMap, BTreeSet};

use fardel_engine::check::{CheckReport, Class, Level};
use fardel_format::names::{CARD, Name};
use fardel_format::pack::PackKind;
use fardel_store::MemoryStore;
use fardel_tests::vault::Furnished;

const LEVELS: [Level; 4] = [Level::List, Level::Seals, Level::Hashes, Level::Data];

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Card,
    Keys,
    Signers,
    SignersSig,
    DataPack,
    MetaPack,
    Index,
    List,
    Root,
    Manifest,
    Seal,
    Tomb,
    TombSig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    Missing,
    /// To so many of a thousand of its bytes.
    Truncated(usize),
    /// One bit, at so many of a thousand.
    Flipped(usize),
    /// The bytes of another object of its kind.
    Swapped,
    Zeroed,
    /// The bytes of an object of its kind, of another repository.
    Foreign,
}

const DAMAGES: [Damage; 13] = [
    Damage::Missing,
    Damage::Truncated(0),
    Damage::Truncated(500),
    Damage::Truncated(999),
    Damage::Flipped(0),
    Damage::Flipped(4),
    Damage::Flipped(250),
    Damage::Flipped(500),
    Damage::Flipped(900),
    Damage::Flipped(1000),
    Damage::Swapped,
    Damage::Zeroed,
    Damage::Foreign,
];

struct Matrix {
    ours: Furnished,
    foreign: BTreeMap<Kind, Vec<String>>,
    foreign_store: MemoryStore,
    rows: Vec<(Kind, String)>,
}

/// Objects that a snapshot needs, or all.
fn rows(furnished: &Furnished) -> Vec<(Kind, String)> {
    let vault = &furnished.vault;
    let opened = vault.open();
    let meta: BTreeSet<_> = opened.packs(PackKind::Meta).into_iter().collect();
    let rows = vault.store.names().into_iter().map(|name| (kind_of(&name, meta.contains(&name)), name));
    rows.collect()
}

fn kind_of(name: &str, is_meta: bool) -> Kind {
    match Name::parse(name).unwrap() {
        Name::Card => Kind::Card,
        Name::Keys(_) => Kind::Keys,
        Name::Signers(_) => Kind::Signers,
        Name::SignersSig(_) => Kind::SignersSig,
        Name::Pack(..) if is_meta => Kind::MetaPack,
        Name::Pack(..) => Kind::DataPack,
        Name::Index(_) => Kind::Index,
        Name::List(_) => Kind::List,
        Name::Root(_) => Kind::Root,
        Name::Manifest(..) => Kind::Manifest,
        Name::Seal(..) => Kind::Seal,
        Name::Tomb(..) => Kind::Tomb,
        Name::TombSig(..) => Kind::TombSig,
        other => panic!("no row for {other:?}"),
    }
}

impl Matrix {
    fn new() -> Self {
        let (ours, other) = (Furnished::new("ours"), Furnished::new("other"));
        let mut foreign: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
        for (kind, name) in rows(&other) {
            foreign.entry(kind).or_default().push(name);
        }
        let mut rows = rows(&ours);
        rows.retain(|(_, name)| !ours.unneeded.contains(name));
        Self { ours, foreign, foreign_store: other.vault.store.clone(), rows }
    }

    /// A damaged copy of the store; `None` where the damage changes nothing or there is no other object.
    fn damage(&self, kind: Kind, name: &str, damage: Damage) -> Option<MemoryStore> {
        let store = self.ours.vault.store.deep_clone();
        let bytes = store.get_raw(name).unwrap();
        let at = |thousandth: usize| (bytes.len() * thousandth / 1000).min(bytes.len() - 1);
        let damaged = match damage {
            Damage::Missing => {
                store.remove_raw(name);
                return Some(store);
            }
            Damage::Truncated(thousandth) => bytes[..at(thousandth)].to_vec(),
            Damage::Flipped(thousandth) => {
                let mut bytes = bytes.to_vec();
                bytes[at(thousandth)] ^= 1;
                bytes
            }
            Damage::Zeroed => vec![0; bytes.len()],
            Damage::Swapped => {
                let is_other = |(other_kind, other): &&(Kind, String)| *other_kind == kind && other != name;
                let (_, other) = self.rows.iter().find(is_other)?;
                store.get_raw(other).unwrap().to_vec()
            }
            Damage::Foreign => {
                let name = self.foreign.get(&kind)?.first()?;
                self.foreign_store.get_raw(name).unwrap().to_vec()
            }
        };
        assert_ne!(damaged, bytes, "{name} {damage:?}");
        store.insert_raw(name, damaged);
        Some(store)
    }
}

/// From which level on the damage must be found; `None` when it is only noted, from [`Level::Seals`] on.
fn found_from(kind: Kind, damage: Damage, same_size: bool) -> Option<Level> {
    match (kind, damage) {
        // Nothing tells how many key files or hints there should be, and a manifest without a seal is no snapshot.
        (Kind::Keys | Kind::Index | Kind::Seal | Kind::TombSig, Damage::Missing) => None,
        (Kind::Keys | Kind::Index, _) => Some(Level::Hashes),
        (Kind::DataPack | Kind::MetaPack | Kind::Root, _) if same_size => Some(Level::Hashes),
        (Kind::Tomb | Kind::TombSig, _) => Some(Level::Seals),
        _ => Some(Level::List),
    }
}

/// The classes that fit.
fn classes(kind: Kind, damage: Damage, smaller: bool, same_size: bool) -> &'static [Class] {
    let signature = matches!(kind, Kind::SignersSig | Kind::Seal | Kind::TombSig);
    // Their sizes are told by a signed object.
    let sized = matches!(kind, Kind::DataPack | Kind::MetaPack | Kind::Root | Kind::List);
    match damage {
        Damage::Missing => &[Class::Missing],
        Damage::Truncated(_) if matches!(kind, Kind::Keys | Kind::Index) => &[Class::Corrupt],
        Damage::Truncated(_) => &[Class::Truncated],
        _ if signature => &[Class::Forged, Class::Corrupt],
        _ if sized && smaller && !same_size => &[Class::Truncated],
        _ => &[Class::Corrupt],
    }
}

/// How many cells there were, and what became of them.
#[derive(Default)]
struct Counts {
    cells: u64,
    checks: u64,
    restores: u64,
    whole: u64,
    told: u64,
    by_kind: BTreeMap<Kind, u64>,
}

#[test]
fn every_object_and_every_damage() {
    let matrix = Matrix::new();
    let mut counts = Counts::default();
    let kinds: BTreeSet<_> = matrix.rows.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds.len(), 13, "{kinds:?}");
    sound(&matrix, &mut counts);
    for (kind, name) in &matrix.rows {
        for damage in DAMAGES {
            let Some(store) = matrix.damage(*kind, name, damage) else { continue };
            let cell = format!("{name} {damage:?}");
            counts.cells += 1;
            *counts.by_kind.entry(*kind).or_default() += 1;
            if *kind == Kind::Card {
                let opened = matrix.ours.vault.open_in(&store, Some(matrix.ours.vault.material()));
                let error = opened.err().unwrap_or_else(|| panic!("{cell}: it opened")).to_string();
                assert!(!error.is_empty());
                continue;
            }
            let costly = check(&matrix, *kind, name, damage, &store, &cell, &mut counts);
            restore(&matrix, *kind, &store, &costly, &cell, &mut counts);
        }
    }
    println!(
        "damage matrix: {} objects, {} cells {:?}, {} checks, {} restores; {} files whole, {} told as damaged",
        matrix.rows.len(),
        counts.cells,
        counts.by_kind,
        counts.checks,
        counts.restores,
        counts.whole,
        counts.told
    );
}

/// Without damage nothing is found, and everything restores.
fn sound(matrix: &Matrix, counts: &mut Counts) {
    let vault = &matrix.ours.vault;
    let opened = vault.open();
    for level in LEVELS {
        let report = opened.check(level).unwrap();
        assert!(report.is_clean() && report.notes.is_empty(), "{level:?}: {report:#?}");
    }
    assert!(opened.restore(&matrix.ours.forgotten).is_err());
    restore(matrix, Kind::Index, &vault.store, &BTreeSet::new(), "undamaged", counts);
}

/// Returns the snapshots that the damage costs something, as the deepest check says.
fn check(
    matrix: &Matrix,
    kind: Kind,
    name: &str,
    damage: Damage,
    store: &MemoryStore,
    cell: &str,
    counts: &mut Counts,
) -> BTreeSet<String> {
    let vault = &matrix.ours.vault;
    let before = vault.store.get_raw(name).unwrap().len();
    let after = store.get_raw(name).map_or(0, |bytes| bytes.len());
    let opened = vault.open_in(store, Some(vault.material())).unwrap();
    let from = found_from(kind, damage, before == after);
    let mut costly = BTreeSet::new();
    for level in LEVELS {
        counts.checks += 1;
        let report = opened.check(level).unwrap_or_else(|e| panic!("{cell} {level:?}: {e}"));
        let Some(from) = from else {
            let noted =
                report.notes.iter().any(|note| note.contains("no seal") || note.contains("no signature"));
            let is_silent = matches!(kind, Kind::Keys | Kind::Index);
            assert!(is_silent || noted || level < Level::Seals, "{cell} {level:?}: {report:#?}");
            continue;
        };
        if level < from {
            assert!(report.is_clean(), "{cell} is found at {level:?} already: {report:#?}");
            continue;
        }
        let finding = report.errors.iter().find(|finding| finding.object == name);
        let finding = finding.unwrap_or_else(|| panic!("{cell} is not found at {level:?}: {report:#?}"));
        let fitting = classes(kind, damage, after < before, after == before);
        assert!(fitting.contains(&finding.class), "{cell} {level:?}: {finding:#?}");
        harm(kind, &report, name, cell);
        costly =
            report.errors.iter().flat_map(|f| f.costs.snapshots.iter().map(ToString::to_string)).collect();
    }
    costly
}

/// Whether what is lost is told, and nothing else.
fn harm(kind: Kind, report: &CheckReport, name: &str, cell: &str) {
    let finding = report.errors.iter().find(|finding| finding.object == name).unwrap();
    match kind {
        Kind::Index => assert!(finding.harmless && report.is_whole(), "{cell}: {report:#?}"),
        Kind::DataPack | Kind::MetaPack if finding.harmless => {}
        Kind::DataPack | Kind::MetaPack => {
            assert!(report.errors.len() == 1, "{cell}: one pack is damaged: {report:#?}");
            let paths = &finding.costs.paths;
            assert_eq!(paths.is_empty(), finding.costs.snapshots.is_empty(), "{cell}: {finding:#?}");
            assert!(paths.iter().all(|cost| cost.folder != (cost.bytes > 0)), "{cell}: {finding:#?}");
        }
        _ => {}
    }
}

fn restore(
    matrix: &Matrix,
    kind: Kind,
    store: &MemoryStore,
    costly: &BTreeSet<String>,
    cell: &str,
    counts: &mut Counts,
) {
    let vault = &matrix.ours.vault;
    let opened = vault.open_in(store, Some(vault.material())).unwrap();
    for (id, content) in &matrix.ours.snapshots {
        counts.restores += 1;
        let restored = match opened.restore(id) {
            Ok(restored) => restored,
            Err(error) => {
                // Without root, manifest, seal or signer there is no snapshot: the check said so, or noted it.
                let whole = matches!(
                    kind,
                    Kind::Root | Kind::Manifest | Kind::Seal | Kind::Signers | Kind::SignersSig
                );
                assert!(whole, "{cell}: snapshot {id}: {error}");
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let whole = restored.compare(content).unwrap_or_else(|e| panic!("{cell}: snapshot {id}: {e}"));
        counts.whole += whole as u64;
        counts.told += (content.len() - whole) as u64;
        if whole < content.len() {
            assert!(matches!(kind, Kind::DataPack | Kind::MetaPack), "{cell}: {:?}", restored.report);
            assert!(costly.contains(&id.to_string()), "{cell}: the check did not name snapshot {id}");
        } else {
            assert!(
                !costly.contains(&id.to_string()) || !matches!(kind, Kind::DataPack | Kind::MetaPack),
                "{cell}: the check said that snapshot {id} is not whole, and it is"
            );
        }
    }
}

#[test]
fn what_no_snapshot_needs_costs_nothing() {
    let matrix = Matrix::new();
    let mut counts = Counts::default();
    for (kind, name) in rows(&matrix.ours).into_iter().filter(|(_, name)| matrix.ours.unneeded.contains(name))
    {
        for damage in DAMAGES {
            let Some(store) = matrix.damage(kind, &name, damage) else { continue };
            let cell = format!("{name} {damage:?}");
            let opened = matrix.ours.vault.open_in(&store, Some(matrix.ours.vault.material())).unwrap();
            let report = opened.check(Level::Data).unwrap();
            let is_told = report.errors.iter().any(|finding| finding.object == name);
            assert!(is_told || damage == Damage::Missing, "{cell}: {report:#?}");
            // Of a forgotten snapshot whose manifest is gone nobody can tell that it was forgotten.
            assert!(report.is_whole() || kind == Kind::Manifest, "{cell}: {report:#?}");
            restore(&matrix, Kind::Index, &store, &BTreeSet::new(), &cell, &mut counts);
        }
    }
    println!("unneeded objects: {} restores", counts.restores);
}

#[test]
fn two_snapshots_of_one_host_survive_the_loss_of_a_third() {
    let matrix = Matrix::new();
    let vault = &matrix.ours.vault;
    // Whatever one snapshot alone needs is taken away; the others restore.
    for (kind, name) in
        matrix.rows.iter().filter(|(kind, _)| matches!(kind, Kind::Root | Kind::Manifest | Kind::Seal))
    {
        let store = matrix.damage(*kind, name, Damage::Missing).unwrap();
        let opened = vault.open_in(&store, Some(vault.material())).unwrap();
        let lost: Vec<_> =
            matrix.ours.snapshots.iter().filter(|(id, _)| opened.restore(id).is_err()).collect();
        assert!(lost.len() <= 1, "{name} cost {} snapshots", lost.len());
    }
    assert!(vault.store.get_raw(CARD).is_some());
}
