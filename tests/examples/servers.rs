//! Runs servers of the test suites for other programs, such as the benchmarks: `servers NAME…`, of
//! `openssh nginx apache rclone ceph`.
//!
//! It writes a line of JSON for each server once it answers: its `name`, its `port`, the port of a `line` to it, and what a client
//! needs besides. Then it obeys lines on standard input, and answers each by a line of JSON:
//!
//! - `delay MILLISECONDS`: each byte on each line needs so long, one way;
//! - `counts`: what went over each line since the last time.
//!
//! It stops the servers and ends when standard input does.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fardel_tests::proxy::Proxy;
use fardel_tests::servers::{Ceph, Dav, HOST, Sshd};
use serde_json::{Value, json};

/// Kept for as long as it shall run.
enum Running {
    Ssh(Sshd),
    Dav(Dav),
    Ceph(Arc<Ceph>),
}

impl Running {
    fn start(name: &str) -> Option<Self> {
        Some(match name {
            "openssh" => Self::Ssh(Sshd::start()?),
            "nginx" => Self::Dav(Dav::nginx()?),
            "apache" => Self::Dav(Dav::apache()?),
            "rclone" => Self::Dav(Dav::rclone()?),
            "ceph" => Self::Ceph(Ceph::shared()?),
            _ => return None,
        })
    }

    fn port(&self) -> u16 {
        match self {
            Self::Ssh(sshd) => sshd.daemon().port(),
            Self::Dav(dav) => dav.port(),
            Self::Ceph(ceph) => ceph.port(),
        }
    }

    /// What a client needs to know besides the port.
    fn facts(&self) -> Value {
        match self {
            Self::Ssh(sshd) => json!({
                "kind": "sftp", "host": HOST, "config": sshd.client_config(), "files": sshd.files(),
                "path": sshd.client_folder(), "key": sshd.client_config().with_file_name("user"),
            }),
            Self::Dav(dav) => {
                json!({"kind": "webdav", "user": Dav::USER, "password": Dav::PASSWORD, "files": dav.files()})
            }
            Self::Ceph(ceph) => {
                let bucket = ceph.make_bucket("benchmark");
                json!({"kind": "s3", "key": Ceph::KEY, "secret": Ceph::SECRET, "bucket": bucket})
            }
        }
    }
}

fn main() -> ExitCode {
    let mut running = Vec::new();
    for name in std::env::args().skip(1) {
        let Some(server) = Running::start(&name) else {
            eprintln!("{name} cannot be started: it is not installed, or no such server is known");
            return ExitCode::FAILURE;
        };
        let line = Proxy::before(server.port());
        let mut facts = server.facts();
        facts["name"] = json!(name);
        facts["port"] = json!(server.port());
        facts["line"] = json!(line.port());
        say(&facts);
        running.push((name, line, server));
    }
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        match order.split_once(' ').unwrap_or((&order, "")) {
            ("delay", time) if time.parse::<f64>().is_ok() => {
                let delay =
                    Duration::from_secs_f64(time.parse::<f64>().unwrap_or_default().max(0.0) / 1_000.0);
                running.iter().for_each(|(_, line, _)| line.set_delay(delay));
                say(&json!({"delay": delay.as_secs_f64()}));
            }
            ("counts", _) => {
                let counts = running.iter().map(|(name, line, _)| {
                    let counts = line.counts();
                    line.forget();
                    let of = json!({"up": counts.up, "down": counts.down, "connections": counts.connections});
                    (name.clone(), of)
                });
                say(&Value::Object(counts.collect()));
            }
            _ => say(&json!({"error": format!("there is no order {order:?}")})),
        }
    }
    ExitCode::SUCCESS
}

fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    // Whoever started it has gone if this fails: then standard input ends, too.
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}
