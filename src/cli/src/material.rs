//! Finds what opens a repository: a key file, a passphrase, or an answer on the terminal.
//!
//! In this order: what the command line names, FARDEL_KEY_FILE, the configuration's key file, this user's own key of the
//! repository, the passphrase command, and at last a question, when somebody is there to answer.

use std::fs::File;
use std::io;
use std::path::Path;

use fardel_engine::keyring::{Material, check_private};
use fardel_format::RepositoryId;
use fardel_format::age_file::Identities;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::error::{Failure, Result};
use crate::{human, key_file, prompt, secret_input};

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
    let line = secret_input::first_line(file);
    line.map_err(|why| {
        Failure::key(format!("{}: {why}", human::path(path)), "its first line must be the passphrase")
    })
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
    let said = secret_input::from_command(command);
    said.map_err(|why| Failure::key(format!("the passphrase command `{command}`: {why}"), hint))
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
