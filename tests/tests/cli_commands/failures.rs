use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::sandbox::{Sandbox, has_fields};

#[test]
fn no_repository_is_10_and_says_how_to_make_one() {
    let sandbox = Sandbox::empty();
    let commands: [&[&str]; 8] = [
        &["backup", "src"],
        &["snapshots"],
        &["ls", "latest"],
        &["find", "x"],
        &["restore", "latest", "--target", "out"],
        &["check"],
        &["status"],
        &["key", "list"],
    ];
    for command in commands {
        let ran = sandbox.run(command).exits(10);
        ran.complains(&format!("there is no fardel repository at {}", sandbox.text("repo")))
            .complains("fardel init --repo");
    }
    // Looking makes nothing.
    assert!(!sandbox.path("repo").exists());
    sandbox.run(["snapshots", "--repo", "src/one"]).exits(10).complains("a repository is a folder");
}

#[test]
fn programs_get_errors_as_objects() {
    let sandbox = Sandbox::empty();
    let ran = sandbox.run(["snapshots", "--json"]).exits(10);
    let errors = ran.of_type("error");
    assert_eq!((ran.objects().len(), errors.len()), (1, 1));
    has_fields(&errors[0], &["code", "message", "hint"]);
    assert_eq!(errors[0]["code"], 10);
    let usage = sandbox.run(["restore", "--json", "latest"]).exits(2).of_type("error");
    assert!(usage[0]["message"].as_str().unwrap().contains("--target"), "{usage:?}");
}

#[test]
fn wrong_usage_is_2() {
    let sandbox = Sandbox::with_repository();
    let wrong: [&[&str]; 12] = [
        &[],
        &["nothing"],
        &["backup", "--nothing"],
        &["backup"],
        &["restore", "latest"],
        &["restore", "/home", "--target", "x"],
        &["dump", "latest"],
        &["snapshots", "--repo", "b2://bucket/x"],
        &["snapshots", "-q", "-v"],
        &["check", "--sample", "0%"],
        &["init", "--chunk-size", "65537"],
        &["init", "--repo", "memory:", "--for", "syncthing"],
    ];
    for arguments in wrong {
        let ran = sandbox.run(arguments).exits(2);
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
    let ran = sandbox.run(["status", "--repo", "ftp://ann:secret@host/x"]).exits(2);
    assert!(
        ran.stderr.contains("this build has no store for ftp") && !ran.stderr.contains("secret"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_snapshot_that_is_not_there_is_1() {
    let sandbox = Sandbox::with_repository();
    sandbox.run(["ls", "latest"]).exits(1).complains("there is no snapshot yet");
    sandbox.backup(&["src"]);
    sandbox
        .run(["ls", "0123456789abcdef"])
        .exits(1)
        .complains("no snapshot 0123456789abcdef")
        .complains("fardel snapshots");
}

#[test]
fn a_key_that_does_not_open_it_is_12() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&["src"]);
    // Another repository's keys.
    sandbox
        .run(["init", "--repo", "other", "--key-file", "other.key", "--recovery-file", "other.recovery"])
        .exits(0);
    sandbox
        .run(["ls", "latest", "--key-file", "other.key"])
        .exits(12)
        .complains("belongs to repository")
        .complains("--key-file");
    sandbox.run(["ls", "latest", "--key-file", "other.recovery"]).exits(12).complains("opens none");
    sandbox.run(["ls", "latest", "--key-file", "missing"]).exits(12).complains("missing");
    sandbox.run(["ls", "latest", "--key-file", "src/one"]).exits(12);
    let wrong = sandbox.write_secret("wrong", "not the passphrase\n");
    sandbox.run(["ls", "latest", "--passphrase-file", wrong.to_str().unwrap()]).exits(12);
    fs::remove_file(sandbox.host_key()).unwrap();
    let own = sandbox.text("home/.config/fardel/keys");
    sandbox
        .run(["ls", "latest"])
        .exits(12)
        .complains("there is no key for repository")
        .complains(&own)
        .complains("--key-file");
    sandbox.run(["backup", "src"]).exits(12);
    sandbox.run(["check", "--level", "data"]).exits(12);
    // What needs none works without.
    sandbox.run(["status"]).exits(0);
    sandbox.run(["check"]).exits(0);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&["src"]);
    let key = sandbox.host_key();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    sandbox.run(["ls", "latest"]).exits(12).complains("others can read this secret").complains("chmod 600");
    let phrase = sandbox.write("phrase", "x\n");
    fs::set_permissions(&phrase, fs::Permissions::from_mode(0o644)).unwrap();
    sandbox
        .run(["ls", "latest", "--passphrase-file", "phrase"])
        .exits(12)
        .complains("others can read this secret");
}

#[test]
fn a_key_that_only_reads_backs_nothing_up() {
    let sandbox = Sandbox::with_repository();
    sandbox
        .run(["backup", "src", "--key-file", "recovery"])
        .exits(12)
        .complains("not sign")
        .complains("fardel key add --host");
}

#[test]
fn secrets_are_never_said() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&["src"]);
    let key = String::from_utf8(super::sandbox::read(sandbox.host_key())).unwrap();
    let secrets: Vec<&str> =
        key.split_whitespace().filter(|word| word.len() >= 40 && !word.starts_with("age1")).collect();
    assert!(secrets.len() >= 4, "{}", secrets.len());
    for arguments in
        [&["snapshots", "-v"][..], &["key", "list"], &["backup", "-v", "src"], &["check", "--json"]]
    {
        let ran = sandbox.run(arguments).exits(0);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        // The repository's id and public keys stand in the file too, and are no secrets.
        for secret in secrets.iter().filter(|word| word.starts_with("AGE-SECRET")) {
            assert!(!text.contains(*secret), "{arguments:?}");
        }
        for line in key.lines().filter(|line| line.contains("secret-key") || line.contains("chunk")) {
            assert!(!text.contains(line.split_whitespace().last().unwrap()), "{arguments:?}");
        }
    }
}
