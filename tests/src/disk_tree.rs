//! Trees on disk: one with something of each kind to save, and text that describes one, so that two can be compared.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Bytes that look random and follow from `seed` alone.
#[must_use]
pub fn bytes(seed: &str, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut out);
    out
}

/// A folder in memory where there is one: what need not reach a disk is faster there.
///
/// # Panics
/// When there is no temporary folder at all.
#[must_use]
pub fn temporary_folder(name: &str) -> tempfile::TempDir {
    let builder =
        |place: &Path| tempfile::Builder::new().prefix(&format!("fardel-{name}-")).tempdir_in(place);
    builder("/dev/shm".as_ref()).or_else(|_| builder(&std::env::temp_dir())).expect("a temporary folder")
}

/// Makes a folder with something of each kind that anybody may make.
///
/// # Panics
/// When the file system refuses.
pub fn make(tree: &Path) {
    fs::create_dir_all(tree.join("many")).unwrap();
    fs::create_dir_all(tree.join("empty folder")).unwrap();
    fs::write(tree.join("empty"), b"").unwrap();
    fs::write(tree.join("small"), b"hello\n").unwrap();
    fs::write(tree.join("large"), bytes("large", 3_000_000)).unwrap();
    for n in 0..300 {
        fs::write(tree.join(format!("many/{n:03}")), bytes(&n.to_string(), n)).unwrap();
    }
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.write_all_at(&bytes("sparse", 70_000), 1 << 20).unwrap();
    sparse.set_len(5 << 20).unwrap();
    let odd = OsString::from_vec(b"not utf-8 \xff\xfe \n line".to_vec());
    fs::write(tree.join(odd), b"odd").unwrap();
    fs::hard_link(tree.join("small"), tree.join("many/link to small")).unwrap();
    fs::write(tree.join("same bytes as small"), b"hello\n").unwrap();
    symlink("../up/\u{e9}", tree.join("symlink")).unwrap();
    symlink(OsString::from_vec(b"\xff".to_vec()), tree.join("odd symlink")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(tree.join("fifo")).status().unwrap().success());
    fs::set_permissions(tree.join("small"), Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(tree.join("large"), Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(tree.join("empty folder"), Permissions::from_mode(0o1770)).unwrap();
    let at = |name: &str, time| {
        File::open(tree.join(name)).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    };
    at("small", UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789));
    at("empty", UNIX_EPOCH - Duration::new(5, 250_000_000));
    at("many", UNIX_EPOCH + Duration::new(1_000_000_000, 1));
}

/// Makes a disk image of 40 MiB and a bit, most of it holes: at 64 KiB a chunk, its map has two levels.
///
/// # Panics
/// When the file system refuses.
pub fn make_image(path: &Path) {
    let disk = File::create(path).unwrap();
    disk.set_len(40 * (1 << 20) + 12_345).unwrap();
    disk.write_all_at(&bytes("first", 200_000), 0).unwrap();
    disk.write_all_at(&bytes("middle", 100_000), 30 << 20).unwrap();
    disk.write_all_at(&bytes("end", 1_000), 40 * (1 << 20) + 11_345).unwrap();
}

/// Asserts that a file takes less than half the room of its length.
///
/// # Panics
/// When it does not.
pub fn assert_has_holes(file: &Path) {
    let meta = fs::metadata(file).unwrap();
    assert!(meta.blocks() * 512 < meta.len() / 2, "{} has no holes", file.display());
}

/// Describes everything below `root`: kind, permissions, time, content or target, hard links, extended attributes of users.
///
/// # Panics
/// When something cannot be read.
#[must_use]
pub fn describe(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut firsts = BTreeMap::new();
    walk(root, Path::new(""), &mut found, &mut firsts);
    found
}

fn walk(
    root: &Path,
    below: &Path,
    found: &mut BTreeMap<PathBuf, String>,
    firsts: &mut BTreeMap<(u64, u64), PathBuf>,
) {
    let path = root.join(below);
    let meta = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let kind = meta.file_type();
    let what = if kind.is_dir() {
        "folder".to_owned()
    } else if kind.is_symlink() {
        let target = fs::read_link(&path).unwrap();
        format!("link to {:?}", target.as_os_str().as_bytes())
    } else if kind.is_file() {
        let first = firsts.entry((meta.dev(), meta.ino())).or_insert_with(|| below.to_owned());
        let hash = blake3::hash(&fs::read(&path).unwrap());
        format!("file of {} bytes, {hash}, {} links, first {}", meta.len(), meta.nlink(), first.display())
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        "special".to_owned()
    };
    // What a link's permissions are is up to the system.
    let mode = if kind.is_symlink() { 0 } else { meta.mode() & 0o7777 };
    found.insert(
        below.to_owned(),
        format!(
            "{what}, mode {mode:o}, {}.{:09}, {}:{}",
            meta.mtime(),
            meta.mtime_nsec(),
            meta.uid(),
            meta.gid()
        ),
    );
    if kind.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names.iter().for_each(|name| walk(root, &below.join(name), found, firsts));
    }
}

/// Asserts that two trees are the same, and says where they differ.
///
/// # Panics
/// When they are not.
pub fn assert_same(expected: &Path, found: &Path) {
    let (expected, found) = (describe(expected), describe(found));
    let mut differences = Vec::new();
    for path in expected.keys().chain(found.keys().filter(|path| !expected.contains_key(*path))) {
        let (a, b) = (expected.get(path), found.get(path));
        if a != b {
            differences.push(format!("{}\n  expected {a:?}\n  found    {b:?}", path.display()));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {} paths differ:\n{}",
        differences.len(),
        expected.len(),
        differences.join("\n")
    );
}
