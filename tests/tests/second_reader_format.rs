//! The second reader on a repository that the format crate alone wrote: every layout, and what it must refuse.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use fardel_tests::{disk_tree, programs};
use tempfile::TempDir;

#[path = "second_reader_format/small_repository.rs"]
mod small_repository;

use small_repository::SmallRepository;

const TOOLS: &[&str] = &["python3", "age", "zstd", "tar", "b3sum", "minisign"];

struct Place {
    folder: TempDir,
    tree: PathBuf,
    image: PathBuf,
    repo: PathBuf,
}

fn place() -> Place {
    let folder = TempDir::new().unwrap();
    let (tree, image, repo) =
        (folder.path().join("tree"), folder.path().join("disk.img"), folder.path().join("repo"));
    disk_tree::make(&tree);
    disk_tree::make_image(&image);
    Place { folder, tree, image, repo }
}

fn read(place: &Place, key: &[&str], snapshot: &str, target: &str) -> Output {
    let mut arguments: Vec<&OsStr> = vec![place.repo.as_os_str()];
    arguments.extend(key.iter().map(OsStr::new));
    let target = place.folder.path().join(target);
    arguments.extend([OsStr::new(snapshot), target.as_os_str()]);
    programs::run(programs::second_reader(), &arguments, &[])
}

/// Where a source stands below a target.
fn below(place: &Place, target: &str, source: &Path) -> PathBuf {
    place.folder.path().join(target).join(source.strip_prefix("/").unwrap())
}

fn assert_restored(place: &Place, output: &Output, target: &str) {
    assert!(output.status.success(), "{}", programs::said(output));
    disk_tree::assert_same(&place.tree, &below(place, target, &place.tree));
    let image = below(place, target, &place.image);
    assert!(fs::read(&image).unwrap() == fs::read(&place.image).unwrap(), "the image differs");
    disk_tree::assert_has_holes(&image);
    disk_tree::assert_has_holes(&below(place, target, &place.tree).join("sparse"));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_kind_of_key_restores_a_tree_and_an_image() {
    if !programs::are_installed(TOOLS) {
        return;
    }
    let place = place();
    let repo = SmallRepository::create(&place.repo);
    let id = repo.save(&[&place.tree, &place.image], 1);
    let keys = repo.write_keys(place.folder.path());

    let host = read(&place, &[text(&keys.host)], "latest", "by-host");
    assert_restored(&place, &host, "by-host");
    println!("{}", String::from_utf8_lossy(&host.stdout).trim());
    let recovery = read(&place, &[text(&keys.recovery)], &id.to_string()[..7], "by-recovery");
    assert_restored(&place, &recovery, "by-recovery");
    let passphrase =
        read(&place, &["--passphrase-file", text(&keys.passphrase)], &id.to_string(), "by-passphrase");
    assert_restored(&place, &passphrase, "by-passphrase");

    for key in [
        vec![text(&keys.write_only)],
        vec![text(&keys.stranger)],
        vec!["--passphrase-file", text(&keys.wrong_passphrase)],
    ] {
        let refused = read(&place, &key, "latest", "refused");
        assert!(
            !refused.status.success() && programs::said(&refused).contains("opens no key"),
            "{}",
            programs::said(&refused)
        );
    }
    let unknown = read(&place, &[text(&keys.host)], "0123456789", "unknown");
    assert!(programs::said(&unknown).contains("there is no snapshot"), "{}", programs::said(&unknown));
    assert!(
        fs::read_dir(place.folder.path()).unwrap().all(|e| !e
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".fardel-read"))
    );
}

