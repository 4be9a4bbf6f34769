//! A repository in which snapshots were forgotten, pinned and brought back, and garbage was collected.

use super::*;

/// A user with this repository and these sources.
struct User<'a> {
    work: &'a Path,
    key: PathBuf,
    source: &'a Path,
}

impl User<'_> {
    fn runs(&self, arguments: &[&str]) {
        let arguments: Vec<_> = arguments.iter().map(OsStr::new).collect();
        fardel(self.work, &self.key, &arguments);
    }

    /// Backs up all sources; the snapshot's id.
    fn backs_up(&self) -> String {
        let paths =
            ["tree", "disk.img", "stream"].map(|name| self.source.join(name).to_str().unwrap().to_owned());
        self.runs(&["backup", &paths[0], &paths[1], &paths[2]]);
        snapshots(self.work, &self.key).lines().last().unwrap().to_owned()
    }

    fn writes(&self, name: &str, len: usize) {
        fs::write(self.source.join("tree").join(name), disk_tree::bytes(name, len)).unwrap();
    }
}

/// Makes the fixture, once, in the folder `FARDEL_GOLDEN`.
#[test]
#[ignore = "once: FARDEL_GOLDEN=tests/golden/format-N-collected cargo test --test golden collected -- --ignored"]
fn make_the_collected_fixture() {
    let fixture = PathBuf::from(std::env::var_os("FARDEL_GOLDEN").expect("FARDEL_GOLDEN names a new folder"));
    fs::create_dir(&fixture).expect("a fixture is never made again");
    let (work, source) = (TempDir::new().unwrap(), Path::new("/golden"));
    assert!(!source.exists(), "/golden is in the way");
    fs::create_dir_all(source.join("tree/folder")).unwrap();
    fs::write(source.join("stream"), "streamed\n".repeat(100)).unwrap();
    let disk = File::create(source.join("disk.img")).unwrap();
    disk.set_len((20 << 20) + 777).unwrap();
    disk.write_all_at(b"a sector", 10 << 20).unwrap();
    let user = User { work: work.path(), key: work.path().join("host.key"), source };
    let recovery = work.path().join("recovery.key");
    user.runs(&["init", "--recovery-file", recovery.to_str().unwrap()]);

    let mut kept = Vec::new();
    for (name, len) in [("first", 8_000), ("folder/second", 6_000), ("third", 4_000)] {
        user.writes(name, len);
        kept.push(user.backs_up());
    }
    // Forgotten one by one, swept, and their tombs merged.
    for _ in 0..18 {
        user.writes("fleeting", 500 + kept.len());
        fs::write(source.join("tree/fleeting"), snapshots(user.work, &user.key)).unwrap();
        let id = user.backs_up();
        user.runs(&["forget", &id]);
    }
    let now = ["prune", "--grace", "0", "--unfinished", "0"];
    user.runs(&now);
    // Pinned; forgotten, condemned and brought back; pinned and not any more, and forgotten here.
    user.runs(&["pin", &kept[0]]);
    user.runs(&["forget", &kept[1]]);
    user.runs(&["prune"]);
    user.runs(&["forget", "--undo", &kept[1]]);
    user.writes("fourth", 2_000);
    let id = user.backs_up();
    user.runs(&["pin", &id]);
    user.runs(&["unpin", &id]);
    user.runs(&["forget", "--here", &id]);
    // One that died before its seal, and was revoked.
    user.writes("fifth", 1_000);
    user.backs_up();
    let repository = work.path().join("repository");
    let mut seals = names(&repository).into_iter().filter(|name| name.starts_with("seals/"));
    fs::remove_file(repository.join(seals.next_back().unwrap())).unwrap();
    user.runs(&now);
    user.writes("fleeting", 300);
    kept.push(user.backs_up());

    let mut ids: Vec<_> = snapshots(user.work, &user.key).lines().map(str::to_owned).collect();
    fs::write(fixture.join("snapshots.txt"), snapshots(user.work, &user.key)).unwrap();
    ids.sort();
    kept.sort();
    assert_eq!(ids, kept);
    let target = work.path().join("restored");
    for name in ["tree", "disk.img", "stream"] {
        let (target, snapshot) = (target.join(name), format!("latest:/golden/{name}"));
        user.runs(&["restore", &snapshot, "--target", target.to_str().unwrap()]);
        let restored = if target.join(name).exists() { target.join(name) } else { target };
        let same =
            programs::run("diff", &["-r".as_ref(), source.join(name).as_ref(), restored.as_ref()], &[]);
        assert!(same.status.success(), "{}", programs::said(&same));
    }
    let lines = listing(&target)
        .lines()
        .filter(|line| line.contains('/'))
        .fold(String::new(), |all, line| all + line + "\n");
    fs::write(fixture.join("expected.txt"), lines).unwrap();
    fs::remove_dir_all(source).unwrap();
    let copied = programs::run("cp", &["-r".as_ref(), repository.as_ref(), fixture.as_ref()], &[]);
    assert!(copied.status.success(), "{}", programs::said(&copied));
    for key in [&user.key, &recovery] {
        fs::copy(key, fixture.join(key.file_name().unwrap())).unwrap();
    }
}

/// That the fixture has in it what it is there for.
#[test]
fn every_kind_of_tomb_and_manifest_is_in_it() {
    let repository = fixture("format-1-collected").join("repository");
    let texts: Vec<_> = names(&repository)
        .iter()
        .filter(|name| name.ends_with(".json") && !name.starts_with("fardel"))
        .map(|name| fs::read_to_string(repository.join(name)).unwrap())
        .collect();
    let has = |word: &str| texts.iter().any(|text| text.contains(&format!("\"{word}\"")));
    for word in
        ["forget", "merged-forgets", "condemn", "revoke", "pin", "unpin", "supersedes", "origin", "despite"]
    {
        assert!(has(word), "{word}");
    }
}
