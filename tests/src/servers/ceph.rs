use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, free_port};
use crate::programs::are_installed;

/// How many disks a cluster has that can lose one.
const DISKS: usize = 3;

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
        if !Self::can_start() {
            return None;
        }
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Some(shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start(1));
            *shared = Arc::downgrade(&started);
            started
        }))
    }

    /// A cluster of the caller's own that keeps everything on three disks and goes on with one; `None` where it cannot be had.
    ///
    /// # Panics
    /// As [`Self::shared`].
    #[must_use]
    pub fn of_three_disks() -> Option<Self> {
        Self::can_start().then(|| Self::start(DISKS))
    }

    fn can_start() -> bool {
        const NEEDED: [&str; 7] =
            ["ceph-mon", "ceph-mgr", "ceph-osd", "ceph", "radosgw", "radosgw-admin", "curl"];
        if !are_installed(&NEEDED) {
            return false;
        }
        if !geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "Ceph is started by root alone; CI needs it");
            eprintln!("passed over: Ceph is started by root alone");
            return false;
        }
        true
    }

    fn start(disks: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the cluster");
        let (mon_port, port) = (free_port(), free_port());
        let ceph = Self { folder, port };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/servers/ceph-rgw.sh");
        let log = ceph.folder.path().join("said");
        let said =
            || std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("it can be written");
        let mut command = Command::new(script);
        command.arg(ceph.cluster()).args([mon_port.to_string(), port.to_string(), disks.to_string()]);
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
        let _ = self.ask("PUT", name, None);
        name
    }

    /// Makes a bucket with object lock, and returns its name. `keeps` is how long it keeps objects by default: `<Days>1</Days>`.
    ///
    /// # Panics
    /// When the gateway does not let us.
    #[must_use]
    pub fn make_locked_bucket<'a>(&self, name: &'a str, keeps: Option<&str>) -> &'a str {
        let _ = self.ask_with(&["x-amz-bucket-object-lock-enabled: true"], "PUT", name, None);
        if let Some(keeps) = keeps {
            let rule =
                format!("<Rule><DefaultRetention><Mode>COMPLIANCE</Mode>{keeps}</DefaultRetention></Rule>");
            let file = self.folder.path().join(format!("{name}.xml"));
            let text = format!(
                "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
            );
            std::fs::write(&file, text).expect("it can be written");
            let _ = self.ask("PUT", &format!("{name}?object-lock="), Some(&file));
        }
        name
    }

    /// Kills the gateway; [`Self::restart_gateway`] brings it back.
    pub fn kill_gateway(&self) {
        self.kill("client.rgw.a");
    }

    /// Starts the gateway again, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn restart_gateway(&self) {
        self.program("radosgw", &["-n", "client.rgw.a"]);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the gateway does not come back");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills what serves one of the disks.
    pub fn kill_disk(&self, number: usize) {
        self.kill(&format!("osd.{number}"));
    }

    /// Starts it again, and waits until every object lies whole on every disk.
    ///
    /// # Panics
    /// When that does not come about.
    pub fn restart_disk(&self, number: usize) {
        self.program("ceph-osd", &["-i", &number.to_string()]);
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            let output = self.command("ceph", &["status", "--format", "json"]).output().expect("ceph runs");
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let states = status["pgmap"]["pgs_by_state"].as_array().cloned().unwrap_or_default();
            let is_clean = states.len() == 1 && states[0]["state_name"] == "active+clean";
            if is_clean && status["osdmap"]["num_up_osds"] == status["osdmap"]["num_osds"] {
                return;
            }
            assert!(Instant::now() < deadline, "the disk does not come back: {status}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A program of Ceph, told which cluster.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).arg("-c").arg(self.cluster().join("ceph.conf")).stdin(Stdio::null());
        command
    }

    /// Starts a daemon again, which goes into the background by itself.
    fn program(&self, program: &str, arguments: &[&str]) {
        let said = self.folder.path().join("said");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let file = std::fs::File::create(&said).expect("the folder is ours");
            let (out, err) = (file.try_clone().expect("it is open"), file);
            let status = self.command(program, arguments).stdout(out).stderr(err).status();
            if status.expect("it is installed").success() {
                return;
            }
            // What the killed one had locked or mapped may be busy for some time yet.
            let said = || std::fs::read_to_string(&said).unwrap_or_default();
            assert!(Instant::now() < deadline, "{program} does not start\n{}", said());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn kill(&self, name: &str) {
        let file = self.cluster().join("run").join(format!("{name}.pid"));
        let pid = read_pid(&file).unwrap_or_else(|| panic!("{} holds no number", file.display()));
        let _ = kill_process(pid, Signal::KILL);
        wait_for_the_end_of(&[pid]);
        // The number may be another process's soon.
        std::fs::remove_file(&file).expect("it is ours");
    }

    /// Makes a request as nobody of ours would, and returns what is answered. The path is taken as it is; it begins with the
    /// bucket, and may end in a query.
    ///
    /// # Panics
    /// When the gateway refuses it.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, body: Option<&Path>) -> String {
        self.ask_with(&[], method, path, body)
    }

    fn ask_with(&self, headers: &[&str], method: &str, path: &str, body: Option<&Path>) -> String {
        let mut command = Command::new("curl");
        command.args(["-sSf", "--path-as-is", "-X", method, "--aws-sigv4", "aws:amz:us-east-1:s3"]);
        // This curl signs what is said of the body, and does not say it by itself.
        command.args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
        for header in headers {
            command.args(["-H", header]);
        }
        command.args(["--user", &format!("{}:{}", Self::KEY, Self::SECRET)]);
        if let Some(body) = body {
            command.arg("--data-binary").arg(format!("@{}", body.display()));
        }
        let output = command.arg(format!("{}/{path}", self.url())).output().expect("curl runs");
        assert!(output.status.success(), "{method} {path}: {}", crate::programs::said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The processes of the cluster.
    fn pids(&self) -> Vec<Pid> {
        let entries = std::fs::read_dir(self.cluster().join("run")).into_iter().flatten().flatten();
        let files =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "pid"));
        files.filter_map(|path| read_pid(&path)).collect()
    }
}

fn read_pid(file: &Path) -> Option<Pid> {
    Pid::from_raw(std::fs::read_to_string(file).ok()?.trim().parse().ok()?)
}

fn wait_for_the_end_of(pids: &[Pid]) {
    let deadline = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| test_kill_process(*pid).is_ok()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        let pids = self.pids();
        // Nothing in it is worth a clean end.
        for pid in &pids {
            let _ = kill_process(*pid, Signal::KILL);
        }
        wait_for_the_end_of(&pids);
    }
}
