//! Restores a snapshot, or a part of it, into a folder.
//!
//! 1. Walk the tree; folders are made at once, each file becomes a list of chunks that are wanted.
//! 2. After so many chunks, fetch them: sorted by pack and frame, neighbours with one ranged read, on several threads. Each
//!    chunk is verified against its id and written where it belongs.
//! 3. When all of a file is there it gets its metadata and its name. Until then it is `NAME.partial`.
//! 4. Links, pipes and devices follow, and the metadata of folders that are complete.
//!
//! A chunk that no pack gives back never becomes zeros: the file stays `NAME.partial`, and the report lists what is missing.

mod fetch;
mod later;
mod links;
mod output;
mod plan;
mod round;

use std::path::PathBuf;

use fardel_format::root::Root;
use fardel_format::tree::{Node, NodeKind};
use fardel_source::Excludes;

use crate::catalog::Catalog;
use crate::index::ChunkIndex;
use crate::monitor::Monitor;
use crate::packs::{ChunkReader, PackReader};
use crate::repository::Repository;
use crate::snapshots::Sealed;
use crate::target::{RelPath, Target, TargetOptions};
use crate::{Error, Result};

/// How to restore.
pub struct RestoreOptions {
    /// Into which folder.
    pub target: PathBuf,
    /// Only what matches these gitignore patterns, and the folders around it.
    pub include: Vec<String>,
    /// Nothing that matches these.
    pub exclude: Vec<String>,
    /// Take over what is there, writing only what differs.
    pub in_place: bool,
    /// Only count.
    pub dry_run: bool,
    /// Make device nodes.
    pub devices: bool,
    /// Keep set-user-id and set-group-id bits.
    pub setid: bool,
    /// Set owners; when absent, only as root.
    pub owners: Option<bool>,
    /// Bytes that reading and decoding may hold at once.
    pub memory: u64,
}

impl RestoreOptions {
    /// Everything, into `target`, where nothing is in the way; in 64 MiB.
    #[must_use]
    pub fn new(target: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            include: Vec::new(),
            exclude: Vec::new(),
            in_place: false,
            dry_run: false,
            devices: false,
            setid: false,
            owners: None,
            memory: 64 << 20,
        }
    }
}

/// A file that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its path in the snapshot.
    pub path: String,
    /// What is left of it on the disk.
    pub partial: Option<PathBuf>,
    /// Which bytes are missing: start and length.
    pub missing: Vec<(u64, u64)>,
    /// Why.
    pub why: String,
}

/// What a restore did.
#[derive(Clone, Debug, Default)]
pub struct RestoreReport {
    /// Files and volumes that are whole.
    pub files: u64,
    /// Folders.
    pub dirs: u64,
    /// Links, pipes, devices.
    pub others: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes that were there already.
    pub bytes_unchanged: u64,
    /// Files that are not whole, and folders whose entries could not be read.
    pub damaged: Vec<Damaged>,
    /// What could not be made or written, and why.
    pub failed: Vec<(String, String)>,
    /// Things that were left out or are not quite as they were.
    pub warnings: Vec<String>,
}

impl RestoreReport {
    /// Whether everything that was asked for is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.failed.is_empty()
    }
}

/// Restores a snapshot, or what lies at `path` in it.
///
/// # Errors
/// When nothing can be restored at all (no key, no such path, a target that cannot be written, no room left). A damaged
/// part is in the report instead, and everything else is restored.
pub fn restore(
    repo: &Repository,
    catalog: &Catalog,
    snapshot: &Sealed,
    path: Option<&[u8]>,
    options: &RestoreOptions,
    monitor: &dyn Monitor,
) -> Result<RestoreReport> {
    repo.need_reader()?;
    let root = repo.root(catalog, snapshot)?;
    let packs = PackReader::new(repo, catalog);
    let index = ChunkIndex::for_reading(repo, catalog, &packs)?;
    let chunks = ChunkReader::new(repo, &packs, &index)?;
    let tops = tops(&chunks, &root, path)?;
    match path {
        None => monitor.counters().set_total(root.totals.files + root.totals.others, root.totals.bytes),
        Some(_) => tops.iter().for_each(|top| monitor.counters().ahead(0, top.node.size)),
    }
    let target = if options.dry_run { None } else { Some(open_target(options)?) };
    let filter = Filter::new(options)?;
    let planner =
        plan::Planner::new(repo, options, monitor, target.as_ref(), filter, &packs, &index, &chunks)?;
    planner.run(tops)
}

