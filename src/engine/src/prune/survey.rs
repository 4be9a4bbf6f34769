//! One look at everything that decides what is needed, in the order in which it must be listed.
//!
//! Acknowledgements, *then* manifests, *then* intents, *then* seals, *then* tombs. Whatever is put after its folder was listed is put by somebody who
//! looks at the tombs after that, and finds what was condemned before this look began.

use std::collections::{HashMap, HashSet};

use fardel_format::intent::Intent;
use fardel_format::manifest::Manifest;
use fardel_format::names::Numbered;
use fardel_format::{ObjectHash, SnapshotId, WriterId};

use super::heed::Heed;
use crate::catalog::{Catalog, Stored};
use crate::repository::Repository;
use crate::snapshots::Snapshots;
use crate::tombs::{PackCopyId, Tombs};
use crate::{Error, Result};

/// What a manifest is to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A snapshot that exists rests on it.
    Sealed,
    /// Nobody sealed it yet; somebody may.
    Unsealed,
    /// Its seal is by a signer that nobody knows here.
    Foreign,
    /// Another manifest tells what its snapshot needs.
    Superseded,
    /// Its snapshot is forgotten.
    Forgotten,
    /// It will never be a snapshot.
    Revoked,
}

impl Standing {
    /// Whether what it names must stay.
    pub fn is_root(self) -> bool {
        matches!(self, Self::Sealed | Self::Unsealed | Self::Foreign)
    }
}

/// A manifest as it was found.
pub struct Found {
    /// Whose folder it lies in.
    pub writer: WriterId,
    /// Its name there.
    pub name: Numbered,
    /// What it says.
    pub manifest: Manifest,
    /// What it is.
    pub standing: Standing,
}

/// Everything that must stay.
#[derive(Default)]
pub struct Live {
    /// Packs that roots need, with their sizes.
    pub packs: HashMap<ObjectHash, u64>,
    /// Packs that intents name.
    pub copies: HashSet<PackCopyId>,
    /// Lists that roots name.
    pub lists: HashSet<ObjectHash>,
}

/// One look at a store.
pub struct Survey {
    /// What was listed.
    pub catalog: Catalog,
    /// What was verified.
    pub snapshots: Snapshots,
    /// Every manifest that is one.
    pub manifests: Vec<Found>,
    /// Intents that are not revoked, and when they were put.
    pub intents: Vec<(fardel_format::ids::Nonce, Intent)>,
    /// Manifests that intents name, revoked ones too.
    pub carried: HashSet<ObjectHash>,
    /// What must stay.
    pub live: Live,
    /// Packs that some manifest names, whatever it is, and when the first of them was written.
    pub born: HashMap<ObjectHash, String>,
    /// What stays for replicas that other tools make.
    pub heed: Heed,
    /// Why it is not known what all roots need.
    pub opaque: Option<String>,
}

/// How often it is begun anew when another collector is at work.
const ATTEMPTS: u32 = 4;

/// What a look is for.
#[derive(Clone, Copy)]
pub enum Scope<'a> {
    /// What must stay, after tombs were listed before: forgotten is only what was so by then. A listing comes in pages, and one alone
    /// could miss a pin and find the forget that came after it. What might be deleted is what the first look listed.
    Deciding(&'a Tombs, &'a Survey),
    /// What might be deleted, too; listed before all else, so that whatever explains it is seen. Whether another tool copies the store.
    Everything(bool),
}

impl Survey {
    /// Looks.
    ///
    /// # Errors
    /// When the store fails, or what a snapshot needs cannot be known.
    pub fn take(repo: &Repository, scope: Scope<'_>) -> Result<Self> {
        for _ in 1..ATTEMPTS {
            match Self::try_take(repo, scope) {
                // Another collector may have deleted it after it was listed, or after what names it was.
                Err(error) if error.is_gone() => {}
                Err(Error::Damaged(_)) => {}
                other => return other,
            }
        }
        Self::try_take(repo, scope)
    }

    fn try_take(repo: &Repository, scope: Scope<'_>) -> Result<Self> {
        let mut catalog = Catalog::default();
        let (before, earlier, copied): (&[_], _, _) = match scope {
            Scope::Everything(copied) => (&["index/", "packs/", "roots/"], None, copied),
            Scope::Deciding(tombs, first) => (&[], Some(tombs), first.heed.copied),
        };
        let deciding = ["acks/", "manifests/", "intents/", "seals/", "signers/", "tombs/", "lists/"];
        for folder in before.iter().copied().chain(deciding) {
            catalog.list(repo.store(), folder)?;
        }
        let snapshots = Snapshots::load(repo, &catalog)?;
        registry_is_whole(&catalog, &snapshots)?;
        let mut survey = Self {
            catalog,
            snapshots,
            manifests: Vec::new(),
            intents: Vec::new(),
            carried: HashSet::new(),
            live: Live::default(),
            born: HashMap::new(),
            heed: Heed::default(),
            opaque: None,
        };
        survey.find_intents(repo)?;
        survey.find_manifests(repo, earlier)?;
        survey.no_seal_is_bare(repo)?;
        survey.find_live(repo)?;
        let there = match scope {
            Scope::Everything(_) => &survey.catalog,
            Scope::Deciding(_, first) => &first.catalog,
        };
        let heed = Heed::take(repo, &survey, there, copied)?;
        let kept = survey.manifests.iter().filter(|found| heed.manifests.contains(&found.name.hash));
        let lists = kept.flat_map(|found| found.manifest.lists.iter().map(|list| list.hash));
        survey.live.lists.extend(lists.collect::<Vec<_>>());
        survey.heed = heed;
        Ok(survey)
    }

