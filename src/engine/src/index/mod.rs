//! Which chunk lies where: sorted runs on disk, searched in place, so that memory does not follow the repository.
//!
//! The runs are the repository's index segments, fetched once. They are hints: a reader checks each chunk's id, and a
//! writer relies only on segments that it signed itself, and in them only on packs that the listing shows.

mod cache;
mod map;
pub(crate) mod merge;
mod run;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use fardel_format::ids::Nonce;
use fardel_format::names::{FanOut, Name};
use fardel_format::pack::{PackKind, Toc};
use fardel_format::segment::{self, Location};
use fardel_format::{ChunkId, Error as FormatError, ObjectHash, age_file};

pub use run::Run;

use cache::SegmentCache;
use run::Forward;

use crate::catalog::{Catalog, key_of};
use crate::packs::PackReader;
use crate::repository::{Problem, Repository};
use crate::snapshots::Snapshots;
use crate::tombs::Tombs;
use crate::{Error, Result};

/// Stored bytes of a segment that are taken into memory at most; of what larger ones say the packs' own tables are asked.
pub const MAX_SEGMENT: u64 = 64 << 20;
/// How many rows of packs' tables go into one rebuilt run; each is some 50 bytes.
const TABLE_ROWS: usize = 1 << 18;

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
        // What is not here may be in another copy.
        let elsewhere = repo.copies().are_there();
        let covered =
            index.mark_usable(|hash, size| elsewhere || catalog.whole_pack(&hash, size).is_some())?;
        let uncovered = catalog.packs.iter().filter(|(hash, _)| !covered.contains(hash));
        let uncovered = uncovered.map(|(hash, copies)| (*hash, copies[0].stored.size));
        index.add_tables(repo.cache(), packs, uncovered, false)?;
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
            index.add_tables(repo.cache(), packs, uncovered, true)?;
        }
        Ok(index)
    }

    fn from_segments(repo: &Repository, catalog: &Catalog, wanted: impl Fn(bool) -> bool) -> Result<Self> {
        let mut index = Self::default();
        let own_key = repo.keys().host.as_ref().map(|host| host.signing.public().clone());
        let mut cache = SegmentCache::open(repo.cache().join("index"));
        for (hash, stored) in &catalog.index {
            if cache.holds(hash) || stored.size > MAX_SEGMENT {
                continue;
            }
            let bytes = match repo.store().get(&stored.key).map_err(Error::from) {
                Ok(bytes) => bytes,
                // A hint is lost, nothing else.
                Err(error) if error.is_damage() => {
                    index.problems.push(Problem::new(stored.key.clone(), error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let opened = (|| {
                if ObjectHash::of(&bytes) != *hash {
                    return Err(FormatError::Damaged {
                        what: "an index segment",
                        why: "its hash differs from its name".into(),
                    });
                }
                let plain =
                    age_file::decrypt("an index segment", &bytes, &repo.keys().index_readers, MAX_SEGMENT)?;
                let (key, segment) = segment::open_signed(&plain, repo.id())?;
                Ok((Some(key) == own_key, segment.to_vec()))
            })();
            match opened {
                Ok((own, segment)) => cache.add(*hash, segment, own)?,
                // Segments of other hosts are shut for a write-only host; damaged ones are only hints lost.
                Err(FormatError::WrongKey { .. }) => {}
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

    /// Adds what these packs' own tables say; a pack whose table cannot be read is told among the problems.
    ///
    /// # Errors
    /// When the store fails as a whole.
    pub fn add_tables(
        &mut self,
        cache: &Path,
        packs: &PackReader,
        wanted: impl IntoIterator<Item = (ObjectHash, u64)>,
        own: bool,
    ) -> Result<()> {
        let (mut tables, mut held) = (Vec::new(), 0);
        for (hash, size) in wanted {
            match packs.toc(&hash, size) {
                Ok(toc) => {
                    held += toc.frames.iter().map(|(_, members)| members.len() + 1).sum::<usize>() + 1;
                    tables.push((hash, size, toc));
                }
                Err(error) if error.is_damage() => {
                    self.problems.push(Problem::new(key_of(&Name::Pack(hash, None), FanOut::FLAT), error));
                }
                Err(error) => return Err(error),
            }
            if held >= TABLE_ROWS {
                self.add_run_of(cache, &std::mem::take(&mut tables), own)?;
                held = 0;
            }
        }
        if tables.is_empty() { Ok(()) } else { self.add_run_of(cache, &tables, own) }
    }

    fn add_run_of(&mut self, cache: &Path, tables: &[(ObjectHash, u64, Toc)], own: bool) -> Result<()> {
        let segment = segment::build(tables.iter().map(|(hash, size, toc)| (*hash, *size, toc)));
        let path = new_path(cache);
        let added = Run::save(&path, segment, own).and_then(|run| self.add(run));
        // The mapping stays; the name is not needed again, since the next opening decides anew what lacks.
        let _ = std::fs::remove_file(path);
        added
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

    /// The same index in one run, without what may not be relied on: where that is most of it, chunks are found sooner. All of it
    /// must be by this host.
    ///
    /// # Errors
    /// When a run is damaged.
    pub fn condensed(mut self, cache: &Path) -> Result<Self> {
        let damaged = |e| Error::object("index", e);
        let mut usable: HashSet<_> = self.runs.iter().flat_map(Run::usable).collect();
        let views = self.runs.iter().map(Run::view).collect::<Result<Vec<_>, _>>().map_err(damaged)?;
        let path = new_path(cache);
        let run =
            Run::write(&path, true, |mut out| merge::merge(&views, |pack| usable.remove(pack), &mut out));
        let _ = std::fs::remove_file(path);
        if let Some(run) = run {
            self.runs.clear();
            self.add(run)?;
        }
        Ok(self)
    }

    /// Every pack that a run speaks of, with what its frames take of it, in bytes.
    ///
    /// # Errors
    /// When a run is damaged.
    pub fn packs(&self) -> Result<HashMap<ObjectHash, (PackKind, u64)>> {
        let damaged = |e| Error::object("index", e);
        let mut packs = HashMap::new();
        for run in &self.runs {
            let view = run.view().map_err(damaged)?;
            let counts = view.counts();
            let mut frames = vec![0; counts.packs as usize];
            for i in 0..counts.frames {
                let (pack, span) = view.frame(i).map_err(damaged)?;
                if let Some(sum) = frames.get_mut(pack as usize) {
                    *sum += u64::from(span.stored);
                }
            }
            for (i, frames) in frames.into_iter().enumerate() {
                let pack = view.pack(i as u32).map_err(damaged)?;
                packs.entry(pack.hash).or_insert((pack.kind, frames));
            }
        }
        Ok(packs)
    }

    /// Where this chunk lies, in a pack of this kind.
    #[must_use]
    pub fn locate(&self, id: &ChunkId, kind: PackKind) -> Option<Location> {
        self.locate_all(id, kind).next()
    }

    /// Every place where this chunk lies, in a pack of this kind: one of them may be false.
    pub fn locate_all<'a>(&'a self, id: &'a ChunkId, kind: PackKind) -> impl Iterator<Item = Location> + 'a {
        let places = self.runs.iter().rev().flat_map(|run| run.locate(id));
        places.filter(move |location| location.pack.kind == kind)
    }
}

/// Tells of one chunk after the other, in the order of their ids, where they lie.
pub struct InOrder<'a>(Vec<Forward<'a>>);

impl<'a> InOrder<'a> {
    /// From the first one on.
    ///
    /// # Errors
    /// When a run is damaged.
    pub fn new(index: &'a ChunkIndex) -> Result<Self> {
        let runs = index.runs.iter().map(Forward::new).collect::<Result<_, _>>();
        runs.map(Self).map_err(|e| Error::object("index", e))
    }

    /// Every place where this chunk lies, in a pack of this kind, each with whether this host says so itself.
    pub fn locate_signed(&mut self, id: &ChunkId, kind: PackKind) -> impl Iterator<Item = (bool, Location)> {
        let places = self.0.iter_mut().flat_map(|forward| {
            let own = forward.run.own;
            forward.locate(id).map(move |location| (own, location))
        });
        places.filter(move |(_, location)| location.pack.kind == kind)
    }
}

/// A free name for a run of this process alone.
fn new_path(cache: &Path) -> PathBuf {
    cache.join("index").join(format!("rebuilt-{}", Nonce::random()))
}

/// Whether a new snapshot may rest on this pack: it is there, whole as far as its size tells, and not condemned.
#[must_use]
pub fn is_usable(catalog: &Catalog, tombs: &Tombs, hash: &ObjectHash, size: u64) -> bool {
    catalog.packs.get(hash).is_some_and(|copies| {
        copies.iter().any(|copy| copy.stored.size == size && !tombs.condemns(hash, copy.generation))
    })
}

#[cfg(test)]
mod tests {
    use fardel_format::frame::Member;
    use fardel_format::pack::FrameSpan;

    use super::*;

    fn id(n: u32) -> ChunkId {
        ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    /// One run for each pack, which holds these chunks; packs of odd numbers may not be relied on.
    fn index(folder: &Path, packs: &[std::ops::Range<u32>]) -> ChunkIndex {
        let mut index = ChunkIndex::default();
        for (number, chunks) in packs.iter().enumerate() {
            let span = FrameSpan { offset: 0, stored: 50, plain: 1024 };
            let members = chunks.clone().map(|n| Member { id: id(n), offset: 512, len: 9 }).collect();
            let toc = Toc { kind: PackKind::Data, frames: vec![(span, members)] };
            let segment = segment::build([(ObjectHash([number as u8; 32]), number as u64, &toc)]);
            let mut run = Run::save(&folder.join(number.to_string()), segment, true).unwrap();
            run.mark_usable(|pack| pack.size % 2 == 0).unwrap();
            index.runs.push(run);
        }
        index
    }

    fn places(index: &ChunkIndex, n: u32) -> Vec<u64> {
        let mut packs: Vec<_> =
            index.locate_all(&id(n), PackKind::Data).map(|place| place.pack.size).collect();
        packs.sort_unstable();
        packs
    }

    #[test]
    fn it_finds_the_same_in_order_and_condensed() {
        let folder = tempfile::tempdir().unwrap();
        let packs = [0..100, 50..150, 80..90, 200..260, 85..95, 0..300, 299..300];
        let index = index(folder.path(), &packs);
        let mut wanted: Vec<_> = (0..320).collect();
        wanted.sort_by_key(|n| id(*n));
        let before: Vec<_> = wanted.iter().map(|n| places(&index, *n)).collect();
        assert_eq!(places(&index, 85), [0, 2, 4]);
        let mut in_order = InOrder::new(&index).unwrap();
        for (n, before) in wanted.iter().zip(&before) {
            let mut found: Vec<_> =
                in_order.locate_signed(&id(*n), PackKind::Data).map(|(_, place)| place.pack.size).collect();
            found.sort_unstable();
            assert_eq!(found, *before, "{n}");
        }
        drop(in_order);
        let condensed = index.condensed(folder.path()).unwrap();
        assert_eq!(condensed.runs.len(), 1);
        assert_eq!(condensed.packs().unwrap().len(), 4, "packs that may not be relied on are left out");
        for (n, before) in wanted.iter().zip(&before) {
            assert_eq!(places(&condensed, *n), *before, "{n}");
        }
    }
}
