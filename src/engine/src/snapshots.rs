//! Which snapshots exist: sealed by a signer that may write, not forgotten, not revoked, not superseded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use fardel_format::manifest::{self, Manifest};
use fardel_format::names::{FanOut, Name, Numbered};
use fardel_format::pack_list::{self, Bitmap, PackEntry};
use fardel_format::root::Root;
use fardel_format::signers::{Registry, Role, Signer};
use fardel_format::{Error as FormatError, ObjectHash, SnapshotId, WriterId, zjson};
use fardel_store::Key;

use crate::catalog::{Catalog, Stored, key_of};
use crate::repository::{Problem, Repository, Unread};
use crate::tombs::Tombs;
use crate::{Error, Result};

/// How often everything is listed again when collectors delete what was listed.
const ATTEMPTS: u32 = 5;

/// A snapshot whose seal was verified.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Who wrote it.
    pub writer: WriterId,
    /// Under which number.
    pub name: Numbered,
    /// What it needs.
    pub manifest: Manifest,
}

impl Sealed {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.manifest.snapshot
    }

    /// Its place among all snapshots: oldest first.
    fn order(&self) -> (String, Numbered) {
        (self.manifest.origin().created, self.name)
    }
}

/// The snapshots of a store, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Snapshots {
    /// Those that exist.
    pub sealed: Vec<Sealed>,
    /// Those that were forgotten, as far as what tells of them is still there.
    pub forgotten: Vec<Sealed>,
    /// What was sealed first of those that another manifest tells of now.
    pub superseded: Vec<Sealed>,
    /// Who may do what.
    pub registry: Registry,
    /// What was taken away.
    pub tombs: Tombs,
    /// Seals, manifests, records and tombs that do not verify.
    pub problems: Vec<Problem>,
}

impl Snapshots {
    /// Reads and verifies every seal of the catalog, for whoever writes or takes away. Needs no key.
    ///
    /// # Errors
    /// When the store fails, or does not give back a record, tomb, seal or manifest: a snapshot that nobody sees could be
    /// taken away.
    pub fn load(repo: &Repository, catalog: &Catalog) -> Result<Self> {
        let mut unread = Unread::default();
        let snapshots = Self::read(repo, catalog, &mut unread)?;
        unread.none(snapshots)
    }

    /// The same, with the listing that it is of: a new one where a collector deleted something after it was listed.
    ///
    /// # Errors
    /// As [`Snapshots::load`].
    pub fn load_lasting<'c>(repo: &Repository, catalog: &'c Catalog) -> Result<(Cow<'c, Catalog>, Self)> {
        let mut catalog = Cow::Borrowed(catalog);
        for _ in 1..ATTEMPTS {
            match Self::load(repo, &catalog) {
                Err(error) if error.is_gone() => {
                    catalog = Cow::Owned(Catalog::load(repo.store())?);
                }
                loaded => return loaded.map(|snapshots| (catalog, snapshots)),
            }
        }
        Self::load(repo, &catalog).map(|snapshots| (catalog, snapshots))
    }

    /// The same for whoever only reads: an object that cannot be read is among the problems, and hinders no other.
    ///
    /// # Errors
    /// When the store fails as a whole.
    pub fn load_for_reading(repo: &Repository, catalog: &Catalog) -> Result<Self> {
        Self::read(repo, catalog, &mut Unread::default())
    }

    fn read(repo: &Repository, catalog: &Catalog, unread: &mut Unread) -> Result<Self> {
        let (registry, mut problems) = repo.read_registry(catalog, unread)?;
        let tombs = Tombs::read(repo, catalog, &registry, unread)?;
        problems.extend(tombs.problems.iter().cloned());
        let mut sealed = Vec::new();
        let seals: Vec<_> =
            catalog.seals.iter().filter(|((_, name), _)| !tombs.revokes(&name.hash)).collect();
        let read = |((writer, name), seal): &(&(WriterId, Numbered), &Stored)| {
            // First whose seal it is: what nobody may have sealed is looked for nowhere.
            let signer = sealer(&registry, *writer, *name)
                .map_err(|error| Problem { object: seal.key.clone(), error });
            let signer = match signer {
                Ok(signer) => signer,
                Err(problem) => return Ok(Err(problem)),
            };
            let Some(manifest) = manifest_of(repo, catalog, *writer, *name) else {
                let error = FormatError::Truncated { what: "its manifest is missing: the snapshot" };
                return Ok(Err(Problem { object: seal.key.clone(), error }));
            };
            repo.signed(&manifest, seal, |manifest, seal| {
                verify(repo, signer, *writer, *name, manifest, seal)
            })
        };
        repo.store().for_many(&seals, read, |(_, seal), read| {
            match unread.settle(&seal.key, read)? {
                Ok(snapshot) => sealed.push(snapshot),
                // It is the seal that does not hold, whatever is wrong with the manifest.
                Err(problem) => problems.push(Problem { object: seal.key.clone(), ..problem }),
            }
            Ok::<_, Error>(())
        })?;
        // One that is revoked supersedes nothing, nor does one of another snapshot.
        let superseded: HashMap<ObjectHash, SnapshotId> =
            sealed.iter().filter_map(|s| Some((s.manifest.supersedes?, s.id()))).collect();
        sealed.sort_by_cached_key(Sealed::order);
        let (superseded, heads): (Vec<_>, Vec<_>) =
            sealed.into_iter().partition(|s| superseded.get(&s.name.hash) == Some(&s.id()));
        let (forgotten, sealed) = heads.into_iter().partition(|s| tombs.forgets(&s.manifest));
        Ok(Self { sealed, forgotten, superseded, registry, tombs, problems })
    }

    /// Finds a snapshot by id, unambiguous prefix, or `latest`.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, or more than one.
    pub fn find(&self, text: &str) -> Result<&Sealed> {
        if text == "latest" {
            let none = || Error::NotFound("there is no snapshot yet: make one with `fardel backup`".into());
            return self.sealed.last().ok_or_else(none);
        }
        let mut found: Option<&Sealed> = None;
        for snapshot in
            self.sealed.iter().filter(|s| !text.is_empty() && s.id().to_string().starts_with(text))
        {
            if found.is_some_and(|other| other.id() != snapshot.id()) {
                return Err(Error::NotFound(format!(
                    "{text} is the beginning of several snapshots: give more digits"
                )));
            }
            found = Some(snapshot);
        }
        found.ok_or_else(|| Error::NotFound(format!("no snapshot {text}: `fardel snapshots` lists them")))
    }
}

