use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fardel_format::ChunkId;
use fardel_format::pack::PackKind;
use fardel_format::root::Source;
use fardel_format::rope::Rope;
use fardel_store::{FaultyStore, ReadFault, ReadFaultKind};

use super::*;
use crate::keyring::Material;
use crate::packs::Packer;
use crate::snapshots::Snapshots;
use crate::testing::{Fixture, failure, file, fixture, folder, noise};

/// Opens the newest snapshot and hands it to `look`.
fn browse(fixture: &Fixture, look: impl FnOnce(&Browser<'_>)) {
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let contents = Contents::open(&repo, &catalog).unwrap();
    let chunks = contents.chunks(&repo).unwrap();
    look(&Browser::open(&repo, &catalog, &chunks, snapshots.find("latest").unwrap()).unwrap());
}

/// What a listing shows: paths, `?` before those of which nothing is known, `!` before unreadable folders.
fn listed(browser: &Browser<'_>, path: &str, recursive: bool) -> Vec<String> {
    let mut shown = Vec::new();
    let place = browser.resolve(path.as_bytes()).unwrap();
    let unreadable = browser.list(&place, recursive, |path, node| {
        let mark = if node.is_none() { "?" } else { "" };
        shown.push(format!("{mark}{}", String::from_utf8_lossy(path)));
        Ok(())
    });
    let unreadable = unreadable.unwrap();
    assert_eq!(unreadable.count(), unreadable.first().len() as u64);
    shown.extend(unreadable.first().iter().map(|lost| format!("!{}", String::from_utf8_lossy(&lost.path))));
    shown
}

fn sources(list: Vec<(&str, Node)>) -> Vec<Source> {
    list.into_iter().map(|(path, node)| Source::new(path.as_bytes(), node)).collect()
}

#[test]
fn sources_lie_at_their_absolute_paths() {
    let fixture = fixture();
    fixture.write("b/two", "2");
    fixture.write("a.txt", "1");
    let odd = fixture.source().join(std::ffi::OsStr::from_bytes(b"z\xff"));
    std::fs::write(odd, "odd").unwrap();
    let other = fixture.temp().join("other.img");
    std::fs::write(&other, noise(1, 100_000)).unwrap();
    fixture.backup(&[&fixture.source(), &other]);
    let temp = fixture.temp().to_str().unwrap();

    browse(&fixture, |browser| {
        let top = temp.split('/').nth(1).unwrap();
        assert_eq!(listed(browser, "/", false), [format!("?/{top}")]);
        assert_eq!(listed(browser, temp, false), [format!("{temp}/other.img"), format!("{temp}/source")]);
        let all = ["a.txt", "b", "b/two", "z\u{fffd}"].map(|name| format!("{temp}/source/{name}"));
        assert_eq!(listed(browser, &format!("{temp}/source"), true), all);
        assert_eq!(listed(browser, &format!("{temp}/source/a.txt"), true), [format!("{temp}/source/a.txt")]);
        assert!(listed(browser, "", true).ends_with(&all));

        let odd = browser.resolve(&[temp.as_bytes(), b"//source/./z\xff/"].concat()).unwrap();
        assert_eq!(odd.path, [temp.as_bytes(), b"/source/z\xff"].concat());
        assert_eq!(odd.node.unwrap().size, 3);
        let volume = browser.resolve(other.as_os_str().as_bytes()).unwrap().node.unwrap();
        assert_eq!((volume.kind, volume.size), (NodeKind::Volume, 100_000));
        let above = browser.resolve(temp.as_bytes()).unwrap();
        assert!(above.node.is_none() && above.is_folder());

        let paths: Vec<_> = browser.sources().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, [other.as_os_str().as_bytes(), fixture.source().as_os_str().as_bytes()]);
        let missing = failure(browser.resolve(format!("{temp}/source/b/three").as_bytes()));
        assert!(missing.contains("has no") && missing.ends_with("source/b"), "{missing}");
        assert!(matches!(browser.resolve(b"/etc/../x"), Err(Error::Invalid(_))));
        // Nothing lies in a file.
        assert!(matches!(
            browser.resolve(format!("{temp}/source/a.txt/x").as_bytes()),
            Err(Error::NotFound(_))
        ));
    });
}

