//! Real servers on 127.0.0.1, each with a folder of its own, stopped when dropped.

mod ceph;
mod dav;
mod sshd;
mod syncthing;

pub use ceph::Ceph;
pub use dav::Dav;
pub use sshd::{HOST, Sshd};
pub use syncthing::SyncthingPair;

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A server that has not answered for so long will not.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nobody has, and that the system gives to nobody who connects: a server that is killed finds it free when it
/// comes back, however many connections are made meanwhile.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    // Below those that systems give by themselves; each is given once in a process.
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes begin at places of their own.
    let first = std::process::id().wrapping_mul(2_654_435_761);
    let ports = PORTS
        .map(|_| first.wrapping_add(NEXT.fetch_add(1, Relaxed)) % (PORTS.end - PORTS.start) + PORTS.start);
    let mut ports = ports.map(|port| u16::try_from(port).expect("it is in the range"));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

/// A process that is stopped, and waited for, when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    command: Command,
    log: PathBuf,
    port: u16,
}

impl Daemon {
    /// Starts a command that stays in the foreground, and waits until it answers on `port`. What it says goes to the file
    /// `log`.
    ///
    /// # Panics
    /// When it cannot be started, ends, or does not answer.
    #[must_use]
    pub fn start(mut command: Command, port: u16, log: &Path) -> Self {
        let said = || {
            std::fs::OpenOptions::new().create(true).append(true).open(log).expect("the log can be written")
        };
        command.stdin(Stdio::null()).stdout(said()).stderr(said());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut daemon = Self { child, command, log: log.to_owned(), port };
        daemon.wait_until_it_answers();
        daemon
    }

    fn wait_until_it_answers(&mut self) {
        let Self { child, command, log, port } = self;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", *port)).is_err() {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = child.try_wait().expect("it is our child") {
                panic!("{command:?} ended: {status}\n{}", said());
            }
            assert!(Instant::now() < deadline, "{command:?} does not answer\n{}", said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it with all that it has started, as a loss of power would; [`Self::restart`] brings it back.
    ///
    /// # Panics
    /// When it cannot be waited for, or somebody still answers on its port.
    pub fn kill(&mut self) {
        // Stopped, it starts no other that would not be found.
        let own = Pid::from_child(&self.child);
        let _ = kill_process(own, Signal::STOP);
        let others = descendants(self.child.id());
        let _ = self.child.kill();
        kill_all(&others);
        self.child.wait().expect("it is our child");
        self.wait_until_nobody_answers();
    }

    /// Others listen where it did until they are gone, too.
    fn wait_until_nobody_answers(&self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            assert!(Instant::now() < deadline, "{:?} still answers after it was killed", self.command);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills what it has started, and leaves it.
    pub fn kill_children(&self) {
        kill_all(&descendants(self.child.id()));
    }

    /// Starts it again on its port, and waits until it answers.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn restart(&mut self) {
        self.child = self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        self.wait_until_it_answers();
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // Servers with workers stop them only when they are asked.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All processes that a process has started, and those that they have started.
fn descendants(pid: u32) -> Vec<Pid> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        at += 1;
    }
    found[1..].iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)).collect()
}

fn kill_all(pids: &[Pid]) {
    for pid in pids {
        let _ = kill_process(*pid, Signal::KILL);
    }
}

/// Runs a program that has to succeed.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", crate::programs::said(&output));
}

/// A path as text.
fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// Where a program lies: some are to be started by their whole path.
fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{program} is not installed"))
}
