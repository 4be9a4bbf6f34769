//! Deletes what was condemned before, and is not needed when everything was looked at once more.
//!
//! 1. `list_tombs`: only what is condemned, and what is forgotten, *now* may go.
//! 2. `list_seals`, *then* `revoke`: manifests that were condemned and have no seal, and intents that nobody renewed.
//! 3. Acknowledgements, *then* `list_manifests_intents`, *then* `list_seals`, *then* `list_revocations`: what is live again.
//! 4. `sweep_manifests_seals` of forgotten snapshots: the seal, the root, then the manifest, so that nothing is left of which
//!    nobody knows what it was; one that nobody sealed yet is revoked first. `sweep_lists_roots`; `sweep_packs`.
//!
//! An interruption anywhere leaves things that the next run finds again.

use std::collections::HashSet;

use fardel_format::ObjectHash;
use fardel_format::tomb::Takes;
use fardel_store::ErrorKind;
use jiff::Timestamp;

use super::doomed::is_needed;
use super::options::PruneOptions;
use super::survey::{Found, Scope, Standing, Survey};
use crate::catalog::{Catalog, Stored};
use crate::commit::load_tombs;
use crate::entomb;
use crate::monitor::Monitor;
use crate::repository::Repository;
use crate::status::Amount;
use crate::time::since;
use crate::tombs::Tombs;
use crate::{Error, Result};

/// What was deleted.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Packs.
    pub packs: Amount,
    /// Everything else.
    pub others: Amount,
    /// Forgotten snapshots of which nothing is left.
    pub snapshots: u64,
    /// What the store did not let go, and why; it is tried again next time.
    pub denied: Vec<String>,
    /// What a lock or a retention period keeps yet; it is tried again next time.
    pub locked: Vec<String>,
    /// Why packs, roots and lists were left alone.
    pub blocked: Option<String>,
}

/// Sweeps the store that `first` showed.
///
/// # Errors
/// When the store fails, or what a snapshot needs cannot be known.
pub fn sweep(
    repo: &Repository,
    first: &Survey,
    options: &PruneOptions,
    now: Timestamp,
    monitor: &dyn Monitor,
) -> Result<Swept> {
    let tombs = load_tombs(repo)?;
    revoke(repo, first, &tombs, options, now)?;
    // What might be deleted is what was listed at first.
    let mut survey = Survey::take(repo, Scope::Deciding(&tombs, first))?;
    let options = &survey.heed.adjust(options);
    survey.catalog.packs.clone_from(&first.catalog.packs);
    survey.catalog.roots.clone_from(&first.catalog.roots);
    let mut sweeper =
        Sweeper { repo, survey: &survey, tombs: &tombs, options, now, monitor, swept: Swept::default() };
    sweeper.swept.blocked.clone_from(&survey.opaque);
    sweeper.manifests()?;
    if survey.opaque.is_none() {
        sweeper.lists_and_roots()?;
        sweeper.packs()?;
    }
    sweeper.acks()?;
    Ok(sweeper.swept)
}

fn revoke(
    repo: &Repository,
    first: &Survey,
    tombs: &Tombs,
    options: &PruneOptions,
    now: Timestamp,
) -> Result<()> {
    let seals = Catalog::load_prefix(repo.store(), "seals/")?.seals;
    let over = |created: &String| since(created, now) >= options.grace;
    let mut names: Vec<_> = first
        .manifests
        .iter()
        .filter(|found| found.standing == Standing::Unsealed && !first.carried.contains(&found.name.hash))
        .filter(|found| !options.replica && !seals.contains_key(&(found.writer, found.name)))
        .filter(|found| tombs.condemned_others.get(&found.name.hash).is_some_and(over))
        .map(|found| found.name.hash.to_string())
        .collect();
    let ancient =
        first.intents.iter().filter(|(_, intent)| since(&intent.created, now) >= options.unfinished);
    names.extend(ancient.map(|(nonce, _)| nonce.to_string()));
    if !names.is_empty() {
        let catalog = Catalog::load_prefix(repo.store(), "tombs/")?;
        entomb::entomb(repo, &catalog, Takes::Revoke { names })?;
    }
    Ok(())
}

