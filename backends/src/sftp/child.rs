use std::process::Stdio;
use std::sync::{Arc, Mutex};

use fardel_store::{Error, ErrorKind, Result};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// So much of what a child said last is kept for messages, in bytes.
const KEPT: usize = 2048;

/// A machine as `ssh` knows it: an address, or a name in the user's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshHost {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

impl SshHost {
    /// Checks the parts of an address.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when `ssh` could take one of them for an option, or for something else than a name.
    pub fn new(user: Option<&str>, host: &str, port: Option<u16>) -> Result<Self> {
        let fits = |name: &str, more: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || more.contains(c);
            !name.is_empty() && !name.starts_with('-') && name.chars().all(known)
        };
        let refuse = |what: &str| Err(Error::new(ErrorKind::Invalid, host, what));
        if !fits(host, ":%") {
            return refuse("this is no name of a machine");
        }
        if user.is_some_and(|user| !fits(user, "@+\\")) {
            return refuse("this is no name of a user");
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }

    /// The command that reaches the SFTP server there: `ssh`, as `sftp` calls it.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let mut command: Vec<String> =
            ["ssh", "-oForwardX11=no", "-oPermitLocalCommand=no", "-oClearAllForwardings=yes"]
                .map(str::to_owned)
                .into();
        if let Some(user) = &self.user {
            command.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            command.extend(["-p".to_owned(), port.to_string()]);
        }
        command.extend(["-s", "--", &self.host, "sftp"].map(str::to_owned));
        command
    }
}

/// What a child said on its standard error, the end of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    /// The last words, on one line.
    pub(super) fn last(&self) -> String {
        let text = self.0.lock().expect("never poisoned");
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(4)..].join("; ")
    }

    async fn listen(self, mut stderr: ChildStderr) {
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
            let mut kept = self.0.lock().expect("never poisoned");
            kept.extend_from_slice(&buffer[..read]);
            let surplus = kept.len().saturating_sub(KEPT);
            kept.drain(..surplus);
        }
    }
}

/// A running command whose standard input and output speak SFTP; killed when dropped.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) said: Said,
    /// Ends when the child has closed its standard error.
    pub(super) listener: tokio::task::JoinHandle<()>,
}

/// Starts a command.
///
/// # Errors
/// [`ErrorKind::Invalid`] when there is no such program.
pub(super) fn start(command: &[String], place: &str) -> Result<Running> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::new(ErrorKind::Invalid, place, "the transport command is empty"));
    };
    let mut starting = Command::new(program);
    starting.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = starting.kill_on_drop(true).spawn().map_err(|error| {
        Error::new(ErrorKind::Invalid, place, format!("{program} cannot be run: {error}"))
    })?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Error::new(ErrorKind::Other, place, format!("{program} has no pipes")));
    };
    let said = Said::default();
    let listener = tokio::spawn(said.clone().listen(stderr));
    Ok(Running { child, stdin, stdout, said, listener })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_never_options() {
        let host = SshHost::new(Some("ann"), "nas.local", Some(2222)).unwrap();
        let command = host.command();
        assert_eq!(command[0], "ssh");
        assert_eq!(command[4..], ["-l", "ann", "-p", "2222", "-s", "--", "nas.local", "sftp"]);
        assert!(SshHost::new(None, "::1", None).is_ok());
        assert!(SshHost::new(Some("ann@domain"), "backup_1", None).is_ok());
        for host in ["-oProxyCommand=x", "", "a b", "a;b", "a\nb", "a/b"] {
            assert_eq!(SshHost::new(None, host, None).unwrap_err().kind, ErrorKind::Invalid, "{host:?}");
        }
        for user in ["-oProxyCommand=x", "", "a b", "$(x)"] {
            assert_eq!(SshHost::new(Some(user), "h", None).unwrap_err().kind, ErrorKind::Invalid, "{user:?}");
        }
    }
}
