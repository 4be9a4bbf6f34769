use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Daemon, free_port, run, text, which};
use crate::programs::are_installed;

/// OpenSSH's server, with keys of its own, for the user who runs the tests.
#[derive(Debug)]
pub struct Sshd {
    folder: TempDir,
    daemon: Daemon,
}

/// The name by which the client's configuration knows the server.
pub const HOST: &str = "fardel-sshd";

impl Sshd {
    /// Where OpenSSH's SFTP server lies: it speaks over its standard input and output, without a network.
    pub const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

    /// Starts one; `None` where it is not installed.
    ///
    /// # Panics
    /// When it does not start; where `CI` is set, also when it is not installed.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !are_installed(&["sshd", "ssh", "ssh-keygen"]) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder for the server");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("files")).expect("a folder for files");
        for key in ["host", "user"] {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", text(&path(key))]);
        }
        fs::copy(path("user.pub"), path("authorized")).expect("the key can be copied");
        let port = free_port();
        let public = fs::read_to_string(path("host.pub")).expect("ssh-keygen made it");
        fs::write(path("known"), format!("{HOST} {public}")).expect("it can be written");
        write_config(
            &path("sshd_config"),
            &[
                "ListenAddress 127.0.0.1".into(),
                format!("Port {port}"),
                format!("HostKey {}", path("host").display()),
                format!("AuthorizedKeysFile {}", path("authorized").display()),
                format!("Subsystem sftp {}", Self::SFTP_SERVER),
                "PidFile none".into(),
                "StrictModes no".into(),
                "UsePAM no".into(),
                "PasswordAuthentication no".into(),
                "MaxStartups 100".into(),
            ],
        );
        write_config(
            &path("ssh_config"),
            &[
                format!("Host {HOST}"),
                "HostName 127.0.0.1".into(),
                format!("HostKeyAlias {HOST}"),
                format!("Port {port}"),
                format!("IdentityFile {}", path("user").display()),
                "IdentitiesOnly yes".into(),
                format!("UserKnownHostsFile {}", path("known").display()),
                "StrictHostKeyChecking yes".into(),
            ],
        );
        if rustix::process::geteuid().is_root() {
            // Where a server of root puts itself before it knows who asks.
            fs::create_dir_all("/run/sshd").expect("root may make it");
        }
        let program = which("sshd");
        let mut command = Command::new(&program);
        command.arg("-D").arg("-e").arg("-f").arg(path("sshd_config"));
        let daemon = Daemon::start(command, port, &path("log"));
        Some(Self { folder, daemon })
    }

    /// A folder that the server's files go to.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// The configuration that a client needs.
    #[must_use]
    pub fn client_config(&self) -> PathBuf {
        self.folder.path().join("ssh_config")
    }

    /// A folder with an `ssh` that reads this configuration instead of the user's, for the front of `PATH`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn client_folder(&self) -> PathBuf {
        let folder = self.folder.path().join("bin");
        fs::create_dir_all(&folder).expect("a folder for ssh");
        let script = format!(
            "#!/bin/sh\nexec {} -F {} \"$@\"\n",
            which("ssh").display(),
            self.client_config().display()
        );
        fs::write(folder.join("ssh"), script).expect("it can be written");
        fs::set_permissions(folder.join("ssh"), fs::Permissions::from_mode(0o755)).expect("it is ours");
        folder
    }

    /// The process that accepts connections, and where it listens.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// The same, to be killed and started again.
    pub fn daemon_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

fn write_config(path: &Path, lines: &[String]) {
    fs::write(path, lines.join("\n") + "\n").expect("it can be written");
}
