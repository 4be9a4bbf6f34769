//! Merges tombs that forget what is gone, so that few remain however often something is forgotten.
//!
//! 1. `list_forgets`, *then* `list_manifests`: a tomb is merged when no manifest of what it forgets is left. The newest tomb of each
//!    writer stays: its number tells which comes next, and how far a signer counts that is removed.
//! 2. `put_merged_forget`: each forget keeps the name and the signer that it had, and holds as before.
//! 3. Only then `list_pins`, and `delete_merged_forgets` of which no pin names a snapshot; of each the signature first: what has
//!    none counts for nothing.
//!
//! A listing by pages that is made meanwhile may miss a tomb and the one that it was merged into. Nobody sees a snapshot for that, since it
//! is gone; and whoever pins it finds one of the two. Condemnations and revocations are never merged: a writer's last look is
//! at tombs alone, and announces nothing before.

use std::collections::{HashMap, HashSet};

use fardel_format::manifest::Manifest;
use fardel_format::names::Numbered;
use fardel_format::signers::{Role, Signer};
use fardel_format::tomb::{MergedForget, Takes, Tomb};
use fardel_format::{SnapshotId, WriterId};
use fardel_store::ErrorKind;

use super::survey::Found;
use crate::Result;
use crate::catalog::Catalog;
use crate::commit::load_tombs;
use crate::entomb::{self, ENTRIES, weight};
use crate::repository::Repository;
use crate::tombs;

/// As long as there are no more, nothing is done.
const MANY: usize = 16;

/// A tomb that forgets.
struct Forgetting {
    id: (WriterId, Numbered),
    everywhere: bool,
    /// What it says, as a merged one would.
    forgets: Vec<MergedForget>,
    is_merged: bool,
    /// Whether it may go once another one says the same.
    may_go: bool,
}

/// Merges the tombs that are here and `old` enough, if they are many; how many were deleted. `known` tells what manifests say.
///
/// # Errors
/// When the store fails. Then no forget is lost: some may be here twice.
pub fn merge_all(repo: &Repository, known: &[Found], is_old: impl Fn(&str) -> bool) -> Result<u64> {
    let mut catalog = Catalog::load_prefix(repo.store(), "signers/")?;
    catalog.list(repo.store(), "tombs/")?;
    if catalog.tombs.len() <= MANY {
        return Ok(0);
    }
    catalog.list(repo.store(), "manifests/")?;
    let Some(left) = left(repo, &catalog, known)? else { return Ok(0) };
    let tombs = forgetting(repo, &catalog, &left, is_old)?;
    // What an earlier run did not come to. Where nothing can be deleted, nothing is merged either.
    let (told, mut tombs): (Vec<_>, Vec<_>) = tombs
        .iter()
        .filter(|tomb| tomb.may_go)
        .partition(|tomb| tombs.iter().any(|all| tomb.is_told_by(all)));
    let (mut deleted, all) = delete_all(repo, &catalog, &told)?;
    if !all {
        return Ok(deleted);
    }
    for everywhere in [true, false] {
        let (group, others): (Vec<_>, Vec<_>) = tombs.into_iter().partition(|t| t.everywhere == everywhere);
        tombs = others;
        let small = |tomb: &&Forgetting| tomb.forgets.iter().map(weight).sum::<usize>() <= ENTRIES / 2;
        let group: Vec<_> = group.into_iter().filter(small).collect();
        if group.len() <= MANY {
            continue;
        }
        let mut forgets: Vec<_> = group.iter().flat_map(|tomb| tomb.forgets.iter().cloned()).collect();
        forgets.sort_unstable_by_key(|forget| (forget.writer, forget.seq, forget.tomb));
        forgets.dedup();
        entomb::entomb(repo, &catalog, Takes::MergedForgets { everywhere, forgets })?;
        deleted += delete_all(repo, &catalog, &group)?.0;
    }
    Ok(deleted)
}

/// Deletes tombs of which all is in others that are here by now: how many, and whether nothing was refused.
fn delete_all(repo: &Repository, catalog: &Catalog, tombs: &[&Forgetting]) -> Result<(u64, bool)> {
    if tombs.is_empty() {
        return Ok((0, true));
    }
    // Whoever misses both tombs has begun to look before the merged one was here, and after his pin was.
    let pins = load_tombs(repo)?;
    let mut deleted = 0;
    for tomb in tombs {
        if tomb.forgets.iter().flat_map(|forget| &forget.snapshots).any(|id| pins.names_pinned(id)) {
            continue;
        }
        if !delete(repo, catalog, &tomb.id)? {
            return Ok((deleted, false));
        }
        deleted += 1;
    }
    Ok((deleted, true))
}

