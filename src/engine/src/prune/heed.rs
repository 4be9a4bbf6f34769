//! What replicas still need that other tools make of this store.
//!
//! Nobody knows how far such a tool has come: it may delete first, go in any order, and be behind by weeks. What is deleted here is
//! deleted there. So of each replica one snapshot stays here whole that it once held whole.
//!
//! - An acknowledgement **counts** when everything of its snapshot is here, its manifest is neither revoked nor condemned, and none of
//!   the packs that the replica relies on is: else a collector may be about to delete some of it.
//! - Of each line of acknowledgements the newest that counts **keeps** its snapshot, and so do all newer ones; when none counts, all do. So
//!   two collectors at once cannot let go of different ones: what one of them counts on, the other keeps.
//! - A forgotten snapshot's manifest is condemned before it is swept, as packs are: without that an acknowledgement could count
//!   while somebody deletes what no tomb announced.
//! - Acknowledgements are listed *before* manifests and tombs: whoever deletes condemned before, and listed them after that.
//! - Without one that counts, of some replica or at all, only time is left: a copier is trusted to be at most [`PATIENCE`] behind. What is
//!   condemned waits as long. Of all snapshots, the newest that could be counted on and is older than that stays, for every replica
//!   has got it, and so do all newer ones; when there is none, all do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use fardel_format::ack::Ack;
use fardel_format::ids::Generation;
use fardel_format::pack_list::PackEntry;
use fardel_format::{ObjectHash, SnapshotId};
use jiff::Timestamp;

use super::options::PruneOptions;
use super::survey::{Found, Standing, Survey};
use crate::Result;
use crate::catalog::{Catalog, Stored};
use crate::replicas::Acks;
use crate::repository::Repository;
use crate::status::Amount;
use crate::time::since;
use crate::tombs::{PackCopyId, Tombs};

/// So long another tool may be behind when nobody acknowledges what it brought.
pub const PATIENCE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What stays for replicas that other tools make.
#[derive(Debug, Default)]
pub struct Heed {
    /// Whether another tool copies this store.
    pub copied: bool,
    /// Manifests that stay, with all that they name.
    pub manifests: HashSet<ObjectHash>,
    /// Packs that they rest on.
    pub copies: HashSet<PackCopyId>,
    /// For whom.
    pub keeps: Vec<Keep>,
    /// Acknowledgements that a newer one replaces.
    pub spent: Vec<Stored>,
    /// Replicas that lie here with nothing that counts.
    pub silent: BTreeSet<String>,
    /// Whether there is nothing to go by but time.
    pub patient: bool,
}

/// A snapshot that stays for a replica.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The replica; none when it is for any that said nothing.
    pub replica: Option<String>,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its manifest.
    pub manifest: ObjectHash,
    /// When the replica acknowledged it, or when it was made.
    pub since: String,
    /// The packs that it rests on.
    packs: Vec<(PackCopyId, u64)>,
}

/// What is held up by one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldUp {
    /// The replica; none when it is for any that said nothing.
    pub replica: Option<String>,
    /// The snapshot that it needs until it acknowledges a newer one.
    pub snapshot: SnapshotId,
    /// When it acknowledged that, or when it was made.
    pub since: String,
    /// Packs that nobody else needs.
    pub packs: Amount,
}

/// How many of these acknowledgements, the newest first, keep what they name: up to the newest that counts, or all when none does.
#[must_use]
pub fn how_many_keep(count: impl IntoIterator<Item = bool>) -> usize {
    let mut seen = 0;
    for counts in count {
        seen += 1;
        if counts {
            break;
        }
    }
    seen
}

