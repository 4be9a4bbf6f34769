//! Finds what opens a repository: a key file, a passphrase, or an answer on the terminal.
//!
//! In this order: what the command line names, FARDEL_KEY_FILE, the configuration's key file, this user's own key of the
//! repository, the passphrase command, and at last a question, when somebody is there to answer.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use fardel_engine::keyring::{Material, check_private};
use fardel_format::RepositoryId;
use fardel_format::age_file::Identities;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::error::{Failure, Result};
use crate::{human, key_file, prompt};

/// Longest passphrase, in bytes.
const MAX_PASSPHRASE: usize = 4096;

/// What a passphrase command may say after its first line, in bytes.
const MAX_IGNORED: u64 = 1 << 20;

/// What opens the repository `id`; `None` when nothing is at hand. With `ask`, somebody at a terminal is asked first.
///
/// # Errors
/// When what was named cannot be used.
pub fn find(config: &Config, id: &RepositoryId, ask: bool) -> Result<Option<Material>> {
    if let (Some(path), None) = (&config.key_file, &config.passphrase_file) {
        return from_file(path).map(Some);
    }
    if let Some(path) = &config.passphrase_file {
        return passphrase_file(path).map(|phrase| Some(Material::from_passphrase(&phrase)));
    }
    let own = key_file::default_path(config, id);
    if own.exists() {
        return from_file(&own).map(Some);
    }
    if let Some(command) = &config.passphrase_command {
        return passphrase_command(command).map(|phrase| Some(Material::from_passphrase(&phrase)));
    }
    if ask && prompt::is_attended() { question(id) } else { Ok(None) }
}

/// What may change the keys of the repository `id`: as [`find`], without the key files of hosts, which never may.
///
/// # Errors
/// When what was named cannot be used.
pub fn find_administrator(config: &Config, id: &RepositoryId) -> Result<Option<Material>> {
    if let (Some(path), None) = (&config.key_file, &config.passphrase_file)
        && let named @ Material::Identities(_) = from_file(path)?
    {
        return Ok(Some(named));
    }
    if let Some(path) = &config.passphrase_file {
        return passphrase_file(path).map(|phrase| Some(Material::from_passphrase(&phrase)));
    }
    if let Some(command) = &config.passphrase_command {
        return passphrase_command(command).map(|phrase| Some(Material::from_passphrase(&phrase)));
    }
    if prompt::is_attended() { question(id) } else { Ok(None) }
}

/// The passphrase that was set for a new repository, if any.
///
/// # Errors
/// When it cannot be read.
pub fn new_passphrase(config: &Config) -> Result<Option<Zeroizing<String>>> {
    match (&config.passphrase_file, &config.passphrase_command) {
        (Some(path), _) => passphrase_file(path).map(Some),
        (None, Some(command)) => passphrase_command(command).map(Some),
        (None, None) => Ok(None),
    }
}

/// The first line of a file that only its owner can read.
///
/// # Errors
/// When others can read it, or it is empty.
pub fn passphrase_file(path: &Path) -> Result<Zeroizing<String>> {
    check_private(path)
        .map_err(|e| Failure::from(e).with_hint("a passphrase's file is for its owner alone"))?;
    let file =
        File::open(path).map_err(|e| Failure::io(path, &e, "name the file that holds the passphrase"))?;
    first_line(file, &human::path(path))
}

fn from_file(path: &Path) -> Result<Material> {
    Material::from_file(path).map_err(|error| {
        let hint = match &error {
            fardel_engine::Error::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
                "name the key file that `fardel init` or `fardel key add` made; the recovery key opens everything too"
            }
            _ => "only its owner may read it; it holds a host's keys, an age identity or an SSH private key",
        };
        Failure::key(human::shown(error.to_string().as_bytes()), hint)
    })
}

/// What the user's own command prints first.
fn passphrase_command(command: &str) -> Result<Zeroizing<String>> {
    let hint = "run it by hand: it must print the passphrase and end with exit code 0";
    let fail = |why: String| Failure::key(format!("the passphrase command `{command}`: {why}"), hint);
    let mut shell = Command::new("sh");
    let child = shell.arg("-c").arg(command).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|e| fail(e.to_string()))?;
    let phrase = match child.stdout.take() {
        Some(mut stdout) => {
            let phrase = first_line(&mut stdout, "the passphrase command");
            // A command that has more to say is not to die of a pipe that was closed.
            let _ = io::copy(&mut stdout.take(MAX_IGNORED), &mut io::sink());
            phrase
        }
        None => Err(fail("it has no output".into())),
    };
    let status = child.wait().map_err(|e| fail(e.to_string()))?;
    if !status.success() {
        return Err(fail(format!("it ended with {status}")));
    }
    phrase
}

fn first_line(mut from: impl Read, what: &str) -> Result<Zeroizing<String>> {
    let fail = |why: &str| Failure::key(format!("{what}: {why}"), "its first line must be the passphrase");
    // As large as it can get and without another buffer, so that no copy is left behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE));
    let mut byte = Zeroizing::new([0]);
    while line.len() < MAX_PASSPHRASE {
        match from.read(&mut *byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(fail(&error.to_string())),
        }
    }
    let text = std::str::from_utf8(&line).map_err(|_| fail("it is not UTF-8"))?.trim_end_matches('\r');
    if text.is_empty() { Err(fail("there is no passphrase")) } else { Ok(Zeroizing::new(text.to_owned())) }
}

/// Asks for a passphrase, or the recovery key itself.
fn question(id: &RepositoryId) -> Result<Option<Material>> {
    let answer = prompt::ask(&format!("Passphrase or recovery key of repository {}", id.short()))?;
    if !answer.trim().starts_with("AGE-SECRET-KEY-1") {
        return Ok(Some(Material::from_passphrase(&answer)));
    }
    let mut identities = Identities::new();
    let pushed = identities.push_x25519(answer.trim());
    pushed.map_err(|_| {
        Failure::key("this is no whole recovery key", "give the line AGE-SECRET-KEY-1… as it was shown")
    })?;
    Ok(Some(Material::Identities(identities)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_one_line() {
        let line = |text: &str| first_line(text.as_bytes(), "x").map(|line| line.to_string()).ok();
        assert_eq!(line("one two\r\nthree"), Some("one two".into()));
        assert_eq!(line(" kept "), Some(" kept ".into()));
        assert_eq!(line("\nx"), None);
        assert_eq!(line(""), None);
    }

    #[test]
    fn a_command_that_fails_gives_no_passphrase() {
        assert_eq!(passphrase_command("echo secret; echo more").unwrap().as_str(), "secret");
        let failure = passphrase_command("echo secret; exit 3").unwrap_err();
        assert!(
            failure.message.contains("exit status: 3") && !failure.message.contains(": secret"),
            "{failure:?}"
        );
    }
}