fn open_target(options: &RestoreOptions) -> Result<Target> {
    let mut target =
        TargetOptions { devices: options.devices, setid: options.setid, ..TargetOptions::default() };
    if let Some(owners) = options.owners {
        target.owners = owners;
    }
    Target::create(&options.target, target)
}

/// Something to restore, and where.
struct Top {
    /// Its path in the snapshot, for messages and patterns.
    shown: Vec<u8>,
    /// Where it goes.
    at: RelPath,
    node: Node,
}

/// What is asked for: every source at its absolute path below the target; or the content of one folder right in the target;
/// or one file in it.
fn tops(chunks: &ChunkReader<'_>, root: &Root, path: Option<&[u8]>) -> Result<Vec<Top>> {
    let damaged = |e| Error::object("the root", e);
    let wanted = path.map(components);
    let mut tops = Vec::new();
    for source in &root.sources {
        let source_path = source.path_bytes().map_err(damaged)?.into_owned();
        let names = components(&source_path);
        let below = match &wanted {
            None => Some(&names[..]),
            // The source lies below what is asked for: it keeps the rest of its path.
            Some(wanted) => names.strip_prefix(&wanted[..]),
        };
        if let Some(below) = below {
            let single = below.is_empty() && source.node.kind != NodeKind::Dir;
            let at = if single { names.last().into_iter().copied().collect() } else { below.to_vec() };
            tops.push(Top { at: RelPath::new(at)?, node: source.node.clone(), shown: source_path });
            continue;
        }
        let Some(inside) = wanted.as_ref().and_then(|wanted| wanted.strip_prefix(&names[..])) else {
            continue;
        };
        if let Some(node) = crate::rope_reader::descend(chunks, &source.node, inside)? {
            let at = match (node.kind, inside.last()) {
                (NodeKind::Dir, _) | (_, None) => RelPath::root(),
                (_, Some(name)) => RelPath::new([*name])?,
            };
            tops.push(Top { shown: path.unwrap_or_default().to_vec(), at, node });
        }
    }
    if tops.is_empty() {
        let path = String::from_utf8_lossy(path.unwrap_or_default()).into_owned();
        return Err(Error::NotFound(format!("{path} is not in this snapshot: `fardel ls` shows what is")));
    }
    Ok(tops)
}

fn components(path: &[u8]) -> Vec<&[u8]> {
    path.split(|&b| b == b'/').filter(|name| !name.is_empty()).collect()
}

/// What is wanted, by pattern.
struct Filter {
    include: Option<Excludes>,
    exclude: Excludes,
}

impl Filter {
    fn new(options: &RestoreOptions) -> Result<Self> {
        let build = |patterns: &[String]| -> Result<Excludes> {
            let mut builder = Excludes::builder("/");
            for pattern in patterns {
                builder.add_line(pattern)?;
            }
            Ok(builder.build()?)
        };
        let include = if options.include.is_empty() { None } else { Some(build(&options.include)?) };
        Ok(Self { include, exclude: build(&options.exclude)? })
    }

    /// Whether the entry at this absolute path is wanted; folders that are not may still hold something that is.
    fn wants(&self, path: &[u8], is_dir: bool) -> bool {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        self.include.as_ref().is_none_or(|include| include.covers(path, is_dir))
            && !self.exclude.covers(path, is_dir)
    }

    /// Whether everything below this folder is unwanted.
    fn prunes(&self, path: &[u8]) -> bool {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        !path.is_empty() && self.exclude.matches(path, true)
    }
}

#[cfg(test)]
mod tests;
