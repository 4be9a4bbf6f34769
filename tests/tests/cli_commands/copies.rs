use std::fs;

use super::sandbox::{Sandbox, has_fields, read};

#[test]
fn sync_carries_everything_to_every_replica_and_then_nothing() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&["src"]);
    sandbox.write("src/new", "n");
    let newest = sandbox.backup(&["src"]);
    sandbox.write("fardel.yaml", "replicas:\n  - name: usb\n    url: usb\n  - name: nas\n    url: mnt/nas\n");
    // Without any key.
    fs::remove_dir_all(sandbox.path("home")).unwrap();
    fs::create_dir(sandbox.path("home")).unwrap();
    sandbox.run(["status"]).exits(5);

    sandbox.run(["sync", "--dry-run"]).exits(0).says("usb: would send").says("nas: would send");
    assert!(!sandbox.path("usb").exists() || sandbox.names("usb").is_empty());
    let ran = sandbox.run(["sync", "--json"]).exits(0);
    let targets = ran.of_type("target");
    assert_eq!(targets.len(), 2);
    for target in &targets {
        has_fields(
            target,
            &["target", "packs_copied", "bytes_sent", "bytes_resumed", "complete_snapshot", "behind"],
        );
        has_fields(target, &["duration_seconds"]);
        assert_eq!((&target["complete_snapshot"], &target["behind"]), (&newest.clone().into(), &0.into()));
        assert_eq!(target["bytes_sent"], target["bytes_to_copy"]);
    }
    assert_eq!(ran.summary()["complete"], 2);
    sandbox.run(["status"]).exits(0);
    for object in sandbox.objects("") {
        let name = object.strip_prefix(sandbox.path("repo")).unwrap().to_owned();
        assert!(fs::read(sandbox.path("usb").join(&name)).unwrap() == fs::read(&object).unwrap(), "{name:?}");
    }
    sandbox.run(["sync"]).exits(0).says("usb: complete up to").says("nothing was to be sent");

    // The copy alone gives everything back.
    fs::remove_dir_all(sandbox.path("repo")).unwrap();
    let restore = ["restore", "latest", "--repo", "nas", "--key-file", "recovery", "--target", "back"];
    sandbox.run(restore).exits(0);
    let back = sandbox.text("back") + &sandbox.text("src/new");
    assert_eq!(read(back), b"n");
}

#[test]
fn a_replica_that_cannot_be_reached_costs_the_others_nothing() {
    let sandbox = Sandbox::with_repository();
    let id = sandbox.backup(&["src"]);
    sandbox.write("file", "this is no folder");
    sandbox.run(["init", "--repo", "stranger", "--recovery-file", "r2"]).exits(0);
    let ran = sandbox.run(["sync", "--to", "file", "--to", "stranger", "--to", "good", "--json"]).exits(5);
    let failed = ran.of_type("target-failed");
    assert_eq!(
        failed.iter().map(|f| f["target"].as_str().unwrap()).collect::<Vec<_>>(),
        ["file", "stranger"]
    );
    failed.iter().for_each(|failed| has_fields(failed, &["code", "message", "hint", "location"]));
    let good = ran.of_type("target").remove(0);
    assert_eq!((&good["target"], &good["complete_snapshot"]), (&"good".into(), &id.into()));
    sandbox.run(["sync", "--to", "stranger"]).exits(5).complains("stranger: this is repository");
}

#[test]
fn sync_says_what_it_needs() {
    let sandbox = Sandbox::with_repository();
    sandbox.run(["sync"]).exits(2).complains("there is no replica").complains("--to");
    sandbox.run(["sync", "--to", "repo"]).exits(2).complains("this is the repository itself");
    sandbox.run(["sync", "--to", "copy"]).exits(0).says("there is no snapshot yet");
    sandbox.run(["snapshots", "--repo", "copy", "--key-file", "recovery"]).exits(0);
}

