//! SIGKILL of the real `fardel sync` in the middle of a large pack: the next run sends at most 8 MiB of it again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use fardel_tests::proxy::{End, Proxy, Strike, Way};
use fardel_tests::servers::{Ceph, HOST, Sshd};

use super::samples::{MIB, noise};
use crate::sandbox::{Ran, Sandbox, read};

/// What an interruption may cost, in bytes.
const COST: u64 = 8 << 20;

/// A repository with one pack of 64 MiB, which somebody carries elsewhere.
struct Carrier {
    sandbox: Sandbox,
    to: String,
    environment: Vec<(&'static str, OsString)>,
    packs: Packs,
}

/// Bytes of packs.
#[derive(Debug)]
struct Packs {
    all: u64,
    /// Of a full one.
    large: u64,
    /// Of those that go before it: they go in the order of their names.
    before: u64,
}

impl Carrier {
    fn new() -> Self {
        let sandbox = Sandbox::with_repository();
        sandbox.write("src/sub/large", noise(7, 136 * MIB));
        sandbox.run(["backup", "src"]).exits(0);
        let size = |path: &PathBuf| path.metadata().unwrap().len();
        let name = |path: &PathBuf| path.file_name().unwrap().to_owned();
        let objects = sandbox.objects("packs");
        let full = objects.iter().max_by_key(|path| size(path)).unwrap();
        let before = objects.iter().filter(|path| name(path) < name(full)).map(size).sum();
        let packs = Packs { all: objects.iter().map(size).sum(), large: size(full), before };
        assert!(packs.large > 60 * MIB as u64, "{packs:?}");
        Self { sandbox, to: String::new(), environment: Vec::new(), packs }
    }

    fn to(mut self, url: impl Into<String>) -> Self {
        self.to = url.into();
        self
    }

    fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    fn start(&self, more: &[&str]) -> Child {
        let mut command =
            self.sandbox.command(["sync", "--to", &self.to, "--parallel", "1"].iter().chain(more));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Carries everything, and returns how many bytes were sent, and how many of an earlier run were used.
    fn finish(&self) -> (u64, u64) {
        let ran = Ran::of(self.start(&["--json"]).wait_with_output().unwrap()).exits(0);
        let target = &ran.of_type("target")[0];
        (target["bytes_sent"].as_u64().unwrap(), target["bytes_resumed"].as_u64().unwrap())
    }

    /// Kills a run when the line has let through 90 % of the large pack; the next one completes the copy.
    fn is_killed_behind(&self, line: &Proxy) {
        let late = self.packs.large * 9 / 10;
        line.arm(Way::Up, self.packs.before + late, Strike::Stall);
        let mut killed = self.start(&[]);
        assert!(line.wait_for_strike(Duration::from_secs(120)), "only {:?} was sent", line.counts());
        kill(&mut killed);
        line.cut(End::Rst);
        line.mend();
        let (sent, resumed) = self.finish();
        let again = line.counts().up.saturating_sub(self.packs.all);
        assert!(again <= COST, "{again} bytes went again");
        assert!(resumed >= late - COST, "only {resumed} bytes of {:?} were used", self.packs);
        assert!(sent + resumed >= self.packs.all - self.packs.before);
        self.restores();
    }

    fn restores(&self) {
        let mut command = self.sandbox.command(["restore", "latest", "--repo", &self.to, "--target", "out"]);
        Ran::of(command.envs(self.environment.iter().map(|(k, v)| (k, v))).output().unwrap()).exits(0);
        let source = self.sandbox.path("src/sub/large");
        assert!(read(self.sandbox.path("out").join(source.strip_prefix("/").unwrap())) == read(source));
    }
}

fn kill(child: &mut Child) {
    // `Child::kill` is SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_sync_over_ssh_sends_at_most_8_mib_again() {
    let Some(server) = Sshd::start() else { return };
    let line = Proxy::before(server.daemon().port());
    let mut path = vec![server.client_folder()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let url = format!("sftp://{HOST}:{}{}", line.port(), server.files().join("r").display());
    let carrier = Carrier::new().to(url).with("PATH", std::env::join_paths(path).unwrap());
    carrier.is_killed_behind(&line);
    let staging = server.files().join("r/.fardel-staging");
    // Small objects go beside the pack. One that the kill hit leaves a temporary, which is litter after some days.
    let lens = std::fs::read_dir(staging).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    let large: Vec<_> = lens.filter(|len| *len > MIB as u64).collect();
    assert!(large.is_empty(), "the temporary of the pack is left: {large:?} bytes");
}

#[test]
fn a_sync_to_s3_sends_at_most_8_mib_again() {
    let Some(ceph) = Ceph::shared() else { return };
    let line = Proxy::before(ceph.port());
    let bucket = ceph.make_bucket("killed");
    let carrier = Carrier::new()
        .to(format!("s3://{bucket}/r?endpoint={}", line.url()))
        .with("AWS_ACCESS_KEY_ID", Ceph::KEY)
        .with("AWS_SECRET_ACCESS_KEY", Ceph::SECRET);
    carrier.is_killed_behind(&line);
    let uploads = ceph.ask("GET", &format!("{bucket}/?uploads="), None);
    assert!(!uploads.contains("<UploadId>"), "no upload is left: {uploads}");
}

/// The copy of a pack that is under way, and how long it is.
fn copy_in(staging: &Path) -> Option<(PathBuf, u64)> {
    let names = std::fs::read_dir(staging).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut copies = names.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("copy-"));
    copies.find_map(|path| path.metadata().ok().map(|meta| (path.clone(), meta.len())))
}

#[test]
fn a_sync_to_a_folder_copies_at_most_8_mib_again() {
    let carrier = Carrier::new().to("copy");
    let staging = carrier.sandbox.path(".copy.staging");
    // Slow enough for us to see it.
    let mut killed = carrier.start(&["--limit-upload", "50MiB"]);
    let deadline = Instant::now() + Duration::from_secs(120);
    while copy_in(&staging).is_none_or(|(_, len)| len < carrier.packs.large * 9 / 10) {
        assert!(Instant::now() < deadline && killed.try_wait().unwrap().is_none(), "it is not under way");
        std::thread::yield_now();
    }
    kill(&mut killed);
    let (_, left) = copy_in(&staging).expect("the copy is there");
    let (sent, resumed) = carrier.finish();
    assert!(resumed + (1 << 20) > left, "{left} bytes were there, {resumed} were used");
    assert!(sent + resumed < carrier.packs.all + COST, "{sent} bytes were copied again");
    assert!(!staging.exists(), "nothing is left");
    carrier.restores();
}
