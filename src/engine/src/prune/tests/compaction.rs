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
