//! `fardel init`: keys first, the repository last, so that there is never a repository without its keys.
//!
//! 1. Look that nothing is there, neither a repository nor a key file of that name.
//! 2. Make keys and registry (the engine), save this host's key file, show or save the recovery key.
//! 3. Publish the card: now there is a repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fardel_engine::bridge::Blocking;
use fardel_engine::init::{InitOptions, Prepared, prepare};
use fardel_format::RepositoryId;
use fardel_format::keys::HostKey;
use fardel_store::Store;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::app::App;
use crate::args::{InitArgs, NewArgs};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::location::Location;
use crate::{copier, human, key_file, material, open};

/// A repository that was just made.
pub struct Created {
    /// Its id.
    pub id: RepositoryId,
    /// This host's keys.
    pub host: HostKey,
    /// Where they were saved; nowhere for a repository that ends with this process.
    pub key_file: Option<PathBuf>,
    /// Where the recovery key was saved, unless it was shown.
    pub recovery_file: Option<PathBuf>,
    /// The recovery key, unless it was saved; to be told to programs.
    pub recovery: Option<Zeroizing<String>>,
}

/// What is asked of a new repository.
pub struct New<'a> {
    /// Recipients and the place of the recovery key.
    pub args: &'a NewArgs,
    /// This machine's name.
    pub host: String,
    /// Chunk size for volumes.
    pub chunk_size: Option<u32>,
    /// Rather save the recovery key beside the host's key than show it where nobody may be looking.
    pub discreet: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    repository_id: String,
    repository: String,
    key_file: Option<String>,
    recovery_file: Option<String>,
    recovery_key: Option<&'a str>,
}

/// Runs the command.
///
/// # Errors
/// When there is a repository, or it cannot be made.
pub fn run(app: &App, args: &InitArgs) -> Result<Exit> {
    let location = app.config.location()?;
    let prepared = match (&location, args.copier) {
        (Location::Folder(folder), Some(copier)) => Some((folder.clone(), copier)),
        (_, Some(_)) => {
            return Err(Failure::usage(
                "--for is for a repository in a folder",
                "leave it out, or name a folder",
            ));
        }
        (_, None) => None,
    };
    let store = open::store(&app.config, &location)?;
    let new = New {
        args: &args.new,
        host: args.host.clone().unwrap_or_else(host_name),
        chunk_size: args.chunk_size.or(app.config.chunk_size),
        discreet: false,
    };
    let created = create(app, &location, &store, &new)?;
    if let Some((folder, copier)) = prepared {
        copier::prepare(app, &folder, copier)?;
    }
    app.out.summary(&created.summary(&location))?;
    app.out.say(format!("Back up a folder:  {}", app.command("backup FOLDER", &location)))?;
    Ok(Exit::Done)
}

/// Makes a repository, and tells people about its keys.
///
/// # Errors
/// When there is one already, or a key cannot be saved.
pub fn create(app: &App, location: &Location, store: &Arc<dyn Store>, new: &New<'_>) -> Result<Created> {
    if let Some(path) = &app.config.key_file {
        key_file::refuse_existing(path)?;
    }
    if let Some(path) = &new.args.recovery_file {
        key_file::refuse_existing(path)?;
    }
    let options = InitOptions {
        host: new.host.clone(),
        recipients: new.args.recipients.clone(),
        passphrase: material::new_passphrase(&app.config)?,
        volume_chunk_size: new.chunk_size,
    };
    let prepared = prepare(Blocking::new(store.clone()), &location.to_string(), &options)?;
    let key_file = match location {
        Location::Memory => None,
        Location::Folder(_) | Location::Remote(_) => {
            let own = || key_file::default_path(&app.config, &prepared.id);
            Some(app.config.key_file.clone().unwrap_or_else(own))
        }
    };
    let mut unused = Unused(Vec::new());
    if let Some(path) = &key_file {
        key_file::save_new(path, &prepared.host.to_text())?;
        unused.0.push(path.clone());
    }
    let recovery_file = save_recovery(new, &prepared, key_file.as_deref())?;
    unused.0.extend(recovery_file.clone());
    tell(app, location, &prepared, key_file.as_deref(), recovery_file.as_deref())?;
    let recovery = recovery_file.is_none().then(|| prepared.recovery.clone());
    let host = prepared.host.clone();
    // From here on there may be a repository, whatever the answer says.
    unused.0.clear();
    let id = prepared.publish()?;
    app.out.say(format!("Repository {} is ready at {location}.", id.short()))?;
    Ok(Created { id, host, key_file, recovery_file, recovery })
}

/// Key files of a repository that does not exist; they go unless it comes to be.
struct Unused(Vec<PathBuf>);

impl Drop for Unused {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

impl Created {
    /// The object for programs.
    #[must_use]
    pub fn summary(&self, location: &Location) -> impl Serialize {
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        Summary {
            repository_id: self.id.to_string(),
            repository: location.to_string(),
            key_file: text(&self.key_file),
            recovery_file: text(&self.recovery_file),
            recovery_key: self.recovery.as_ref().map(|key| key.as_str()),
        }
    }
}

/// This machine's name.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn save_recovery(new: &New<'_>, prepared: &Prepared, key_file: Option<&Path>) -> Result<Option<PathBuf>> {
    let beside = || key_file.filter(|_| new.discreet).map(|path| path.with_extension("recovery"));
    let Some(path) = new.args.recovery_file.clone().or_else(beside) else { return Ok(None) };
    let title = format!("# the recovery key of fardel repository {}: opens everything, alone\n", prepared.id);
    let mut text = Zeroizing::new(String::with_capacity(title.len() + prepared.recovery.len() + 1));
    for part in [&*title, prepared.recovery.trim_end(), "\n"] {
        text.push_str(part);
    }
    key_file::save_new(&path, &text)?;
    Ok(Some(path))
}

/// Shown before the card is stored: whoever is interrupted now has a key to nothing, and not the reverse.
fn tell(
    app: &App,
    location: &Location,
    prepared: &Prepared,
    key_file: Option<&Path>,
    recovery: Option<&Path>,
) -> Result<()> {
    let out = &app.out;
    if out.is_quiet() && recovery.is_none() {
        let hint = "leave out --quiet, or name a file for it with --recovery-file";
        return Err(Failure::usage("--quiet would hide the recovery key", hint));
    }
    out.say(format!("Making repository {} at {location}", prepared.id.short()))?;
    if let Some(path) = key_file {
        out.say(format!("  this machine's key:  {}", human::path(path)))?;
    }
    match recovery {
        Some(path) => {
            out.say(format!("  the recovery key:    {}", human::path(path)))?;
            out.say("  The recovery key alone opens everything: move it to another place, away from this machine.")?;
        }
        None => {
            let rule = "=".repeat(80);
            out.say("")?;
            out.say(&rule)?;
            out.say(out.bold("  RECOVERY KEY: write it down, and keep it away from this machine"))?;
            out.say("")?;
            out.say(format!("  {}", out.bold(prepared.recovery.trim_end())))?;
            out.say("")?;
            out.say("  It alone opens everything. It is shown this once.")?;
            out.say(&rule)?;
            out.say("")?;
        }
    }
    out.say("Losing this machine's key file costs nothing as long as you have the recovery key or another")?;
    out.say("recipient. Losing every one of them costs all: nobody can open the repository then.")
}
