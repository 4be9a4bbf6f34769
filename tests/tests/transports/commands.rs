//! The built command with its repository on each of the servers.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use fardel_tests::programs::are_installed;
use fardel_tests::servers::{Ceph, Dav, HOST, Sshd};

use crate::sandbox::{Ran, Sandbox, read};

/// A user with a repository on another machine.
pub(super) struct User {
    pub(super) sandbox: Sandbox,
    url: String,
    environment: Vec<(&'static str, OsString)>,
}

impl User {
    pub(super) fn new(url: impl Into<String>) -> Self {
        Self { sandbox: Sandbox::empty(), url: url.into(), environment: Vec::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The command, about the repository there.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("FARDEL_REPOSITORY", &self.url);
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// From a new repository to restored files.
    fn goes_all_the_way(&self) -> Vec<Ran> {
        let sandbox = &self.sandbox;
        let init = self.run(&["init", "--recovery-file", "recovery"]).exits(0);
        let again = self.run(&["init", "--recovery-file", "another"]).exits(1);
        let first = self.run(&["backup", "src", "--json"]).exits(0);
        assert_eq!(first.summary()["files_new"], 3);
        sandbox.write("src/three", "3\n");
        sandbox.settle();
        let second = self.run(&["backup", "src", "--json"]).exits(0);
        assert_eq!(
            (second.summary()["files_new"].as_u64(), second.summary()["files_unmodified"].as_u64()),
            (Some(1), Some(3))
        );
        let snapshots = self.run(&["snapshots", "--json"]).exits(0);
        assert_eq!(snapshots.of_type("snapshot").len(), 2, "{}", snapshots.stdout);
        let status = self.run(&["status"]).exits(0);
        let check = self.run(&["check", "--level", "data"]).exits(0);

        fs::remove_dir_all(sandbox.path("home/.cache")).unwrap();
        let restore = self.run(&["restore", "latest", "--target", "out"]).exits(0);
        for name in ["one", "three", "sub/two", "sub/large"] {
            let source = sandbox.path(&format!("src/{name}"));
            let restored = sandbox.path("out").join(source.strip_prefix("/").unwrap());
            assert!(read(restored) == read(source), "{name} comes back as it was");
        }
        let one = format!("latest:{}", sandbox.text("src/one"));
        let dump = self.run(&["dump", &one]).exits(0);
        assert_eq!(dump.stdout, "1\n");
        vec![init, again, first, second, snapshots, status, check, restore, dump]
    }
}

impl User {
    /// A repository in a folder, carried to the other machine, and restored from there.
    fn carries_a_folder(&self) {
        let sandbox = &self.sandbox;
        let here = |arguments: &[&str]| {
            let mut command = sandbox.command(arguments);
            Ran::of(
                command.envs(self.environment.iter().map(|(name, value)| (name, value))).output().unwrap(),
            )
        };
        here(&["init", "--recovery-file", "recovery"]).exits(0);
        here(&["backup", "src"]).exits(0);
        let sync = here(&["sync", "--to", &self.url, "--json"]).exits(0);
        assert_eq!(sync.summary()["complete"], 1, "{}", sync.stdout);
        let again = here(&["sync", "--to", &self.url, "--json"]).exits(0);
        assert_eq!(again.summary()["bytes_sent"], 0, "{}", again.stdout);
        self.run(&["restore", "latest", "--target", "out"]).exits(0);
        let source = sandbox.path("src/sub/large");
        assert!(read(sandbox.path("out").join(source.strip_prefix("/").unwrap())) == read(source));
    }
}

#[test]
fn a_folder_is_carried_to_each_of_them() {
    if std::path::Path::new(Sshd::SFTP_SERVER).exists() {
        let user = User::new("sftp://dom0/~/replica");
        let config =
            format!("stores:\n  - url: sftp://dom0\n    transport_command: [{}, -e]\n", Sshd::SFTP_SERVER);
        user.sandbox.write("fardel.yaml", config);
        user.carries_a_folder();
    }
    for server in [Dav::nginx(), Dav::apache(), Dav::rclone()].into_iter().flatten() {
        let user = User::new(webdav(&server, Dav::USER));
        let netrc = format!("default login {} password \"{}\"\n", Dav::USER, Dav::PASSWORD);
        user.sandbox.write_secret("home/.netrc", netrc);
        user.carries_a_folder();
    }
    if let Some(ceph) = Ceph::shared() {
        let bucket = ceph.make_bucket("carried");
        let user = User::new(format!("s3://{bucket}/r?endpoint={}", ceph.url()))
            .with("AWS_ACCESS_KEY_ID", Ceph::KEY)
            .with("AWS_SECRET_ACCESS_KEY", Ceph::SECRET);
        user.carries_a_folder();
    }
}

fn nothing_said(of: &str, said: &[Ran]) {
    for ran in said {
        assert!(!ran.stdout.contains(of) && !ran.stderr.contains(of), "{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn over_ssh() {
    let Some(server) = Sshd::start() else { return };
    let mut path = vec![server.client_folder()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let url = format!("sftp://{HOST}{}", server.files().join("a repository").display());
    let user = User::new(url.replace(' ', "%20")).with("PATH", std::env::join_paths(path).unwrap());
    user.goes_all_the_way();
    assert!(server.files().join("a repository/fardel.json").is_file());
}

#[test]
fn over_a_command_of_the_configuration() {
    if !are_installed(&["sh"]) || !std::path::Path::new(Sshd::SFTP_SERVER).exists() {
        return;
    }
    let user = User::new("sftp://dom0/~/repo");
    let config =
        format!("stores:\n  - url: sftp://dom0\n    transport_command: [{}, -e]\n", Sshd::SFTP_SERVER);
    user.sandbox.write("fardel.yaml", config);
    user.goes_all_the_way();
    assert!(user.sandbox.path("repo/fardel.json").is_file());
}

pub(super) fn webdav(server: &Dav, user: &str) -> String {
    format!("webdav+{}/r", server.url().replacen("://", &format!("://{user}@"), 1))
}

#[test]
fn to_nginx_with_a_netrc() {
    let Some(server) = Dav::nginx() else { return };
    let user = User::new(webdav(&server, Dav::USER));
    user.run(&["init"]).exits(2).complains("~/.netrc");
    let netrc = format!("machine 127.0.0.1 login {} password \"{}\"\n", Dav::USER, Dav::PASSWORD);
    let path = user.sandbox.write("home/.netrc", &netrc);
    user.run(&["init"]).exits(12).complains("owner");
    fs::remove_file(path).unwrap();
    user.sandbox.write_secret("home/.netrc", &netrc);
    nothing_said(Dav::PASSWORD, &user.goes_all_the_way());
}

#[test]
fn to_apache_with_a_password_command() {
    let Some(server) = Dav::apache() else { return };
    let user = User::new(webdav(&server, Dav::USER));
    let config = format!("stores:\n  - url: webdav+{}\n    password_command: cat password\n", server.url());
    user.sandbox.write("fardel.yaml", config);
    user.sandbox.write("password", "wrong\n");
    user.run(&["init"]).exits(1).complains("401");
    user.sandbox.write("password", format!("{}\n", Dav::PASSWORD));
    nothing_said(Dav::PASSWORD, &user.goes_all_the_way());
}

#[test]
fn to_rclone_with_a_password_in_the_environment() {
    let Some(server) = Dav::rclone() else { return };
    let password = Dav::PASSWORD.replace(' ', "%20");
    let user = User::new(webdav(&server, &format!("{}:{password}", Dav::USER)));
    let said = user.goes_all_the_way();
    nothing_said(Dav::PASSWORD, &said);
    nothing_said(&password, &said);
}

#[test]
fn to_ceph_with_keys_in_the_environment() {
    let Some(ceph) = Ceph::shared() else { return };
    let bucket = ceph.make_bucket("commands-environment");
    let user = User::new(format!("s3://{bucket}/r?endpoint={}", ceph.url()))
        .with("AWS_ACCESS_KEY_ID", Ceph::KEY)
        .with("AWS_SECRET_ACCESS_KEY", Ceph::SECRET);
    nothing_said(Ceph::SECRET, &user.goes_all_the_way());
}

#[test]
fn to_ceph_with_a_profile() {
    let Some(ceph) = Ceph::shared() else { return };
    let bucket = ceph.make_bucket("commands-profile");
    let user = User::new(format!("s3://{bucket}/r?profile=offsite"));
    user.run(&["init"]).exits(2).complains("there is no profile offsite");
    user.sandbox.write(
        "home/.aws/config",
        format!("[profile offsite]\nregion = us-east-1\nendpoint_url = {}\n", ceph.url()),
    );
    let keys =
        format!("[offsite]\naws_access_key_id = {}\naws_secret_access_key = {}\n", Ceph::KEY, Ceph::SECRET);
    user.sandbox.write_secret("home/.aws/credentials", keys);
    nothing_said(Ceph::SECRET, &user.goes_all_the_way());
}

#[test]
fn a_missing_repository_and_a_missing_server_are_told_apart() {
    let Some(server) = Dav::nginx() else { return };
    let user = User::new(webdav(&server, Dav::USER));
    let netrc = format!("default login {} password \"{}\"\n", Dav::USER, Dav::PASSWORD);
    user.sandbox.write_secret("home/.netrc", netrc);
    user.run(&["snapshots"]).exits(10).complains("fardel init");
    drop(server);
    user.run(&["snapshots"]).exits(1).complains("run it again");
}
