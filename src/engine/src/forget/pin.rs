//! Pins: snapshots that nobody may forget, and that no collector takes away.

use fardel_format::SnapshotId;
use fardel_format::tomb::Takes;

use super::all_tombs_are_known;
use crate::catalog::Catalog;
use crate::commit::load_tombs;
use crate::entomb::{self, Rights};
use crate::repository::Repository;
use crate::snapshots::{Sealed, Snapshots};
use crate::{Error, Result};

/// Pins these snapshots: ids, beginnings of ids, or `latest`. Those that were not pinned before.
///
/// # Errors
/// When the key may not, a name fits no snapshot, somebody forgets it at this moment, or the store fails.
pub fn pin(repo: &Repository, catalog: &Catalog, names: &[String]) -> Result<Vec<SnapshotId>> {
    let (snapshots, rights) = open(repo, catalog)?;
    let found = find(&snapshots, rights, names)?;
    let new: Vec<_> = found.into_iter().filter(|sealed| !snapshots.tombs.pins(&sealed.manifest)).collect();
    let ids: Vec<_> = new.iter().map(|sealed| sealed.id()).collect();
    let pins = entomb::entomb(repo, catalog, Takes::Pin { snapshots: ids.clone() })?;
    // A collector may have seen the forget, and not this pin: only if nothing forgets it now, every collector that will see
    // a forget sees the pin, too.
    let tombs = load_tombs(repo)?;
    if let Some(lost) = new.iter().find(|sealed| tombs.forgetting(&sealed.manifest).next().is_some()) {
        entomb::entomb(repo, &Catalog::load_prefix(repo.store(), "tombs/")?, Takes::Unpin { pins })?;
        let short = lost.id().short();
        return Err(Error::NotFound(format!(
            "snapshot {short} was forgotten meanwhile: nothing was pinned; `fardel forget --undo {short}` brings it back"
        )));
    }
    Ok(ids)
}

/// Lets these snapshots be forgotten again. Those that were pinned before.
///
/// # Errors
/// When the key may not, a name fits no snapshot, or the store fails.
pub fn unpin(repo: &Repository, catalog: &Catalog, names: &[String]) -> Result<Vec<SnapshotId>> {
    let (snapshots, rights) = open(repo, catalog)?;
    let (mut pins, mut ids) = (Vec::new(), Vec::new());
    for sealed in find(&snapshots, rights, names)? {
        let before = pins.len();
        pins.extend(snapshots.tombs.pins_of(&sealed.manifest));
        if pins.len() > before {
            ids.push(sealed.id());
        }
    }
    pins.sort_unstable();
    pins.dedup();
    entomb::entomb(repo, catalog, Takes::Unpin { pins })?;
    let tombs = load_tombs(repo)?;
    let still = snapshots.sealed.iter().filter(|sealed| ids.contains(&sealed.id()));
    match still.into_iter().find(|sealed| tombs.pins(&sealed.manifest)) {
        None => Ok(ids),
        Some(sealed) => Err(Error::Key(format!(
            "snapshot {} is pinned by somebody else: lifting that needs the role maintain",
            sealed.id().short()
        ))),
    }
}

fn open(repo: &Repository, catalog: &Catalog) -> Result<(Snapshots, Rights)> {
    let (_, snapshots) = Snapshots::load_lasting(repo, catalog)?;
    let rights = entomb::may_forget(repo, &snapshots.registry)?;
    all_tombs_are_known(&snapshots.tombs)?;
    Ok((snapshots, rights))
}

fn find<'a>(snapshots: &'a Snapshots, rights: Rights, names: &[String]) -> Result<Vec<&'a Sealed>> {
    let mut found: Vec<&Sealed> = Vec::new();
    for name in names {
        let sealed = snapshots.find(name)?;
        if !rights.reach(&sealed.manifest) {
            return Err(Error::Key(format!(
                "snapshot {} is of another host: pinning it needs the role maintain",
                sealed.id().short()
            )));
        }
        if !found.iter().any(|other| other.id() == sealed.id()) {
            found.push(sealed);
        }
    }
    Ok(found)
}
