//! Order, completeness, and what is left out.

#![expect(clippy::disallowed_methods, reason = "the tests move folders about on purpose")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use fardel_source::{Error, ErrorKind, Event, Excludes, FileId, Kind, Tree, Walk, WalkOptions};
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat};

use crate::{Mounted, works};

/// One event as a short line: `+dir`, `-`, `file`, `!path why`, `?path kind`.
fn line(event: Event) -> String {
    let text = |path: &[u8]| path.escape_ascii().to_string();
    match event {
        Event::Enter(entry) => format!("+{}", text(&entry.path)),
        Event::Entry(entry) => text(&entry.path),
        Event::Leave => "-".into(),
        Event::Excluded { path, why } => format!("!{} {why:?}", text(&path)),
        Event::Failed { path, error } => format!("?{} {:?}", text(&path), error.kind()),
    }
}

fn lines(root: &Path, options: WalkOptions) -> Vec<String> {
    Tree::open(root).unwrap().walk(options).map(line).collect()
}

fn write(root: &Path, files: &[&[u8]]) {
    for file in files {
        let path = root.join(OsStr::from_bytes(file));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
}

fn excluding(patterns: &[&str]) -> Excludes {
    let mut builder = Excludes::builder("/");
    for pattern in patterns {
        builder.add_line(pattern).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn siblings_come_by_the_bytes_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[b"a/x", b"a.b", b"a-b", b"B", b"\xffz", b"\xc3\xa4/\xfe", b"a/a/q", b"ab"]);
    fs::create_dir(dir.path().join("empty")).unwrap();
    assert_eq!(
        lines(dir.path(), WalkOptions::default()),
        [
            "B",
            "+a",
            "+a/a",
            "a/a/q",
            "-",
            "a/x",
            "-",
            "a-b",
            "a.b",
            "ab",
            "+empty",
            "-",
            "+\\xc3\\xa4",
            "\\xc3\\xa4/\\xfe",
            "-",
            "\\xffz",
        ]
    );
}

#[test]
fn every_kind_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    symlink(OsStr::from_bytes(b"to/\xff"), at("link")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    fs::write(at("file"), "12345").unwrap();
    fs::hard_link(at("file"), at("twin")).unwrap();
    fs::set_permissions(at("file"), fs::Permissions::from_mode(0o4751)).unwrap();
    let device = rustix::fs::makedev(7, 4321);
    let devices = mknodat(CWD, at("block"), FileType::BlockDevice, Mode::from_raw_mode(0o600), device)
        .and_then(|()| {
            mknodat(CWD, at("char"), FileType::CharacterDevice, Mode::from_raw_mode(0o600), device)
        });
    let mut found = Vec::new();
    for event in Tree::open(dir.path()).unwrap().walk(WalkOptions::default()) {
        let Event::Entry(entry) = event else { panic!("{event:?}") };
        if entry.path == b"file" {
            assert_eq!((entry.meta.mode, entry.meta.size, entry.meta.links), (0o4751, 5, 2));
            assert_eq!(entry.meta.id(), FileId::of(&at("twin")).unwrap());
            assert!(entry.meta.mtime.secs > 1_600_000_000 && entry.meta.ctime >= entry.meta.mtime);
        }
        found.push((String::from_utf8(entry.name().to_vec()).unwrap(), entry.meta.kind));
    }
    let mut expected = vec![
        ("fifo", Kind::Fifo),
        ("file", Kind::File),
        ("link", Kind::Symlink { target: b"to/\xff".to_vec() }),
        ("socket", Kind::Socket),
        ("twin", Kind::File),
    ];
    if devices.is_ok() {
        expected.insert(0, ("block", Kind::BlockDevice { major: 7, minor: 4321 }));
        expected.insert(1, ("char", Kind::CharDevice { major: 7, minor: 4321 }));
    } else {
        eprintln!("SKIPPED in part: device nodes cannot be made here");
    }
    let expected: Vec<_> = expected.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
    assert_eq!(found, expected);
}

/// Removes trees that are too deep for the standard library.
struct Deep(Option<tempfile::TempDir>);

impl Drop for Deep {
    fn drop(&mut self) {
        let path = self.0.take().unwrap().keep();
        assert!(works("rm", &["-rf", path.to_str().unwrap()]));
    }
}

/// Makes a chain of folders, with a file `z` in every one for which `mark` says so.
fn chain(root: &Path, names: impl Iterator<Item = String>, mark: impl Fn(usize) -> bool) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, root, flags, Mode::empty()).unwrap();
    for (depth, name) in names.enumerate() {
        if mark(depth) {
            mknodat(&at, "z", FileType::RegularFile, Mode::from_raw_mode(0o600), 0).unwrap();
        }
        mkdirat(&at, &name, Mode::from_raw_mode(0o700)).unwrap();
        at = openat(&at, &name, flags, Mode::empty()).unwrap();
    }
    mknodat(&at, "bottom", FileType::RegularFile, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn trees_of_ten_thousand_levels_are_walked_with_few_open_folders() {
    let dir = Deep(Some(tempfile::tempdir().unwrap()));
    let root = dir.0.as_ref().unwrap().path();
    chain(root, std::iter::repeat_n("folder-name".into(), 10_000), |depth| depth % 100 == 0);
    let tree = Tree::open(root).unwrap();
    let (mut depth, mut deepest, mut marks, mut leaves, mut most_open) = (0, 0, 0, 0, 0);
    for (n, event) in tree.walk(WalkOptions::default()).enumerate() {
        match event {
            Event::Enter(_) => depth += 1,
            Event::Leave => (depth, leaves) = (depth - 1, leaves + 1),
            Event::Entry(entry) if entry.name() == b"bottom" => {
                deepest = depth;
                assert_eq!(entry.path.len(), 10_000 * "folder-name/".len() + "bottom".len());
                let reader = tree.open_file(&entry.path, &entry.meta).unwrap();
                assert!(reader.finish().unwrap().is_stable());
                assert!(tree.xattrs(&entry.path, &entry.meta).unwrap().is_empty());
            }
            Event::Entry(entry) => {
                assert_eq!((entry.name(), depth % 100), (&b"z"[..], 0));
                marks += 1;
            }
            other => panic!("{}", line(other)),
        }
        if n % 3000 == 0 {
            most_open = most_open.max(folders_open_beneath(root));
        }
    }
    assert_eq!((depth, deepest, marks, leaves), (0, 10_000, 100, 10_000));
    assert!((60..=70).contains(&most_open), "{most_open}");
}

fn folders_open_beneath(root: &Path) -> usize {
    let fds = fs::read_dir("/proc/self/fd").unwrap().map(|fd| fs::read_link(fd.unwrap().path()));
    let is_ours = |path: Result<std::path::PathBuf, std::io::Error>| match path {
        Ok(path) => path.starts_with(root),
        // Only a very deep folder has such a path.
        Err(e) => e.kind() == std::io::ErrorKind::InvalidFilename,
    };
    fds.filter_map(|path| is_ours(path).then_some(())).count()
}

/// A walk that stands still, because its events are not taken, in the folder that `wide` leads to.
fn blocked_in(root: &Path, wide: &Path) -> Walk {
    for n in 0..5000 {
        fs::write(wide.join(format!("f{n:04}")), "").unwrap();
    }
    let mut walk = Tree::open(root).unwrap().walk(WalkOptions::default());
    while !matches!(walk.next(), Some(Event::Entry(entry)) if entry.name() == b"f0000") {}
    walk
}

#[test]
fn what_vanishes_before_it_is_looked_at_is_not_reported() {
    let dir = tempfile::tempdir().unwrap();
    let walk = blocked_in(dir.path(), dir.path());
    fs::create_dir(dir.path().join("zz")).unwrap();
    for n in 1..5000 {
        fs::remove_file(dir.path().join(format!("f{n:04}"))).unwrap();
    }
    let rest: Vec<_> = walk.map(line).collect();
    assert!(rest.len() < 2500, "{} events after the files were gone", rest.len());
    assert!(rest.iter().all(|line| line.starts_with('f')), "{rest:?}");
}

#[test]
fn folders_that_move_while_they_are_closed_are_found_again_or_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (root, away) = (dir.path().join("root"), dir.path().join("away"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&away).unwrap();
    chain(&root, (0..100).map(|n| n.to_string()), |_| true);
    let level = |depth: usize| (0..depth).fold(root.clone(), |path, n| path.join(n.to_string()));
    let walk = blocked_in(&root, &level(100));
    // Level 20 is no longer found from level 21 up, but by its path. Level 10 moves too: 10 to 19 are not found
    // by their paths any more.
    fs::rename(level(21), away.join("21")).unwrap();
    let (mut seen, mut depth, mut lowest) = (Vec::new(), 100, 100);
    let mut lost = Vec::new();
    for event in walk {
        match event {
            Event::Leave => {
                depth -= 1;
                if depth < lowest {
                    lowest = depth;
                }
            }
            Event::Entry(entry) if entry.name() == b"z" => seen.push(depth),
            Event::Failed { path, error } => lost.push((path, error)),
            _ => {}
        }
    }
    assert_eq!((depth, lowest), (0, 0));
    assert_eq!(seen, (0..100).rev().collect::<Vec<_>>());
    assert!(lost.is_empty(), "{lost:?}");

    fs::rename(away.join("21"), level(21)).unwrap();
    let walk = blocked_in(&root, &level(100));
    fs::rename(level(21), away.join("21")).unwrap();
    fs::rename(level(11), away.join("11")).unwrap();
    let (mut seen, mut depth, mut lost) = (Vec::new(), 100, Vec::new());
    for event in walk {
        match event {
            Event::Leave => depth -= 1,
            Event::Entry(entry) if entry.name() == b"z" => seen.push(depth),
            Event::Failed { error, .. } => lost.push((depth, error.kind())),
            _ => {}
        }
    }
    assert_eq!(depth, 0);
    assert_eq!(lost, (11..=20).rev().map(|n| (n, ErrorKind::Vanished)).collect::<Vec<_>>());
    assert_eq!(seen, (21..100).rev().chain((0..=10).rev()).collect::<Vec<_>>());
}

/// Root may read everything, so the walk is done by a child that is nobody.
#[test]
fn folders_that_may_not_be_listed_are_reported_and_kept() {
    const ROOT: &str = "FARDEL_TEST_UNREADABLE";
    if let Some(root) = std::env::var_os(ROOT) {
        println!("LINES {:?}", lines(Path::new(&root), WalkOptions::default()));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[b"a", b"listed/f", b"shut/f", b"z"]);
    let mode = |name: &str, mode| {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("", 0o755);
    mode("shut", 0o700);
    mode("listed", 0o744);
    // The test binary may lie where nobody may not go.
    let binary = dir.path().join("a");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    mode("a", 0o755);
    let test = "walk::folders_that_may_not_be_listed_are_reported_and_kept";
    let child = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&binary)
        .args(["--exact", test, "--nocapture"])
        .env(ROOT, dir.path())
        .output();
    let output = match child {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
        other => return eprintln!("SKIPPED: no child without privileges: {other:?}"),
    };
    let expected = ["a", "+listed", "?listed/f Denied", "-", "+shut", "?shut Denied", "-", "z"];
    assert!(output.contains(&format!("LINES {expected:?}")), "{output}");
}

#[test]
fn excludes_prune_and_are_told() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[b"a.o", b"keep.o", b"b/c.o", b"b/d", b"tmp/x/y", b"b/tmp", b"\xff.o"]);
    let excludes = excluding(&["*.o", "!keep.o", "tmp/"]);
    assert_eq!(
        lines(dir.path(), WalkOptions { excludes, ..Default::default() }),
        [
            "!a.o Pattern",
            "+b",
            "!b/c.o Pattern",
            "b/d",
            "b/tmp",
            "-",
            "keep.o",
            "!tmp Pattern",
            "!\\xff.o Pattern",
        ]
    );
}

