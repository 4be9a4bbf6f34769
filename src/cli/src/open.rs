//! From a place to an open repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fardel_backends::folder::FolderStore;
use fardel_engine::bridge::Blocking;
use fardel_engine::catalog::Catalog;
use fardel_engine::copies::Other;
use fardel_engine::keyring::Material;
use fardel_engine::{Error as EngineError, OpenOptions, Repository};
use fardel_format::names::CARD;
use fardel_format::{RepositoryId, card};
use fardel_store::{ErrorKind, Key, MemoryStore, Store};

use crate::config::Config;
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::location::Location;
use crate::{copies, human, key_file, material, stores};

/// Which key a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None: nothing that could open anything is touched.
    Keyless,
    /// Whatever is at hand; without, it shows less.
    Optional,
    /// One that opens the repository.
    Key,
}

/// An open repository and what was listed in it.
pub struct Opened {
    /// The repository.
    pub repo: Repository,
    /// What lies in it.
    pub catalog: Catalog,
    /// Where it lies.
    pub location: Location,
}

/// The store at a place.
///
/// # Errors
/// When there is something else than a store.
pub fn store(config: &Config, location: &Location) -> Result<Arc<dyn Store>> {
    store_with(config, location, Some(config.cache.join("uploads")))
}

/// The same, where an upload that is given up leaves nothing to go on with.
///
/// # Errors
/// As [`store`].
pub fn store_without_journal(config: &Config, location: &Location) -> Result<Arc<dyn Store>> {
    store_with(config, location, None)
}

fn store_with(config: &Config, location: &Location, journal: Option<PathBuf>) -> Result<Arc<dyn Store>> {
    match location {
        Location::Memory => Ok(Arc::new(MemoryStore::new())),
        Location::Folder(path) if path.exists() && !path.is_dir() => {
            let message = format!("{}: a repository is a folder, and this is none", human::path(path));
            Err(Failure::new(Exit::NoRepository, message, "name the folder of the repository with --repo"))
        }
        Location::Folder(path) => Ok(Arc::new(FolderStore::open(path)?)),
        Location::Remote(remote) => stores::open(config, remote, journal),
    }
}

/// The id of the repository in a store; `None` when there is none.
///
/// # Errors
/// When the store fails.
pub fn id(store: &Arc<dyn Store>) -> Result<Option<RepositoryId>> {
    match Blocking::new(store.clone()).get(&Key::new(CARD)?) {
        Ok(bytes) => Ok(Some(card::repository_id(&bytes))),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens the configured repository. What was verified there before may come from the cache.
///
/// # Errors
/// When there is none, or the key does not open it.
pub fn open(config: &Config, access: Access) -> Result<Opened> {
    open_at(config, config.location()?, access).map(keeping)
}

/// Opens the configured repository for reading alone: what cannot be had there is looked for in the configured copies.
///
/// # Errors
/// As [`open`].
pub fn open_for_reading(config: &Config, access: Access) -> Result<Opened> {
    let location = config.location()?;
    let others = copies::others(config, &location);
    open_among(config, location, access, others).map(keeping)
}

fn keeping(mut opened: Opened) -> Opened {
    opened.repo.keep_signed(&opened.catalog);
    opened
}

/// Opens the repository at a place, and reads all of it anew.
///
/// # Errors
/// As [`open`].
pub fn open_at(config: &Config, location: Location, access: Access) -> Result<Opened> {
    open_among(config, location, access, Vec::new())
}

fn open_among(config: &Config, location: Location, access: Access, others: Vec<Other>) -> Result<Opened> {
    let store = store(config, &location)?;
    let none = || no_repository(&location);
    let id = id(&store)?.ok_or_else(none)?;
    let material = match access {
        Access::Keyless => None,
        Access::Optional => material::find(config, &id, false)?,
        Access::Key => material::find(config, &id, true)?,
    };
    if material.is_none() && access == Access::Key {
        return Err(no_key(config, &id, &location));
    }
    finish(config, store, location, (material, Some(id)), others)
}

/// Opens a store with what is at hand.
///
/// # Errors
/// As [`open`].
pub fn open_with(
    config: &Config,
    store: Arc<dyn Store>,
    location: Location,
    material: Option<Material>,
    pinned: Option<RepositoryId>,
) -> Result<Opened> {
    finish(config, store, location, (material, pinned), Vec::new())
}

fn finish(
    config: &Config,
    store: Arc<dyn Store>,
    location: Location,
    (material, pinned): (Option<Material>, Option<RepositoryId>),
    others: Vec<Other>,
) -> Result<Opened> {
    let options =
        OpenOptions { material, cache: config.cache.clone(), display: location.to_string(), pinned };
    match Repository::open_among(store, options, others) {
        Ok((repo, catalog)) => Ok(Opened { repo, catalog, location }),
        Err(EngineError::NoRepository(_)) => Err(no_repository(&location)),
        Err(error) => Err(error.into()),
    }
}

/// Makes the folder of the cache, for this user alone.
///
/// # Errors
/// When it cannot be made.
pub fn make_cache(folder: &Path) -> Result<()> {
    let hint = "make it writable, or set FARDEL_CACHE_DIR to another folder";
    key_file::make_folder(folder).map_err(|e| Failure::io(folder, &e, hint))
}

/// That there is no repository, and how to make one.
#[must_use]
pub fn no_repository(location: &Location) -> Failure {
    let repo = human::quoted(&location.to_string());
    let failure = Failure::from(EngineError::NoRepository(location.to_string()));
    failure.with_hint(format!("make one with `fardel init --repo {repo}`, or name another place with --repo"))
}

fn no_key(config: &Config, id: &RepositoryId, location: &Location) -> Failure {
    let own = key_file::default_path(config, id);
    let message =
        format!("{location}: there is no key for repository {} in {}", id.short(), human::path(&own));
    let hint = "give a key file or the file of the recovery key with --key-file, or a passphrase with --passphrase-file";
    Failure::key(message, hint)
}
