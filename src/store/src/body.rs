use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, ErrorKind, Meter, Result};

/// The bytes of an object that is to be stored.
#[derive(Clone, Debug)]
pub enum Body {
    /// In memory.
    Bytes(Bytes),
    /// A finished file of `len` bytes; the store may take it over instead of copying it.
    File {
        /// Where the file lies.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// A file that stays where it is. It is stored only if its bytes are the right ones.
    Kept(Arc<Kept>),
}

/// A file of which the bytes are known by their hash; several stores may read it at once.
#[derive(Debug)]
pub struct Kept {
    /// Where the file lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// BLAKE3 of its bytes. A store that has read other bytes stores nothing.
    pub hash: blake3::Hash,
    /// Is told of the bytes on their way.
    pub meter: Arc<dyn Meter>,
}

impl Kept {
    /// Compares what a store has read with what it should have been; to be called before the object gets its name.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`].
    pub fn verify(&self, read: &blake3::Hash) -> Result<()> {
        if *read == self.hash {
            return Ok(());
        }
        let message = "its bytes are not those that its name promises: nothing was stored";
        Err(Error::new(ErrorKind::Damaged, self.path.display(), message))
    }
}

impl Body {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
            Self::Kept(kept) => kept.len,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}
