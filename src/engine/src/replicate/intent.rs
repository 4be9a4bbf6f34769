//! The intent in the target: as long as it lies there unrevoked, nobody collects what it names.

use fardel_format::ObjectHash;
use fardel_format::ids::Nonce;
use fardel_format::intent::Intent;
use fardel_format::names::{FanOut, Name, PackName};

use super::source::Source;
use crate::Result;
use crate::bridge::Blocking;
use crate::catalog::key_of;
use crate::tombs::Tombs;

/// Intents that were put: the last one names all that the earlier ones name.
pub struct Standing {
    earlier: Vec<Nonce>,
    nonce: Nonce,
    manifests: Vec<ObjectHash>,
    packs: Vec<PackName>,
}

impl Standing {
    /// Puts an intent.
    pub fn put(
        source: &Source<'_>,
        store: &Blocking,
        manifests: Vec<ObjectHash>,
        packs: Vec<PackName>,
    ) -> Result<Self> {
        let intent = Intent {
            fardel: 1,
            repository: *source.repo.id(),
            created: crate::time::now(),
            manifests: manifests.clone(),
            packs: packs.clone(),
        };
        let nonce = Nonce::random();
        store.put_same(&key_of(&Name::Intent(nonce), FanOut::FLAT), intent.to_bytes())?;
        Ok(Self { earlier: Vec::new(), nonce, manifests, packs })
    }

    /// Puts another one that names these packs too. The earlier ones stay until the end: a listing comes in pages, and one that
    /// looked too early for the new one could look too late for the old one.
    pub fn extend(self, source: &Source<'_>, store: &Blocking, more: Vec<PackName>) -> Result<Self> {
        let packs = [self.packs.clone(), more].concat();
        let mut next = Self::put(source, store, self.manifests, packs)?;
        next.earlier = self.earlier;
        next.earlier.push(self.nonce);
        Ok(next)
    }

    /// Whether a collector has given it up.
    pub fn is_revoked(&self, tombs: &Tombs) -> bool {
        tombs.revoked.contains(&self.nonce.to_string())
    }

    /// Removes them: everything that they named is sealed, or was given up.
    pub fn remove(self, store: &Blocking) -> Result<()> {
        for nonce in self.earlier.into_iter().chain([self.nonce]) {
            store.delete(&key_of(&Name::Intent(nonce), FanOut::FLAT))?;
        }
        Ok(())
    }
}
