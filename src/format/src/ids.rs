//! Identifiers: fixed bytes that are written as lower-case hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use crate::Error;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The first eight digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0u8; $len * 2];
                hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
                f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = Error;
            /// Accepts exactly the lower-case form, so that one identifier has one spelling.
            fn from_str(text: &str) -> Result<Self, Error> {
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(Error::damaged($what, "upper-case digits"));
                }
                let mut bytes = [0u8; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|e| Error::damaged($what, e))?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// Keyed BLAKE3 of a chunk's plain bytes.
    ChunkId, 32, "a chunk id"
);
hex_id!(
    /// BLAKE3 of an object's stored bytes; it stands in the object's name.
    ObjectHash, 32, "an object hash"
);
hex_id!(
    /// BLAKE3 of the card.
    RepositoryId, 32, "a repository id"
);
hex_id!(
    /// BLAKE3 of the plain root.
    SnapshotId, 32, "a snapshot id"
);
hex_id!(
    /// The first eight bytes of BLAKE3 of the public key's text.
    WriterId, 8, "a writer id"
);
hex_id!(
    /// Which writing of the same bytes an object is.
    Generation, 4, "a generation"
);
hex_id!(
    /// A random name.
    Nonce, 16, "a random name"
);

impl ObjectHash {
    /// The hash of these stored bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl Generation {
    /// A fresh one, from the operating system.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).expect("the operating system gives randomness");
        Self(bytes)
    }
}

impl Nonce {
    /// A fresh one, from the operating system.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system gives randomness");
        Self(bytes)
    }
}

/// The secret under which chunk ids are computed.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct ChunkKey(pub [u8; 32]);

impl ChunkKey {
    /// The id of a chunk with these plain bytes.
    #[must_use]
    pub fn id(&self, bytes: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.0, bytes).as_bytes())
    }
}

#[cfg(test)]
mod tests;
