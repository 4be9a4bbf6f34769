use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fardel_format::root::Source;
use fardel_format::rope::{Layout, Rope, RopeBuilder};
use fardel_format::{ChunkId, SnapshotId};

use super::*;
use crate::browse::Contents;
use crate::monitor::Silent;
use crate::snapshots::Snapshots;
use crate::testing::{Fixture, file, fixture, folder, noise};

/// Compares places of two snapshots; shows a mark and the path below the fixture's folder for each difference.
fn compare(
    fixture: &Fixture,
    old: (SnapshotId, &str),
    new: (SnapshotId, &str),
    options: DiffOptions,
) -> (Vec<String>, DiffReport) {
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let contents = Contents::open(&repo, &catalog).unwrap();
    let chunks = contents.chunks(&repo).unwrap();
    let open = |id: SnapshotId| {
        Browser::open(&repo, &catalog, &chunks, snapshots.find(&id.to_string()).unwrap()).unwrap()
    };
    let (a, b) = (open(old.0), open(new.0));
    let (from, to) = (a.resolve(old.1.as_bytes()).unwrap(), b.resolve(new.1.as_bytes()).unwrap());
    let temp = fixture.temp().to_str().unwrap();
    let mut shown = Vec::new();
    let report = diff((&a, &from), (&b, &to), options, &Silent::default(), |path, change| {
        let mark = match change {
            Change::Added(_) => "+".into(),
            Change::Removed(_) => "-".into(),
            Change::Retyped { .. } => "T".into(),
            Change::Modified { content, metadata, changed, .. } => {
                let changed =
                    changed.map_or(String::new(), |c| format!("{}/{}/{}", c.bytes, c.ranges, c.unknown));
                format!("{}{}{changed}", if *content { "M" } else { "" }, if *metadata { "m" } else { "" })
            }
        };
        let path = String::from_utf8_lossy(path);
        shown.push(format!("{mark} {}", path.strip_prefix(temp).unwrap_or(&path)));
        Ok(())
    });
    (shown, report.unwrap())
}

#[test]
fn added_removed_modified() {
    let fixture = fixture();
    let write = |name: &str, text: &str| drop(fixture.write(name, text));
    write("a/gone", "1");
    write("a/same", "1");
    write("b/changed", "1");
    write("kind/file", "1");
    write("mode", "1");
    write("whole/folder/is", "gone!");
    std::os::unix::fs::symlink("x", fixture.source().join("link")).unwrap();
    let old = fixture.backup(&[&fixture.source()]);
    std::fs::remove_file(fixture.source().join("a/gone")).unwrap();
    std::fs::remove_dir_all(fixture.source().join("kind")).unwrap();
    std::fs::remove_dir_all(fixture.source().join("whole")).unwrap();
    std::fs::remove_file(fixture.source().join("link")).unwrap();
    std::os::unix::fs::symlink("y", fixture.source().join("link")).unwrap();
    write("a/new/file", "22");
    write("b/changed", "4444");
    write("kind", "1");
    std::fs::set_permissions(fixture.source().join("mode"), PermissionsExt::from_mode(0o600)).unwrap();
    let new = fixture.backup(&[&fixture.source()]);

    let (shown, report) = compare(&fixture, (old, "/"), (new, "/"), DiffOptions::default());
    let all = [
        "- /source/a/gone",
        "+ /source/a/new",
        "+ /source/a/new/file",
        "M /source/b/changed",
        "T /source/kind",
        "- /source/kind/file",
        "M /source/link",
        "- /source/whole",
        "- /source/whole/folder",
        "- /source/whole/folder/is",
    ];
    assert_eq!(shown, all);
    assert!(report.is_conclusive());
    assert_eq!(report.added, Tally { files: 2, dirs: 1, others: 0, bytes: 3 });
    assert_eq!(report.removed, Tally { files: 3, dirs: 3, others: 0, bytes: 7 });
    assert_eq!(report.modified, Tally { files: 1, dirs: 0, others: 1, bytes: 4 });
    assert_eq!(report.retyped, 1);

    let (shown, _) = compare(&fixture, (old, "/"), (new, "/"), DiffOptions { metadata: true });
    for expected in ["m /source", "m /source/a", "Mm /source/b/changed", "Mm /source/link", "m /source/mode"]
    {
        assert!(shown.iter().any(|line| line == expected), "{expected} in {shown:?}");
    }
    assert!(!shown.iter().any(|line| line.ends_with("/same")), "{shown:?}");
}