impl Heed {
    /// Finds out what replicas need. `there` is what was listed of packs and roots at first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn take(repo: &Repository, survey: &Survey, there: &Catalog, marked: bool) -> Result<Self> {
        let (catalog, snapshots) = (&survey.catalog, &survey.snapshots);
        let mut heed = Self { copied: marked || !catalog.acks.is_empty(), ..Self::default() };
        if !heed.copied {
            return Ok(heed);
        }
        let acks = Acks::load(repo, catalog, &snapshots.registry, &snapshots.tombs)?;
        let judge = Judge { repo, survey, there };
        let mut heard = BTreeSet::new();
        for line in &acks.lines {
            let judged =
                line.acks.iter().map(|heard| judge.of_ack(&heard.ack)).collect::<Result<Vec<_>>>()?;
            let keep = how_many_keep(judged.iter().map(|judged| judged.counts));
            let counts = judged.iter().any(|judged| judged.counts);
            if counts {
                heard.insert(line.replica.clone());
                heed.spent.extend(line.acks[keep..].iter().map(|heard| heard.stored.clone()));
            }
            for (said, judged) in line.acks.iter().zip(judged).take(keep) {
                let Some(found) = judged.found else { continue };
                heed.keep(Keep {
                    replica: Some(line.replica.clone()),
                    snapshot: found.manifest.snapshot,
                    manifest: found.name.hash,
                    since: said.ack.created.clone(),
                    packs: judged.packs,
                });
            }
        }
        let known = acks.lines.iter().map(|line| &line.replica).chain(&acks.unclear);
        heed.silent = known.filter(|replica| !heard.contains(*replica)).cloned().collect();
        heed.patient = heard.is_empty() || !heed.silent.is_empty();
        if heed.patient {
            heed.keep_a_generation(&judge)?;
        }
        Ok(heed)
    }

    fn keep(&mut self, keep: Keep) {
        self.manifests.insert(keep.manifest);
        self.copies.extend(keep.packs.iter().map(|(copy, _)| *copy));
        self.keeps.push(keep);
    }

    /// The newest snapshot that was here for so long that every copier has it, and all newer ones; all, while there is none.
    fn keep_a_generation(&mut self, judge: &Judge<'_>) -> Result<()> {
        let now = Timestamp::now();
        let mut all: Vec<_> = judge.survey.manifests.iter().collect();
        all.sort_by(|a, b| (&b.manifest.created, b.name).cmp(&(&a.manifest.created, a.name)));
        let mut judged = Vec::new();
        for found in all {
            let Judged { counts, packs, .. } = judge.of_manifest(found, None)?;
            let is_old = since(&found.manifest.created, now) >= PATIENCE;
            judged.push((found, packs, counts && is_old));
        }
        let keep = how_many_keep(judged.iter().map(|(.., counts)| *counts));
        for (found, packs, _) in judged.into_iter().take(keep) {
            self.keep(Keep {
                replica: None,
                snapshot: found.manifest.snapshot,
                manifest: found.name.hash,
                since: found.manifest.created.clone(),
                packs,
            });
        }
        Ok(())
    }

    /// The options as they hold in this store.
    #[must_use]
    pub fn adjust(&self, options: &PruneOptions) -> PruneOptions {
        let grace = if self.patient { options.grace.max(PATIENCE) } else { options.grace };
        PruneOptions { grace, ..options.clone() }
    }

    /// Who holds up how much. Of each the oldest snapshot is told: the one that nothing newer replaces yet.
    #[must_use]
    pub fn held_up(&self, survey: &Survey) -> Vec<HeldUp> {
        let mut seen = HashSet::new();
        let mut held: BTreeMap<Option<&String>, HeldUp> = BTreeMap::new();
        for Keep { replica, snapshot, since, packs, .. } in &self.keeps {
            let (snapshot, since) = (*snapshot, since.clone());
            let new = HeldUp { replica: replica.clone(), snapshot, since, packs: Amount::default() };
            let packs = packs.iter().filter(|((hash, generation), _)| {
                let id = (*hash, *generation);
                let needed = survey.live.packs.contains_key(hash) || survey.live.copies.contains(&id);
                !needed && seen.insert((replica, id))
            });
            let sizes: Vec<_> = packs.map(|(_, size)| *size).collect();
            let before = held.get(&replica.as_ref()).map(|held| held.packs).unwrap_or_default();
            let held = held.entry(replica.as_ref()).or_insert_with(|| new.clone());
            *held = HeldUp { packs: before, ..new };
            sizes.into_iter().for_each(|size| held.packs.add(size));
        }
        held.into_values().filter(|held| held.packs.objects > 0).collect()
    }
}

/// Says of manifests whether a replica can count on them.
struct Judge<'a> {
    repo: &'a Repository,
    survey: &'a Survey,
    there: &'a Catalog,
}

#[derive(Default)]
struct Judged<'a> {
    found: Option<&'a Found>,
    counts: bool,
    packs: Vec<(PackCopyId, u64)>,
}

impl<'a> Judge<'a> {
    fn of_ack(&self, ack: &Ack) -> Result<Judged<'a>> {
        match self.survey.manifests.iter().find(|found| found.name.hash == ack.manifest) {
            Some(found) => self.of_manifest(found, Some(ack)),
            None => Ok(Judged::default()),
        }
    }

    /// `ack` says which writing of each pack is relied on; without one, any that is safe.
    fn of_manifest(&self, found: &'a Found, ack: Option<&Ack>) -> Result<Judged<'a>> {
        let tombs = &self.survey.snapshots.tombs;
        let closure = match self.repo.closure(&self.survey.catalog, &found.manifest) {
            Ok(closure) => closure,
            Err(error) if error.is_damage() => return Ok(Judged { found: Some(found), ..Judged::default() }),
            Err(error) => return Err(error),
        };
        let told: HashMap<ObjectHash, Option<Generation>> = ack
            .map(|ack| ack.generations.iter().map(|pack| (pack.hash, pack.generation)).collect())
            .unwrap_or_default();
        let mut counts = self.is_here(found) && !is_doomed(found, tombs);
        let mut packs = Vec::new();
        for pack in &closure {
            let generation = match ack {
                Some(_) => told.get(&pack.hash).copied().flatten(),
                None => self.safe(pack, tombs),
            };
            let copies = self.there.packs.get(&pack.hash).into_iter().flatten();
            let here =
                copies.into_iter().any(|copy| copy.generation == generation && copy.stored.size == pack.size);
            counts &= here && !tombs.condemns(&pack.hash, generation);
            packs.push(((pack.hash, generation), pack.size));
        }
        Ok(Judged { found: Some(found), counts, packs })
    }

    fn safe(&self, pack: &PackEntry, tombs: &Tombs) -> Option<Generation> {
        let copies = self.there.packs.get(&pack.hash).into_iter().flatten();
        let good = copies.filter(|copy| copy.stored.size == pack.size);
        good.map(|copy| copy.generation).filter(|which| !tombs.condemns(&pack.hash, *which)).min().flatten()
    }

    fn is_here(&self, found: &Found) -> bool {
        let seals = &self.survey.catalog.seals;
        matches!(found.standing, Standing::Sealed | Standing::Superseded | Standing::Forgotten)
            && seals.contains_key(&(found.writer, found.name))
            && self
                .there
                .roots
                .get(&found.manifest.root.hash)
                .is_some_and(|stored| stored.size == found.manifest.root.size)
    }
}

/// Whether somebody may be about to delete the manifest, its root or a list.
fn is_doomed(found: &Found, tombs: &Tombs) -> bool {
    let lists = found.manifest.lists.iter().map(|list| list.hash);
    let mut all = lists.chain([found.manifest.root.hash, found.name.hash]);
    all.any(|hash| tombs.condemns_other(&hash))
}
