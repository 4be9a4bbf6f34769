//! The writer's protocol. Its steps are those of the model: put packs, put lists, root and index, put the manifest (the
//! intent), list tombs, then packs, put the seal, list revocations.

use std::collections::{BTreeMap, BTreeSet};

use fardel_format::ids::Nonce;
use fardel_format::keys::HostKey;
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
use crate::snapshots::{Sealed, Snapshots};
use crate::tombs::Tombs;
use crate::{Error, Result, lists};

/// Lists above this number are merged into one.
const MAX_LISTS: usize = 8;
/// Names that are tried for one list.
const LIST_NAMES: u32 = 3;

/// How often a manifest is written anew when collectors give up what it needs beside packs, or the manifest itself.
const ATTEMPTS: u32 = 5;

/// A snapshot of which everything is stored but the seal: it does not exist yet.
pub struct Unpublished<'a> {
    repo: &'a Repository,
    catalog: &'a Catalog,
    sealed: Sealed,
    bytes: Vec<u8>,
    closure: Vec<PackEntry>,
    /// The plain root; `None` while one that is stored already serves.
    root: Option<Vec<u8>>,
}

/// How publishing ended.
pub enum Outcome {
    /// The snapshot exists.
    Published(Box<Sealed>),
    /// These packs are condemned or gone: what lay in them must be written again.
    Lost(Vec<ObjectHash>),
    /// Collectors gave up every manifest that was written.
    Revoked,
}

/// Stores lists, root and manifest of a snapshot whose packs are stored.
///
/// # Errors
/// When the store fails, or no host key is at hand.
pub fn write<'a>(
    repo: &'a Repository,
    catalog: &'a Catalog,
    tombs: &Tombs,
    base: Option<&Manifest>,
    root: &Root,
    closure: Vec<PackEntry>,
    last: Option<&Sealed>,
) -> Result<Unpublished<'a>> {
    let host = signer(repo)?;
    let writer = host.signing.public().writer();
    let lists = put_lists(repo, catalog, tombs, base, &closure)?;
    let plain = root.to_bytes();
    let root = put_root(repo, catalog, &plain)?;
    let mine = catalog.manifests.keys().filter(|(w, _)| *w == writer).map(|(_, n)| *n).max_by_key(|n| n.seq);
    let manifest = Manifest {
        fardel: VERSION,
        repository: *repo.id(),
        writer: host.signing.public().clone(),
        seq: repo.next_seq(catalog, &writer).max(last.map_or(0, |sealed| sealed.name.seq + 1)),
        created: crate::time::now(),
        previous: last.map(|sealed| sealed.name.hash).or(mine.map(|n| n.hash)),
        heads: heads(catalog, &writer),
        snapshot: Root::id(&plain),
        root,
        lists,
        supersedes: None,
        origin: None,
        despite: Vec::new(),
    };
    Unpublished::put(repo, catalog, manifest, closure, Some(plain))
}

/// Stores lists and manifest that say anew what a snapshot needs, and that replace `old`; the manifest stands despite the
/// tombs in `despite` and those that `old` stands despite. A root that is given is stored anew.
///
/// # Errors
/// When the store fails, or no host key is at hand.
pub fn supersede<'a>(
    repo: &'a Repository,
    catalog: &'a Catalog,
    tombs: &Tombs,
    old: &Sealed,
    closure: Vec<PackEntry>,
    root: Option<&Root>,
    despite: &[ObjectHash],
) -> Result<Unpublished<'a>> {
    let host = signer(repo)?;
    let writer = host.signing.public().writer();
    let plain = root.map(Root::to_bytes);
    let root = plain.as_ref().map(|plain| put_root(repo, catalog, plain)).transpose()?;
    let manifest = Manifest {
        writer: host.signing.public().clone(),
        seq: repo.next_seq(catalog, &writer),
        created: crate::time::now(),
        previous: None,
        heads: BTreeMap::new(),
        root: root.unwrap_or(old.manifest.root),
        lists: put_lists(repo, catalog, tombs, Some(&old.manifest), &closure)?,
        supersedes: Some(old.name.hash),
        origin: Some(old.manifest.origin()),
        despite: old.manifest.despite.iter().chain(despite).copied().collect(),
        ..old.manifest.clone()
    };
    Unpublished::put(repo, catalog, manifest, closure, plain)
}

