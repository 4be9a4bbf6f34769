//! Fetches the chunks that are wanted: sorted by pack and frame, neighbours with one ranged read, on several threads.
//! While they are fetched, the next ones can be planned.

use std::io::IoSlice;
use std::sync::Arc;
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender};
use crossbeam_utils::sync::WaitGroup;
use fardel_format::ChunkId;
use fardel_format::frame::{self, Decompressor, Member};
use fardel_format::ids::ChunkKey;
use fardel_format::pack::PackKind;
use fardel_format::segment::Location;

use super::output::Output;
use crate::monitor::Monitor;
use crate::packs::{ChunkReader, PackReader};
use crate::{Error, Result};

/// Stored bytes that one request asks for at most, unless a single frame is larger.
const REQUEST: u64 = 4 << 20;
/// Wants that one thread takes at a time, unless a single frame holds more: small files cost more than their bytes.
const BATCH: usize = 256;
/// Stored bytes that are rather read and thrown away than asked for separately.
const GAP: u64 = 64 << 10;

/// A chunk that belongs somewhere.
pub struct Want<'a> {
    pub id: ChunkId,
    pub location: Location,
    pub output: Arc<Output<'a>>,
    pub offset: u64,
}

/// Wants whose frames lie close together in one pack.
type Batch<'a> = Vec<Want<'a>>;

/// What the threads share.
#[derive(Clone, Copy)]
pub struct Fetcher<'a> {
    pub packs: &'a PackReader,
    pub chunks: &'a ChunkReader<'a>,
    pub chunk_key: &'a ChunkKey,
    pub monitor: &'a dyn Monitor,
}

/// Threads that fetch and write what they are given, until it is dropped.
pub struct Pool<'a> {
    give: Sender<(Batch<'a>, WaitGroup)>,
}

/// Wants on their way.
#[derive(Default)]
pub struct Fetching {
    under_way: WaitGroup,
}

impl<'a> Pool<'a> {
    pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, fetcher: Fetcher<'a>, threads: usize) -> Self
    where
        'a: 'scope,
    {
        #[expect(clippy::disallowed_methods, reason = "the planner never has more than two rounds under way")]
        let (give, take) = crossbeam_channel::unbounded();
        for _ in 0..threads {
            let take = take.clone();
            scope.spawn(move || fetcher.work(&take));
        }
        Self { give }
    }

    /// Begins to fetch; whatever cannot be had is told to its file.
    pub fn fetch(&self, mut wants: Vec<Want<'a>>) -> Fetching {
        wants.sort_by_key(|want| (want.location.pack.hash, want.location.frame.offset, want.location.offset));
        let fetching = Fetching::default();
        for batch in batches(wants) {
            if let Err(unsent) = self.give.send((batch, fetching.under_way.clone())) {
                unsent.0.0.iter().for_each(|want| want.lost("the restoring threads are gone"));
            }
        }
        fetching
    }
}

impl Fetching {
    /// Returns when everything was written, or is known to be missing, or was passed over because the user stopped it.
    pub fn wait(self) {
        self.under_way.wait();
    }
}

