//! The registry of signers: who may write, forget, maintain, acknowledge. Each record is signed by the root key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ObjectHash, RepositoryId, WriterId};
use crate::names::Numbered;
use crate::sign::{PublicKey, SigningKey};
use crate::version;
use crate::{Error, Result};

/// What a signer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Seal snapshots.
    Write,
    /// Forget the snapshots it sealed itself.
    ForgetOwn,
    /// Forget any, condemn, revoke, supersede.
    Maintain,
    /// Say what a replica holds.
    Acknowledge,
}

/// A key and what it may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// The key.
    pub public_key: PublicKey,
    /// For people: usually the host's name.
    pub name: String,
    /// What it may do.
    pub roles: Vec<Role>,
}

/// A signer that is removed, and the last of its snapshots that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Who.
    pub writer: WriterId,
    /// Its manifests up to this number stay; whatever it seals under a larger one counts for nothing.
    pub last_seq: u32,
    /// Likewise for its tombs.
    pub last_tomb: u32,
}

/// One record of the registry: what it adds and what it takes away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format version.
    pub fardel: u64,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// One more than the largest number seen.
    pub seq: u32,
    /// When, RFC 3339 UTC; for people.
    pub created: String,
    /// Signers that are new or have other roles now.
    pub signers: Vec<Signer>,
    /// Signers that may do nothing from now on.
    pub removed_signers: Vec<Removed>,
    /// Key files that are retired: no client uses them any more.
    pub retired_keys: Vec<ObjectHash>,
}

impl Record {
    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a record is plain data");
        text.push(b'\n');
        text
    }

    /// Reads the record of this name, with its signature.
    ///
    /// # Errors
    /// When it was not signed by `root`, or is not what its name says.
    pub fn from_bytes(
        bytes: &[u8],
        signature: &str,
        repository: &RepositoryId,
        name: &Numbered,
        root: &PublicKey,
    ) -> Result<Self> {
        let what = "a record of signers";
        if ObjectHash::of(bytes) != name.hash {
            return Err(Error::damaged(what, "its hash differs from its name"));
        }
        root.verify(what, bytes, signature, &comment(repository, name))?;
        version::check(what, bytes, 1)?;
        let record: Self = serde_json::from_slice(bytes).map_err(|e| Error::damaged(what, e))?;
        if record.repository != *repository || record.seq != name.seq {
            return Err(Error::damaged(what, "it belongs elsewhere"));
        }
        Ok(record)
    }
}

fn comment(repository: &RepositoryId, name: &Numbered) -> String {
    format!("fardel signers 1 {repository} {:08} {}", name.seq, name.hash)
}

/// Signs a record with the root key.
///
/// # Errors
/// When the key cannot sign.
pub fn sign(bytes: &[u8], repository: &RepositoryId, name: &Numbered, root: &SigningKey) -> Result<String> {
    root.sign(bytes, &comment(repository, name))
}

/// All records together.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    signers: BTreeMap<WriterId, Signer>,
    removed: BTreeMap<WriterId, (Signer, Removed)>,
    retired_keys: Vec<ObjectHash>,
    last_seq: u32,
}

impl Registry {
    /// Folds records in the order of their numbers and hashes.
    ///
    /// Of two with one number both hold, and what either takes away is gone: two administrators who worked at one time must
    /// not bring back whom one of them removed.
    #[must_use]
    pub fn from_records(mut records: Vec<(Numbered, Record)>) -> Self {
        records.sort_by_key(|(name, _)| *name);
        let mut registry = Self::default();
        for same_number in records.chunk_by(|(a, _), (b, _)| a.seq == b.seq) {
            registry.last_seq = same_number[0].0.seq;
            for signer in same_number.iter().flat_map(|(_, record)| &record.signers) {
                let id = signer.public_key.writer();
                registry.removed.remove(&id);
                registry.signers.insert(id, signer.clone());
            }
            for (_, record) in same_number {
                for removed in &record.removed_signers {
                    if let Some(signer) = registry.signers.remove(&removed.writer) {
                        registry.removed.insert(removed.writer, (signer, *removed));
                    } else if let Some((_, before)) = registry.removed.get_mut(&removed.writer) {
                        before.last_seq = before.last_seq.min(removed.last_seq);
                        before.last_tomb = before.last_tomb.min(removed.last_tomb);
                    }
                }
                registry.retired_keys.extend(&record.retired_keys);
            }
        }
        registry
    }

    /// The signer of this name, if it is known and not removed.
    #[must_use]
    pub fn get(&self, writer: &WriterId) -> Option<&Signer> {
        self.signers.get(writer)
    }

    /// The signer of this name even when it was removed: what it sealed before stays readable.
    #[must_use]
    pub fn get_even_removed(&self, writer: &WriterId) -> Option<&Signer> {
        self.signers.get(writer).or_else(|| self.removed.get(writer).map(|(signer, _)| signer))
    }

    /// The signer whose manifest of this number counts: one that is not removed, or was not when it wrote that number.
    ///
    /// A removed signer can still seal a second manifest under an old number; that is a fork, and `check` tells of it.
    #[must_use]
    pub fn honours(&self, writer: &WriterId, seq: u32) -> Option<&Signer> {
        self.signers.get(writer).or_else(|| self.removed_if(writer, |removed| seq <= removed.last_seq))
    }

    /// The signer whose tomb of this number counts.
    #[must_use]
    pub fn honours_tomb(&self, writer: &WriterId, seq: u32) -> Option<&Signer> {
        self.signers.get(writer).or_else(|| self.removed_if(writer, |removed| seq <= removed.last_tomb))
    }

    fn removed_if(&self, writer: &WriterId, counts: impl Fn(&Removed) -> bool) -> Option<&Signer> {
        self.removed.get(writer).filter(|(_, removed)| counts(removed)).map(|(signer, _)| signer)
    }

    /// Whether this signer may do that now.
    #[must_use]
    pub fn may(&self, writer: &WriterId, role: Role) -> bool {
        self.get(writer).is_some_and(|signer| signer.roles.contains(&role))
    }

    /// Every signer that is not removed.
    pub fn signers(&self) -> impl Iterator<Item = (&WriterId, &Signer)> {
        self.signers.iter()
    }

    /// Whether this key file was retired.
    #[must_use]
    pub fn is_retired(&self, key_file: &ObjectHash) -> bool {
        self.retired_keys.contains(key_file)
    }

    /// The number for the next record.
    #[must_use]
    pub fn next_seq(&self) -> u32 {
        self.last_seq.saturating_add(1).min(Numbered::MAX_SEQ)
    }
}

#[cfg(test)]
mod tests;
