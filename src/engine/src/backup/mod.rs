//! Makes a snapshot of folders, disk images and streams.
//!
//! 1. Choose parents: this host's newest snapshots of the same sources, if all their packs are there.
//! 2. Read the sources along with their parents; unchanged entries are taken over, everything else goes to the packer, which
//!    keeps only chunks that are new.
//! 3. Seal. Packs that vanished meanwhile are written again from the sources (at most three times).
//!
//! After each source, and every few minutes, a partial snapshot is sealed, so that an interruption costs little.

mod content;
mod node;
mod parent;
mod session;
mod tree;
mod volume;

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fardel_format::chunker::Chunker;
use fardel_format::lines::Moment;
use fardel_format::pack_list::PackEntry;
use fardel_format::root::Root;
use fardel_format::tree::{LeafSplitter, Node, NodeKind};
use fardel_format::{ObjectHash, SnapshotId};
use fardel_source::{Excludes, FileId, Image, Owners, Tree, WalkOptions};

use crate::catalog::Catalog;
use crate::commit::{self, Outcome};
use crate::index::ChunkIndex;
use crate::monitor::Monitor;
use crate::packs::{ChunkReader, PackReader, Packer, PackerOptions};
use crate::repository::Repository;
use crate::snapshots::{Sealed, Snapshots};
use crate::{Error, Result};

use content::Piece;
use parent::SavedStat;
use session::Session;
use tree::TreeSaver;
use volume::VolumeSaver;

/// How often a snapshot is begun anew when packs vanish under it.
const ATTEMPTS: u32 = 3;
/// How many snapshots are looked through for parents.
const PARENTS_BACK: usize = 64;

/// Something to back up.
pub enum SourceSpec {
    /// A folder; or a disk image (a regular file) or block device.
    Path(PathBuf),
    /// A stream under a name.
    Stdin {
        /// How it is called in the snapshot.
        name: String,
        /// The bytes.
        reader: Mutex<Box<dyn Read + Send>>,
    },
}

/// What to back up, and how.
pub struct BackupOptions {
    /// What.
    pub sources: Vec<SourceSpec>,
    /// The machine's name.
    pub host: String,
    /// Who runs it.
    pub user: Option<String>,
    /// Words to find the snapshot by.
    pub tags: Vec<String>,
    /// gitignore patterns to leave out.
    pub excludes: Vec<String>,
    /// Files of such patterns.
    pub exclude_files: Vec<PathBuf>,
    /// Leave out folders with a `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Leave out files above so many bytes.
    pub exclude_larger_than: Option<u64>,
    /// Do not go into other file systems.
    pub one_file_system: bool,
    /// Chunk size for volumes, in bytes; the repository's own when absent.
    pub chunk_size: Option<u32>,
    /// Read everything again.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// How often a partial snapshot is sealed on the way.
    pub checkpoint_every: Duration,
    /// Folders that are never saved: the repository itself, the cache.
    pub never: Vec<PathBuf>,
    /// How packs are made.
    pub packer: PackerOptions,
}

/// What a backup did.
#[derive(Clone, Debug, Default)]
pub struct BackupReport {
    /// The snapshot; `None` for a dry run, or when nothing could be saved.
    pub snapshot: Option<SnapshotId>,
    /// Whether it was interrupted: then the snapshot holds what was finished.
    pub partial: bool,
    /// Files that were not in the parent.
    pub files_new: u64,
    /// Files that were different in the parent.
    pub files_changed: u64,
    /// Files taken over from the parent without reading them.
    pub files_unmodified: u64,
    /// Folders.
    pub dirs: u64,
    /// Bytes read from the sources.
    pub bytes_read: u64,
    /// Plain bytes of new chunks.
    pub bytes_added: u64,
    /// Bytes stored for them.
    pub bytes_stored: u64,
    /// New packs.
    pub packs_written: u64,
    /// What could not be read, and why.
    pub unreadable: Vec<(String, String)>,
    /// What changed while it was read, and how.
    pub inconsistent: Vec<(String, String)>,
    /// What the options left out.
    pub excluded: u64,
    /// The snapshot that unchanged files were taken over from.
    pub parent: Option<SnapshotId>,
}

