//! Finds files in snapshots by name, time and size.
//!
//! Snapshots are searched from the newest on. A folder that an earlier searched snapshot had at the same path with the
//! same entries is not searched again, and each state of a file is told once, for the newest snapshot that has it. What is
//! remembered for that is bounded; in a repository that exceeds it some matches are told more than once.
//!
//! What could not be searched is in the report: content of volumes, damaged folders, lost snapshots. Only a search that is
//! [`FindReport::is_conclusive`] may be shown as "there is no such file".

mod glob;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use fardel_format::ids::Nonce;
use fardel_format::lines::Moment;
use fardel_format::tree::{Node, NodeKind};
use fardel_format::{ObjectHash, SnapshotId};

use crate::browse::{Browser, Event, Unreadable, is_fatal};
use crate::catalog::Catalog;
use crate::monitor::Monitor;
use crate::packs::ChunkReader;
use crate::repository::Repository;
use crate::snapshots::{Sealed, Snapshots};
use crate::{Error, Result};

pub use glob::Pattern;

/// Folders and matches that are remembered, 16 bytes each.
const REMEMBERED: usize = 1 << 18;
/// Volumes that are told with their paths.
const TOLD_VOLUMES: usize = 1000;

/// What to look for.
#[derive(Clone, Debug)]
pub struct FindOptions {
    /// How it is called.
    pub pattern: Pattern,
    /// Where to look; everywhere when empty.
    pub snapshots: Vec<SnapshotId>,
    /// Changed at this moment or later.
    pub newer: Option<Moment>,
    /// Changed before this moment.
    pub older: Option<Moment>,
    /// Files and volumes of at least so many bytes; other things have no size and never fit.
    pub min_size: Option<u64>,
    /// Files and volumes of at most so many bytes.
    pub max_size: Option<u64>,
}

impl FindOptions {
    /// Everything that is called so, in all snapshots.
    #[must_use]
    pub fn new(pattern: Pattern) -> Self {
        Self { pattern, snapshots: Vec::new(), newer: None, older: None, min_size: None, max_size: None }
    }

    fn fit(&self, path: &[u8], node: &Node) -> bool {
        let sized = matches!(node.kind, NodeKind::File | NodeKind::Volume);
        self.pattern.fits(path, node.kind == NodeKind::Dir)
            && self.newer.is_none_or(|moment| node.mtime >= moment)
            && self.older.is_none_or(|moment| node.mtime < moment)
            && self.min_size.is_none_or(|size| sized && node.size >= size)
            && self.max_size.is_none_or(|size| sized && node.size <= size)
    }
}

/// Something that was found.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    /// The newest snapshot that has it like this.
    pub snapshot: SnapshotId,
    /// Its absolute path.
    pub path: &'a [u8],
    /// What it is.
    pub node: &'a Node,
}

/// What was searched, and what could not be.
#[derive(Clone, Debug, Default)]
pub struct FindReport {
    /// How many matches were told.
    pub matches: u64,
    /// Snapshots that were looked into, those with unreadable parts too.
    pub snapshots_searched: u64,
    /// Of these, the ones that did not save all of their sources: backups that could not read something, and checkpoints
    /// whose finished snapshot was not searched.
    pub snapshots_incomplete: u64,
    /// Volumes that were passed: the files in them were not searched. The first thousand, each path with the newest snapshot
    /// that has it in this state.
    pub volumes_not_searched: Vec<(SnapshotId, Vec<u8>)>,
    /// How many volumes there were.
    pub volumes: u64,
    /// Folders and snapshots that could not be read.
    pub unreadable: Unreadable,
}

impl FindReport {
    /// Whether everything that was to be searched was searched: what was not found is not there.
    #[must_use]
    pub fn is_conclusive(&self) -> bool {
        self.volumes == 0 && self.unreadable.is_empty() && self.snapshots_incomplete == 0
    }
}

