use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use tempfile::TempDir;

use super::free_port;
use crate::programs::are_installed;

/// A small Ceph cluster with its S3 gateway.
#[derive(Debug)]
pub struct Ceph {
    folder: TempDir,
    port: u16,
}

impl Ceph {
    /// The access key.
    pub const KEY: &str = "AKFARDEL";
    /// Its secret.
    pub const SECRET: &str = "SKFARDEL";

    /// The cluster that tests running at the same time share; `None` where it cannot be had.
    ///
    /// # Panics
    /// When it does not start; where `CI` is set, also when it is not installed, or nobody may start it.
    #[must_use]
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Ceph>> = Mutex::new(Weak::new());
        const NEEDED: [&str; 7] =
            ["ceph-mon", "ceph-mgr", "ceph-osd", "ceph", "radosgw", "radosgw-admin", "curl"];
        if !are_installed(&NEEDED) {
            return None;
        }
        if !geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "Ceph is started by root alone; CI needs it");
            eprintln!("passed over: Ceph is started by root alone");
            return None;
        }
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Some(shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        }))
    }

    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the cluster");
        let (mon_port, port) = (free_port(), free_port());
        let ceph = Self { folder, port };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/servers/ceph-rgw.sh");
        let log = ceph.folder.path().join("said");
        let said =
            || std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("it can be written");
        let mut command = Command::new(script);
        command.arg(ceph.cluster()).args([mon_port.to_string(), port.to_string()]);
        // The daemons keep what they are given: no pipe of ours, or nobody ever sees its end.
        let status = command.stdin(Stdio::null()).stdout(said()).stderr(said()).status().expect("bash runs");
        assert!(
            status.success(),
            "Ceph does not start: {}",
            std::fs::read_to_string(&log).unwrap_or_default()
        );
        ceph
    }

    fn cluster(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the gateway.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a bucket, and returns its name.
    ///
    /// # Panics
    /// When the gateway does not let us.
    #[must_use]
    pub fn make_bucket<'a>(&self, name: &'a str) -> &'a str {
        let mut command = Command::new("curl");
        command.args(["-sSf", "-X", "PUT", "--aws-sigv4", "aws:amz:us-east-1:s3"]);
        // The hash of nothing: this curl signs it and does not send it by itself.
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        command.args(["-H", &format!("x-amz-content-sha256: {nothing}")]);
        command.args(["--user", &format!("{}:{}", Self::KEY, Self::SECRET)]);
        let output = command.arg(format!("{}/{name}", self.url())).output().expect("curl runs");
        assert!(output.status.success(), "{}", crate::programs::said(&output));
        name
    }

    /// The processes of the cluster.
    fn pids(&self) -> Vec<Pid> {
        let entries = std::fs::read_dir(self.cluster().join("run")).into_iter().flatten().flatten();
        let files =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "pid"));
        let pids = files.filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
        pids.filter_map(Pid::from_raw).collect()
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        let pids = self.pids();
        // Nothing in it is worth a clean end.
        for pid in &pids {
            let _ = kill_process(*pid, Signal::KILL);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while pids.iter().any(|pid| test_kill_process(*pid).is_ok()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
