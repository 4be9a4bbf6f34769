use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;
use tempfile::TempDir;

use super::{Daemon, free_port, run, text, which};
use crate::programs::are_installed;

/// A WebDAV server that asks for a name and a password.
#[derive(Debug)]
pub struct Dav {
    folder: TempDir,
    daemon: Daemon,
    scheme: &'static str,
}

impl Dav {
    /// The name that the server wants.
    pub const USER: &str = "ann";
    /// And the password.
    pub const PASSWORD: &str = "correct horse";

    /// nginx with the extension that lists folders; `None` where it is not installed.
    ///
    /// # Panics
    /// When it does not start; where `CI` is set, also when it is not installed.
    #[must_use]
    pub fn nginx() -> Option<Self> {
        Self::nginx_that("http")
    }

    /// The same behind TLS, with a certificate of [`Self::authority`].
    ///
    /// # Panics
    /// As [`Self::nginx`].
    #[must_use]
    pub fn nginx_with_tls() -> Option<Self> {
        are_installed(&["openssl"]).then(|| Self::nginx_that("https")).flatten()
    }

    fn nginx_that(scheme: &'static str) -> Option<Self> {
        const EXTENSION: &str = "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so";
        if !are_installed(&["nginx"]) || !(Path::new(EXTENSION).exists() || are_installed(&[EXTENSION])) {
            return None;
        }
        let (folder, port) = (new_folder(), free_port());
        let place = folder.path().display();
        let user = if geteuid().is_root() { "user root;" } else { "" };
        let temporaries: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("  {name}_temp_path {place}/{name};\n"))
            .concat();
        let tls = if scheme == "https" {
            make_certificates(folder.path());
            format!(
                " ssl;\n    ssl_certificate {place}/server.pem;\n    ssl_certificate_key {place}/server.key"
            )
        } else {
            String::new()
        };
        let config = format!(
            "load_module {EXTENSION};\n{user}\ndaemon off;\npid {place}/pid;\nerror_log {place}/log warn;\n\
             worker_processes 2;\nevents {{}}\nhttp {{\n  access_log off;\n{temporaries}\
             \n  server {{\n    listen 127.0.0.1:{port}{tls};\n    root {place}/files;\n    client_max_body_size 0;\n\
             \n    location / {{\n      dav_methods PUT DELETE MKCOL COPY MOVE;\n      dav_ext_methods PROPFIND OPTIONS;\n\
             \n      auth_basic files;\n      auth_basic_user_file {place}/users;\n    }}\n  }}\n}}\n"
        );
        write(&folder, "users", &format!("{}:{{PLAIN}}{}\n", Self::USER, Self::PASSWORD));
        let config = write(&folder, "nginx.conf", &config);
        let mut command = Command::new(which("nginx"));
        command.arg("-c").arg(config).arg("-e").arg(folder.path().join("log"));
        Some(Self { scheme, ..Self::start(folder, command, port) })
    }

    /// Apache with `mod_dav`; `None` where it is not installed.
    ///
    /// # Panics
    /// As [`Self::nginx`].
    #[must_use]
    pub fn apache() -> Option<Self> {
        if !are_installed(&["apache2", "htpasswd"]) {
            return None;
        }
        let (folder, port) = (new_folder(), free_port());
        let place = folder.path().display();
        let modules: String = [
            "mpm_event",
            "authn_core",
            "authn_file",
            "authz_core",
            "authz_user",
            "auth_basic",
            "dav",
            "dav_fs",
        ]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
        // Apache does not serve as root.
        let user = if geteuid().is_root() { "User www-data\nGroup www-data\n" } else { "" };
        let config = format!(
            "{modules}{user}ServerRoot {place}\nPidFile {place}/pid\nErrorLog {place}/log\nServerName localhost\n\
             Listen 127.0.0.1:{port}\nDavLockDB {place}/locks/db\nDocumentRoot {place}/files\n\
             <Directory {place}/files>\n  Dav On\n  AuthType Basic\n  AuthName files\n  AuthUserFile {place}/users\n\
             \n  Require valid-user\n</Directory>\n"
        );
        fs::create_dir(folder.path().join("locks")).expect("a folder for locks");
        run("htpasswd", &["-b", "-c", text(&folder.path().join("users")), Self::USER, Self::PASSWORD]);
        if geteuid().is_root() {
            give_to_apache(folder.path());
        }
        let config = write(&folder, "apache.conf", &config);
        let mut command = Command::new(which("apache2"));
        command.arg("-f").arg(config).arg("-DFOREGROUND");
        Some(Self::start(folder, command, port))
    }

    /// `rclone serve webdav`; `None` where it is not installed.
    ///
    /// # Panics
    /// As [`Self::nginx`].
    #[must_use]
    pub fn rclone() -> Option<Self> {
        if !are_installed(&["rclone"]) {
            return None;
        }
        let (folder, port) = (new_folder(), free_port());
        let mut command = Command::new(which("rclone"));
        command.args(["serve", "webdav"]).arg(folder.path().join("files"));
        command.args(["--config", "/dev/null", "--addr", &format!("127.0.0.1:{port}")]);
        command.args(["--user", Self::USER, "--pass", Self::PASSWORD]);
        Some(Self::start(folder, command, port))
    }

    fn start(folder: TempDir, command: Command, port: u16) -> Self {
        let log = folder.path().join("said");
        let daemon = Daemon::start(command, port, &log);
        Self { folder, daemon, scheme: "http" }
    }

    /// The URL of its root, without a name in it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.daemon.port())
    }

    /// Its process, to be killed and started again.
    pub fn daemon_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.daemon.port()
    }

    /// The certificate of the authority that vouches for a server with TLS.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Gives the server what was written into its folder.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn own_everything(&self) {
        if self.folder.path().join("locks").exists() && geteuid().is_root() {
            give_to_apache(self.folder.path());
        }
    }

    /// The folder that the root shows.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }
}

/// An authority (`ca.pem`), and a certificate of it for 127.0.0.1 (`server.pem`, `server.key`).
fn make_certificates(folder: &Path) {
    let path = |name: &str| text(&folder.join(name)).to_owned();
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let request = |more: &[&str]| run("openssl", &[&["req"], &new_key[..], more].concat());
    request(&[
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=Fardel test authority",
        "-keyout",
        &path("ca.key"),
        "-out",
        &path("ca.pem"),
    ]);
    request(&["-subj", "/CN=127.0.0.1", "-keyout", &path("server.key"), "-out", &path("server.csr")]);
    fs::write(path("extensions"), "subjectAltName=IP:127.0.0.1\n").expect("it can be written");
    let (csr, ca, key) = (path("server.csr"), path("ca.pem"), path("ca.key"));
    let sign = ["x509", "-req", "-days", "2", "-in", &csr, "-CA", &ca, "-CAkey", &key, "-CAcreateserial"];
    run("openssl", &[&sign[..], &["-extfile", &path("extensions"), "-out", &path("server.pem")]].concat());
}

/// A folder with `files` in it, which the server of another user can enter.
fn new_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the server");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::create_dir(folder.path().join("files")).expect("a folder for files");
    folder
}

fn write(folder: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).expect("it can be written");
    path
}

/// Gives the server's folders to the user that Apache of root serves as.
fn give_to_apache(folder: &Path) {
    let folders = ["files", "locks"].map(|name| text(&folder.join(name)).to_owned());
    run("chown", &["-R", "www-data:www-data", &folders[0], &folders[1]]);
}
