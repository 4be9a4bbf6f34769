//! What was read for sending, as parts of a BLAKE3 tree: together they give the hash of the whole, so that a body is read once and
//! it is known all the same that what went were the right bytes.

use std::collections::{BTreeMap, HashMap};

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{CHUNK_LEN, Hash, Hasher};

/// How a note about bytes that were read begins.
const NOTE: &str = "read";

/// Bytes that were read in one go: the values of the largest subtrees that they are made of, in their order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    len: u64,
    values: Vec<ChainingValue>,
}

impl Part {
    /// Hashes bytes of a body of `whole` bytes, in which they begin at `start`: at the beginning of a chunk of BLAKE3 (1024 bytes).
    pub(crate) fn new(whole: u64, start: u64, bytes: &[u8]) -> Self {
        let len = bytes.len() as u64;
        let mut rest = bytes;
        let values = spans(whole, start, len).map(|(at, len)| {
            let (span, after) = rest.split_at(len as usize);
            rest = after;
            // A single chunk that is all there is has no other value than the hash.
            match len == whole {
                true => *blake3::hash(span).as_bytes(),
                false => Hasher::new().set_input_offset(at).update(span).finalize_non_root(),
            }
        });
        let values = values.collect();
        Self { len, values }
    }
}

/// The largest subtrees that the bytes from `start` are made of, where each begins and its length: powers of two but the last.
/// Never the root, unless it is a single chunk.
fn spans(whole: u64, start: u64, len: u64) -> impl Iterator<Item = (u64, u64)> {
    let chunk = CHUNK_LEN as u64;
    let most = if whole > chunk { left_subtree_len(whole) } else { chunk };
    let (mut at, end) = (start, start + len);
    std::iter::from_fn(move || {
        let left = end.checked_sub(at).filter(|left| *left > 0)?;
        let aligned = if at == 0 { most } else { 1 << at.trailing_zeros() };
        let fits = if left < chunk { left } else { 1 << left.ilog2() };
        let span = (at, most.min(aligned).min(fits));
        at += span.1;
        Some(span)
    })
}

/// The parts of a body that were read, by where they begin.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    whole: u64,
    parts: BTreeMap<u64, Part>,
}

impl Proof {
    /// Nothing of a body of so many bytes was read yet.
    pub(crate) fn new(whole: u64) -> Self {
        Self { whole, parts: BTreeMap::new() }
    }

    /// The bytes from `start` are this part.
    pub(crate) fn add(&mut self, start: u64, part: Part) {
        self.parts.insert(start, part);
    }

    /// The hash of the whole; `None` unless every byte was read once.
    pub(crate) fn hash(&self) -> Option<Hash> {
        let (mut values, mut at) = (HashMap::new(), 0);
        for (start, part) in &self.parts {
            if *start != at || part.len > self.whole - at {
                return None;
            }
            values.extend(spans(self.whole, at, part.len).zip(&part.values));
            at += part.len;
        }
        match self.whole {
            whole if at != whole => None,
            0 => Some(blake3::hash(&[])),
            whole if whole <= CHUNK_LEN as u64 => {
                values.get(&(0, whole)).map(|hash| Hash::from_bytes(**hash))
            }
            whole => {
                let left = left_subtree_len(whole);
                let (left, right) = (value(&values, 0, left)?, value(&values, left, whole - left)?);
                Some(merge_subtrees_root(&left, &right, Mode::Hash))
            }
        }
    }
}

