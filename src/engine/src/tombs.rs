//! What tombs take away, as far as their signers may, and what pins forbid to take.

use std::collections::{HashMap, HashSet};

use fardel_format::ids::Generation;
use fardel_format::manifest::Manifest;
use fardel_format::names::PackName;
use fardel_format::signers::{Registry, Role, Signer};
use fardel_format::tomb::{Takes, Tomb};
use fardel_format::{ObjectHash, SnapshotId, WriterId};

use crate::Result;
use crate::catalog::Catalog;
use crate::repository::{Problem, Repository, Unread};

/// A pack in one generation.
pub type PackCopyId = (ObjectHash, Option<Generation>);

/// A signer as far as forgetting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signed {
    by: WriterId,
    maintains: bool,
}

impl Signed {
    /// Whether it may decide about a snapshot of this writer.
    fn may(self, origin: &WriterId) -> bool {
        self.maintains || self.by == *origin
    }
}

/// One tomb that forgets a snapshot.
#[derive(Clone, Debug)]
pub struct Forget {
    /// The tomb.
    pub tomb: ObjectHash,
    /// When, RFC 3339 UTC, as its signer's clock told.
    pub created: String,
    signed: Signed,
}

/// What tombs take away, as far as their signers may.
#[derive(Clone, Debug, Default)]
pub struct Tombs {
    forgotten: HashMap<SnapshotId, Vec<Forget>>,
    pins: HashMap<SnapshotId, Vec<(ObjectHash, Signed)>>,
    unpinned: HashMap<ObjectHash, Vec<Signed>>,
    /// Packs that no new snapshot may rest on, and since when.
    pub condemned: HashMap<PackCopyId, String>,
    /// Manifests, roots and lists that no new snapshot may rest on, and since when.
    pub condemned_others: HashMap<ObjectHash, String>,
    /// Manifests (hashes) and intents that never become snapshots.
    pub revoked: HashSet<String>,
    /// Tombs that do not verify.
    pub problems: Vec<Problem>,
}

impl Tombs {
    /// Reads every tomb of the catalog.
    ///
    /// # Errors
    /// When the store fails, or does not give one of them back: what it takes away would count again.
    pub fn load(repo: &Repository, catalog: &Catalog, registry: &Registry) -> Result<Self> {
        let mut unread = Unread::default();
        let tombs = Self::read(repo, catalog, registry, &mut unread)?;
        unread.none(tombs)
    }

    pub(crate) fn read(
        repo: &Repository,
        catalog: &Catalog,
        registry: &Registry,
        unread: &mut Unread,
    ) -> Result<Self> {
        let mut tombs = Self::default();
        for ((writer, name), stored) in &catalog.tombs {
            let signer = registry.honours_tomb(writer, name.seq);
            let (Some(signer), Some(signature)) = (signer, catalog.tomb_sigs.get(&(*writer, *name))) else {
                continue;
            };
            let tomb = repo.signed(stored, signature, |bytes, signature| {
                Tomb::from_bytes(bytes, signature, repo.id(), name, &signer.public_key)
            });
            match unread.settle(&stored.key, tomb)? {
                Ok(tomb) => tombs.add(*writer, signer, name.hash, tomb),
                Err(problem) => tombs.problems.push(problem),
            }
        }
        Ok(tombs)
    }

    fn add(&mut self, by: WriterId, signer: &Signer, hash: ObjectHash, tomb: Tomb) {
        let maintains = signer.roles.contains(&Role::Maintain);
        let forgets = maintains || signer.roles.contains(&Role::ForgetOwn);
        let signed = Signed { by, maintains };
        match tomb.takes {
            Takes::Forget { snapshots, .. } if forgets => {
                for id in snapshots {
                    let forget = Forget { tomb: hash, created: tomb.created.clone(), signed };
                    self.forgotten.entry(id).or_default().push(forget);
                }
            }
            Takes::Pin { snapshots } if forgets => {
                snapshots.into_iter().for_each(|id| self.pins.entry(id).or_default().push((hash, signed)));
            }
            Takes::Unpin { pins } if forgets => {
                pins.into_iter().for_each(|pin| self.unpinned.entry(pin).or_default().push(signed));
            }
            Takes::Condemn { packs, others } if maintains => {
                for PackName { hash, generation } in packs {
                    self.condemned.entry((hash, generation)).or_insert_with(|| tomb.created.clone());
                }
                for hash in others {
                    self.condemned_others.entry(hash).or_insert_with(|| tomb.created.clone());
                }
            }
            Takes::Revoke { names } if maintains => self.revoked.extend(names),
            // Whoever may not do it has not done it.
            _ => {}
        }
    }

    /// Whether the snapshot of this manifest was forgotten by its own writer or a maintainer, is not pinned, and this
    /// manifest does not stand despite that.
    #[must_use]
    pub fn forgets(&self, manifest: &Manifest) -> bool {
        !self.pins(manifest) && self.forgetting(manifest).next().is_some()
    }

    /// The tombs that forget the snapshot of this manifest and hold for it, pinned or not.
    pub fn forgetting<'a>(&'a self, manifest: &'a Manifest) -> impl Iterator<Item = &'a Forget> {
        let origin = manifest.origin().writer;
        let forgets = self.forgotten.get(&manifest.snapshot).into_iter().flatten();
        forgets.filter(move |forget| forget.signed.may(&origin) && !manifest.despite.contains(&forget.tomb))
    }

    /// Every snapshot that any tomb forgets.
    pub fn all_forgotten(&self) -> impl Iterator<Item = &SnapshotId> {
        self.forgotten.keys()
    }

    /// Whether any tomb of its writer or a maintainer names this snapshot as forgotten.
    #[must_use]
    pub fn names_forgotten(&self, snapshot: &SnapshotId, writer: &WriterId) -> bool {
        self.forgotten.get(snapshot).is_some_and(|forgets| forgets.iter().any(|f| f.signed.may(writer)))
    }

    /// Whether nobody may forget the snapshot of this manifest.
    #[must_use]
    pub fn pins(&self, manifest: &Manifest) -> bool {
        self.pins_of(manifest).next().is_some()
    }

    /// The tombs that pin the snapshot of this manifest.
    pub fn pins_of<'a>(&'a self, manifest: &'a Manifest) -> impl Iterator<Item = ObjectHash> + 'a {
        let origin = manifest.origin().writer;
        let pins = self.pins.get(&manifest.snapshot).into_iter().flatten();
        let holds = move |(tomb, signed): &&(ObjectHash, Signed)| {
            let lifts = |by: &Signed| by.maintains || by.by == signed.by;
            let lifted = self.unpinned.get(tomb).is_some_and(|by| by.iter().any(lifts));
            signed.may(&origin) && !lifted
        };
        pins.filter(holds).map(|(tomb, _)| *tomb)
    }

    /// Whether nobody may rest on this pack in this generation any more.
    #[must_use]
    pub fn condemns(&self, hash: &ObjectHash, generation: Option<Generation>) -> bool {
        self.condemned.contains_key(&(*hash, generation))
    }

    /// Whether this manifest, root or list may vanish although nothing forgets it.
    #[must_use]
    pub fn condemns_other(&self, hash: &ObjectHash) -> bool {
        self.condemned_others.contains_key(hash)
    }

    /// Whether this manifest will never be a snapshot.
    #[must_use]
    pub fn revokes(&self, manifest: &ObjectHash) -> bool {
        self.revoked.contains(&manifest.to_string())
    }
}
