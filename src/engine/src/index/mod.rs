//! Which chunk lies where: sorted runs on disk, searched in place, so that memory does not follow the repository.
//!
//! The runs are the repository's index segments, fetched once. They are hints: a reader checks each chunk's id, and a
//! writer relies only on segments that it signed itself, and in them only on packs that the listing shows.

mod cache;
mod map;
mod merge;
mod run;

use std::collections::HashSet;

use fardel_format::pack::PackKind;
use fardel_format::segment::{self, Location};
use fardel_format::{ChunkId, ObjectHash, age_file};

pub use run::Run;

use cache::SegmentCache;

use crate::catalog::Catalog;
use crate::packs::PackReader;
use crate::repository::{Problem, Repository};
use crate::snapshots::{Snapshots, Tombs};
use crate::{Error, Result};

/// How many packs' tables go into one rebuilt run.
const REBUILD_BATCH: usize = 64;

/// The index of a repository.
#[derive(Default)]
pub struct ChunkIndex {
    runs: Vec<Run>,
    /// Segments that could not be used.
    pub problems: Vec<Problem>,
}

impl ChunkIndex {
    /// The index for reading: every segment, and the tables of packs that no segment speaks of.
    ///
    /// # Errors
    /// When the store fails.
    pub fn for_reading(repo: &Repository, catalog: &Catalog, packs: &PackReader) -> Result<Self> {
        let mut index = Self::from_segments(repo, catalog, |_| true)?;
        let covered = index.mark_usable(|hash, size| catalog.whole_pack(&hash, size).is_some())?;
        let uncovered: Vec<_> = catalog
            .packs
            .iter()
            .filter(|(hash, _)| !covered.contains(hash))
            .map(|(hash, c)| (*hash, c[0].stored.size))
            .collect();
        index.rebuild(repo, packs, &uncovered, false)?;
        Ok(index)
    }

    /// The index for writing: only what this host signed, only packs that are there and not condemned, and the tables of
    /// packs that its own snapshots rest on and no segment speaks of.
    ///
    /// # Errors
    /// When the store fails.
    pub fn for_writing(
        repo: &Repository,
        catalog: &Catalog,
        snapshots: &Snapshots,
        bad: &HashSet<ObjectHash>,
        packs: &PackReader,
    ) -> Result<Self> {
        let mut index = Self::from_segments(repo, catalog, |own| own)?;
        let usable = |hash: ObjectHash, size: u64| {
            !bad.contains(&hash) && is_usable(catalog, &snapshots.tombs, &hash, size)
        };
        let covered = index.mark_usable(usable)?;
        if repo.keys().can_read {
            let own = repo.keys().host.as_ref().map(|host| host.signing.public().writer());
            let mut uncovered = HashSet::new();
            for sealed in snapshots.sealed.iter().filter(|s| Some(s.writer) == own) {
                // A snapshot whose lists are lost is no help here; `check` tells of it.
                let Ok(closure) = repo.closure(catalog, &sealed.manifest) else { continue };
                uncovered.extend(
                    closure
                        .into_iter()
                        .filter(|p| !covered.contains(&p.hash) && usable(p.hash, p.size))
                        .map(|p| (p.hash, p.size)),
                );
            }
            let uncovered: Vec<_> = uncovered.into_iter().collect();
            index.rebuild(repo, packs, &uncovered, true)?;
        }
        Ok(index)
    }

