use std::fs;

use super::sandbox::{Sandbox, has_fields, read};

#[test]
fn status_needs_no_key_and_counts_what_is_missing() {
    let sandbox = Sandbox::with_repository();
    let id = sandbox.backup(&["src"]);
    fs::remove_dir_all(sandbox.path("home")).unwrap();
    fs::create_dir(sandbox.path("home")).unwrap();
    let ran = sandbox.run(["status", "--json"]).exits(0);
    let copy = ran.of_type("copy").remove(0);
    let fields = [
        "copy",
        "complete_snapshot",
        "complete_time",
        "newest_snapshot",
        "behind",
        "missing_objects",
        "missing_bytes",
    ];
    has_fields(&copy, &fields);
    has_fields(&copy, &["ignored_names", "foreign_writers"]);
    assert_eq!((&copy["complete_snapshot"], &copy["behind"]), (&id.into(), &0.into()));
    sandbox.write("repo/some file (1)", "x");
    let pack = sandbox.objects("packs").remove(0);
    let size = fs::metadata(&pack).unwrap().len();
    fs::remove_file(pack).unwrap();
    let ran = sandbox.run(["status", "--json"]).exits(5);
    let copy = ran.of_type("copy").remove(0);
    assert_eq!(
        (&copy["behind"], &copy["missing_objects"], &copy["missing_bytes"]),
        (&1.into(), &1.into(), &size.into())
    );
    assert_eq!((&copy["ignored_names"], &copy["complete_snapshot"]), (&1.into(), &serde_json::Value::Null));
    sandbox.run(["status"]).exits(5).says("lacks").says("1 pack").says("some file (1)");
}

#[test]
fn status_measures_replicas_by_the_repository() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&["src"]);
    let copy = |from: &str, to: &str| {
        let status =
            std::process::Command::new("cp").arg("-r").args([sandbox.path(from), sandbox.path(to)]).status();
        assert!(status.unwrap().success());
    };
    copy("repo", "old");
    sandbox.write("src/new", "n");
    sandbox.backup(&["src"]);
    copy("repo", "same");
    let config = "replicas:\n  - name: old\n    url: old\n  - name: same\n    url: same\n";
    sandbox.write("fardel.yaml", config);
    let ran = sandbox.run(["status", "--json"]).exits(5);
    let copies = ran.of_type("copy");
    let behind: Vec<_> = copies
        .iter()
        .map(|copy| (copy["copy"].as_str().unwrap(), copy["behind"].as_u64().unwrap()))
        .collect();
    assert_eq!(behind, [("repository", 0), ("old", 1), ("same", 0)]);
    sandbox.run(["status", "--replica", "same"]).exits(0);
    sandbox.run(["snapshots", "--repo", "old"]).exits(0);
    // Another repository is no copy of this one.
    sandbox.run(["init", "--repo", "stranger", "--recovery-file", "r2"]).exits(0);
    sandbox.write("fardel.yaml", "replicas:\n  - name: s\n    url: stranger\n");
    sandbox.run(["status"]).exits(5).complains("replica s: this is repository");
}

#[test]
fn check_names_damage_and_what_it_costs() {
    let sandbox = Sandbox::with_repository();
    let id = sandbox.backup(&["src"]);
    for level in ["list", "seals", "hashes", "data"] {
        let ran = sandbox.run(["check", "--level", level, "--json"]).exits(0);
        assert_eq!(
            (&ran.summary()["clean"], &ran.summary()["errors"]),
            (&true.into(), &serde_json::json!([])),
            "{level}"
        );
    }
    sandbox.run(["check"]).exits(0).says("Nothing is damaged");
    let packs = sandbox.objects("packs");
    let largest = packs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let name = largest.file_name().unwrap().to_str().unwrap();
    // Before anything is lost: what would it cost?
    let hash = &name[..16];
    let ran = sandbox.run(["check", "--impact", hash, "--json"]).exits(0);
    assert_eq!(ran.summary()["snapshots"], serde_json::json!([id]));
    assert!(ran.summary()["paths"].to_string().contains("src/sub/large"), "{}", ran.stdout);
    let mut bytes = read(largest);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(largest, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(largest, bytes).unwrap();
    for level in ["hashes", "data"] {
        let ran = sandbox.run(["check", "--level", level, "--json"]).exits(4);
        let summary = ran.summary();
        let error = &summary["errors"][0];
        has_fields(error, &["object", "class", "snapshots", "paths"]);
        assert!(error["object"].as_str().unwrap().contains(hash), "{error}");
        assert_eq!((&error["class"], &error["snapshots"][0]), (&"corrupt".into(), &id.clone().into()));
        assert!(error["paths"].to_string().contains("src/sub/large"), "{error}");
    }
    sandbox.run(["check"]).exits(4).says("corrupt").says("src/sub/large");
    sandbox.run(["check", "--level", "seals"]).exits(0).says("Stored bytes were not read");
    fs::remove_file(largest).unwrap();
    let ran = sandbox.run(["check", "--level", "list", "--json"]).exits(4);
    assert_eq!(ran.summary()["errors"][0]["class"], "missing");
    sandbox.run(["check", "--impact", "0123"]).exits(1);
}

#[test]
fn a_sample_is_told_as_one() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&["src"]);
    let ran = sandbox.run(["check", "--sample", "50%", "--json"]).exits(0);
    has_fields(&ran.summary()["sampled"], &["packs", "of_packs", "bytes", "of_bytes"]);
    sandbox.run(["check", "--sample", "1GiB"]).exits(0).says("A sample:");
}
