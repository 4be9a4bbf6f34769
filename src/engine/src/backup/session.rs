//! One attempt at a snapshot: what was counted so far, checkpoints on the way, and the sealed end.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use fardel_format::ids::Nonce;
use fardel_format::pack_list::PackEntry;
use fardel_format::root::{self, Root, Source, Totals};
use fardel_format::tree::Node;
use fardel_source::Meta;

use super::parents::Parents;
use super::{BackupOptions, BackupReport};
use crate::catalog::Catalog;
use crate::commit::{self, Outcome};
use crate::monitor::Monitor;
use crate::packs::Packer;
use crate::repository::Repository;
use crate::snapshots::{Sealed, Snapshots};
use crate::tombs::Tombs;
use crate::{Error, Result};

/// A snapshot that is being made.
pub struct Session<'a> {
    pub repo: &'a Repository,
    pub catalog: &'a Catalog,
    pub tombs: &'a Tombs,
    pub options: &'a BackupOptions,
    pub monitor: &'a dyn Monitor,
    pub packer: Packer,
    pub report: BackupReport,
    /// Packs that unchanged files rest on.
    base: BTreeSet<PackEntry>,
    parent: Option<&'a Sealed>,
    last: Option<Sealed>,
    run: Nonce,
    time: &'a str,
    done: Vec<Source>,
    totals: Totals,
    /// The source that is being saved.
    current: Vec<u8>,
    sealed_at: Instant,
}

