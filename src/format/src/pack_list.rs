//! Lists: plain text, a line `packhash size` for each pack, sorted.

use crate::ids::ObjectHash;
use crate::{Error, Result};

const WHAT: &str = "a list of packs";

/// A pack and its stored size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackEntry {
    /// BLAKE3 of the stored bytes.
    pub hash: ObjectHash,
    /// Stored size in bytes.
    pub size: u64,
}

/// The bytes of a list; sorts and removes what stands twice.
///
/// # Errors
/// When one pack has two sizes: one of them is false, and nobody could read the list.
pub fn to_bytes(packs: &mut Vec<PackEntry>) -> Result<Vec<u8>> {
    packs.sort_unstable();
    packs.dedup();
    if let Some(pair) = packs.windows(2).find(|pair| pair[0].hash == pair[1].hash) {
        let why = format!("pack {} has {} bytes and {} bytes", pair[0].hash, pair[0].size, pair[1].size);
        return Err(Error::damaged(WHAT, why));
    }
    let mut text = String::with_capacity(packs.len() * 74);
    for pack in packs.iter() {
        text.push_str(&format!("{} {}\n", pack.hash, pack.size));
    }
    Ok(text.into_bytes())
}

/// Reads a list.
///
/// # Errors
/// When it is none, or not sorted, or spelt in another way than [`to_bytes`] does.
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<PackEntry>> {
    let what = WHAT;
    let text = std::str::from_utf8(bytes).map_err(|e| Error::damaged(what, e))?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(Error::Truncated { what });
    }
    let mut packs = Vec::with_capacity(bytes.len() / 70);
    for line in text.split_terminator('\n') {
        let (hash, size) =
            line.split_once(' ').ok_or_else(|| Error::damaged(what, "a line without a size"))?;
        let size =
            crate::lines::parse_u64(size).ok_or_else(|| Error::damaged(what, "a size that is no number"))?;
        let pack = PackEntry { hash: hash.parse()?, size };
        if packs.last().is_some_and(|last: &PackEntry| last.hash >= pack.hash) {
            return Err(Error::damaged(what, "it is not sorted"));
        }
        packs.push(pack);
    }
    Ok(packs)
}

/// Which lines of a list are meant: bit `i % 8` of byte `i / 8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap(Vec<u8>);

impl Bitmap {
    /// No line out of `len`.
    #[must_use]
    pub fn none(len: usize) -> Self {
        Self(vec![0; len.div_ceil(8)])
    }

    /// Every line out of `len`.
    #[must_use]
    pub fn all(len: usize) -> Self {
        let mut bitmap = Self::none(len);
        (0..len).for_each(|i| bitmap.set(i));
        bitmap
    }

    /// Marks line `i`.
    pub fn set(&mut self, i: usize) {
        self.0[i / 8] |= 1 << (i % 8);
    }

    /// Whether line `i` is marked.
    #[must_use]
    pub fn get(&self, i: usize) -> bool {
        self.0.get(i / 8).is_some_and(|byte| byte & (1 << (i % 8)) != 0)
    }

    /// As base64.
    #[must_use]
    pub fn to_text(&self) -> String {
        crate::lines::base64(&self.0)
    }

    /// Reads base64 for a list of `len` lines.
    ///
    /// # Errors
    /// When it is not one of that length, or marks lines that are not there.
    pub fn from_text(text: &str, len: usize) -> Result<Self> {
        let what = "a manifest's bitmap";
        let bitmap = Self(crate::lines::from_base64(what, text)?);
        if bitmap.0.len() != len.div_ceil(8) || (len..bitmap.0.len() * 8).any(|i| bitmap.get(i)) {
            return Err(Error::damaged(what, "it does not fit its list"));
        }
        Ok(bitmap)
    }
}

#[cfg(test)]
mod tests;
