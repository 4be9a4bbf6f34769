//! Packs that are swapped, cut, doubled, or hold what they should not.

use std::sync::Arc;

use fardel_engine::check::{CheckOptions, Class, Level, check};
use fardel_engine::monitor::Silent;
use fardel_format::age_file::Header;
use fardel_format::pack::PackKind;
use fardel_format::pack_list::PackEntry;
use fardel_format::rope::Rope;
use fardel_format::tree::{Node, NodeKind};
use fardel_store::{FaultyStore, Key, ReadFault, ReadFaultKind};
use fardel_tests::disk_tree::bytes;
use fardel_tests::vault::forge::{self, Crafted, Snapshot};

use super::{Honest, assert_forged};

/// A file of one line for each of these chunks.
pub fn file_of(chunks: &[(fardel_format::ChunkId, usize)]) -> Node {
    let mut node = Node::new(b"", NodeKind::File);
    node.size = chunks.iter().map(|(_, len)| *len as u64).sum();
    let lines = chunks.iter().map(|(id, len)| format!("{id} {len}")).collect();
    node.content = Some(Rope { depth: 0, chunk_size: None, lines });
    node
}

#[test]
fn packs_that_change_places_are_told_and_yield_nothing_false() {
    let honest = Honest::with_large("swapped", 4_600_000);
    let packs = honest.vault.open().packs(PackKind::Data);
    let (one, two) = (&packs[0], &packs[1]);
    let store = honest.vault.store.deep_clone();
    let (a, b) = (store.get_raw(one).unwrap(), store.get_raw(two).unwrap());
    store.insert_raw(one, b);
    store.insert_raw(two, a);
    let opened = honest.vault.open_in(&store, Some(honest.vault.material())).unwrap();
    let report = opened.check(Level::Data).unwrap();
    for pack in [one, two] {
        let finding = report.errors.iter().find(|finding| finding.object == **pack).unwrap();
        assert!(matches!(finding.class, Class::Corrupt | Class::Truncated), "{finding:#?}");
        assert!(!finding.harmless);
    }
    // Each chunk is there, under another pack's name, and is known by its id.
    let restored = opened.restore(&honest.id).unwrap();
    assert_eq!(restored.compare(&honest.content), Ok(honest.content.len()), "{:?}", restored.report);
}

#[test]
fn a_pack_under_another_fan_out_or_generation_is_the_same_pack() {
    let honest = Honest::new("renamed");
    for pack in honest.vault.open().packs(PackKind::Data) {
        let bytes = honest.vault.store.remove_raw(&pack).unwrap();
        let hash = pack.trim_start_matches("packs/").split('.').next().unwrap().to_owned();
        let name = format!("packs/{}/{hash}-0123abcd.tar.zst.age", &hash[..2]);
        honest.vault.store.insert_raw(&name, bytes);
    }
    assert!(honest.check(Level::Data).is_clean());
    honest.restores();
}

#[test]
fn cut_at_and_off_the_borders_of_segments() {
    let honest = Honest::new("cut");
    let pack = honest.vault.open().packs(PackKind::Data).remove(0);
    let whole = honest.vault.store.get_raw(&pack).unwrap();
    let opened = honest.vault.open();
    let payload = Header::parse(&whole)
        .unwrap()
        .unwrap()
        .open(&opened.repo.keys().readers, whole.len() as u64)
        .unwrap();
    let first = payload.stored_range(&(0..1)).unwrap().start as usize;
    let borders = (0..).map(|n| first + n * 65_552).take_while(|border| *border < whole.len());
    let cuts: Vec<usize> = borders.flat_map(|border| [border - 1, border, border + 1, border + 16]).collect();
    assert!(cuts.len() > 20);
    for cut in cuts.iter().copied().chain([whole.len() - 1]).filter(|cut| *cut < whole.len()) {
        // The listing tells the truth.
        honest.vault.store.insert_raw(&pack, whole.slice(..cut));
        assert_eq!(honest.finding(Level::List, &pack).class, Class::Truncated, "at {cut}");
        honest.vault.store.insert_raw(&pack, whole.clone());
    }
    for cut in cuts.into_iter().step_by(3).filter(|cut| *cut < whole.len()) {
        // The listing lies, and reading ends early.
        let faulty = FaultyStore::new(honest.vault.store.clone());
        let fault = ReadFault { kind: ReadFaultKind::Truncate(cut as u64), once: false };
        faulty.set_read_fault(&Key::new(&*pack).unwrap(), Some(fault));
        let opened = honest.vault.open_store(Arc::new(faulty), Some(honest.vault.material())).unwrap();
        for level in [Level::Hashes, Level::Data] {
            let report = opened.check(level).unwrap();
            let finding = report.errors.iter().find(|finding| finding.object == pack).unwrap();
            assert_eq!(finding.class, Class::Truncated, "at {cut}: {finding:#?}");
        }
        opened.restore(&honest.id).unwrap().compare(&honest.content).unwrap();
    }
}

