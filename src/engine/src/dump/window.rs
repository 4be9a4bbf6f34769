//! Cuts a map into windows: pieces whose bytes are held in memory together.

use std::ops::Range;

use fardel_format::pack::PackKind;
use fardel_format::segment::Location;

use crate::Result;
use crate::browse::map::{MapCursor, Span};
use crate::index::ChunkIndex;

/// Pieces in a window at most; holes take no memory but that of their line.
const MAX_PIECES: usize = 1 << 14;

/// A run of bytes that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// The line of the map.
    pub span: Span,
    /// The first place where its chunk lies.
    pub location: Option<Location>,
}

/// The windows of a map, in order.
pub struct Windows<'a> {
    map: MapCursor<'a>,
    index: &'a ChunkIndex,
    range: Range<u64>,
    bytes: u64,
    ahead: Option<Piece>,
}

impl<'a> Windows<'a> {
    /// Those that hold the bytes of `range`, of about so many bytes each.
    ///
    /// # Errors
    /// When the way to the first byte is missing or damaged.
    pub fn new(mut map: MapCursor<'a>, index: &'a ChunkIndex, range: Range<u64>, bytes: u64) -> Result<Self> {
        map.seek(range.start)?;
        Ok(Self { map, index, range, bytes, ahead: None })
    }

    fn next_piece(&mut self) -> Result<Option<Piece>> {
        if let Some(piece) = self.ahead.take() {
            return Ok(Some(piece));
        }
        if self.map.at() >= self.range.end {
            return Ok(None);
        }
        let Some(span) = self.map.next()? else { return Ok(None) };
        let location = span.chunk.and_then(|id| self.index.locate(&id, PackKind::Data));
        Ok(Some(Piece { span, location }))
    }

    /// The next window, empty at the end, and why it ends early if it does. It does not end within a frame, so that no frame
    /// is fetched twice.
    pub fn next_window(&mut self) -> (Vec<Piece>, Result<()>) {
        let (mut pieces, mut bytes) = (Vec::<Piece>::new(), 0);
        loop {
            let piece = match self.next_piece() {
                Ok(Some(piece)) => piece,
                Ok(None) => return (pieces, Ok(())),
                Err(error) => return (pieces, Err(error)),
            };
            let len = if piece.span.chunk.is_some() { piece.span.len } else { 0 };
            let frame =
                |piece: &Piece| piece.location.map(|location| (location.pack.hash, location.frame.offset));
            let same_frame =
                pieces.last().is_some_and(|last| frame(last).is_some() && frame(last) == frame(&piece));
            let full = !same_frame || bytes > 2 * self.bytes;
            if !pieces.is_empty() && full && (bytes + len > self.bytes || pieces.len() >= MAX_PIECES) {
                self.ahead = Some(piece);
                return (pieces, Ok(()));
            }
            bytes += len;
            pieces.push(piece);
        }
    }
}
