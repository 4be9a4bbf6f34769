use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fardel_engine::backup::{self, BackupOptions, SourceSpec};
use fardel_engine::catalog::Catalog;
use fardel_engine::check::{self, CheckOptions, Level};
use fardel_engine::forget::policy::Policy;
use fardel_engine::forget::{self, Selection, UndoOptions};
use fardel_engine::key::Admin;
use fardel_engine::keyring::Material;
use fardel_engine::monitor::Silent;
use fardel_engine::packs::PackerOptions;
use fardel_engine::prune::{self, PruneOptions};
use fardel_engine::replicate::{self, ReplicateOptions, Target, TargetReport};
use fardel_engine::snapshots::{Sealed, Snapshots};
use fardel_engine::{Error, OpenOptions, Repository, Result};
use fardel_format::SnapshotId;
use fardel_format::root::Root;
use fardel_format::signers::Role;
use fardel_store::{MemoryStore, Store, Throttle};
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::medium::Medium;
use fardel_tests::crash::program::{self, Keys, identities, open};
use fardel_tests::disk_tree::temporary_folder;
use jiff::Timestamp;

use crate::step::{Act, CONTENTS, HOSTS, SLOTS, STORES};

/// What a host has in its files, by number.
pub type Files = [u8; SLOTS];

/// Long enough that nothing is over.
const NEVER: Duration = Duration::from_secs(1000 * 86_400);

/// The machines: their keys, what they have on their disks, and the contents that files may have.
pub struct Place {
    folder: tempfile::TempDir,
    pub keys: Keys,
    contents: BTreeMap<Vec<u8>, u8>,
}

/// The stores, and the clock.
#[derive(Clone)]
pub struct Site {
    pub place: Arc<Place>,
    pub stores: [MemoryStore; STORES],
    /// When each day began. The clock of the machine stands still, so to speak: a day begins when the test says so, and what
    /// happened before counts as older by a day.
    days: Vec<Timestamp>,
}

/// What an act reported.
#[derive(Debug)]
pub enum Done {
    Nothing,
    Saved(SnapshotId, Files),
    Forgot { ids: Vec<SnapshotId>, everywhere: bool },
    Pinned(Vec<SnapshotId>),
    Unpinned(Vec<SnapshotId>),
    Undone { back: Vec<SnapshotId>, gone: Vec<SnapshotId> },
    Pruned { swept: u64, retold: u64 },
    Carried(Box<TargetReport>),
    Checked { wrong: Vec<String> },
}

/// How an act ended.
#[derive(Debug)]
pub struct Ended {
    pub done: Result<Done>,
    /// Snapshots that it may have changed, if it did not come to its end.
    pub touched: Vec<SnapshotId>,
    /// What it was about to save.
    pub saving: Option<Files>,
}

/// Packs so small that several files fill one.
pub fn packer() -> PackerOptions {
    PackerOptions { pack_size: 8 << 10, level: 1, threads: 1, ..PackerOptions::default() }
}

impl Site {
    /// A new repository with its hosts, nothing in it, and two empty replicas.
    pub fn new(seed: u64) -> Self {
        let folder = temporary_folder("many-hosts");
        let cache = folder.path().join("maker");
        let (medium, mut keys) = program::repository(1, &cache).expect("a repository");
        let Medium::Memory(primary) = medium else { unreachable!() };
        let recovery = || Material::Identities(identities(&keys.recovery));
        let mut hosts = keys.hosts.clone();
        for number in 1..HOSTS {
            let (repo, catalog) = open(Arc::new(primary.clone()), recovery(), &cache).expect("it opens");
            let admin = Admin::open(&repo, &catalog, &recovery()).expect("the recovery key administrates");
            let collects = [Role::Write, Role::ForgetOwn, Role::Maintain];
            let roles = if number < HOSTS - 1 { &collects[..] } else { &collects[..2] };
            hosts.push(admin.add_host(&format!("host-{number}"), roles, false).expect("a host"));
        }
        keys.hosts = hosts;
        let contents = (1..CONTENTS).map(|number| (content(seed, number), number)).collect();
        let place = Place { folder, keys, contents };
        for host in 0..HOSTS {
            std::fs::create_dir(place.source(host)).expect("a folder");
        }
        Self {
            place: Arc::new(place),
            stores: [primary, MemoryStore::new(), MemoryStore::new()],
            days: vec![Timestamp::now()],
        }
    }

    /// The same stores, on their own from now on.
    pub fn fork(&self) -> Self {
        let stores = [0, 1, 2].map(|number| self.stores[number].deep_clone());
        Self { place: self.place.clone(), stores, days: self.days.clone() }
    }

    /// Which day it is.
    pub fn today(&self) -> usize {
        self.days.len() - 1
    }