/// The manifest that a seal is about, as it was listed; or where it would lie, if another copy may have it.
fn manifest_of(repo: &Repository, catalog: &Catalog, writer: WriterId, name: Numbered) -> Option<Stored> {
    let listed = catalog.manifests.get(&(writer, name)).cloned();
    let elsewhere = || Stored { key: key_of(&Name::Manifest(writer, name), FanOut::FLAT), size: 0 };
    listed.or_else(|| repo.copies().are_there().then(elsewhere))
}

/// Who sealed under this number, if they might.
fn sealer(registry: &Registry, writer: WriterId, name: Numbered) -> Result<&Signer, FormatError> {
    let unknown = || FormatError::Forged {
        what: "a seal",
        why: format!("{writer} is no signer, or was removed before"),
    };
    // A signer that was removed later sealed its older snapshots rightfully.
    let signer = registry.honours(&writer, name.seq).ok_or_else(unknown)?;
    if !signer.roles.contains(&Role::Write) && !signer.roles.contains(&Role::Maintain) {
        return Err(FormatError::Forged { what: "a seal", why: format!("{} may not write", signer.name) });
    }
    Ok(signer)
}

fn verify(
    repo: &Repository,
    signer: &Signer,
    writer: WriterId,
    name: Numbered,
    manifest: &[u8],
    seal: &str,
) -> Result<Sealed, FormatError> {
    manifest::check_seal(manifest, repo.id(), &name, &signer.public_key, seal)?;
    let manifest = Manifest::from_bytes(manifest, repo.id(), &writer, &name)?;
    if manifest.needs_maintainer() && !signer.roles.contains(&Role::Maintain) {
        return Err(FormatError::Forged {
            what: "a seal",
            why: format!("{} may not supersede", signer.name),
        });
    }
    Ok(Sealed { writer, name, manifest })
}

impl Repository {
    /// The packs that a snapshot needs, sorted by hash.
    ///
    /// # Errors
    /// When a list is missing or damaged.
    pub fn closure(&self, catalog: &Catalog, manifest: &Manifest) -> Result<Vec<PackEntry>> {
        let mut packs = Vec::new();
        for list in &manifest.lists {
            let entries = self.list(catalog, &list.hash)?;
            let key = || key_of(&Name::List(list.hash), FanOut::FLAT);
            let bitmap =
                Bitmap::from_text(&list.packs, entries.len()).map_err(|e| Error::object(key(), e))?;
            packs.extend(entries.iter().enumerate().filter(|(i, _)| bitmap.get(*i)).map(|(_, pack)| *pack));
        }
        packs.sort_unstable();
        packs.dedup();
        Ok(packs)
    }

    /// A list of packs, read once.
    ///
    /// # Errors
    /// When it is damaged, or the store fails.
    pub(crate) fn list(&self, catalog: &Catalog, hash: &ObjectHash) -> Result<Arc<Vec<PackEntry>>> {
        self.lists().get_or_read(hash, || {
            self.hashed(catalog, (&Name::List(*hash), "a list"), |key, bytes| {
                pack_list::from_bytes(bytes).map_err(|e| Error::object(key, e))
            })
        })
    }

    /// Decrypts a snapshot's root.
    ///
    /// # Errors
    /// When it is missing or damaged, or no key opens it.
    pub fn root(&self, catalog: &Catalog, snapshot: &Sealed) -> Result<Root> {
        let name = Name::Root(snapshot.manifest.root.hash);
        self.hashed(catalog, (&name, "a root"), |key, bytes| self.open_root(snapshot, key, bytes))
    }

    fn open_root(&self, snapshot: &Sealed, key: &Key, bytes: &[u8]) -> Result<Root> {
        let damaged = |e| Error::object(key, e);
        let other = |why: &str| damaged(FormatError::Damaged { what: "a root", why: why.into() });
        let plain = zjson::open(bytes, &self.keys().readers).map_err(damaged)?;
        if Root::id(&plain) != snapshot.id() {
            return Err(other("it is another snapshot than its manifest says"));
        }
        let root = Root::from_bytes(&plain).map_err(damaged)?;
        if root.repository != *self.id() {
            return Err(other("it belongs to another repository"));
        }
        Ok(root)
    }
}