impl<'a> Unpublished<'a> {
    fn put(
        repo: &'a Repository,
        catalog: &'a Catalog,
        manifest: Manifest,
        closure: Vec<PackEntry>,
        root: Option<Vec<u8>>,
    ) -> Result<Self> {
        let (writer, seq) = (manifest.writer.writer(), manifest.seq);
        repo.remember_seq(&writer, seq);
        let bytes = manifest.to_bytes();
        let name = Numbered { seq, hash: ObjectHash::of(&bytes) };
        put(repo.store(), &Name::Manifest(writer, name), catalog.manifests.len(), bytes.clone())?;
        Ok(Self { repo, catalog, sealed: Sealed { writer, name, manifest }, bytes, closure, root })
    }

    /// Looks once more whether everything is there, seals, and looks whether the seal counts.
    ///
    /// # Errors
    /// When the store fails: then the snapshot may exist or not, and nothing was reported.
    pub fn publish(self) -> Result<Outcome> {
        let outcome = publish_all(self.repo, vec![self])?.pop();
        outcome.ok_or_else(|| Error::Damaged("there was nothing to publish".into()))
    }

    fn seal(&self) -> Result<()> {
        let Sealed { writer, name, .. } = &self.sealed;
        let seal = manifest::seal(&self.bytes, self.repo.id(), name, &signer(self.repo)?.signing)
            .map_err(|e| Error::Key(e.to_string()))?;
        let fan_out = Catalog::fan_out(name.seq as usize);
        Ok(self.repo.store().put_same(&key_of(&Name::Seal(*writer, *name), fan_out), seal.into_bytes())?)
    }

    /// Whether a collector counts on this manifest, its root or its lists no more. It may have been the last to look: a
    /// condemned manifest is revoked only if it had no seal after that, and nobody knows here when the collector looked.
    fn is_given_up(&self, tombs: &Tombs) -> bool {
        let Manifest { root, lists, .. } = &self.sealed.manifest;
        let own = [&self.sealed.name.hash, &root.hash];
        tombs.revokes(&self.sealed.name.hash)
            || own
                .into_iter()
                .chain(lists.iter().map(|list| &list.hash))
                .any(|hash| tombs.condemns_other(hash))
    }

    /// The same snapshot under a new manifest; nothing, when its root goes and is not at hand.
    fn anew(self, tombs: &Tombs) -> Result<Option<Self>> {
        let Self { repo, catalog, sealed: Sealed { mut manifest, .. }, closure, root, .. } = self;
        if tombs.condemns_other(&manifest.root.hash) {
            let Some(plain) = &root else { return Ok(None) };
            manifest.root = put_root(repo, catalog, plain)?;
        }
        manifest.lists = put_lists(repo, catalog, tombs, None, &closure)?;
        manifest.seq += 1;
        manifest.created = crate::time::now();
        Self::put(repo, catalog, manifest, closure, root).map(Some)
    }
}

