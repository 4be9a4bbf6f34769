//! Many small backups become few packs of full size, and few index segments.

use fardel_format::pack_list::PackEntry;
use fardel_format::root::Source;

use super::*;
use crate::commit::{self, Outcome};
use crate::packs::Packer;
use crate::snapshots::Sealed;
use crate::testing::{file, folder, root_of};

/// Seals so many snapshots with a little new data each, on top of the newest; bytes stored for them.
fn small_backups(fixture: &Fixture, numbers: std::ops::Range<u64>, packer: &PackerOptions) -> u64 {
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let mut last: Option<Sealed> = snapshots.sealed.last().cloned();
    let mut closure: BTreeSet<PackEntry> = match &last {
        Some(last) => repo.closure(&catalog, &last.manifest).unwrap().into_iter().collect(),
        None => BTreeSet::new(),
    };
    let mut stored = 0;
    for number in numbers {
        let mut packer =
            Packer::start(&repo, &catalog, ChunkIndex::default(), packer.clone(), false).unwrap();
        let node = file(&mut packer, "file", &[Ok(&noise(number, 60_000))]);
        let node = folder(&mut packer, "", &[node]);
        let packed = packer.flush().unwrap();
        stored += packed.bytes_stored;
        closure.extend(packed.packs.iter().copied());
        let root = root_of(fixture.id, vec![Source::new(b"/source", node)]);
        let base = last.as_ref().map(|sealed| &sealed.manifest);
        let all = closure.iter().copied().collect();
        let written =
            commit::write(&repo, &catalog, &snapshots.tombs, base, &root, all, last.as_ref()).unwrap();
        match written.publish().unwrap() {
            Outcome::Published(sealed) => last = Some(*sealed),
            Outcome::Lost(_) | Outcome::Revoked => panic!("nobody took anything away"),
        }
    }
    stored
}

#[test]
fn a_thousand_small_backups_become_packs_of_full_size() {
    let fixture = fixture();
    let packer = PackerOptions { threads: 1, pack_size: 4 << 20, ..PackerOptions::default() };
    let options = PruneOptions { packer: packer.clone(), ..at_once() };
    let (mut added, mut rewritten) = (0, 0);
    for round in 0..10 {
        added += small_backups(&fixture, round * 100..(round + 1) * 100, &packer);
        let report = prune(&fixture, &options);
        rewritten += report.bytes_stored;
        let small = |name: &String| (fixture.store.get_raw(name).unwrap().len() as u64) < options.small();
        let packs = names(&fixture.store, "packs/");
        let small = packs.iter().filter(|name| small(name)).count();
        assert!(small <= 8, "{small} small packs of {} after round {round}", packs.len());
        let largest = packs.iter().map(|name| fixture.store.get_raw(name).unwrap().len()).max().unwrap();
        assert!(largest < 8 << 20, "{largest}");
        let segments = names(&fixture.store, "index/").len();
        assert!(segments < 64, "{segments} index segments after round {round}");
    }
    let packs = names(&fixture.store, "packs/").len();
    println!("{packs} packs; {rewritten} bytes written anew for {added} added");
    assert!(rewritten <= 3 * added);
    let ids: Vec<_> = listed(&fixture, &fixture.store).into_iter().collect();
    assert_eq!(ids.len(), 1000);
    assert_holds(&fixture, &fixture.store, &ids, "compacted");

    // Forgetting nearly all of them leaves nearly nothing.
    forget(&fixture, &ids[1..]);
    for _ in 0..2 {
        prune(&fixture, &options);
    }
    assert_holds(&fixture, &fixture.store, &ids[..1], "forgotten");
    assert_eq!(names(&fixture.store, "packs/").len(), 2);
    assert_eq!(names(&fixture.store, "roots/").len(), 1);
    // Its first one, and one more for each time that it was told of anew: in ten rounds and these two at most.
    assert!(names(&fixture.store, "manifests/").len() <= 13);
    assert!(names(&fixture.store, "lists/").len() < 10);
}