#[test]
fn a_damaged_pack_is_not_carried_on_and_named() {
    let sandbox = Sandbox::with_repository();
    let whole = sandbox.backup(&["src"]);
    let before = sandbox.objects("packs");
    sandbox.write("src/more", super::sandbox::noise(200_000));
    sandbox.backup(&["src"]);
    let pack = sandbox.objects("packs").into_iter().find(|pack| !before.contains(pack)).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let ran = sandbox.run(["sync", "--to", "copy", "--json"]).exits(5);
    let target = ran.of_type("target").remove(0);
    assert_eq!((&target["complete_snapshot"], &target["behind"]), (&whole.into(), &1.into()));
    assert!(!sandbox.path("copy/packs").join(pack.file_name().unwrap()).exists());
    let name = pack.file_name().unwrap().to_str().unwrap();
    sandbox.run(["sync", "--to", "copy"]).exits(5).complains(name).complains("damaged here");
    sandbox.run(["check", "--repo", "copy"]).exits(0);
}

#[test]
fn limits_of_a_replica_hold_and_the_command_line_counts_instead() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("src/large", super::sandbox::noise(600_000));
    sandbox.backup(&["src"]);
    let limits = "limits:\n      upload: 1KiB\n      timetable:\n        - from: 00:00\n          to: 24:00\n          upload: 400000\n";
    sandbox.write("fardel.yaml", format!("replicas:\n  - name: usb\n    url: usb\n    {limits}"));
    let target = sandbox.run(["sync", "--json"]).exits(0).of_type("target").remove(0);
    let (sent, seconds) =
        (target["bytes_sent"].as_f64().unwrap(), target["duration_seconds"].as_f64().unwrap());
    // The packs wait for nobody, and what comes after them waits until they are through. The usual rate would take minutes.
    let pack = sandbox.objects("packs").iter().map(|pack| fs::metadata(pack).unwrap().len()).max().unwrap();
    assert!(sent > 600_000.0 && pack > 600_000, "{target}");
    assert!(seconds >= pack as f64 / 400_000.0, "{target}");
    assert!(seconds < sent / 1024.0 / 2.0, "{target}");

    sandbox.write("fardel.yaml", "replicas:\n  - name: nas\n    url: nas\n    limits:\n      upload: 1KiB\n");
    let ran = sandbox.run(["sync", "--json", "--limit-upload", "1GiB"]).exits(0);
    assert!(ran.of_type("target")[0]["duration_seconds"].as_f64().unwrap() < 300.0, "{}", ran.stdout);

    let wrong = "replicas:\n  - name: nas\n    url: nas\n    limits:\n      timetable:\n        - from: 8\n          to: 18:00\n";
    let file = sandbox.write("fardel.yaml", wrong);
    let place = format!("{}:6:17: `8` is no time of day", file.display());
    sandbox.run(["sync"]).exits(2).complains(&place);
}

#[test]
fn a_dry_run_tells_requests() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&["src"]);
    let ran = sandbox.run(["sync", "--dry-run", "--json", "--to", "copy"]).exits(0);
    let target = ran.of_type("target").remove(0);
    assert!(target["requests"].as_u64() > target["objects_copied"].as_u64(), "{target}");
    sandbox.run(["sync", "--dry-run", "--to", "copy"]).exits(0).says(" requests");
    sandbox.run(["sync", "--to", "copy"]).exits(0);
    let ran = sandbox.run(["sync", "--dry-run", "--json", "--to", "copy"]).exits(0);
    assert_eq!(ran.of_type("target")[0]["requests"], 0, "{}", ran.stdout);
}

/// Damages every pack of a repository in a folder: some are lost, in others a bit is flipped.
fn spoil_packs(sandbox: &Sandbox, repository: &str) -> usize {
    let mut folders = vec![sandbox.path(repository).join("packs")];
    let mut packs = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { packs.push(path) }
        }
    }
    for (number, pack) in packs.iter().enumerate() {
        let mut bytes = fs::read(pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        if number % 2 == 0 { fs::remove_file(pack).unwrap() } else { fs::write(pack, bytes).unwrap() }
    }
    packs.len()
}

