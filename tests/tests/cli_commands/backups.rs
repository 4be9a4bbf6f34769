use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::sandbox::{Sandbox, has_fields, read};

const BACKUP_FIELDS: [&str; 9] = [
    "snapshot_id",
    "files_new",
    "files_changed",
    "files_unmodified",
    "bytes_read",
    "bytes_added",
    "bytes_stored",
    "packs_written",
    "duration_seconds",
];

#[test]
fn init_says_what_to_keep_and_where() {
    let sandbox = Sandbox::empty();
    let ran = sandbox.run(["init"]).exits(0);
    let recovery = ran
        .stdout
        .lines()
        .find(|line| line.trim().starts_with("AGE-SECRET-KEY-1"))
        .unwrap()
        .trim()
        .to_owned();
    let key = sandbox.host_key();
    let ran = ran
        .says("RECOVERY KEY")
        .says("Losing this machine's key file costs nothing")
        .says(&key.display().to_string());
    assert!(ran.stdout.contains("Losing every one of them costs all"));
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(key.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    // What was shown is what opens it.
    sandbox.backup(&["src"]);
    fs::remove_file(key).unwrap();
    let file = sandbox.write_secret("saved", recovery);
    sandbox
        .run(
            ["ls", "latest", "--key-file"]
                .iter()
                .map(|s| (*s).to_owned())
                .chain([file.display().to_string()]),
        )
        .exits(0);
}

#[test]
fn init_tells_programs_and_refuses_a_second_time() {
    let sandbox = Sandbox::empty();
    let ran = sandbox.run(["init", "--json", "--recovery-file", "recovery"]).exits(0);
    let summary = ran.summary();
    has_fields(&summary, &["repository_id", "repository", "key_file", "recovery_file"]);
    assert!(summary["recovery_key"].is_null() && !ran.stdout.contains("AGE-SECRET-KEY"));
    assert_eq!(fs::metadata(sandbox.path("recovery")).unwrap().permissions().mode() & 0o777, 0o600);
    let before = sandbox.objects("");
    sandbox
        .run(["init"])
        .exits(1)
        .complains("there is a fardel repository at")
        .complains("choose another place");
    assert_eq!(sandbox.objects(""), before);
    assert_eq!(sandbox.names("home/.config/fardel/keys").len(), 1);
}

#[test]
fn nothing_is_made_where_a_key_could_be_lost() {
    let sandbox = Sandbox::empty();
    sandbox.write_secret("key", "something");
    sandbox.run(["init", "--key-file", "key"]).exits(2).complains("keys are never replaced");
    sandbox.run(["init", "--recovery-file", "key"]).exits(2).complains("keys are never replaced");
    sandbox.run(["init", "--key-file", "src/one/key"]).exits(1);
    sandbox.run(["init", "--quiet"]).exits(2).complains("would hide the recovery key");
    sandbox.run(["init", "--key-file", "new", "--recovery-file", "src/one/key"]).exits(1);
    assert!(!sandbox.path("repo/fardel.json").exists() && !sandbox.path("new").exists());
    assert_eq!(read(sandbox.path("key")), b"something");
}

#[test]
fn init_prepares_a_folder_for_syncthing() {
    let sandbox = Sandbox::empty();
    sandbox.run(["init", "--for", "syncthing"]).exits(0).says("Oldest First").says("Receive Only");
    let ignore = String::from_utf8(read(sandbox.path("repo/.stignore"))).unwrap();
    assert!(ignore.lines().any(|line| line == "/.fardel-staging"), "{ignore}");
    sandbox.run(["status"]).exits(0).says("1 name: .stignore");
}

#[test]
fn backup_tells_programs_what_it_did() {
    let sandbox = Sandbox::with_repository();
    let ran = sandbox.run(["backup", "--json", "src", "--tag", "a", "--tag", "b"]).exits(0);
    let first = ran.summary();
    has_fields(&first, &BACKUP_FIELDS);
    assert_eq!((&first["files_new"], &first["files_unmodified"]), (&3.into(), &0.into()));
    assert!(
        first["bytes_read"].as_u64() >= Some(300_005) && first["packs_written"].as_u64() >= Some(2),
        "{first}"
    );
    let progress = ran.of_type("progress");
    has_fields(
        progress.last().expect("there is at least one"),
        &["bytes_done", "bytes_total", "eta_seconds"],
    );

    sandbox.write("src/one", "changed\n");
    sandbox.write("src/three", "3\n");
    let second = sandbox.run(["backup", "--json", "src"]).exits(0).summary();
    let counts = ["files_new", "files_changed", "files_unmodified"].map(|field| second[field].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(2)], "{second}");
    assert_eq!(second["parent"], first["snapshot_id"]);
}

