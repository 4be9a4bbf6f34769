use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

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

#[test]
fn an_interrupted_backup_keeps_what_is_finished_and_goes_on() {
    let sandbox = Sandbox::with_repository();
    let mut child = sandbox.command(["backup", "--json", "src", "--stdin-name", "stream"]);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&noise(1 << 20)).unwrap();
    // The stream is read, so that the handler is there.
    let pid = rustix::process::Pid::from_child(&child);
    std::thread::sleep(Duration::from_millis(500));
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    // It stops at the next piece; whether it still reads all of this is of no account.
    let _ = input.write_all(&noise(16 << 20));
    drop(input);
    let ran = Ran::of(child.wait_with_output().unwrap()).exits(130);
    assert!(ran.stderr.contains("what is finished is kept"), "{}", ran.stderr);
    assert_eq!(ran.summary()["partial"], true);
    // The folder was whole, and sealed when the stream began.
    let snapshots = sandbox.run(["snapshots", "--json"]).exits(0).of_type("snapshot");
    assert_eq!((snapshots.len(), &snapshots[0]["partial"]), (1, &true.into()), "{snapshots:?}");
    let summary = sandbox.run(["backup", "--json", "src"]).exits(0).summary();
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
