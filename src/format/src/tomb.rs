//! Tombs: signed records that take something away, or that forbid to. A tomb is never withdrawn.

use serde::{Deserialize, Serialize};

use crate::ids::{ObjectHash, RepositoryId, SnapshotId, WriterId};
use crate::names::{Numbered, PackName};
use crate::sign::{PublicKey, SigningKey};
use crate::version;
use crate::{Error, Result};

/// What a tomb takes away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Takes {
    /// Snapshots that nobody wants any more.
    Forget {
        /// Which.
        snapshots: Vec<SnapshotId>,
        /// Whether that holds in every copy, or only in the store where the tomb lies.
        everywhere: bool,
    },
    /// What other tombs forget, each as if that tomb were here: those may be gone.
    MergedForgets {
        /// The same for all of them.
        everywhere: bool,
        /// The forgets.
        forgets: Vec<MergedForget>,
    },
    /// What is to be deleted: no new snapshot may rest on it.
    Condemn {
        /// Packs, each in one generation.
        packs: Vec<PackName>,
        /// Manifests that nobody sealed, roots and lists that no manifest names.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<ObjectHash>,
    },
    /// Snapshots that nobody may forget.
    Pin {
        /// Which.
        snapshots: Vec<SnapshotId>,
    },
    /// Pins that hold no more.
    Unpin {
        /// The tombs that pinned.
        pins: Vec<ObjectHash>,
    },
    /// Manifests and intents that never became a snapshot and now never will. Manifests were condemned before, and had no
    /// seal after that.
    Revoke {
        /// Hashes of manifests, or random names of intents.
        names: Vec<String>,
    },
}

/// A tomb that forgets, as another tomb tells it. It holds as far as the one that it names would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergedForget {
    /// Who signed it.
    pub writer: WriterId,
    /// Under which number.
    pub seq: u32,
    /// Its hash, by which manifests name it.
    pub tomb: ObjectHash,
    /// When, RFC 3339 UTC.
    pub created: String,
    /// What it forgets.
    pub snapshots: Vec<SnapshotId>,
}

/// A tomb.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tomb {
    /// Format version.
    pub fardel: u64,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// Who signs it.
    pub writer: PublicKey,
    /// The writer's number for it.
    pub seq: u32,
    /// When, RFC 3339 UTC.
    pub created: String,
    /// What it takes away.
    pub takes: Takes,
}

impl Tomb {
    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a tomb is plain data");
        text.push(b'\n');
        text
    }

    /// Reads the tomb of this name, with its signature.
    ///
    /// # Errors
    /// When it was not signed by `key`, or is not what its name says.
    pub fn from_bytes(
        bytes: &[u8],
        signature: &str,
        repository: &RepositoryId,
        name: &Numbered,
        key: &PublicKey,
    ) -> Result<Self> {
        let what = "a tomb";
        if ObjectHash::of(bytes) != name.hash {
            return Err(Error::damaged(what, "its hash differs from its name"));
        }
        key.verify(what, bytes, signature, &comment(repository, &key.writer(), name))?;
        version::check(what, bytes, 1)?;
        let tomb: Self = serde_json::from_slice(bytes).map_err(|e| Error::damaged(what, e))?;
        if tomb.repository != *repository || tomb.seq != name.seq || tomb.writer != *key {
            return Err(Error::damaged(what, "it belongs elsewhere"));
        }
        Ok(tomb)
    }
}

fn comment(repository: &RepositoryId, writer: &WriterId, name: &Numbered) -> String {
    format!("fardel tomb 1 {repository} {writer} {:08} {}", name.seq, name.hash)
}

/// Signs a tomb.
///
/// # Errors
/// When the key cannot sign.
pub fn sign(bytes: &[u8], repository: &RepositoryId, name: &Numbered, key: &SigningKey) -> Result<String> {
    key.sign(bytes, &comment(repository, &key.public().writer(), name))
}

#[cfg(test)]
mod tests;