#[test]
fn a_folder_is_left_after_everything_in_it() {
    let fixture = fixture();
    fixture.write("a/b/c", "1");
    fixture.write("a/d", "2");
    fixture.backup(&[&fixture.source()]);
    browse(&fixture, |browser| {
        let place = browser.resolve(fixture.source().as_os_str().as_bytes()).unwrap();
        let mut walk = browser.walk(&place);
        let mut told = Vec::new();
        while let Some(event) = walk.next_event().unwrap() {
            let (mark, path) = match &event {
                Event::Entry { path, .. } => ('+', *path),
                Event::Leave { path, node } => {
                    assert_eq!(node.unwrap().kind, NodeKind::Dir);
                    ('-', *path)
                }
                Event::Unreadable { .. } => panic!("{event:?}"),
            };
            told.push(format!("{mark}{}", String::from_utf8_lossy(&path[place.path.len()..])));
        }
        assert_eq!(told, ["+/a", "+/a/b", "+/a/b/c", "-/a/b", "+/a/d", "-/a"]);
    });
}

#[test]
fn a_source_within_another_stands_in_for_its_entry() {
    let fixture = fixture();
    fixture.craft(|packer| {
        let at_mount = file(packer, "hidden", &[Ok(b"x")]);
        let home = folder(packer, "home", &[at_mount]);
        let srv = folder(packer, "srv", &[]);
        let mut var = Node::new(b"var", NodeKind::Symlink);
        var.set_target(b"srv");
        let etc = file(packer, "etc", &[Ok(b"e")]);
        let root = folder(packer, "", &[etc, home, srv, var]);
        let inner = file(packer, "mine", &[Ok(b"m")]);
        let ann = folder(packer, "", &[inner]);
        let boot = file(packer, "", &[Ok(b"b")]);
        let below_link = file(packer, "", &[Ok(b"l")]);
        let replaced = folder(packer, "", &[]);
        sources(vec![
            ("/", root),
            ("/home/ann", replaced),
            ("/home/ann", ann.clone()),
            ("/boot/efi", boot),
            ("/srv", ann),
            ("/var/log/x", below_link),
        ])
    });
    browse(&fixture, |browser| {
        let all = [
            "?/boot",
            "/boot/efi",
            "/etc",
            "/home",
            "/home/ann",
            "/home/ann/mine",
            "/home/hidden",
            "/srv",
            "/srv/mine",
            "/var",
            "?/var/log",
            "/var/log/x",
        ];
        assert_eq!(listed(browser, "/", true), all);
        assert_eq!(browser.top().node.unwrap().kind, NodeKind::Dir);
        assert_eq!(listed(browser, "/home", false), ["/home/ann", "/home/hidden"]);
        assert_eq!(browser.resolve(b"/var").unwrap().node.unwrap().kind, NodeKind::Symlink);
        assert_eq!(browser.resolve(b"/var/log/x").unwrap().node.unwrap().size, 1);
        assert_eq!(browser.resolve(b"/srv/mine").unwrap().node.unwrap().size, 1);
        assert_eq!(browser.sources().len(), 5);
    });
}

#[test]
fn a_path_that_no_file_system_has_is_refused() {
    for path in ["/a/../b", "/a\0", &format!("/{}", "x/".repeat(3000))] {
        let fixture = fixture();
        fixture.craft(|packer| sources(vec![(path, folder(packer, "", &[]))]));
        let (repo, catalog) = fixture.open();
        let snapshots = Snapshots::load(&repo, &catalog).unwrap();
        let contents = Contents::open(&repo, &catalog).unwrap();
        let chunks = contents.chunks(&repo).unwrap();
        let error = failure(Browser::open(&repo, &catalog, &chunks, &snapshots.sealed[0]));
        assert!(error.starts_with("snapshot "), "{error}");
    }
}

/// A tree so deep, with a file before and behind the folder in each.
fn deep(packer: &mut Packer, depth: usize) -> Node {
    let before = file(packer, "a", &[]);
    let behind = file(packer, "z", &[]);
    let mut node = folder(packer, "m", &[]);
    for _ in 1..depth {
        node = folder(packer, "m", &[before.clone(), node, behind.clone()]);
    }
    node
}