#[test]
fn merged_segments_say_nothing_of_packs_that_are_gone() {
    let fixture = fixture();
    small_backups(&fixture, 0..40, &packer());
    prune(&fixture, &at_once());
    let (repo, catalog) = fixture.open();
    assert!(catalog.packs.len() < 10 && catalog.index.len() < 32, "{}", catalog.packs.len());
    // What this host fetched before is no matter.
    std::fs::remove_dir_all(repo.cache().join("index")).unwrap();
    let index = ChunkIndex::for_reading(&repo, &catalog, &PackReader::new(&repo, &catalog)).unwrap();
    let gone: Vec<_> =
        index.packs().unwrap().into_keys().filter(|pack| !catalog.packs.contains_key(pack)).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

/// Stored bytes of every frame.
fn frames(fixture: &Fixture) -> BTreeSet<Vec<u8>> {
    let (repo, catalog) = fixture.open();
    let reader = PackReader::new(&repo, &catalog);
    let mut frames = BTreeSet::new();
    for (hash, copies) in &catalog.packs {
        let size = copies[0].stored.size;
        let toc = reader.toc(hash, size).unwrap();
        frames.extend(toc.frames.iter().map(|(span, _)| reader.read(hash, size, &span.range()).unwrap()));
    }
    frames
}

/// Recompressed by another level they would not be the same.
fn at_another_level() -> PruneOptions {
    PruneOptions { packer: PackerOptions { level: 1, ..packer() }, ..at_once() }
}

#[test]
fn a_full_frame_is_taken_over_as_it_is_if_all_of_it_is_wanted() {
    let fixture = fixture();
    let text = |number: u64| -> Vec<u8> {
        let lines = (0..60_000).map(|n| format!("{} {n}\n", blake3::hash(&(number * n).to_le_bytes())));
        lines.collect::<String>().into_bytes()
    };
    let mut ids = Vec::new();
    for number in 1..=8 {
        fixture.write(&format!("f{number}"), text(number));
        ids.push(fixture.backup(&[&fixture.source()]));
    }
    // In the first one's packs something is wanted no more.
    std::fs::remove_file(fixture.source().join("f1")).unwrap();
    fixture.write("f9", text(9));
    ids.push(fixture.backup(&[&fixture.source()]));
    forget(&fixture, &ids[..8]);
    let before = frames(&fixture);
    let report = prune(&fixture, &at_another_level());
    assert!(report.packs_written > 0 && report.unreadable.is_empty(), "{report:?}");
    assert_holds(&fixture, &fixture.store, &ids[8..], "compacted");
    let after = frames(&fixture);
    let same = after.intersection(&before).filter(|frame| frame.len() > 1 << 19).count();
    assert!(same >= 8, "{same} frames are the same");
    assert!(after.difference(&before).count() > 0, "what is small is put together anew");
}

#[test]
fn a_frame_of_which_something_is_there_already_is_not_taken_over() {
    let fixture = fixture();
    let (repo, catalog) = fixture.open();
    let mut packer = Packer::start(&repo, &catalog, ChunkIndex::default(), packer(), false).unwrap();
    let key = repo.chunk_keys().unwrap().chunk.clone();
    let frame = |numbers: &[u64]| {
        let mut plain = fardel_format::frame::Plain::new();
        for number in numbers {
            let chunk = noise(*number, 1000);
            plain.push(key.id(&chunk), &chunk).unwrap();
        }
        plain.compress(&mut fardel_format::frame::Compressor::new(3).unwrap()).unwrap()
    };
    let kind = fardel_format::pack::PackKind::Data;
    assert!(packer.put_frame(kind, frame(&[1, 2])).unwrap());
    assert!(!packer.put_frame(kind, frame(&[2, 3])).unwrap(), "one is on its way");
    assert_eq!(packer.take().unwrap().packs.len(), 1);
    assert!(!packer.put_frame(kind, frame(&[4, 1])).unwrap(), "one is stored");
    assert_eq!(packer.take().unwrap().packs, [], "nothing of the frames that were refused");
    assert!(packer.put_frame(kind, frame(&[3, 4])).unwrap(), "nor is it held to be known");
    assert_eq!(packer.take().unwrap().packs.len(), 1);
}
