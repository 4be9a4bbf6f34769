//! Puts the plain bytes of a pack together again, as they come out of the decryption.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

/// The plain bytes of a pack as they come, cut into frames.
pub struct Assembler {
    pieces: VecDeque<(u64, Bytes)>,
    end: u64,
    bad: Vec<Range<u64>>,
}

impl Assembler {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { pieces: VecDeque::new(), end: 0, bad: Vec::new() }
    }

    /// What follows; `bad` are the parts of it that could not be decrypted.
    pub fn push(&mut self, plain: Bytes, bad: impl IntoIterator<Item = Range<u64>>) {
        let start = self.end;
        self.end += plain.len() as u64;
        self.pieces.push_back((start, plain));
        self.bad.extend(bad);
    }

    /// How far it reaches.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// These bytes, once they have come; `Some(None)` when a part of them could not be decrypted. What lies before them is
    /// dropped.
    pub fn take(&mut self, range: &Range<u64>) -> Option<Option<Bytes>> {
        if range.end > self.end {
            self.drop_before(range.start);
            return None;
        }
        self.drop_before(range.start);
        if self.bad.iter().any(|bad| bad.start < range.end && range.start < bad.end) {
            return Some(None);
        }
        let mut parts = self.pieces.iter().map_while(|(start, piece)| {
            let from = range.start.saturating_sub(*start) as usize;
            let to = (range.end.saturating_sub(*start) as usize).min(piece.len());
            (from < to).then(|| piece.slice(from..to))
        });
        let first = parts.next().unwrap_or_default();
        if first.len() as u64 == range.end - range.start {
            return Some(Some(first));
        }
        let mut whole = Vec::with_capacity((range.end - range.start) as usize);
        whole.extend_from_slice(&first);
        parts.for_each(|part| whole.extend_from_slice(&part));
        Some(Some(whole.into()))
    }

    fn drop_before(&mut self, start: u64) {
        while self.pieces.front().is_some_and(|(at, piece)| at + piece.len() as u64 <= start) {
            self.pieces.pop_front();
        }
        self.bad.retain(|bad| bad.end > start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_has_come() {
        let mut assembler = Assembler::new();
        assert_eq!(assembler.take(&(0..4)), None);
        assembler.push(Bytes::from_static(b"0123"), []);
        assert_eq!(assembler.take(&(1..3)).unwrap().unwrap(), "12");
        assert_eq!(assembler.take(&(2..9)), None);
        assembler.push(Bytes::from_static(b"45"), []);
        assembler.push(Bytes::from_static(b"6789"), std::iter::once(8..9));
        assert_eq!(assembler.take(&(2..8)).unwrap().unwrap(), "234567");
        assert_eq!(assembler.take(&(7..9)), Some(None), "a part of it is bad");
        assert_eq!(assembler.take(&(9..10)).unwrap().unwrap(), "9");
        assert_eq!(assembler.end(), 10);
    }
}