#[test]
fn deep_trees_are_walked_without_recursion() {
    let fixture = fixture();
    fixture.craft(|packer| sources(vec![("/s", deep(packer, 10_000))]));
    browse(&fixture, |browser| {
        let (mut entries, mut deepest) = (0, 0);
        let unreadable = browser.list(&browser.top(), true, |path, _| {
            entries += 1;
            deepest = deepest.max(path.iter().filter(|b| **b == b'/').count());
            Ok(())
        });
        assert!(unreadable.unwrap().is_empty());
        assert_eq!((entries, deepest), (1 + 3 * 9_999, 10_000));
        let path = format!("/s{}", "/m".repeat(9_999));
        assert_eq!(browser.resolve(path.as_bytes()).unwrap().path, path.as_bytes());
    });
}

#[test]
fn a_tree_that_is_too_deep_is_told_and_the_rest_is_read() {
    let fixture = fixture();
    fixture.craft(|packer| {
        let (deep, last) = (deep(packer, MAX_DEPTH + 5), file(packer, "z", &[]));
        let top = folder(packer, "", &[deep, last]);
        sources(vec![("/s", top)])
    });
    browse(&fixture, |browser| {
        let mut last = Vec::new();
        let unreadable = browser.list(&browser.top(), true, |path, _| {
            last = path.to_vec();
            Ok(())
        });
        let unreadable = unreadable.unwrap();
        assert_eq!(unreadable.count(), 1);
        assert!(unreadable.first()[0].why.contains("depth"), "{}", unreadable.first()[0].why);
        assert_eq!(last, b"/s/z");
    });
}

#[test]
fn folders_that_were_put_aside_go_on_where_they_were() {
    let fixture = fixture();
    // 100 levels, each of several leaves, with the folder in the middle.
    fixture.craft(|packer| {
        let mut node = folder(packer, "m", &[]);
        for _ in 0..100 {
            let leaves = ["a", "k", "m", "n", "z"].map(|name| {
                let mut entries = vec![Node::new(format!("{name}1").as_bytes(), NodeKind::Fifo)];
                entries.extend((name == "m").then(|| node.clone()));
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                let leaf: Vec<u8> = entries.iter().flat_map(Node::to_line).collect();
                packer.put(PackKind::Meta, &leaf).unwrap().to_string()
            });
            node = Node::new(b"m", NodeKind::Dir);
            node.entries = Some(Rope { depth: 0, chunk_size: None, lines: leaves.to_vec() });
        }
        sources(vec![("/s", node)])
    });
    browse(&fixture, |browser| {
        let mut paths = listed(browser, "/s", true);
        assert_eq!(paths.len(), 600);
        assert_eq!(paths.last().unwrap(), "/s/z1");
        let in_order = paths.clone();
        paths.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        assert_eq!(paths, in_order);
    });
}

#[test]
fn lost_parts_are_told_and_the_rest_is_shown() {
    let fixture = fixture();
    let lost = ChunkId([7; 32]).to_string();
    fixture.craft(|packer| {
        let names = ["a", "b", "x", "y"].map(|name| Node::new(name.as_bytes(), NodeKind::Fifo));
        let (one, two) = names.split_at(2);
        let [one, two] = [one, two].map(|nodes| {
            let leaf: Vec<u8> = nodes.iter().flat_map(Node::to_line).collect();
            packer.put(PackKind::Meta, &leaf).unwrap().to_string()
        });
        let mut holed = Node::new(b"holed", NodeKind::Dir);
        holed.entries = Some(Rope { depth: 0, chunk_size: None, lines: vec![one, lost.clone(), two] });
        let mut gone = Node::new(b"gone", NodeKind::Dir);
        gone.entries = Some(Rope { depth: 1, chunk_size: None, lines: vec![lost.clone()] });
        let bare = Node::new(b"bare", NodeKind::Dir);
        let mut odd = Node::new(b"odd", NodeKind::Dir);
        odd.entries = Some(Rope { depth: 200, chunk_size: None, lines: vec![] });
        let top = folder(packer, "", &[bare, gone, holed, odd]);
        sources(vec![("/s", top)])
    });
    browse(&fixture, |browser| {
        let shown = [
            "/s",
            "/s/bare",
            "/s/gone",
            "/s/holed",
            "/s/holed/a",
            "/s/holed/b",
            "/s/holed/x",
            "/s/holed/y",
            "/s/odd",
            "!/s/bare",
            "!/s/gone",
            "!/s/holed",
            "!/s/odd",
        ];
        assert_eq!(listed(browser, "/", true), shown);
        assert!(browser.resolve(b"/s/holed/x").is_ok());
        // It cannot be said whether it is there.
        assert!(matches!(browser.resolve(b"/s/holed/c"), Err(Error::Damaged(_))));
        assert!(matches!(browser.resolve(b"/s/gone/c"), Err(Error::Damaged(_))));
        assert!(matches!(browser.resolve(b"/s/holed/a/c"), Err(Error::NotFound(_))));
    });
}

