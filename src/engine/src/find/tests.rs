use fardel_format::ChunkId;
use fardel_format::root::Source;
use fardel_format::rope::Rope;

use super::*;
use crate::browse::Contents;
use crate::monitor::Silent;
use crate::testing::{Fixture, fixture, folder};

/// Finds, and shows the paths below the fixture's folder.
fn found(fixture: &Fixture, options: &FindOptions) -> (Vec<String>, FindReport) {
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let contents = Contents::open(&repo, &catalog).unwrap();
    let chunks = contents.chunks(&repo).unwrap();
    let mut paths = Vec::new();
    let temp = fixture.temp().to_str().unwrap();
    let report = find(&repo, &catalog, &snapshots, &chunks, options, &Silent::default(), |hit| {
        let age = snapshots.sealed.iter().rev().position(|s| s.id() == hit.snapshot).unwrap();
        let path = String::from_utf8_lossy(hit.path);
        paths.push(format!("{age} {}", path.strip_prefix(temp).unwrap_or(&path)));
        Ok(())
    });
    let report = report.unwrap();
    assert_eq!(report.matches, paths.len() as u64);
    (paths, report)
}

fn named(pattern: &str) -> FindOptions {
    FindOptions::new(Pattern::new(pattern.as_bytes(), false).unwrap())
}

#[test]
fn finds_each_state_once_newest_first() {
    let fixture = fixture();
    fixture.write("a/x.txt", "1");
    fixture.write("b/y.txt", "1");
    fixture.backup(&[&fixture.source()]);
    fixture.write("a/new", "1");
    fixture.backup(&[&fixture.source()]);
    fixture.write("b/y.txt", "22");
    std::fs::remove_file(fixture.source().join("a/x.txt")).unwrap();
    fixture.backup(&[&fixture.source()]);

    let (paths, report) = found(&fixture, &named("*.txt"));
    assert_eq!(paths, ["0 /source/b/y.txt", "1 /source/a/x.txt", "1 /source/b/y.txt"]);
    assert_eq!(report.snapshots_searched, 3);
    assert!(report.is_conclusive());
    assert_eq!(found(&fixture, &named("source/**/new")).0, ["0 /source/a/new"]);
    assert_eq!(found(&fixture, &named("a")).0.len(), 3, "the folder's own times differ");
    // Nothing is known of a folder above a source.
    let above = fixture.temp().file_name().unwrap().to_str().unwrap();
    assert!(found(&fixture, &named(above)).0.is_empty());

    let (repo, catalog) = fixture.open();
    let oldest = Snapshots::load(&repo, &catalog).unwrap().sealed[0].id();
    let (paths, report) = found(&fixture, &FindOptions { snapshots: vec![oldest], ..named("*.txt") });
    assert_eq!(paths, ["2 /source/a/x.txt", "2 /source/b/y.txt"]);
    assert_eq!(report.snapshots_searched, 1);
}

#[test]
fn an_unchanged_snapshot_is_not_searched_again() {
    let fixture = fixture();
    (0..50).for_each(|i| drop(fixture.write(&format!("d{i}/f"), "x")));
    for _ in 0..3 {
        fixture.backup(&[&fixture.source()]);
    }
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let contents = Contents::open(&repo, &catalog).unwrap();
    let chunks = contents.chunks(&repo).unwrap();
    let monitor = Silent::default();
    let report = find(&repo, &catalog, &snapshots, &chunks, &named("f"), &monitor, |_| Ok(())).unwrap();
    assert_eq!((report.matches, report.snapshots_searched), (50, 3));
    // The source's folder is looked at three times, what is in it once.
    assert_eq!(monitor.counters().get().files_done, 3 + 100);
    monitor.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let stopped = find(&repo, &catalog, &snapshots, &chunks, &named("f"), &monitor, |_| Ok(()));
    assert!(matches!(stopped, Err(Error::Interrupted)));
}

