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
mod parents;
mod saver;
mod session;
mod tree;
mod volume;

use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use fardel_format::{ObjectHash, SnapshotId};
use fardel_source::{ErrorKind as SourceErrorKind, Owners};

use crate::catalog::Catalog;
use crate::commit::Outcome;
use crate::index::ChunkIndex;
use crate::monitor::Monitor;
use crate::packs::{ChunkReader, PackReader, Packer, PackerOptions, Remembering};
use crate::repository::Repository;
use crate::snapshots::Snapshots;
use crate::{Error, Result};

use parents::Parents;
use saver::Saver;
use session::Session;

/// How often a snapshot is begun anew when packs vanish under it.
const ATTEMPTS: u32 = 3;

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

impl BackupOptions {
    /// Everything in these sources as this machine, in the repository's own way; sealed on the way only after an hour.
    #[must_use]
    pub fn new(host: impl Into<String>, sources: Vec<SourceSpec>) -> Self {
        Self {
            sources,
            host: host.into(),
            user: None,
            tags: Vec::new(),
            excludes: Vec::new(),
            exclude_files: Vec::new(),
            exclude_caches: false,
            exclude_larger_than: None,
            one_file_system: false,
            chunk_size: None,
            force: false,
            dry_run: false,
            checkpoint_every: Duration::from_secs(3600),
            never: Vec::new(),
            packer: PackerOptions::default(),
        }
    }
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
/// When the store fails or has no room left, a pattern means nothing, or the key does not allow it. What cannot be read is
/// in the report instead. After an error nothing is lost that was reported as saved before, and a rerun goes on from what
/// was stored.
pub fn backup(
    repo: &Repository,
    catalog: &Catalog,
    options: &BackupOptions,
    monitor: &dyn Monitor,
) -> Result<BackupReport> {
    for source in &options.sources {
        if let SourceSpec::Stdin { name, .. } = source {
            let mut names = name.trim_start_matches('/').split('/');
            let fits = names.try_for_each(|name| fardel_format::tree::check_name(name.as_bytes()));
            fits.map_err(|_| {
                Error::Invalid(format!(
                    "{name}: a stream cannot be called so; give a plain name such as dump.sql"
                ))
            })?;
        }
    }
    if !options.dry_run {
        // Better now than after hours of reading.
        repo.store().check_room()?;
    }
    let time = crate::time::now();
    let mut bad = HashSet::new();
    let mut fresh = None;
    for _ in 0..ATTEMPTS {
        let catalog = fresh.as_ref().unwrap_or(catalog);
        let (catalog, snapshots) = Snapshots::load_lasting(repo, catalog)?;
        match attempt_backup(repo, &catalog, &snapshots, options, monitor, &time, &bad)? {
            Attempt::Done(report) => return Ok(report),
            // A stream cannot be read twice.
            Attempt::Again(_) if options.sources.iter().any(|s| matches!(s, SourceSpec::Stdin { .. })) => {
                break;
            }
            Attempt::Again(lost) => {
                monitor
                    .warning("packs vanished from the repository while this ran: writing their chunks again");
                bad.extend(lost);
                fresh = Some(Catalog::load(repo.store())?);
            }
        }
    }
    Err(Error::Damaged(
        "packs vanished from the repository while this ran: nothing was sealed, run it again".into(),
    ))
}

enum Attempt {
    Done(BackupReport),
    Again(Vec<ObjectHash>),
}

fn attempt_backup(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &Snapshots,
    options: &BackupOptions,
    monitor: &dyn Monitor,
    time: &str,
    bad: &HashSet<ObjectHash>,
) -> Result<Attempt> {
    let packs = PackReader::new(repo, catalog);
    let index = ChunkIndex::for_writing(repo, catalog, snapshots, bad, &packs)?;
    let mut packer = Packer::start(repo, catalog, index, options.packer.clone(), options.dry_run)?;
    if !repo.keys().can_read && !options.dry_run {
        packer.remember(Remembering::begin(parents::remembered_at(repo, options)));
    }
    let parents = Parents::find(repo, catalog, snapshots, options, bad)?;
    let reading = if parents.is_empty() || parents.remembered().is_some() {
        ChunkIndex::default()
    } else {
        ChunkIndex::for_reading(repo, catalog, &packs)?
    };
    let chunks = ChunkReader::new(repo, &packs, &reading)?.of(parents.remembered());
    parents.announce(monitor);

    let mut session = Session::new(repo, catalog, snapshots, options, monitor, packer, time, &parents);
    session.rest_on(parents.closure());
    let saver = Saver {
        repo,
        options,
        parents: &parents,
        chunks: &chunks,
        owners: Owners::load(),
        chunker: repo.chunker()?,
    };
    let count = options.sources.len();
    for (number, source) in options.sources.iter().enumerate() {
        match saver.save(&mut session, source) {
            Ok(()) if number + 1 < count && session.has_sources() && !options.dry_run => {
                session.checkpoint_source()?
            }
            Ok(()) => {}
            // A pattern that means nothing is the user's mistake: nobody knows what was to be left out.
            Err(Error::Source(error)) if error.kind() != SourceErrorKind::Pattern => {
                session.unreadable(error)
            }
            Err(Error::Interrupted) => {
                session.report.partial = true;
                return Ok(Attempt::Done(session.report));
            }
            Err(error) => {
                session.packer.keep_finished();
                return Err(error);
            }
        }
    }
    if options.dry_run {
        session.report.bytes_added = session.packer.so_far().bytes_added;
        return Ok(Attempt::Done(session.report));
    }
    if !session.has_sources() {
        let why =
            session.report.unreadable.first().map_or("there was no source".into(), |(_, why)| why.clone());
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

#[cfg(test)]
mod tests;
