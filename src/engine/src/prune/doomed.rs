//! What nobody needs, and when it may go.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fardel_format::ObjectHash;
use fardel_format::names::PackName;
use jiff::Timestamp;

use super::options::PruneOptions;
use super::survey::{Standing, Survey};
use crate::catalog::PackCopy;
use crate::status::Amount;
use crate::time::since;

/// What is to be condemned now.
#[derive(Default)]
pub struct Doomed {
    /// Packs that no root needs and no tomb condemns yet.
    pub packs: Vec<PackName>,
    /// Manifests that nobody sealed for long, with their roots; roots and lists that no manifest names.
    pub others: Vec<ObjectHash>,
    /// How much the packs are.
    pub amount: Amount,
    /// Packs that no root needs and that are younger than the store's minimum age.
    pub young: Amount,
    /// What they would be charged for if they went now: bytes times seconds.
    pub young_byte_seconds: u128,
    /// Packs that no manifest names, for as long as somebody may be about to finish.
    pub unfinished: Amount,
}

impl Doomed {
    /// Finds out; remembers in `seen` what no manifest names.
    pub fn find(survey: &Survey, seen: &mut Seen, options: &PruneOptions, now: Timestamp) -> Self {
        let mut doomed = Self::default();
        let tombs = &survey.snapshots.tombs;
        for (hash, copies) in &survey.catalog.packs {
            for copy in copies {
                if !is_needed(survey, hash, copy) && !tombs.condemns(hash, copy.generation) {
                    doomed.pack(survey, hash, copy, seen, options, now);
                }
            }
        }
        doomed.packs.sort_unstable();
        doomed.manifests(survey, options, now);
        if !survey.carried.is_empty() {
            // A replicator may count on them, and cannot name them anew.
            return doomed;
        }
        let named = survey.named();
        let listed = survey.catalog.roots.iter().chain(&survey.catalog.lists);
        for (hash, stored) in listed.filter(|(hash, _)| !named.contains(*hash) && !tombs.condemns_other(hash))
        {
            if seen.since(stored.key.as_str(), now) >= options.unfinished {
                doomed.others.push(*hash);
            }
        }
        doomed
    }

    fn pack(
        &mut self,
        survey: &Survey,
        hash: &ObjectHash,
        copy: &PackCopy,
        seen: &mut Seen,
        options: &PruneOptions,
        now: Timestamp,
    ) {
        let size = copy.stored.size;
        let age = match survey.born.get(hash) {
            Some(born) => since(born, now),
            None => {
                let age = seen.since(copy.stored.key.as_str(), now);
                if age < options.unfinished {
                    return self.unfinished.add(size);
                }
                age
            }
        };
        // What a replica names may have come there long after its manifest was written.
        let age = match options.replica && !options.min_age.is_zero() {
            true => age.min(seen.since(copy.stored.key.as_str(), now)),
            false => age,
        };
        if age < options.min_age {
            self.young.add(size);
            self.young_byte_seconds += u128::from(size) * u128::from((options.min_age - age).as_secs());
            return;
        }
        self.amount.add(size);
        self.packs.push(PackName { hash: *hash, generation: copy.generation });
    }

    /// Announces manifests that nobody sealed: their writers ask for this before and after they seal. Where another tool copies the
    /// store, forgotten ones too: a replica may acknowledge them at any moment, and must not when they are about to go.
    fn manifests(&mut self, survey: &Survey, options: &PruneOptions, now: Timestamp) {
        if survey.heed.copied {
            let tombs = &survey.snapshots.tombs;
            let gone = survey.gone().map(|found| found.name.hash);
            let gone = gone.filter(|hash| !survey.carried.contains(hash) && !tombs.condemns_other(hash));
            self.others.extend(gone);
        }
        if options.replica {
            return;
        }
        let tombs = &survey.snapshots.tombs;
        let waits = |found: &&super::survey::Found| {
            found.standing == Standing::Unsealed && !survey.carried.contains(&found.name.hash)
        };
        let ancient = |found: &&super::survey::Found| {
            since(&found.manifest.created, now) >= options.unfinished
                && !tombs.condemns_other(&found.name.hash)
        };
        for found in survey.manifests.iter().filter(waits).filter(ancient) {
            self.others.push(found.name.hash);
            let root = found.manifest.root.hash;
            let shared = survey
                .manifests
                .iter()
                .any(|other| other.name != found.name && other.manifest.root.hash == root);
            if !shared && !tombs.condemns_other(&root) {
                self.others.push(root);
            }
        }
    }

    /// Whether there is nothing to condemn.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.others.is_empty()
    }
}

/// Whether a root, an intent or a replica needs this copy of a pack. One that is condemned is not needed when another one serves.
pub fn is_needed(survey: &Survey, hash: &ObjectHash, copy: &PackCopy) -> bool {
    let (live, tombs) = (&survey.live, &survey.snapshots.tombs);
    let id = (*hash, copy.generation);
    if live.copies.contains(&id) || survey.heed.copies.contains(&id) {
        return true;
    }
    let Some(size) = live.packs.get(hash) else { return false };
    let copies = survey.catalog.packs.get(hash).into_iter().flatten();
    let mut others = copies.filter(|other| other.generation != copy.generation);
    let serves = |other: &PackCopy| other.stored.size == *size && !tombs.condemns(hash, other.generation);
    !(tombs.condemns(hash, copy.generation) && others.any(serves))
}

/// When a collector on this machine first saw what no manifest names. Losing it only makes such things stay longer.
pub struct Seen {
    path: PathBuf,
    before: HashMap<String, String>,
    now: HashMap<String, String>,
}

impl Seen {
    /// What is remembered in the cache.
    pub fn load(cache: &Path) -> Self {
        let path = cache.join("prune-seen");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let before = lines.map(|(since, key)| (key.to_owned(), since.to_owned())).collect();
        Self { path, before, now: HashMap::new() }
    }

    /// How long ago it was first seen.
    fn since(&mut self, key: &str, now: Timestamp) -> Duration {
        let first = self.before.get(key).cloned().unwrap_or_else(|| now.to_string());
        let age = since(&first, now);
        self.now.insert(key.to_owned(), first);
        age
    }

    /// Remembers what was seen this time.
    pub fn save(&self) {
        let mut lines: Vec<_> = self.now.iter().map(|(key, since)| format!("{since} {key}\n")).collect();
        lines.sort_unstable();
        if let Some(folder) = self.path.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let _ = std::fs::write(&self.path, lines.concat());
    }
}

/// What is deleted now, as a dry run tells it.
pub fn sweepable(survey: &Survey, options: &PruneOptions, now: Timestamp) -> Amount {
    let mut amount = Amount::default();
    for (hash, copy) in condemned_copies(survey) {
        let condemned = survey.snapshots.tombs.condemned.get(&(*hash, copy.generation));
        if condemned.is_some_and(|since_| since(since_, now) >= options.grace)
            && !is_needed(survey, hash, copy)
        {
            amount.add(copy.stored.size);
        }
    }
    amount
}

/// Copies of packs that are here and condemned.
pub fn condemned_copies(survey: &Survey) -> impl Iterator<Item = (&ObjectHash, &PackCopy)> {
    let copies =
        survey.catalog.packs.iter().flat_map(|(hash, copies)| copies.iter().map(move |copy| (hash, copy)));
    copies.filter(|(hash, copy)| survey.snapshots.tombs.condemns(hash, copy.generation))
}
