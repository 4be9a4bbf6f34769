//! A repository in memory that suites damage and attack: two hosts, three snapshots, a tomb, and what the sources held.
//!
//! [`forge`] writes what no honest program would.

pub mod forge;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fardel_engine::backup::{self, BackupOptions, BackupReport, SourceSpec};
use fardel_engine::bridge::Blocking;
use fardel_engine::catalog::Catalog;
use fardel_engine::check::{self, CheckOptions, CheckReport, Level};
use fardel_engine::copies::Other;
use fardel_engine::init::{self, InitOptions};
use fardel_engine::keyring::Material;
use fardel_engine::monitor::Silent;
use fardel_engine::packs::{PackReader, PackerOptions};
use fardel_engine::restore::{self, RestoreOptions, RestoreReport};
use fardel_engine::snapshots::Snapshots;
use fardel_engine::{OpenOptions, Repository};
use fardel_format::age_file::{Identities, generate_identity};
use fardel_format::keys::HostKey;
use fardel_format::pack::PackKind;
use fardel_format::sign::SigningKey;
use fardel_format::signers::Role;
use fardel_format::{RepositoryId, SnapshotId};
use fardel_store::{MemoryStore, Store};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::disk_tree::bytes;
use crate::disk_tree::temporary_folder;

/// A repository, its keys, and folders for sources and restores.
pub struct Vault {
    /// Where it lies; clones share the objects.
    pub store: MemoryStore,
    /// Its id.
    pub id: RepositoryId,
    /// The key file of the first host: it reads, writes and maintains.
    pub host: HostKey,
    /// Opens everything.
    pub recovery: Zeroizing<String>,
    /// Signs the registry of signers.
    pub root: SigningKey,
    temp: TempDir,
}

/// What a snapshot must give back: path below the target, and the bytes.
pub type Content = BTreeMap<PathBuf, Vec<u8>>;

impl Vault {
    /// An empty one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let store = MemoryStore::new();
        let options = InitOptions { host: name.into(), ..InitOptions::default() };
        let prepared = init::prepare(Blocking::new(Arc::new(store.clone())), "memory:", &options).unwrap();
        let (host, recovery) = (prepared.host.clone(), prepared.recovery.clone());
        let id = prepared.publish().unwrap();
        let temp = temporary_folder(name);
        let cache = temp.path().join("cache");
        let open = OpenOptions {
            material: Some(identity(&recovery)),
            cache,
            display: "memory:".into(),
            pinned: None,
        };
        let (repo, _) = Repository::open(Arc::new(store.clone()), open).unwrap();
        let root = repo.keys().root.clone().unwrap();
        Self { store, id, host, recovery, root, temp }
    }

    /// A folder below the vault's own temporary folder.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Writes a file for a source; returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Opens a store as this repository, with a fresh cache.
    ///
    /// # Errors
    /// Whatever opening says.
    pub fn open_in(&self, store: &MemoryStore, material: Option<Material>) -> fardel_engine::Result<Opened> {
        self.open_store(Arc::new(store.clone()), material)
    }

    /// The same, for any store.
    ///
    /// # Errors
    /// Whatever opening says.
    pub fn open_store(
        &self,
        store: Arc<dyn Store>,
        material: Option<Material>,
    ) -> fardel_engine::Result<Opened> {
        let cache = temporary_folder("cache");
        let options = OpenOptions {
            material,
            cache: cache.path().to_owned(),
            display: "memory:".into(),
            pinned: Some(self.id),
        };
        let (repo, catalog) = Repository::open(store, options)?;
        Ok(Opened { repo, catalog, cache })
    }

    /// Opens a store among other places of the same repository, with a fresh cache.
    ///
    /// # Errors
    /// Whatever opening says.
    pub fn open_among(
        &self,
        store: &MemoryStore,
        material: Material,
        others: Vec<Other>,
    ) -> fardel_engine::Result<Opened> {
        let cache = temporary_folder("cache");
        let options = OpenOptions {
            material: Some(material),
            cache: cache.path().to_owned(),
            display: "memory:".into(),
            pinned: Some(self.id),
        };
        let (repo, catalog) = Repository::open_among(Arc::new(store.clone()), options, others)?;
        Ok(Opened { repo, catalog, cache })
    }

    /// Opens a store with the first host's key and a cache that stays: what a host remembers.
    ///
    /// # Errors
    /// Whatever opening says.
    ///
    /// # Panics
    /// When the cache cannot be copied.
    pub fn open_with_cache(&self, store: &MemoryStore, cache: &Path) -> fardel_engine::Result<Opened> {
        let copy = temporary_folder("cache");
        copy_folder(cache, copy.path());
        let options = OpenOptions {
            material: Some(self.material()),
            cache: copy.path().to_owned(),
            display: "memory:".into(),
            pinned: Some(self.id),
        };
        let (repo, catalog) = Repository::open(Arc::new(store.clone()), options)?;
        Ok(Opened { repo, catalog, cache: copy })
    }

    /// Opens the vault's own store with its first host's key.
    ///
    /// # Panics
    /// When it does not open.
    #[must_use]
    pub fn open(&self) -> Opened {
        self.open_in(&self.store, Some(self.material())).unwrap()
    }

    /// The first host's key.
    #[must_use]
    pub fn material(&self) -> Material {
        Material::Host(Box::new(self.host.clone()))
    }

    /// The recovery identity.
    #[must_use]
    pub fn recovery(&self) -> Material {
        identity(&self.recovery)
    }

    /// Backs up with a host's key, in small packs.
    ///
    /// # Panics
    /// When that fails.
    pub fn backup_as(&self, host: &HostKey, paths: &[&Path]) -> SnapshotId {
        let opened = self.open_in(&self.store, Some(Material::Host(Box::new(host.clone())))).unwrap();
        opened.backup(paths).unwrap().snapshot.unwrap()
    }

    /// Backs up with the first host's key.
    ///
    /// # Panics
    /// When that fails.
    pub fn backup(&self, paths: &[&Path]) -> SnapshotId {
        self.backup_as(&self.host, paths)
    }

    /// Names a new host in the registry; it may read.
    ///
    /// # Panics
    /// When that fails.
    pub fn add_host(&self, name: &str, roles: &[Role]) -> HostKey {
        let host = HostKey {
            signing: SigningKey::generate().unwrap(),
            own: generate_identity().0,
            ..self.host.clone()
        };
        forge::put_signer(self, &host, name, roles);
        host
    }
}