#[test]
fn caches_keep_their_folder_and_their_tag() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[b"c/big", b"c/CACHEDIR.TAG", b"fake/CACHEDIR.TAG", b"fake/f", b"link/f", b"f"]);
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# anything";
    fs::write(dir.path().join("c/CACHEDIR.TAG"), tag).unwrap();
    // The root itself is no cache, whatever it says.
    fs::write(dir.path().join("CACHEDIR.TAG"), tag).unwrap();
    symlink("../c/CACHEDIR.TAG", dir.path().join("link/CACHEDIR.TAG")).unwrap();
    let options = WalkOptions { exclude_caches: true, ..Default::default() };
    assert_eq!(
        lines(dir.path(), options),
        [
            "CACHEDIR.TAG",
            "+c",
            "!c CacheFolder",
            "c/CACHEDIR.TAG",
            "-",
            "f",
            "+fake",
            "fake/CACHEDIR.TAG",
            "fake/f",
            "-",
            "+link",
            "link/CACHEDIR.TAG",
            "link/f",
            "-",
        ]
    );
}

#[test]
fn large_files_and_reserved_folders_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[b"repo/pack", b"small", b"x/y"]);
    fs::write(dir.path().join("ten"), [0; 10]).unwrap();
    fs::write(dir.path().join("eleven"), [0; 11]).unwrap();
    let never = vec![FileId::of(&dir.path().join("repo")).unwrap()];
    let options = WalkOptions { exclude_larger_than: Some(10), never, ..Default::default() };
    assert_eq!(
        lines(dir.path(), options),
        ["!eleven Larger", "!repo Never", "small", "ten", "+x", "x/y", "-"]
    );
    let never = vec![FileId::of(dir.path()).unwrap()];
    assert_eq!(lines(dir.path(), WalkOptions { never, ..Default::default() }), ["! Never"]);
}