/// Makes a snapshot.
///
/// # Errors
/// When the store fails, or the key does not allow it. What cannot be read is in the report instead. After an error nothing
/// is lost that was reported as saved before, and a rerun goes on from what was stored.
pub fn backup(repo: &Repository, catalog: &Catalog, options: &BackupOptions, monitor: &dyn Monitor) -> Result<BackupReport> {
    let time = crate::time::now();
    let mut bad = HashSet::new();
    let mut fresh = None;
    for _ in 0..ATTEMPTS {
        let catalog = fresh.as_ref().unwrap_or(catalog);
        match attempt_backup(repo, catalog, options, monitor, &time, &bad)? {
            Attempt::Done(report) => return Ok(report),
            // A stream cannot be read twice.
            Attempt::Again(_) if options.sources.iter().any(|s| matches!(s, SourceSpec::Stdin { .. })) => break,
            Attempt::Again(lost) => {
                monitor.warning("packs vanished from the repository while this ran: writing their chunks again");
                bad.extend(lost);
                fresh = Some(Catalog::load(repo.store())?);
            }
        }
    }
    Err(Error::Damaged("packs vanished from the repository while this ran: nothing was sealed, run it again".into()))
}

enum Attempt {
    Done(BackupReport),
    Again(Vec<ObjectHash>),
}

fn attempt_backup(
    repo: &Repository,
    catalog: &Catalog,
    options: &BackupOptions,
    monitor: &dyn Monitor,
    time: &str,
    bad: &HashSet<ObjectHash>,
) -> Result<Attempt> {
    let snapshots = Snapshots::load(repo, catalog)?;
    let packs = PackReader::new(repo, catalog);
    let index = ChunkIndex::for_writing(repo, catalog, &snapshots, bad, &packs)?;
    let packer = Packer::start(repo, catalog, index, options.packer.clone(), options.dry_run)?;
    let parents = Parents::find(repo, catalog, &snapshots, options, bad)?;
    let reading = if parents.is_empty() { ChunkIndex::default() } else { ChunkIndex::for_reading(repo, catalog, &packs)? };
    let chunks = ChunkReader::new(repo, &packs, &reading)?;
    parents.announce(monitor);

    let mut session = Session::new(repo, catalog, options, monitor, packer, time, parents.newest());
    session.rest_on(parents.closure());
    let saver = Saver { repo, options, parents: &parents, chunks: &chunks, owners: Owners::load(), chunker: repo.chunker()? };
    let count = options.sources.len();
    for (number, source) in options.sources.iter().enumerate() {
        match saver.save(&mut session, source) {
            Ok(()) if number + 1 < count && session.has_sources() && !options.dry_run => session.checkpoint_source()?,
            Ok(()) => {}
            Err(Error::Source(error)) => session.unreadable(error),
            Err(Error::Interrupted) => {
                session.report.partial = true;
                return Ok(Attempt::Done(session.report));
            }
            Err(error) => return Err(error),
        }
    }
    if options.dry_run {
        session.report.bytes_added = session.packer.so_far().bytes_added;
        return Ok(Attempt::Done(session.report));
    }
    if !session.has_sources() {
        let why = session.report.unreadable.first().map_or("there was no source".into(), |(_, why)| why.clone());
        return Err(Error::Invalid(format!("nothing was saved: {why}")));
    }
    match session.finish()? {
        Outcome::Published(sealed) => {
            session.report.snapshot = Some(sealed.id());
            Ok(Attempt::Done(session.report))
        }
        Outcome::Lost(lost) => Ok(Attempt::Again(lost)),
        Outcome::Revoked => Ok(Attempt::Again(Vec::new())),
    }
}

/// Earlier snapshots that unchanged files are taken over from.
struct Parents {
    found: Vec<Parent>,
}

struct Parent {
    sealed: Sealed,
    root: Root,
    packs: Vec<PackEntry>,
}