/// The value of a subtree: one that was read as such, or that of its halves.
fn value(values: &HashMap<(u64, u64), &ChainingValue>, start: u64, len: u64) -> Option<ChainingValue> {
    if let Some(value) = values.get(&(start, len)) {
        return Some(**value);
    }
    if len <= CHUNK_LEN as u64 {
        return None;
    }
    let left = left_subtree_len(len);
    let (left, right) = (value(values, start, left)?, value(values, start + left, len - left)?);
    Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

/// Notes about parts, for another process that goes on.
#[cfg(any(feature = "sftp", feature = "s3"))]
impl Proof {
    /// A line for each part that lies between `start` and `end`.
    pub(crate) fn notes(&self, start: u64, end: u64) -> Vec<String> {
        let within = self.parts.range(start..end).filter(|(from, part)| *from + part.len <= end);
        let note = |(from, part): (&u64, &Part)| {
            let values: String =
                part.values.iter().map(|value| format!(" {}", Hash::from_bytes(*value))).collect();
            format!("{NOTE} {from} {}{values}", part.len)
        };
        within.map(note).collect()
    }

    /// What a line says that is such a note: where the part begins, and the part.
    pub(crate) fn parse_note(line: &str) -> Option<(u64, Part)> {
        let mut words = line.strip_prefix(NOTE)?.split_whitespace();
        let (start, len) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let values = words.map(|word| Hash::from_hex(word).ok().map(Into::into)).collect::<Option<_>>()?;
        Some((start, Part { len, values }))
    }
}

#[cfg(any(feature = "sftp", feature = "s3"))]
impl Part {
    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
    }

    /// Read in steps of this length.
    fn read(bytes: &[u8], step: usize) -> Proof {
        let mut proof = Proof::new(bytes.len() as u64);
        for (number, piece) in bytes.chunks(step).enumerate() {
            let start = (number * step) as u64;
            proof.add(start, Part::new(bytes.len() as u64, start, piece));
        }
        proof
    }

    #[test]
    fn parts_of_any_length_give_the_hash_of_the_whole() {
        let lens =
            [0, 1, 1023, 1024, 1025, 2048, 2049, 3072, 5000, 65_536, 65_537, 100_000, 1 << 20, 3_000_000];
        for len in lens {
            let bytes = bytes(len);
            for step in [1024, 3 * 1024, 8192, 5 * 8192, 1 << 18, 5 << 20] {
                assert_eq!(read(&bytes, step).hash(), Some(blake3::hash(&bytes)), "{len} in {step}");
            }
        }
    }

    #[test]
    fn what_was_not_read_or_is_another_byte_gives_another_hash_or_none() {
        let good = bytes(100_000);
        let part =
            |start: usize, end: usize, bytes: &[u8]| Part::new(100_000, start as u64, &bytes[start..end]);
        let mut proof = Proof::new(100_000);
        proof.add(0, part(0, 10_240, &good));
        assert_eq!(proof.hash(), None, "the rest is lacking");
        proof.add(20_480, part(20_480, 100_000, &good));
        assert_eq!(proof.hash(), None, "the middle is lacking");
        proof.add(10_240, part(10_240, 20_480, &good));
        assert_eq!(proof.hash(), Some(blake3::hash(&good)));
        for flipped in [0, 1023, 15_000, 99_999] {
            let mut bad = good.clone();
            bad[flipped] ^= 1;
            let hash = read(&bad, 4096).hash().unwrap();
            assert_ne!(hash, blake3::hash(&good), "byte {flipped}");
        }
    }

    #[test]
    fn notes_tell_another_process_what_was_read() {
        for step in [5 * 1024, 1 << 20, 5 << 20] {
            let bytes = bytes(12_345_678);
            let proof = read(&bytes, step);
            let mut told = Proof::new(proof.whole);
            for line in proof.notes(0, proof.whole) {
                let (start, part) = Proof::parse_note(&line).unwrap();
                told.add(start, part);
            }
            assert_eq!(told.hash(), Some(blake3::hash(&bytes)));
            assert!(proof.notes(0, step as u64 - 1).is_empty() && proof.notes(1, step as u64).is_empty());
        }
        for line in ["", "read", "read 0", "read x 1024", "read 0 1024 xyz", "durable 17"] {
            assert_eq!(Proof::parse_note(line), None, "{line}");
        }
    }
}