#[test]
fn finds_by_time_and_size() {
    let fixture = fixture();
    for (name, size, secs) in [("small", 10, 1_000), ("large", 5_000, 2_000), ("late", 10, 3_000)] {
        let path = fixture.write(name, vec![0; size]);
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs);
        std::fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
    fixture.backup(&[&fixture.source()]);
    let names = |options: FindOptions| {
        found(&fixture, &options)
            .0
            .into_iter()
            .map(|p| p.rsplit('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let moment = |secs| Some(Moment { secs, nanos: 0 });
    assert_eq!(names(FindOptions { newer: moment(2_000), older: moment(3_000), ..named("*") }), ["large"]);
    assert_eq!(names(FindOptions { newer: moment(2_000), ..named("l*") }), ["large", "late"]);
    assert_eq!(names(FindOptions { min_size: Some(5_000), ..named("*") }), ["large"]);
    assert_eq!(names(FindOptions { max_size: Some(10), ..named("*") }), ["late", "small"]);
}

#[test]
fn what_was_not_searched_is_told() {
    let fixture = fixture();
    let image = fixture.temp().join("disk.img");
    std::fs::write(&image, vec![1; 70_000]).unwrap();
    fixture.write("a", "1");
    fixture.backup(&[&fixture.source(), &image]);
    fixture.backup(&[&fixture.source(), &image]);
    let (paths, report) = found(&fixture, &named("nothing"));
    assert!(paths.is_empty() && !report.is_conclusive());
    assert_eq!(report.volumes, 1);
    assert_eq!(report.volumes_not_searched[0].1, image.to_str().unwrap().as_bytes());
    assert!(report.unreadable.is_empty());
    // A volume is found by its own name all the same. Each backup of two sources sealed a checkpoint, too.
    assert_eq!(found(&fixture, &named("*.img")).0, ["0 /disk.img"]);
    assert_eq!((report.snapshots_searched, report.snapshots_incomplete), (4, 0));
    let (repo, catalog) = fixture.open();
    let checkpoint = Snapshots::load(&repo, &catalog).unwrap().sealed[0].id();
    let (_, report) = found(&fixture, &FindOptions { snapshots: vec![checkpoint], ..named("*") });
    assert_eq!((report.snapshots_searched, report.snapshots_incomplete), (1, 1));

    let lost = fixture.craft(|packer| {
        let mut gone = Node::new(b"gone", NodeKind::Dir);
        gone.entries = Some(Rope { depth: 0, chunk_size: None, lines: vec![ChunkId([7; 32]).to_string()] });
        vec![Source::new(b"/s", folder(packer, "", &[gone]))]
    });
    let (_, report) = found(&fixture, &named("nothing"));
    assert_eq!(report.unreadable.count(), 1);
    let told = &report.unreadable.first()[0];
    assert_eq!((told.snapshot, &told.path[..]), (Some(lost), &b"/s/gone"[..]));
}

#[test]
fn lost_snapshots_are_told() {
    let fixture = fixture();
    fixture.write("a", "1");
    let first = fixture.backup(&[&fixture.source()]);
    let root = fixture.store.names().into_iter().find(|name| name.starts_with("roots/")).unwrap();
    fixture.backup(&[&fixture.source()]);
    fixture.store.remove_raw(&root);
    let (paths, report) = found(&fixture, &named("a"));
    assert_eq!(paths, ["0 /source/a"]);
    assert_eq!((report.snapshots_searched, report.unreadable.count()), (1, 1));
    assert_eq!(report.unreadable.first()[0].snapshot, Some(first));

    let manifest = fixture.store.names().into_iter().find(|name| name.starts_with("manifests/")).unwrap();
    fixture.store.remove_raw(&manifest);
    let (_, report) = found(&fixture, &named("a"));
    let told = &report.unreadable.first()[0];
    assert!(told.snapshot.is_none() && told.path.starts_with(b"seals/"), "{told:?}");

    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let contents = Contents::open(&repo, &catalog).unwrap();
    let chunks = contents.chunks(&repo).unwrap();
    let options = FindOptions { snapshots: vec![first], ..named("a") };
    let missing = find(&repo, &catalog, &snapshots, &chunks, &options, &Silent::default(), |_| Ok(()));
    assert!(matches!(missing, Err(Error::NotFound(_))));
}

#[test]
fn a_known_folder_with_another_source_below_is_searched_again() {
    let fixture = fixture();
    for name in ["one", "two"] {
        fixture.craft(|packer| {
            let outer = folder(packer, "", &[]);
            let entry = Node::new(name.as_bytes(), NodeKind::Fifo);
            let inner = folder(packer, "", &[entry]);
            vec![Source::new(b"/", outer.clone()), Source::new(b"/a", outer), Source::new(b"/a/b", inner)]
        });
    }
    assert_eq!(found(&fixture, &named("one")).0, ["1 /a/b/one"]);
}

#[test]
fn memory_is_bounded() {
    let mut seen = Seen::default();
    for number in 0..REMEMBERED + 10 {
        assert!(seen.is_new(&[&number.to_le_bytes()]));
    }
    assert_eq!(seen.0.len(), REMEMBERED);
    assert!(!seen.is_new(&[&0_usize.to_le_bytes()]));
}
