//! Intents: what a replicator is about to complete in a store. Whoever collects garbage there keeps what an intent names.
//!
//! Nobody signs an intent, since a replicator has no key: it can only keep things, never take any away.

use serde::{Deserialize, Serialize};

use crate::ids::{ObjectHash, RepositoryId};
use crate::names::PackName;
use crate::version;
use crate::{Error, Result};

/// An intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Format version.
    pub fardel: u64,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// When, RFC 3339 UTC, as the replicator's clock told.
    pub created: String,
    /// Hashes of the manifests that are to be sealed here.
    pub manifests: Vec<ObjectHash>,
    /// The packs that they will rest on, there already or not.
    pub packs: Vec<PackName>,
}

impl Intent {
    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("an intent is plain data");
        text.push(b'\n');
        text
    }

    /// Reads an intent.
    ///
    /// # Errors
    /// When it is none, or one of another repository.
    pub fn from_bytes(bytes: &[u8], repository: &RepositoryId) -> Result<Self> {
        let what = "an intent";
        version::check(what, bytes, 1)?;
        let intent: Self = serde_json::from_slice(bytes).map_err(|e| Error::damaged(what, e))?;
        if intent.repository != *repository {
            return Err(Error::damaged(what, "it belongs to another repository"));
        }
        Ok(intent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Generation;
    use crate::samples;

    #[test]
    fn intents_read_back() {
        let intent = Intent {
            fardel: 1,
            repository: samples::repository(),
            created: "2026-11-23T14:00:00Z".into(),
            manifests: vec![samples::hash(1)],
            packs: vec![
                PackName { hash: samples::hash(2), generation: None },
                PackName { hash: samples::hash(2), generation: Some(Generation([1, 2, 3, 4])) },
            ],
        };
        let bytes = intent.to_bytes();
        assert_eq!(Intent::from_bytes(&bytes, &intent.repository).unwrap(), intent);
        assert!(Intent::from_bytes(&bytes, &RepositoryId([0; 32])).is_err());
        for len in 0..bytes.len() - 1 {
            assert!(Intent::from_bytes(&bytes[..len], &intent.repository).is_err(), "the first {len} bytes");
        }
        let newer = String::from_utf8(bytes).unwrap().replacen("\"fardel\":1", "\"fardel\":2", 1);
        let error = Intent::from_bytes(newer.as_bytes(), &intent.repository).unwrap_err();
        assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error}");
    }
}
