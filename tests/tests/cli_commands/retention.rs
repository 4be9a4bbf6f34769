use super::sandbox::{Sandbox, has_fields, noise};

/// So many snapshots, each with another file.
fn several(sandbox: &Sandbox, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        sandbox.write(&format!("src/f{number}"), noise(50_000 + number));
        ids.push(sandbox.backup(&["src"]));
    }
    ids
}

#[test]
fn a_policy_is_told_before_it_is_followed() {
    let sandbox = Sandbox::with_repository();
    let ids = several(&sandbox, 4);
    sandbox.run(["forget"]).exits(2).complains("--keep-last");
    sandbox.run(["forget", &ids[0], "--keep-last", "1"]).exits(2);
    sandbox.run(["pin", &ids[0]]).exits(0).says("is pinned");
    let ran = sandbox.run(["forget", "--keep-last", "2", "--dry-run", "--json"]).exits(0);
    let told = ran.of_type("snapshot");
    told.iter()
        .for_each(|line| has_fields(line, &["id", "time", "host", "tags", "sources", "keep", "reasons"]));
    let kept: Vec<_> = told.iter().map(|line| line["keep"].as_bool().unwrap()).collect();
    assert_eq!(kept, [true, false, true, true]);
    assert_eq!(told[0]["reasons"], serde_json::json!(["pinned"]));
    let summary = ran.summary();
    assert_eq!((&summary["kept"], &summary["forgotten"]), (&3.into(), &1.into()));
    assert_eq!(
        sandbox.run(["snapshots", "--json"]).of_type("snapshot").len(),
        4,
        "a dry run forgets nothing"
    );

    let shown = sandbox.run(["forget", "-l", "2", "--dry-run"]).exits(0);
    shown
        .says("keep")
        .says("forget")
        .says("pinned")
        .says("no rule keeps it")
        .says("1 snapshot would be forgotten");
    sandbox.run(["forget", "-l", "2"]).exits(0).says("1 snapshot forgotten in this store").says("prune");
    let left = sandbox.run(["snapshots", "--json"]).exits(0).of_type("snapshot");
    let left: Vec<_> = left.iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(left, [ids[0].clone(), ids[2].clone(), ids[3].clone()]);
    sandbox.run(["forget", &ids[0]]).exits(1).complains("pinned").complains("fardel unpin");
    sandbox.run(["unpin", &ids[0]]).exits(0).says("can be forgotten again");
    sandbox.run(["forget", &ids[0]]).exits(0).says("forgotten in every copy");
}

#[test]
fn what_was_forgotten_comes_back_until_it_is_pruned() {
    let sandbox = Sandbox::with_repository();
    let ids = several(&sandbox, 3);
    sandbox.run(["forget", &ids[0], &ids[1]]).exits(0);
    sandbox.run(["prune", "--dry-run"]).exits(0).says("would condemn");
    sandbox.run(["prune"]).exits(0).says("condemned").says("deleted 0 packs");
    let summary = sandbox.run(["forget", "--undo", &ids[0], "--json"]).exits(0).summary();
    assert_eq!((&summary["back"], &summary["gone"]), (&1.into(), &0.into()));
    sandbox.run(["restore", &ids[0], "--target", "back"]).exits(0);
    sandbox.run(["forget", "--undo", &ids[0]]).exits(1).complains("is not forgotten");

    let ran = sandbox.run(["prune", "--grace", "0", "--json"]).exits(0);
    let summary = ran.summary();
    has_fields(
        &summary,
        &["packs_deleted", "bytes_deleted", "packs_condemned", "packs_repacked", "duration_seconds"],
    );
    assert!(summary["packs_deleted"].as_u64().unwrap() > 0, "{summary}");
    sandbox.run(["forget", "--undo", &ids[1]]).exits(1).complains("its data is gone");
    sandbox.run(["check", "--level", "data"]).exits(0);
    let left = sandbox.run(["snapshots", "--json"]).exits(0).of_type("snapshot");
    assert_eq!(left.len(), 2);
    sandbox.run(["restore", "latest", "--target", "again"]).exits(0);
}

