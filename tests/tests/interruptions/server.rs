use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fardel_backends::Secret;
use fardel_backends::s3::{S3Options, S3Store};
use fardel_backends::sftp::{SftpOptions, SftpStore, SshHost};
use fardel_backends::webdav::{Credentials, WebDavOptions, WebDavStore};
use fardel_store::{RetryPolicy, Retrying, Store};
use fardel_tests::crash::chance::Chance;
use fardel_tests::proxy::Proxy;
use fardel_tests::servers::{Ceph, Dav, HOST, Sshd};

/// Pauses as short as a test wants them; attempts as many as users have.
const POLICY: RetryPolicy = RetryPolicy {
    attempts: 5,
    first_pause: Duration::from_millis(10),
    longest_pause: Duration::from_millis(100),
};

/// What a server of S3 has for one.
const BUCKET: &str = "interrupted";

/// One of the servers.
enum Kind {
    Ssh(Sshd),
    Dav(&'static str, Dav),
    Ceph(Arc<Ceph>),
    CephOfThree(Ceph),
}

/// A server on this machine with a line to it.
pub struct Server {
    kind: Kind,
    pub line: Proxy,
}

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Directly,
    /// Over the line that is cut.
    Line,
}

/// How much goes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One connection, one part, one object.
    One,
    /// What users have.
    Usual,
}

impl Width {
    /// Objects at once; `None` for what the store recommends.
    pub fn parallelism(self) -> Option<usize> {
        (self == Self::One).then_some(1)
    }
}

/// The names by which the servers are asked for.
pub const ALL: [&str; 5] = ["OpenSSH", "nginx", "Apache", "rclone", "Ceph"];

impl Server {
    /// Starts it, or shares it with other tests; `None` where it is not installed.
    pub fn start(name: &str) -> Option<Self> {
        Self::of(match name {
            "OpenSSH" => Kind::Ssh(Sshd::start()?),
            "nginx" => Kind::Dav("nginx", Dav::nginx()?),
            "Apache" => Kind::Dav("Apache", Dav::apache()?),
            "rclone" => Kind::Dav("rclone", Dav::rclone()?),
            "Ceph" => Kind::Ceph(Ceph::shared()?),
            _ => unreachable!("there is no server {name}"),
        })
    }

    /// One that only the caller has, so that it can be killed.
    pub fn start_own(name: &str) -> Option<Self> {
        if name == "Ceph" { Self::of(Kind::CephOfThree(Ceph::of_three_disks()?)) } else { Self::start(name) }
    }

    fn of(kind: Kind) -> Option<Self> {
        let port = match &kind {
            Kind::Ssh(sshd) => sshd.daemon().port(),
            Kind::Dav(_, dav) => dav.port(),
            Kind::Ceph(ceph) => ceph.port(),
            Kind::CephOfThree(ceph) => ceph.port(),
        };
        let server = Self { kind, line: Proxy::before(port) };
        if let Some(ceph) = server.ceph() {
            let _ = ceph.make_bucket(BUCKET);
        }
        Some(server)
    }

    pub fn ceph(&self) -> Option<&Ceph> {
        match &self.kind {
            Kind::Ceph(ceph) => Some(ceph),
            Kind::CephOfThree(ceph) => Some(ceph),
            _ => None,
        }
    }

