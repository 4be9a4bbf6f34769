//! Manifests and seals: the plain inventory of a snapshot, and the signature that makes the snapshot exist.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ObjectHash, RepositoryId, SnapshotId, WriterId};
use crate::names::Numbered;
use crate::sign::{PublicKey, SigningKey};
use crate::version;
use crate::{Error, Result};

/// Format version of manifests.
pub const VERSION: u64 = 1;
/// Manifests beyond this are refused, in bytes.
pub const MAX_SIZE: u64 = 64 << 20;

/// A list and which of its lines are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRef {
    /// The list.
    pub hash: ObjectHash,
    /// Its stored size in bytes.
    pub size: u64,
    /// How many lines it has.
    pub count: u64,
    /// Base64 of a bitmap over the lines: bit `i % 8` of byte `i / 8`.
    pub packs: String,
}

/// The root of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRef {
    /// BLAKE3 of the stored bytes.
    pub hash: ObjectHash,
    /// Stored size in bytes.
    pub size: u64,
}

/// Whose a snapshot is when another manifest than its first one tells what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who sealed it first.
    pub writer: WriterId,
    /// Under which number.
    pub seq: u32,
    /// When, RFC 3339 UTC.
    pub created: String,
}

/// Everything a snapshot needs, without any secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version.
    pub fardel: u64,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// Who wrote and signs it.
    pub writer: PublicKey,
    /// The writer's number for it.
    pub seq: u32,
    /// When it was written, RFC 3339 UTC; for people, no protocol rests on it.
    pub created: String,
    /// The writer's manifest before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<ObjectHash>,
    /// The newest manifest of each other writer that was seen: `seq-hash`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heads: BTreeMap<WriterId, String>,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Where its root lies.
    pub root: RootRef,
    /// The packs it needs; it may name more.
    pub lists: Vec<ListRef>,
    /// The manifest of the same snapshot that this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<ObjectHash>,
    /// Whose the snapshot is, where it is not the writer's of this manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Tombs that forget the snapshot, and do not hold for this manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub despite: Vec<ObjectHash>,
}

impl Manifest {
    /// Whose the snapshot is, and its place in the order of that writer's snapshots.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let own = || Origin { writer: self.writer.writer(), seq: self.seq, created: self.created.clone() };
        self.origin.clone().unwrap_or_else(own)
    }

    /// Whether only a maintainer may seal it.
    #[must_use]
    pub fn needs_maintainer(&self) -> bool {
        self.supersedes.is_some() || self.origin.is_some() || !self.despite.is_empty()
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a manifest is plain data");
        text.push(b'\n');
        text
    }

    /// Reads the manifest stored under `writer` and `name`.
    ///
    /// # Errors
    /// When the bytes have another hash, are no manifest of this version, or belong to another repository, writer or number,
    /// or are more than [`MAX_SIZE`].
    pub fn from_bytes(
        bytes: &[u8],
        repository: &RepositoryId,
        writer: &WriterId,
        name: &Numbered,
    ) -> Result<Self> {
        let what = "a manifest";
        if bytes.len() as u64 > MAX_SIZE {
            return Err(Error::TooLarge { what, limit: MAX_SIZE });
        }
        if ObjectHash::of(bytes) != name.hash {
            return Err(Error::damaged(what, "its hash differs from its name"));
        }
        version::check(what, bytes, VERSION)?;
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| Error::damaged(what, e))?;
        if manifest.repository != *repository {
            return Err(Error::damaged(what, "it belongs to another repository"));
        }
        if manifest.writer.writer() != *writer || manifest.seq != name.seq {
            return Err(Error::damaged(what, "it belongs under another name"));
        }
        Ok(manifest)
    }
}

/// The trusted comment of a seal: it ties the signature to one place in one repository, and holds no time, so that it can be
/// told beforehand.
#[must_use]
pub fn seal_comment(repository: &RepositoryId, writer: &WriterId, name: &Numbered) -> String {
    format!("fardel seal 1 {repository} {writer} {:08} {}", name.seq, name.hash)
}

/// Signs a manifest.
///
/// # Errors
/// When the key cannot sign.
pub fn seal(manifest: &[u8], repository: &RepositoryId, name: &Numbered, key: &SigningKey) -> Result<String> {
    key.sign(manifest, &seal_comment(repository, &key.public().writer(), name))
}

/// Whether `seal` seals these bytes under this name.
///
/// # Errors
/// [`Error::Forged`] when not.
pub fn check_seal(
    manifest: &[u8],
    repository: &RepositoryId,
    name: &Numbered,
    key: &PublicKey,
    seal: &str,
) -> Result<()> {
    key.verify("a seal", manifest, seal, &seal_comment(repository, &key.writer(), name))
}

#[cfg(test)]
mod tests;