#[test]
fn one_file_system_stops_at_mounts_and_keeps_their_folders() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[b"m/hidden", b"n/f"]);
    let point = dir.path().join("m").to_str().unwrap().to_owned();
    if !works("mount", &["-t", "tmpfs", "none", &point]) {
        return eprintln!("SKIPPED: nothing can be mounted here");
    }
    let _mounted = Mounted(point);
    write(dir.path(), &[b"m/mounted"]);
    assert_eq!(lines(dir.path(), WalkOptions::default()), ["+m", "m/mounted", "-", "+n", "n/f", "-"]);
    let options = WalkOptions { one_file_system: true, ..Default::default() };
    assert_eq!(lines(dir.path(), options), ["+m", "!m OtherFilesystem", "-", "+n", "n/f", "-"]);
}

#[test]
fn a_dropped_walk_stops_and_closes_its_folders() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let walk = blocked_in(&root, &root);
    assert!(folders_open_beneath(&root) > 0);
    drop(walk);
    assert_eq!(folders_open_beneath(&root), 0);
}

#[test]
fn a_root_that_is_gone_is_an_error_or_an_empty_tree() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::open(dir.path()).unwrap();
    drop(dir);
    let all: Vec<_> = tree.walk(WalkOptions::default()).collect();
    assert!(matches!(&all[..], [] | [Event::Failed { .. }]), "{all:?}");
    let gone: Error = Tree::open(tree.path()).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

