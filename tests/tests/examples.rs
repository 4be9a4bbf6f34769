//! Every file of `config-examples` that names a replica, as a new user runs it: against real servers, with nothing replaced
//! but the places.

#[path = "cli_commands/sandbox.rs"]
#[expect(dead_code, reason = "other suites need the rest of it")]
mod sandbox;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fardel_tests::servers::{Ceph, Dav, HOST, Sshd, SyncthingPair};
use sandbox::{Ran, Sandbox, noise, read};

/// A user with an example as configuration.
struct User {
    sandbox: Sandbox,
    config: PathBuf,
    environment: Vec<(&'static str, OsString)>,
}

impl User {
    /// The example with these texts replaced; each must be in it.
    fn new(example: &str, replaced: &[(&str, &str)]) -> Self {
        let sandbox = Sandbox::empty();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config-examples").join(example);
        let mut text = fs::read_to_string(path).unwrap();
        for (from, to) in replaced {
            assert!(text.contains(from), "{example} has no {from}");
            text = text.replace(from, to);
        }
        text = text.replace("/mnt/backup", &sandbox.text("mnt/backup"));
        text = text.replace("/media/usb", &sandbox.text("media/usb"));
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            assert!(!line.contains("example.org"), "{example} would go to another machine: {line}");
        }
        let config = sandbox.write("fardel.yaml", text);
        sandbox.write("home/Documents/letter", "Dear Bob\n");
        sandbox.write("home/Documents/photo", noise(400_000));
        sandbox.write("home/.cache/rubbish", "rubbish");
        sandbox.settle();
        Self { sandbox, config, environment: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Whose `ssh` knows the server.
    fn with_ssh(self, server: &Sshd) -> Self {
        let mut path = vec![server.client_folder()];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
        self.with("PATH", std::env::join_paths(path).unwrap())
    }

    fn with_keys_of(self, _ceph: &Ceph) -> Self {
        self.with("AWS_ACCESS_KEY_ID", Ceph::KEY).with("AWS_SECRET_ACCESS_KEY", Ceph::SECRET)
    }

    fn with_password(self) -> Self {
        let password = format!("{}\n", Dav::PASSWORD);
        self.sandbox.write_secret("home/.config/fardel/nextcloud.password", password);
        self
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.sandbox.command(arguments);
        command.env_remove("FARDEL_REPOSITORY").env("FARDEL_CONFIG", &self.config);
        Ran::of(command.envs(self.environment.iter().map(|(name, value)| (name, value))).output().unwrap())
    }

    /// From a new repository to files that come back from each replica.
    fn goes_all_the_way(&self, replicas: &[&str]) {
        self.run(&["init", "--recovery-file", "recovery"]).exits(0);
        self.run(&["backup"]).exits(0);
        let behind = self.run(&["status", "--json"]).exits(5);
        assert_eq!(behind.of_type("copy-failed").len(), replicas.len(), "{}", behind.stdout);
        let sync = self.run(&["sync", "--json"]).exits(0);
        assert_eq!(sync.summary()["complete"], replicas.len(), "{}", sync.stdout);
        self.sandbox.write("home/Documents/letter", "Dear Ann\n");
        self.sandbox.settle();
        self.run(&["backup"]).exits(0);
        let behind = self.run(&["status", "--json"]).exits(5).of_type("copy");
        assert!(behind[1..].iter().all(|copy| copy["behind"] == 1), "{behind:?}");
        self.run(&["sync"]).exits(0);
        let status = self.run(&["status", "--json"]).exits(0);
        assert_eq!(status.summary()["complete"], replicas.len() + 1, "{}", status.stdout);
        let told: Vec<_> = status.of_type("copy")[1..].iter().map(|copy| copy["copy"].clone()).collect();
        assert_eq!(told, replicas);
        for replica in replicas {
            self.run(&["check", "--replica", replica]).exits(0);
            self.restores_from(&["--repo", replica], &format!("from {replica}"));
        }
        // The disk is lost, and everything on this machine but the recovery key.
        fs::remove_dir_all(self.sandbox.path("mnt")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "nothing has that name yet")]
        fs::rename(self.sandbox.path("home/Documents"), self.sandbox.path("documents")).unwrap();
        for replica in replicas {
            let from = ["--repo", replica, "--key-file", "recovery"];
            let target = format!("again from {replica}");
            self.run(&[&["restore", "latest", "--target", &target], &from[..]].concat()).exits(0);
            self.compare(&target, "documents");
        }
    }

    fn restores_from(&self, from: &[&str], target: &str) {
        self.run(&[&["restore", "latest", "--target", target], from].concat()).exits(0);
        self.compare(target, "home/Documents");
    }