#[test]
fn each_copy_has_its_own_retention() {
    let sandbox = Sandbox::with_repository();
    let ids = several(&sandbox, 3);
    sandbox.run(["sync", "--to", "copy"]).exits(0);
    let count =
        |repo: &str| sandbox.run(["snapshots", "--repo", repo, "--json"]).exits(0).of_type("snapshot").len();
    sandbox
        .run(["forget", "--repo", "copy", "--keep-last", "1"])
        .exits(0)
        .says("2 snapshots forgotten in this store");
    sandbox.run(["prune", "--replica", "copy", "--grace", "0"]).exits(0);
    assert_eq!((count("repo"), count("copy")), (3, 1));
    // What a copy has forgotten does not come back; what is forgotten everywhere goes there, too.
    sandbox.run(["forget", &ids[2]]).exits(0);
    sandbox.write("src/last", "last");
    sandbox.backup(&["src"]);
    sandbox.run(["sync", "--to", "copy"]).exits(0);
    assert_eq!((count("repo"), count("copy")), (3, 1));
    sandbox.run(["check", "--repo", "copy", "--level", "data"]).exits(0);
}

#[test]
fn the_configuration_says_what_each_place_keeps() {
    let sandbox = Sandbox::with_repository();
    let config = "repository: repo\nretention:\n  keep_last: 3\nreplicas:\n  - name: nas\n    url: nas\n    retention:\n      keep_last: 1\n  \
                  - name: cold\n    url: cold\n";
    sandbox.write("fardel.yaml", config);
    let ids = several(&sandbox, 4);
    sandbox.run(["sync"]).exits(0);
    let count =
        |repo: &str| sandbox.run(["snapshots", "--repo", repo, "--json"]).exits(0).of_type("snapshot").len();
    sandbox.run(["forget"]).exits(0).says("1 snapshot forgotten in this store, 3 snapshots kept");
    sandbox.run(["forget", "--repo", "nas"]).exits(0).says("3 snapshots forgotten in this store");
    sandbox.run(["forget", "--repo", "nas"]).exits(0).says("0 snapshots forgotten");
    sandbox.run(["forget", "--repo", "cold"]).exits(2).complains("retention:").complains("--keep-last");
    sandbox.run(["forget", "--repo", "elsewhere"]).exits(2).complains("retention:");
    sandbox.run(["prune", "--repo", "nas", "--grace", "0"]).exits(0);
    assert_eq!((count("repo"), count("nas"), count("cold")), (3, 1, 4));

    // Its own retention makes no replica late, and nothing goes there again.
    let status = sandbox.run(["status", "--json"]).exits(0);
    let behind: Vec<_> = status.of_type("copy").iter().map(|copy| copy["behind"].clone()).collect();
    assert_eq!(behind, [0, 0, 0]);
    let sent = sandbox.run(["sync", "--json"]).exits(0).of_type("target");
    assert!(sent.iter().all(|target| target["packs_copied"] == 0 && target["behind"] == 0), "{sent:?}");
    sandbox.write("src/last", "last");
    sandbox.backup(&["src"]);
    sandbox.run(["sync"]).exits(0);
    assert_eq!((count("repo"), count("nas"), count("cold")), (4, 2, 5));
    sandbox.run(["status"]).exits(0);
    sandbox.run(["check", "--repo", "nas", "--level", "data"]).exits(0);
    sandbox.run(["restore", &ids[0], "--repo", "cold", "--target", "back"]).exits(0);

    // What stands on the command line counts instead, and so do other groups.
    sandbox.run(["forget", "--keep-last", "1", "--dry-run"]).exits(0).says("3 snapshots would be forgotten");
    sandbox.write("fardel.yaml", config.replace("keep_last: 3", "keep_daily: x"));
    sandbox.run(["forget"]).exits(2).complains("fardel.yaml:3:15: ").complains("`x` is no count");
    sandbox.write("fardel.yaml", config.replace("keep_last: 1", "keep: 1"));
    sandbox.run(["forget"]).exits(2).complains("fardel.yaml:8:7: ").complains("unknown field `keep`");
}
