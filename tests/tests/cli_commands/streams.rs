use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use fardel_tests::programs::are_installed;

use super::sandbox::{Ran, Sandbox, noise, read};

#[test]
fn standard_input_is_saved_under_a_name_and_dumped() {
    let sandbox = Sandbox::with_repository();
    let data = noise(3_000_000);
    let mut child = sandbox.command(["backup", "--stdin-name", "db/all.sql"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&data).unwrap();
    Ran::of(child.wait_with_output().unwrap()).exits(0);
    let output = sandbox.command(["dump", "latest:/db/all.sql"]).output().unwrap();
    assert!(output.status.success() && output.stdout == data);
    // Standard output is for the bytes alone.
    let output = sandbox.command(["dump", "--json", "latest:db/all.sql"]).output().unwrap();
    assert_eq!(output.stdout, data);
    let last = String::from_utf8(output.stderr).unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["bytes"]), (&"summary".into(), &3_000_000.into()));
}

#[test]
fn a_disk_image_is_saved_as_one_and_comes_back_sparse() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::with_repository();
    let path = sandbox.write("disk.img", noise(1 << 20));
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(64 << 20).unwrap();
    sandbox.backup(&["disk.img"]);
    let listed = sandbox.run(["ls", "--json", &format!("latest:{}", path.display())]).exits(0);
    assert_eq!(
        (&listed.of_type("entry")[0]["kind"], &listed.of_type("entry")[0]["size"]),
        (&"volume".into(), &(64 << 20).into())
    );
    sandbox.run(["restore", &format!("latest:{}", path.display()), "--target", "out"]).exits(0);
    let restored = sandbox.path("out/disk.img");
    assert_eq!(read(&restored), read(&path));
    assert!(std::fs::metadata(restored).unwrap().blocks() * 512 < 8 << 20);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let sandbox = Sandbox::with_repository();
    for i in 0..3000 {
        sandbox.write(&format!("many/{i:0100}"), "");
    }
    sandbox.backup(&["many"]);
    for arguments in [&["ls", "-R", "latest"][..], &["ls", "-R", "latest", "--json"], &["find", "*"]] {
        let mut child =
            sandbox.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap()).exits(0);
        assert_eq!(ran.stderr, "", "{arguments:?}");
    }
}

/// What comes until this text does.
fn read_until(from: &mut impl Read, text: &str) -> String {
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains(text) {
        let mut byte = [0];
        assert_eq!(from.read(&mut byte).unwrap(), 1, "no {text:?} in {}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn an_interrupted_backup_keeps_what_is_finished_and_goes_on() {
    let sandbox = Sandbox::with_repository();
    let mut child = sandbox.command(["backup", "--json", "src", "--stdin-name", "stream"]);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // Only what is read fits into a pipe: now the stream is being read, and Ctrl-C is watched for.
    input.write_all(&noise(1 << 20)).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    read_until(child.stderr.as_mut().unwrap(), "what is finished is kept (Ctrl-C again stops at once)");
    // It stops at the next piece; whether it still reads all of this is of no account.
    let _ = input.write_all(&noise(16 << 20));
    drop(input);
    let ran = Ran::of(child.wait_with_output().unwrap()).exits(130);
    assert_eq!(ran.summary()["partial"], true);
    // The folder was whole, and sealed when the stream began.
    let snapshots = sandbox.run(["snapshots", "--json"]).exits(0).of_type("snapshot");
    assert_eq!((snapshots.len(), &snapshots[0]["partial"]), (1, &true.into()), "{snapshots:?}");
    let summary = sandbox.run(["backup", "--json", "src"]).exits(0).summary();
    // What a finished backup of the same sources replaces is not shown.
    let shown = |arguments: &[&str]| {
        sandbox.run(["snapshots", "--json"].iter().chain(arguments)).of_type("snapshot").len()
    };
    assert_eq!((shown(&[]), shown(&["--all"])), (1, 2));
    assert_eq!((&summary["files_unmodified"], &summary["files_new"]), (&3.into(), &0.into()), "{summary}");
}

#[test]
fn completions_and_pages_can_be_written() {
    let sandbox = Sandbox::empty();
    for shell in ["bash", "zsh", "fish"] {
        sandbox.run(["completions", shell]).exits(0).says("fardel").says("snapshots");
    }
    sandbox.run(["man"]).exits(0).says(".TH").says("fardel\\-backup");
    sandbox.run(["man", "key", "add"]).exits(0).says("recipient");
    sandbox.run(["man", "nothing"]).exits(2).complains("fardel help");
    sandbox.run(["man", "--dir", "pages"]).exits(0);
    assert!(sandbox.names("pages").contains(&"fardel-key-add.1".to_owned()));
}

#[test]
fn a_terminal_is_asked_for_a_key_and_shown_a_bar() {
    if !are_installed(&["script"]) {
        return;
    }
    let sandbox = Sandbox::with_repository();
    sandbox.write("src/more", noise(20 << 20));
    let on_terminal = |command: &str, typed: &[u8]| {
        let binary = fardel_tests::fardel_binary();
        let line = format!("{} {command}", binary.display());
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).current_dir(sandbox.path("")).stdin(Stdio::piped());
        script.env("HOME", sandbox.path("home")).env("FARDEL_REPOSITORY", "repo").env("TERM", "xterm");
        script.env_remove("FARDEL_KEY_FILE").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = script.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut said = String::new();
        if !typed.is_empty() {
            // What is typed before the question is thrown away.
            said = read_until(child.stdout.as_mut().unwrap(), "of repository");
            std::thread::sleep(Duration::from_millis(200));
            stdin.write_all(typed).unwrap();
        }
        let mut ran = Ran::of(child.wait_with_output().unwrap());
        ran.stdout.insert_str(0, &said);
        drop(stdin);
        ran
    };
    on_terminal("backup src", b"").exits(0).says("saving [").says("is saved");
    std::fs::remove_file(sandbox.host_key()).unwrap();
    let recovery = String::from_utf8(read(sandbox.path("recovery"))).unwrap();
    let recovery = recovery.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    let ran = on_terminal("ls latest", format!("{recovery}\n").as_bytes()).exits(0);
    assert!(
        ran.stdout.contains("Passphrase or recovery key") && !ran.stdout.contains(recovery),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("src/one"));
    on_terminal("ls latest", b"wrong\n").exits(12).says("opens none");
    on_terminal("ls latest", b"half\x03").exits(130).says("interrupted");
}