fn identity(recovery: &str) -> Material {
    let mut identities = Identities::new();
    identities.push_x25519(recovery).unwrap();
    Material::Identities(identities)
}

/// An open repository; its cache goes with it.
pub struct Opened {
    /// The repository.
    pub repo: Repository,
    /// What was listed.
    pub catalog: Catalog,
    cache: TempDir,
}

impl Opened {
    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Path {
        self.cache.path()
    }

    /// Backs up in small packs, one thread, no checkpoints.
    ///
    /// # Errors
    /// Those of the backup.
    pub fn backup(&self, paths: &[&Path]) -> fardel_engine::Result<BackupReport> {
        let sources = paths.iter().map(|path| SourceSpec::Path((*path).to_owned())).collect();
        let options = BackupOptions {
            chunk_size: Some(16 << 10),
            packer: PackerOptions { pack_size: 1 << 20, threads: 1, ..PackerOptions::default() },
            ..BackupOptions::new("test", sources)
        };
        backup::backup(&self.repo, &self.catalog, &options, &Silent::default())
    }

    /// Checks at a level.
    ///
    /// # Errors
    /// When the store fails as a whole.
    pub fn check(&self, level: Level) -> fardel_engine::Result<CheckReport> {
        let options = CheckOptions { level, ..CheckOptions::default() };
        check::check(&self.repo, &self.catalog, &options, &Silent::default())
    }

    /// The snapshots that there are.
    ///
    /// # Errors
    /// When the store fails.
    pub fn snapshots(&self) -> fardel_engine::Result<Snapshots> {
        Snapshots::load_for_reading(&self.repo, &self.catalog)
    }

    /// Restores a snapshot into a new folder.
    ///
    /// # Errors
    /// When nothing can be restored at all.
    pub fn restore(&self, id: &SnapshotId) -> fardel_engine::Result<Restored> {
        let folder = temporary_folder("restored");
        let snapshots = self.snapshots()?;
        let sealed = snapshots.find(&id.to_string())?;
        let options = RestoreOptions::new(folder.path());
        let report = restore::restore(&self.repo, &self.catalog, sealed, None, &options, &Silent::default())?;
        Ok(Restored { report, folder })
    }

    /// The keys of all packs of a kind.
    ///
    /// # Panics
    /// When one cannot be read.
    #[must_use]
    pub fn packs(&self, kind: PackKind) -> Vec<String> {
        let reader = PackReader::new(&self.repo, &self.catalog);
        let mut keys = Vec::new();
        for (hash, copies) in &self.catalog.packs {
            let stored = &copies[0].stored;
            if reader.toc(hash, stored.size).unwrap().kind == kind {
                keys.push(stored.key.to_string());
            }
        }
        keys.sort_unstable();
        keys
    }
}

/// What a restore made.
pub struct Restored {
    /// What it says.
    pub report: RestoreReport,
    folder: TempDir,
}

