//! Saves one source: a folder, a disk image, a stream.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use fardel_format::chunker::Chunker;
use fardel_format::lines::Moment;
use fardel_format::tree::{LeafSplitter, Node, NodeKind};
use fardel_source::{Excludes, FileId, Image, Owners, Tree, WalkOptions};

use super::content::{self, Piece};
use super::parent::SavedStat;
use super::parents::Parents;
use super::session::Session;
use super::tree::{self, TreeSaver};
use super::volume::VolumeSaver;
use super::{BackupOptions, SourceSpec};
use crate::commit::Outcome;
use crate::packs::{ChunkReader, Packer};
use crate::repository::Repository;
use crate::{Error, Result};

/// The path under which a source is kept.
pub fn path_of(source: &SourceSpec) -> Vec<u8> {
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
pub struct Saver<'a> {
    pub repo: &'a Repository,
    pub options: &'a BackupOptions,
    pub parents: &'a Parents,
    pub chunks: &'a ChunkReader<'a>,
    pub owners: Owners,
    pub chunker: Chunker,
}

impl Saver<'_> {
    /// Saves it, and tells the session.
    pub fn save(&self, session: &mut Session<'_>, source: &SourceSpec) -> Result<()> {
        let key = path_of(source);
        session.begin_source(&key);
        let node = match source {
            SourceSpec::Stdin { name, reader } => self.stream(session, name, reader)?,
            SourceSpec::Path(path) => {
                let path = absolute(path);
                if path.is_dir() {
                    self.folder(session, &path, &key)?
                } else {
                    self.volume(session, &path, &key)?
                }
            }
        };
        session.end_source(node);
        Ok(())
    }

    fn folder(&self, session: &mut Session<'_>, path: &Path, key: &[u8]) -> Result<Node> {
        let splitter = LeafSplitter::new(&self.repo.chunk_keys()?.chunker);
        let parents = self.parents.of(key).map(|(node, trusted)| (self.chunks, node.clone(), trusted));
        let mut saver = TreeSaver::open(path, &self.owners, &self.chunker, splitter, parents)?;
        let walked = match self.parents.know_totals() {
            true => saver.run(session, self.walk_options(path)?),
            false => {
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
        fardel_format::card::check_volume_chunk_size(chunk_size)
            .map_err(|e| Error::Invalid(e.to_string()))?;
        if !self.parents.know_totals() {
            session.monitor.counters().ahead(1, image.size());
        }
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

    fn stream(
        &self,
        session: &mut Session<'_>,
        name: &str,
        reader: &Mutex<Box<dyn Read + Send>>,
    ) -> Result<Node> {
        let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut node = Node::new(b"", NodeKind::File);
        node.mode = 0o600;
        (node.uid, node.gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let now = jiff::Timestamp::now();
        node.mtime = Moment { secs: now.as_second(), nanos: now.subsec_nanosecond().max(0) as u32 };
        node.ctime = node.mtime;
        let (packer, counters, report, monitor) =
            (&mut session.packer, session.monitor.counters(), &mut session.report, session.monitor);
        let (rope, size) = content::store(packer, &self.chunker, &mut Vec::new(), |buffer| {
            if monitor.interrupted() {
                return Err(Error::Interrupted);
            }
            let read = (&mut **reader)
                .take(content::READ as u64)
                .read_to_end(buffer)
                .map_err(|e| Error::io(name, e))?;
            counters.done(0, read as u64);
            report.bytes_read += read as u64;
            Ok(if read == 0 { Piece::End } else { Piece::Data })
        })?;
        (node.size, node.content) = (size, Some(rope));
        session.volume(size, false, false);
        Ok(node)
    }

    /// Seals what an interrupted source has so far.
    fn keep_partial(
        &self,
        session: &mut Session<'_>,
        so_far: impl FnOnce(&mut Packer) -> Result<Node>,
    ) -> Result<()> {
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
