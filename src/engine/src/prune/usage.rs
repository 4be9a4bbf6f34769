//! Which chunks snapshots want, and how much of each pack that is.

use std::collections::{HashMap, HashSet};

use fardel_format::pack::PackKind;
use fardel_format::{ChunkId, ObjectHash};

use super::survey::{Found, Standing, Survey};
use crate::Result;
use crate::check::frames::{id_of, split_kind, word};
use crate::check::look::{UNREADABLE, WANT};
use crate::check::sorter::{Scratch, Sorted};
use crate::check::structure::Walker;
use crate::index::{ChunkIndex, InOrder};
use crate::monitor::Monitor;
use crate::packs::{ChunkReader, PackReader};
use crate::repository::Repository;
use crate::snapshots::Sealed;

/// Bytes of a block of tar.
const BLOCK: u64 = 512;

/// Chunks that some snapshots want, sorted.
pub struct Wants(Sorted<WANT>);

impl Wants {
    /// Walks these snapshots; `Err` inside says which of them cannot be read whole.
    ///
    /// # Errors
    /// When the store or a temporary file fails, or the user stops it.
    pub fn of<'s>(
        repo: &Repository,
        survey: &Survey,
        snapshots: impl IntoIterator<Item = &'s Sealed>,
        (reader, index): (&PackReader, &ChunkIndex),
        memory: u64,
        monitor: &dyn Monitor,
    ) -> Result<Result<Self, String>> {
        let chunks = ChunkReader::new(repo, reader, index)?;
        let walker = Walker::new(&chunks, monitor, &Scratch::new(repo.cache()), memory);
        let mut walker = walker.in_any_order();
        for sealed in snapshots {
            let why = |why: String| Ok(Err(format!("snapshot {}: {why}", sealed.id().short())));
            let root = match repo.root(&survey.catalog, sealed) {
                Ok(root) => root,
                Err(error) if error.is_damage() => return why(error.to_string()),
                Err(error) => return Err(error),
            };
            walker.walk(0, root.sources.iter().map(|source| &source.node))?;
            if let Some(nonsense) = walker.nonsense.first() {
                return why(nonsense.why.clone());
            }
        }
        let wants = walker.finish().0.finish()?;
        for want in wants.iter() {
            let want = want?;
            if split_kind(word(&want, 0)).1 == UNREADABLE {
                return Ok(Err(format!(
                    "chunk {}, which snapshots need, cannot be read",
                    id_of(&want).short()
                )));
            }
        }
        Ok(Ok(Self(wants)))
    }

    /// Whether any of the snapshots wants this chunk.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn want(&self, id: &ChunkId, kind: PackKind) -> Result<bool> {
        Ok(self.0.find(&id.0)?.iter().any(|want| split_kind(word(want, 0)).0 == kind))
    }

    /// Every chunk once, in the order of their ids.
    fn each(&self, mut each: impl FnMut(ChunkId, PackKind)) -> Result<()> {
        let mut last = None;
        for want in self.0.iter() {
            let want = want?;
            let wanted = (id_of(&want), split_kind(word(&want, 0)).0);
            if last.replace(wanted) != Some(wanted) {
                each(wanted.0, wanted.1);
            }
        }
        Ok(())
    }
}

/// A pack that roots need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Which.
    pub hash: ObjectHash,
    /// What it holds.
    pub kind: PackKind,
    /// Its stored bytes.
    pub size: u64,
    /// How many of them are for chunks that snapshots want, about.
    pub live: u64,
    /// Whether no new snapshot may rest on it.
    pub condemned: bool,
    /// Whether it is younger than the store's minimum age.
    pub young: bool,
}

/// Tells how much of each pack is wanted. A chunk that lies in several packs counts in one of them.
///
/// # Errors
/// When a temporary file or the index fails.
pub fn of_packs(
    survey: &Survey,
    wants: &Wants,
    index: &ChunkIndex,
    young: impl Fn(&ObjectHash) -> bool,
) -> Result<Vec<Used>> {
    let mut live: HashMap<ObjectHash, u64> = HashMap::new();
    let mut in_order = InOrder::new(index)?;
    wants.each(|id, kind| {
        let places = in_order.locate_signed(&id, kind);
        let places = places.filter(|(_, place)| survey.live.packs.contains_key(&place.pack.hash));
        // Where a packer would find it, so that what it would not write again is what counts.
        if let Some((_, place)) = places.min_by_key(|(own, place)| (!own, place.pack.hash)) {
            // A member of an archive has a header, and is filled up to whole blocks.
            let member = BLOCK + u64::from(place.len).next_multiple_of(BLOCK);
            let share = member * u64::from(place.frame.stored) / u64::from(place.frame.plain.max(1));
            *live.entry(place.pack.hash).or_default() += share.max(1);
        }
    })?;
    let told = index.packs()?;
    let used = survey.live.packs.iter().filter_map(|(hash, size)| {
        let (kind, frames) = *told.get(hash)?;
        let live = live.get(hash).copied().unwrap_or(0);
        // Beside its chunks a pack has headers, padding and a table: they are used as much as the chunks are.
        let live = (u128::from(live) * u128::from(*size) / u128::from(frames.max(1))) as u64;
        let copies = survey.catalog.packs.get(hash)?;
        let condemned = copies.iter().all(|copy| survey.snapshots.tombs.condemns(hash, copy.generation));
        Some(Used { hash: *hash, kind, size: *size, live: live.min(*size), condemned, young: young(hash) })
    });
    let mut used: Vec<_> = used.collect();
    used.sort_by_key(|used| used.hash);
    Ok(used)
}

/// What a new manifest may replace: every root that is sealed. One that was replaced by a manifest which a collector gave up is a
/// root as well: the other may be void.
pub fn movable(survey: &Survey) -> Vec<&Sealed> {
    let standing: HashSet<_> = survey
        .manifests
        .iter()
        .filter(|found| found.standing == Standing::Sealed)
        .map(|found| (found.writer, found.name))
        .collect();
    let sealed = survey.snapshots.sealed.iter().chain(&survey.snapshots.superseded);
    sealed.filter(|sealed| standing.contains(&(sealed.writer, sealed.name))).collect()
}

/// Packs that stay whatever is written anew: of roots that nobody can tell of anew, of intents, and of what replicas need and
/// no new manifest can tell of: those that are told of anew are let go once a replica acknowledges that.
///
/// # Errors
/// When the store fails.
pub fn held(repo: &Repository, survey: &Survey) -> Result<HashSet<ObjectHash>> {
    let mut held: HashSet<_> = survey.live.copies.iter().map(|(hash, _)| *hash).collect();
    let fixed = |found: &&Found| match found.standing {
        Standing::Unsealed | Standing::Foreign => true,
        Standing::Forgotten | Standing::Superseded => survey.heed.manifests.contains(&found.name.hash),
        Standing::Sealed | Standing::Revoked => false,
    };
    for found in survey.manifests.iter().filter(fixed) {
        match repo.closure(&survey.catalog, &found.manifest) {
            Ok(closure) => held.extend(closure.iter().map(|pack| pack.hash)),
            // The sweep is blocked then.
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}
