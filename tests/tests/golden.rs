//! Repositories as earlier versions wrote them. They stay readable for ever: a fixture is never made again.
//!
//! `tests/golden/FORMAT/` holds the repository, the host's key file, the recovery identity, and what is in it.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use fardel_tests::{disk_tree, programs};
use tempfile::TempDir;

const FORMATS: &[&str] = &["format-1", "format-1-collected"];

#[path = "golden/collected.rs"]
mod collected;

fn fixture(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format)
}

fn fardel(work: &Path, key: &Path, arguments: &[&OsStr]) -> Output {
    let (cache, config, repo) = (work.join("cache"), work.join("none.yaml"), work.join("repository"));
    fs::write(&config, "{}\n").unwrap();
    let environment = [
        ("FARDEL_KEY_FILE", key.as_os_str()),
        ("FARDEL_CACHE_DIR", cache.as_os_str()),
        ("FARDEL_CONFIG", config.as_os_str()),
        ("FARDEL_REPOSITORY", repo.as_os_str()),
    ];
    let output = programs::run(programs::fardel_binary(), arguments, &environment);
    assert!(output.status.success(), "fardel {arguments:?}: {}", programs::said(&output));
    output
}

/// The ids of all snapshots, a line each, oldest first.
fn snapshots(work: &Path, key: &Path) -> String {
    let output = fardel(work, key, &["snapshots".as_ref(), "--json".as_ref()]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| Some(format!("{}\n", line.get("id")?.as_str()?))).collect()
}

/// What is in a restored folder, a line each, without owners: not everybody may set them.
fn listing(restored: &Path) -> String {
    let mut text = String::new();
    for (path, what) in disk_tree::describe(restored) {
        let (what, _owner) = what.rsplit_once(", ").expect("the owner comes last");
        writeln!(text, "{path:?}: {what}").unwrap();
    }
    text
}

fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                names.push(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    names.sort();
    names
}

#[test]
fn every_format_that_was_ever_written_is_still_read() {
    for format in FORMATS {
        let (work, fixture) = (TempDir::new().unwrap(), fixture(format));
        let copied = programs::run(
            "cp",
            &["-r".as_ref(), fixture.join("repository").as_ref(), work.path().as_ref()],
            &[],
        );
        assert!(copied.status.success(), "{}", programs::said(&copied));
        let before = names(&work.path().join("repository"));
        for key in ["host.key", "recovery.key"] {
            let file = work.path().join(key);
            fs::copy(fixture.join(key), &file).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            let target = work.path().join(key).with_extension("restored");
            for path in ["tree", "disk.img", "stream"] {
                let snapshot = OsString::from(format!("latest:/golden/{path}"));
                let target = target.join(path);
                fardel(
                    work.path(),
                    &file,
                    &["restore".as_ref(), &snapshot, "--target".as_ref(), target.as_ref()],
                );
            }
            let expected = fs::read_to_string(fixture.join("expected.txt")).unwrap();
            // The folders that the restores went into are not part of the snapshot.
            let found: String = listing(&target)
                .lines()
                .filter(|line| line.contains('/'))
                .fold(String::new(), |all, line| all + line + "\n");
            assert_eq!(found, expected, "{format} with {key}");
            fardel(work.path(), &file, &["check".as_ref(), "--level".as_ref(), "data".as_ref()]);
            // Which snapshots exist, and no others.
            if let Ok(expected) = fs::read_to_string(fixture.join("snapshots.txt")) {
                assert_eq!(snapshots(work.path(), &file), expected, "{format} with {key}");
            }
        }
        assert_eq!(names(&work.path().join("repository")), before, "reading {format} changed it");
        println!("{format}: {} objects, restored with 2 keys", before.len());
    }
}

/// Makes the fixture of the format that is written today, once, in the folder `FARDEL_GOLDEN`.
#[test]
#[ignore = "once for each format version: FARDEL_GOLDEN=tests/golden/format-N cargo test --test golden -- --ignored"]
fn make_the_fixture_of_this_format() {
    let fixture = PathBuf::from(std::env::var_os("FARDEL_GOLDEN").expect("FARDEL_GOLDEN names a new folder"));
    fs::create_dir(&fixture).expect("a fixture is never made again");
    let work = TempDir::new().unwrap();
    let source = Path::new("/golden");
    assert!(!source.exists(), "/golden is in the way");
    make_sources(source);
    let (key, recovery) = (work.path().join("host.key"), work.path().join("recovery.key"));
    let init = ["init".as_ref(), "--recovery-file".as_ref(), recovery.as_os_str()];
    fardel(work.path(), &key, &init);
    let path = |name: &str| source.join(name).into_os_string();
    for _ in 0..2 {
        fardel(work.path(), &key, &["backup".as_ref(), &path("tree"), &path("disk.img"), &path("stream")]);
        fs::write(source.join("tree/later"), disk_tree::bytes("later", 5_000)).unwrap();
    }
    fardel(work.path(), &key, &["backup".as_ref(), &path("tree"), &path("disk.img"), &path("stream")]);
    fs::remove_dir_all(source).unwrap();
    let copied =
        programs::run("cp", &["-r".as_ref(), work.path().join("repository").as_ref(), fixture.as_ref()], &[]);
    assert!(copied.status.success(), "{}", programs::said(&copied));
    for key in [&key, &recovery] {
        fs::copy(key, fixture.join(key.file_name().unwrap())).unwrap();
    }
    println!("now write what it holds into {}", fixture.join("expected.txt").display());
}

fn make_sources(source: &Path) {
    let tree = source.join("tree");
    fs::create_dir_all(tree.join("folder/empty")).unwrap();
    fs::write(tree.join("empty"), b"").unwrap();
    fs::write(tree.join("folder/text"), "hello\n".repeat(1000)).unwrap();
    fs::write(tree.join("folder/random"), disk_tree::bytes("random", 20_000)).unwrap();
    for n in 0..200 {
        fs::write(tree.join(format!("folder/{n:03}")), format!("file {n}\n")).unwrap();
    }
    // Compresses well, and is cut into several chunks.
    fs::write(
        tree.join("long"),
        (0..400_000u32).flat_map(|n| format!("{n}\n").into_bytes()).collect::<Vec<_>>(),
    )
    .unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.write_all_at(b"in the middle", 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    fs::write(tree.join(OsString::from_vec(b"not utf-8 \xff".to_vec())), b"odd").unwrap();
    fs::hard_link(tree.join("folder/text"), tree.join("link to text")).unwrap();
    symlink("folder/text", tree.join("symlink")).unwrap();
    fs::set_permissions(tree.join("folder/random"), Permissions::from_mode(0o400)).unwrap();
    let disk = File::create(source.join("disk.img")).unwrap();
    disk.set_len((60 << 20) + 777).unwrap();
    for at in [0, 20 << 20, 60 << 20] {
        disk.write_all_at(format!("sector at {at}\n").as_bytes(), at).unwrap();
    }
    fs::write(source.join("stream"), "streamed\n".repeat(100)).unwrap();
}