    pub fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Ssh(_) => "OpenSSH",
            Kind::Dav(name, _) => name,
            Kind::Ceph(_) | Kind::CephOfThree(_) => "Ceph",
        }
    }

    /// Whether an upload goes on within the object after an interruption.
    pub fn resumes(&self) -> bool {
        !matches!(self.kind, Kind::Dav(..))
    }

    fn port(&self, via: Via) -> u16 {
        match (via, &self.kind) {
            (Via::Line, _) => self.line.port(),
            (Via::Directly, Kind::Ssh(sshd)) => sshd.daemon().port(),
            (Via::Directly, Kind::Dav(_, dav)) => dav.port(),
            (Via::Directly, Kind::Ceph(ceph)) => ceph.port(),
            (Via::Directly, Kind::CephOfThree(ceph)) => ceph.port(),
        }
    }

    /// The place of a replica, for the command.
    pub fn url(&self, via: Via, replica: &str) -> String {
        let port = self.port(via);
        match &self.kind {
            Kind::Ssh(sshd) => format!("sftp://{HOST}:{port}{}/{replica}", sshd.files().display()),
            Kind::Dav(..) => format!("webdav+http://{}@127.0.0.1:{port}/{replica}", Dav::USER),
            Kind::Ceph(_) | Kind::CephOfThree(_) => {
                format!("s3://{BUCKET}/{replica}?endpoint=http://127.0.0.1:{port}&region=us-east-1")
            }
        }
    }

    /// What the command needs besides.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        match &self.kind {
            Kind::Ssh(sshd) => {
                let mut path = vec![sshd.client_folder()];
                path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
                vec![("PATH", std::env::join_paths(path).expect("they were joined before"))]
            }
            Kind::Dav(..) => Vec::new(),
            Kind::Ceph(_) | Kind::CephOfThree(_) => {
                vec![("AWS_ACCESS_KEY_ID", Ceph::KEY.into()), ("AWS_SECRET_ACCESS_KEY", Ceph::SECRET.into())]
            }
        }
    }

    /// A replica as a store.
    pub fn store(
        &self,
        via: Via,
        replica: &str,
        width: Width,
        stall: Duration,
        journal: &Path,
    ) -> Arc<dyn Store> {
        let (port, journal) = (self.port(via), Some(journal.to_owned()));
        match &self.kind {
            Kind::Ssh(sshd) => {
                let host = SshHost::new(None, HOST, Some(port)).expect("it is a name");
                let folder = format!("{}/{replica}", sshd.files().display());
                let usual = SftpOptions { journal, stall, ..SftpOptions::new(&host, &folder, "sftp://test") };
                let mut options =
                    if width == Width::One { SftpOptions { connections: 1, ..usual } } else { usual };
                if via == Via::Line {
                    let config = sshd.client_config().display().to_string();
                    options.command.splice(1..1, ["-F".to_owned(), config]);
                } else {
                    // What ssh would start there: hundreds of looks need no handshake each.
                    options.command = vec![Sshd::SFTP_SERVER.to_owned(), "-e".to_owned()];
                }
                let store = SftpStore::open(options).expect("the options fit");
                Arc::new(Retrying::with_policy(store, POLICY))
            }
            Kind::Dav(..) => {
                let password = Secret::from(Dav::PASSWORD.to_owned());
                let credentials = Credentials::Basic { user: Dav::USER.to_owned(), password };
                let url = format!("http://127.0.0.1:{port}/{replica}");
                let options = WebDavOptions { credentials, stall, ..WebDavOptions::new(&url) };
                let store = WebDavStore::open(&options).expect("the options fit");
                Arc::new(Retrying::with_policy(store, POLICY))
            }
            Kind::Ceph(_) | Kind::CephOfThree(_) => {
                let keys = Some((Ceph::KEY.to_owned(), Secret::from(Ceph::SECRET.to_owned())));
                let endpoint = Some(format!("http://127.0.0.1:{port}"));
                let region = Some("us-east-1".to_owned());
                let usual =
                    S3Options { endpoint, region, keys, journal, stall, ..S3Options::new(BUCKET, replica) };
                let options =
                    if width == Width::One { S3Options { parts_at_once: 1, ..usual } } else { usual };
                let store = S3Store::open(&options).expect("the options fit");
                Arc::new(Retrying::with_policy(store, POLICY))
            }
        }
    }

    /// Kills a part of it that chance chooses, or all of it; returns what. [`Self::restart`] brings it back.
    pub fn kill(&mut self, chance: &mut Chance) -> Killed {
        match &mut self.kind {
            Kind::Ssh(sshd) if chance.one_in(2) => {
                sshd.daemon().kill_children();
                Killed::Sessions
            }
            Kind::Ssh(sshd) => {
                sshd.daemon_mut().kill();
                Killed::Server
            }
            Kind::Dav(_, dav) => {
                dav.daemon_mut().kill();
                Killed::Server
            }
            Kind::Ceph(_) => unreachable!("others use it"),
            Kind::CephOfThree(ceph) if chance.one_in(2) => {
                let disk = chance.below(3) as usize;
                ceph.kill_disk(disk);
                Killed::Disk(disk)
            }
            Kind::CephOfThree(ceph) => {
                ceph.kill_gateway();
                Killed::Server
            }
        }
    }

    /// Brings back what was killed.
    pub fn restart(&mut self, killed: Killed) {
        match (&mut self.kind, killed) {
            (_, Killed::Sessions) => {}
            (Kind::Ssh(sshd), _) => sshd.daemon_mut().restart(),
            (Kind::Dav(_, dav), _) => dav.daemon_mut().restart(),
            (Kind::CephOfThree(ceph), Killed::Disk(disk)) => ceph.restart_disk(disk),
            (Kind::CephOfThree(ceph), _) => ceph.restart_gateway(),
            (Kind::Ceph(_), _) => unreachable!("it was not killed"),
        }
    }
}

/// What of a server was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// All of it.
    Server,
    /// The processes that serve single connections; the one that accepts them is left.
    Sessions,
    /// What serves one of the disks behind it.
    Disk(usize),
}

/// What the servers of WebDAV want to know, for the command.
pub fn netrc() -> String {
    format!("default login {} password \"{}\"\n", Dav::USER, Dav::PASSWORD)
}