impl Forgetting {
    /// Whether all that it says is in that merged tomb, too; of two that say the same the later one stays.
    fn is_told_by(&self, other: &Self) -> bool {
        let says_all = |this: &Self, that: &Self| this.forgets.iter().all(|one| that.forgets.contains(one));
        other.is_merged
            && other.id != self.id
            && other.everywhere == self.everywhere
            && says_all(self, other)
            && (other.id > self.id || !(self.is_merged && says_all(other, self)))
    }
}

/// Snapshots of which a manifest is here; none when one cannot be read.
fn left(repo: &Repository, catalog: &Catalog, known: &[Found]) -> Result<Option<HashSet<SnapshotId>>> {
    let known: HashMap<_, _> =
        known.iter().map(|found| ((found.writer, found.name), found.manifest.snapshot)).collect();
    let mut left = HashSet::new();
    for ((writer, name), stored) in &catalog.manifests {
        if let Some(snapshot) = known.get(&(*writer, *name)) {
            left.insert(*snapshot);
            continue;
        }
        match repo.small(stored).map(|bytes| Manifest::from_bytes(&bytes, repo.id(), writer, name)) {
            Ok(Ok(manifest)) => drop(left.insert(manifest.snapshot)),
            Ok(Err(_)) => return Ok(None),
            Err(error) if error.is_damage() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(left))
}

/// Every tomb that forgets and counts.
fn forgetting(
    repo: &Repository,
    catalog: &Catalog,
    left: &HashSet<SnapshotId>,
    is_old: impl Fn(&str) -> bool,
) -> Result<Vec<Forgetting>> {
    let (registry, _) = repo.registry(catalog)?;
    // In the order of numbers, so that the last of a writer is its newest.
    let newest: HashMap<_, _> = catalog.tombs.keys().copied().collect();
    let mut found = Vec::new();
    tombs::open_all(repo, catalog, &registry, |id, signer, tomb| {
        let tomb = match tomb {
            Ok(Ok(tomb)) => tomb,
            // What does not verify stays, and is told by others.
            Ok(Err(_)) => return Ok(()),
            // Another run merged it after it was listed.
            Err(error) if error.is_gone() => return Ok(()),
            Err(error) => return Err(error),
        };
        let may_go = newest[&id.0] != id.1 && is_old(&tomb.created);
        let is_merged = matches!(tomb.takes, Takes::MergedForgets { .. });
        let Some((everywhere, forgets)) = forgets_of(id, signer, tomb) else { return Ok(()) };
        let is_gone = forgets.iter().flat_map(|forget| &forget.snapshots).all(|id| !left.contains(id));
        found.push(Forgetting { id, everywhere, forgets, is_merged, may_go: may_go && is_gone });
        Ok(())
    })?;
    Ok(found)
}

/// What a tomb forgets, as others tell it, and whether that holds everywhere.
fn forgets_of(
    (writer, name): (WriterId, Numbered),
    signer: &Signer,
    tomb: Tomb,
) -> Option<(bool, Vec<MergedForget>)> {
    match tomb.takes {
        Takes::Forget { snapshots, everywhere } => {
            let (seq, tomb, created) = (name.seq, name.hash, tomb.created);
            Some((everywhere, vec![MergedForget { writer, seq, tomb, created, snapshots }]))
        }
        Takes::MergedForgets { everywhere, mut forgets } => {
            // Only what counts: the new one is signed by somebody who may more.
            forgets.retain(|forget| signer.roles.contains(&Role::Maintain) || forget.writer == writer);
            Some((everywhere, forgets))
        }
        _ => None,
    }
}

/// Whether it is gone.
fn delete(repo: &Repository, catalog: &Catalog, id: &(WriterId, Numbered)) -> Result<bool> {
    for stored in catalog.tomb_sigs.get(id).into_iter().chain(catalog.tombs.get(id)) {
        match repo.store().delete(&stored.key) {
            Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Locked) => return Ok(false),
            other => other?,
        }
    }
    Ok(true)
}
