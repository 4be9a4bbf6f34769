use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use fardel_format::pack::PackKind;

use super::*;
use crate::index::ChunkIndex;
use crate::monitor::Silent;
use crate::packs::{ChunkReader, PackReader};
use crate::testing::{self, Fixture, fixture, noise};

fn options(level: Level) -> CheckOptions {
    CheckOptions { level, ..CheckOptions::default() }
}

fn run(fixture: &Fixture, options: &CheckOptions) -> CheckReport {
    let (repo, catalog) = fixture.open();
    check(&repo, &catalog, options, &Silent::default()).unwrap()
}

fn run_at(fixture: &Fixture, level: Level) -> CheckReport {
    run(fixture, &options(level))
}

const LEVELS: [Level; 4] = [Level::List, Level::Seals, Level::Hashes, Level::Data];

/// Two snapshots of a folder with a few files, one of which changes, and of an image.
fn two_snapshots() -> (Fixture, Vec<fardel_format::SnapshotId>) {
    let fixture = fixture();
    fixture.write("a/small", b"small");
    fixture.write("a/large", noise(1, 5 << 20));
    fixture.write("b/other", noise(2, 300_000));
    let image = fixture.temp().join("disk.img");
    let mut bytes = noise(3, 40 << 16);
    bytes.resize(600 << 16, 0);
    bytes.extend_from_slice(&noise(4, 100_000));
    std::fs::write(&image, bytes).unwrap();
    let first = fixture.backup(&[&fixture.source(), &image]);
    fixture.write("b/other", noise(5, 300_000));
    let second = fixture.backup(&[&fixture.source(), &image]);
    (fixture, vec![first, second])
}

fn names(fixture: &Fixture, prefix: &str) -> Vec<String> {
    fixture.store.names().into_iter().filter(|name| name.starts_with(prefix)).collect()
}

/// The packs of a kind, largest first.
fn packs(fixture: &Fixture, kind: PackKind) -> Vec<String> {
    let (repo, catalog) = fixture.open();
    let reader = PackReader::new(&repo, &catalog);
    let mut packs: Vec<_> = catalog
        .packs
        .iter()
        .map(|(hash, copies)| (copies[0].stored.clone(), reader.toc(hash, copies[0].stored.size).unwrap()))
        .filter(|(_, toc)| toc.kind == kind)
        .map(|(stored, _)| (std::cmp::Reverse(stored.size), stored.key.to_string()))
        .collect();
    packs.sort();
    packs.into_iter().map(|(_, key)| key).collect()
}

fn flip(fixture: &Fixture, name: &str, at: usize) {
    let mut bytes = fixture.store.get_raw(name).unwrap().to_vec();
    bytes[at] ^= 1;
    fixture.store.insert_raw(name, bytes);
}

#[test]
fn a_sound_repository_is_clean_at_every_level() {
    let (fixture, _) = two_snapshots();
    for level in LEVELS {
        let report = run_at(&fixture, level);
        assert!(report.is_clean(), "{level:?}: {report:#?}");
        assert!(report.notes.is_empty(), "{level:?}: {:?}", report.notes);
        assert!(report.snapshots_checked >= 2);
        assert_eq!(report.objects_checked, fixture.store.names().len() as u64);
        let read = fixture.store.total_bytes() - report.bytes_checked;
        assert_eq!(report.bytes_checked > 0, level >= Level::Hashes);
        // Signatures and the card have no hash in their names.
        assert!(level < Level::Hashes || read < 10_000, "{read} bytes were not read");
    }
    assert_eq!(
        std::fs::read_dir(fixture.temp().join("cache").join(fixture.id.to_string()).join("scratch"))
            .map_or(0, Iterator::count),
        0
    );
}

#[test]
fn without_a_key_everything_but_the_content_is_checked() {
    let (fixture, _) = two_snapshots();
    let (repo, catalog) = fixture.open_with(None).unwrap();
    for level in &LEVELS[..3] {
        assert!(check(&repo, &catalog, &options(*level), &Silent::default()).unwrap().is_clean());
    }
    let refused = testing::failure(check(&repo, &catalog, &options(Level::Data), &Silent::default()));
    assert!(refused.contains("key"), "{refused}");
}