#[test]
fn the_same_snapshot_is_passed_over() {
    let fixture = fixture();
    (0..100).for_each(|i| drop(fixture.write(&format!("d{i}/f"), "x")));
    let id = fixture.backup(&[&fixture.source()]);
    let again = fixture.backup(&[&fixture.source()]);
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let contents = Contents::open(&repo, &catalog).unwrap();
    let chunks = contents.chunks(&repo).unwrap();
    let open = |id: SnapshotId| {
        Browser::open(&repo, &catalog, &chunks, snapshots.find(&id.to_string()).unwrap()).unwrap()
    };
    let (a, b) = (open(id), open(again));
    let monitor = Silent::default();
    let options = DiffOptions { metadata: true };
    let report =
        diff((&a, &a.top()), (&b, &b.top()), options, &monitor, |path, _| panic!("{path:?}")).unwrap();
    assert!(report.is_conclusive());
    assert_eq!(
        monitor.counters().get().files_done,
        Path::new(&fixture.source()).components().count() as u64 - 1
    );
    monitor.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let stopped = diff((&a, &a.top()), (&b, &b.top()), options, &monitor, |_, _| Ok(()));
    assert!(matches!(stopped, Err(Error::Interrupted)));
}

#[test]
fn places_and_files_can_be_compared() {
    let fixture = fixture();
    fixture.write("a/x", "1");
    fixture.write("b/x", "2");
    fixture.write("b/y", "2");
    let id = fixture.backup(&[&fixture.source()]);
    let at = |name: &str| format!("{}/{name}", fixture.source().display());
    let plain = DiffOptions::default();
    let (shown, _) = compare(&fixture, (id, &at("a")), (id, &at("b")), plain);
    assert_eq!(shown, ["M /source/b/x", "+ /source/b/y"]);
    let (shown, _) = compare(&fixture, (id, &at("b")), (id, &at("a")), plain);
    assert_eq!(shown, ["M /source/a/x", "- /source/b/y"]);
    assert_eq!(compare(&fixture, (id, &at("a/x")), (id, &at("b/x")), plain).0, ["M /source/b/x"]);
    let (shown, _) = compare(&fixture, (id, &at("a")), (id, &at("b/x")), plain);
    assert_eq!(shown, ["T /source/b/x", "- /source/a/x"]);
    let (shown, _) = compare(&fixture, (id, "/"), (id, &at("a")), plain);
    assert!(shown.contains(&"+ /source/a/x".into()) && shown.contains(&"- /source/b/y".into()), "{shown:?}");
}

#[test]
fn volumes_are_compared_by_their_maps() {
    const CHUNK: usize = 64 << 10;
    let fixture = fixture();
    let path = fixture.temp().join("disk.img");
    let mut image = noise(1, CHUNK * 1000 + 5000);
    image[CHUNK * 300..CHUNK * 400].fill(0);
    std::fs::write(&path, &image).unwrap();
    let old = fixture.backup(&[&path]);
    let mut change = |edit: &dyn Fn(&mut Vec<u8>)| {
        edit(&mut image);
        std::fs::write(&path, &image).unwrap();
        let new = fixture.backup(&[&path]);
        let (shown, report) = compare(&fixture, (old, "/"), (new, "/"), DiffOptions::default());
        assert!(report.is_conclusive());
        shown
    };
    assert!(change(&|_| ()).is_empty(), "touched, and the same");
    assert_eq!(change(&|image| image[5] ^= 1), [format!("M{CHUNK}/1/0 /disk.img")]);
    let bytes = CHUNK * 3 + 5000;
    let changed = change(&|image| {
        for at in [CHUNK - 1, CHUNK + 7, CHUNK * 350, CHUNK * 1000 + 1] {
            image[at] ^= 1;
        }
    });
    assert_eq!(changed, [format!("M{bytes}/3/0 /disk.img")]);
    // The last chunk is a whole one now, and 1000 more follow.
    let bytes = CHUNK * 1003;
    let grown = change(&|image| {
        image.truncate(CHUNK * 1000);
        image.extend(noise(2, CHUNK * 1000));
    });
    assert_eq!(grown, [format!("M{bytes}/3/0 /disk.img")]);
    let shrunk = change(&|image| image.truncate(CHUNK * 2));
    assert_eq!(shrunk, [format!("M{}/1/0 /disk.img", CHUNK * 2)]);
    assert_eq!(change(&|image| image.truncate(0)), ["M0/0/0 /disk.img"]);

    let other = fixture.options(vec![crate::backup::SourceSpec::Path(path.clone())]);
    std::fs::write(&path, noise(9, CHUNK)).unwrap();
    let options = crate::backup::BackupOptions { chunk_size: Some(16 << 10), ..other };
    let cut = fixture.backup_with(&options).snapshot.unwrap();
    let (shown, _) = compare(&fixture, (old, "/"), (cut, "/"), DiffOptions::default());
    assert_eq!(shown, ["M /disk.img"], "cut in another way");
}

