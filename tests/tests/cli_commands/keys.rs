use std::fs;

use super::sandbox::{Ran, Sandbox};

#[test]
fn a_passphrase_opens_everything() {
    let sandbox = Sandbox::empty();
    sandbox.write_secret("phrase", "correct horse\n");
    sandbox.run(["init", "--passphrase-file", "phrase", "--recovery-file", "recovery"]).exits(0);
    sandbox.backup(&["src"]);
    fs::remove_file(sandbox.host_key()).unwrap();
    sandbox.run(["ls", "latest", "--passphrase-file", "phrase"]).exits(0).says("/");
    let with_command = |command: &str| {
        let output = sandbox.command(["ls", "latest"]).env("FARDEL_PASSPHRASE_COMMAND", command).output();
        Ran::of(output.unwrap())
    };
    with_command("cat phrase").exits(0);
    with_command("echo wrong").exits(12);
    with_command("exit 7").exits(12).complains("exit status: 7").complains("run it by hand");
}

#[test]
fn the_recovery_key_opens_everything() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&["src"]);
    fs::remove_file(sandbox.host_key()).unwrap();
    sandbox.run(["restore", "latest", "--target", "out", "--key-file", "recovery"]).exits(0);
    let output = sandbox.command(["check", "--level", "data"]).env("FARDEL_KEY_FILE", "recovery").output();
    Ran::of(output.unwrap()).exits(0);
}

#[test]
fn keys_are_added_listed_and_retired() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&["src"]);
    let list = |arguments: &[&str]| sandbox.run(["key", "list", "--json"].iter().chain(arguments)).exits(0);
    assert_eq!((list(&[]).of_type("key").len(), list(&[]).of_type("signer").len()), (2, 1));
    assert_eq!(list(&[]).of_type("signer")[0]["this_host"], true);
    assert!(list(&[]).of_type("key")[0]["holds"].is_null());
    assert!(list(&["--key-file", "recovery"]).of_type("key").iter().all(|key| key["holds"].is_string()));

    sandbox.write_secret("phrase", "a phrase\n");
    // This machine's own key changes nothing.
    let add = ["key", "add", "--new-passphrase-file", "phrase"];
    sandbox.run(add).exits(12).complains("recovery key").complains("--key-file");
    let ran = sandbox.run(add.iter().chain(&["--key-file", "recovery", "--json"])).exits(0);
    let id = ran.summary()["keys"][0].as_str().unwrap().to_owned();
    sandbox.run(["ls", "latest", "--passphrase-file", "phrase"]).exits(0);
    sandbox.run(["key", "list"]).exits(0).says(&id[..8]).says("passphrase").says("this machine");
    // It reads, and administrates nothing.
    sandbox.run(["key", "remove", &id[..8], "--passphrase-file", "phrase"]).exits(12);
    sandbox.run(["key", "remove", &id[..8], "--key-file", "recovery"]).exits(0).says("is retired");
    assert!(list(&[]).of_type("key").iter().any(|key| key["retired"] == true));
    sandbox.run(["key", "remove", "0000", "--key-file", "recovery"]).exits(1).complains("fardel key list");
    sandbox.run(["key", "add"]).exits(2);
    sandbox
        .run(["key", "add", "--recipient", "nonsense", "--key-file", "recovery"])
        .exits(2)
        .complains("not an age recipient");
}

#[test]
fn another_machine_gets_a_key_of_its_own() {
    let sandbox = Sandbox::with_repository();
    let mine = sandbox.backup(&["src"]);
    let add = ["key", "add", "--host", "laptop", "--key-file", "recovery"];
    sandbox.run(add).exits(2).complains("--out");
    sandbox
        .run(add.iter().chain(&["--out", "laptop.key"]))
        .exits(0)
        .says("can read and write")
        .says("laptop.key");
    sandbox.run(["backup", "src", "--host", "laptop", "--key-file", "laptop.key"]).exits(0);
    sandbox.run(["ls", &mine, "--key-file", "laptop.key"]).exits(0);
    let signer = sandbox.run(["key", "list", "--json"]).of_type("signer");
    assert!(signer.iter().any(|signer| signer["name"] == "laptop"), "{signer:?}");
    sandbox
        .run(["key", "remove", "laptop", "--key-file", "recovery"])
        .exits(0)
        .says("may do nothing from now on");
    // What it saved stays.
    assert_eq!(sandbox.run(["snapshots", "--json"]).exits(0).of_type("snapshot").len(), 2);
}

#[test]
fn a_write_only_machine_saves_and_reads_nothing() {
    let sandbox = Sandbox::with_repository();
    let add =
        ["key", "add", "--host", "kiosk", "--write-only", "--out", "kiosk.key", "--key-file", "recovery"];
    sandbox.run(add).exits(0).says("can write and not read");
    sandbox.run(["backup", "src", "--key-file", "kiosk.key"]).exits(0);
    sandbox.run(["backup", "src", "--key-file", "kiosk.key"]).exits(0);
    sandbox
        .run(["restore", "latest", "--target", "out", "--key-file", "kiosk.key"])
        .exits(12)
        .complains("can only write");
    sandbox.run(["snapshots", "--key-file", "kiosk.key"]).exits(0).says("can only write");
    sandbox.run(["restore", "latest", "--target", "out"]).exits(0);
}