impl Parents {
    /// For each source the newest finished snapshot of this host that holds it, and a checkpoint that is newer.
    fn find(repo: &Repository, catalog: &Catalog, snapshots: &Snapshots, options: &BackupOptions, bad: &HashSet<ObjectHash>) -> Result<Self> {
        let mut parents = Self { found: Vec::new() };
        if options.force || !repo.keys().can_read {
            return Ok(parents);
        }
        let mut wanted: Vec<Vec<u8>> = options.sources.iter().map(path_of).collect();
        for sealed in snapshots.sealed.iter().rev().take(PARENTS_BACK) {
            if wanted.is_empty() {
                break;
            }
            let root = match repo.root(catalog, sealed) {
                Ok(root) => root,
                Err(Error::Store(error)) => return Err(error.into()),
                // A damaged snapshot is no parent.
                Err(_) => continue,
            };
            let holds = |path: &Vec<u8>| root.sources.iter().any(|s| s.path_bytes().is_ok_and(|p| *p == **path));
            if root.host != options.host || !wanted.iter().any(holds) {
                continue;
            }
            let Some(packs) = commit::usable_closure(repo, catalog, snapshots, sealed)? else { continue };
            if packs.iter().any(|pack| bad.contains(&pack.hash)) {
                continue;
            }
            if !root.partial {
                wanted.retain(|path| !holds(path));
            }
            parents.found.push(Parent { sealed: sealed.clone(), root, packs });
        }
        Ok(parents)
    }

    fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    fn newest(&self) -> Option<&Sealed> {
        self.found.first().map(|parent| &parent.sealed)
    }

    fn closure(&self) -> impl Iterator<Item = PackEntry> + '_ {
        self.found.iter().flat_map(|parent| parent.packs.iter().copied())
    }

    /// The earlier states of a source, newest first, with the moment before which they can be trusted.
    fn of<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = (&'a Node, Moment)> + 'a {
        self.found.iter().flat_map(move |parent| {
            let sources = parent.root.sources.iter().filter(move |s| s.path_bytes().is_ok_and(|p| *p == *path));
            sources.map(|source| (&source.node, trusted_before(&parent.root)))
        })
    }

    /// Expects as much to do as last time.
    fn announce(&self, monitor: &dyn Monitor) {
        if let Some(parent) = self.found.iter().find(|parent| !parent.root.partial) {
            let totals = parent.root.totals;
            monitor.counters().set_total(totals.files + totals.others, totals.bytes);
        }
    }
}

/// File systems stamp changes by a clock that ticks every few milliseconds: what changed in the tick in which the earlier
/// backup began may have been read before the change.
fn trusted_before(root: &Root) -> Moment {
    let began: jiff::Timestamp = root.time.parse().unwrap_or_default();
    let began = began.saturating_sub(jiff::SignedDuration::from_millis(20)).unwrap_or_default();
    let nanos = began.as_nanosecond();
    Moment { secs: nanos.div_euclid(1_000_000_000) as i64, nanos: nanos.rem_euclid(1_000_000_000) as u32 }
}

/// The path under which a source is kept.
fn path_of(source: &SourceSpec) -> Vec<u8> {
    match source {
        SourceSpec::Path(path) => absolute(path).into_os_string().into_encoded_bytes(),
        SourceSpec::Stdin { name, .. } => format!("/{}", name.trim_start_matches('/')).into_bytes(),
    }
}

/// Makes a path absolute by its text alone: what a symbolic link is called is what the user calls it.
fn absolute(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

/// Saves one source after the other.
struct Saver<'a> {
    repo: &'a Repository,
    options: &'a BackupOptions,
    parents: &'a Parents,
    chunks: &'a ChunkReader<'a>,
    owners: Owners,
    chunker: Chunker,
}

