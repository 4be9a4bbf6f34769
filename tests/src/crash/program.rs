//! One operation of the engine, as a process would run it: it opens the store, works, and says what it reported.

use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fardel_engine::backup::{self, BackupOptions, BackupReport, SourceSpec};
use fardel_engine::bridge::Blocking;
use fardel_engine::init::{self, InitOptions};
use fardel_engine::keyring::Material;
use fardel_engine::monitor::{Counters, Monitor};
use fardel_engine::packs::PackerOptions;
use fardel_engine::{OpenOptions, Repository};
use fardel_format::age_file::{self, Identities};
use fardel_format::keys::HostKey;
use fardel_format::names::{FanOut, Name, Numbered};
use fardel_format::sign::SigningKey;
use fardel_format::signers::{self, Record, Role, Signer};
use fardel_format::{ObjectHash, RepositoryId};
use fardel_store::{Key, MemoryStore, Store};
use zeroize::Zeroizing;

use super::Result;
use super::medium::{InUse, Medium, Recording};
use super::site::{CHUNK, STREAM, Site, View};

/// A new repository and the keys of those who use it.
#[derive(Clone)]
pub struct Keys {
    /// Which.
    pub id: RepositoryId,
    /// Opens everything.
    pub recovery: Zeroizing<String>,
    /// One for each host; the first made the repository.
    pub hosts: Vec<HostKey>,
}

/// A snapshot that was told to the user.
#[derive(Clone, Debug)]
pub struct Reported {
    /// Its id, or the first digits of it.
    pub id: String,
    /// Its version of the site.
    pub version: usize,
    /// Whether it is a checkpoint.
    pub partial: bool,
    /// Changing calls that had been made when it was told: every later crash must leave it.
    pub at: usize,
}

/// How an operation ended.
pub struct Ran {
    /// Its report, or why it failed.
    pub outcome: Result<BackupReport>,
    /// What it told before it ended, and with its end.
    pub reported: Vec<Reported>,
}

/// How a backup is made.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Which of the hosts makes it.
    pub host: usize,
    /// What it saves.
    pub version: usize,
    /// Compressing threads.
    pub threads: usize,
    /// Seal what there is after every entry.
    pub checkpoints: bool,
    /// Packs after which an index segment is stored.
    pub packs_per_segment: usize,
    /// Whether the folder is among the sources.
    pub tree: bool,
    /// Whether the stream is among the sources.
    pub stream: bool,
}

impl Manner {
    /// The first host saves version 0, with one thread and without checkpoints.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            host: 0,
            version: 0,
            threads: 1,
            checkpoints: false,
            packs_per_segment: 1,
            tree: true,
            stream: true,
        }
    }
}

/// Makes a repository with so many hosts.
///
/// # Errors
/// When the engine does.
pub fn repository(hosts: usize, cache: &Path) -> Result<(Medium, Keys)> {
    let memory = MemoryStore::new();
    let store = Blocking::new(Arc::new(memory.clone()));
    let mut keys = begin(&store)?.1?;
    let material = Material::Identities(identities(&keys.recovery));
    let (repo, _) = open(Arc::new(memory.clone()), material, cache)?;
    let root = repo.keys().root.clone().ok_or("the recovery identity does not open the root key")?;
    for number in 1..hosts {
        let host = host_key(&keys.hosts[0])?;
        add_host(&store, &keys.id, &root, number as u32 + 1, &host)?;
        keys.hosts.push(host);
    }
    Ok((Medium::Memory(memory), keys))
}

/// Makes a repository: its keys as they were shown before it existed, and whether it was published.
///
/// # Errors
/// When nothing could be prepared: then nothing was shown.
pub fn begin(store: &Blocking) -> Result<(Keys, Result<Keys>)> {
    let options = InitOptions {
        host: "host-0".into(),
        volume_chunk_size: Some(CHUNK as u32),
        ..InitOptions::default()
    };
    let prepared = init::prepare(store.clone(), "the test's", &options).map_err(|e| e.to_string())?;
    let keys =
        Keys { id: prepared.id, recovery: prepared.recovery.clone(), hosts: vec![prepared.host.clone()] };
    let published = prepared.publish().map_err(|e| e.to_string());
    Ok((keys.clone(), published.map(|_| keys)))
}

fn host_key(first: &HostKey) -> Result<HostKey> {
    let signing = SigningKey::generate().map_err(|e| e.to_string())?;
    Ok(HostKey { signing, own: age_file::generate_identity().0, ..first.clone() })
}