    fn find_intents(&mut self, repo: &Repository) -> Result<()> {
        for (nonce, stored) in &self.catalog.intents {
            let Some(bytes) = still_there(repo.small(stored))? else { continue };
            // Not ours, or torn: whoever puts one waits for the answer.
            let Ok(intent) = Intent::from_bytes(&bytes, repo.id()) else { continue };
            self.carried.extend(&intent.manifests);
            if !self.snapshots.tombs.revoked.contains(&nonce.to_string()) {
                self.intents.push((*nonce, intent));
            }
        }
        Ok(())
    }

    fn find_manifests(&mut self, repo: &Repository, earlier: Option<&Tombs>) -> Result<()> {
        let Snapshots { sealed, forgotten, superseded, tombs, .. } = &self.snapshots;
        let all = || sealed.iter().chain(forgotten).chain(superseded);
        let verified: HashSet<_> = all().map(|sealed| (sealed.writer, sealed.name)).collect();
        // One that a collector gave up may be void when it looks again.
        let replaced: HashMap<ObjectHash, SnapshotId> = all()
            .filter(|sealed| !tombs.condemns_other(&sealed.name.hash))
            .filter_map(|sealed| Some((sealed.manifest.supersedes?, sealed.id())))
            .collect();
        let is_forgotten = |manifest: &Manifest| {
            tombs.forgets(manifest) && earlier.is_none_or(|earlier| earlier.forgets(manifest))
        };
        let mut manifests = Vec::new();
        for ((writer, name), stored) in &self.catalog.manifests {
            let has_seal = self.catalog.seals.contains_key(&(*writer, *name));
            let revoked = tombs.revokes(&name.hash);
            let Some(manifest) = read_manifest(repo, writer, name, stored, has_seal && !revoked)? else {
                continue;
            };
            let standing = match () {
                () if revoked => Standing::Revoked,
                () if is_forgotten(&manifest) => Standing::Forgotten,
                () if !has_seal => Standing::Unsealed,
                () if !verified.contains(&(*writer, *name)) => Standing::Foreign,
                () if replaced.get(&name.hash) == Some(&manifest.snapshot) => Standing::Superseded,
                () => Standing::Sealed,
            };
            manifests.push(Found { writer: *writer, name: *name, manifest, standing });
        }
        self.manifests = manifests;
        Ok(())
    }

    /// A seal whose manifest is not here says of a snapshot only that it needs something.
    fn no_seal_is_bare(&self, repo: &Repository) -> Result<()> {
        let is_bare = |manifests: &Catalog, (writer, name): &(WriterId, Numbered)| {
            !manifests.manifests.contains_key(&(*writer, *name))
                && self.snapshots.registry.honours(writer, name.seq).is_some()
                && !self.snapshots.tombs.revokes(&name.hash)
        };
        if !self.catalog.seals.keys().any(|id| is_bare(&self.catalog, id)) {
            return Ok(());
        }
        // Sealed after the manifests were listed, or swept by another collector, who begins with the seal.
        let manifests = Catalog::load_prefix(repo.store(), "manifests/")?;
        let seals = Catalog::load_prefix(repo.store(), "seals/")?;
        let still = |id: &(WriterId, Numbered)| is_bare(&manifests, id) && seals.seals.contains_key(id);
        let bare = self.catalog.seals.iter().find(|(id, _)| still(id));
        match bare {
            None => Ok(()),
            Some((_, stored)) => Err(Error::Damaged(format!(
                "{}: what it seals is not here: it has not arrived yet, or was lost, and nobody knows what it needs. \
                 Nothing was deleted; `fardel check` tells more",
                stored.key
            ))),
        }
    }

