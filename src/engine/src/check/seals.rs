//! Seals and the manifests under them; what manifests say of one another.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use fardel_format::manifest::{self, Manifest};
use fardel_format::names::{FanOut, Name, Numbered};
use fardel_format::{Error as FormatError, ObjectHash, SnapshotId, WriterId};

use super::Level;
use super::findings::{Findings, class_of_read, class_of_text};
use super::report::Class;
use crate::catalog::{Catalog, Stored, key_of};
use crate::repository::Repository;
use crate::snapshots::Snapshots;
use crate::{Error, Result};

/// Looks at seals that do not verify; from [`Level::Seals`] on also at manifests without one, and at who names whom.
///
/// `registry_whole` tells whether all records of signers are there: else an unknown signer may be one whose record is lost.
///
/// # Errors
/// When the store fails.
pub fn check(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &Snapshots,
    level: Level,
    registry_whole: bool,
    findings: &mut Findings,
) -> Result<()> {
    for problem in &snapshots.problems {
        if let Some(Name::Seal(writer, name)) = Name::parse(problem.object.as_str()) {
            let seal = Seal { repo, catalog, snapshots, writer, name, registry_whole };
            seal.explain(problem.object.as_str(), &problem.error, findings)?;
        }
    }
    if level >= Level::Seals {
        let mut chain = Chain::default();
        for sealed in &snapshots.sealed {
            chain.add(sealed.writer, &sealed.manifest);
        }
        unsealed(repo, catalog, &mut chain, findings)?;
        chain.tell(catalog, findings);
        forks(catalog, snapshots, findings);
    }
    Ok(())
}

struct Seal<'a> {
    repo: &'a Repository,
    catalog: &'a Catalog,
    snapshots: &'a Snapshots,
    writer: WriterId,
    name: Numbered,
    registry_whole: bool,
}

impl Seal<'_> {
    /// Says which of seal, manifest and signer is wrong.
    fn explain(&self, seal: &str, error: &FormatError, findings: &mut Findings) -> Result<()> {
        let Some(stored) = self.catalog.manifests.get(&(self.writer, self.name)) else {
            let key = key_of(&Name::Manifest(self.writer, self.name), FanOut::FLAT);
            findings.add(
                key,
                Class::Missing,
                format!("{seal} seals it, and it is not here: the snapshot cannot be read"),
            );
            return Ok(());
        };
        let bytes = match small(self.repo, stored)? {
            Ok(bytes) => bytes,
            Err((class, why)) => {
                findings.add(&stored.key, class, why);
                return Ok(());
            }
        };
        let snapshot = snapshot_in(&bytes);
        let forgotten = snapshot.is_some_and(|id| self.snapshots.tombs.names_forgotten(&id, &self.writer));
        if ObjectHash::of(&bytes) != self.name.hash {
            let finding = findings.add(&stored.key, class_of_text(&bytes), "its hash differs from its name");
            finding.harmless = forgotten;
            snapshot.into_iter().for_each(|id| finding.costs.add_snapshot(id));
            return Ok(());
        }
        let signer = self.snapshots.registry.get_even_removed(&self.writer);
        // Then it is as its writer made it, who may not.
        let genuine = signer.is_some() && self.is_genuine(&bytes)?;
        let class = match error {
            FormatError::Forged { .. } => Class::Forged,
            FormatError::TooLarge { .. } => Class::Corrupt,
            _ if well_formed(&bytes, self.repo) => self.seal_class()?,
            // Signed or not: it is not of this repository, or under another's name.
            _ => Class::Forged,
        };
        let finding = findings.add(seal, class, error);
        if genuine || (signer.is_none() && self.registry_whole) {
            finding.why.push_str(": it is not a snapshot, and nothing rests on it");
            finding.harmless = true;
        } else {
            finding.harmless = forgotten;
            snapshot.into_iter().for_each(|id| finding.costs.add_snapshot(id));
        }
        Ok(())
    }

    fn is_genuine(&self, manifest: &[u8]) -> Result<bool> {
        let stored = self.catalog.seals.get(&(self.writer, self.name));
        let signer = self.snapshots.registry.get_even_removed(&self.writer);
        let (Some(stored), Some(signer)) = (stored, signer) else { return Ok(false) };
        let Ok(seal) = small(self.repo, stored)? else { return Ok(false) };
        let Ok(seal) = std::str::from_utf8(&seal) else { return Ok(false) };
        Ok(manifest::check_seal(manifest, self.repo.id(), &self.name, &signer.public_key, seal).is_ok())
    }

    fn seal_class(&self) -> Result<Class> {
        let Some(stored) = self.catalog.seals.get(&(self.writer, self.name)) else {
            return Ok(Class::Missing);
        };
        Ok(small(self.repo, stored)?.map_or_else(|(class, _)| class, |bytes| class_of_text(&bytes)))
    }
}

