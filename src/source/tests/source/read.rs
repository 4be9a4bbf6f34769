//! Reading files and their attributes.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use fardel_source::{ErrorKind, FileReader, Meta, Run, Stability, Tree, Xattr};
use rustix::fs::{XattrFlags, lsetxattr};

fn open(dir: &Path, name: &str) -> FileReader {
    let tree = Tree::open(dir).unwrap();
    let meta = tree.look(name.as_bytes()).unwrap();
    tree.open_file(name.as_bytes(), &meta).unwrap()
}

/// Every run as (offset, length, data), neighbours of data joined, and the content with its holes as zeros.
fn read(reader: &mut FileReader, max: usize) -> (Vec<(u64, u64, bool)>, Vec<u8>) {
    let (mut runs, mut bytes, mut buf) =
        (Vec::<(u64, u64, bool)>::new(), Vec::new(), Vec::with_capacity(max));
    loop {
        buf.clear();
        let at = bytes.len() as u64;
        match reader.next(&mut buf, max).unwrap() {
            Run::End => return (runs, bytes),
            Run::Hole(length) => {
                assert!(buf.is_empty() && length > 0);
                runs.push((at, length, false));
                bytes.resize(bytes.len() + length as usize, 0);
            }
            Run::Data => {
                assert!(!buf.is_empty() && buf.len() <= max);
                match runs.last_mut() {
                    Some((_, length, true)) => *length += buf.len() as u64,
                    _ => runs.push((at, buf.len() as u64, true)),
                }
                bytes.extend_from_slice(&buf);
            }
        }
    }
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n * 31 + n / 251) as u8 | 1).collect()
}

#[test]
fn every_size_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    for size in [0, 1, 4095, 4096, 4097, 300_000, (1 << 20) + 3] {
        fs::write(dir.path().join("f"), content(size)).unwrap();
        for max in [1 << 12, 1 << 16, 1 << 20, 4 << 20] {
            let mut reader = open(dir.path(), "f");
            assert_eq!(reader.meta().size, size as u64);
            let (_, bytes) = read(&mut reader, max);
            assert!(bytes == content(size), "{size} by {max}");
            assert_eq!(reader.finish().unwrap(), Stability::Stable);
        }
        // Into a buffer that holds something, and has room for more than is asked for.
        let mut reader = open(dir.path(), "f");
        let mut buf = Vec::with_capacity(2 << 20);
        buf.extend_from_slice(b"kept");
        while reader.next(&mut buf, 1000).unwrap() != Run::End {}
        assert!(buf.strip_prefix(b"kept").unwrap() == content(size), "{size}");
    }
}

#[test]
fn holes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let file = OpenOptions::new().create_new(true).write(true).open(&path).unwrap();
    const MIB: u64 = 1 << 20;
    file.write_all_at(&content(MIB as usize), MIB).unwrap();
    file.write_all_at(&content(MIB as usize), 5 * MIB).unwrap();
    file.set_len(9 * MIB).unwrap();
    let mut reader = open(dir.path(), "f");
    let (runs, bytes) = read(&mut reader, 300_000);
    if runs == [(0, 9 * MIB, true)] {
        return eprintln!("SKIPPED: the file system of the temporary folder keeps no holes");
    }
    assert_eq!(
        runs,
        [
            (0, MIB, false),
            (MIB, MIB, true),
            (2 * MIB, 3 * MIB, false),
            (5 * MIB, MIB, true),
            (6 * MIB, 3 * MIB, false),
        ]
    );
    assert!(bytes == fs::read(&path).unwrap());
    assert!(reader.finish().unwrap().is_stable());

    // A terabyte of nothing is one step.
    file.set_len(0).unwrap();
    file.set_len(1 << 40).unwrap();
    let mut reader = open(dir.path(), "f");
    let mut buf = Vec::new();
    assert_eq!(reader.next(&mut buf, 4096).unwrap(), Run::Hole(1 << 40));
    assert_eq!(reader.next(&mut buf, 4096).unwrap(), Run::End);
    assert!(buf.is_empty());
}

#[test]
fn files_that_change_while_they_are_read_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    // With room for more than is asked for: what lies beyond must not come along.
    let mut buf = Vec::with_capacity(1 << 20);
    let start = |buf: &mut Vec<u8>| {
        fs::write(&path, content(100_000)).unwrap();
        let mut reader = open(dir.path(), "f");
        buf.clear();
        assert_eq!(reader.next(buf, 30_000).unwrap(), Run::Data);
        // The clock of some file systems ticks only every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(20));
        (reader, OpenOptions::new().append(true).open(&path).unwrap())
    };
    let rest = |reader: &mut FileReader, buf: &mut Vec<u8>| {
        while reader.next(buf, 30_000).unwrap() != Run::End {}
        buf.len()
    };
    let changed = |reader: FileReader, word: &str| match reader.finish().unwrap() {
        Stability::Changed(why) => assert!(why.contains(word), "{why}"),
        Stability::Stable => panic!("not noticed: {word}"),
    };

    let (mut reader, file) = start(&mut buf);
    file.set_len(40_000).unwrap();
    assert_eq!(rest(&mut reader, &mut buf), 40_000);
    changed(reader, "from 100000 to 40000");

    let (mut reader, file) = start(&mut buf);
    std::io::Write::write_all(&mut &file, &[9; 50_000]).unwrap();
    assert_eq!(rest(&mut reader, &mut buf), 100_000);
    assert!(buf == content(100_000));
    changed(reader, "from 100000 to 150000");

    let (mut reader, _) = start(&mut buf);
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"new", 5).unwrap();
    rest(&mut reader, &mut buf);
    changed(reader, "written");

    // Gone back to its size by the end: the times tell.
    let (mut reader, file) = start(&mut buf);
    file.set_len(10).unwrap();
    rest(&mut reader, &mut buf);
    file.set_len(100_000).unwrap();
    changed(reader, "written");

    // Removed while it is read: nothing of its content changed, but its links did.
    let (mut reader, _) = start(&mut buf);
    fs::remove_file(&path).unwrap();
    assert_eq!(rest(&mut reader, &mut buf), 100_000);
    changed(reader, "ctime");
}

