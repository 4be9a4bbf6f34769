use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Daemon, free_port, run, text, which};
use crate::programs::{are_installed, said};

/// The key that the instances' interfaces want.
const API_KEY: &str = "fardel-test";
/// The name by which both instances know the folder.
const FOLDER: &str = "fardel";

/// Two instances of Syncthing that share one folder over 127.0.0.1, and know nobody else.
#[derive(Debug)]
pub struct SyncthingPair {
    folder: TempDir,
    instances: [Instance; 2],
}

#[derive(Debug)]
struct Instance {
    home: PathBuf,
    folder: PathBuf,
    device: String,
    port: u16,
    interface: u16,
    daemon: Option<Daemon>,
}

impl SyncthingPair {
    /// Prepares two that share these folders; the first sends at most `kib_per_second`. `None` where Syncthing is not
    /// installed.
    ///
    /// # Panics
    /// When the keys cannot be made; where `CI` is set, also when it is not installed.
    #[must_use]
    pub fn new(folders: [&Path; 2], kib_per_second: u32) -> Option<Self> {
        if !are_installed(&["syncthing", "curl"]) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder for the instances");
        let instances = [0, 1].map(|i| {
            let home = folder.path().join(format!("home-{i}"));
            run("syncthing", &["generate", "--home", text(&home), "--no-default-folder"]);
            let mut command = Command::new(which("syncthing"));
            let output = command.arg("--home").arg(&home).arg("--device-id").output().expect("it runs");
            assert!(output.status.success(), "{}", said(&output));
            let device = String::from_utf8(output.stdout).expect("an id is text").trim().to_owned();
            let (port, interface) = (free_port(), free_port());
            Instance { home, folder: folders[i].to_owned(), device, port, interface, daemon: None }
        });
        let pair = Self { folder, instances };
        for (me, limit) in [(0, kib_per_second), (1, 0)] {
            let path = pair.instances[me].home.join("config.xml");
            fs::write(path, pair.config(me, limit)).expect("the configuration can be written");
            fs::create_dir_all(pair.instances[me].folder.join(".stfolder")).expect("its folder can be made");
        }
        Some(pair)
    }

    /// No relays, no discovery, no statistics, no upgrades; files arrive in the order of their age.
    fn config(&self, me: usize, limit: u32) -> String {
        let mine = &self.instances[me];
        let mut devices = String::new();
        let mut shared = String::new();
        for Instance { device, port, .. } in &self.instances {
            let _ = writeln!(
                devices,
                "<device id=\"{device}\" name=\"{port}\" compression=\"never\"><address>tcp://127.0.0.1:{port}</address></device>"
            );
            let _ = write!(shared, "<device id=\"{device}\"/>");
        }
        format!(
            "<configuration version=\"36\">\n\
             <folder id=\"{FOLDER}\" label=\"\" path=\"{}\" type=\"sendreceive\" rescanIntervalS=\"2\" fsWatcherEnabled=\"true\" \
             fsWatcherDelayS=\"1\"><filesystemType>basic</filesystemType>{shared}<minDiskFree unit=\"%\">0</minDiskFree>\
             <order>oldestFirst</order></folder>\n{devices}\
             <gui enabled=\"true\" tls=\"false\"><address>127.0.0.1:{}</address><apikey>{API_KEY}</apikey></gui>\n\
             <options><listenAddress>tcp://127.0.0.1:{}</listenAddress><globalAnnounceEnabled>false</globalAnnounceEnabled>\
             <localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>\
             <urAccepted>-1</urAccepted><autoUpgradeIntervalH>0</autoUpgradeIntervalH><startBrowser>false</startBrowser>\
             <crashReportingEnabled>false</crashReportingEnabled><reconnectionIntervalS>1</reconnectionIntervalS>\
             <limitBandwidthInLan>true</limitBandwidthInLan><maxSendKbps>{limit}</maxSendKbps>\
             <setLowPriority>false</setLowPriority></options>\n</configuration>\n",
            text(&mine.folder),
            mine.interface,
            mine.port,
        )
    }

    /// Starts one of them.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&mut self, which_one: usize) {
        let log = self.folder.path().join(format!("log-{which_one}"));
        let instance = &mut self.instances[which_one];
        let mut command = Command::new(which("syncthing"));
        command.args(["serve", "--no-browser", "--no-restart", "--no-upgrade", "--home"]).arg(&instance.home);
        // One process, not one that watches another: a kill has to hit the right one.
        command.env("HOME", &instance.home).env("STNOUPGRADE", "1").env("STMONITORED", "yes");
        instance.daemon = Some(Daemon::start(command, instance.interface, &log));
    }

    /// Kills one of them where it stands.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, which_one: usize) {
        let daemon = self.instances[which_one].daemon.take().expect("it runs");
        let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw).expect("a process has a number");
        kill_process(pid, Signal::KILL).expect("it is ours");
    }

    /// Lets one of them look for changes now.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn scan(&self, which_one: usize) {
        let interface = self.instances[which_one].interface;
        let url = format!("http://127.0.0.1:{interface}/rest/db/scan?folder={FOLDER}");
        run("curl", &["-sSf", "-X", "POST", "-H", &format!("X-API-Key: {API_KEY}"), &url]);
    }

    /// What it said, for messages.
    #[must_use]
    pub fn log(&self, which_one: usize) -> String {
        fs::read_to_string(self.folder.path().join(format!("log-{which_one}"))).unwrap_or_default()
    }
}