    fn from_segments(repo: &Repository, catalog: &Catalog, wanted: impl Fn(bool) -> bool) -> Result<Self> {
        let mut index = Self::default();
        let own_key = repo.keys().host.as_ref().map(|host| host.signing.public().clone());
        let mut cache = SegmentCache::open(repo.cache().join("index"));
        for (hash, stored) in &catalog.index {
            if cache.holds(hash) || stored.size > segment::MAX_SIZE {
                continue;
            }
            let bytes = repo.store().get(&stored.key)?;
            let opened = (|| {
                if ObjectHash::of(&bytes) != *hash {
                    return Err(fardel_format::Error::Damaged {
                        what: "an index segment",
                        why: "its hash differs from its name".into(),
                    });
                }
                let plain = age_file::decrypt(
                    "an index segment",
                    &bytes,
                    &repo.keys().index_readers,
                    segment::MAX_SIZE,
                )?;
                let (key, segment) = segment::open_signed(&plain, repo.id())?;
                Ok((Some(key) == own_key, segment.to_vec()))
            })();
            match opened {
                Ok((own, segment)) => cache.add(*hash, segment, own)?,
                // Segments of other hosts are shut for a write-only host; damaged ones are only hints lost.
                Err(fardel_format::Error::WrongKey { .. }) => {}
                Err(error) => index.problems.push(Problem { object: stored.key.clone(), error }),
            }
        }
        index.runs = cache.into_runs().filter(|run| wanted(run.own)).collect();
        Ok(index)
    }

    /// Marks what may be relied on; returns every pack that a run speaks of.
    fn mark_usable(&mut self, usable: impl Fn(ObjectHash, u64) -> bool) -> Result<HashSet<ObjectHash>> {
        let mut covered = HashSet::new();
        for run in &mut self.runs {
            run.mark_usable(|pack| {
                covered.insert(pack.hash);
                usable(pack.hash, pack.size)
            })
            .map_err(|e| Error::object("index", e))?;
        }
        Ok(covered)
    }

    fn rebuild(
        &mut self,
        repo: &Repository,
        packs: &PackReader,
        uncovered: &[(ObjectHash, u64)],
        own: bool,
    ) -> Result<()> {
        for batch in uncovered.chunks(REBUILD_BATCH) {
            let mut tables = Vec::new();
            for (hash, size) in batch {
                match packs.toc(hash, *size) {
                    Ok(toc) => tables.push((*hash, *size, toc)),
                    Err(Error::Object { error, .. }) => {
                        let key = crate::catalog::key_of(
                            &fardel_format::names::Name::Pack(*hash, None),
                            fardel_format::names::FanOut::FLAT,
                        );
                        self.problems.push(Problem { object: key, error });
                    }
                    Err(other) => return Err(other),
                }
            }
            let segment = segment::build(tables.iter().map(|(hash, size, toc)| (*hash, *size, toc)));
            let path = repo.cache().join("index").join(format!("rebuilt-{}", ObjectHash::of(&segment)));
            self.add(Run::save(&path, segment, own)?)?;
            // The mapping stays; the name is not needed again, since the next opening decides anew what lacks.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }

    /// Adds a run, all of whose packs may be relied on.
    ///
    /// # Errors
    /// When the run is damaged.
    pub fn add(&mut self, mut run: Run) -> Result<()> {
        run.mark_usable(|_| true).map_err(|e| Error::object("index", e))?;
        self.runs.push(run);
        Ok(())
    }

    /// Where this chunk lies, in a pack of this kind.
    #[must_use]
    pub fn locate(&self, id: &ChunkId, kind: PackKind) -> Option<Location> {
        self.locate_all(id, kind).next()
    }

    /// Every place where this chunk lies, in a pack of this kind: one of them may be false.
    pub fn locate_all<'a>(&'a self, id: &'a ChunkId, kind: PackKind) -> impl Iterator<Item = Location> + 'a {
        let runs = self.runs.iter().rev();
        runs.flat_map(|run| run.locate(id)).filter(move |location| location.pack.kind == kind)
    }
}

/// Whether a new snapshot may rest on this pack: it is there, whole as far as its size tells, and not condemned.
#[must_use]
pub fn is_usable(catalog: &Catalog, tombs: &Tombs, hash: &ObjectHash, size: u64) -> bool {
    catalog.packs.get(hash).is_some_and(|copies| {
        copies
            .iter()
            .any(|copy| copy.stored.size == size && !tombs.condemned.contains(&(*hash, copy.generation)))
    })
}
