//! What the target holds when we come.

use std::collections::HashSet;

use fardel_format::SnapshotId;
use fardel_format::names::{CARD, Name};
use fardel_format::pack_list::PackEntry;
use fardel_store::{ErrorKind, Key};

use super::Target;
use super::source::Source;
use crate::Result;
use crate::bridge::Blocking;
use crate::catalog::Catalog;
use crate::index::is_usable;
use crate::repository::{OpenOptions, Repository};
use crate::snapshots::Snapshots;
use crate::tombs::Tombs;

/// A target as it was listed.
pub struct Arrival {
    pub store: Blocking,
    /// The repository there, once its card is.
    pub repo: Option<Repository>,
    pub catalog: Catalog,
    pub tombs: Tombs,
}

impl Arrival {
    /// Lists the target; gives it the card when it has none, unless nothing is to be changed.
    pub fn open(source: &Source<'_>, target: &Target, dry_run: bool) -> Result<Self> {
        let store = target.blocking();
        let card = Key::new(CARD)?;
        match store.get(&card) {
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::NotFound && dry_run => {
                let catalog = Catalog::load(&store)?;
                return Ok(Self { store, repo: None, catalog, tombs: Tombs::default() });
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                store.put_same(&card, source.repo.store().get(&card)?.to_vec())?;
            }
            Err(error) => return Err(error.into()),
        }
        let options = OpenOptions {
            material: None,
            cache: source.repo.cache().to_owned(),
            display: target.name.clone(),
            pinned: Some(*source.repo.id()),
        };
        let (repo, catalog) = Repository::open(target.store.clone(), options)?;
        let mut arrival = Self { store, repo: Some(repo), catalog, tombs: Tombs::default() };
        arrival.tombs = arrival.load_tombs(source, &arrival.catalog)?;
        Ok(arrival)
    }

    /// Lists tombs, then packs, and says which of these packs a snapshot may not rest on.
    pub fn look_again<'p>(
        &mut self,
        source: &Source<'_>,
        closure: impl Iterator<Item = &'p PackEntry>,
    ) -> Result<Vec<PackEntry>> {
        self.look_for_tombs(source)?;
        self.catalog.packs = Catalog::load_prefix(&self.store, "packs/")?.packs;
        Ok(closure.filter(|pack| !self.has(pack)).cloned().collect())
    }

    /// Snapshots that are whole here and that a manifest tells of which the source does not know: this store was compacted by
    /// itself.
    pub fn retold(&self, source: &Source<'_>) -> Result<HashSet<SnapshotId>> {
        let Some(repo) = &self.repo else { return Ok(HashSet::new()) };
        let mut own = self.catalog.clone();
        own.seals.retain(|name, _| !source.catalog.seals.contains_key(name));
        if own.seals.is_empty() {
            return Ok(HashSet::new());
        }
        let mut retold = HashSet::new();
        for sealed in Snapshots::load_for_reading(repo, &own)?.sealed {
            let closure = repo.closure(&self.catalog, &sealed.manifest);
            let has_root = self.catalog.roots.contains_key(&sealed.manifest.root.hash);
            if has_root && closure.is_ok_and(|closure| closure.iter().all(|pack| self.is_here(pack))) {
                retold.insert(sealed.id());
            }
        }
        Ok(retold)
    }

    fn is_here(&self, pack: &PackEntry) -> bool {
        self.catalog.whole_pack(&pack.hash, pack.size).is_some()
    }

    /// Whether a collector may have decided to sweep this list or root: it was condemned, or every pack of the list was.
    pub fn may_be_swept(&self, source: &Source<'_>, name: &Name) -> Result<bool> {
        let (Name::List(hash) | Name::Root(hash)) = name else { return Ok(false) };
        if self.tombs.condemns_other(hash) {
            return Ok(true);
        }
        if matches!(name, Name::Root(_)) {
            return Ok(false);
        }
        let packs = source.repo.list(source.catalog, hash)?;
        let condemned: HashSet<_> = self.tombs.condemned.keys().map(|(hash, _)| hash).collect();
        Ok(packs.iter().filter(|pack| pack.size > 0).all(|pack| condemned.contains(&pack.hash)))
    }

    /// What was forgotten, condemned and revoked until now.
    pub fn look_for_tombs(&mut self, source: &Source<'_>) -> Result<()> {
        let tombs = Catalog::load_prefix(&self.store, "tombs/")?;
        self.tombs = self.load_tombs(source, &tombs)?;
        Ok(())
    }

    // The source knows every signer whom the target knows, and newer ones.
    fn load_tombs(&self, source: &Source<'_>, listed: &Catalog) -> Result<Tombs> {
        match &self.repo {
            Some(repo) => Tombs::load(repo, listed, &source.snapshots.registry),
            None => Ok(Tombs::default()),
        }
    }

    /// Whether a snapshot may rest on this pack.
    pub fn has(&self, pack: &PackEntry) -> bool {
        is_usable(&self.catalog, &self.tombs, &pack.hash, pack.size)
    }

    /// Whether an object lies there with this size.
    pub fn holds(&self, name: &Name, size: u64) -> bool {
        self.catalog.get(name).is_some_and(|stored| stored.size == size)
    }
}