fn volume(rope: Rope, size: u64) -> Source {
    let mut node = Node::new(b"", NodeKind::Volume);
    (node.size, node.content) = (size, Some(rope));
    Source::new(b"/v", node)
}

#[test]
fn a_volume_that_ends_in_a_hole_grows_by_what_is_behind() {
    const CHUNK: u64 = 16 << 10;
    let fixture = fixture();
    let sizes = [CHUNK * 9 + 10, CHUNK * 10, CHUNK * 30];
    let ids = sizes.map(|size| {
        fixture.craft(|packer| {
            let mut rope = RopeBuilder::new(Layout::Fixed { chunk_size: CHUNK as u32 });
            let mut store = |leaf: &[u8]| packer.put(fardel_format::pack::PackKind::Meta, leaf);
            (0..size.div_ceil(CHUNK)).for_each(|_| rope.push(None, CHUNK, &mut store).unwrap());
            vec![volume(rope.finish(&mut store).unwrap(), size)]
        })
    });
    let plain = DiffOptions::default();
    let shown = |a: usize, b: usize| compare(&fixture, (ids[a], "/"), (ids[b], "/"), plain).0;
    assert_eq!(shown(0, 1), [format!("M{}/1/0 /v", CHUNK - 10)]);
    assert_eq!(shown(0, 2), [format!("M{}/1/0 /v", sizes[2] - sizes[0])]);
    assert_eq!(shown(2, 0), ["M0/0/0 /v"]);
}

#[test]
fn lost_parts_of_maps_are_unknown() {
    const CHUNK: u64 = 16 << 10;
    let fixture = fixture();
    let lost = ChunkId([7; 32]).to_string();
    let size = CHUNK * 256 * 3;
    let snapshot = |change: u8, lose: bool| {
        fixture.craft(|packer| {
            let leaves = (0..3_u8).map(|leaf| {
                let lines: String = (0..=255)
                    .map(|line| {
                        format!("{}\n", ChunkId([leaf, line, change].repeat(11)[..32].try_into().unwrap()))
                    })
                    .collect();
                packer.put(fardel_format::pack::PackKind::Meta, lines.as_bytes()).unwrap().to_string()
            });
            let mut lines: Vec<_> = leaves.collect();
            if lose {
                lines[1] = lost.clone();
            }
            vec![volume(Rope { depth: 1, chunk_size: Some(CHUNK as u32), lines }, size)]
        })
    };
    let (whole, changed, holed) = (snapshot(0, false), snapshot(1, false), snapshot(0, true));
    let plain = DiffOptions::default();
    let third = size / 3;
    for (old, new, line) in [
        (whole, changed, format!("M{size}/1/0 /v")),
        (whole, holed, format!("M0/0/{third} /v")),
        (holed, whole, format!("M0/0/{third} /v")),
        (holed, changed, format!("M{}/2/{third} /v", 2 * third)),
    ] {
        let (shown, report) = compare(&fixture, (old, "/"), (new, "/"), plain);
        assert_eq!(shown, [line]);
        assert_eq!(report.is_conclusive(), old == whole && new == changed);
    }
    let nonsense = fixture
        .craft(|_| vec![volume(Rope { depth: 1, chunk_size: Some(CHUNK as u32), lines: vec![] }, size)]);
    let (shown, report) = compare(&fixture, (whole, "/"), (nonsense, "/"), plain);
    assert_eq!((shown, report.unreadable.count()), (vec!["M /v".to_owned()], 1));
}