/// Publishes several, with one look at the store for all of them. The outcomes come in their order.
///
/// # Errors
/// When the store fails: then each of the snapshots may exist or not, and nothing was reported.
pub fn publish_all(repo: &Repository, unpublished: Vec<Unpublished<'_>>) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<_> = unpublished.iter().map(|_| Outcome::Revoked).collect();
    let mut waiting: Vec<_> = unpublished.into_iter().enumerate().collect();
    for _ in 0..ATTEMPTS {
        if waiting.is_empty() {
            break;
        }
        // Tombs first, then packs: a pack that is condemned after the first listing is still there, since its collector
        // lists manifests after condemning, and finds these.
        let tombs = load_tombs(repo)?;
        let packs = Catalog::load_prefix(repo.store(), "packs/")?;
        let (mut sealed, mut again) = (Vec::new(), Vec::new());
        for (i, one) in waiting {
            let gone = one.closure.iter().filter(|p| !is_usable(&packs, &tombs, &p.hash, p.size));
            let lost: Vec<_> = gone.map(|p| p.hash).collect();
            if !lost.is_empty() {
                outcomes[i] = Outcome::Lost(lost);
            } else if one.is_given_up(&tombs) {
                again.extend(one.anew(&tombs)?.map(|one| (i, one)));
            } else {
                sealed.push((i, one));
            }
        }
        if !sealed.is_empty() {
            repo.store().for_many(&sealed, |(_, one)| one.seal(), |_, done| done)?;
            let tombs = load_tombs(repo)?;
            for (i, one) in sealed {
                if one.is_given_up(&tombs) {
                    again.extend(one.anew(&tombs)?.map(|one| (i, one)));
                } else {
                    outcomes[i] = Outcome::Published(Box::new(one.sealed));
                }
            }
        }
        waiting = again;
    }
    Ok(outcomes)
}

/// The key that signs here.
///
/// # Errors
/// [`Error::Key`] without a host's own key file.
pub fn signer(repo: &Repository) -> Result<&HostKey> {
    let none = || Error::Key("sealing a snapshot needs this host's own key file".into());
    repo.keys().host.as_deref().ok_or_else(none)
}

fn put_root(repo: &Repository, catalog: &Catalog, plain: &[u8]) -> Result<RootRef> {
    let epoch = Recipients::x25519(&signer(repo)?.epoch).map_err(|e| Error::Key(e.to_string()))?;
    let stored = zjson::seal(plain, &epoch).map_err(|e| Error::object("the root", e))?;
    let root = RootRef { hash: ObjectHash::of(&stored), size: stored.len() as u64 };
    put(repo.store(), &Name::Root(root.hash), catalog.roots.len(), stored)?;
    Ok(root)
}

/// The tombs that are there now.
///
/// # Errors
/// When the store fails.
pub fn load_tombs(repo: &Repository) -> Result<Tombs> {
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
    tombs: &Tombs,
    base: Option<&Manifest>,
    closure: &[PackEntry],
) -> Result<Vec<ListRef>> {
    let mut rest: BTreeSet<PackEntry> = closure.iter().copied().collect();
    let mut lists = Vec::new();
    let old = base.map(|manifest| &manifest.lists[..]).unwrap_or_default();
    let kept = old.iter().filter(|list| old.len() < MAX_LISTS && !tombs.condemns_other(&list.hash));
    for list in kept {
        // A list that cannot be read is replaced by naming its packs anew.
        let stored = catalog.lists.get(&list.hash).filter(|stored| stored.size <= lists::MAX_SIZE);
        let Some(stored) = stored else { continue };
        let bytes = match repo.store().get(&stored.key) {
            Ok(bytes) => bytes,
            Err(error) if error.kind == ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
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
        lists.push(put_list(repo, catalog, tombs, &rest)?);
    }
    Ok(lists)
}

/// Stores one list of these packs. A bad store may have torn an earlier writing of the very same list, whose name is taken
/// for ever then: a line that the bitmap does not mark gives the next attempt another name.
fn put_list(
    repo: &Repository,
    catalog: &Catalog,
    tombs: &Tombs,
    wanted: &BTreeSet<PackEntry>,
) -> Result<ListRef> {
    let mut packs: Vec<_> = wanted.iter().copied().collect();
    for attempt in 1.. {
        let bytes = pack_list::to_bytes(&mut packs).map_err(|e| Error::object("a list of packs", e))?;
        let (hash, size) = (ObjectHash::of(&bytes), bytes.len() as u64);
        if tombs.condemns_other(&hash) {
            packs.push(PackEntry { hash: ObjectHash::of(&Nonce::random().0), size: 0 });
            continue;
        }
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
        Err(error @ Error::Store(_)) if !error.is_gone() => return Err(error),
        Err(_) => return Ok(None),
    };
    let usable = closure.iter().all(|pack| is_usable(catalog, &snapshots.tombs, &pack.hash, pack.size));
    Ok(usable.then_some(closure))
}
