//! Replicas that acknowledged something, and what.

use fardel_format::SnapshotId;

use super::heard::Acks;
use crate::Result;
use crate::catalog::Catalog;
use crate::repository::Repository;
use crate::snapshots::{Sealed, Snapshots};

/// A replica, as its acknowledgements tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// How it is called.
    pub name: String,
    /// The snapshot that it acknowledged last.
    pub snapshot: Option<SnapshotId>,
    /// When that was made, RFC 3339, if it is known here.
    pub time: Option<String>,
    /// When it was acknowledged, RFC 3339, by the clock of the machine there.
    pub acknowledged: Option<String>,
    /// Whether everything that it acknowledged was struck off.
    pub struck: bool,
}

/// Every replica of which acknowledgements lie in a store, sorted by name. Needs no key.
///
/// # Errors
/// When the store fails.
pub fn known(repo: &Repository, catalog: &Catalog, snapshots: &Snapshots) -> Result<Vec<Known>> {
    let acks = Acks::load(repo, catalog, &snapshots.registry, &snapshots.tombs)?;
    let Snapshots { sealed, forgotten, superseded, .. } = snapshots;
    let made = |id: &SnapshotId| {
        let mut all = sealed.iter().chain(forgotten).chain(superseded);
        all.find(|sealed| sealed.id() == *id).map(|sealed: &Sealed| sealed.manifest.origin().created)
    };
    let mut names: Vec<_> = catalog.acks.keys().map(|(name, _)| name).collect();
    names.dedup();
    let known = names.into_iter().map(|name| {
        let lines = acks.lines.iter().filter(|line| line.replica == *name);
        let newest = lines.filter_map(|line| line.acks.first()).max_by_key(|heard| &heard.ack.created);
        Known {
            name: name.clone(),
            snapshot: newest.map(|heard| heard.ack.snapshot),
            time: newest.and_then(|heard| made(&heard.ack.snapshot)),
            acknowledged: newest.map(|heard| heard.ack.created.clone()),
            struck: acks.struck.contains(name),
        }
    });
    Ok(known.collect())
}
