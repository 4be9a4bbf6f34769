use proptest::prelude::*;

use super::*;
use crate::samples;

fn full(name: &[u8]) -> Node {
    let mut node = Node::new(name, NodeKind::File);
    node.mode = 0o4755;
    (node.uid, node.gid) = (1000, u32::MAX);
    (node.user, node.group) = (Some("ann".into()), None);
    node.size = 1 << 60;
    node.mtime = Moment { secs: -5, nanos: 1 };
    (node.inode, node.dev, node.links) = (u64::MAX, 64_769, 2);
    node.device = Some((8, 1));
    node.xattrs = vec![Xattr { name: "user.x".into(), value: vec![0, 255] }];
    node.content =
        Some(Rope { depth: 0, chunk_size: None, lines: vec![format!("{} 5", samples::id(1)), "- 7".into()] });
    node.inconsistent = Some("it changed while it was read".into());
    node
}

proptest! {
    #[test]
    fn entries_come_back(name in prop::collection::vec(any::<u8>(), 1..300), target in prop::collection::vec(1u8.., 1..50), mode in 0u32..=0o7777, secs in any::<i64>(), size in any::<u64>()) {
        let mut node = full(&name);
        (node.mode, node.size, node.mtime.secs) = (mode, size, secs);
        node.set_target(&target);
        let line = node.to_line();
        prop_assert_eq!(line.iter().filter(|&&b| b == b'\n').count(), 1, "one entry, one line");
        let read = Node::from_line(line.strip_suffix(b"\n").unwrap()).unwrap();
        prop_assert_eq!(&read, &node);
        let target_found = read.target_bytes().unwrap();
        prop_assert_eq!(target_found.as_ref(), &target[..]);
        match read.name_bytes() {
            Ok(found) => prop_assert_eq!(found.as_ref(), &name[..]),
            Err(_) => prop_assert!(check_name(&name).is_err()),
        }
        prop_assert!(node.name.is_some() != node.name_b64.is_some());
    }

    #[test]
    fn hostile_lines_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5)) {
        let mut line = full(b"name").to_line();
        for (at, byte) in flips {
            let at = at.index(line.len());
            line[at] = byte;
        }
        if let Ok(node) = Node::from_line(&line) {
            let again = Node::from_line(&node.to_line()).unwrap();
            prop_assert_eq!(again, node);
        }
    }
}

#[test]
fn every_kind_has_a_word() {
    let kinds = [
        (NodeKind::File, "file"),
        (NodeKind::Dir, "dir"),
        (NodeKind::Symlink, "symlink"),
        (NodeKind::Fifo, "fifo"),
        (NodeKind::Socket, "socket"),
        (NodeKind::Block, "block"),
        (NodeKind::Char, "char"),
        (NodeKind::Volume, "volume"),
    ];
    for (kind, word) in kinds {
        let line = Node::new(b"x", kind).to_line();
        assert!(String::from_utf8_lossy(&line).contains(&format!("\"type\":\"{word}\"")));
        assert_eq!(Node::from_line(&line).unwrap().kind, kind);
    }
}

#[test]
fn the_text_is_frozen() {
    let text = String::from_utf8(full(b"a\xff").to_line()).unwrap();
    let expected = format!(
        concat!(
            r#"{{"name_b64":"Yf8=","type":"file","mode":"4755","uid":1000,"gid":4294967295,"user":"ann","size":"1152921504606846976","#,
            r#""mtime":"-5.000000001","ctime":"0.000000000","inode":"18446744073709551615","dev":64769,"links":2,"device":[8,1],"#,
            r#""xattrs":[{{"name":"user.x","value":"AP8="}}],"content":{{"depth":0,"lines":["{} 5","- 7"]}},"#,
            r#""inconsistent":"it changed while it was read"}}"#,
            "\n"
        ),
        samples::id(1)
    );
    assert_eq!(text, expected);
}

#[test]
fn names_that_could_leave_their_folder() {
    let bad: [&[u8]; 8] = [b"", b".", b"..", b"/", b"a/b", b"a\0b", b"\0", &[b'x'; 256]];
    for name in bad {
        assert!(check_name(name).is_err());
        assert!(Node::new(name, NodeKind::File).name_bytes().is_err());
    }
    for name in [&b"..."[..], b"..a", b" ", b"\\", b"con", b"\n", b"\xff", &[b'x'; 255]] {
        check_name(name).unwrap();
        assert_eq!(Node::new(name, NodeKind::File).name_bytes().unwrap().as_ref(), name);
    }
    let mut both = Node::new(b"x", NodeKind::File);
    both.name_b64 = Some("eA==".into());
    assert!(both.name_bytes().is_err());
    both.name = None;
    assert_eq!(both.name_bytes().unwrap().as_ref(), b"x");
    both.name_b64 = Some("Li4=".into());
    assert!(both.name_bytes().is_err(), "`..` in base64");
    both.name_b64 = None;
    assert!(both.name_bytes().is_err());
}