/// Hands everything that fits to `each`, in the order of snapshots (newest first) and paths.
///
/// # Errors
/// Those of `each`; [`Error::Interrupted`]; [`Error::NotFound`] when a snapshot that was named is not there; when the store
/// does not answer. What is missing or damaged is in the report instead.
pub fn find(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &Snapshots,
    chunks: &ChunkReader<'_>,
    options: &FindOptions,
    monitor: &dyn Monitor,
    each: impl FnMut(&Match<'_>) -> Result<()>,
) -> Result<FindReport> {
    let mut search = Search {
        options,
        monitor,
        each,
        seen: Seen::default(),
        finished: HashSet::new(),
        report: FindReport::default(),
    };
    for sealed in chosen(snapshots, options)? {
        match Browser::open(repo, catalog, chunks, sealed) {
            Ok(browser) => search.snapshot(&browser)?,
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => search.report.unreadable.push(Some(sealed.id()), b"/", &error),
        }
    }
    if options.snapshots.is_empty() {
        // A seal without its manifest is a snapshot that nobody can look into.
        for problem in snapshots.problems.iter().filter(|p| p.object.as_str().starts_with("seals/")) {
            let error = Error::object(&problem.object, problem.error.clone());
            search.report.unreadable.push(None, problem.object.as_str().as_bytes(), &error);
        }
    }
    Ok(search.report)
}

/// The snapshots to search, newest first, each once.
fn chosen<'a>(snapshots: &'a Snapshots, options: &FindOptions) -> Result<Vec<&'a Sealed>> {
    let wanted: HashSet<_> = options.snapshots.iter().copied().collect();
    let mut seen = HashSet::new();
    let wants = |sealed: &&Sealed| wanted.is_empty() || wanted.contains(&sealed.id());
    let chosen: Vec<_> =
        snapshots.sealed.iter().rev().filter(wants).filter(|s| seen.insert(s.id())).collect();
    match wanted.difference(&seen).next() {
        Some(missing) => {
            Err(Error::NotFound(format!("no snapshot {missing}: `fardel snapshots` lists them")))
        }
        None => Ok(chosen),
    }
}

struct Search<'a, F> {
    options: &'a FindOptions,
    monitor: &'a dyn Monitor,
    each: F,
    seen: Seen,
    /// Runs of which the finished snapshot was searched; it is newer than its checkpoints.
    finished: HashSet<Nonce>,
    report: FindReport,
}

impl<F: FnMut(&Match<'_>) -> Result<()>> Search<'_, F> {
    fn snapshot(&mut self, browser: &Browser<'_>) -> Result<()> {
        self.report.snapshots_searched += 1;
        let root = browser.root();
        if !root.partial {
            self.finished.insert(root.run);
        }
        if root.unreadable > 0 || !self.finished.contains(&root.run) {
            self.report.snapshots_incomplete += 1;
        }
        let mut walk = browser.walk(&browser.top());
        // The top itself has no name; as a source it is a folder that may be known already.
        if let Some(node) = browser.top().node
            && !browser.is_above_sources(&browser.top().item())
            && !self.is_new(b"/", &node)
        {
            return Ok(());
        }
        while let Some(event) = walk.next_event()? {
            if self.monitor.interrupted() {
                return Err(Error::Interrupted);
            }
            let known = match event {
                Event::Entry { path, node: Some(node) } => {
                    self.monitor.counters().done(1, 0);
                    self.entry(browser.id(), path, node)?;
                    node.kind == NodeKind::Dir && !self.is_new(path, node)
                }
                Event::Unreadable { path, error } => {
                    self.report.unreadable.push(Some(browser.id()), path, &error);
                    false
                }
                Event::Entry { node: None, .. } | Event::Leave { .. } => false,
            };
            if known && !walk.is_above_sources() {
                walk.skip();
            }
        }
        Ok(())
    }

    fn entry(&mut self, snapshot: SnapshotId, path: &[u8], node: &Node) -> Result<()> {
        let fits = self.options.fit(path, node);
        let is_volume = node.kind == NodeKind::Volume;
        if !(fits || is_volume) || !self.seen.is_new(&[b"entry\0", path, b"\0", &node.to_line()]) {
            return Ok(());
        }
        if is_volume && self.seen.is_new(&[b"volume\0", path]) {
            self.report.volumes += 1;
            if self.report.volumes_not_searched.len() < TOLD_VOLUMES {
                self.report.volumes_not_searched.push((snapshot, path.to_vec()));
            }
        }
        if fits {
            self.report.matches += 1;
            (self.each)(&Match { snapshot, path, node })?;
        }
        Ok(())
    }

    /// Whether no folder with these entries was seen at this path.
    fn is_new(&mut self, path: &[u8], node: &Node) -> bool {
        let Some(rope) = &node.entries else { return true };
        let lines = rope.lines.join("\n");
        self.seen.is_new(&[b"folder\0", path, b"\0", &[rope.depth], lines.as_bytes()])
    }
}

/// What was seen, as far as memory goes: when it is full nothing is added, so that what was seen first stays known.
#[derive(Default)]
struct Seen(HashSet<[u8; 16]>);

impl Seen {
    fn is_new(&mut self, parts: &[&[u8]]) -> bool {
        let hash = ObjectHash::of(&parts.concat());
        let mut key = [0; 16];
        key.copy_from_slice(&hash.0[..16]);
        if self.0.len() < REMEMBERED { self.0.insert(key) } else { !self.0.contains(&key) }
    }
}
