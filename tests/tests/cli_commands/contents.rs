use super::sandbox::{Sandbox, has_fields, noise};

#[test]
fn ls_shows_folders_and_everything_below() {
    let sandbox = Sandbox::with_repository();
    let id = sandbox.backup(&["src"]);
    let src = sandbox.text("src");
    let ran = sandbox.run(["ls", &format!("latest:{src}")]).exits(0);
    assert_eq!(ran.stdout, format!("{src}/one\n{src}/sub\n"));
    let ran = sandbox.run(["ls", "latest"]).exits(0);
    assert_eq!(ran.stdout, format!("{src}\n{src}/one\n{src}/sub\n"));
    let ran = sandbox.run(["ls", "-R", "--json", &format!("{}:{src}", &id[..8])]).exits(0);
    let entries = ran.of_type("entry");
    assert_eq!((entries.len(), ran.summary()["entries"].as_u64()), (4, Some(4)));
    has_fields(&entries[0], &["path", "kind", "mode", "size", "mtime", "uid"]);
    assert_eq!((&entries[0]["path"], &entries[0]["size"]), (&format!("{src}/one").into(), &2.into()));
    sandbox.run(["ls", "-l", &format!("latest:{src}")]).exits(0).says("-rw-").says("2 B");
    sandbox.run(["ls", "latest:/no/such"]).exits(1).complains("/no/such").complains("fardel ls");
}

#[test]
fn names_that_are_no_text_come_through() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let sandbox = Sandbox::with_repository();
    let name = OsString::from_vec(b"a\xff\x1b[2J".to_vec());
    std::fs::write(sandbox.path("src").join(&name), "odd").unwrap();
    sandbox.backup(&["src"]);
    let ran =
        sandbox.run(["ls", &format!("latest:{}", sandbox.text("src"))]).exits(0).says("a\\xff\\u{1b}[2J");
    assert!(!ran.stdout.contains('\x1b'));
    let ran = sandbox.run(["ls", "--json", &format!("latest:{}", sandbox.text("src"))]).exits(0);
    assert!(ran.of_type("entry").iter().any(|entry| entry["path_b64"].is_string()), "{}", ran.stdout);
    let mut path = OsString::from(format!("latest:{}/", sandbox.text("src")));
    path.push(&name);
    assert_eq!(sandbox.run([OsString::from("dump"), path]).exits(0).stdout, "odd");
}

#[test]
fn find_says_where_and_where_it_did_not_look() {
    let sandbox = Sandbox::with_repository();
    let first = sandbox.backup(&["src"]);
    sandbox.write("src/sub/two", "another\n");
    let second = sandbox.backup(&["src"]);
    let ran = sandbox.run(["find", "--json", "tw*"]).exits(0);
    let matches = ran.of_type("match");
    let found: Vec<_> = matches.iter().map(|found| found["snapshot_id"].as_str().unwrap()).collect();
    assert_eq!(found, [&second, &first]);
    has_fields(&matches[0]["entry"], &["path", "size", "mtime"]);
    assert_eq!(ran.summary()["conclusive"], true);
    assert_eq!(sandbox.run(["find", "--json", "two", "--snapshot", &first[..9]]).of_type("match").len(), 1);
    sandbox.run(["find", "nothing"]).exits(0).says("everything was searched");
    // A file inside a disk image cannot be seen, and that is said.
    sandbox.write("disk.img", noise(200_000));
    sandbox.backup(&["disk.img"]);
    let ran = sandbox.run(["find", "nothing"]).exits(0).says("it may be where the search could not look");
    let ran = ran.complains("1 volume was not searched").complains("disk.img");
    assert!(!ran.stdout.contains("everything was searched"));
    let ran = sandbox.run(["find", "--json", "nothing"]).exits(0);
    assert_eq!(
        (&ran.summary()["conclusive"], &ran.summary()["volumes_not_searched"]),
        (&false.into(), &1.into())
    );
    assert_eq!(ran.of_type("volume-not-searched").len(), 1);
    assert_eq!(sandbox.run(["find", "--json", "*", "--min-size", "250k"]).of_type("match").len(), 1);
    assert_eq!(sandbox.run(["find", "--json", "one", "--newer", "1h"]).of_type("match").len(), 1);
    assert_eq!(sandbox.run(["find", "--json", "one", "--older", "2001-01-01"]).of_type("match").len(), 0);
    sandbox.run(["find", "one", "--host", "nobody"]).exits(1).complains("no snapshot has that host");
    sandbox.run(["find", "[a"]).exits(2);
}

#[test]
fn diff_names_every_change() {
    let sandbox = Sandbox::with_repository();
    let first = sandbox.backup(&["src"]);
    sandbox.write("src/one", "other\n");
    sandbox.write("src/new", "n");
    std::fs::remove_file(sandbox.path("src/sub/two")).unwrap();
    let second = sandbox.backup(&["src"]);
    let ran = sandbox.run(["diff", "--json", &first[..8], "latest"]).exits(0);
    let mut changes: Vec<_> =
        ran.of_type("change").iter().map(|c| (c["change"].to_string(), c["path"].to_string())).collect();
    changes.sort();
    let src = sandbox.text("src");
    let expected = [("added", "new"), ("modified", "one"), ("removed", "sub/two")];
    assert_eq!(changes, expected.map(|(change, path)| (format!("{change:?}"), format!("\"{src}/{path}\""))));
    let summary = ran.summary();
    assert_eq!(
        (&summary["before"], &summary["after"], &summary["added"]["files"]),
        (&first.into(), &second.into(), &1.into())
    );
    sandbox.run(["diff", "latest", "latest"]).exits(0).says("0 files");
}