impl Restored {
    /// Compares the files under their final names, and what is left of others, with what was saved; returns how many are
    /// whole.
    ///
    /// # Errors
    /// When a wrong byte stands anywhere, a file is missing without being told, or one is told as damaged and is whole.
    pub fn compare(&self, content: &Content) -> Result<usize, String> {
        let mut whole = 0;
        for (path, expected) in content {
            let shown = format!("/{}", path.display());
            let place = self.folder.path().join(path);
            match fs::read(&place) {
                Ok(found) if found == *expected => whole += 1,
                Ok(_) => return Err(format!("{shown} has its name and other bytes")),
                Err(_) => self.is_told(&shown, expected)?,
            }
        }
        if self.report.is_whole() != (whole == content.len()) {
            return Err(format!(
                "{whole} of {} files are whole, and is_whole() says {}",
                content.len(),
                self.report.is_whole()
            ));
        }
        Ok(whole)
    }

    fn is_told(&self, shown: &str, expected: &[u8]) -> Result<(), String> {
        let covers =
            |path: &str| shown == path || shown.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        let told = self.report.damaged.iter().find(|damaged| covers(&damaged.path));
        let Some(told) = told else {
            return Err(format!("{shown} is missing and nobody tells: {:?}", self.report));
        };
        let Some(partial) = told.partial.as_ref().filter(|_| told.path == shown) else { return Ok(()) };
        if !partial.to_string_lossy().contains(".partial") {
            return Err(format!("{shown} is left as {}", partial.display()));
        }
        let found = fs::read(partial).map_err(|e| format!("{}: {e}", partial.display()))?;
        let is_missing =
            |at: usize| told.missing.iter().any(|(start, len)| (*start..start + len).contains(&(at as u64)));
        for (at, byte) in expected.iter().enumerate() {
            if found.get(at).copied().unwrap_or(0) != *byte && !is_missing(at) {
                return Err(format!(
                    "{} is wrong at {at}, and that is not told: {:?}",
                    partial.display(),
                    told.missing
                ));
            }
        }
        Ok(())
    }
}

/// A vault with something of each kind of object.
pub struct Furnished {
    /// The vault.
    pub vault: Vault,
    /// The second host.
    pub second_host: HostKey,
    /// Its snapshots and what they hold, oldest first; the last is the second host's.
    pub snapshots: Vec<(SnapshotId, Content)>,
    /// A snapshot that was forgotten.
    pub forgotten: SnapshotId,
    /// Objects that only it needed.
    pub unneeded: BTreeSet<String>,
}

impl Furnished {
    /// Makes two snapshots of a folder and an image, one of a second host, and one that is forgotten.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let vault = Vault::new(name);
        let second_host = vault.add_host("second", &[Role::Write, Role::ForgetOwn]);
        let seeded = |what: &str, len| bytes(&format!("{name} {what}"), len);
        let tree = vault.folder("source");
        for n in 0..12 {
            vault.write(&format!("source/many/{n:02}"), &seeded(&format!("many {n}"), 1000 * n));
        }
        vault.write("source/large", &seeded("large", 2_600_000));
        vault.write("source/other/same", b"the same in both\n");
        vault.write("source/other/text", b"first\n");
        let mut disk = seeded("disk", 700_000);
        disk.resize(12 << 20, 0);
        disk.extend_from_slice(&seeded("disk's end", 50_001));
        let image = vault.write("disk.img", &disk);
        let mut snapshots = Vec::new();
        let first = vault.backup(&[&tree, &image]);
        snapshots.push((first, contents(&[&tree, &image])));
        vault.write("source/other/text", b"second\n");
        vault.write("source/new", &seeded("new", 400_000));
        let second = vault.backup(&[&tree, &image]);
        snapshots.push((second, contents(&[&tree, &image])));
        let other = vault.write("elsewhere/only here", &seeded("elsewhere", 900_000));
        let elsewhere = other.parent().unwrap();
        let third = vault.backup_as(&second_host, &[elsewhere]);
        snapshots.push((third, contents(&[elsewhere])));
        let before: BTreeSet<_> = vault.store.names().into_iter().collect();
        let passing = vault.write("passing/by", b"soon forgotten\n");
        let forgotten = vault.backup(&[passing.parent().unwrap()]);
        let unneeded = vault.store.names().into_iter().filter(|name| !before.contains(name)).collect();
        forge::put_forget(&vault, &vault.host, &[forgotten]);
        Self { vault, second_host, snapshots, forgotten, unneeded }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The files at and below these paths, at the places below a target where a restore puts them.
///
/// # Panics
/// When one cannot be read.
#[must_use]
pub fn contents(paths: &[&Path]) -> Content {
    let mut content = Content::new();
    let mut stack: Vec<PathBuf> = paths.iter().map(|path| (*path).to_owned()).collect();
    while let Some(path) = stack.pop() {
        if path.is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            content.insert(path.strip_prefix("/").unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
    content
}