#[test]
fn a_flipped_bit_in_a_pack_costs_one_frame() {
    let (fixture, ids) = two_snapshots();
    let pack = packs(&fixture, PackKind::Data)[0].clone();
    flip(&fixture, &pack, 2_000_000);
    assert!(run_at(&fixture, Level::Seals).is_clean());
    for level in [Level::Hashes, Level::Data] {
        let report = run_at(&fixture, level);
        assert_eq!(report.errors.len(), 1, "{report:#?}");
        let finding = &report.errors[0];
        assert_eq!((&finding.object, finding.class, finding.harmless), (&pack, Class::Corrupt, false));
        assert_eq!(finding.costs.snapshots.len(), 4, "two snapshots, each with a checkpoint: {finding:#?}");
        assert!(ids.iter().all(|id| finding.costs.snapshots.contains(id)));
        let paths = &finding.costs.paths;
        assert!(
            !paths.is_empty() && paths.iter().all(|cost| !cost.folder && !cost.ranges.is_empty()),
            "{paths:#?}"
        );
        let lost: u64 = paths.iter().map(|cost| cost.bytes).sum();
        assert!((1..=4 << 20).contains(&lost), "about a frame, not the pack: {lost}");
    }
}

#[test]
fn what_is_missing_is_found_by_its_name_alone() {
    let (fixture, ids) = two_snapshots();
    for kind in [PackKind::Data, PackKind::Meta] {
        for pack in packs(&fixture, kind) {
            let bytes = fixture.store.remove_raw(&pack).unwrap();
            for level in LEVELS {
                let report = run_at(&fixture, level);
                let finding = report.errors.iter().find(|finding| finding.object == pack).unwrap();
                assert_eq!(finding.class, Class::Missing);
                assert!(!finding.costs.snapshots.is_empty());
                assert!(finding.costs.paths.iter().all(|cost| !cost.path.is_empty()));
                assert_eq!(report.errors.len(), 1, "{level:?}: {report:#?}");
                assert!(!report.is_whole());
            }
            let mut copy = CheckOptions { copy: true, ..options(Level::List) };
            assert_eq!(run(&fixture, &copy).errors[0].class, Class::NotYetArrived);
            // A part of it under its final name is still on its way, too.
            fixture.store.insert_raw(&pack, bytes.slice(..bytes.len() / 2));
            for level in LEVELS {
                let report = run(&fixture, &CheckOptions { copy: true, ..options(level) });
                assert_eq!(report.errors[0].class, Class::NotYetArrived, "{level:?}: {report:#?}");
            }
            // But not once a snapshot was whole here.
            fixture.store.remove_raw(&pack);
            copy.arrived.extend(&ids);
            assert_eq!(run(&fixture, &copy).errors[0].class, Class::Missing);
            fixture.store.insert_raw(&pack, bytes);
        }
    }
    assert_eq!(ids.len(), 2);
}

#[test]
fn in_a_copy_what_no_snapshot_needs_yet_may_be_a_part() {
    let (fixture, _) = two_snapshots();
    let pack = packs(&fixture, PackKind::Data)[0].clone();
    let bytes = fixture.store.get_raw(&pack).unwrap();
    for prefix in ["seals/", "manifests/", "lists/", "roots/"] {
        fixture.lose(prefix);
    }
    fixture.store.insert_raw(&pack, bytes.slice(..100_000));
    let report = run(&fixture, &CheckOptions { copy: true, ..options(Level::Hashes) });
    assert_eq!((&report.errors[0].object, report.errors[0].class), (&pack, Class::NotYetArrived));
    assert!(report.is_whole());
    assert_eq!(run_at(&fixture, Level::Hashes).errors[0].class, Class::Corrupt);
}

#[test]
fn impact_tells_the_same_before_and_after() {
    let (fixture, _) = two_snapshots();
    let (repo, catalog) = fixture.open();
    for kind in [PackKind::Data, PackKind::Meta] {
        for pack in packs(&fixture, kind) {
            let before = impact(&repo, &catalog, &pack, &Silent::default()).unwrap();
            let hash = pack.trim_start_matches("packs/")[..12].to_owned();
            assert_eq!(impact(&repo, &catalog, &hash, &Silent::default()).unwrap(), before);
            let bytes = fixture.store.remove_raw(&pack).unwrap();
            let report = run_at(&fixture, Level::Seals);
            assert_eq!(report.errors[0].costs, before.costs, "{pack}");
            let (repo, catalog) = fixture.open();
            let after = impact(&repo, &catalog, &hash, &Silent::default()).unwrap();
            assert_eq!(after.costs, before.costs, "{pack}");
            fixture.store.insert_raw(&pack, bytes);
        }
    }
    let missing = testing::failure(impact(&repo, &catalog, "0000000000000000", &Silent::default()));
    assert!(missing.contains("no object"), "{missing}");
    assert!(testing::failure(impact(&repo, &catalog, "", &Silent::default())).contains("no object"));
}

