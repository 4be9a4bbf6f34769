//! Content-defined cut points for files: FastCDC with normalised chunking over a keyed gear table.
//!
//! Cut points are part of the format: the vectors in this module's tests never change.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Cut sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// No chunk but the last of a file is smaller.
    pub min: u32,
    /// About the usual size; a power of two.
    pub avg: u32,
    /// No chunk is larger.
    pub max: u32,
}

impl Limits {
    /// What a new repository gets.
    pub const DEFAULT: Self = Self { min: 128 << 10, avg: 512 << 10, max: 2 << 20 };

    /// Whether they make sense together.
    ///
    /// # Errors
    /// When not.
    pub fn check(&self) -> Result<()> {
        let ordered = 64 <= self.min && self.min < self.avg && self.avg < self.max;
        if ordered && self.avg.is_power_of_two() && self.max as usize <= crate::frame::MAX_CHUNK {
            return Ok(());
        }
        Err(Error::damaged("the chunker's limits", format!("{self:?}")))
    }
}

/// Finds cut points; the same key and limits always find the same ones.
#[derive(Clone)]
pub struct Chunker {
    gear: Box<[u64; 256]>,
    limits: Limits,
    before_avg: u64,
    after_avg: u64,
}

impl Chunker {
    /// For a repository's chunker key and limits.
    ///
    /// # Errors
    /// When the limits make no sense.
    pub fn new(key: &[u8; 32], limits: Limits) -> Result<Self> {
        limits.check()?;
        let mut bytes = [0; 256 * 8];
        blake3::Hasher::new_keyed(key).update(b"fardel gear 1").finalize_xof().fill(&mut bytes);
        let mut gear = Box::new([0; 256]);
        for (entry, word) in gear.iter_mut().zip(bytes.chunks_exact(8)) {
            *entry = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        }
        let bits = limits.avg.ilog2();
        let high_bits = |n: u32| !0u64 << (64 - n);
        Ok(Self { gear, limits, before_avg: high_bits(bits + 1), after_avg: high_bits(bits - 1) })
    }

    /// The limits it was made with.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Length of the first chunk of `data`, which holds either [`Limits::max`] bytes or all that is left of the file; 0 only
    /// when nothing is left.
    #[must_use]
    pub fn cut(&self, data: &[u8]) -> usize {
        let (min, avg, max) = (self.limits.min as usize, self.limits.avg as usize, self.limits.max as usize);
        let end = data.len().min(max);
        if end <= min {
            return end;
        }
        let mut hash = 0u64;
        let middle = end.min(avg);
        // The hash sees the 64 bytes before the smallest cut, so that a cut depends on content alone.
        for &byte in &data[min - 64..min] {
            hash = (hash << 1).wrapping_add(self.gear[usize::from(byte)]);
        }
        self.scan(data, min, middle, &mut hash, self.before_avg)
            .or_else(|| self.scan(data, middle, end, &mut hash, self.after_avg))
            .unwrap_or(end)
    }

    #[inline]
    fn scan(&self, data: &[u8], from: usize, to: usize, hash: &mut u64, mask: u64) -> Option<usize> {
        for (at, &byte) in data[from..to].iter().enumerate() {
            *hash = (*hash << 1).wrapping_add(self.gear[usize::from(byte)]);
            if *hash & mask == 0 {
                return Some(from + at + 1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