#[test]
fn a_cut_that_its_own_lists_confirm_is_forged() {
    // An insider seals a snapshot over a pack that was cut at a border of segments: size and hash fit, the mark of the last
    // segment does not.
    let honest = Honest::new("cut-inside");
    let host = &honest.vault.host;
    let mut crafted = Crafted::new(PackKind::Data);
    let chunk = bytes("cut inside", 400_000);
    let id = crafted.push_true(host, &chunk);
    let (whole, toc) = crafted.finish(&host.epoch);
    let opened = honest.vault.open();
    let payload = Header::parse(&whole)
        .unwrap()
        .unwrap()
        .open(&opened.repo.keys().readers, whole.len() as u64)
        .unwrap();
    let first = payload.stored_range(&(0..1)).unwrap().start as usize;
    for cut in [first + 3 * 65_552, first + 3 * 65_552 + 20, first, first - 1, 0] {
        let entry = forge::put_pack(&honest.vault, whole[..cut].to_vec());
        forge::put_segment(&honest.vault, host, &[(entry.hash, entry.size, &toc)]);
        let nodes = vec![("/cut", file_of(&[(id, chunk.len())]))];
        let put = Snapshot::new(&honest.vault, nodes, vec![entry]).put(&honest.vault, host);
        let opened = honest.vault.open();
        let key = opened.catalog.packs[&entry.hash][0].stored.key.to_string();
        let report = opened.check(Level::Data).unwrap();
        let finding = report.errors.iter().find(|finding| finding.object == key).unwrap();
        assert_forged(finding, false);
        assert!(
            finding.costs.paths.iter().any(|cost| cost.path == "/cut" && cost.bytes == chunk.len() as u64),
            "{finding:#?}"
        );
        let restored = opened.restore(&put.id).unwrap();
        assert_eq!(restored.report.damaged.len(), 1, "{:?}", restored.report);
        assert_eq!(restored.report.damaged[0].missing, [(0, chunk.len() as u64)]);
    }
    honest.restores();
}

/// A chunk of which one pack, or one place in a pack, holds other bytes under the same id.
fn doubled(honest: &Honest, packs: &[PackEntry], id: fardel_format::ChunkId, chunk: &[u8]) {
    let nodes = vec![("/doubled", file_of(&[(id, chunk.len())]))];
    let put = Snapshot::new(&honest.vault, nodes, packs.to_vec()).put(&honest.vault, &honest.vault.host);
    let opened = honest.vault.open();
    let restored = opened.restore(&put.id).unwrap();
    let content = [("doubled".into(), chunk.to_vec())].into();
    assert_eq!(restored.compare(&content), Ok(1), "{:?}", restored.report);
    let report = opened.check(Level::Data).unwrap();
    assert!(report.errors.iter().any(|finding| finding.class == Class::Forged), "{report:#?}");
    for finding in &report.errors {
        assert!(finding.costs.paths.is_empty(), "the true bytes are elsewhere: {finding:#?}");
    }
}

#[test]
fn packs_with_duplicate_ids_give_the_true_bytes() {
    let honest = Honest::new("doubled");
    let host = &honest.vault.host;
    for (n, false_first) in [(0, true), (1, false)] {
        let chunk = bytes(&format!("true {n}"), 70_000);
        let lie = bytes(&format!("false {n}"), 70_000);
        let id = host.chunk_keys.chunk.id(&chunk);
        let (mut one, mut two) = (Crafted::new(PackKind::Data), Crafted::new(PackKind::Data));
        one.push(id, if false_first { &lie } else { &chunk });
        two.push(id, if false_first { &chunk } else { &lie });
        let apart = [one.put(&honest.vault, host), two.put(&honest.vault, host)];
        doubled(&honest, &apart, id, &chunk);
    }
    for (n, false_first) in [(2, true), (3, false)] {
        let chunk = bytes(&format!("true {n}"), 70_000);
        let lie = bytes(&format!("false {n}"), 70_000);
        let id = host.chunk_keys.chunk.id(&chunk);
        let mut both = Crafted::new(PackKind::Data);
        both.push(id, if false_first { &lie } else { &chunk });
        both.push(id, if false_first { &chunk } else { &lie });
        let together = both.put(&honest.vault, host);
        doubled(&honest, &[together], id, &chunk);
    }
    honest.restores();
}

#[test]
fn a_pack_of_a_stranger_is_told_and_costs_nothing() {
    let honest = Honest::new("stranger's-pack");
    let (_, other_recipient) = fardel_format::age_file::generate_identity();
    let mut crafted = Crafted::new(PackKind::Data);
    crafted.push_true(&honest.vault.host, b"for somebody else");
    let (bytes, _) = crafted.finish(&other_recipient);
    let entry = forge::put_pack(&honest.vault, bytes);
    let opened = honest.vault.open();
    let key = opened.catalog.packs[&entry.hash][0].stored.key.to_string();
    assert_forged(&honest.finding(Level::Data, &key), true);
    assert!(honest.check(Level::Hashes).is_clean(), "without keys it is a pack like any other");
    honest.restores();
}

#[test]
fn damage_that_a_sample_reads_is_found_and_the_rest_is_not_claimed() {
    let honest = Honest::new("sample");
    let opened = honest.vault.open();
    let all = CheckOptions {
        level: Level::Data,
        sample: Some(fardel_engine::check::Sample::Percent(100.0)),
        ..CheckOptions::default()
    };
    let pack = &opened.packs(PackKind::Data)[0];
    let mut flipped = honest.vault.store.get_raw(pack).unwrap().to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    honest.vault.store.insert_raw(pack, flipped);
    let report = check(&opened.repo, &opened.catalog, &all, &Silent::default()).unwrap();
    assert!(report.errors.iter().any(|finding| finding.object == *pack));
    let sampled = report.sampled.unwrap();
    assert_eq!(sampled.packs, sampled.of_packs);
}