/// The same tree, listed in the simplest way.
fn simply(root: &Path, relative: &Path, out: &mut Vec<String>) {
    let mut names: Vec<_> =
        fs::read_dir(root.join(relative)).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    for name in names {
        let path = relative.join(name);
        let text = path.as_os_str().as_bytes().escape_ascii().to_string();
        if root.join(&path).is_dir() {
            out.push(format!("+{text}"));
            simply(root, &path, out);
            out.push("-".into());
        } else {
            out.push(text);
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 40, ..Default::default() })]
    #[test]
    fn any_tree_is_listed_as_the_simplest_lister_does(
        paths in proptest::collection::vec(proptest::collection::vec("[ab.\u{e4}\t -]{1,3}", 1..6), 0..30),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for path in paths {
            let path = path.iter().fold(dir.path().to_path_buf(), |path, part| match part.as_str() {
                "." | ".." => path.join("dot"),
                part => path.join(part),
            });
            // Some are folders by then, or lie under files: then nothing is made.
            let _ = fs::create_dir_all(path.parent().unwrap());
            let _ = fs::write(&path, "");
        }
        let mut expected = Vec::new();
        simply(dir.path(), Path::new(""), &mut expected);
        assert_eq!(lines(dir.path(), WalkOptions::default()), expected);
    }
}

/// Prints how long a walk takes; nothing is asserted of it.
#[test]
fn timing() {
    let tree = Tree::open(Path::new("/usr/share")).unwrap();
    for _ in 0..2 {
        let start = Instant::now();
        let count = tree.walk(WalkOptions::default()).filter(|e| !matches!(e, Event::Leave)).count();
        let took = start.elapsed();
        println!("TIMING /usr/share: {count} entries in {took:?}, {:?} each", took / count.max(1) as u32);
    }
}
