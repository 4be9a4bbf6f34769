use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use fardel_engine::catalog::Catalog;
use fardel_engine::index::ChunkIndex;
use fardel_engine::keyring::Material;
use fardel_engine::monitor::Silent;
use fardel_engine::packs::PackReader;
use fardel_engine::prune::{self, PruneOptions};
use fardel_engine::snapshots::{Sealed, Snapshots};
use fardel_engine::{Error, Repository, status};
use fardel_format::{ObjectHash, SnapshotId};
use fardel_tests::crash::Result;
use fardel_tests::crash::model::Kind;
use fardel_tests::crash::snapshot::{Contents, Library};

use crate::model::{Exists, Model};
use crate::site::{Done, Files, Place, Site};
use crate::step::{Act, STORES};

/// Runs after which a collector has nothing left to do.
const PRUNES: usize = 5;

/// Compares stores with what must be in them.
#[derive(Default)]
pub struct Oracle {
    /// What was read before, by the hash of its manifest, which names everything else by hash.
    read: Mutex<HashSet<ObjectHash>>,
}

impl Oracle {
    /// That a store holds what it must; what was read before is read once more if that is asked for.
    ///
    /// # Errors
    /// When not: what is wrong.
    pub fn judge(&self, site: &Site, model: &Model, number: usize, again: bool) -> Result {
        self.store(site, model, number, again).map_err(|why| match number {
            0 => format!("the primary store: {why}"),
            _ => format!("replica {number}: {why}"),
        })
    }

    fn store(&self, site: &Site, model: &Model, number: usize, again: bool) -> Result {
        let words = |error: Error| error.to_string();
        let cache = site.place.judge();
        let host = Material::Host(Box::new(site.place.keys.hosts[0].clone()));
        let opened = site.place.open(Arc::new(site.stores[number].clone()), Some(host), &cache);
        let (repo, catalog) = match opened {
            // Nothing was carried there yet.
            Err(Error::NoRepository(_)) if number > 0 && model.carried[number].is_empty() => return Ok(()),
            opened => opened.map_err(words)?,
        };
        let snapshots = Snapshots::load(&repo, &catalog).map_err(words)?;
        if let Some(problem) = snapshots.problems.first() {
            return Err(format!("{} does not verify: {}", problem.object, problem.error));
        }
        let alive: BTreeSet<_> = snapshots.sealed.iter().map(Sealed::id).collect();
        match number {
            0 => primary(model, &alive)?,
            _ => replica(model, &alive, number)?,
        }
        self.contents(site, model, &repo, &catalog, &snapshots, again)?;
        match site.act(&Act::Check { store: number }, Arc::new(site.stores[number].clone())).done {
            Ok(Done::Checked { wrong }) => model.finds_nothing(number, &wrong),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Every snapshot that is there gives back what was saved.
    fn contents(
        &self,
        site: &Site,
        model: &Model,
        repo: &Repository,
        catalog: &Catalog,
        snapshots: &Snapshots,
        again: bool,
    ) -> Result {
        let words = |error: Error| error.to_string();
        let packs = PackReader::new(repo, catalog);
        let index = ChunkIndex::for_reading(repo, catalog, &packs).map_err(words)?;
        let library = Library::new(repo, catalog, &packs, &index);
        let mut read = self.read.lock().expect("nobody panics while it is held");
        for sealed in &snapshots.sealed {
            if read.contains(&sealed.name.hash) && !again {
                continue;
            }
            let id = sealed.id();
            let contents = library.read(sealed).map_err(|why| format!("snapshot {}: {why}", id.short()))?;
            let found = files_of(&site.place, &contents)?;
            let right = match model.known.get(&id) {
                Some(known) => known.files == found,
                None => model.untold.contains(&found),
            };
            if !right {
                return Err(format!("snapshot {} holds {found:?}, which is not what was saved", id.short()));
            }
            read.insert(sealed.name.hash);
        }
        Ok(())
    }

    /// That whatever was interrupted ends when it is done again: replicas hold everything, and a collector has nothing to do.
    ///
    /// # Errors
    /// When it does not.
    pub fn converges(&self, site: &Site, model: &Model) -> Result {
        let words = |error: Error| error.to_string();
        for replica in 1..STORES {
            let act = Act::Sync { replica };
            match site.act(&act, Arc::new(site.stores[replica].clone())).done.map_err(words)? {
                Done::Carried(report) if report.behind == 0 && report.problems.is_empty() => {}
                done => return Err(format!("in the end: {act:?}: {done:?}")),
            }
        }
        let prune = Act::Prune { host: 0, store: 0, grace: 0, unfinished: 0, repack: true };
        for _ in 0..PRUNES {
            site.act(&prune, Arc::new(site.stores[0].clone())).done.map_err(words)?;
        }
        let (repo, catalog) = site.open(Arc::new(site.stores[0].clone()), 0).map_err(words)?;
        let at_once = PruneOptions {
            grace: std::time::Duration::ZERO,
            unfinished: std::time::Duration::ZERO,
            packer: crate::site::packer(),
            ..PruneOptions::default()
        };
        let planned = prune::plan(&repo, &at_once, &Silent::default()).map(|plan| plan.planned.clone());
        let planned = planned.map_err(words)?;
        let left = (planned.sweep.objects, planned.condemn.objects, planned.repack.objects);
        let status = status::status(&repo, &catalog).map_err(words)?;
        if left != (0, 0, 0) || status.unexplained.objects > 0 || status.unsealed > 0 {
            return Err(format!("in the end there is something to collect: {planned:?}, {status:?}"));
        }
        (0..STORES).try_for_each(|store| {
            self.judge(site, model, store, true).map_err(|why| format!("in the end: {why}"))
        })
    }
}

fn primary(model: &Model, alive: &BTreeSet<SnapshotId>) -> Result {
    for (id, known) in &model.known {
        match (known.exists, alive.contains(id)) {
            (Exists::Yes, false) => return Err(format!("snapshot {} was reported and is gone", id.short())),
            (Exists::No, true) => return Err(format!("snapshot {} was forgotten and is there", id.short())),
            _ => {}
        }
    }
    let untold = alive.iter().filter(|id| !model.known.contains_key(id)).count();
    match untold > model.untold.len() {
        true => Err(format!("there are {untold} snapshots that nobody told of")),
        false => Ok(()),
    }
}

/// What was carried there stays, unless it was forgotten in every copy.
fn replica(model: &Model, alive: &BTreeSet<SnapshotId>, number: usize) -> Result {
    let stays = |id: &&SnapshotId| model.known.get(id).is_some_and(|known| !known.everywhere);
    match model.carried[number].iter().filter(stays).find(|id| !alive.contains(id)) {
        Some(lost) => Err(format!("snapshot {} was carried there and is gone", lost.short())),
        None => Ok(()),
    }
}

fn files_of(place: &Place, contents: &Contents) -> Result<Files> {
    let mut files = Files::default();
    for (path, item) in contents.model.0.iter().filter(|(_, item)| item.kind == Kind::File) {
        let slot = path.last().map(|digit| usize::from(digit - b'0')).filter(|slot| *slot < files.len());
        let (Some(slot), Some(number)) = (slot, place.number(&item.content)) else {
            return Err(format!("{} is no file that was saved", path.escape_ascii()));
        };
        files[slot] = number;
    }
    Ok(files)
}
