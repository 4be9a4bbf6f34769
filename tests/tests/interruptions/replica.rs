use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fardel_engine::check::{self, CheckOptions, Level};
use fardel_engine::monitor::{Monitor, Silent};
use fardel_engine::replicate::{ReplicateOptions, Target, TargetReport, replicate};
use fardel_engine::status::status;
use fardel_engine::{Error, bridge};
use fardel_format::names::Name;
use fardel_store::{ByteRange, Key, Store, Throttle};
use fardel_tests::crash::Result;
use futures::{StreamExt, TryStreamExt};

use crate::server::{Server, Via, Width};
use crate::site::Site;

/// For what goes over no line: longer than a busy machine is ever silent.
pub const PATIENT: Duration = Duration::from_secs(60);

/// How a sync ended.
pub type Carried = std::result::Result<TargetReport, Error>;

/// One copy of the site's repository at a server, from its first byte on.
pub struct Replica<'a> {
    site: &'a Site,
    pub name: String,
    width: Width,
    journal: PathBuf,
    /// The way to it over no line.
    directly: OnceLock<Arc<dyn Store>>,
    /// Objects that were compared, and did not change since: their names are never used again.
    seen: Mutex<HashSet<String>>,
    /// The best that was found complete.
    rank: Mutex<usize>,
}

impl<'a> Replica<'a> {
    pub fn new(site: &'a Site, name: String, width: Width) -> Self {
        let journal = site.path("uploads").join(&name);
        Self {
            site,
            name,
            width,
            journal,
            directly: OnceLock::new(),
            seen: Mutex::default(),
            rank: Mutex::default(),
        }
    }

    /// The way to it over the line; given up when nothing moves for `stall`.
    pub fn over_the_line(&self, server: &Server, stall: Duration) -> Arc<dyn Store> {
        server.store(Via::Line, &self.name, self.width, stall, &self.journal)
    }

    /// Carries what is lacking, as the command does.
    pub fn sync(&self, store: Arc<dyn Store>) -> Result<Carried> {
        let (repo, catalog) = self.site.open()?;
        let target = Target {
            name: self.name.clone(),
            store,
            parallelism: self.width.parallelism(),
            upload: Arc::default(),
            download: Arc::default(),
            monitor: Arc::new(Silent::default()) as Arc<dyn Monitor>,
        };
        let options = ReplicateOptions {
            dry_run: false,
            spool: self.site.path("spool"),
            download: Throttle::default(),
            memory: 256 << 20,
        };
        let reports = replicate(&repo, &catalog, &[target], &options).map_err(|e| e.to_string())?;
        reports.into_iter().next().ok_or_else(|| "no report".to_owned())
    }

    /// The replica, reached by no line.
    fn directly(&self, server: &Server) -> Arc<dyn Store> {
        let open = || server.store(Via::Directly, &self.name, Width::Usual, PATIENT, &self.journal);
        self.directly.get_or_init(open).clone()
    }

    /// Proves that all that is shown is right, that all that is sealed is whole, and that nothing complete was lost; returns
    /// how many snapshots there are up to the newest complete one.
    pub fn look(&self, server: &Server) -> Result<usize> {
        let store = self.directly(server);
        let names = bridge::block_on(store.list("").map_ok(|l| l.name).try_collect::<Vec<_>>());
        let names = names.map_err(|e| format!("listing: {e}"))?;
        self.compare(&*store, &names)?;
        if !names.iter().any(|name| name == "fardel.json") {
            return if *self.rank.lock().unwrap() == 0 { Ok(0) } else { Err("the card is gone".into()) };
        }
        let (repo, catalog) = self.site.open_in(store)?;
        let found = status(&repo, &catalog).map_err(|e| e.to_string())?;
        if found.snapshots == 0 {
            // Then not even the keys have to be there.
            return if *self.rank.lock().unwrap() == 0 {
                Ok(0)
            } else {
                Err("all snapshots are gone".into())
            };
        }
        let options =
            CheckOptions { level: Level::Hashes, memory: 64 << 20, impact: false, ..CheckOptions::default() };
        let report =
            check::check(&repo, &catalog, &options, &Silent::default()).map_err(|e| e.to_string())?;
        if let Some(found) = report.errors.first() {
            return Err(format!("check finds {} things, one of them {found:?}", report.errors.len()));
        }
        if found.newest != found.complete || found.behind > 0 {
            return Err(format!("{:?} is sealed and not whole: {found:?}", found.newest));
        }
        let rank = self.site.rank(found.complete.map(|known| known.id.to_string()).as_deref())?;
        let mut best = self.rank.lock().unwrap();
        if rank < *best {
            return Err(format!("snapshot {} was complete, now it is {rank}", *best));
        }
        *best = rank;
        Ok(rank)
    }

    /// Whether every object that is shown holds the bytes of the source's.
    fn compare(&self, store: &dyn Store, names: &[String]) -> Result {
        let mut seen = self.seen.lock().unwrap();
        let mut new = Vec::new();
        for name in names.iter().filter(|name| !seen.contains(*name)) {
            let original = match Name::parse(name) {
                // The replicator's own.
                Some(Name::Intent(_)) => continue,
                Some(Name::Pack(hash, _)) => {
                    self.site.objects.iter().find(|(name, _)| name.contains(&hash.to_string())).map(|o| o.1)
                }
                _ => self.site.objects.get(name),
            };
            new.push((name, original.ok_or_else(|| format!("{name} is shown, and is none of ours"))?));
        }
        let compared = new.into_iter().map(|(name, original)| compared(store, name, original));
        let compared = futures::stream::iter(compared).buffer_unordered(8).try_collect::<Vec<_>>();
        seen.extend(bridge::block_on(compared)?);
        Ok(())
    }

    /// Proves that it is a whole copy: every object is there.
    pub fn is_whole(&self, server: &Server) -> Result {
        let rank = self.look(server)?;
        if rank != self.site.snapshots() {
            return Err(format!("it ended at snapshot {rank} of {}", self.site.snapshots()));
        }
        let store = self.directly(server);
        let names = bridge::block_on(store.list("").map_ok(|l| l.name).try_collect::<HashSet<_>>());
        let names = names.map_err(|e| format!("listing: {e}"))?;
        match self.site.objects.keys().find(|name| !names.contains(*name)) {
            Some(name) => Err(format!("{name} is not there")),
            None => Ok(()),
        }
    }

    /// Removes all of it, so that a long campaign needs no more room than a short one.
    pub fn remove(self, server: &Server) -> Result {
        let store = self.directly(server);
        bridge::block_on(async {
            let names: Vec<_> = store.list("").map_ok(|l| l.name).try_collect().await?;
            let deletions = names.iter().map(|name| {
                let store = store.clone();
                async move { store.delete(&Key::new(name)?).await }
            });
            futures::stream::iter(deletions).buffer_unordered(8).try_collect::<()>().await
        })
        .map_err(|e| format!("removing: {e}"))
    }
}

/// The name of an object that holds these bytes.
async fn compared(store: &dyn Store, name: &str, original: &[u8]) -> Result<String> {
    let key = Key::new(name).map_err(|e| e.to_string())?;
    let bytes = store.get_range(&key, ByteRange::All).await.map_err(|e| format!("{name}: {e}"))?;
    if bytes == *original {
        Ok(name.to_owned())
    } else {
        Err(format!("{name} has {} bytes that are not its own", bytes.len()))
    }
}
