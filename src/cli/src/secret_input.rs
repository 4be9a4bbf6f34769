//! Secrets that others hand over: the first line of a file, or of what a command prints.

use std::io::{self, Read};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

/// Longest secret, in bytes.
const MAX_SECRET: usize = 4096;

/// What a command may say after its first line, in bytes.
const MAX_IGNORED: u64 = 1 << 20;

/// The first line, without its end.
///
/// # Errors
/// In words, when it cannot be read, is empty or no text.
pub fn first_line(mut from: impl Read) -> Result<Zeroizing<String>, String> {
    // As large as it can get and without another buffer, so that no copy is left behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_SECRET));
    let mut byte = Zeroizing::new([0]);
    while line.len() < MAX_SECRET {
        match from.read(&mut *byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let text = std::str::from_utf8(&line).map_err(|_| "it is not UTF-8")?.trim_end_matches('\r');
    if text.is_empty() {
        Err("there is nothing in its first line".into())
    } else {
        Ok(Zeroizing::new(text.to_owned()))
    }
}

/// The first line of what a shell command prints.
///
/// # Errors
/// In words, when it fails or prints nothing. What it printed is never repeated.
pub fn from_command(command: &str) -> Result<Zeroizing<String>, String> {
    let mut shell = Command::new("sh");
    let child = shell.arg("-c").arg(command).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| error.to_string())?;
    let secret = match child.stdout.take() {
        Some(mut stdout) => {
            let secret = first_line(&mut stdout);
            // A command that has more to say is not to die of a pipe that was closed.
            let _ = io::copy(&mut stdout.take(MAX_IGNORED), &mut io::sink());
            secret
        }
        None => Err("it has no output".into()),
    };
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() { secret } else { Err(format!("it ended with {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line() {
        let line = |text: &str| first_line(text.as_bytes()).map(|line| line.to_string()).ok();
        assert_eq!(line("one two\r\nthree"), Some("one two".into()));
        assert_eq!(line(" kept "), Some(" kept ".into()));
        assert_eq!(line("\nx"), None);
        assert_eq!(line(""), None);
    }

    #[test]
    fn a_command_that_fails_gives_no_secret() {
        assert_eq!(from_command("echo secret; echo more").unwrap().as_str(), "secret");
        let why = from_command("echo secret; exit 3").unwrap_err();
        assert!(why.contains("exit status: 3") && !why.contains("secret"), "{why}");
    }
}