fn well_formed(manifest: &[u8], repo: &Repository) -> bool {
    serde_json::from_slice::<Manifest>(manifest).is_ok_and(|manifest| manifest.repository == *repo.id())
}

/// Reads a small object; `Err` says what is wrong with it.
///
/// # Errors
/// When the store fails as a whole.
pub fn small(repo: &Repository, stored: &Stored) -> Result<Result<Vec<u8>, (Class, String)>> {
    match repo.small(stored) {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(Error::Store(error)) => match class_of_read(&error) {
            Some(class) => Ok(Err((class, error.to_string()))),
            None => Err(Error::Store(error)),
        },
        Err(Error::Object { error, .. }) => Ok(Err((Class::Corrupt, error.to_string()))),
        Err(other) => Err(other),
    }
}

/// The snapshot that the bytes of a manifest name, even when they are damaged elsewhere.
fn snapshot_in(manifest: &[u8]) -> Option<SnapshotId> {
    let text = String::from_utf8_lossy(manifest);
    let (_, after) = text.split_once("\"snapshot\"")?;
    after.split('"').nth(1)?.parse().ok()
}

/// Manifests without a seal: of backups that run or were interrupted, or whose seal is gone.
fn unsealed(repo: &Repository, catalog: &Catalog, chain: &mut Chain, findings: &mut Findings) -> Result<()> {
    let mut count = 0u64;
    let mut last = None;
    for ((writer, name), stored) in catalog.manifests.iter().filter(|(id, _)| !catalog.seals.contains_key(id))
    {
        let bytes = match small(repo, stored)? {
            Ok(bytes) => bytes,
            Err((class, why)) => {
                findings.add(&stored.key, class, why).harmless = true;
                continue;
            }
        };
        if ObjectHash::of(&bytes) != name.hash {
            let why = "its hash differs from its name; it has no seal and is no snapshot";
            findings.add(&stored.key, class_of_text(&bytes), why).harmless = true;
            continue;
        }
        match Manifest::from_bytes(&bytes, repo.id(), writer, name) {
            Ok(manifest) => {
                chain.add(*writer, &manifest);
                count += 1;
                last = Some(&stored.key);
            }
            Err(error) => findings.add(&stored.key, Class::Forged, error).harmless = true,
        }
    }
    if let Some(last) = last {
        findings.note(format!(
            "{count} manifests have no seal, the last {last}: of a backup that runs or was interrupted, or the seal was \
             withheld or lost"
        ));
    }
    Ok(())
}

/// Which manifests others name.
#[derive(Default)]
struct Chain {
    /// By whom they were written, as far as that is known.
    previous: BTreeMap<WriterId, BTreeSet<ObjectHash>>,
    heads: BTreeMap<WriterId, BTreeSet<String>>,
}

impl Chain {
    fn add(&mut self, writer: WriterId, manifest: &Manifest) {
        self.previous.entry(writer).or_default().extend(manifest.previous);
        for (writer, name) in &manifest.heads {
            self.heads.entry(*writer).or_default().insert(name.clone());
        }
    }

    fn tell(self, catalog: &Catalog, findings: &mut Findings) {
        let here: HashSet<ObjectHash> = catalog.manifests.keys().map(|(_, name)| name.hash).collect();
        let mut gone: BTreeMap<WriterId, BTreeSet<String>> = BTreeMap::new();
        for (writer, hashes) in self.previous {
            let absent = hashes.into_iter().filter(|hash| !here.contains(hash)).map(|hash| hash.to_string());
            gone.entry(writer).or_default().extend(absent);
        }
        for (writer, names) in self.heads {
            for name in names {
                // `seq-hash`; the hash alone tells it from what `previous` names.
                let hash = name.split_once('-').map_or(&*name, |(_, hash)| hash);
                if !hash.parse().is_ok_and(|hash: ObjectHash| here.contains(&hash)) {
                    gone.entry(writer).or_default().insert(hash.to_owned());
                }
            }
        }
        for (writer, names) in gone.iter().filter(|(_, names)| !names.is_empty()) {
            let first = names.first().map(String::as_str).unwrap_or_default();
            findings.note(format!(
                "{} manifests of {writer} that others name are not here, such as {first}: forgotten and pruned, or withheld or \
                 lost",
                names.len()
            ));
        }
    }
}

/// Two manifests of one writer under one number.
fn forks(catalog: &Catalog, snapshots: &Snapshots, findings: &mut Findings) {
    let ids: Vec<_> = catalog.manifests.keys().collect();
    for same in ids.chunk_by(|a, b| a.0 == b.0 && a.1.seq == b.1.seq).filter(|same| same.len() > 1) {
        let (writer, name) = same[0];
        let host = snapshots.registry.get_even_removed(writer).map_or("unknown", |signer| &signer.name);
        findings.note(format!(
            "a fork: {writer} ({host}) has {} manifests of number {}; all count, but the key may be in use on two machines, or \
             the store showed an old state to one of them",
            same.len(),
            name.seq
        ));
    }
}
