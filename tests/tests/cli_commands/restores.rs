use std::fs;

use fardel_tests::disk_tree::assert_same;

use super::sandbox::{Sandbox, has_fields, noise, read};

#[test]
fn everything_comes_back() {
    let sandbox = Sandbox::with_repository();
    std::os::unix::fs::symlink("sub/two", sandbox.path("src/link")).unwrap();
    fs::hard_link(sandbox.path("src/one"), sandbox.path("src/hard")).unwrap();
    let id = sandbox.backup(&["src"]);
    let ran = sandbox.run(["restore", "latest", "--target", "out", "--json"]).exits(0);
    let summary = ran.summary();
    has_fields(
        &summary,
        &["snapshot_id", "files", "dirs", "others", "bytes_written", "damaged", "duration_seconds"],
    );
    assert_eq!(summary["snapshot_id"], id);
    assert_same(&sandbox.path("src"), &sandbox.path(&format!("out{}", sandbox.text("src"))));
}

#[test]
fn a_path_comes_back_right_in_the_target() {
    let sandbox = Sandbox::with_repository();
    let id = sandbox.backup(&["src"]);
    let sub = format!("{}:{}", &id[..10], sandbox.text("src/sub"));
    sandbox.run(["restore", &sub, "--target", "out"]).exits(0).says("is restored into out");
    assert_same(&sandbox.path("src/sub"), &sandbox.path("out"));
    let file = format!("latest:{}", sandbox.text("src/sub/two"));
    sandbox.run(["restore", &file, "--target", "one"]).exits(0);
    assert_eq!(sandbox.names("one"), ["two"]);
    sandbox
        .run(["restore", "latest:/nowhere", "--target", "x"])
        .exits(1)
        .complains("/nowhere is not in this snapshot");
}

#[test]
fn patterns_choose() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&["src"]);
    let place = format!("latest:{}", sandbox.text("src"));
    sandbox.run(["restore", &place, "--target", "a", "--include", "two"]).exits(0);
    assert_eq!(
        (sandbox.names("a"), sandbox.names("a/sub")),
        (vec!["sub".to_owned()], vec!["two".to_owned()])
    );
    sandbox.run(["restore", &place, "--target", "b", "--exclude", "sub/"]).exits(0);
    assert_eq!(sandbox.names("b"), ["one"]);
}

#[test]
fn in_place_writes_what_differs() {
    let sandbox = Sandbox::with_repository();
    let mut image = noise(1 << 20);
    sandbox.write("disk.img", &image);
    sandbox.backup(&["disk.img"]);
    image[500_000] ^= 1;
    sandbox.write("disk.img", &image);
    let place = format!("latest:{}", sandbox.text("disk.img"));
    let arguments = ["restore", &place, "--target", ".", "--in-place", "--json"];
    let summary = sandbox.run(arguments.iter().chain(&["--dry-run"])).exits(0).summary();
    assert_eq!(read(sandbox.path("disk.img")), image, "{summary}");
    let summary = sandbox.run(arguments).exits(0).summary();
    assert_eq!(read(sandbox.path("disk.img")), noise(1 << 20));
    assert!(summary["bytes_written"].as_u64() <= Some(128 << 10), "{summary}");
    assert!(summary["bytes_unchanged"].as_u64() >= Some(800_000), "{summary}");
}

#[test]
fn damage_is_never_passed_over() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&["src"]);
    // The largest pack holds the content; the trees lie in another.
    let packs = sandbox.objects("packs");
    let largest = packs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    fs::remove_file(largest).unwrap();
    let ran = sandbox.run(["restore", "latest", "--target", "out", "--json"]).exits(4);
    let damaged = ran.of_type("damaged");
    assert!(!damaged.is_empty(), "{}", ran.stdout);
    has_fields(&damaged[0], &["path", "missing", "message"]);
    let target = format!("out{}/sub", sandbox.text("src"));
    assert!(!sandbox.path(&target).join("large").exists());
    sandbox.run(["restore", "latest", "--target", "again"]).exits(4).complains("damaged and not whole");
}

#[test]
fn many_things_in_the_way_are_counted_and_not_all_named() {
    let sandbox = Sandbox::with_repository();
    for number in 0..150 {
        sandbox.write(&format!("many/{number}"), "saved");
    }
    sandbox.backup(&["many"]);
    let place = format!("latest:{}", sandbox.text("many"));
    let restore = ["restore", &place, "--target", "many"];
    let ran = sandbox.run(restore).exits(1).complains("150 entries could not be written");
    let named = |ran: &str| ran.lines().filter(|line| line.contains("is in the way")).count();
    assert_eq!(named(&ran.stderr), 100, "{}", ran.stderr);
    let all = sandbox.run(restore.iter().chain(&["--verbose"])).exits(1);
    assert_eq!(named(&all.stderr), 150, "{}", all.stderr);
    let json = sandbox.run(restore.iter().chain(&["--json"])).exits(1);
    assert_eq!(json.of_type("failed").len(), 150);
}
