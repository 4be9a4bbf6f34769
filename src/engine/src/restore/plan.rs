//! Walks what is to be restored and turns it into wanted chunks, a bounded number at a time.

use std::path::PathBuf;
use std::sync::Mutex;

use fardel_format::ids::ChunkKey;
use fardel_format::lines::Moment;
use fardel_format::tree::{Node, NodeKind};
use fardel_source::Owners;

use super::fetch::{Fetcher, Pool};
use super::later::Later;
use super::links::{Link, Links};
use super::output::Shared;
use super::round::{FIRST_ROUND, Round};
use super::{Damaged, Filter, RestoreOptions, RestoreReport, Top};
use crate::index::ChunkIndex;
use crate::monitor::Monitor;
use crate::packs::{ChunkReader, PackReader};
use crate::repository::Repository;
use crate::rope_reader::Folder;
use crate::target::{self, RelPath, Target};
use crate::{Error, Result};

/// Bytes that a waiting chunk costs, its share of the file's metadata included.
const WANT_COST: u64 = 1024;
/// Bytes that a fetching thread holds: a request, its decrypted bytes, a frame.
const THREAD_COST: u64 = 20 << 20;
/// Fetching threads for each core, as far as memory allows: some of them wait for the store or for a folder's lock.
const THREADS_PER_CORE: usize = 3;
/// Bytes that folders within one another may hold in any case.
const MIN_NESTING: u64 = 8 << 20;

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

/// Plans and runs a restore.
pub struct Planner<'a> {
    pub shared: Shared<'a>,
    pub options: &'a RestoreOptions,
    pub filter: Filter,
    pub packs: &'a PackReader,
    pub index: &'a ChunkIndex,
    pub chunks: &'a ChunkReader<'a>,
    pub chunk_key: ChunkKey,
    pub cache: PathBuf,
    pub threads: usize,
    pub max_wants: usize,
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
        let threads = (cores * THREADS_PER_CORE).min((options.memory / 2 / THREAD_COST) as usize).max(1);
        let shared = Shared {
            target,
            monitor,
            owners: Owners::load(),
            replace: options.in_place,
            report: Mutex::new(RestoreReport::default()),
            bytes_written: 0.into(),
            unsent: 0.into(),
        };
        // Half of it for the round that is planned, half for the one that is fetched meanwhile.
        let max_wants = (options.memory / 8 / WANT_COST).clamp(FIRST_ROUND as u64, 1 << 13) as usize;
        let chunk_key = repo.chunk_keys()?.chunk.clone();
        let cache = repo.cache().to_owned();
        Ok(Self { shared, options, filter, packs, index, chunks, chunk_key, cache, threads, max_wants })
    }

    /// Restores everything.
    ///
    /// # Errors
    /// When the user stops it, or the target cannot be written at all.
    pub fn run(self, tops: Vec<Top>) -> Result<RestoreReport> {
        let fetcher = Fetcher {
            packs: self.packs,
            chunks: self.chunks,
            chunk_key: &self.chunk_key,
            monitor: self.shared.monitor,
        };
        let unchanged = std::thread::scope(|scope| {
            let pool = Pool::start(scope, fetcher, self.threads);
            let links =
                Links::new(&self.cache, self.options.memory / 4).map_err(|e| Error::io(&self.cache, e))?;
            Walk { planner: &self, round: Round::new(&self, scope, pool), links, above: Vec::new() }.run(tops)
        })?;
        let written = self.shared.bytes_written.into_inner();
        let mut report = self.shared.report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        report.bytes_written = written;
        report.bytes_unchanged = unchanged;
        Ok(report)
    }

    /// A small tree can be made of more paths and holes than anybody can wait for.
    pub fn stop_if_interrupted(&self) -> Result<()> {
        if self.shared.monitor.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Goes through the folders, outermost first.
struct Walk<'scope, 'p, 'a> {
    planner: &'p Planner<'a>,
    round: Round<'scope, 'p, 'a>,
    links: Links,
    /// Folders above the sources, outermost first.
    above: Vec<Later>,
}

impl<'scope, 'p: 'scope, 'a: 'p> Walk<'scope, 'p, 'a> {
    /// Restores everything; returns how many bytes were there already.
    fn run(mut self, tops: Vec<Top>) -> Result<u64> {
        for top in tops {
            self.top(top)?;
        }
        self.round.finish()?;
        // Children first: what happens in a folder changes its time.
        for folder in std::mem::take(&mut self.above).into_iter().rev() {
            folder.carry_out(&self.planner.shared);
        }
        self.round.sync()?;
        Ok(self.round.unchanged)
    }

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
            self.round.later(Later::Folder(
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
                    self.round.later(Later::HardLink { first, at, shown, node });
                    return self.round.relieve();
                }
                Link::Untracked => {
                    let why = "restored as a copy of its own: too many hard links for the memory setting";
                    self.planner.shared.warn(&shown, [why]);
                }
            }
            self.round.file(at, shown, node)?;
        } else {
            self.round.later(Later::Entry(at, shown, node));
        }
        self.round.relieve()
    }
}