fn add_host(store: &Blocking, id: &RepositoryId, root: &SigningKey, seq: u32, host: &HostKey) -> Result {
    let public_key = host.signing.public().clone();
    let signer =
        Signer { public_key, name: format!("host-{}", seq - 1), roles: vec![Role::Write, Role::ForgetOwn] };
    let (signers, created) = (vec![signer], fardel_engine::time::now());
    let record = Record {
        fardel: 1,
        repository: *id,
        seq,
        created,
        signers,
        removed_signers: Vec::new(),
        retired_keys: Vec::new(),
    };
    let bytes = record.to_bytes();
    let name = Numbered { seq, hash: ObjectHash::of(&bytes) };
    let signature = signers::sign(&bytes, id, &name, root).map_err(|e| e.to_string())?;
    for (name, bytes) in [(Name::Signers(name), bytes), (Name::SignersSig(name), signature.into_bytes())] {
        let key = Key::new(name.key(FanOut::FLAT)).map_err(|e| e.to_string())?;
        store.put_same(&key, bytes).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The identities that this line stands for.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn identities(line: &str) -> Identities {
    let mut identities = Identities::new();
    identities.push_x25519(line).expect("an identity");
    identities
}

/// Opens the repository in a store.
///
/// # Errors
/// When the engine does.
pub fn open(
    store: Arc<dyn Store>,
    material: Material,
    cache: &Path,
) -> Result<(Repository, fardel_engine::catalog::Catalog)> {
    let options = OpenOptions {
        material: Some(material),
        cache: cache.to_owned(),
        display: "the test's".into(),
        pinned: None,
    };
    Repository::open(store, options).map_err(|e| e.to_string())
}

/// Makes a backup.
pub fn backup(in_use: &InUse, keys: &Keys, cache: &Path, site: &Site, view: &View, manner: &Manner) -> Ran {
    let recording = in_use.recording();
    let watcher =
        Watcher { recording: recording.clone(), counters: Counters::default(), told: Mutex::default() };
    let outcome = run(in_use.store.clone(), keys, cache, site, view, manner, &watcher);
    let version = manner.version;
    let told = watcher.told.into_inner().unwrap_or_default();
    let mut reported: Vec<_> =
        told.into_iter().map(|(id, at)| Reported { id, version, partial: true, at }).collect();
    if let Ok(BackupReport { snapshot: Some(id), partial, .. }) = &outcome {
        let at = recording.calls();
        reported.push(Reported { id: id.to_string(), version, partial: *partial, at });
    }
    Ran { outcome, reported }
}

fn run(
    store: Arc<dyn Store>,
    keys: &Keys,
    cache: &Path,
    site: &Site,
    view: &View,
    manner: &Manner,
    watcher: &Watcher,
) -> Result<BackupReport> {
    view.show(manner.version).map_err(|e| e.to_string())?;
    let material = Material::Host(Box::new(keys.hosts[manner.host].clone()));
    let (repo, catalog) = open(store, material, cache)?;
    let options = options(site, view, manner);
    let report = backup::backup(&repo, &catalog, &options, watcher).map_err(|e| e.to_string())?;
    if report.unreadable.is_empty() && report.inconsistent.is_empty() {
        return Ok(report);
    }
    Err(format!("the sources did not hold still: {:?} {:?}", report.unreadable, report.inconsistent))
}

fn options(site: &Site, view: &View, manner: &Manner) -> BackupOptions {
    let mut sources = Vec::new();
    if manner.tree {
        sources.push(SourceSpec::Path(view.tree()));
    }
    if manner.stream {
        let bytes = Cursor::new(site.version(manner.version).stream.clone());
        sources.push(SourceSpec::Stdin { name: STREAM.into(), reader: Mutex::new(Box::new(bytes)) });
    }
    sources.push(SourceSpec::Path(view.image()));
    BackupOptions {
        tags: vec![format!("v{}", manner.version)],
        checkpoint_every: if manner.checkpoints { Duration::ZERO } else { Duration::from_secs(3600) },
        packer: PackerOptions {
            pack_size: 64 << 10,
            level: 1,
            threads: manner.threads,
            packs_per_segment: manner.packs_per_segment,
        },
        ..BackupOptions::new(format!("host-{}", manner.host), sources)
    }
}

/// Notes what a user would read, and when.
struct Watcher {
    recording: Recording,
    counters: Counters,
    told: Mutex<Vec<(String, usize)>>,
}

impl Monitor for Watcher {
    fn counters(&self) -> &Counters {
        &self.counters
    }
    fn warning(&self, _: &str) {}
    fn detail(&self, message: &str) {
        let id = message.strip_prefix("checkpoint ").and_then(|rest| rest.strip_suffix(" sealed"));
        if let (Some(id), Ok(mut told)) = (id, self.told.lock()) {
            told.push((id.to_owned(), self.recording.calls()));
        }
    }
    fn interrupted(&self) -> bool {
        false
    }
}