#[test]
fn targets_of_links() {
    let mut node = Node::new(b"x", NodeKind::Symlink);
    assert!(node.target_bytes().is_err());
    node.set_target(b"../up\xff");
    assert_eq!(node.target_bytes().unwrap().as_ref(), b"../up\xff");
    for bad in [&b""[..], b"a\0"] {
        node.set_target(bad);
        assert!(node.target_bytes().is_err());
    }
}

#[test]
fn modes_are_permission_bits() {
    let mut node = Node::new(b"x", NodeKind::File);
    node.mode = 0o100_644;
    assert_eq!(
        Node::from_line(&node.to_line()).unwrap().mode,
        0o644,
        "the kind is not written: no reader would take it"
    );
    let line = String::from_utf8(Node::new(b"x", NodeKind::File).to_line()).unwrap();
    for bad in ["\"10000\"", "\"8\"", "\"\"", "\"-1\"", "644", "\"37777777777777\""] {
        let line = line.replace("\"mode\":\"0\"", &format!("\"mode\":{bad}"));
        assert!(Node::from_line(line.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn hostile_entries_are_refused() {
    let line = full(b"x").to_line();
    assert_eq!(Node::from_line(&samples::nested(&line, 2)).unwrap(), full(b"x"));
    samples::assert_depth_is_harmless(&line, Node::from_line);
    assert!(Node::from_line(b"").is_err());
    assert!(Node::from_line(b"{}").is_err());
    assert!(Node::from_line(&[&line[..], &line].concat()).is_err());
}

#[test]
fn leaves_are_lines() {
    let leaf =
        [Node::new(b"a", NodeKind::File).to_line(), Node::new(b"b", NodeKind::File).to_line()].concat();
    let names: Vec<_> =
        leaf_lines(&leaf).unwrap().map(|line| Node::from_line(line).unwrap().name.unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(leaf_lines(&leaf[..leaf.len() - 1]).is_err());
    assert!(leaf_lines(b"").is_err());
    assert!(leaf_lines(b"\n").unwrap().any(|line| Node::from_line(line).is_err()));
}

/// The leaves that a folder of these names is split into, by their last name.
fn split(key: &[u8; 32], names: &[String], line: usize) -> Vec<String> {
    let splitter = LeafSplitter::new(key);
    let (mut borders, mut len) = (Vec::new(), 0);
    for name in names {
        len += line;
        assert!(len < MAX_LEAF + line);
        if splitter.ends_after(name.as_bytes(), len) {
            borders.push(name.clone());
            len = 0;
        }
    }
    borders
}

#[test]
fn a_folder_of_many_entries_changes_locally() {
    let mut names: Vec<String> = (0..50_000).map(|n| format!("file-{n:06}")).collect();
    let before = split(&[1; 32], &names, 380);
    let usual = names.len() * 380 / before.len();
    assert!((40_000..80_000).contains(&usual), "{usual} bytes a leaf");
    names.remove(25_000);
    names.insert(10_000, "file-009999-new".into());
    let after = split(&[1; 32], &names, 380);
    let changed = after.iter().filter(|b| !before.contains(b)).count();
    assert!(changed <= 4, "{changed} of {} leaves end elsewhere", after.len());
    assert_ne!(split(&[2; 32], &names, 380), after, "where leaves end is secret");
}

#[test]
fn leaves_have_a_smallest_and_a_largest_size() {
    let splitter = LeafSplitter::new(&[1; 32]);
    for n in 0..2_000u32 {
        assert!(!splitter.ends_after(&n.to_le_bytes(), MIN_LEAF - 1));
        assert!(splitter.ends_after(&n.to_le_bytes(), MAX_LEAF));
    }
    // Published vectors: of the names 0 to 999 these end a leaf under a key of ones.
    let ends: Vec<u32> =
        (0..1_000).filter(|n| splitter.ends_after(n.to_string().as_bytes(), MIN_LEAF)).collect();
    assert_eq!(ends, SPLIT_VECTOR);
}

const SPLIT_VECTOR: &[u32] = &[93, 182, 183, 296, 381, 523, 620, 932];