impl<'a> Fetcher<'a> {
    fn work(&self, take: &Receiver<(Batch<'a>, WaitGroup)>) {
        let mut decompressor = Decompressor::new();
        let mut plain = Vec::new();
        for (batch, _under_way) in take {
            match &mut decompressor {
                _ if self.monitor.interrupted() => {}
                Ok(decompressor) => self.batch(decompressor, &mut plain, batch),
                Err(error) => batch.iter().for_each(|want| want.lost(&error.to_string())),
            }
        }
    }

    fn batch(&self, decompressor: &mut Decompressor, plain: &mut Vec<u8>, batch: Batch<'a>) {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return };
        let pack = first.location.pack;
        let range = first.location.frame.offset..last.location.frame.range().end;
        let stored = self.packs.read(&pack.hash, pack.size, &range);
        for frame in batch.chunk_by(|a, b| a.location.frame == b.location.frame) {
            let span = frame[0].location.frame;
            let decoded = match &stored {
                Ok(bytes) => {
                    let from = (span.offset - range.start) as usize;
                    let frame = bytes.get(from..from + span.stored as usize);
                    decode(decompressor, frame, span.plain, plain)
                }
                // One damaged segment must not cost its neighbours.
                Err(_) => match self.packs.read(&pack.hash, pack.size, &span.range()) {
                    Ok(bytes) => decode(decompressor, Some(&bytes), span.plain, plain),
                    Err(error) => Err(error),
                },
            };
            match decoded {
                Ok(()) => self.place(frame, plain),
                Err(error) => frame.iter().for_each(|want| self.elsewhere(want, &error.to_string())),
            }
        }
    }

    /// Writes the chunks of one frame, those that follow each other in a file at once.
    fn place(&self, wants: &[Want<'a>], plain: &[u8]) {
        for run in wants.chunk_by(|a, b| {
            Arc::ptr_eq(&a.output, &b.output) && a.offset + u64::from(a.location.len) == b.offset
        }) {
            let mut at = run[0].offset;
            let mut chunks = Vec::with_capacity(run.len());
            for want in run {
                let member = Member { id: want.id, offset: want.location.offset, len: want.location.len };
                match frame::chunk(plain, &member) {
                    Ok(chunk) if self.chunk_key.id(chunk) == want.id => chunks.push(IoSlice::new(chunk)),
                    _ => {
                        if !chunks.is_empty() {
                            want.output.write_run(at, &mut chunks);
                        }
                        chunks.clear();
                        at = want.offset + u64::from(want.location.len);
                        self.elsewhere(want, &self.misplaced(want));
                    }
                }
            }
            if !chunks.is_empty() {
                run[0].output.write_run(at, &mut chunks);
            }
        }
    }

    fn misplaced(&self, want: &Want<'_>) -> String {
        let pack = self.packs.key(&want.location.pack.hash);
        format!("{pack} does not hold chunk {} where the index says", want.id.short())
    }

    /// Tries every other place where the chunk may lie.
    fn elsewhere(&self, want: &Want<'_>, why: &str) {
        match self.chunks.get(&want.id, PackKind::Data) {
            Ok(chunk) if chunk.len() == want.location.len as usize => want.output.write(want.offset, &chunk),
            _ => want.lost(why),
        }
    }
}

impl Want<'_> {
    fn lost(&self, why: &str) {
        self.output.missing(self.offset, u64::from(self.location.len), why);
    }
}

fn decode(
    decompressor: &mut Decompressor,
    stored: Option<&[u8]>,
    plain_len: u32,
    plain: &mut Vec<u8>,
) -> Result<()> {
    let stored = stored.ok_or_else(|| Error::Damaged("a frame ends beyond its pack".into()))?;
    decompressor.frame(stored, plain_len, plain).map_err(|e| Error::object("a frame", e))
}

/// Cuts sorted wants where the next frame lies in another pack, too far away, or makes the request or the batch too large.
fn batches<'a>(wants: Vec<Want<'a>>) -> impl Iterator<Item = Batch<'a>> {
    let mut wants = wants.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = wants.next()?;
        let (pack, start) = (first.location.pack.hash, first.location.frame.offset);
        let mut end = first.location.frame.range().end;
        let mut batch = vec![first];
        while let Some(want) = wants.next_if(|next| {
            let frame = next.location.frame.range();
            next.location.pack.hash == pack
                && (batch.len() < BATCH || frame.end <= end)
                && frame.start <= end.saturating_add(GAP)
                && frame.end.max(end) - start <= REQUEST.max(end - start)
        }) {
            end = end.max(want.location.frame.range().end);
            batch.push(want);
        }
        Some(batch)
    })
}
