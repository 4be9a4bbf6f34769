//! JSON, compressed and encrypted: roots.

use crate::age_file::{self, Identities, Recipients};
use crate::{Error, Result};

/// Largest plain size of such a document.
pub const MAX_PLAIN: usize = 64 << 20;

/// Compresses with zstd, then encrypts with age.
///
/// # Errors
/// When the recipients cannot be used together, or when it is larger than [`MAX_PLAIN`]: nobody would read it again.
pub fn seal(plain: &[u8], recipients: &Recipients) -> Result<Vec<u8>> {
    if plain.len() > MAX_PLAIN {
        return Err(Error::TooLarge { what: "a document", limit: MAX_PLAIN as u64 });
    }
    let packed = zstd::bulk::compress(plain, 3).map_err(|e| Error::damaged("a document", e))?;
    age_file::encrypt(&packed, recipients)
}

/// Decrypts and decompresses what [`seal`] made.
///
/// # Errors
/// When no identity opens it, or when it is damaged or larger than [`MAX_PLAIN`].
pub fn open(stored: &[u8], identities: &Identities) -> Result<Vec<u8>> {
    let packed = age_file::decrypt("a document", stored, identities, MAX_PLAIN as u64)?;
    crate::frame::decompress_limited("a document", &packed, MAX_PLAIN)
}

#[cfg(test)]
mod tests;
