use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use fardel_backends::sftp::{SftpOptions, SftpStore, SshHost};
use fardel_store::{Body, ByteRange, ErrorKind, Retrying, Store, conformance};
use fardel_tests::programs::are_installed;
use fardel_tests::servers::{HOST, Sshd};
use tempfile::TempDir;

use super::samples::{MIB, files_below, key, names, noise};

/// The server of OpenSSH as a child of ours, over pipes: what a `transport_command` does.
fn piped(folder: &Path) -> SftpOptions {
    let command = vec![Sshd::SFTP_SERVER.to_owned(), "-e".to_owned()];
    SftpOptions { command, ..over_ssh_to("unused", folder) }
}

fn over_ssh_to(host: &str, folder: &Path) -> SftpOptions {
    let host = SshHost::new(None, host, None).unwrap();
    SftpOptions::new(&host, folder.to_str().unwrap(), "sftp://test")
}

/// Through `ssh` and a server that asks for a key.
fn over_ssh(server: &Sshd, folder: &str) -> SftpOptions {
    let mut options = over_ssh_to(HOST, &server.files().join(folder));
    options.command.splice(1..1, ["-F".to_owned(), server.client_config().to_str().unwrap().to_owned()]);
    options
}

fn is_there() -> bool {
    let there = Path::new(Sshd::SFTP_SERVER).exists();
    there || are_installed(&["sftp-server of openssh-sftp-server"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_over_ssh() {
    let Some(server) = Sshd::start() else { return };
    let store = SftpStore::open(over_ssh(&server, "deep/in/a/folder")).unwrap();
    conformance::run(&store).await;
    let staging = server.files().join("deep/in/a/folder/.fardel-staging");
    assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0, "no temporary is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_over_a_command_with_a_journal() {
    if !is_there() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let journal = place.path().join("journal");
    let options = SftpOptions { journal: Some(journal.clone()), ..piped(&place.path().join("repository")) };
    conformance::run(&SftpStore::open(options).unwrap()).await;
    assert_eq!(files_below(&journal), 0, "a finished upload leaves no journal");
}

/// Carries standard input to the server, as far as the file `limit` allows, and notes it in `sent.PID`.
const LINE: &str = r#"#!/usr/bin/env python3
import os, subprocess, sys
place = os.path.dirname(os.path.abspath(sys.argv[0]))
left = int(open(place + "/limit").read())
open(f"{place}/pid.{os.getpid()}", "w").write(str(os.getpid()))
server = subprocess.Popen(["SERVER", "-e"], stdin=subprocess.PIPE)
with open(f"{place}/sent.{os.getpid()}", "wb", buffering=0) as sent:
    while left > 0 and (data := os.read(0, min(left, 1 << 20))):
        left -= len(data)
        sent.write(data)
        server.stdin.write(data)
        server.stdin.flush()
"#;

/// A server that reads through a script: it notes what reaches it, and can be cut.
struct Line {
    place: TempDir,
}

impl Line {
    fn new() -> Self {
        let line = Self { place: tempfile::tempdir().unwrap() };
        std::fs::write(line.path("line"), LINE.replace("SERVER", Sshd::SFTP_SERVER)).unwrap();
        std::fs::set_permissions(line.path("line"), std::fs::Permissions::from_mode(0o755)).unwrap();
        line.cut_after(usize::MAX >> 1);
        line
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join(name)
    }

    /// From the next connection on, the line is cut after so many bytes.
    fn cut_after(&self, bytes: usize) {
        std::fs::write(self.path("limit"), bytes.to_string()).unwrap();
    }

    fn open(&self) -> SftpStore {
        SftpStore::open(SftpOptions {
            command: vec![self.path("line").to_str().unwrap().to_owned()],
            connections: 2,
            journal: Some(self.path("journal")),
            ..piped(&self.path("repository"))
        })
        .unwrap()
    }

    /// Sizes of what went over each connection; asking again begins anew.
    fn sent(&self) -> Vec<u64> {
        let mut sizes = Vec::new();
        for entry in std::fs::read_dir(self.place.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_str().unwrap().starts_with("sent.") {
                sizes.push(entry.metadata().unwrap().len());
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        sizes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_cut_goes_on_in_the_next_process() {
    if !is_there() {
        return;
    }
    // Before the first sync, and behind it.
    for before in [12, 30] {
        let line = Line::new();
        let (name, body) = (key("packs/ab/one.age"), noise(1, 40 * MIB));
        line.cut_after(before * MIB);
        let error = line.open().put_new(&name, Body::from(body.clone())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Transient, "{error}");
        assert!(names(&line.open()).await.is_empty(), "nothing of it is shown");
        assert_eq!(files_below(&line.path("journal")), 1);
        line.sent();

        line.cut_after(usize::MAX >> 1);
        let store = line.open();
        store.put_new(&name, Body::from(body.clone())).await.unwrap();
        assert!(store.get_range(&name, ByteRange::All).await.unwrap() == body, "these are the body's bytes");
        let (sent, most): (u64, _) = (line.sent().iter().sum(), (44 - before) * MIB);
        assert!(sent <= most as u64, "of 40 MiB, {before} were sent before; {sent} bytes went after that");
        assert_eq!(files_below(&line.path("journal")), 0);
        assert_eq!(std::fs::read_dir(line.path("repository/.fardel-staging")).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_lost_behind_its_last_sync_is_sent_again() {
    if !is_there() {
        return;
    }
    let line = Line::new();
    let (name, body) = (key("packs/ab/one.age"), noise(1, 40 * MIB));
    line.cut_after(30 * MIB);
    line.open().put_new(&name, Body::from(body.clone())).await.unwrap_err();
    // After a loss of power files have their size, and zeros where something was not synced.
    let mut staging = std::fs::read_dir(line.path("repository/.fardel-staging")).unwrap();
    let temporary =
        std::fs::File::options().write(true).open(staging.next().unwrap().unwrap().path()).unwrap();
    assert!(temporary.metadata().unwrap().len() > 25 * MIB as u64);
    temporary.write_all_at(&[0; MIB], 20 * MIB as u64).unwrap();
    line.sent();

    line.cut_after(usize::MAX >> 1);
    let store = line.open();
    store.put_new(&name, Body::from(body.clone())).await.unwrap();
    assert!(store.get_range(&name, ByteRange::All).await.unwrap() == body, "the bytes are those of the body");
    let sent: u64 = line.sent().iter().sum();
    let rest = 20 * MIB as u64;
    assert!((rest..rest + MIB as u64).contains(&sent), "{sent} bytes went after that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_upload_left_is_not_taken_for_another_body() {
    if !is_there() {
        return;
    }
    let line = Line::new();
    let name = key("packs/ab/one.age");
    line.cut_after(30 * MIB);
    line.open().put_new(&name, Body::from(noise(1, 40 * MIB))).await.unwrap_err();
    line.cut_after(usize::MAX >> 1);
    let (store, other) = (line.open(), noise(2, 40 * MIB));
    store.put_new(&name, Body::from(other.clone())).await.unwrap();
    assert!(
        store.get_range(&name, ByteRange::All).await.unwrap() == other,
        "none of the first body is in it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_never_go_on_are_removed() {
    if !is_there() {
        return;
    }
    for is_stored in [false, true] {
        let line = Line::new();
        let (name, body) = (key("packs/ab/one.age"), noise(1, 40 * MIB));
        line.cut_after(30 * MIB);
        line.open().put_new(&name, Body::from(body.clone())).await.unwrap_err();
        line.cut_after(usize::MAX >> 1);
        let staging = line.path("repository/.fardel-staging");
        let left = || (files_below(&line.path("journal")), std::fs::read_dir(&staging).unwrap().count());
        line.open().put_new(&key("small"), Body::from(vec![1])).await.unwrap();
        assert_eq!(left(), (1, 1), "it may go on");
        if is_stored {
            let other = SftpStore::open(piped(&line.path("repository"))).unwrap();
            other.put_new(&name, Body::from(body)).await.unwrap();
        } else {
            let folder = std::fs::read_dir(line.path("journal")).unwrap().next().unwrap().unwrap().path();
            let journal = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
            let month = Duration::from_secs(31 * 24 * 3600);
            let journal = std::fs::File::options().write(true).open(journal).unwrap();
            journal.set_modified(std::time::SystemTime::now() - month).unwrap();
        }
        line.open().put_new(&key("another"), Body::from(vec![1])).await.unwrap();
        assert_eq!(left(), (0, 0), "stored: {is_stored}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_die_are_made_again() {
    if !is_there() {
        return;
    }
    let line = Line::new();
    let store = Retrying::new(line.open());
    let body = noise(3, 300_000);
    for n in 0..5 {
        let name = key(&format!("packs/{n}.age"));
        store.put_new(&name, Body::from(body.clone())).await.unwrap();
        for entry in std::fs::read_dir(line.place.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("pid.") {
                let pid: i32 = std::fs::read_to_string(&path).unwrap().trim().parse().unwrap();
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                std::fs::remove_file(path).unwrap();
            }
        }
        assert!(store.get_range(&name, ByteRange::All).await.unwrap() == body);
    }
    assert_eq!(names(&store).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_given_up() {
    let options = SftpOptions {
        command: vec!["sleep".into(), "1000".into()],
        stall: Duration::from_millis(400),
        ..piped(Path::new("/nowhere"))
    };
    let begun = Instant::now();
    let store = SftpStore::open(options).unwrap();
    let error = store.get_range(&key("a"), ByteRange::All).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_asked_as_often_by_many_uploads_as_by_one() {
    let place = tempfile::tempdir().unwrap();
    let attempts = place.path().join("attempts");
    let script = format!("echo >> {}; exit 255", attempts.display());
    let command = ["sh", "-c", &script].map(str::to_owned).into();
    let store = SftpStore::open(SftpOptions { command, ..piped(Path::new("/x")) }).unwrap();
    let store = std::sync::Arc::new(Retrying::new(store));
    let uploads = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.put_new(&key(&format!("packs/{n}")), Body::from(vec![1])).await })
    });
    for upload in futures::future::join_all(uploads).await {
        assert_eq!(upload.unwrap().unwrap_err().kind, ErrorKind::Transient);
    }
    let asked = std::fs::read_to_string(attempts).unwrap().len();
    assert!((4..=8).contains(&asked), "{asked} attempts for eight uploads that try five times each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_told_by_their_kind() {
    let missing = SftpOptions { command: vec!["/no/such/program".into()], ..piped(Path::new("/x")) };
    let error = SftpStore::open(missing).unwrap().get_range(&key("a"), ByteRange::All).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("/no/such/program"), "{error}");

    let refusing = ["sh", "-c", "echo 'ann@nas: Permission denied (publickey).' >&2; exit 255"];
    let refusing = SftpOptions { command: refusing.map(str::to_owned).into(), ..piped(Path::new("/x")) };
    let error = SftpStore::open(refusing).unwrap().get_range(&key("a"), ByteRange::All).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("Permission denied (publickey)"), "{error}");

    if !is_there() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut read_only = piped(place.path());
    read_only.command.push("-R".into());
    let store = SftpStore::open(read_only).unwrap();
    let error = store.put_new(&key("a"), Body::from(vec![1])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_shown_and_not_entered() {
    use std::os::unix::ffi::OsStrExt;
    if !is_there() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let store = SftpStore::open(piped(place.path())).unwrap();
    store.put_new(&key("packs/ab/one.age"), Body::from(vec![0; 100])).await.unwrap();
    for name in [&b"packs/one (1).age"[..], b"packs/X/inside", b"desktop.ini", b"packs/\xff\xfe"] {
        let path = place.path().join(std::ffi::OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"stranger").unwrap();
    }
    std::os::unix::fs::symlink(place.path(), place.path().join("packs/loop")).unwrap();
    let found = names(&store).await;
    let known = ["desktop.ini", "packs/X", "packs/ab/one.age", "packs/loop", "packs/one (1).age"];
    assert_eq!(found[..5], known, "{found:?}");
    assert_eq!(found.len(), 6, "a name that is not UTF-8 is shown in some way: {found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn temporaries_of_the_dead_are_removed() {
    if !is_there() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let staging = place.path().join(".fardel-staging");
    std::fs::create_dir(&staging).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
    let ours = |n: u32| format!("upload-{n:032x}.tmp");
    for (name, is_old) in [(ours(1), true), (ours(2), false), ("put-1-2.tmp".to_owned(), true)] {
        let file = std::fs::File::create(staging.join(name)).unwrap();
        if is_old {
            file.set_modified(old).unwrap();
        }
    }
    let store = SftpStore::open(piped(place.path())).unwrap();
    store.put_new(&key("a"), Body::from(vec![1])).await.unwrap();
    let mut left: Vec<_> = std::fs::read_dir(&staging).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["put-1-2.tmp", ours(2).as_str()]);
}
