//! The card `fardel.json`: what a repository is, byte-identical in every copy.

use serde::{Deserialize, Serialize};

use crate::chunker::Limits;
use crate::ids::RepositoryId;
use crate::sign::PublicKey;
use crate::version;
use crate::{Error, Result};

/// The format version that this crate writes and reads.
pub const VERSION: u64 = 1;
/// Cards beyond this are refused, in bytes.
pub const MAX_SIZE: usize = 64 << 10;

/// The parameters that hold for the whole life of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Format version.
    pub fardel: u64,
    /// Who signs the registry of signers.
    pub root_public_key: PublicKey,
    /// Cut sizes for files, in bytes.
    pub chunker: Limits,
    /// Chunk size for volumes and images unless a backup asks for another, in bytes.
    pub volume_chunk_size: u32,
}

impl Card {
    /// A card of this format version.
    #[must_use]
    pub fn new(root_public_key: PublicKey) -> Self {
        Self { fardel: VERSION, root_public_key, chunker: Limits::DEFAULT, volume_chunk_size: 64 << 10 }
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a card is plain data");
        text.push(b'\n');
        text
    }

    /// Reads a card.
    ///
    /// # Errors
    /// When it is not a card, or of another version, or its parameters are out of bounds.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_SIZE {
            return Err(Error::TooLarge { what: "the card", limit: MAX_SIZE as u64 });
        }
        version::check("the card", bytes, VERSION)?;
        let card: Self = serde_json::from_slice(bytes).map_err(|e| Error::damaged("the card", e))?;
        card.chunker.check()?;
        check_volume_chunk_size(card.volume_chunk_size)?;
        Ok(card)
    }
}

/// The id of the repository that has these bytes as its card.
#[must_use]
pub fn repository_id(card: &[u8]) -> RepositoryId {
    RepositoryId(*blake3::hash(card).as_bytes())
}

/// Whether volumes may be cut so: a power of two from 16 KiB to 4 MiB.
///
/// # Errors
/// When not.
pub fn check_volume_chunk_size(size: u32) -> Result<()> {
    if size.is_power_of_two() && (16 << 10..=4 << 20).contains(&size) {
        return Ok(());
    }
    Err(Error::damaged("the chunk size", format!("{size} is not a power of two from 16 KiB to 4 MiB")))
}

#[cfg(test)]
mod tests;