    /// Another day begins.
    pub fn tomorrow(&mut self) {
        self.days.push(Timestamp::now());
    }

    /// How old something has to be to be of a day that is so many days ago, or of one before it.
    fn age(&self, days: usize) -> Duration {
        match (days, (self.today() + 1).checked_sub(days)) {
            (0, _) => Duration::ZERO,
            (_, Some(day)) if day > 0 => {
                Duration::try_from(Timestamp::now().duration_since(self.days[day])).unwrap_or_default()
            }
            _ => NEVER,
        }
    }

    /// A store with the key of a host.
    pub fn open(&self, store: Arc<dyn Store>, host: usize) -> Result<(Repository, Catalog)> {
        let material = Material::Host(Box::new(self.place.keys.hosts[host].clone()));
        self.place.open(store, Some(material), &self.place.cache(host))
    }

    /// Does an act that needs a store: the one that it changes is given.
    pub fn act(&self, act: &Act, store: Arc<dyn Store>) -> Ended {
        let mut ended = Ended { done: Ok(Done::Nothing), touched: Vec::new(), saving: None };
        ended.done = match *act {
            Act::Backup { host } => {
                let files = self.place.files(host);
                ended.saving = Some(files);
                self.backup(host, store).map(|id| Done::Saved(id, files))
            }
            Act::Forget { host, keep, everywhere } => {
                self.forget(host, keep, everywhere, store, &mut ended.touched)
            }
            Act::Pin { host, which } => self.pin(host, which, true, store, &mut ended.touched),
            Act::Unpin { host, which } => self.pin(host, which, false, store, &mut ended.touched),
            Act::Undo { host, which } => self.undo(host, which, store, &mut ended.touched),
            Act::Prune { host, store: number, grace, unfinished, repack } => {
                let options = PruneOptions {
                    grace: self.age(grace),
                    unfinished: self.age(unfinished),
                    repack,
                    replica: number > 0,
                    packer: packer(),
                    ..PruneOptions::default()
                };
                self.prune(host, store, &options)
            }
            Act::Sync { .. } => self.sync(store),
            Act::Check { .. } => self.check(store),
            _ => unreachable!("{act:?} needs no store"),
        };
        ended
    }

    fn backup(&self, host: usize, store: Arc<dyn Store>) -> Result<SnapshotId> {
        let (repo, catalog) = self.open(store, host)?;
        let sources = vec![SourceSpec::Path(self.place.source(host))];
        let options =
            BackupOptions { packer: packer(), ..BackupOptions::new(format!("host-{host}"), sources) };
        let report = backup::backup(&repo, &catalog, &options, &Silent::default())?;
        assert!(report.unreadable.is_empty() && report.inconsistent.is_empty(), "{report:?}");
        Ok(report.snapshot.expect("it is no dry run"))
    }

    fn forget(
        &self,
        host: usize,
        keep: u32,
        everywhere: bool,
        store: Arc<dyn Store>,
        touched: &mut Vec<SnapshotId>,
    ) -> Result<Done> {
        let (repo, catalog) = self.open(store, host)?;
        let policy = Policy { last: keep, ..Policy::default() };
        let plan = forget::plan(&repo, &catalog, &Selection::Policy(&policy, &|_: &Root| true))?;
        let ids: Vec<_> = plan.forgotten().map(|choice| choice.sealed.id()).collect();
        touched.clone_from(&ids);
        plan.run(&repo, &catalog, everywhere)?;
        Ok(Done::Forgot { ids, everywhere })
    }

    fn pin(
        &self,
        host: usize,
        which: usize,
        pins: bool,
        store: Arc<dyn Store>,
        touched: &mut Vec<SnapshotId>,
    ) -> Result<Done> {
        let (repo, catalog) = self.open(store, host)?;
        let mut ids = ids(&Snapshots::load_lasting(&repo, &catalog)?.1.sealed, |sealed| {
            host < HOSTS - 1
                || sealed.manifest.origin().writer == self.place.keys.hosts[host].signing.public().writer()
        });
        if ids.is_empty() {
            return Ok(Done::Nothing);
        }
        let id = ids.remove(which % ids.len());
        touched.push(id);
        match pins {
            true => forget::pin(&repo, &catalog, &[id.to_string()]).map(|_| Done::Pinned(vec![id])),
            false => forget::unpin(&repo, &catalog, &[id.to_string()]).map(|_| Done::Unpinned(vec![id])),
        }
    }

