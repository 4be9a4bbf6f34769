//! What tombs take away, as far as their signers may, and what pins forbid to take.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use fardel_format::ids::Generation;
use fardel_format::manifest::Manifest;
use fardel_format::names::{Numbered, PackName};
use fardel_format::signers::{Registry, Role, Signer};
use fardel_format::tomb::{MergedForget, Takes, Tomb};
use fardel_format::{ObjectHash, SnapshotId, WriterId};

use crate::catalog::{Catalog, Stored};
use crate::repository::{Problem, Repository, Unread};
use crate::{Error, Result};

/// How often tombs are listed anew when one of them is merged meanwhile.
const ATTEMPTS: u32 = 4;

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
    /// Who condemned something last, and when.
    pub collector: Option<(String, WriterId)>,
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
        let mut catalog = Cow::Borrowed(catalog);
        for _ in 1..ATTEMPTS {
            if let Some(tombs) = Self::read_listed(repo, &catalog, registry, unread, true)? {
                return Ok(tombs);
            }
            catalog = Cow::Owned(Catalog::load_prefix(repo.store(), "tombs/")?);
        }
        Ok(Self::read_listed(repo, &catalog, registry, unread, false)?.unwrap_or_default())
    }

    /// Nothing when it `may_begin_anew`, and a collector merged one of these tombs and deleted it after it was listed: then the
    /// merged one is in the next listing.
    fn read_listed(
        repo: &Repository,
        catalog: &Catalog,
        registry: &Registry,
        unread: &mut Unread,
        may_begin_anew: bool,
    ) -> Result<Option<Self>> {
        let (mut tombs, mut is_old) = (Self::default(), false);
        open_all(repo, catalog, registry, |id, signer, tomb| {
            is_old |= may_begin_anew && tomb.as_ref().is_err_and(Error::is_gone);
            if is_old {
                return Ok(());
            }
            match unread.settle(&catalog.tombs[&id].key, tomb)? {
                Ok(tomb) => tombs.add(id.0, signer, id.1.hash, tomb.takes, &tomb.created, registry),
                Err(problem) => tombs.problems.push(problem),
            }
            Ok(())
        })?;
        Ok((!is_old).then_some(tombs))
    }

    fn add(
        &mut self,
        by: WriterId,
        signer: &Signer,
        hash: ObjectHash,
        takes: Takes,
        created: &str,
        registry: &Registry,
    ) {
        let maintains = signer.roles.contains(&Role::Maintain);
        let forgets = maintains || signer.roles.contains(&Role::ForgetOwn);
        let signed = Signed { by, maintains };
        match takes {
            Takes::Forget { snapshots, .. } if forgets => {
                for id in snapshots {
                    let known = self.forgotten.entry(id).or_default();
                    // The tomb and one that it was merged into may both be here.
                    if !known.iter().any(|forget| forget.tomb == hash && forget.signed == signed) {
                        known.push(Forget { tomb: hash, created: created.to_owned(), signed });
                    }
                }
            }
            Takes::MergedForgets { forgets: merged, .. } if forgets => {
                // Nobody tells of another's tombs but who could forget all that they forget.
                let may = |merged: &MergedForget| maintains || merged.writer == by;
                merged.into_iter().filter(may).for_each(|merged| self.add_merged(merged, registry));
            }
            Takes::Pin { snapshots } if forgets => {
                snapshots.into_iter().for_each(|id| self.pins.entry(id).or_default().push((hash, signed)));
            }
            Takes::Unpin { pins } if forgets => {
                pins.into_iter().for_each(|pin| self.unpinned.entry(pin).or_default().push(signed));
            }
            Takes::Condemn { packs, others } if maintains => {
                self.collector = self.collector.take().max(Some((created.to_owned(), by)));
                for PackName { hash, generation } in packs {
                    self.condemned.entry((hash, generation)).or_insert_with(|| created.to_owned());
                }
                for hash in others {
                    self.condemned_others.entry(hash).or_insert_with(|| created.to_owned());
                }
            }
            Takes::Revoke { names } if maintains => self.revoked.extend(names),
            // Whoever may not do it has not done it.
            _ => {}
        }
    }

    /// Adds what the tomb that was merged would: its signer may no more than he could.
    fn add_merged(&mut self, merged: MergedForget, registry: &Registry) {
        let MergedForget { writer, seq, tomb, created, snapshots } = merged;
        if let Some(signer) = registry.honours_tomb(&writer, seq) {
            self.add(
                writer,
                signer,
                tomb,
                Takes::Forget { snapshots, everywhere: false },
                &created,
                registry,
            );
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

    /// Every tomb that forgets something, whether it is here or merged into another one.
    pub fn all_forgets(&self) -> impl Iterator<Item = &ObjectHash> {
        self.forgotten.values().flatten().map(|forget| &forget.tomb)
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

    /// Whether any tomb ever pinned this snapshot, lifted or not.
    #[must_use]
    pub fn names_pinned(&self, snapshot: &SnapshotId) -> bool {
        self.pins.contains_key(snapshot)
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

    /// Whether any copy of this pack was ever condemned.
    #[must_use]
    pub fn condemns_any(&self, hash: &ObjectHash) -> bool {
        self.condemned.keys().any(|(condemned, _)| condemned == hash)
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

/// A tomb, where it and its signature lie, and whose it is.
type Listed<'a, 's> = ((WriterId, Numbered), &'a Stored, &'a Stored, &'s Signer);

/// Reads every tomb with a signature of somebody who counts, many at once, and hands each with its signer to `then`, in the order
/// of their names.
pub(crate) fn open_all<'a>(
    repo: &Repository,
    catalog: &Catalog,
    registry: &'a Registry,
    mut then: impl FnMut((WriterId, Numbered), &'a Signer, Result<Result<Tomb, Problem>>) -> Result<()>,
) -> Result<()> {
    let listed = catalog.tombs.iter().filter_map(|(id, stored)| {
        let signer = registry.honours_tomb(&id.0, id.1.seq)?;
        Some((*id, stored, catalog.tomb_sigs.get(id)?, signer))
    });
    let listed: Vec<Listed<'_, 'a>> = listed.collect();
    let opened = |(id, stored, signature, signer): &Listed<'_, '_>| open(repo, id, stored, signature, signer);
    repo.store().for_many(&listed, opened, |(id, _, _, signer), tomb| then(*id, signer, tomb))
}

/// Reads a tomb with its signature.
pub(crate) fn open(
    repo: &Repository,
    (_, name): &(WriterId, Numbered),
    stored: &Stored,
    signature: &Stored,
    signer: &Signer,
) -> Result<Result<Tomb, Problem>> {
    repo.signed(stored, signature, |bytes, signature| {
        Tomb::from_bytes(bytes, signature, repo.id(), name, &signer.public_key)
    })
}
