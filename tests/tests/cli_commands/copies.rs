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
fn a_copy_without_key_files_is_no_complete_copy() {
    let sandbox = Sandbox::with_repository();
    let id = sandbox.backup(&["src"]);
    sandbox.write("fardel.yaml", "replicas:\n  - name: usb\n    url: usb\n");
    sandbox.run(["sync"]).exits(0);
    sandbox.run(["status"]).exits(0).says("complete");
    for key in fs::read_dir(sandbox.path("usb/keys")).unwrap() {
        fs::remove_file(key.unwrap().path()).unwrap();
    }
    sandbox.run(["status"]).exits(5).says("no key file").says("lacks");
    let looked = sandbox.run(["status", "--json"]).exits(5).of_type("copy").remove(1);
    assert_eq!((&looked["locked"], &looked["complete_snapshot"]), (&true.into(), &id.into()));
    sandbox.run(["sync"]).exits(0);
    sandbox.run(["status"]).exits(0);
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
    let place = format!("{}:6:17: ", file.display());
    sandbox.run(["sync"]).exits(2).complains(&place).complains("`8` is no time of day");
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
    move_folder(&sandbox, "mnt/away", "mnt/gone");
    let ran = sandbox.run(["restore", "latest", "--target", "none"]);
    assert!(
        ran.stderr.contains("the copy away could not be asked") || ran.stderr.contains("missing"),
        "{}",
        ran.stderr
    );
    assert!(ran.exits_with().is_some_and(|code| code != 0));

    // The other way round: the replica is damaged, the repository is whole.
    move_folder(&sandbox, "mnt/gone", "mnt/away");
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

/// Copies a folder as it is.
fn copy_folder(sandbox: &Sandbox, from: &str, to: &str) {
    let status =
        std::process::Command::new("cp").arg("-r").args([sandbox.path(from), sandbox.path(to)]).status();
    assert!(status.unwrap().success());
}

/// Two snapshots, and what the second one added to the repository.
fn two_snapshots(sandbox: &Sandbox) -> ([String; 2], Vec<std::path::PathBuf>) {
    let first = sandbox.backup(&["src"]);
    let before = sandbox.objects("");
    sandbox.write("src/more", super::sandbox::noise(200_000));
    sandbox.settle();
    let second = sandbox.backup(&["src"]);
    let new = sandbox.objects("").into_iter().filter(|object| !before.contains(object)).collect();
    ([first, second], new)
}

#[test]
fn a_copy_that_was_rolled_back_is_told() {
    let sandbox = Sandbox::with_repository();
    let ([_, second], new) = two_snapshots(&sandbox);
    sandbox.write("fardel.yaml", "replicas:\n  - name: usb\n    url: usb\n    schedule: every 1d\n");
    sandbox.run(["sync"]).exits(0);
    let ran = sandbox.run(["status", "--json"]).exits(0);
    let usb = ran.of_type("copy").remove(1);
    assert_eq!((&usb["rollback"], &usb["stalled"]), (&false.into(), &false.into()));
    assert_eq!(usb["schedule"], "every 1d");
    assert!(usb["last_sync"].as_str().unwrap().starts_with("20"), "{usb}");

    // The repository shows an older state: this machine saw a newer one, and the replica still holds it.
    copy_folder(&sandbox, "repo", "kept");
    new.iter().for_each(|object| fs::remove_file(object).unwrap());
    let ran = sandbox.run(["status", "--json"]).exits(5);
    let [repository, usb] = &ran.of_type("copy")[..] else { panic!("{}", ran.stdout) };
    assert_eq!((&repository["rollback"], &repository["behind"]), (&true.into(), &0.into()));
    let gone = repository["rolled_back"].as_array().unwrap();
    let held: Vec<_> = gone.iter().map(|gone| (&gone["snapshot"], &gone["held_by"])).collect();
    let second = serde_json::Value::from(second);
    assert_eq!(held, [(&second, &serde_json::Value::Null), (&second, &"usb".into())]);
    assert_eq!((&usb["rollback"], &ran.summary()["rolled_back"]), (&false.into(), &1.into()));
    sandbox
        .run(["status"])
        .exits(5)
        .says("ROLLED BACK")
        .says("was here, is gone")
        .says("is in usb and not here");
    // It stays known until it is there again, or somebody says that it was meant.
    fs::remove_dir_all(sandbox.path("usb")).unwrap();
    sandbox.write("fardel.yaml", "{}\n");
    let said = sandbox.run(["status"]).exits(5).says("ROLLED BACK").stdout;
    let file = said.lines().find_map(|line| line.trim().strip_prefix("if that was meant: remove ")).unwrap();
    let memory = read(file);
    fs::remove_file(file).unwrap();
    sandbox.run(["status"]).exits(0);
    fs::write(file, memory).unwrap();
    fs::remove_dir_all(sandbox.path("repo")).unwrap();
    move_folder(&sandbox, "kept", "repo");
    sandbox.run(["status"]).exits(0);
}

#[test]
fn a_copy_that_nobody_brings_up_to_date_is_told() {
    let sandbox = Sandbox::empty();
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/format-1/repository");
    let config = |replica: &str| {
        format!(
            "replicas:\n  - name: old\n    url: {}\n    schedule: 0 * * * *\n  - name: away\n    url: {replica}\n",
            golden.display()
        )
    };
    sandbox.write("fardel.yaml", config("nowhere"));
    let status = ["status", "--json", "--repo", golden.to_str().unwrap()];
    let ran = sandbox.run(status).exits(5);
    let old = ran.of_type("copy").remove(1);
    assert_eq!(
        (&old["behind"], &old["stalled"], &old["schedule"]),
        (&0.into(), &true.into(), &"0 * * * *".into())
    );
    assert!(old["stalled_why"].as_str().unwrap().contains("nothing newer came since"), "{old}");
    assert_eq!((&ran.summary()["stalled"], &ran.summary()["unreachable"]), (&1.into(), &1.into()));
    assert_eq!(ran.of_type("copy-failed")[0]["copy"], "away");
    let ran = sandbox.run(["status", "--repo", golden.to_str().unwrap()]).exits(5);
    let ran = ran
        .says("STALLED")
        .says("NO COPY")
        .says("by its schedule (0 * * * *)")
        .complains("replica away")
        .complains("`fardel sync` carries");
    assert!(ran.stdout.starts_with("Copy"), "{}", ran.stdout);

    // Without the repository the replicas are looked at all the same.
    let ran = sandbox.run(["status", "--json", "--repo", "nowhere"]).exits(5);
    assert_eq!((ran.of_type("copy").len(), ran.of_type("copy-failed").len()), (1, 2), "{}", ran.stdout);
    sandbox.write("fardel.yaml", "{}\n");
    sandbox.run(["status", "--repo", "nowhere"]).exits(10);
}

#[test]
fn what_a_foreign_tool_has_not_brought_yet_is_no_damage() {
    let sandbox = Sandbox::with_repository();
    let ([first, second], new) = two_snapshots(&sandbox);
    copy_folder(&sandbox, "repo", "copy");
    let in_copy = |object: &std::path::Path| {
        sandbox.path("copy").join(object.strip_prefix(sandbox.path("repo")).unwrap())
    };
    let packs: Vec<_> = new.iter().filter(|object| object.to_str().unwrap().contains("/packs/")).collect();
    let largest = packs.iter().max_by_key(|object| fs::metadata(object).unwrap().len()).unwrap();
    let size = fs::metadata(largest).unwrap().len();

    // What a copier leaves: its own names, a half under a final name, a placeholder, conflict copies.
    sandbox.write("copy/.stfolder/marker", "");
    sandbox.write("copy/packs/.syncthing.abc.tmp", "half");
    let seal = new.iter().find(|object| object.to_str().unwrap().contains("/seals/")).unwrap();
    fs::copy(seal, in_copy(seal).with_extension("sync-conflict-20261125-120000-ABCDEFG.minisig")).unwrap();
    fs::File::create(in_copy(largest)).unwrap().set_len(size).unwrap();

    let key = ["--repo", "copy", "--key-file", "recovery"];
    let ran = sandbox.run(["status", "--json", "--repo", "copy"]).exits(5);
    let copy = ran.of_type("copy").remove(0);
    assert_eq!((&copy["complete_snapshot"], &copy["behind"]), (&first.clone().into(), &1.into()));
    assert_eq!((&copy["missing_packs"], &copy["missing_pack_bytes"]), (&1.into(), &size.into()));
    assert_eq!(copy["missing"], serde_json::json!([largest.strip_prefix(sandbox.path("repo")).unwrap()]));
    assert_eq!(copy["ignored_names"], 3, "{copy}");
    for level in ["list", "hashes"] {
        let ran = sandbox.run(["check", "--repo", "copy", "--level", level, "--json"]).exits(5);
        let summary = ran.summary();
        let errors = summary["errors"].as_array().unwrap();
        assert_eq!((errors.len(), &errors[0]["class"]), (1, &"not-yet-arrived".into()), "{summary}");
    }
    sandbox.run(["check", "--repo", "copy"]).exits(5).says("not here yet");

    // The newest complete snapshot is taken, and it is said what is on its way.
    let ran = sandbox.run(["restore", "latest", "--target", "back", "--json"].iter().chain(&key)).exits(0);
    assert_eq!(ran.summary()["snapshot_id"], first.clone());
    let warning = ran.of_type("warning").remove(0)["message"].as_str().unwrap().to_owned();
    assert!(warning.contains("1 pack") && warning.contains(&second[..8]), "{warning}");
    let ran = sandbox.run(["ls", "latest"].iter().chain(&key)).exits(0).complains("not whole here");
    assert!(!ran.stdout.contains("src/more"), "{}", ran.stdout);
    let one = format!("latest:{}", sandbox.text("src/one"));
    sandbox.run(["dump", &one].iter().chain(&key)).exits(0).complains("not whole here");
    let ran = sandbox.run(["find", "*", "--snapshot", "latest"].iter().chain(&key)).exits(0);
    ran.complains("not whole here").says(&format!("snapshot {}", &first[..8]));
    // Named by its id, the newer one gives what there is of it.
    sandbox.run(["restore", &second, "--target", "partly"].iter().chain(&key)).exits(4);

    // Once it came and was seen, its loss is damage.
    fs::remove_file(in_copy(largest)).unwrap();
    fs::copy(largest, in_copy(largest)).unwrap();
    sandbox.run(["status", "--repo", "copy"]).exits(0);
    sandbox.run(["check", "--repo", "copy"]).exits(0);
    let ran = sandbox.run(["restore", "latest", "--target", "back2", "--json"].iter().chain(&key)).exits(0);
    assert_eq!(ran.summary()["snapshot_id"], second);
    fs::remove_file(in_copy(largest)).unwrap();
    let ran = sandbox.run(["check", "--repo", "copy", "--level", "list", "--json"]).exits(4);
    assert_eq!(ran.summary()["errors"][0]["class"], "missing");
}

#[test]
fn init_says_how_a_tool_is_to_copy_the_folder() {
    let sandbox = Sandbox::empty();
    for (tool, said) in [
        ("syncthing", "Oldest First"),
        ("nextcloud", "Make always available locally"),
        ("dropbox", "Available offline"),
        ("rclone", "rclone copy --immutable"),
        ("rsync", "rsync -rt"),
    ] {
        let repo = format!("for {tool}");
        sandbox.run(["init", "--repo", &repo, "--for", tool, "--recovery-file", tool]).exits(0).says(said);
        let ignored = sandbox.path(&repo).join(".stignore");
        assert_eq!(ignored.exists(), tool == "syncthing");
    }
    let text = String::from_utf8(read(sandbox.path("for syncthing/.stignore"))).unwrap();
    assert_eq!(text.lines().filter(|line| !line.starts_with("//")).collect::<Vec<_>>(), ["/.fardel-staging"]);
    sandbox.run(["init", "--repo", "memory:", "--for", "rsync"]).exits(2);
}

/// Gives a folder a name that nothing has.
#[expect(clippy::disallowed_methods, reason = "nothing has that name yet")]
fn move_folder(sandbox: &Sandbox, from: &str, to: &str) {
    fs::rename(sandbox.path(from), sandbox.path(to)).unwrap();
}