/// Everything comes back though each pack of `repo` is spoilt: from the configured copy `away`.
fn comes_from_the_other_copy(sandbox: &Sandbox) {
    sandbox.run(["sync", "--to", "away"]).exits(0);
    let packs = spoil_packs(sandbox, "repo");
    fs::remove_dir_all(sandbox.path("home/.cache")).unwrap();
    let ran = sandbox.run(["restore", "latest", "--target", "back", "--json"]).exits(0);
    let fallbacks = ran.of_type("fallback");
    assert!(!fallbacks.is_empty() && fallbacks.len() <= packs, "{}", ran.stdout);
    for fallback in &fallbacks {
        has_fields(fallback, &["object", "message", "copy"]);
        assert_eq!(fallback["copy"], "away");
        assert!(fallback["object"].as_str().unwrap().starts_with("packs/"), "{fallback}");
    }
    for name in ["one", "sub/two", "sub/large"] {
        let source = sandbox.path("src").join(name);
        let back = sandbox.path("back").join(source.strip_prefix("/").unwrap());
        assert!(read(back) == read(source), "{name}");
    }
    let one = format!("latest:{}", sandbox.text("src/one"));
    assert_eq!(
        sandbox.run(["dump", &one]).exits(0).complains("it was read from the copy away").stdout,
        "1\n"
    );
    sandbox.run(["ls", "-R", "latest"]).exits(0).says("sub/two").complains("fardel check");
    // Who checks a copy is told of this copy.
    let check = sandbox.run(["check"]).exits(4);
    assert!(!check.stderr.contains("away"), "{}", check.stderr);
    // The good copy by its name needs nobody, and without it nothing is made up.
    let ran = sandbox.run([
        "restore",
        "latest",
        "--repo",
        "away",
        "--key-file",
        "recovery",
        "--target",
        "other",
        "--json",
    ]);
    assert!(ran.exits(0).of_type("fallback").is_empty());
}

#[test]
fn what_is_damaged_here_is_read_from_a_replica_in_a_folder() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("fardel.yaml", "repository: repo\nreplicas:\n  - name: away\n    url: mnt/away\n");
    sandbox.backup(&["src"]);
    comes_from_the_other_copy(&sandbox);
    fs::rename(sandbox.path("mnt/away"), sandbox.path("mnt/gone")).unwrap();
    let ran = sandbox.run(["restore", "latest", "--target", "none"]);
    assert!(
        ran.stderr.contains("the copy away could not be asked") || ran.stderr.contains("missing"),
        "{}",
        ran.stderr
    );
    assert!(ran.exits_with().is_some_and(|code| code != 0));

    // The other way round: the replica is damaged, the repository is whole.
    fs::rename(sandbox.path("mnt/gone"), sandbox.path("mnt/away")).unwrap();
    fs::remove_dir_all(sandbox.path("repo")).unwrap();
    sandbox.run(["sync", "--repo", "away", "--to", "repo"]).exits(0);
    spoil_packs(&sandbox, "mnt/away");
    let restore = ["restore", "latest", "--repo", "away", "--key-file", "recovery", "--target", "again"];
    sandbox.run(restore).exits(0).complains("it was read from the copy repository");
}

#[test]
fn what_is_damaged_here_is_read_from_a_replica_behind_sftp() {
    let server = fardel_tests::servers::Sshd::SFTP_SERVER;
    if !std::path::Path::new(server).exists() {
        eprintln!("passed over: {server} is not installed");
        assert!(std::env::var_os("CI").is_none(), "CI needs it");
        return;
    }
    let sandbox = Sandbox::with_repository();
    let config = "repository: repo\nreplicas:\n  - name: away\n    url: sftp://nas/~/away\nstores:\n  - url: sftp://nas\n";
    sandbox.write("fardel.yaml", format!("{config}    transport_command: [{server}]\n"));
    sandbox.backup(&["src"]);
    comes_from_the_other_copy(&sandbox);
    assert!(sandbox.path("away/fardel.json").is_file());
}