impl Saver<'_> {
    fn save(&self, session: &mut Session<'_>, source: &SourceSpec) -> Result<()> {
        let key = path_of(source);
        session.begin_source(&key);
        let node = match source {
            SourceSpec::Stdin { name, reader } => self.stream(session, name, reader)?,
            SourceSpec::Path(path) => {
                let path = absolute(path);
                if path.is_dir() { self.folder(session, &path, &key)? } else { self.volume(session, &path, &key)? }
            }
        };
        session.end_source(node);
        Ok(())
    }

    fn folder(&self, session: &mut Session<'_>, path: &Path, key: &[u8]) -> Result<Node> {
        let splitter = LeafSplitter::new(&self.repo.chunk_keys()?.chunker);
        let parents = self.parents.of(key).map(|(node, trusted)| (self.chunks, node.clone(), trusted));
        let mut saver = TreeSaver::open(path, &self.owners, &self.chunker, splitter, parents)?;
        let walked = match self.parents.is_empty() {
            false => saver.run(session, self.walk_options(path)?),
            true => {
                let (tree, options) = (Tree::open(path)?, self.walk_options(path)?);
                let (stop, monitor) = (AtomicBool::new(false), session.monitor);
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        tree::measure(&tree, options, |files, bytes| {
                            monitor.counters().ahead(files, bytes);
                            !stop.load(Relaxed)
                        });
                    });
                    let walked = self.walk_options(path).and_then(|options| saver.run(session, options));
                    stop.store(true, Relaxed);
                    walked
                })
            }
        };
        if matches!(walked, Err(Error::Interrupted)) {
            self.keep_partial(session, |packer| saver.so_far(packer))?;
        }
        walked?;
        saver.so_far(&mut session.packer)
    }

    fn walk_options(&self, root: &Path) -> Result<WalkOptions> {
        let options = self.options;
        let mut excludes = Excludes::builder(root);
        for line in &options.excludes {
            excludes.add_line(line)?;
        }
        for file in &options.exclude_files {
            excludes.add_file(file)?;
        }
        Ok(WalkOptions {
            excludes: excludes.build()?,
            one_file_system: options.one_file_system,
            exclude_caches: options.exclude_caches,
            exclude_larger_than: options.exclude_larger_than,
            never: options.never.iter().filter_map(|path| FileId::of(path).ok()).collect(),
        })
    }

    fn volume(&self, session: &mut Session<'_>, path: &Path, key: &[u8]) -> Result<Node> {
        let image = Image::open(path)?;
        let chunk_size = self.options.chunk_size.unwrap_or(self.repo.card().volume_chunk_size);
        fardel_format::card::check_volume_chunk_size(chunk_size).map_err(|e| Error::Invalid(e.to_string()))?;
        let mut known = false;
        for (node, trusted) in self.parents.of(key).filter(|(node, _)| node.kind == NodeKind::Volume) {
            let same_chunks = node.content.as_ref().is_some_and(|rope| rope.chunk_size == Some(chunk_size));
            if !image.is_device() && same_chunks && SavedStat::of(node).is_same(image.meta(), trusted) {
                session.volume(node.size, true, true);
                session.monitor.counters().done(0, node.size);
                return Ok(node.clone());
            }
            known = true;
        }
        if self.parents.is_empty() {
            session.monitor.counters().ahead(1, image.size());
        }
        let mut saver = VolumeSaver::new(&image, chunk_size, &self.owners);
        let read = saver.run(session);
        if matches!(read, Err(Error::Interrupted)) {
            self.keep_partial(session, |packer| saver.so_far(packer))?;
        }
        read?;
        let (node, why) = saver.finish(&mut session.packer)?;
        if let Some(why) = why {
            session.inconsistent(path, &why);
        }
        session.volume(node.size, known, false);
        Ok(node)
    }

    fn stream(&self, session: &mut Session<'_>, name: &str, reader: &Mutex<Box<dyn Read + Send>>) -> Result<Node> {
        let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut node = Node::new(b"", NodeKind::File);
        node.mode = 0o600;
        (node.uid, node.gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let now = jiff::Timestamp::now();
        node.mtime = Moment { secs: now.as_second(), nanos: now.subsec_nanosecond().max(0) as u32 };
        node.ctime = node.mtime;
        let (packer, counters, report, monitor) = (&mut session.packer, session.monitor.counters(), &mut session.report, session.monitor);
        let (rope, size) = content::store(packer, &self.chunker, &mut Vec::new(), |buffer| {
            if monitor.interrupted() {
                return Err(Error::Interrupted);
            }
            let read = (&mut **reader).take(content::READ as u64).read_to_end(buffer).map_err(|e| Error::io(name, e))?;
            counters.done(0, read as u64);
            report.bytes_read += read as u64;
            Ok(if read == 0 { Piece::End } else { Piece::Data })
        })?;
        (node.size, node.content) = (size, Some(rope));
        session.volume(size, false, false);
        Ok(node)
    }

    /// Seals what an interrupted source has so far.
    fn keep_partial(&self, session: &mut Session<'_>, so_far: impl FnOnce(&mut Packer) -> Result<Node>) -> Result<()> {
        if self.options.dry_run {
            return Ok(());
        }
        let node = so_far(&mut session.packer)?;
        if let Outcome::Published(sealed) = session.checkpoint(Some(node))? {
            session.report.snapshot = Some(sealed.id());
        }
        Ok(())
    }
}