    fn undo(
        &self,
        host: usize,
        which: usize,
        store: Arc<dyn Store>,
        touched: &mut Vec<SnapshotId>,
    ) -> Result<Done> {
        let (repo, catalog) = self.open(store, host)?;
        let (_, snapshots) = Snapshots::load_lasting(&repo, &catalog)?;
        let alive = ids(&snapshots.sealed, |_| true);
        let mut forgotten = ids(&snapshots.forgotten, |sealed| !alive.contains(&sealed.id()));
        if forgotten.is_empty() {
            return Ok(Done::Nothing);
        }
        let id = forgotten.remove(which % forgotten.len());
        touched.push(id);
        let options = UndoOptions { dry_run: false, memory: 64 << 20, packer: packer() };
        let report = forget::undo(&repo, &[id.to_string()], &options, &Silent::default())?;
        Ok(Done::Undone { back: report.back, gone: report.gone.into_iter().map(|(id, _)| id).collect() })
    }

    fn prune(&self, host: usize, store: Arc<dyn Store>, options: &PruneOptions) -> Result<Done> {
        let (repo, _) = match self.open(store, host) {
            Err(Error::NoRepository(_)) => return Ok(Done::Nothing),
            opened => opened?,
        };
        let report = prune::plan(&repo, options, &Silent::default())?.run(&Silent::default())?;
        assert!(report.unreadable.is_empty() && report.swept.denied.is_empty(), "{report:?}");
        Ok(Done::Pruned { swept: report.swept.packs.objects, retold: report.snapshots_retold })
    }

    fn sync(&self, store: Arc<dyn Store>) -> Result<Done> {
        let cache = self.place.folder.path().join("replicator");
        let (repo, catalog) = self.place.open(Arc::new(self.stores[0].clone()), None, &cache)?;
        let target = Target {
            name: "replica".into(),
            store,
            parallelism: Some(1),
            upload: Arc::default(),
            download: Arc::default(),
            monitor: Arc::new(Silent::default()),
        };
        let options = ReplicateOptions {
            dry_run: false,
            spool: cache.join("spool"),
            download: Throttle::default(),
            memory: 64 << 20,
        };
        let report = replicate::replicate(&repo, &catalog, &[target], &options)?.remove(0)?;
        Ok(Done::Carried(Box::new(report)))
    }

    /// As deep as it goes.
    fn check(&self, store: Arc<dyn Store>) -> Result<Done> {
        let (repo, catalog) = match self.open(store, 0) {
            Err(Error::NoRepository(_)) => return Ok(Done::Nothing),
            opened => opened?,
        };
        let options = CheckOptions { level: Level::Data, impact: false, ..CheckOptions::default() };
        let report = check::check(&repo, &catalog, &options, &Silent::default())?;
        let wrong = report.errors.iter().map(|found| format!("{}: {found:?}", found.object));
        Ok(Done::Checked { wrong: wrong.collect() })
    }
}

fn ids(sealed: &[Sealed], fits: impl Fn(&Sealed) -> bool) -> Vec<SnapshotId> {
    let mut ids: Vec<_> = sealed.iter().filter(|sealed| fits(sealed)).map(|sealed| sealed.id()).collect();
    ids.dedup();
    ids
}

/// Bytes that do not compress, a few thousand at most.
fn content(seed: u64, number: u8) -> Vec<u8> {
    let mut chance = Chance::of(seed, "content", number.into());
    let len = 500 + chance.below(2_500);
    chance.bytes(len as usize)
}

impl Place {
    /// The folder that a host saves.
    pub fn source(&self, host: usize) -> PathBuf {
        self.folder.path().join(format!("host-{host}"))
    }

    /// The cache of a host.
    pub fn cache(&self, host: usize) -> PathBuf {
        self.folder.path().join(format!("cache-{host}"))
    }

    /// A folder for whoever judges, which holds nothing at first.
    pub fn judge(&self) -> PathBuf {
        let folder = self.folder.path().join("judge");
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    pub fn open(
        &self,
        store: Arc<dyn Store>,
        material: Option<Material>,
        cache: &Path,
    ) -> Result<(Repository, Catalog)> {
        let options =
            OpenOptions { material, cache: cache.to_owned(), display: "memory".into(), pinned: None };
        Repository::open(store, options)
    }

    fn file(&self, host: usize, slot: usize) -> PathBuf {
        self.source(host).join(format!("f{slot}"))
    }

    /// The number of a content.
    pub fn number(&self, bytes: &[u8]) -> Option<u8> {
        self.contents.get(bytes).copied()
    }

    /// What is in the files of a host.
    pub fn files(&self, host: usize) -> Files {
        std::array::from_fn(|slot| match std::fs::read(self.file(host, slot)) {
            Ok(bytes) => self.number(&bytes).expect("what was written"),
            Err(_) => 0,
        })
    }

    /// Gives a file a content.
    pub fn change(&self, host: usize, slot: usize, content: u8) {
        let path = self.file(host, slot);
        match self.contents.iter().find(|(_, number)| **number == content) {
            Some((bytes, _)) => std::fs::write(path, bytes).expect("it can be written"),
            None => drop(std::fs::remove_file(path)),
        }
    }
}
