//! The writer's protocol. Its steps are those of the model: put packs, put lists, root and index, put the manifest (the
//! intent), list tombs, then packs, put the seal, list revocations.

use std::collections::{BTreeMap, BTreeSet};

use fardel_format::ids::Nonce;
use fardel_format::manifest::{self, ListRef, Manifest, RootRef, VERSION};
use fardel_format::names::{Name, Numbered};
use fardel_format::pack_list::{self, Bitmap, PackEntry};
use fardel_format::root::Root;
use fardel_format::{ObjectHash, WriterId, age_file::Recipients, zjson};
use fardel_store::ErrorKind;

use crate::bridge::Blocking;
use crate::catalog::{Catalog, key_of};
use crate::index::is_usable;
use crate::repository::Repository;
use crate::snapshots::{Sealed, Snapshots, Tombs};
use crate::{Error, Result, lists};

/// Lists above this number are merged into one.
const MAX_LISTS: usize = 8;
/// Names that are tried for one list.
const LIST_NAMES: u32 = 3;

/// A snapshot of which everything is stored but the seal: it does not exist yet.
pub struct Unpublished<'a> {
    repo: &'a Repository,
    sealed: Sealed,
    bytes: Vec<u8>,
    closure: Vec<PackEntry>,
}

/// How publishing ended.
pub enum Outcome {
    /// The snapshot exists.
    Published(Box<Sealed>),
    /// These packs are condemned or gone: what lay in them must be written again.
    Lost(Vec<ObjectHash>),
    /// Somebody revoked the manifest: it must be written as a new one.
    Revoked,
}

/// Stores lists, root and manifest of a snapshot whose packs are stored.
///
/// # Errors
/// When the store fails, or no host key is at hand.
pub fn write<'a>(
    repo: &'a Repository,
    catalog: &Catalog,
    base: Option<&Manifest>,
    root: &Root,
    closure: Vec<PackEntry>,
    last: Option<&Sealed>,
) -> Result<Unpublished<'a>> {
    let host = repo
        .keys()
        .host
        .as_ref()
        .ok_or_else(|| Error::Key("sealing a snapshot needs this host's own key file".into()))?;
    let writer = host.signing.public().writer();
    let lists = put_lists(repo, catalog, base, &closure)?;

    let plain = root.to_bytes();
    let epoch = Recipients::x25519(&host.epoch).map_err(|e| Error::Key(e.to_string()))?;
    let stored = zjson::seal(&plain, &epoch).map_err(|e| Error::object("the root", e))?;
    let root_ref = RootRef { hash: ObjectHash::of(&stored), size: stored.len() as u64 };
    put(repo.store(), &Name::Root(root_ref.hash), catalog.roots.len(), stored)?;

    let seq = repo.next_seq(catalog, &writer).max(last.map_or(0, |sealed| sealed.name.seq + 1));
    repo.remember_seq(&writer, seq);
    let mine = catalog.manifests.keys().filter(|(w, _)| *w == writer).map(|(_, n)| *n).max_by_key(|n| n.seq);
    let manifest = Manifest {
        fardel: VERSION,
        repository: *repo.id(),
        writer: host.signing.public().clone(),
        seq,
        created: crate::time::now(),
        previous: last.map(|sealed| sealed.name.hash).or(mine.map(|n| n.hash)),
        heads: heads(catalog, &writer),
        snapshot: Root::id(&plain),
        root: root_ref,
        lists,
        supersedes: None,
    };
    let bytes = manifest.to_bytes();
    let name = Numbered { seq, hash: ObjectHash::of(&bytes) };
    put(repo.store(), &Name::Manifest(writer, name), catalog.manifests.len(), bytes.clone())?;
    Ok(Unpublished { repo, sealed: Sealed { writer, name, manifest }, bytes, closure })
}

impl Unpublished<'_> {
    /// Looks once more whether everything is there, seals, and looks whether the seal counts.
    ///
    /// # Errors
    /// When the store fails: then the snapshot may exist or not, and nothing was reported.
    pub fn publish(self) -> Result<Outcome> {
        let store = self.repo.store();
        // Tombs first, then packs: a pack that is condemned after the first listing is still there, since its
        // collector lists manifests after condemning, and finds this one.
        let tombs = load_tombs(self.repo)?;
        let packs = Catalog::load_prefix(store, "packs/")?;
        let lost: Vec<_> = self
            .closure
            .iter()
            .filter(|p| !is_usable(&packs, &tombs, &p.hash, p.size))
            .map(|p| p.hash)
            .collect();
        if !lost.is_empty() {
            return Ok(Outcome::Lost(lost));
        }
        let host =
            self.repo.keys().host.as_ref().ok_or_else(|| Error::Key("the host's key is gone".into()))?;
        let seal = manifest::seal(&self.bytes, self.repo.id(), &self.sealed.name, &host.signing)
            .map_err(|e| Error::Key(e.to_string()))?;
        let name = Name::Seal(self.sealed.writer, self.sealed.name);
        let fan_out = Catalog::fan_out(self.sealed.name.seq as usize);
        store.put_same(&key_of(&name, fan_out), seal.into_bytes())?;
        if load_tombs(self.repo)?.revoked.contains(&self.sealed.name.hash.to_string()) {
            return Ok(Outcome::Revoked);
        }
        Ok(Outcome::Published(Box::new(self.sealed)))
    }
}