struct Sweeper<'a> {
    repo: &'a Repository,
    /// What is needed, and what may be deleted.
    survey: &'a Survey,
    /// What was taken away before that was looked at.
    tombs: &'a Tombs,
    options: &'a PruneOptions,
    now: Timestamp,
    monitor: &'a dyn Monitor,
    swept: Swept,
}

impl Sweeper<'_> {
    fn is_over(&self, created: &str) -> bool {
        since(created, self.now) >= self.options.grace
    }

    /// Whether nothing of this manifest will be needed again, by what was known before and by what is known now.
    fn is_gone(&self, found: &Found) -> bool {
        let announced =
            || self.tombs.condemned_others.get(&found.name.hash).is_some_and(|created| self.is_over(created));
        if self.survey.heed.copied && !announced() {
            return false;
        }
        match found.standing {
            Standing::Revoked => self.tombs.revokes(&found.name.hash),
            Standing::Forgotten if !self.tombs.forgets(&found.manifest) => false,
            Standing::Forgotten if since(&found.manifest.created, self.now) < self.options.min_age => false,
            Standing::Forgotten => {
                self.tombs.forgetting(&found.manifest).any(|forget| self.is_over(&forget.created))
            }
            _ => false,
        }
    }

    fn manifests(&mut self) -> Result<()> {
        let gone: Vec<_> = self.survey.gone().filter(|found| self.is_gone(found)).collect();
        self.revoke_unsealed(&gone)?;
        // A root that somebody else names is not this one's to take away.
        let stays =
            |found: &&Found| !gone.iter().any(|gone| gone.name == found.name && gone.writer == found.writer);
        let named: HashSet<_> =
            self.survey.manifests.iter().filter(stays).map(|found| found.manifest.root.hash).collect();
        let objects = |found: &&Found| {
            let (id, root) = ((found.writer, found.name), &found.manifest.root.hash);
            let root_goes = !named.contains(root) && self.survey.opaque.is_none();
            let root = self.survey.catalog.roots.get(root).filter(|_| root_goes);
            // The manifest is the last: it tells what the others were.
            [self.survey.catalog.seals.get(&id), root, self.survey.catalog.manifests.get(&id)]
        };
        let mut snapshots = HashSet::new();
        self.delete_all(
            &gone,
            |found| objects(found).into_iter().flatten(),
            |found, amount, is_gone, swept| {
                swept.others += amount;
                if is_gone && found.standing == Standing::Forgotten {
                    snapshots.insert(found.manifest.snapshot);
                }
            },
        )?;
        self.swept.snapshots = snapshots.len() as u64;
        Ok(())
    }

    /// Whoever tells of a forgotten snapshot anew, or carries it here, may still seal what he put: a seal whose manifest is gone must
    /// not look as if something had been lost.
    fn revoke_unsealed(&self, gone: &[&Found]) -> Result<()> {
        let has_seal = |found: &&&Found| self.survey.catalog.seals.contains_key(&(found.writer, found.name));
        let unsealed = gone.iter().filter(|found| found.standing == Standing::Forgotten && !has_seal(found));
        let names: Vec<_> = unsealed.map(|found| found.name.hash.to_string()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let catalog = Catalog::load_prefix(self.repo.store(), "tombs/")?;
        entomb::entomb(self.repo, &catalog, Takes::Revoke { names }).map(drop)
    }

    /// Roots and lists that no manifest names and that were condemned for that; lists of which every pack is condemned:
    /// who would name such a list needs one of its packs, and finds it condemned.
    fn lists_and_roots(&mut self) -> Result<()> {
        // A replicator may count on them, and cannot name them anew.
        if !self.survey.intents.is_empty() {
            return Ok(());
        }
        let survey = self.survey;
        let named = survey.named();
        let orphan = |hash: &ObjectHash| {
            !named.contains(hash)
                && self.tombs.condemned_others.get(hash).is_some_and(|created| self.is_over(created))
        };
        let roots = survey.catalog.roots.iter().filter(|(hash, _)| orphan(hash));
        let mut lists = Vec::new();
        for (hash, stored) in
            survey.catalog.lists.iter().filter(|(hash, _)| !survey.live.lists.contains(*hash))
        {
            if orphan(hash) || self.is_list_of_condemned(hash)? {
                lists.push((hash, stored));
            }
        }
        let all: Vec<_> = roots.chain(lists).map(|(_, stored)| stored).collect();
        self.delete_all(&all, |stored| [*stored], |_, amount, _, swept| swept.others += amount)
    }

    fn is_list_of_condemned(&self, hash: &ObjectHash) -> Result<bool> {
        let packs = match self.repo.list(&self.survey.catalog, hash) {
            Ok(packs) => packs,
            Err(error) if error.is_damage() => return Ok(false),
            Err(error) => return Err(error),
        };
        // A line of no bytes only gives a list another name.
        let mut packs = packs.iter().filter(|pack| pack.size > 0).peekable();
        Ok(packs.peek().is_some() && packs.all(|pack| self.is_condemned(&pack.hash)))
    }

    /// Whether every copy that is here is condemned, or, when none is, one was.
    fn is_condemned(&self, hash: &ObjectHash) -> bool {
        let over = |created: &String| self.is_over(created);
        match self.survey.catalog.packs.get(hash) {
            Some(copies) => copies
                .iter()
                .all(|copy| self.tombs.condemned.get(&(*hash, copy.generation)).is_some_and(over)),
            None => self.tombs.condemns_any(hash),
        }
    }

    fn packs(&mut self) -> Result<()> {
        let mut dead = Vec::new();
        for (hash, copies) in &self.survey.catalog.packs {
            for copy in copies {
                let condemned = self.tombs.condemned.get(&(*hash, copy.generation));
                if condemned.is_some_and(|created| self.is_over(created))
                    && !is_needed(self.survey, hash, copy)
                {
                    dead.push(&copy.stored);
                }
            }
        }
        dead.sort_by(|a, b| a.key.cmp(&b.key));
        let counters = self.monitor.counters();
        counters.set_total(dead.len() as u64, 0);
        self.delete_all(
            &dead,
            |stored| [*stored],
            |_, amount, _, swept| {
                swept.packs += amount;
                counters.done(1, 0);
            },
        )
    }

    /// Acknowledgements that newer ones replace.
    fn acks(&mut self) -> Result<()> {
        let spent: Vec<_> = self.survey.heed.spent.iter().collect();
        self.delete_all(&spent, |stored| [*stored], |_, amount, _, swept| swept.others += amount)
    }

    /// Deletes the objects of each item in their order, those of many items at once, and tells `then` how much went, and whether all of
    /// it did. What a store keeps on purpose is told in the report.
    fn delete_all<'k, T: Sync, O: IntoIterator<Item = &'k Stored>>(
        &mut self,
        items: &[T],
        objects: impl Fn(&T) -> O + Sync,
        mut then: impl FnMut(&T, Amount, bool, &mut Swept),
    ) -> Result<()> {
        let (store, monitor, swept) = (self.repo.store(), self.monitor, &mut self.swept);
        let delete = |item: &T| {
            let mut amount = Amount::default();
            for stored in objects(item) {
                if monitor.interrupted() {
                    return Err(Error::Interrupted);
                }
                match store.delete(&stored.key) {
                    Ok(()) => amount.add(stored.size),
                    Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Locked) => {
                        return Ok((amount, Some(error)));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok((amount, None))
        };
        store.for_many(items, delete, |item, deleted| {
            let (amount, kept) = deleted?;
            then(item, amount, kept.is_none(), swept);
            if let Some(error) = kept {
                let told =
                    if error.kind == ErrorKind::Denied { &mut swept.denied } else { &mut swept.locked };
                told.push(error.to_string());
            }
            Ok(())
        })
    }
}