#[test]
fn what_cannot_be_read_is_never_shown_as_added_or_removed() {
    let fixture = fixture();
    let lost = ChunkId([7; 32]).to_string();
    let snapshot = |lose: bool| {
        fixture.craft(|packer| {
            let mut leaf = |names: &[&str]| {
                let lines: Vec<u8> = names
                    .iter()
                    .flat_map(|name| Node::new(name.as_bytes(), NodeKind::Fifo).to_line())
                    .collect();
                packer.put(fardel_format::pack::PackKind::Meta, &lines).unwrap().to_string()
            };
            let mut lines = vec![leaf(&["a", "b"]), leaf(&["c", "d"]), leaf(&["e"])];
            if lose {
                lines[1] = lost.clone();
                lines[2] = leaf(&["e", "f"]);
            }
            let mut holed = Node::new(b"holed", NodeKind::Dir);
            holed.entries = Some(Rope { depth: 0, chunk_size: None, lines });
            let inner = file(packer, "x", &[]);
            let mut gone = folder(packer, "gone", &[inner]);
            if lose {
                gone.entries = Some(Rope { depth: 0, chunk_size: None, lines: vec![lost.clone()] });
            }
            vec![Source::new(b"/s", folder(packer, "", &[gone, holed]))]
        })
    };
    let (whole, holed) = (snapshot(false), snapshot(true));
    let (shown, report) = compare(&fixture, (whole, "/"), (holed, "/"), DiffOptions::default());
    assert_eq!(shown, ["+ /s/holed/f"]);
    assert_eq!((report.not_compared, report.unreadable.count()), (3, 2));
    let (shown, report) = compare(&fixture, (holed, "/"), (whole, "/"), DiffOptions::default());
    assert_eq!(shown, ["- /s/holed/f"]);
    assert_eq!((report.not_compared, report.unreadable.count()), (3, 2));
}

#[test]
fn sources_below_sources_are_compared_as_one_tree() {
    let fixture = fixture();
    let snapshot = |name: &str, inner: bool| {
        fixture.craft(|packer| {
            let outer = folder(packer, "", &[]);
            let entry = file(packer, name, &[]);
            let mut sources = vec![Source::new(b"/a", outer)];
            if inner {
                sources.push(Source::new(b"/a/b/c", folder(packer, "", &[entry])));
            }
            sources
        })
    };
    let (one, two, none) = (snapshot("one", true), snapshot("two", true), snapshot("", false));
    let plain = DiffOptions::default();
    assert_eq!(compare(&fixture, (one, "/"), (two, "/"), plain).0, ["- /a/b/c/one", "+ /a/b/c/two"]);
    assert_eq!(compare(&fixture, (none, "/"), (two, "/"), plain).0, ["+ /a/b/c", "+ /a/b/c/two"]);
    assert_eq!(compare(&fixture, (one, "/a"), (none, "/a"), plain).0, ["- /a/b/c", "- /a/b/c/one"]);
}

#[test]
fn deep_trees_are_compared_without_recursion() {
    let fixture = fixture();
    let snapshot = |last: &str| {
        fixture.craft(|packer| {
            let entry = file(packer, last, &[]);
            let mut node = folder(packer, "m", &[entry]);
            for _ in 0..5_000 {
                node = folder(packer, "m", &[node]);
            }
            vec![Source::new(b"/s", node)]
        })
    };
    let (old, new) = (snapshot("a"), snapshot("b"));
    let (shown, report) = compare(&fixture, (old, "/"), (new, "/"), DiffOptions::default());
    assert_eq!(shown.len(), 2);
    assert!(report.is_conclusive());
}