impl<'a> Session<'a> {
    #[expect(
        clippy::too_many_arguments,
        reason = "one for each thing that an attempt works with, and one caller"
    )]
    pub fn new(
        repo: &'a Repository,
        catalog: &'a Catalog,
        snapshots: &'a Snapshots,
        options: &'a BackupOptions,
        monitor: &'a dyn Monitor,
        packer: Packer,
        time: &'a str,
        parents: &'a Parents,
    ) -> Self {
        let parent = parents.newest();
        let report = BackupReport { parent: parent.map(Sealed::id), ..BackupReport::default() };
        Self {
            repo,
            catalog,
            tombs: &snapshots.tombs,
            options,
            monitor,
            packer,
            report,
            base: BTreeSet::new(),
            parent,
            last: None,
            run: Nonce::random(),
            time,
            done: Vec::new(),
            totals: Totals::default(),
            current: Vec::new(),
            sealed_at: Instant::now(),
        }
    }

    /// What follows belongs to the source at `path`.
    pub fn begin_source(&mut self, path: &[u8]) {
        self.current = path.to_vec();
    }

    /// The source is whole.
    pub fn end_source(&mut self, node: Node) {
        self.done.push(Source::new(&self.current, node));
    }

    /// Rests on these packs too.
    pub fn rest_on(&mut self, packs: impl IntoIterator<Item = PackEntry>) {
        self.base.extend(packs);
    }

    /// Called often: stops when the user wants it, and seals a checkpoint when it is time. `so_far` says what there is of
    /// the current source.
    ///
    /// # Errors
    /// [`Error::Interrupted`], or when the store fails.
    pub fn pause(&mut self, so_far: impl FnOnce(&mut Packer) -> Result<Node>) -> Result<()> {
        if self.monitor.interrupted() {
            return Err(Error::Interrupted);
        }
        if self.sealed_at.elapsed() < self.options.checkpoint_every || self.options.dry_run {
            return Ok(());
        }
        let node = so_far(&mut self.packer)?;
        match self.checkpoint(Some(node))? {
            Outcome::Published(sealed) => {
                self.monitor.detail(&format!("checkpoint {} sealed", sealed.id().short()));
                self.last = Some(*sealed);
            }
            // The end will find out the same and write again what is lacking.
            Outcome::Lost(_) | Outcome::Revoked => {}
        }
        self.sealed_at = Instant::now();
        Ok(())
    }

    /// Seals what there is as a partial snapshot.
    ///
    /// # Errors
    /// When the store fails.
    pub fn checkpoint(&mut self, current: Option<Node>) -> Result<Outcome> {
        let mut sources = self.done.clone();
        sources.extend(current.map(|node| Source::new(&self.current, node)));
        self.seal(sources, true)
    }

    /// Seals a checkpoint after a whole source, when more are to come.
    ///
    /// # Errors
    /// When the store fails.
    pub fn checkpoint_source(&mut self) -> Result<()> {
        if let Outcome::Published(sealed) = self.checkpoint(None)? {
            self.last = Some(*sealed);
        }
        self.sealed_at = Instant::now();
        Ok(())
    }

    /// Seals the snapshot.
    ///
    /// # Errors
    /// When the store fails.
    pub fn finish(&mut self) -> Result<Outcome> {
        let sources = self.done.clone();
        self.seal(sources, false)
    }

    /// Whether any source is whole.
    pub fn has_sources(&self) -> bool {
        !self.done.is_empty()
    }

    fn seal(&mut self, sources: Vec<Source>, partial: bool) -> Result<Outcome> {
        let packed = self.packer.flush()?;
        let root = Root {
            fardel: root::VERSION,
            repository: *self.repo.id(),
            salt: Nonce::random(),
            run: self.run,
            partial,
            time: self.time.to_owned(),
            host: self.options.host.clone(),
            user: self.options.user.clone(),
            tags: self.options.tags.clone(),
            parent: self.report.parent,
            sources,
            totals: self.totals,
            unreadable: self.report.unreadable.len() as u64,
            program: concat!("fardel ", env!("CARGO_PKG_VERSION")).into(),
        };
        let mut closure = self.base.clone();
        closure.extend(packed.packs.iter().copied());
        closure.extend(packed.reused.iter().copied());
        let base = self.last.as_ref().or(self.parent).map(|sealed| &sealed.manifest);
        let unpublished = commit::write(
            self.repo,
            self.catalog,
            self.tombs,
            base,
            &root,
            closure.into_iter().collect(),
            self.last.as_ref(),
        )?;
        let outcome = unpublished.publish()?;
        let is_last = !partial || self.monitor.interrupted();
        if is_last && matches!(outcome, Outcome::Published(_)) {
            self.packer.sealed(&root);
        }
        self.report.bytes_added = packed.bytes_added;
        self.report.bytes_stored = packed.bytes_stored;
        self.report.packs_written = packed.packs.len() as u64;
        Ok(outcome)
    }

    /// An entry was taken over as it stands.
    pub fn unmodified(&mut self, meta: &Meta) {
        if meta.is_file() {
            self.report.files_unmodified += 1;
        }
        self.count(meta);
        self.monitor.counters().done(0, if meta.is_file() { meta.size } else { 0 });
    }

    /// An entry was saved.
    pub fn saved(&mut self, meta: &Meta, known: bool) {
        if meta.is_file() {
            *(if known { &mut self.report.files_changed } else { &mut self.report.files_new }) += 1;
        }
        self.count(meta);
    }

    fn count(&mut self, meta: &Meta) {
        if meta.is_file() {
            self.totals.files += 1;
            self.totals.bytes += meta.size;
        } else {
            self.totals.others += 1;
        }
        self.monitor.counters().done(1, 0);
    }

    /// A volume was saved or taken over.
    pub fn volume(&mut self, size: u64, known: bool, unmodified: bool) {
        let counter = match (unmodified, known) {
            (true, _) => &mut self.report.files_unmodified,
            (false, true) => &mut self.report.files_changed,
            (false, false) => &mut self.report.files_new,
        };
        *counter += 1;
        self.totals.files += 1;
        self.totals.bytes += size;
        self.monitor.counters().done(1, 0);
    }

    /// A folder was entered.
    pub fn folder(&mut self) {
        self.report.dirs += 1;
        self.totals.dirs += 1;
    }

    /// Something could not be read: the rest is saved, and the end says so.
    pub fn unreadable(&mut self, error: fardel_source::Error) {
        let path = error.path().display().to_string();
        let message = error.to_string();
        self.monitor.warning(&message);
        self.report.unreadable.push((path, message));
    }

    /// Something was left out by the options.
    pub fn excluded(&mut self, path: &Path, tell: bool) {
        self.report.excluded += 1;
        if tell {
            self.monitor.detail(&format!("left out: {}", path.display()));
        }
    }

    /// Something changed while it was read.
    pub fn inconsistent(&mut self, path: &Path, why: &str) {
        let path = path.display().to_string();
        self.monitor.warning(&format!("{path}: {why}: saved, marked as inconsistent"));
        self.report.inconsistent.push((path, why.to_owned()));
    }

    /// An attribute whose name is not UTF-8 cannot be kept.
    pub fn lost_xattr(&mut self, path: &[u8], name: &[u8]) {
        let path = String::from_utf8_lossy(path).into_owned();
        let message = format!(
            "{path}: the attribute {:?} has a name that is not UTF-8: left out",
            String::from_utf8_lossy(name)
        );
        self.monitor.warning(&message);
        self.report.unreadable.push((path, message));
    }

    /// The attributes of a file are more than an entry can hold.
    pub fn oversized_xattrs(&mut self, path: &Path) {
        let path = path.display().to_string();
        let message = format!("{path}: its extended attributes are larger than 1 MiB: left out");
        self.monitor.warning(&message);
        self.report.unreadable.push((path, message));
    }
}
