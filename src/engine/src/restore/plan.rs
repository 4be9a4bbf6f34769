//! Walks what is to be restored and turns it into wanted chunks, a bounded number at a time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use fardel_format::ChunkId;
use fardel_format::ids::ChunkKey;
use fardel_format::lines::Moment;
use fardel_format::pack::PackKind;
use fardel_format::rope::Line;
use fardel_format::segment::Location;
use fardel_format::tree::{Node, NodeKind};
use fardel_source::Owners;

use super::fetch::{Fetcher, Want};
use super::links::{Link, Links};
use super::output::{Output, Shared};
use super::{Damaged, Filter, RestoreOptions, RestoreReport, Top};
use crate::index::ChunkIndex;
use crate::monitor::Monitor;
use crate::packs::{ChunkReader, PackReader};
use crate::repository::Repository;
use crate::rope_reader::{Folder, RopeLines};
use crate::target::{self, Placed, RelPath, Skipped, Target};
use crate::{Error, Result};

/// Bytes that a waiting chunk costs, its share of the file's metadata included.
const WANT_COST: u64 = 1024;
/// Bytes that a fetching thread holds: a request, its decrypted bytes, a frame.
const THREAD_COST: u64 = 20 << 20;

/// Bytes that folders within one another may hold in any case.
const MIN_NESTING: u64 = 8 << 20;

/// So many files of a round may be open at once.
const MAX_OPEN: usize = 512;

struct OpenFolder<'a> {
    at: RelPath,
    shown: Vec<u8>,
    node: Node,
    entries: Folder<'a>,
    made: Made,
}

impl OpenFolder<'_> {
    /// Bytes that it holds, about.
    fn held(&self) -> usize {
        self.entries.held() + 2 * self.shown.len()
    }
}

/// Whether a folder is there yet; with patterns it is made only when something in it is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    NotYet,
    Yes,
    /// It cannot be, and that was told: what belongs in it is passed over.
    Never,
}

/// Everything that waits until the files of this round are complete.
enum Later {
    Entry(RelPath, String, Node),
    HardLink { first: RelPath, at: RelPath, shown: String, node: Node },
    Folder(RelPath, String, Node),
}

/// Plans and runs a restore.
pub struct Planner<'a> {
    shared: Shared<'a>,
    options: &'a RestoreOptions,
    filter: Filter,
    packs: &'a PackReader,
    index: &'a ChunkIndex,
    chunks: &'a ChunkReader<'a>,
    chunk_key: ChunkKey,
    cache: PathBuf,
    threads: usize,
    max_wants: usize,
}