#[test]
fn snapshots_tells_programs_and_people() {
    let sandbox = Sandbox::with_repository();
    sandbox.run(["snapshots"]).exits(0).says("There is no such snapshot");
    let first = sandbox.run(["backup", "--json", "src", "--tag", "a"]).exits(0).summary();
    sandbox.run(["backup", "--json", "src", "--tag", "b", "--host", "other"]).exits(0);
    let ran = sandbox.run(["snapshots", "--json"]).exits(0);
    let snapshots = ran.of_type("snapshot");
    assert_eq!((snapshots.len(), ran.summary()["snapshots"].as_u64()), (2, Some(2)));
    for snapshot in &snapshots {
        has_fields(snapshot, &["id", "time", "host", "tags", "sources", "complete"]);
    }
    assert_eq!((&snapshots[0]["id"], &snapshots[0]["tags"][0]), (&first["snapshot_id"], &"a".into()));
    assert_eq!((&snapshots[0]["complete"], &snapshots[0]["partial"]), (&true.into(), &false.into()));
    assert_eq!(snapshots[0]["sources"][0], sandbox.text("src"));
    let only = |arguments: &[&str]| {
        sandbox.run(["snapshots", "--json"].iter().chain(arguments)).of_type("snapshot").len()
    };
    assert_eq!(
        [only(&["--tag", "a"]), only(&["--host", "other"]), only(&["--tag", "a", "--host", "other"])],
        [1, 1, 0]
    );
    let short = &first["snapshot_id"].as_str().unwrap()[..8];
    sandbox.run(["snapshots"]).exits(0).says(short).says("Sources").says(&sandbox.text("src"));
}

#[test]
fn without_a_key_snapshots_shows_what_seals_show() {
    let sandbox = Sandbox::with_repository();
    let id = sandbox.backup(&["src"]);
    fs::remove_file(sandbox.host_key()).unwrap();
    let ran = sandbox.run(["snapshots"]).exits(0).says(&id[..8]).says("No key is at hand");
    assert!(!ran.stdout.contains("src"), "{}", ran.stdout);
    let ran = sandbox.run(["snapshots", "--json"]).exits(0);
    let snapshot = ran.of_type("snapshot").remove(0);
    assert!(
        snapshot["sources"].is_null()
            && snapshot["complete"] == true
            && !snapshot["host"].as_str().unwrap().is_empty()
    );
    assert_eq!(ran.summary()["readable"], false);
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_saved() {
    let sandbox = Sandbox::with_repository();
    let ran = sandbox.run(["backup", "--json", "src", "missing"]).exits(3);
    let summary = ran.summary();
    assert_eq!((&summary["unreadable"], &summary["files_new"]), (&1.into(), &3.into()), "{summary}");
    let told = ran.of_type("unreadable");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["path"], sandbox.text("missing"));
    sandbox
        .run(["backup", "src", "missing"])
        .exits(3)
        .complains("missing")
        .complains("1 entry could not be read");
    sandbox
        .run(["backup", "missing"])
        .exits(1)
        .complains("missing")
        .complains("look whether the sources are right");
}

