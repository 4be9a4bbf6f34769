//! Which earlier snapshots a backup takes unchanged files over from.

use std::collections::HashSet;
use std::path::PathBuf;

use fardel_format::ObjectHash;
use fardel_format::lines::Moment;
use fardel_format::pack_list::PackEntry;
use fardel_format::root::Root;
use fardel_format::tree::Node;

use super::BackupOptions;
use super::saver::path_of;
use crate::Result;
use crate::catalog::Catalog;
use crate::commit;
use crate::monitor::Monitor;
use crate::packs::{self, Remembered};
use crate::repository::Repository;
use crate::snapshots::{Sealed, Snapshots};

/// How many snapshots are looked through for parents.
const PARENTS_BACK: usize = 64;

/// Earlier snapshots that unchanged files are taken over from.
pub struct Parents {
    found: Vec<Parent>,
    remembered: Option<Remembered>,
}

struct Parent {
    sealed: Sealed,
    root: Root,
    packs: Vec<PackEntry>,
}

impl Parents {
    /// For each source the newest finished snapshot of this host that holds it, and a checkpoint that is newer.
    ///
    /// Only what this host signed itself: another signer could say of a file that did not change what it never held.
    pub fn find(
        repo: &Repository,
        catalog: &Catalog,
        snapshots: &Snapshots,
        options: &BackupOptions,
        bad: &HashSet<ObjectHash>,
    ) -> Result<Self> {
        let mut parents = Self { found: Vec::new(), remembered: None };
        if options.force {
            return Ok(parents);
        }
        let own = repo.keys().host.as_ref().map(|host| host.signing.public().writer());
        let own = snapshots.sealed.iter().rev().filter(|sealed| Some(sealed.writer) == own);
        if !repo.keys().can_read {
            let Some(remembered) = Remembered::open(&remembered_at(repo, options)) else {
                return Ok(parents);
            };
            let mut own = own;
            let sealed = own.find(|sealed| sealed.id() == remembered.snapshot);
            if let Some(sealed) = sealed.filter(|_| remembered.root.host == options.host) {
                let root = remembered.root.clone();
                parents.add(repo, catalog, snapshots, sealed, root, bad)?;
                parents.remembered = Some(remembered);
            }
            return Ok(parents);
        }
        let mut wanted: Vec<Vec<u8>> = options.sources.iter().map(path_of).collect();
        for sealed in own.take(PARENTS_BACK) {
            if wanted.is_empty() {
                break;
            }
            let root = match repo.root(catalog, sealed) {
                Ok(root) => root,
                // A damaged snapshot is no parent.
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error),
            };
            let holds =
                |path: &Vec<u8>| root.sources.iter().any(|s| s.path_bytes().is_ok_and(|p| *p == **path));
            if root.host != options.host || !wanted.iter().any(holds) {
                continue;
            }
            let held: Vec<_> = wanted.iter().filter(|path| holds(path)).cloned().collect();
            let partial = root.partial;
            if parents.add(repo, catalog, snapshots, sealed, root, bad)? && !partial {
                wanted.retain(|path| !held.contains(path));
            }
        }
        Ok(parents)
    }

    /// Takes a snapshot as a parent, if everything that it needs can be relied on.
    fn add(
        &mut self,
        repo: &Repository,
        catalog: &Catalog,
        snapshots: &Snapshots,
        sealed: &Sealed,
        root: Root,
        bad: &HashSet<ObjectHash>,
    ) -> Result<bool> {
        let packs = commit::usable_closure(repo, catalog, snapshots, sealed)?;
        let packs = packs.filter(|packs| !packs.iter().any(|pack| bad.contains(&pack.hash)));
        let usable = packs.map(|packs| self.found.push(Parent { sealed: sealed.clone(), root, packs }));
        Ok(usable.is_some())
    }

    /// What is remembered of the parent, on a host that may not read its own snapshots.
    pub fn remembered(&self) -> Option<&Remembered> {
        self.remembered.as_ref()
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn newest(&self) -> Option<&Sealed> {
        self.found.first().map(|parent| &parent.sealed)
    }

    pub fn closure(&self) -> impl Iterator<Item = PackEntry> + '_ {
        self.found.iter().flat_map(|parent| parent.packs.iter().copied())
    }

    /// The earlier states of a source, newest first, with the moment before which they can be trusted.
    pub fn of<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = (&'a Node, Moment)> + 'a {
        self.found.iter().flat_map(move |parent| {
            let sources =
                parent.root.sources.iter().filter(move |s| s.path_bytes().is_ok_and(|p| *p == *path));
            sources.map(|source| (&source.node, trusted_before(&parent.root)))
        })
    }

    /// Whether it is known how much there was to do last time. A checkpoint says only how far it came.
    pub fn know_totals(&self) -> bool {
        self.finished().is_some()
    }

    /// Expects as much to do as last time.
    pub fn announce(&self, monitor: &dyn Monitor) {
        if let Some(parent) = self.finished() {
            let totals = parent.root.totals;
            monitor.counters().set_total(totals.files + totals.others, totals.bytes);
        }
    }

    fn finished(&self) -> Option<&Parent> {
        self.found.iter().find(|parent| !parent.root.partial)
    }
}

/// Where a host that may not read its own snapshots remembers the last one of these sources.
pub fn remembered_at(repo: &Repository, options: &BackupOptions) -> PathBuf {
    let sources: Vec<_> = options.sources.iter().map(path_of).collect();
    packs::remembered_at(repo.cache(), &sources)
}

/// File systems stamp changes by a clock that ticks every few milliseconds: what changed in the tick in which the earlier
/// backup began may have been read before the change.
fn trusted_before(root: &Root) -> Moment {
    let began: jiff::Timestamp = root.time.parse().unwrap_or_default();
    let began = began.saturating_sub(jiff::SignedDuration::from_millis(20)).unwrap_or_default();
    let nanos = began.as_nanosecond();
    Moment { secs: nanos.div_euclid(1_000_000_000) as i64, nanos: nanos.rem_euclid(1_000_000_000) as u32 }
}
