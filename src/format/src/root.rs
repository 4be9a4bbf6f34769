//! Roots: the snapshot itself, kept encrypted.

use serde::{Deserialize, Serialize};

use crate::ids::{Nonce, RepositoryId, SnapshotId};
use crate::lines;
use crate::tree::{self, Node};
use crate::version;
use crate::{Error, Result};

/// Format version of roots.
pub const VERSION: u64 = 1;

/// One thing that was backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it lay: an absolute path, or the name given to standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The path as base64 when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
    /// Its metadata and content.
    pub node: Node,
}

impl Source {
    /// A source at `path`.
    #[must_use]
    pub fn new(path: &[u8], node: Node) -> Self {
        let (path, path_b64) = tree::text_or_base64(path);
        Self { path, path_b64, node }
    }

    /// The bytes of the path.
    ///
    /// # Errors
    /// When there is none.
    pub fn path_bytes(&self) -> Result<std::borrow::Cow<'_, [u8]>> {
        tree::bytes_of("a source's path", self.path.as_deref(), self.path_b64.as_deref())
    }
}

/// What the backup that made a snapshot counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Files and volumes.
    #[serde(with = "lines::big")]
    pub files: u64,
    /// Folders.
    #[serde(with = "lines::big")]
    pub dirs: u64,
    /// Everything else.
    #[serde(with = "lines::big")]
    pub others: u64,
    /// Their bytes, holes included; a sparse file can make that a very large number.
    #[serde(with = "lines::big")]
    pub bytes: u64,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Format version.
    pub fardel: u64,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// Random, so that a snapshot's id says nothing about what is in it.
    pub salt: Nonce,
    /// The run that made it: checkpoints of a run share this with its finished snapshot.
    pub run: Nonce,
    /// Whether it is a checkpoint of a backup that was not finished then.
    pub partial: bool,
    /// When the run began, RFC 3339 with nanoseconds, UTC.
    pub time: String,
    /// The machine.
    pub host: String,
    /// Who ran it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The snapshot that unchanged files were taken over from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SnapshotId>,
    /// What was saved.
    pub sources: Vec<Source>,
    /// How much that is.
    pub totals: Totals,
    /// Sources or entries that could not be read.
    pub unreadable: u64,
    /// The program that wrote it.
    pub program: String,
}

impl Root {
    /// The plain bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("a root is plain data");
        text.push(b'\n');
        text
    }

    /// The id of the snapshot with these plain bytes.
    #[must_use]
    pub fn id(plain: &[u8]) -> SnapshotId {
        SnapshotId(*blake3::hash(plain).as_bytes())
    }

    /// Reads a root.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn from_bytes(plain: &[u8]) -> Result<Self> {
        version::check("a root", plain, VERSION)?;
        serde_json::from_slice(plain).map_err(|e| Error::damaged("a root", e))
    }
}

#[cfg(test)]
mod tests;
