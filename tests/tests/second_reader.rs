//! What the built `fardel` saves, the second reader restores: a tree and an image, byte for byte, with stock tools only.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use fardel_tests::{disk_tree, programs};
use tempfile::TempDir;

const TOOLS: &[&str] = &["python3", "age", "zstd", "tar", "b3sum", "minisign"];

struct Place {
    folder: TempDir,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `fardel` on this repository, with nothing of this machine's own settings.
    fn fardel(&self, arguments: &[&str]) -> Output {
        let arguments: Vec<_> = arguments.iter().map(OsStr::new).collect();
        let (key, cache, config, repo) =
            (self.path("host.key"), self.path("cache"), self.path("none.yaml"), self.path("repo"));
        fs::write(&config, "{}\n").unwrap();
        let environment = [
            ("FARDEL_KEY_FILE", key.as_os_str()),
            ("FARDEL_CACHE_DIR", cache.as_os_str()),
            ("FARDEL_CONFIG", config.as_os_str()),
            ("FARDEL_REPOSITORY", repo.as_os_str()),
        ];
        let output = programs::run(programs::fardel_binary(), &arguments, &environment);
        assert!(output.status.success(), "fardel {arguments:?}: {}", programs::said(&output));
        output
    }

    fn back_up(&self) -> String {
        let (tree, image) = (self.path("tree"), self.path("disk.img"));
        let output = self.fardel(&["backup", "--json", text(&tree), text(&image)]);
        let summary = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        summary["snapshot_id"].as_str().unwrap_or_else(|| panic!("no snapshot_id in {summary}")).to_owned()
    }

    fn read(&self, key: &[&str], snapshot: &str, target: &str) {
        let (repo, target) = (self.path("repo"), self.path(target));
        let mut arguments = vec![repo.as_os_str()];
        arguments.extend(key.iter().map(OsStr::new));
        arguments.extend([OsStr::new(snapshot), target.as_os_str()]);
        let output = programs::run(programs::second_reader(), &arguments, &[]);
        assert!(output.status.success(), "{}", programs::said(&output));
        println!("{}", String::from_utf8_lossy(&output.stdout).trim());
    }

    /// Asserts that what was restored to `target` is what the sources were when `tree` and `image` were kept.
    fn assert_restored(&self, tree: &str, image: &str, target: &str) {
        let below = |source: &str| self.path(target).join(self.path(source).strip_prefix("/").unwrap());
        disk_tree::assert_same(&self.path(tree), &below("tree"));
        assert!(
            fs::read(self.path(image)).unwrap() == fs::read(below("disk.img")).unwrap(),
            "the image differs"
        );
        disk_tree::assert_has_holes(&below("disk.img"));
        disk_tree::assert_has_holes(&below("tree").join("sparse"));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_fardel_saves_stock_tools_restore() {
    if !programs::are_installed(TOOLS) {
        return;
    }
    let place = Place { folder: TempDir::new().unwrap() };
    let (tree, image) = (place.path("tree"), place.path("disk.img"));
    disk_tree::make(&tree);
    disk_tree::make_image(&image);
    let passphrase = place.path("passphrase");
    fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    fs::set_permissions(&passphrase, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let shown = programs::said(&place.fardel(&["init", "--passphrase-file", text(&passphrase)]));
    let recovery = shown
        .split_whitespace()
        .find(|word| word.starts_with("AGE-SECRET-KEY-1"))
        .expect("the recovery key is shown");
    fs::write(place.path("recovery.txt"), recovery).unwrap();

    let first = place.back_up();
    // What the first snapshot holds is kept aside, then the sources change.
    let copied = programs::run("cp", &["-a".as_ref(), tree.as_ref(), place.path("tree.1").as_ref()], &[]);
    assert!(copied.status.success(), "{}", programs::said(&copied));
    fs::copy(&image, place.path("disk.img.1")).unwrap();
    fs::write(tree.join("new"), disk_tree::bytes("new", 500_000)).unwrap();
    fs::remove_file(tree.join("many/017")).unwrap();
    let disk = fs::OpenOptions::new().write(true).open(&image).unwrap();
    disk.write_all_at(&disk_tree::bytes("changed", 70_000), 30 << 20).unwrap();
    drop(disk);
    let second = place.back_up();
    assert_ne!(first, second);

    let (host, recovery) = (place.path("host.key"), place.path("recovery.txt"));
    place.read(&[text(&host)], "latest", "by-host");
    place.assert_restored("tree", "disk.img", "by-host");
    place.read(&[text(&recovery)], &first[..12], "by-recovery");
    place.assert_restored("tree.1", "disk.img.1", "by-recovery");
    place.read(&["--passphrase-file", text(&passphrase)], &second, "by-passphrase");
    place.assert_restored("tree", "disk.img", "by-passphrase");

    // And the first reader restores the same.
    place.fardel(&["restore", "latest", "--target", text(&place.path("by-fardel"))]);
    place.assert_restored("tree", "disk.img", "by-fardel");
}