#[test]
fn impact_of_every_kind_of_object() {
    let (fixture, _) = two_snapshots();
    let (repo, catalog) = fixture.open();
    let mut meanings = BTreeSet::new();
    for name in fixture.store.names() {
        let impact = impact(&repo, &catalog, &name, &Silent::default()).unwrap();
        assert_eq!(impact.object, name);
        assert!(!impact.meaning.is_empty());
        let harmless = name.starts_with("index/") || name.starts_with("keys/");
        assert_eq!(impact.costs.snapshots.is_empty(), harmless, "{name}: {impact:#?}");
        meanings.insert(impact.meaning);
    }
    assert!(meanings.len() >= 8, "{meanings:#?}");
}

#[test]
fn a_missing_pack_costs_ranges_even_without_any_index() {
    let (fixture, _) = two_snapshots();
    let pack = packs(&fixture, PackKind::Data)[0].clone();
    fixture.lose("index/");
    fixture.lose(&pack);
    std::fs::remove_dir_all(fixture.temp().join("cache")).unwrap();
    for level in [Level::List, Level::Data] {
        let report = run_at(&fixture, level);
        assert_eq!(report.errors.len(), 1);
        let costs = &report.errors[0].costs;
        assert!(
            costs.paths.iter().any(|cost| cost.path.ends_with("a/large") && cost.bytes == 5 << 20),
            "{report:#?}"
        );
    }
}

#[test]
fn a_sample_reads_a_part_and_says_so() {
    let (fixture, _) = two_snapshots();
    for level in [Level::Hashes, Level::Data] {
        for (sample, all) in [
            (Sample::Percent(1.0), false),
            (Sample::Percent(100.0), true),
            (Sample::Bytes(1), false),
            (Sample::Bytes(u64::MAX), true),
        ] {
            let report = run(&fixture, &CheckOptions { sample: Some(sample), ..options(level) });
            assert!(report.is_clean(), "{report:#?}");
            let sampled = report.sampled.unwrap();
            assert_eq!(sampled.packs == sampled.of_packs, all, "{sampled:?}");
            assert!(sampled.packs >= 1 && sampled.bytes <= sampled.of_bytes);
        }
    }
}

#[test]
fn little_memory_is_enough_and_a_stop_is_heard() {
    let (fixture, _) = two_snapshots();
    assert!(run(&fixture, &CheckOptions { memory: 0, ..options(Level::Data) }).is_clean());
    let (repo, catalog) = fixture.open();
    let monitor = Silent::default();
    monitor.stop.store(true, Relaxed);
    let stopped = check(&repo, &catalog, &options(Level::Data), &monitor);
    assert!(matches!(stopped, Err(crate::Error::Interrupted)));
}

#[test]
fn progress_ends_at_its_total() {
    let (fixture, _) = two_snapshots();
    let (repo, catalog) = fixture.open();
    for level in [Level::Hashes, Level::Data] {
        let monitor = Silent::default();
        check(&repo, &catalog, &options(level), &monitor).unwrap();
        let progress = monitor.counters().get();
        assert_eq!(progress.files_done, progress.files_total);
        assert!(progress.bytes_done.abs_diff(progress.bytes_total) < 64 << 10, "{progress:?}");
    }
}

#[test]
fn the_true_index_finds_metadata_that_segments_hide() {
    let (fixture, _) = two_snapshots();
    fixture.lose("index/");
    let (repo, catalog) = fixture.open();
    let reader = PackReader::new(&repo, &catalog);
    let index = ChunkIndex::for_reading(&repo, &catalog, &reader).unwrap();
    assert!(ChunkReader::new(&repo, &reader, &index).is_ok());
    assert!(run_at(&fixture, Level::Data).is_clean());
    assert!(names(&fixture, "index/").is_empty());
}