#[test]
fn a_name_never_stands_twice_in_a_folder() {
    let fixture = fixture();
    fixture.craft(|packer| {
        let names =
            ["a", "c", "b", "c", "d", "d", "e"].map(|name| Node::new(name.as_bytes(), NodeKind::Fifo));
        let many = folder(packer, "many", &vec![Node::new(b"x", NodeKind::Fifo); 300]);
        let top = folder(packer, "", &names);
        let bad = [Node::new(b"..", NodeKind::Dir), Node::new(b"fine", NodeKind::Fifo)];
        let bad = folder(packer, "", &bad);
        sources(vec![("/many", many), ("/s", top), ("/t", bad)])
    });
    browse(&fixture, |browser| {
        assert_eq!(listed(browser, "/s", true), ["/s/a", "/s/c", "/s/d", "/s/e", "!/s", "!/s", "!/s"]);
        assert_eq!(listed(browser, "/t", true), ["/t/fine", "!/t"]);
        // A folder that is all disorder is given up.
        assert!(listed(browser, "/many", true).len() < 110);
    });
}

#[test]
fn a_store_that_does_not_answer_is_no_damage() {
    let fixture = fixture();
    fixture.write("a", "1");
    fixture.backup(&[&fixture.source()]);
    for (kind, fatal) in
        [(ErrorKind::Transient, true), (ErrorKind::Other, false), (ErrorKind::NotFound, false)]
    {
        let store = Arc::new(FaultyStore::new(fixture.store.clone()));
        let (repo, catalog) = fixture.open_in(store.clone(), Some(fixture.recovery())).unwrap();
        let snapshots = Snapshots::load(&repo, &catalog).unwrap();
        let contents = Contents::open(&repo, &catalog).unwrap();
        let chunks = contents.chunks(&repo).unwrap();
        let browser = Browser::open(&repo, &catalog, &chunks, &snapshots.sealed[0]).unwrap();
        for copy in catalog.packs.values().flatten() {
            let fault = ReadFault { kind: ReadFaultKind::Fail(kind), once: false };
            store.set_read_fault(&copy.stored.key, Some(fault));
        }
        let listed = browser.list(&browser.top(), true, |_, _| Ok(()));
        match listed {
            Ok(unreadable) => assert!(!fatal && unreadable.count() == 1),
            Err(error) => assert!(fatal, "{error}"),
        }
    }
}

#[test]
fn whoever_lists_may_stop_it() {
    let fixture = fixture();
    fixture.write("a", "1");
    fixture.backup(&[&fixture.source()]);
    browse(&fixture, |browser| {
        let stopped = browser.list(&browser.top(), true, |_, _| Err(Error::Interrupted));
        assert!(matches!(stopped, Err(Error::Interrupted)));
    });
}

#[test]
fn reading_needs_a_reader() {
    let fixture = fixture();
    fixture.backup(&[&fixture.source()]);
    let mut host = fixture.host.clone();
    host.identities.clear();
    for material in [None, Some(Material::Host(Box::new(host)))] {
        let (repo, catalog) = fixture.open_with(material).unwrap();
        assert!(matches!(Contents::open(&repo, &catalog), Err(Error::Key(_))));
    }
}
