//! Fetches the chunks of one window: sorted by pack and frame, neighbours with one ranged read, on a few threads.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use fardel_format::frame::{self, Decompressor, Member};
use fardel_format::ids::ChunkKey;
use fardel_format::pack::PackKind;
use fardel_format::segment::Location;
use fardel_format::{ChunkId, Error as FormatError};

use super::window::Piece;
use crate::packs::{ChunkReader, PackReader};
use crate::{Error, Result};

/// Stored bytes that one request asks for at most, unless a single frame is larger.
const REQUEST: u64 = 4 << 20;
/// Stored bytes that are rather read and thrown away than asked for separately.
const GAP: u64 = 64 << 10;

/// A chunk that is wanted for the piece of this number.
#[derive(Clone, Copy)]
struct Want {
    piece: usize,
    id: ChunkId,
    len: u64,
    location: Location,
}

/// What the threads share.
pub struct Fetcher<'a> {
    pub packs: &'a PackReader,
    pub chunks: &'a ChunkReader<'a>,
    pub chunk_key: &'a ChunkKey,
    pub threads: usize,
}

impl Fetcher<'_> {
    /// The bytes of each piece, in order; empty for holes.
    pub fn run(&self, pieces: &[Piece]) -> Vec<Result<Vec<u8>>> {
        let mut wants: Vec<_> =
            pieces.iter().enumerate().filter_map(|(number, piece)| want(number, piece)).collect();
        wants.sort_unstable_by_key(|want| {
            (want.location.pack.hash, want.location.frame.offset, want.location.offset)
        });
        let batches: Vec<_> = wants.chunk_by(are_close).flat_map(requests).collect();
        let found: Vec<_> = pieces.iter().map(|_| None).collect();
        let (next, found) = (AtomicUsize::new(0), Mutex::new(found));
        std::thread::scope(|scope| {
            for _ in 0..self.threads.min(batches.len()) {
                scope.spawn(|| {
                    let mut plain = Vec::new();
                    while let Some(batch) = batches.get(next.fetch_add(1, Relaxed)) {
                        self.batch(batch, &mut plain, |piece, bytes| {
                            found.lock().unwrap_or_else(PoisonError::into_inner)[piece] = Some(bytes);
                        });
                    }
                });
            }
        });
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        pieces.iter().zip(found).map(|(piece, found)| self.again(piece, found)).collect()
    }

    /// Reads one by one what could not be had at its first place: another pack may hold it, too.
    fn again(&self, piece: &Piece, found: Option<Vec<u8>>) -> Result<Vec<u8>> {
        match (found, piece.span.chunk) {
            (Some(bytes), _) => Ok(bytes),
            (None, None) => Ok(Vec::new()),
            (None, Some(id)) => {
                let bytes = self.chunks.get(&id, PackKind::Data)?;
                if bytes.len() as u64 == piece.span.len {
                    return Ok(bytes);
                }
                let why = format!("{} has {} bytes instead of {}", id.short(), bytes.len(), piece.span.len);
                Err(Error::object("a map", FormatError::Damaged { what: "a chunk", why }))
            }
        }
    }

    /// Hands over what can be had; what cannot is tried again in [`Self::again`], which tells why.
    fn batch(&self, batch: &[Want], plain: &mut Vec<u8>, mut give: impl FnMut(usize, Vec<u8>)) {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return };
        let pack = first.location.pack;
        let range = first.location.frame.offset..last.location.frame.range().end;
        let Ok(stored) = self.packs.read(&pack.hash, pack.size, &range) else { return };
        let Ok(mut decompressor) = Decompressor::new() else { return };
        for wants in batch.chunk_by(|a, b| a.location.frame == b.location.frame) {
            let frame = wants[0].location.frame;
            let at = (frame.offset - range.start) as usize;
            let Some(bytes) = stored.get(at..at + frame.stored as usize) else { continue };
            if decompressor.frame(bytes, frame.plain, plain).is_err() {
                continue;
            }
            for want in wants {
                let member = Member { id: want.id, offset: want.location.offset, len: want.location.len };
                if let Ok(chunk) = frame::chunk(plain, &member)
                    && chunk.len() as u64 == want.len
                    && self.chunk_key.id(chunk) == want.id
                {
                    give(want.piece, chunk.to_vec());
                }
            }
        }
    }
}

fn want(number: usize, piece: &Piece) -> Option<Want> {
    let (id, location) = (piece.span.chunk?, piece.location?);
    Some(Want { piece: number, id, len: piece.span.len, location })
}

fn are_close(a: &Want, b: &Want) -> bool {
    let (a, b) = (&a.location, &b.location);
    a.pack.hash == b.pack.hash && b.frame.offset <= a.frame.range().end.saturating_add(GAP)
}

/// Cuts wants that lie close together into requests of bounded size.
fn requests(mut wants: &[Want]) -> Vec<&[Want]> {
    let mut requests = Vec::new();
    while let Some(first) = wants.first() {
        let start = first.location.frame.offset;
        let fits = |want: &Want| {
            want.location.frame == first.location.frame || want.location.frame.range().end - start <= REQUEST
        };
        let (request, rest) = wants.split_at(wants.iter().take_while(|want| fits(want)).count());
        requests.push(request);
        wants = rest;
    }
    requests
}
