//! Compares two states of a volume by their maps, without reading content.

use std::ops::Range;

use fardel_format::tree::Node;

use crate::browse::map::{MapCursor, Span};
use crate::browse::{Browser, is_fatal};
use crate::{Error, Result};

/// How much of a volume differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Bytes of the new state that lie in chunks which are not the same in the old one, what lies behind its end too.
    pub bytes: u64,
    /// How many ranges they form.
    pub ranges: u64,
    /// Bytes of which it is not known, since a part of a map is missing or damaged.
    pub unknown: u64,
}

/// Hands the ranges of bytes that differ to `each`, in order, neighbours joined. `None` when they cannot be told: the two
/// were not cut into chunks of one size.
///
/// # Errors
/// Those of `each`; when a map contradicts itself; when the store does not answer.
pub fn changed_ranges(
    old: (&Browser<'_>, &Node),
    new: (&Browser<'_>, &Node),
    each: impl FnMut(Range<u64>) -> Result<()>,
) -> Result<Option<Changed>> {
    let size = new.1.size;
    let (mut old, mut new) = (MapCursor::new(old.0.chunks(), old.1)?, MapCursor::new(new.0.chunks(), new.1)?);
    if old.chunk_size().is_none() || old.chunk_size() != new.chunk_size() {
        return Ok(None);
    }
    let mut ranges = Ranges { each, open: 0..0, changed: Changed::default() };
    while let Some(after) = new.peek()? {
        match old.peek()? {
            None => {
                ranges.push(after.start..size)?;
                break;
            }
            Some(before) if before.start != after.start => {
                return Err(Error::Damaged(format!(
                    "its two maps differ in where byte {} lies",
                    after.start
                )));
            }
            Some(before) if before.depth == after.depth && before.chunk == after.chunk => {
                old.skip(&before);
                new.skip(&after);
                // The same lines may stand for less where a volume ends.
                ranges.push(before.end()..after.end())?;
            }
            Some(before) if before.depth == 0 && after.depth == 0 => {
                old.skip(&before);
                new.skip(&after);
                ranges.push(after.start..after.end())?;
            }
            Some(before) => {
                let depth = before.depth.max(after.depth);
                let (read, end) = enter([(&mut old, before), (&mut new, after)], depth)?;
                if !read {
                    ranges.changed.unknown += end.min(size).saturating_sub(after.start);
                    old.seek(end)?;
                    new.seek(end)?;
                }
            }
        }
    }
    ranges.flush()?;
    Ok(Some(ranges.changed))
}

/// Goes into the parts of this depth. Returns whether all of them could be read, and where they end.
fn enter(parts: [(&mut MapCursor<'_>, Span); 2], depth: u8) -> Result<(bool, u64)> {
    let (mut read, mut end) = (true, 0);
    for (cursor, span) in parts.into_iter().filter(|(_, span)| span.depth == depth) {
        end = end.max(span.end());
        match cursor.enter(&span) {
            Ok(()) => {}
            Err(error) if is_fatal(&error) => return Err(error),
            Err(_) => read = false,
        }
    }
    Ok((read, end))
}

/// Joins neighbouring ranges.
struct Ranges<F> {
    each: F,
    open: Range<u64>,
    changed: Changed,
}

impl<F: FnMut(Range<u64>) -> Result<()>> Ranges<F> {
    fn push(&mut self, range: Range<u64>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        if range.start == self.open.end {
            self.open.end = range.end;
            return Ok(());
        }
        self.flush()?;
        self.open = range;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let range = std::mem::take(&mut self.open);
        if range.is_empty() {
            return Ok(());
        }
        self.changed.bytes += range.end - range.start;
        self.changed.ranges += 1;
        (self.each)(range)
    }
}
