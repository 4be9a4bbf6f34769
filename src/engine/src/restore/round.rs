//! The contents of files: which chunks are wanted, and when they are fetched. A round is planned while the one before is fetched.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Scope, ScopedJoinHandle};

use fardel_format::ChunkId;
use fardel_format::frame::MAX_CHUNK;
use fardel_format::pack::PackKind;
use fardel_format::segment::Location;
use fardel_format::tree::Node;

use super::fetch::{Fetching, Pool, Want};
use super::later::Later;
use super::output::Output;
use super::plan::Planner;
use crate::browse::map::MapCursor;
use crate::target::{RelPath, Target};
use crate::{Error, Result};

/// So many files of a round may be open at once; there are two rounds at a time.
const MAX_OPEN: usize = 256;
/// After so many bytes of small files they are sent on their way to the disk, while more are written.
const SYNC_EVERY: u64 = 128 << 20;
/// The first round is small, so that fetching begins at once; each later one is twice as large.
pub const FIRST_ROUND: usize = 1024;

/// What was planned since the last round was given to the fetching threads, and that round.
pub struct Round<'scope, 'p, 'a> {
    planner: &'p Planner<'a>,
    scope: &'scope Scope<'scope, 'p>,
    pool: Pool<'p>,
    syncing: Option<ScopedJoinHandle<'scope, Result<()>>>,
    wants: Vec<Want<'p>>,
    later: Vec<Later>,
    /// The round before, and what waits until it is complete.
    under_way: Option<(Fetching, Vec<Later>)>,
    /// How many chunks or entries make a round.
    limit: usize,
    /// Files that hold a descriptor, or will, until the round is over.
    open: usize,
    /// Bytes that were there already.
    pub unchanged: u64,
}

impl<'scope, 'p: 'scope, 'a: 'p> Round<'scope, 'p, 'a> {
    pub fn new(planner: &'p Planner<'a>, scope: &'scope Scope<'scope, 'p>, pool: Pool<'p>) -> Self {
        Self {
            planner,
            scope,
            pool,
            syncing: None,
            wants: Vec::new(),
            later: Vec::new(),
            under_way: None,
            limit: FIRST_ROUND,
            open: 0,
            unchanged: 0,
        }
    }

    /// Does this when all that was planned before it is there.
    pub fn later(&mut self, later: Later) {
        self.later.push(later);
    }

    /// Returns when everything that was planned is done.
    pub fn finish(&mut self) -> Result<()> {
        while !(self.wants.is_empty() && self.later.is_empty() && self.under_way.is_none()) {
            self.flush()?;
        }
        Ok(())
    }

    /// Returns when all that was written is on the disk.
    pub fn sync(&mut self) -> Result<()> {
        self.synced()?;
        self.planner.shared.target.map_or(Ok(()), Target::sync)
    }

    /// Sends small files on their way to the disk in the background: a restore does not end in one long sync.
    fn sync_behind(&mut self) -> Result<()> {
        let planner = self.planner;
        let Some(target) = planner.shared.target else { return Ok(()) };
        if planner.shared.unsent.load(Ordering::Relaxed) < SYNC_EVERY
            || self.syncing.as_ref().is_some_and(|syncing| !syncing.is_finished())
        {
            return Ok(());
        }
        self.synced()?;
        planner.shared.unsent.store(0, Ordering::Relaxed);
        self.syncing = Some(self.scope.spawn(move || target.sync()));
        Ok(())
    }

    /// What became of the last sync in the background: the kernel tells of a lost write only once.
    fn synced(&mut self) -> Result<()> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Wants the content of one file.
    pub fn file(&mut self, at: RelPath, shown: String, node: Node) -> Result<()> {
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
        let mut map = MapCursor::new(planner.chunks, &output.node)?;
        let size = output.node.size;
        let mut hole = 0..0;
        let mut existing = Vec::new();
        loop {
            planner.stop_if_interrupted()?;
            let span = match map.peek() {
                Ok(Some(span)) => span,
                Ok(None) => break,
                Err(error) if map.at() < size => {
                    output.want();
                    output.missing(map.at(), size - map.at(), &error.to_string());
                    break;
                }
                Err(error) => return Err(error),
            };
            if span.depth > 0 {
                match map.enter(&span) {
                    Ok(()) => {}
                    // What lies behind it can still be had.
                    Err(error) if error.is_damage() => {
                        output.want();
                        output.missing(span.start, span.len, &error.to_string());
                        map.skip(&span);
                    }
                    Err(error) => return Err(error),
                }
                continue;
            }
            map.skip(&span);
            match span.chunk {
                Some(id) => self.want(output, in_place, id, span.start, span.len, &mut existing)?,
                None => {
                    if hole.end == span.start {
                        hole.end = span.end();
                    } else {
                        self.punch(output, in_place, &hole)?;
                        hole = span.start..span.end();
                    }
                    output.is_sparse();
                    planner.shared.monitor.counters().done(0, span.len);
                }
            }
        }
        self.punch(output, in_place, &hole)?;
        if in_place || self.wants.len() > wanted_before + 1 {
            self.open += 1;
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
        if len > MAX_CHUNK as u64 {
            output.want();
            output.missing(offset, len, "its map names a chunk larger than any");
            return Ok(());
        }
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
    pub fn relieve(&mut self) -> Result<()> {
        if self.wants.len() < self.limit && self.later.len() < self.limit && self.open < MAX_OPEN {
            return Ok(());
        }
        self.limit = (self.limit * 2).min(self.planner.max_wants);
        self.flush()
    }

    /// Gives what was planned to the fetching threads, and ends the round before.
    fn flush(&mut self) -> Result<()> {
        let (wants, later) = (std::mem::take(&mut self.wants), std::mem::take(&mut self.later));
        self.open = 0;
        let next = if wants.is_empty() && later.is_empty() {
            None
        } else if self.planner.options.dry_run {
            wants.iter().for_each(|want| want.output.write(want.offset, &[]));
            Some((Fetching::default(), later))
        } else {
            Some((self.pool.fetch(wants), later))
        };
        let Some((fetching, later)) = std::mem::replace(&mut self.under_way, next) else { return Ok(()) };
        fetching.wait();
        self.planner.stop_if_interrupted()?;
        self.sync_behind()?;
        let copies: Vec<_> =
            later.into_iter().filter_map(|later| later.carry_out(&self.planner.shared)).collect();
        for (at, shown, node) in copies {
            self.file(at, shown, node)?;
        }
        Ok(())
    }
}
