//! Two real instances of Syncthing carry a repository, one of them is killed on the way, and whatever the copy shows
//! meanwhile: what status calls complete there is restored.

#[path = "cli_commands/sandbox.rs"]
#[expect(dead_code, reason = "other suites need the rest of it")]
mod sandbox;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fardel_tests::servers::SyncthingPair;
use sandbox::{Sandbox, noise, read};

/// A transfer that takes longer will not end.
const PATIENCE: Duration = Duration::from_secs(180);
/// What the sender may send, so that the transfer takes some seconds: enough to be looked at.
const KIB_PER_SECOND: u32 = 3 << 10;

/// A source, its repository `repo`, and the copy `copy` that another machine has of it.
struct Carried {
    sandbox: Sandbox,
    /// What each snapshot holds: files by name.
    contents: BTreeMap<String, BTreeMap<PathBuf, Vec<u8>>>,
    /// Snapshots that were called complete at the receiver, and so restored.
    restored: BTreeSet<String>,
    /// How often status was asked, and how often it said that something is on its way.
    looks: (u64, u64),
}

impl Carried {
    fn new() -> Self {
        let sandbox = Sandbox::empty();
        sandbox.run(["init", "--recovery-file", "recovery", "--for", "syncthing"]).exits(0);
        Self { sandbox, contents: BTreeMap::new(), restored: BTreeSet::new(), looks: (0, 0) }
    }

    fn backup(&mut self, number: usize) {
        self.sandbox.write(&format!("src/new {number}"), noise(4_000_000 + number));
        self.sandbox.write("src/one", format!("{number}\n"));
        self.sandbox.settle();
        let id = self.sandbox.backup(&["src"]);
        let source = self.sandbox.path("src");
        self.contents.insert(id, files(&source).into_iter().collect());
    }

    /// Asks the receiver, and restores what it calls complete.
    fn look(&mut self) {
        if !self.sandbox.path("copy/fardel.json").exists() {
            return;
        }
        let ran =
            sandbox::Ran::of(self.sandbox.command(["status", "--json", "--repo", "copy"]).output().unwrap());
        let Some(copy) = ran.of_type("copy").pop() else {
            // The card is there by name, and not yet by its bytes.
            assert!(ran.stdout.contains("error"), "{}{}", ran.stdout, ran.stderr);
            return;
        };
        self.looks.0 += 1;
        self.looks.1 += u64::from(copy["behind"] != 0);
        assert_eq!(copy["rollback"], false, "{copy}");
        let Some(id) = copy["complete_snapshot"].as_str().map(str::to_owned) else { return };
        if !self.restored.insert(id.clone()) {
            return;
        }
        let target = format!("restored {}", self.restored.len());
        let restore = ["restore", &id, "--repo", "copy", "--key-file", "recovery", "--target", &target];
        self.sandbox.run(restore).exits(0);
        for (name, content) in &self.contents[&id] {
            let place = self.sandbox.text(&target) + self.sandbox.path("src").join(name).to_str().unwrap();
            assert!(read(&place) == *content, "{} of {id} is not as it was", name.display());
        }
        fs::remove_dir_all(self.sandbox.path(&target)).unwrap();
    }

    /// Looks until `done`.
    fn look_until(&mut self, pair: &SyncthingPair, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            self.look();
            assert!(Instant::now() < deadline, "{what} does not come\n{}\n{}", pair.log(0), pair.log(1));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn packs_arrived(&self) -> usize {
        objects(&self.sandbox.path("copy")).keys().filter(|name| name.starts_with("packs/")).count()
    }

    fn is_identical(&self) -> bool {
        objects(&self.sandbox.path("repo")) == objects(&self.sandbox.path("copy"))
    }
}

/// The files below a folder, by name.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(content) = fs::read(&path) {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), content);
            }
        }
    }
    found
}

/// What is to be the same on both sides: all but what each side has for itself.
fn objects(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = files(folder);
    all.retain(|path, _| {
        let own = [".stfolder", ".stignore", ".stversions", ".fardel-staging"];
        let is_temporary = path.to_str().is_some_and(|name| name.contains(".syncthing."));
        !own.iter().any(|own| path.starts_with(own)) && !is_temporary
    });
    all
}

#[test]
fn what_syncthing_brought_is_told_rightly_at_every_moment() {
    let mut carried = Carried::new();
    (1..=4).for_each(|number| carried.backup(number));
    fs::create_dir(carried.sandbox.path("copy")).unwrap();
    let [repo, copy] = ["repo", "copy"].map(|name| carried.sandbox.path(name));
    // What Fardel is writing just now is not to be carried.
    carried.sandbox.write("repo/.fardel-staging/half", "half a pack");
    let Some(mut pair) = SyncthingPair::new([&repo, &copy], KIB_PER_SECOND) else { return };
    pair.start(0);
    pair.start(1);
    carried.look_until(&pair, "the third pack", |carried| carried.packs_arrived() >= 3);
    pair.kill(1);
    carried.look();
    carried.backup(5);
    pair.start(1);
    carried.look_until(&pair, "the fifth pack", |carried| carried.packs_arrived() >= 5);
    pair.kill(0);
    carried.look();
    pair.start(0);
    pair.scan(0);
    carried.look_until(&pair, "an identical copy", Carried::is_identical);
    carried.look();
    assert!(!copy.join(".fardel-staging").exists(), "what is being written stays where it is");
    let newest =
        carried.sandbox.run(["status", "--json", "--repo", "copy"]).exits(0).of_type("copy").remove(0);
    let newest = newest["complete_snapshot"].as_str().unwrap().to_owned();
    assert!(carried.restored.contains(&newest));
    eprintln!(
        "{:?} looks, {} of {} snapshots restored",
        carried.looks,
        carried.restored.len(),
        carried.contents.len()
    );
    assert!(carried.looks.1 > 0, "it was never looked at on the way: {:?}", carried.looks);

    // A copy of a conflict, as Syncthing names it, is a stranger, and spreads.
    let seal = files(&repo).into_keys().find(|path| path.starts_with("seals")).unwrap();
    let name = seal.with_extension("sync-conflict-20261125-120000-ABCDEFG.minisig");
    carried.sandbox.write(Path::new("copy").join(&name).to_str().unwrap(), "of another time");
    pair.scan(1);
    carried.look_until(&pair, "the copy of a conflict", |carried| {
        repo.join(&name).exists() && carried.is_identical()
    });
    for repo in ["repo", "copy"] {
        let ran =
            carried.sandbox.run(["status", "--json", "--repo", repo]).exits(0).of_type("copy").remove(0);
        assert!(ran["ignored_names"].as_u64().unwrap() >= 2, "{ran}");
        carried.sandbox.run(["check", "--repo", repo]).exits(0);
    }
}
