//! Folders that another tool copies: what the machine at the other side acknowledges, and who heeds it.

use std::fs;
use std::path::Path;

use super::sandbox::{Sandbox, has_fields, noise};

/// A repository for a tool to copy, a machine at the other side, and so many snapshots.
fn copied(snapshots: usize) -> Sandbox {
    let sandbox = Sandbox::empty();
    let ran = sandbox.run(["init", "--for", "rclone", "--recovery-file", "recovery"]).exits(0);
    ran.says("fardel replica acknowledge");
    let key = ["key", "add", "--host", "nas", "--role", "acknowledge", "--write-only", "--out", "nas.key"];
    sandbox.run(key.iter().chain(&["--key-file", "recovery"])).exits(0);
    (0..snapshots).for_each(|number| drop(back_up(&sandbox, number)));
    sandbox
}

fn back_up(sandbox: &Sandbox, number: usize) -> String {
    sandbox.write("src/sub/large", noise(300_001 + number));
    // Read anew, so that it rests on nothing that only earlier ones need.
    sandbox.backup(&["src", "--force"])
}

/// As a tool would: what is gone goes, what is new comes.
fn mirror(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// The tool brings back what lies in the copy under this name.
fn bring_back(sandbox: &Sandbox, copy: &str) {
    let from = sandbox.path(copy).join("acks/.");
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(sandbox.path("repo/acks")).status();
    assert!(copied.unwrap().success());
}

fn acknowledge(sandbox: &Sandbox, copy: &str, name: &str) -> serde_json::Value {
    let command = ["replica", "acknowledge", "--as", name, "--repo", copy, "--key-file", "nas.key", "--json"];
    sandbox.run(command).exits(0).summary()
}

#[test]
fn a_prune_keeps_what_a_copy_acknowledged_and_says_who_holds_it_up() {
    let sandbox = copied(2);
    fs::create_dir_all(sandbox.path("repo/acks")).unwrap();
    mirror(&sandbox.path("repo"), &sandbox.path("copy"));
    let said = acknowledge(&sandbox, "copy", "nas");
    has_fields(
        &said,
        &["replica", "snapshot_id", "snapshot_time", "acknowledged", "newer_incomplete", "new"],
    );
    assert_eq!((&said["replica"], &said["new"]), (&"nas".into(), &true.into()));
    assert_eq!(acknowledge(&sandbox, "copy", "nas")["new"], false);
    bring_back(&sandbox, "copy");
    back_up(&sandbox, 7);
    sandbox.run(["forget", "--keep-last", "1"]).exits(0).says("2 snapshots forgotten");
    let told = sandbox.run(["prune", "--grace", "0", "--json"]).exits(0).summary();
    let held = &told["held_up_by"][0];
    assert_eq!((&held["replica"], &held["snapshot_id"]), (&"nas".into(), &said["snapshot_id"]));
    assert!(held["packs"].as_u64().unwrap() > 0 && told["packs_deleted"].as_u64().unwrap() > 0, "{told}");
    let shown = sandbox.run(["prune", "--grace", "0"]).exits(0);
    shown.says("replica nas holds up").says("fardel replica strike nas");

    // The tool brought the tomb, and not yet what takes the place of what it takes away.
    mirror(&sandbox.path("repo"), &sandbox.path("half"));
    let is_new = |path: &std::path::PathBuf| {
        let below = path.strip_prefix(sandbox.path("repo")).unwrap();
        !sandbox.path("copy").join(below).exists()
    };
    for pack in sandbox.objects("packs").into_iter().filter(is_new) {
        fs::remove_file(sandbox.path("half").join(pack.strip_prefix(sandbox.path("repo")).unwrap())).unwrap();
    }
    sandbox
        .run(["restore", "latest", "--repo", "half", "--target", "back"])
        .exits(0)
        .complains("though it was forgotten")
        .says(&said["snapshot_id"].as_str().unwrap()[..8]);

    mirror(&sandbox.path("repo"), &sandbox.path("copy"));
    acknowledge(&sandbox, "copy", "nas");
    bring_back(&sandbox, "copy");
    let told = sandbox.run(["prune", "--grace", "0", "--json"]).exits(0).summary();
    assert_eq!(told["held_up_by"], serde_json::json!([]));
    assert!(told["packs_deleted"].as_u64().unwrap() > 0, "{told}");
    sandbox.run(["check", "--level", "data"]).exits(0);
}

#[test]
fn without_a_word_from_the_other_side_nothing_goes_for_a_month() {
    let sandbox = copied(3);
    sandbox.run(["status", "--json"]).exits(0).of_type("copy").iter().for_each(|copy| {
        assert_eq!(copy["ignored_names"], 0, "the mark is no stranger");
    });
    sandbox.run(["forget", "--keep-last", "1"]).exits(0);
    let told = sandbox.run(["prune", "--grace", "0", "--json"]).exits(0).summary();
    assert_eq!((&told["packs_deleted"], &told["grace_seconds"]), (&0.into(), &(30 * 86_400).into()));
    sandbox.run(["prune", "--grace", "0"]).exits(0).says("another tool copies this folder").says("30 d");
    sandbox.run(["prune", "--dry-run"]).exits(0).says("another tool copies this folder");
    fs::remove_file(sandbox.path("repo/.fardel-copied")).unwrap();
    let told = sandbox.run(["prune", "--grace", "0", "--json"]).exits(0).summary();
    assert!(told["packs_deleted"].as_u64().unwrap() > 0, "{told}");
}

#[test]
fn replicas_are_listed_and_struck_off() {
    let sandbox = copied(1);
    sandbox.run(["replica", "list"]).exits(0).says("There is no replica");
    sandbox.write(
        "fardel.yaml",
        "repository: repo\nreplicas:\n  - name: usb\n    url: usb\n  - name: gone\n    url: gone\n",
    );
    sandbox.run(["sync", "--to", "usb"]).exits(0);
    fs::create_dir_all(sandbox.path("repo/acks")).unwrap();
    mirror(&sandbox.path("repo"), &sandbox.path("copy"));
    let said = acknowledge(&sandbox, "copy", "nas");
    bring_back(&sandbox, "copy");
    let listed = sandbox.run(["replica", "list", "--json"]).exits(0);
    let lines = listed.of_type("replica");
    lines.iter().for_each(|line| {
        has_fields(
            line,
            &["name", "location", "complete_snapshot", "complete_time", "acknowledged", "dead", "struck"],
        );
    });
    let names: Vec<_> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["usb", "gone", "nas"]);
    assert_eq!(lines[0]["complete_snapshot"], said["snapshot_id"]);
    assert!(lines[0]["last_sync"].is_string() && lines[1]["unreachable"].is_string(), "{lines:?}");
    assert_eq!((&lines[2]["complete_snapshot"], &lines[2]["dead"]), (&said["snapshot_id"], &false.into()));
    assert_eq!(lines[2]["acknowledged"], said["acknowledged"]);
    sandbox.run(["replica", "list"]).exits(0).says("alive").says("UNREACHABLE").says("usb");

    sandbox.run(["replica", "strike", "tape"]).exits(1).complains("no replica `tape`");
    sandbox.run(["replica", "strike", "nas", "--key-file", "nas.key"]).exits(12);
    let struck = sandbox.run(["replica", "strike", "nas", "--json"]).exits(0).summary();
    assert_eq!((&struck["acknowledgements"], &struck["replicas"]), (&1.into(), &serde_json::json!(["nas"])));
    sandbox.run(["replica", "strike", "nas"]).exits(0).says("was struck off before");
    let listed = sandbox.run(["replica", "list", "--json"]).exits(0).of_type("replica");
    assert_eq!(listed[2]["struck"], true);
    sandbox.run(["replica", "list"]).exits(0).says("struck off");
    sandbox.run(["prune", "--grace", "0"]).exits(0);
}

#[test]
fn a_copy_that_can_be_read_from_here_is_acknowledged_here() {
    let sandbox = copied(1);
    mirror(&sandbox.path("repo"), &sandbox.path("copy"));
    sandbox.run(["replica", "acknowledge"]).exits(1).complains("that another machine wrote");
    sandbox.run(["replica", "acknowledge", "repo"]).exits(2).complains("the repository itself");
    sandbox
        .run(["replica", "acknowledge", "copy", "--as", "Copy 2"])
        .exits(2)
        .complains("cannot name a replica");
    sandbox
        .run(["replica", "acknowledge", "copy", "--as", "copy-2"])
        .exits(0)
        .says("copy-2 has acknowledged");
    sandbox
        .run(["replica", "acknowledge", "copy", "--as", "copy-2"])
        .exits(0)
        .says("has already acknowledged");
    assert_eq!(sandbox.names("repo/acks"), ["copy-2"]);
    assert!(!sandbox.path("copy/acks").exists());
}
