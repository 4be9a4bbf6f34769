//! `fardel probe` on each of the servers: what it says of them, and that nothing stays there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use fardel_tests::servers::{Ceph, Dav, Sshd};

use super::commands::{User, webdav};
use crate::sandbox::Ran;

/// Everything below a folder.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

/// The levels of the findings that say `what`.
fn levels(ran: &Ran, what: &str) -> Vec<String> {
    let findings = ran.of_type("probe");
    let fitting = findings.iter().filter(|found| found["what"].as_str().unwrap().contains(what));
    fitting.map(|found| found["level"].as_str().unwrap().to_owned()).collect()
}

fn is_good(ran: Ran) -> Ran {
    let ran = ran.exits(0);
    let summary = ran.summary();
    assert_eq!(summary["usable"], true, "{}", ran.stdout);
    assert_eq!(summary["rates"].as_array().unwrap().len(), 4, "{}", ran.stdout);
    assert!(summary["recommended_parallelism"].as_u64().is_some(), "{}", ran.stdout);
    for what in [
        "is stored and read",
        "is never replaced",
        "nothing is visible of an upload",
        "two uploads of one name",
    ] {
        assert!(!levels(&ran, what).is_empty(), "{what}: {}", ran.stdout);
    }
    ran
}

fn left(ran: &Ran) -> usize {
    ran.summary()["left_behind"].as_array().unwrap().len()
}

fn over_sftp(options: &str) -> Option<User> {
    if !Path::new(Sshd::SFTP_SERVER).exists() {
        return None;
    }
    let user = User::new("sftp://dom0/~/there/repo");
    let server = Sshd::SFTP_SERVER;
    let config = format!("stores:\n  - url: sftp://dom0\n    transport_command: [{server}, -e{options}]\n");
    user.sandbox.write("fardel.yaml", config);
    Some(user)
}

#[test]
fn openssh_syncs_and_keeps_names() {
    let Some(user) = over_sftp("") else { return };
    let ran = is_good(user.run(&["probe", "--json"]));
    assert_eq!(ran.summary()["unsafe"], 0, "{}", ran.stdout);
    assert_eq!(levels(&ran, "SFTP has no way to sync a folder"), ["note"], "{}", ran.stdout);
    assert_eq!(levels(&ran, "a rename refuses"), ["ok"], "{}", ran.stdout);
    assert_eq!(levels(&ran, "GiB are free"), ["ok"], "{}", ran.stdout);
    assert_eq!(left(&ran), 0, "{}", ran.stdout);
    assert!(!user.sandbox.path("there").exists(), "the folders that were made are gone");
}

#[test]
fn a_server_that_cannot_sync_is_told() {
    // What OpenSSH's own server is without the extension.
    let Some(user) = over_sftp(", -P, fsync") else { return };
    fs::create_dir_all(user.sandbox.path("there/repo")).unwrap();
    let ran = is_good(user.run(&["probe", "--json"]));
    assert_eq!(levels(&ran, "the server has no fsync@openssh.com"), ["unsafe"], "{}", ran.stdout);
    let shown = user.run(&["probe"]).exits(0).says("  unsafe  durability is unproven").says("recommended");
    assert!(shown.stdout.contains("after a loss of power there"), "{}", shown.stdout);
    assert_eq!(
        all_below(&user.sandbox.path("there")),
        [user.sandbox.path("there/repo")],
        "what was there stays"
    );
}

#[test]
fn a_repository_there_is_left_as_it_was() {
    let Some(user) = over_sftp("") else { return };
    user.run(&["init", "--recovery-file", "recovery"]).exits(0);
    user.run(&["backup", "src"]).exits(0);
    let before = all_below(&user.sandbox.path("there"));
    is_good(user.run(&["probe", "--json"]));
    assert_eq!(all_below(&user.sandbox.path("there")), before);
    let status = user.run(&["status", "--json"]).exits(0);
    assert_eq!(status.of_type("copy")[0]["ignored_names"], 0, "{}", status.stdout);
}

#[test]
fn an_interrupted_probe_leaves_nothing() {
    let Some(user) = over_sftp("") else { return };
    fs::create_dir_all(user.sandbox.path("there/repo")).unwrap();
    let child =
        user.command(&["probe", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while all_below(&user.sandbox.path("there")).len() < 5 {
        assert!(Instant::now() < deadline, "nothing appears there");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap()).exits(130);
    assert!(ran.stderr.contains("what was put there is removed"), "{}", ran.stderr);
    assert_eq!(all_below(&user.sandbox.path("there")), [user.sandbox.path("there/repo")], "{}", ran.stdout);
}

#[test]
fn what_each_webdav_server_gets_wrong_is_named() {
    for (name, server) in [("nginx", Dav::nginx()), ("apache", Dav::apache()), ("rclone", Dav::rclone())] {
        let Some(server) = server else { continue };
        let user = User::new(webdav(&server, Dav::USER));
        let netrc = format!("default login {} password \"{}\"\n", Dav::USER, Dav::PASSWORD);
        user.sandbox.write_secret("home/.netrc", netrc);
        let ran = is_good(user.run(&["probe", "--json"]));
        let ignored = levels(&ran, "the precondition is ignored");
        let stump = levels(&ran, "is broken off leaves a file");
        let expected: (&[&str], &[&str]) = match name {
            "nginx" => (&["unsafe"], &[]),
            "apache" => (&[], &[]),
            _ => (&["unsafe"], &["unsafe"]),
        };
        assert_eq!((ignored, stump), (own(expected.0), own(expected.1)), "{name}: {}", ran.stdout);
        // The folder of the repository was not there; DELETE could take away what somebody puts there at this moment.
        assert_eq!(left(&ran), 1, "{name}: {}", ran.stdout);
        assert_eq!(all_below(&server.files()), [server.files().join("r")], "{name}");
        // Now it is, and is left as it is.
        let again = is_good(user.run(&["probe", "--json"]));
        assert_eq!(left(&again), 0, "{name}: {}", again.stdout);
        assert_eq!(all_below(&server.files()), [server.files().join("r")], "{name}");
    }
}

fn own(levels: &[&str]) -> Vec<String> {
    levels.iter().map(|level| (*level).to_owned()).collect()
}

#[test]
fn ceph_keeps_preconditions() {
    let Some(ceph) = Ceph::shared() else { return };
    let bucket = ceph.make_bucket("probed");
    let user = User::new(format!("s3://{bucket}/r?endpoint={}", ceph.url()))
        .with("AWS_ACCESS_KEY_ID", Ceph::KEY)
        .with("AWS_SECRET_ACCESS_KEY", Ceph::SECRET);
    let ran = is_good(user.run(&["probe", "--json"]));
    assert_eq!(levels(&ran, "If-None-Match: * keeps what is there"), ["ok"], "{}", ran.stdout);
    assert_eq!(left(&ran), 0, "{}", ran.stdout);
    let missing = User::new(format!("s3://fardel-no-such-bucket/r?endpoint={}", ceph.url()))
        .with("AWS_ACCESS_KEY_ID", Ceph::KEY)
        .with("AWS_SECRET_ACCESS_KEY", Ceph::SECRET);
    let ran = missing.run(&["probe", "--json"]).exits(1);
    assert_eq!(ran.summary()["usable"], false, "{}", ran.stdout);
    assert!(ran.stdout.contains("no such bucket"), "{}", ran.stdout);
}
