//! Writes one file or volume, or a range of it, to a stream, in order.
//!
//! 1. The map is cut into windows of bounded size ([`Windows`]).
//! 2. The chunks of a window are fetched in the order in which they lie in packs, while the window before it is written.
//! 3. Holes are written as zeros, for they are zeros. A chunk that is missing or damaged ends the output before it: an
//!    error says which bytes, and zeros never stand in for them.

mod fetch;
#[cfg(test)]
mod tests;
mod window;

use std::io::Write;
use std::ops::Range;

use fardel_format::tree::{Node, NodeKind};

use crate::browse::map::MapCursor;
use crate::browse::{Contents, Place, is_fatal};
use crate::monitor::Monitor;
use crate::packs::ChunkReader;
use crate::repository::Repository;
use crate::{Error, Result};

use fetch::Fetcher;
use window::{Piece, Windows};

/// Zeros that are written at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Bytes that a fetching thread holds: a request, its decrypted bytes, a frame.
const THREAD_COST: u64 = 20 << 20;
/// Threads that fetch at most.
const MAX_THREADS: usize = 4;

/// What to write.
#[derive(Clone, Debug)]
pub struct DumpOptions {
    /// Only these bytes; what lies behind the end is left out.
    pub range: Option<Range<u64>>,
    /// How much may be held in memory, in bytes; a little more than one window of a chunk is always taken.
    pub memory: u64,
}

impl Default for DumpOptions {
    fn default() -> Self {
        Self { range: None, memory: 128 << 20 }
    }
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpReport {
    /// How many bytes.
    pub bytes: u64,
    /// Why they may be of different moments: it changed while it was backed up.
    pub inconsistent: Option<String>,
}

/// Writes the file or volume at `place` to `out`.
///
/// # Errors
/// [`Error::Invalid`] when nothing of it can be written: a folder, a link, a range behind the end. [`Error::Damaged`] when
/// bytes are missing: everything before them was written, and nothing behind. [`Error::Io`] when `out` takes no more.
pub fn dump(
    repo: &Repository,
    contents: &Contents,
    chunks: &ChunkReader<'_>,
    place: &Place,
    options: &DumpOptions,
    monitor: &dyn Monitor,
    out: &mut dyn Write,
) -> Result<DumpReport> {
    let node = content_of(place)?;
    let range = options.range.clone().unwrap_or(0..node.size);
    let range = range.start..range.end.min(node.size);
    if range.start > range.end {
        return Err(Error::Invalid(format!(
            "{}: there is no byte {}: it has {}",
            place.shown(),
            range.start,
            node.size
        )));
    }
    monitor.counters().ahead(1, range.end - range.start);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = MAX_THREADS.min(cores).min((options.memory / 2 / THREAD_COST) as usize).max(1);
    let fetcher = Fetcher { packs: &contents.packs, chunks, chunk_key: &repo.chunk_keys()?.chunk, threads };
    let map = match (&node.content, node.size) {
        (None, 0) => None,
        _ => Some(MapCursor::new(chunks, node).map_err(|e| lost(place, &range, e))?),
    };
    let mut writer = Writer { place, monitor, out, range: range.clone(), at: range.start };
    if let Some(map) = map.filter(|_| !range.is_empty()) {
        // Two windows are held: one is fetched while the other is written; one may exceed its size by half a frame.
        let windows = Windows::new(map, &contents.index, range.clone(), options.memory / 8);
        writer.pump(&fetcher, windows.map_err(|e| lost(place, &range, e))?)?;
    }
    writer.out.flush().map_err(|e| Error::io("the output", e))?;
    if writer.at != range.end {
        let error = Error::Damaged("its map ends before the file does".into());
        return Err(lost(place, &(writer.at..range.end), error));
    }
    monitor.counters().done(1, 0);
    Ok(DumpReport { bytes: range.end - range.start, inconsistent: node.inconsistent.clone() })
}

/// The node, if it has bytes.
fn content_of(place: &Place) -> Result<&Node> {
    let shown = place.shown();
    let what = match &place.node {
        Some(node) => match node.kind {
            NodeKind::File | NodeKind::Volume => return Ok(node),
            NodeKind::Dir => "a folder: `fardel restore` brings it back".to_owned(),
            NodeKind::Symlink => {
                let target = node.target_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
                format!("a symbolic link to {}: name what it points to", target.unwrap_or_default())
            }
            NodeKind::Fifo | NodeKind::Socket | NodeKind::Block | NodeKind::Char => {
                "no file, and has no bytes".to_owned()
            }
        },
        None => "a folder above what was backed up: `fardel restore` brings it back".to_owned(),
    };
    Err(Error::Invalid(format!("{shown} is {what}")))
}

/// What is told when these bytes cannot be had.
fn lost(place: &Place, bytes: &Range<u64>, error: Error) -> Error {
    if is_fatal(&error) {
        return error;
    }
    let (shown, Range { start, end }) = (place.shown(), bytes);
    Error::Damaged(format!(
        "{shown}: bytes {start} to {end} cannot be read, the output ends before them: {error}"
    ))
}

/// A window with its bytes, and why there is nothing behind it.
struct Fetched {
    pieces: Vec<(Piece, Result<Vec<u8>>)>,
    then: Result<()>,
}

struct Writer<'a> {
    place: &'a Place,
    monitor: &'a dyn Monitor,
    out: &'a mut dyn Write,
    range: Range<u64>,
    at: u64,
}

impl Writer<'_> {
    /// Fetches on one side, writes on the other.
    fn pump(&mut self, fetcher: &Fetcher<'_>, mut windows: Windows<'_>) -> Result<()> {
        let (give, take) = crossbeam_channel::bounded::<Fetched>(0);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                loop {
                    let (pieces, then) = windows.next_window();
                    let last = then.is_err() || pieces.is_empty();
                    let bytes = fetcher.run(&pieces);
                    let fetched = Fetched { pieces: pieces.into_iter().zip(bytes).collect(), then };
                    // Whoever writes has stopped: nothing more is needed.
                    if give.send(fetched).is_err() || last {
                        return;
                    }
                }
            });
            // Owned here, so that an error ends the other side.
            let take = take;
            for Fetched { pieces, then } in &take {
                for (piece, bytes) in pieces {
                    self.piece(&piece, bytes)?;
                }
                then.map_err(|error| lost(self.place, &(self.at..self.range.end), error))?;
            }
            Ok(())
        })
    }

    fn piece(&mut self, piece: &Piece, bytes: Result<Vec<u8>>) -> Result<()> {
        let span = piece.span;
        let wanted = span.start.max(self.range.start)..span.end().min(self.range.end);
        let bytes = bytes.map_err(|error| lost(self.place, &wanted, error))?;
        if span.chunk.is_some() {
            return self
                .write(&bytes[(wanted.start - span.start) as usize..(wanted.end - span.start) as usize]);
        }
        let mut left = wanted.end - wanted.start;
        while left > 0 {
            let len = left.min(ZEROS.len() as u64);
            self.write(&ZEROS[..len as usize])?;
            left -= len;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.monitor.interrupted() {
            return Err(Error::Interrupted);
        }
        self.out.write_all(bytes).map_err(|e| Error::io("the output", e))?;
        self.at += bytes.len() as u64;
        self.monitor.counters().done(0, bytes.len() as u64);
        Ok(())
    }
}