    fn compare(&self, target: &str, with: &str) {
        let home = self.sandbox.text(target) + &self.sandbox.text("home");
        for name in ["letter", "photo"] {
            let restored = format!("{home}/Documents/{name}");
            assert!(read(&restored) == read(self.sandbox.path(with).join(name)), "{restored}");
        }
        assert!(!Path::new(&home).join(".cache").exists(), "it was excluded");
    }
}

const NAS: &str = "ann@nas.example.org/volume1";
const CLOUD: &str = "webdav+https://ann@cloud.example.org/remote.php/dav/files/ann";
const CLOUD_STORE: &str = "webdav+https://ann@cloud.example.org";
const MINIO: &str = "https://minio.example.org:9000";

fn nas(server: &Sshd) -> String {
    format!("{HOST}{}", server.files().display())
}

fn cloud(server: &Dav) -> String {
    format!("webdav+{}", server.url().replacen("://", "://ann@", 1))
}

#[test]
fn an_s3_bucket_offsite() {
    let Some(ceph) = Ceph::shared() else { return };
    let _ = ceph.make_bucket("fardel-laptop");
    let user = User::new("s3-offsite.yaml", &[(MINIO, &ceph.url())]).with_keys_of(&ceph);
    user.goes_all_the_way(&["offsite"]);
}

#[test]
fn a_nas() {
    let Some(server) = Sshd::start() else { return };
    let user = User::new("sftp-nas.yaml", &[(NAS, &nas(&server))]).with_ssh(&server);
    user.goes_all_the_way(&["nas"]);
    assert!(server.files().join("backup/laptop/fardel.json").is_file());
}

#[test]
fn a_nextcloud() {
    for server in [Dav::nginx(), Dav::apache()].into_iter().flatten() {
        let places = [(CLOUD, &*cloud(&server)), (CLOUD_STORE, &cloud(&server))];
        User::new("webdav-nextcloud.yaml", &places).with_password().goes_all_the_way(&["cloud"]);
    }
}

#[test]
fn three_two_one() {
    let (Some(ceph), Some(ssh), Some(dav)) = (Ceph::shared(), Sshd::start(), Dav::nginx()) else { return };
    // Another repository lies in the bucket of the other example.
    let bucket = ceph.make_bucket("fardel-three-two-one");
    let places = [
        (MINIO, &*ceph.url()),
        (NAS, &nas(&ssh)),
        (CLOUD, &cloud(&dav)),
        (CLOUD_STORE, &cloud(&dav)),
        ("s3://fardel-laptop/", &format!("s3://{bucket}/")),
    ];
    let user = User::new("three-two-one.yaml", &places).with_ssh(&ssh).with_keys_of(&ceph).with_password();
    user.goes_all_the_way(&["usb", "nas", "cloud", "offsite"]);
}

#[test]
fn each_place_keeps_what_its_retention_says() {
    let user = User::new("retention.yaml", &[]);
    user.run(&["init", "--recovery-file", "recovery"]).exits(0);
    for number in 0..3 {
        user.sandbox.write("home/Documents/letter", format!("Dear Bob, this is letter {number}\n"));
        user.sandbox.settle();
        let tags: &[&str] = if number == 0 { &["--tag", "before-upgrade"] } else { &[] };
        user.run(&[&["backup"], tags].concat()).exits(0);
    }
    user.run(&["sync"]).exits(0);
    let kept = |repo: &[&str]| {
        user.run(&[&["forget", "--prune", "--json"], repo].concat()).exits(0);
        user.run(&[&["snapshots", "--json"], repo].concat()).exits(0).of_type("snapshot").len()
    };
    assert_eq!(kept(&[]), 2, "the newest of the day, and what has the tag");
    assert_eq!(kept(&["--repo", "small"]), 1);
    user.run(&["forget", "--repo", "large"]).exits(2).complains("retention:");
    user.run(&["sync"]).exits(0);
    user.run(&["status"]).exits(0);
    for (repo, left) in [("small", 1), ("large", 3)] {
        let listed = user.run(&["snapshots", "--json", "--repo", repo]).exits(0).of_type("snapshot");
        assert_eq!(listed.len(), left, "{repo}");
        user.restores_from(&["--repo", repo], &format!("from {repo}"));
    }
}

#[test]
fn a_folder_of_syncthing() {
    let user = User::new("syncthing.yaml", &[]);
    let (here, there) = (user.sandbox.path("home/Sync/fardel"), user.sandbox.path("there"));
    user.run(&["init", "--for", "syncthing", "--recovery-file", "recovery"]).exits(0).says("Oldest First");
    user.run(&["backup"]).exits(0);
    fs::create_dir(&there).unwrap();
    let Some(mut pair) = SyncthingPair::new([&here, &there], 0) else { return };
    pair.start(0);
    pair.start(1);
    let newest =
        user.run(&["status", "--json"]).exits(0).of_type("copy").remove(0)["complete_snapshot"].clone();
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let ran = user.run(&["status", "--json", "--repo", "there"]);
        if ran.stdout.contains("\"copy\"") && ran.of_type("copy")[0]["complete_snapshot"] == newest {
            break;
        }
        assert!(Instant::now() < deadline, "{}\n{}\n{}", ran.stdout, pair.log(0), pair.log(1));
        std::thread::sleep(Duration::from_millis(50));
    }
    user.restores_from(&["--repo", "there", "--key-file", "recovery"], "from there");
}