#[test]
fn attributes_come_sorted_from_everything() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("f"), "x").unwrap();
    fs::create_dir(at("d")).unwrap();
    symlink("f", at("link")).unwrap();
    let set = |name: &str, key: &str, value: &[u8]| lsetxattr(at(name), key, value, XattrFlags::empty());
    if set("f", "user.b", b"2").is_err() {
        return eprintln!("SKIPPED: the file system of the temporary folder has no extended attributes");
    }
    let large = vec![7; 2500];
    set("f", "user.a", &large).unwrap();
    set("f", "user.empty", b"").unwrap();
    // user::rw-, user:12:r--, group::r--, mask::r--, other::---, as acl(5) lays it out in posix_acl_xattr.h.
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1, 6, u32::MAX), (2, 4, 12), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        let entry: [&[u8]; 3] =
            [&u16::to_le_bytes(tag), &u16::to_le_bytes(permissions), &u32::to_le_bytes(id)];
        acl.extend(entry.concat());
    }
    let has_acl = set("f", "system.posix_acl_access", &acl).is_ok();
    set("d", "user.on-a-folder", b"1").unwrap();
    set(".", "user.root", b"1").unwrap();
    let trusted = set("link", "trusted.on-a-link", b"1").is_ok();

    let tree = Tree::open(dir.path()).unwrap();
    let xattrs = |name: &str| tree.xattrs(name.as_bytes(), &tree.look(name.as_bytes()).unwrap()).unwrap();
    let named = |name: &str, value: &[u8]| Xattr { name: name.into(), value: value.into() };
    // Others, such as security.selinux, may come with the system.
    let ours = |all: Vec<Xattr>| -> Vec<Xattr> {
        all.into_iter().filter(|xattr| !xattr.name.starts_with(b"security.")).collect()
    };
    let mut expected = vec![named("user.a", &large), named("user.b", b"2"), named("user.empty", b"")];
    if has_acl {
        expected.insert(0, named("system.posix_acl_access", &acl));
    }
    assert_eq!(ours(xattrs("f")), expected);
    assert_eq!(ours(open(dir.path(), "f").xattrs().unwrap()), expected);
    assert_eq!(ours(xattrs("d")), [named("user.on-a-folder", b"1")]);
    assert_eq!(ours(xattrs("")), [named("user.root", b"1")]);
    if trusted {
        assert_eq!(ours(xattrs("link")), [named("trusted.on-a-link", b"1")]);
    } else {
        eprintln!("SKIPPED in part: links cannot carry attributes here");
    }
}

#[test]
fn a_file_system_without_attributes_gives_none() {
    let tree = Tree::open(Path::new("/proc/self")).unwrap();
    let meta = tree.look(b"status").unwrap();
    assert_eq!(tree.xattrs(b"status", &meta).unwrap(), []);
    // Its size is told as 0, so 0 bytes are read.
    let mut reader = tree.open_file(b"status", &meta).unwrap();
    assert_eq!(reader.next(&mut Vec::new(), 10).unwrap(), Run::End);
}

#[test]
fn only_the_file_that_was_listed_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "x").unwrap();
    let tree = Tree::open(dir.path()).unwrap();
    let meta = tree.look(b"f").unwrap();
    let kind = |path: &[u8], meta: &Meta| tree.open_file(path, meta).map(drop).map_err(|e| e.kind());
    assert_eq!(kind(b"f", &Meta { inode: meta.inode + 1, ..meta.clone() }), Err(ErrorKind::Changed));
    assert_eq!(kind(b"f", &Meta { dev: meta.dev + 1, ..meta.clone() }), Err(ErrorKind::Changed));
    assert_eq!(kind(b"none", &meta), Err(ErrorKind::Vanished));
    assert_eq!(kind(b"", &meta), Err(ErrorKind::Changed));
    assert_eq!(kind(b"../f", &meta), Err(ErrorKind::BadPath));
    let error = tree.open_file(b"none", &meta).unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("{}/none: cannot open it", dir.path().display())),
        "{error}"
    );
}

#[test]
fn the_access_time_is_left_alone() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "x").unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH;
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(fs::FileTimes::new().set_accessed(old))
        .unwrap();
    read(&mut open(dir.path(), "f"), 10);
    assert_eq!(fs::metadata(&path).unwrap().atime(), 0);
}