fn load_tombs(repo: &Repository) -> Result<Tombs> {
    let signers = Catalog::load_prefix(repo.store(), "signers/")?;
    let (registry, _) = repo.registry(&signers)?;
    let tombs = Catalog::load_prefix(repo.store(), "tombs/")?;
    Tombs::load(repo, &tombs, &registry)
}

fn put(store: &Blocking, name: &Name, siblings: usize, bytes: Vec<u8>) -> Result<()> {
    Ok(store.put_same(&key_of(name, Catalog::fan_out(siblings)), bytes)?)
}

/// The newest manifest of every other writer.
fn heads(catalog: &Catalog, me: &WriterId) -> BTreeMap<WriterId, String> {
    let mut heads = BTreeMap::new();
    // In the order of names, so that the last of a writer is its newest.
    for (writer, name) in catalog.manifests.keys().filter(|(writer, _)| writer != me) {
        heads.insert(*writer, name.to_string());
    }
    heads
}

/// Says the closure in lists: those of `base` as far as they serve, and one for the rest.
fn put_lists(
    repo: &Repository,
    catalog: &Catalog,
    base: Option<&Manifest>,
    closure: &[PackEntry],
) -> Result<Vec<ListRef>> {
    let mut rest: BTreeSet<PackEntry> = closure.iter().copied().collect();
    let mut lists = Vec::new();
    let old = base.map(|manifest| &manifest.lists[..]).unwrap_or_default();
    for list in old.iter().filter(|_| old.len() < MAX_LISTS) {
        // A list that cannot be read is replaced by naming its packs anew.
        let stored = catalog.lists.get(&list.hash).filter(|stored| stored.size <= lists::MAX_SIZE);
        let Some(stored) = stored else { continue };
        let bytes = repo.store().get(&stored.key)?;
        let Ok(entries) = pack_list::from_bytes(&bytes) else { continue };
        if ObjectHash::of(&bytes) != list.hash {
            continue;
        }
        let mut bitmap = Bitmap::none(entries.len());
        let mut used = false;
        for (i, entry) in entries.iter().enumerate() {
            if rest.remove(entry) {
                bitmap.set(i);
                used = true;
            }
        }
        if used {
            lists.push(ListRef { packs: bitmap.to_text(), ..list.clone() });
        }
    }
    if !rest.is_empty() {
        lists.push(put_list(repo, catalog, &rest)?);
    }
    Ok(lists)
}

/// Stores one list of these packs. A bad store may have torn an earlier writing of the very same list, whose name is taken
/// for ever then: a line that the bitmap does not mark gives the next attempt another name.
fn put_list(repo: &Repository, catalog: &Catalog, wanted: &BTreeSet<PackEntry>) -> Result<ListRef> {
    let mut packs: Vec<_> = wanted.iter().copied().collect();
    for attempt in 1.. {
        let bytes = pack_list::to_bytes(&mut packs).map_err(|e| Error::object("a list of packs", e))?;
        let (hash, size) = (ObjectHash::of(&bytes), bytes.len() as u64);
        match put(repo.store(), &Name::List(hash), catalog.lists.len(), bytes) {
            Err(Error::Store(error)) if error.kind == ErrorKind::Exists && attempt < LIST_NAMES => {
                packs.push(PackEntry { hash: ObjectHash::of(&Nonce::random().0), size: 0 });
            }
            Err(error) => return Err(error),
            Ok(()) => {
                let mut bitmap = Bitmap::none(packs.len());
                let marked = packs.iter().enumerate().filter(|(_, pack)| wanted.contains(pack));
                marked.for_each(|(i, _)| bitmap.set(i));
                return Ok(ListRef { hash, size, count: packs.len() as u64, packs: bitmap.to_text() });
            }
        }
    }
    unreachable!("the last attempt returns")
}

/// The packs of a snapshot, if a new one may rest on all of them.
///
/// # Errors
/// When the store fails.
pub fn usable_closure(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &Snapshots,
    sealed: &Sealed,
) -> Result<Option<Vec<PackEntry>>> {
    let closure = match repo.closure(catalog, &sealed.manifest) {
        Ok(closure) => closure,
        Err(Error::Store(error)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    let usable = closure.iter().all(|pack| is_usable(catalog, &snapshots.tombs, &pack.hash, pack.size));
    Ok(usable.then_some(closure))
}