    fn find_live(&mut self, repo: &Repository) -> Result<()> {
        let mut replaced = HashSet::new();
        for found in &self.manifests {
            let closure = match repo.closure(&self.catalog, &found.manifest) {
                Ok(closure) => closure,
                Err(error @ Error::Store(_)) if !error.is_gone() => return Err(error),
                Err(_) if found.standing == Standing::Sealed && self.is_retold(repo, found) => {
                    replaced.insert(found.name.hash);
                    continue;
                }
                Err(error) if found.standing == Standing::Sealed => {
                    return Err(Error::Damaged(format!(
                        "snapshot {}: {error}: nobody knows what it needs. Nothing was deleted; `fardel check` tells more",
                        found.manifest.snapshot.short()
                    )));
                }
                Err(error) => {
                    if found.standing.is_root() {
                        self.opaque = Some(format!("manifest {}: {error}", found.name.hash.short()));
                    }
                    Vec::new()
                }
            };
            for pack in &closure {
                let born = self.born.entry(pack.hash).or_insert_with(|| found.manifest.created.clone());
                if found.manifest.created < *born {
                    born.clone_from(&found.manifest.created);
                }
            }
            if found.standing.is_root() {
                self.live.packs.extend(closure.iter().map(|pack| (pack.hash, pack.size)));
                self.live.lists.extend(found.manifest.lists.iter().map(|list| list.hash));
            }
        }
        let replaced = self.manifests.iter_mut().filter(|found| replaced.contains(&found.name.hash));
        replaced.for_each(|found| found.standing = Standing::Superseded);
        let named = self.intents.iter().flat_map(|(_, intent)| &intent.packs);
        self.live.copies.extend(named.map(|pack| (pack.hash, pack.generation)));
        Ok(())
    }

    /// Whether a sealed manifest that can be read tells what this one's snapshot needs, be it condemned. What this one needs can be
    /// gone only because somebody saw that seal when nothing had condemned it: then who condemned it saw the seal, too, and revokes
    /// nothing.
    fn is_retold(&self, repo: &Repository, found: &Found) -> bool {
        let tells = |other: &&Found| {
            other.manifest.supersedes == Some(found.name.hash)
                && other.manifest.snapshot == found.manifest.snapshot
                && matches!(other.standing, Standing::Sealed | Standing::Superseded)
        };
        let mut others = self.manifests.iter().filter(tells);
        others
            .any(|other| repo.closure(&self.catalog, &other.manifest).is_ok() || self.is_retold(repo, other))
    }

    /// Manifests that will never be needed again.
    pub fn gone(&self) -> impl Iterator<Item = &Found> {
        let gone = |found: &&Found| matches!(found.standing, Standing::Forgotten | Standing::Revoked);
        self.manifests.iter().filter(gone).filter(|found| !self.heed.manifests.contains(&found.name.hash))
    }

    /// Roots and lists that any manifest names, whatever it is.
    pub fn named(&self) -> HashSet<ObjectHash> {
        let roots = self.manifests.iter().map(|found| found.manifest.root.hash);
        let lists = self.manifests.iter().flat_map(|found| found.manifest.lists.iter().map(|list| list.hash));
        roots.chain(lists).collect()
    }
}

/// The manifest, or nothing when it is none, or was collected meanwhile.
fn read_manifest(
    repo: &Repository,
    writer: &WriterId,
    name: &Numbered,
    stored: &Stored,
    counts: bool,
) -> Result<Option<Manifest>> {
    let read = match repo.small(stored) {
        Ok(bytes) => {
            Manifest::from_bytes(&bytes, repo.id(), writer, name).map_err(|e| Error::object(&stored.key, e))
        }
        Err(error) if error.is_gone() => return Ok(None),
        Err(Error::Store(error)) => return Err(error.into()),
        Err(error) => Err(error),
    };
    match read {
        Ok(manifest) => Ok(Some(manifest)),
        // Torn, and no seal fits it.
        Err(_) if !counts => Ok(None),
        Err(error) => Err(Error::Damaged(format!(
            "{error}: it has a seal, and nobody knows what it needs. Nothing was deleted; `fardel check` tells more"
        ))),
    }
}

fn still_there<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_gone() => Ok(None),
        Err(Error::Object { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A record of signers that is lost could be the one that makes somebody's snapshots count.
fn registry_is_whole(catalog: &Catalog, snapshots: &Snapshots) -> Result<()> {
    let here: HashSet<u32> = catalog
        .signers
        .keys()
        .filter(|name| catalog.signer_sigs.contains_key(name))
        .map(|name| name.seq)
        .collect();
    let last = here.iter().max().copied().unwrap_or(0);
    let gap = (1..=last).find(|seq| !here.contains(seq));
    let damaged = snapshots.problems.iter().find(|problem| problem.object.as_str().starts_with("signers/"));
    match (gap, damaged) {
        (None, None) => Ok(()),
        (Some(seq), _) => Err(Error::Damaged(format!(
            "signers/{seq:08}: this record is not here: it may say whose snapshots count. Nothing was deleted"
        ))),
        (None, Some(problem)) => Err(Error::Damaged(format!(
            "{}: {}: it may say whose snapshots count. Nothing was deleted",
            problem.object, problem.error
        ))),
    }
}