impl<'a> Planner<'a> {
    #[expect(clippy::too_many_arguments, reason = "all that a restore reads from and writes to, once")]
    pub fn new(
        repo: &Repository,
        options: &'a RestoreOptions,
        monitor: &'a dyn Monitor,
        target: Option<&'a Target>,
        filter: Filter,
        packs: &'a PackReader,
        index: &'a ChunkIndex,
        chunks: &'a ChunkReader<'a>,
    ) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = cores.min((options.memory / 2 / THREAD_COST) as usize).max(1);
        let shared = Shared {
            target,
            monitor,
            owners: Owners::load(),
            replace: options.in_place,
            report: Mutex::new(RestoreReport::default()),
            bytes_written: 0.into(),
        };
        let max_wants = (options.memory / 4 / WANT_COST).clamp(1024, 1 << 16) as usize;
        let chunk_key = repo.chunk_keys()?.chunk.clone();
        let cache = repo.cache().to_owned();
        Ok(Self { shared, options, filter, packs, index, chunks, chunk_key, cache, threads, max_wants })
    }

    /// Restores everything.
    ///
    /// # Errors
    /// When the user stops it, or the target cannot be written at all.
    pub fn run(self, tops: Vec<Top>) -> Result<RestoreReport> {
        let links =
            Links::new(&self.cache, self.options.memory / 4).map_err(|e| Error::io(&self.cache, e))?;
        let mut round = Round {
            planner: &self,
            wants: Vec::new(),
            later: Vec::new(),
            above: Vec::new(),
            links,
            open: 0,
            unchanged: 0,
        };
        for top in tops {
            round.top(top)?;
        }
        round.flush()?;
        // Children first: what happens in a folder changes its time.
        for folder in std::mem::take(&mut round.above).into_iter().rev() {
            round.later(folder);
        }
        if let Some(target) = self.shared.target {
            target.sync()?;
        }
        let unchanged = round.unchanged;
        drop(round);
        let written = self.shared.bytes_written.into_inner();
        let mut report = self.shared.report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        report.bytes_written = written;
        report.bytes_unchanged = unchanged;
        Ok(report)
    }

    /// A small tree can be made of more paths and holes than anybody can wait for.
    fn stop_if_interrupted(&self) -> Result<()> {
        if self.shared.monitor.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

struct Round<'p, 'a> {
    planner: &'p Planner<'a>,
    wants: Vec<Want<'p>>,
    later: Vec<Later>,
    /// Folders above the sources, outermost first.
    above: Vec<Later>,
    /// Files that hold a descriptor, or will, until the round is over.
    open: usize,
    links: Links,
    unchanged: u64,
}

impl<'p, 'a: 'p> Round<'p, 'a> {
    fn top(&mut self, top: Top) -> Result<()> {
        // Folders above a source carry no metadata: they become what any new folder is.
        if let Some(target) = self.planner.shared.target {
            let mut above = RelPath::root();
            let parent = top.at.parent().unwrap_or_default();
            for name in parent.as_bytes().split(|&b| b == b'/').filter(|name| !name.is_empty()) {
                above = above.join(name)?;
                if target.make_dir(&above, false)? == target::Made::New {
                    let mut node = Node::new(name, NodeKind::Dir);
                    node.mode = 0o755;
                    (node.uid, node.gid) =
                        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
                    let now = jiff::Timestamp::now();
                    node.mtime =
                        Moment { secs: now.as_second(), nanos: now.subsec_nanosecond().unsigned_abs() };
                    self.above.push(Later::Folder(above.clone(), above.to_string(), node));
                }
            }
        }
        if top.node.kind != NodeKind::Dir {
            return self.entry(top.at, &top.shown, top.node);
        }
        self.folder(top)
    }

    fn folder(&mut self, top: Top) -> Result<()> {
        let Some(root) = self.open(top.at, top.shown, top.node) else { return Ok(()) };
        let mut stack = vec![root];
        if self.planner.options.include.is_empty() {
            self.make_folders(&mut stack);
        }
        while let Some(folder) = stack.last_mut() {
            self.planner.stop_if_interrupted()?;
            let node = match folder.entries.next_node() {
                Ok(Some(node)) => node,
                Ok(None) => {
                    self.leave(stack.pop().expect("it was the last"));
                    continue;
                }
                Err(error) => {
                    self.unreadable(&String::from_utf8_lossy(&folder.shown), &error);
                    continue;
                }
            };
            let name = node.name_bytes().map_err(|e| Error::object("a tree", e))?.into_owned();
            let shown = [&folder.shown[..], b"/", &name].concat();
            let at = folder.at.join(&name)?;
            let is_dir = node.kind == NodeKind::Dir;
            let wanted = self.planner.filter.wants(&shown, is_dir);
            if is_dir {
                let held: usize = stack.iter().map(OpenFolder::held).sum();
                if held as u64 > (self.planner.options.memory / 4).max(MIN_NESTING) {
                    let why =
                        "it lies in more folders than the memory setting allows: restore it by its path";
                    self.unreadable(&String::from_utf8_lossy(&shown), &Error::Damaged(why.into()));
                } else if !self.planner.filter.prunes(&shown)
                    && let Some(folder) = self.open(at, shown, node)
                {
                    stack.push(folder);
                    if wanted {
                        self.make_folders(&mut stack);
                    }
                }
            } else if wanted && self.make_folders(&mut stack) {
                self.entry(at, &shown, node)?;
            }
        }
        Ok(())
    }

    fn open(&self, at: RelPath, shown: Vec<u8>, node: Node) -> Option<OpenFolder<'p>> {
        match Folder::open(self.planner.chunks, &node) {
            Ok(entries) => Some(OpenFolder { at, shown, node, entries, made: Made::NotYet }),
            Err(error) => {
                self.unreadable(&String::from_utf8_lossy(&shown), &error);
                None
            }
        }
    }

    fn unreadable(&self, path: &str, error: &Error) {
        self.planner.shared.monitor.warning(&format!("{path}: entries are missing: {error}"));
        let damaged =
            Damaged { path: path.to_owned(), partial: None, missing: Vec::new(), why: error.to_string() };
        self.planner.shared.report().damaged.push(damaged);
    }

    /// Makes the folders that are open; `false` when one cannot be made.
    fn make_folders(&self, stack: &mut [OpenFolder<'_>]) -> bool {
        let mut usable = true;
        for folder in stack.iter_mut() {
            match folder.made {
                Made::Yes => {}
                Made::Never => usable = false,
                Made::NotYet if !usable => folder.made = Made::Never,
                Made::NotYet => {
                    let made = self
                        .planner
                        .shared
                        .target
                        .map(|target| target.make_dir(&folder.at, self.planner.options.in_place));
                    if let Some(Err(error)) = made {
                        self.planner.shared.failed(&String::from_utf8_lossy(&folder.shown), &error);
                        folder.made = Made::Never;
                        usable = false;
                    } else {
                        folder.made = Made::Yes;
                        self.planner.shared.report().dirs += 1;
                    }
                }
            }
        }
        usable
    }

    fn leave(&mut self, folder: OpenFolder<'_>) {
        if folder.made == Made::Yes {
            self.later.push(Later::Folder(
                folder.at,
                String::from_utf8_lossy(&folder.shown).into_owned(),
                folder.node,
            ));
        }
    }

    fn entry(&mut self, at: RelPath, shown: &[u8], node: Node) -> Result<()> {
        let shown = String::from_utf8_lossy(shown).into_owned();
        if matches!(node.kind, NodeKind::File | NodeKind::Volume) {
            let link = if node.kind == NodeKind::File {
                self.links.find(&node, &at).map_err(|e| Error::io("the table of hard links", e))?
            } else {
                Link::Restore
            };
            match link {
                Link::Restore => {}
                Link::To(first) => {
                    self.later.push(Later::HardLink { first, at, shown, node });
                    return self.relieve();
                }
                Link::Untracked => {
                    let why = "restored as a copy of its own: too many hard links for the memory setting";
                    self.planner.shared.warn(&shown, [why]);
                }
            }
            self.file(at, shown, node)?;
        } else {
            self.later.push(Later::Entry(at, shown, node));
        }
        self.relieve()
    }

    fn file(&mut self, at: RelPath, shown: String, node: Node) -> Result<()> {
        let planner = self.planner;
        let output = Arc::new(Output::new(&planner.shared, at, shown, node));
        if let Err(error) = self.want_all(&output) {
            if matches!(error, Error::Interrupted) {
                return Err(error);
            }
            output.fail(error);
        }
        output.release();
        Ok(())
    }

    fn want_all(&mut self, output: &Arc<Output<'p>>) -> Result<()> {
        let planner = self.planner;
        let in_place = planner.options.in_place && output.open_in_place()?;
        let wanted_before = self.wants.len();
        let rope = output
            .node
            .content
            .clone()
            .ok_or_else(|| Error::Damaged("its entry does not say what is in it".into()))?;
        let size = output.node.size;
        let (mut at, mut hole) = (0, 0..0);
        let mut existing = Vec::new();
        for line in RopeLines::new(planner.chunks, &rope)? {
            planner.stop_if_interrupted()?;
            let Line { chunk, len } = line?;
            let left = size - at;
            let len = match (len, rope.chunk_size) {
                (Some(len), None) => len,
                (None, Some(chunk_size)) => u64::from(chunk_size).min(left),
                _ => return Err(Error::Damaged("its map is of two kinds".into())),
            };
            if len > left || len == 0 {
                return Err(Error::Damaged("its map is longer than the file".into()));
            }
            match chunk {
                None if hole.end == at => hole.end = at + len,
                None => {
                    self.punch(output, in_place, &hole)?;
                    hole = at..at + len;
                }
                Some(id) => self.want(output, in_place, id, at, len, &mut existing)?,
            }
            if chunk.is_none() {
                output.is_sparse();
                planner.shared.monitor.counters().done(0, len);
            }
            at += len;
        }
        self.punch(output, in_place, &hole)?;
        if in_place || self.wants.len() > wanted_before + 1 {
            self.open += 1;
        }
        if at != size {
            output.want();
            output.missing(at, size - at, "its map ends before the file does");
        }
        Ok(())
    }

    fn punch(&self, output: &Output<'_>, in_place: bool, hole: &std::ops::Range<u64>) -> Result<()> {
        if in_place && !hole.is_empty() { output.hole(hole.start, hole.end - hole.start) } else { Ok(()) }
    }

    fn want(
        &mut self,
        output: &Arc<Output<'p>>,
        in_place: bool,
        id: ChunkId,
        offset: u64,
        len: u64,
        existing: &mut Vec<u8>,
    ) -> Result<()> {
        let planner = self.planner;
        if in_place {
            existing.resize(len as usize, 0);
            if output.read_existing(offset, existing)? == existing.len()
                && planner.chunk_key.id(existing) == id
            {
                self.unchanged += len;
                planner.shared.monitor.counters().done(0, len);
                return Ok(());
            }
        }
        let place = self.find(&id, len)?;
        output.want();
        let why = match place {
            Some(location) => {
                self.wants.push(Want { id, location, output: output.clone(), offset });
                return self.relieve();
            }
            None if planner.index.locate(&id, PackKind::Data).is_some() => "has another length",
            None => "is in no pack that is here",
        };
        output.missing(offset, len, &format!("chunk {} {why}", id.short()));
        self.relieve()
    }

    /// A place where a chunk of this length may lie: one segment may lie about it where another, or a pack, tells the truth.
    fn find(&self, id: &ChunkId, len: u64) -> Result<Option<Location>> {
        let fits = |location: &Location| u64::from(location.len) == len;
        if let Some(location) = self.planner.index.locate_all(id, PackKind::Data).find(fits) {
            return Ok(Some(location));
        }
        Ok(self.planner.packs.search(id, PackKind::Data)?.into_iter().find(fits))
    }

    /// Fetches when enough is waiting.
    fn relieve(&mut self) -> Result<()> {
        let max = self.planner.max_wants;
        if self.wants.len() < max && self.later.len() < max && self.open < MAX_OPEN {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let planner = self.planner;
        let wants = std::mem::take(&mut self.wants);
        if planner.options.dry_run {
            wants.iter().for_each(|want| want.output.write(want.offset, &[]));
        } else {
            let fetcher = Fetcher {
                packs: planner.packs,
                chunks: planner.chunks,
                chunk_key: &planner.chunk_key,
                monitor: planner.shared.monitor,
                threads: planner.threads,
            };
            fetcher.run(wants)?;
        }
        self.open = 0;
        let copies: Vec<_> =
            std::mem::take(&mut self.later).into_iter().filter_map(|later| self.later(later)).collect();
        for (at, shown, node) in copies {
            self.file(at, shown, node)?;
        }
        if self.wants.is_empty() { Ok(()) } else { self.flush() }
    }

    /// Does what waited; returns a hard link that must become a copy, because the target has no hard links.
    fn later(&self, later: Later) -> Option<(RelPath, String, Node)> {
        let shared = &self.planner.shared;
        let replace = self.planner.options.in_place;
        let (shown, placed) = match &later {
            Later::Folder(at, shown, node) => {
                let target = shared.target?;
                match shared.with_attributes(node, |attributes| target.set_dir_attributes(at, attributes)) {
                    Ok(warnings) => shared.warn(shown, warnings),
                    Err(error) => shared.failed(shown, &error),
                }
                return None;
            }
            Later::HardLink { first, at, shown, .. } => {
                (shown, shared.target.map(|target| target.hard_link(first, at, replace)))
            }
            Later::Entry(at, shown, node) => {
                let placed = shared.target.map(|target| {
                    shared.with_attributes(node, |attributes| match node.kind {
                        NodeKind::Symlink => {
                            let to = node.target_bytes().map_err(|e| Error::object(shown, e))?;
                            target.symlink(at, &to, attributes, replace)
                        }
                        NodeKind::Fifo => target.fifo(at, attributes, replace),
                        NodeKind::Block | NodeKind::Char => {
                            let device = node.device.ok_or_else(|| {
                                Error::Damaged(format!("{shown}: a device without numbers"))
                            })?;
                            target.device(at, node.kind == NodeKind::Block, device, attributes, replace)
                        }
                        _ => Ok(Placed::Made(Vec::new())),
                    })
                });
                (shown, placed)
            }
        };
        shared.monitor.counters().done(1, 0);
        match placed {
            None => shared.report().others += 1,
            Some(Ok(Placed::Made(warnings))) => {
                shared.report().others += 1;
                shared.warn(shown, warnings);
            }
            Some(Ok(Placed::Skipped(why @ Skipped::Device))) => shared.warn(shown, [why]),
            Some(Ok(Placed::Skipped(why))) => {
                let error = Error::Invalid(why.to_string());
                if let Later::HardLink { at, shown, node, .. } = later {
                    shared.warn(&shown, ["restored as a copy of its own: the target has no hard links"]);
                    return Some((at, shown, node));
                }
                shared.failed(shown, &error);
            }
            Some(Err(error)) => shared.failed(shown, &error),
        }
        None
    }
}