/// What copiers and hostile stores leave lying about does not stop anything.
#[test]
fn strangers_and_forgeries_are_passed_over() {
    if !programs::are_installed(TOOLS) {
        return;
    }
    let place = place();
    let repo = SmallRepository::create(&place.repo);
    let id = repo.save(&[&place.tree, &place.image], 1);
    let keys = repo.write_keys(place.folder.path());
    repo.leave_strangers();
    repo.plant_key_file();
    repo.save_as_stranger(&[&place.image], 2);
    let forgotten = repo.save(&[&place.image], 3);
    repo.forget(forgotten, 1);
    let revoked = repo.save(&[&place.image], 4);
    repo.revoke_last(2);
    let merged = repo.save(&[&place.image], 5);
    repo.forget_merged(merged, 3);

    let latest = read(&place, &[text(&keys.recovery)], "latest", "latest");
    assert_restored(&place, &latest, "latest");
    assert!(programs::said(&latest).contains(&id.to_string()), "{}", programs::said(&latest));
    assert!(programs::said(&latest).contains("no known signer"), "{}", programs::said(&latest));
    for gone in [forgotten, revoked, merged] {
        let refused = read(&place, &[text(&keys.recovery)], &gone.to_string(), "gone");
        assert!(programs::said(&refused).contains("there is no snapshot"), "{}", programs::said(&refused));
    }
}

/// Each kind of object with one bit flipped, and missing: told, and nothing wrong is restored.
#[test]
fn damage_is_told_and_the_rest_is_restored() {
    if !programs::are_installed(TOOLS) {
        return;
    }
    let place = place();
    let repo = SmallRepository::create(&place.repo);
    repo.save(&[&place.tree, &place.image], 1);
    let keys = repo.write_keys(place.folder.path());
    let mut run = 0;
    let mut states = 0;
    for object in repo.objects() {
        let whole = fs::read(&object).unwrap();
        for damage in ["flipped", "cut", "missing"] {
            let mut bytes = whole.clone();
            bytes[whole.len() / 2] ^= 1;
            bytes.truncate(if damage == "cut" { whole.len() - 1 } else { whole.len() });
            fs::remove_file(&object).unwrap();
            if damage != "missing" {
                fs::write(&object, bytes).unwrap();
            }
            run += 1;
            let target = format!("damaged-{run}");
            let output = read(&place, &[text(&keys.recovery)], "latest", &target);
            let said = programs::said(&output);
            let name = object.strip_prefix(&place.repo).unwrap().display().to_string();
            assert!(said.contains("fardel-read: ") || output.status.success(), "{name} {damage}: {said}");
            // Keys and their like exist more than once; all else is needed.
            let spare = name.starts_with("keys/");
            assert_eq!(output.status.success(), spare, "{name} {damage}: {said}");
            assert_nothing_wrong(&place, &target);
            fs::write(&object, &whole).unwrap();
            states += 1;
        }
    }
    println!("{states} states of damage");
    assert_restored(&place, &read(&place, &[text(&keys.recovery)], "latest", "whole again"), "whole again");
}

/// Everything that stands under its own name is right.
fn assert_nothing_wrong(place: &Place, target: &str) {
    let expected = disk_tree::describe(&place.tree);
    let root = below(place, target, &place.tree);
    if root.exists() {
        for (path, found) in disk_tree::describe(&root) {
            let is_content = found.starts_with("file") && path.extension().is_none_or(|e| e != "partial");
            // Fewer hard links may be there than were.
            let content =
                |text: &str| text.split(" links").next().unwrap().rsplit_once(',').unwrap().0.to_owned();
            assert!(
                !is_content || content(&found) == content(&expected[&path]),
                "{}: {found}",
                path.display()
            );
        }
    }
    let image = below(place, target, &place.image);
    assert!(!image.exists() || fs::read(image).unwrap() == fs::read(&place.image).unwrap());
}

#[test]
fn a_target_with_something_in_it_is_refused() {
    if !programs::are_installed(TOOLS) {
        return;
    }
    let place = place();
    let repo = SmallRepository::create(&place.repo);
    repo.save(&[&place.image], 1);
    let keys = repo.write_keys(place.folder.path());
    let refused = read(&place, &[text(&keys.host)], "latest", "tree");
    assert!(programs::said(&refused).contains("is not empty"), "{}", programs::said(&refused));
    fs::write(place.repo.join("fardel.json"), b"{\"fardel\": 2}").unwrap();
    let newer = read(&place, &[text(&keys.host)], "latest", "newer");
    assert!(programs::said(&newer).contains("another format version"), "{}", programs::said(&newer));
    fs::remove_file(place.repo.join("fardel.json")).unwrap();
    let none = read(&place, &[text(&keys.host)], "latest", "none");
    assert!(programs::said(&none).contains("is no repository"), "{}", programs::said(&none));
}
