//! Signs what a replica holds whole.
//!
//! 1. List the replica; go through its snapshots, the newest first.
//! 2. Take the first that is whole, of which nothing is condemned, and which this machine did not write into this very folder: the
//!    other side has to know what came, not what went.
//! 3. Sign it under the next number. Where the same was said lately, nothing is written.

use std::time::Duration;

use fardel_format::ack::Ack;
use fardel_format::names::{FanOut, Name, Numbered, PackName, is_replica_name};
use fardel_format::signers::Role;
use fardel_format::{ObjectHash, SnapshotId, WriterId};
use jiff::Timestamp;

use super::heard::Acks;
use crate::catalog::{Catalog, key_of};
use crate::commit::signer;
use crate::repository::Repository;
use crate::snapshots::{Sealed, Snapshots};
use crate::status::Wholeness;
use crate::time::since;
use crate::tombs::Tombs;
use crate::{Error, Result};

/// So long an acknowledgement that says the same stands for a new one.
const STANDS: Duration = Duration::from_secs(24 * 3600);

/// What to acknowledge.
pub struct AckOptions<'a> {
    /// How the replica is called.
    pub replica: &'a str,
    /// The replica, and what was listed in it.
    pub copy: (&'a Repository, &'a Catalog),
    /// Where the acknowledgement goes when that is not the replica itself: the source, and what was listed in it.
    pub source: Option<(&'a Repository, &'a Catalog)>,
}

/// What was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// When it was made, RFC 3339.
    pub time: String,
    /// When this was signed, RFC 3339.
    pub created: String,
    /// Newer snapshots, of which not everything is there.
    pub newer: u64,
    /// Whether it was written now; else it was said before.
    pub new: bool,
}

/// Signs that the newest whole snapshot of a replica is there.
///
/// # Errors
/// When nothing is whole there, the key may not acknowledge, or a store fails.
pub fn acknowledge(options: &AckOptions<'_>) -> Result<Acknowledged> {
    let AckOptions { replica, copy: (copy, there), source } = *options;
    let (repo, catalog) = source.unwrap_or((copy, there));
    if !is_replica_name(replica) {
        return Err(Error::Invalid(format!(
            "`{replica}` cannot name a replica: 1 to 32 of a-z, 0-9 and -, and no device of Windows"
        )));
    }
    let key = &signer(repo)?.signing;
    let writer = key.public().writer();
    let snapshots = Snapshots::load_for_reading(copy, there)?;
    let known = match source {
        Some((repo, catalog)) => Snapshots::load_for_reading(repo, catalog)?,
        None => snapshots.clone(),
    };
    if !known.registry.may(&writer, Role::Acknowledge) {
        return Err(Error::Key(
            "this host may not acknowledge anything: it has not the role acknowledge (`fardel key list`)"
                .into(),
        ));
    }
    let own = if source.is_none() { Some(writer) } else { None };
    let (held, newer) = newest_held(copy, there, &snapshots, own)?;
    let (snapshot, time) = (held.sealed.id(), held.sealed.manifest.origin().created);
    let acks = Acks::load(repo, catalog, &known.registry, &known.tombs)?;
    let line = acks.lines.iter().find(|line| line.replica == replica && line.writer == writer);
    if let Some(last) = line.and_then(|line| line.acks.first())
        && last.ack.manifest == held.sealed.name.hash
        && last.ack.generations == held.generations
        && since(&last.ack.created, Timestamp::now()) < STANDS
    {
        let created = last.ack.created.clone();
        return Ok(Acknowledged { snapshot, time, created, newer, new: false });
    }
    let listed = catalog.acks.keys().filter(|(name, _)| name == replica).map(|(_, name)| name.seq);
    let ack = Ack {
        fardel: 1,
        repository: *repo.id(),
        replica: replica.to_owned(),
        writer: key.public().clone(),
        seq: repo.next_ack(replica, listed),
        created: crate::time::now(),
        snapshot,
        manifest: held.sealed.name.hash,
        generations: held.generations,
    };
    let bytes = ack.to_bytes(key).map_err(|e| Error::Key(e.to_string()))?;
    let name = Name::Ack(replica.to_owned(), Numbered { seq: ack.seq, hash: ObjectHash::of(&bytes) });
    repo.remember_ack(replica, ack.seq);
    repo.store().put_same(&key_of(&name, FanOut::FLAT), bytes)?;
    Ok(Acknowledged { snapshot, time, created: ack.created, newer, new: true })
}

/// A snapshot that is whole, and the packs of it that are there in another writing than the first.
struct Held<'a> {
    sealed: &'a Sealed,
    generations: Vec<PackName>,
}

/// The newest snapshot that can be acknowledged, and how many newer ones are not whole.
fn newest_held<'a>(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &'a Snapshots,
    own: Option<WriterId>,
) -> Result<(Held<'a>, u64)> {
    let mut wholeness = Wholeness::new(repo, catalog);
    let newest_first = snapshots.sealed.iter().rev().filter(|sealed| Some(sealed.writer) != own);
    for (newer, sealed) in newest_first.enumerate() {
        if wholeness.lacks(sealed)?.is_nothing()
            && let Some(generations) = generations(repo, catalog, &snapshots.tombs, sealed)?
        {
            return Ok((Held { sealed, generations }, newer as u64));
        }
    }
    let others = if own.is_some() { " that another machine wrote" } else { "" };
    Err(Error::NotFound(format!("no snapshot{others} is whole here: there is nothing to acknowledge yet")))
}

/// In which other writings than the first its packs are there; `None` when something of it is condemned.
fn generations(
    repo: &Repository,
    catalog: &Catalog,
    tombs: &Tombs,
    sealed: &Sealed,
) -> Result<Option<Vec<PackName>>> {
    let manifest = &sealed.manifest;
    let lists = manifest.lists.iter().map(|list| list.hash);
    let mut others = lists.chain([manifest.root.hash, sealed.name.hash]);
    if others.any(|hash| tombs.condemns_other(&hash)) {
        return Ok(None);
    }
    let mut generations = Vec::new();
    for pack in repo.closure(catalog, manifest)? {
        let copies = catalog.packs.get(&pack.hash).into_iter().flatten();
        let good = copies.filter(|copy| copy.stored.size == pack.size);
        let safe = good.map(|copy| copy.generation).filter(|which| !tombs.condemns(&pack.hash, *which)).min();
        match safe {
            None => return Ok(None),
            Some(None) => {}
            Some(generation) => generations.push(PackName { hash: pack.hash, generation }),
        }
    }
    Ok(Some(generations))
}