#[test]
fn the_repository_is_never_saved_into_itself() {
    let sandbox = Sandbox::empty();
    let ran = sandbox.run(["backup", "--init", "--json", "--repo", "src/repo", "src", "home"]).exits(0);
    assert_eq!(ran.of_type("init").len(), 1);
    let listed = sandbox.run(["ls", "-R", "latest", "--repo", "src/repo"]).exits(0);
    for name in ["fardel.json", "packs", "segments", "staging"] {
        assert!(!listed.stdout.contains(name), "{}", listed.stdout);
    }
    assert!(listed.stdout.contains("src/sub/two"));
}

#[test]
fn backup_makes_the_repository_when_asked_to() {
    let sandbox = Sandbox::empty();
    let ran = sandbox.run(["backup", "--init", "src"]).exits(0).says("Repository").says("Get it back:");
    // Nobody may be looking at a pipe, and logs are no place for secrets.
    assert!(!ran.stdout.contains("AGE-SECRET-KEY"));
    let recovery = sandbox.host_key().with_extension("recovery");
    assert!(ran.stdout.contains(recovery.to_str().unwrap()));
    sandbox.run(["backup", "--init", "src"]).exits(0);
    assert_eq!(sandbox.run(["snapshots", "--json"]).of_type("snapshot").len(), 2);
    // What it says works as it is printed.
    let command = ran.stdout.lines().find_map(|line| line.strip_prefix("Get it back:")).unwrap().trim();
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let words: Vec<&str> = words.iter().map(|word| if *word == "FOLDER" { "out" } else { word }).collect();
    sandbox.run(&words).exits(0);
    assert_eq!(read(sandbox.path(&format!("out{}/one", sandbox.text("src")))), b"1\n");
}

#[test]
fn a_dry_run_saves_nothing() {
    let sandbox = Sandbox::with_repository();
    let before = sandbox.objects("");
    let ran = sandbox.run(["backup", "--dry-run", "--json", "src"]).exits(0);
    let summary = ran.summary();
    assert!(
        summary["snapshot_id"].is_null() && summary["files_new"] == 3 && summary["dry_run"] == true,
        "{summary}"
    );
    assert_eq!(sandbox.objects(""), before);
    sandbox.run(["backup", "--dry-run", "src"]).exits(0).says("nothing was saved");
    sandbox.run(["backup", "--dry-run", "--init", "--repo", "other", "src"]).exits(2);
    assert!(!sandbox.path("other").exists());
}

#[test]
fn excludes_leave_out() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("src/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    sandbox.write("src/cache/data", "x");
    sandbox.write("src/a.tmp", "x");
    sandbox.write("patterns", "# comment\ntwo\n");
    let arguments = ["backup", "src", "--exclude", "*.tmp", "--exclude-from", "patterns", "--exclude-caches"];
    sandbox.run(arguments.iter().chain(&["--exclude-larger-than", "100KiB", "--quiet"])).exits(0);
    let listed = sandbox.run(["ls", "-R", "latest"]).exits(0).stdout;
    for gone in ["a.tmp", "two", "cache/data", "large"] {
        assert!(!listed.contains(gone), "{gone} in {listed}");
    }
    assert!(listed.contains("src/one"));
    sandbox.run(["backup", "src", "--exclude", "[z-a]"]).exits(2).complains(".gitignore").complains("[z-a]");
    let whole = sandbox.path("src").canonicalize().unwrap().display().to_string();
    sandbox.run(["backup", "src", "--exclude", &whole]).exits(2).complains(".gitignore").complains(&whole);
}

#[test]
fn checkpoints_are_sealed_as_often_as_asked_for() {
    let sandbox = Sandbox::with_repository();
    sandbox.run(["backup", "--checkpoint-every", "0s", "--verbose", "src"]).exits(0).complains("checkpoint ");
    let listed = sandbox.run(["snapshots", "--all", "--json"]).exits(0).of_type("snapshot");
    assert!(listed.iter().filter(|snapshot| snapshot["partial"] == true).count() > 0, "{listed:?}");
    let usual = sandbox.run(["backup", "--verbose", "src"]).exits(0);
    assert!(!usual.stderr.contains("checkpoint "), "{}", usual.stderr);
    sandbox.run(["backup", "--checkpoint-every", "5", "src"]).exits(2).complains("90s, 5m or 1h");
}
