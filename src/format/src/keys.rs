//! Key texts: stock age identity files whose comments carry what else a host needs.

use zeroize::{Zeroize, Zeroizing};

use crate::ids::{ChunkKey, RepositoryId};
use crate::sign::{PublicKey, SigningKey};
use crate::{Error, Result};

const READER: &str = "fardel keys 1";
const ROOT: &str = "fardel root key 1";
const HOST: &str = "fardel host key 1";

/// The two keys that chunking needs.
#[derive(Clone, zeroize::ZeroizeOnDrop)]
pub struct ChunkKeys {
    /// Under which chunk ids are computed.
    pub chunk: ChunkKey,
    /// From which cut points are derived.
    pub chunker: [u8; 32],
}

impl ChunkKeys {
    /// Whether these are the same two keys.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.chunk.0 == other.chunk.0 && self.chunker == other.chunker
    }

    /// Fresh ones.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn generate() -> Self {
        let mut keys = Self { chunk: ChunkKey([0; 32]), chunker: [0; 32] };
        getrandom::fill(&mut keys.chunk.0).expect("the operating system gives randomness");
        getrandom::fill(&mut keys.chunker).expect("the operating system gives randomness");
        keys
    }
}

/// What `keys/<hash>.age` holds for readers.
#[derive(Clone)]
pub struct ReaderKeys {
    /// The repository they belong to.
    pub repository: RepositoryId,
    /// An `AGE-SECRET-KEY-…` line per epoch, oldest first.
    pub identities: Vec<Zeroizing<String>>,
    /// The chunking keys.
    pub chunk_keys: ChunkKeys,
}

/// What the administrators' file in `keys/` holds.
#[derive(Clone)]
pub struct RootKey {
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// Signs the registry of signers.
    pub key: SigningKey,
}

/// What a host keeps for itself.
#[derive(Clone)]
pub struct HostKey {
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// Who signs the registry of signers.
    pub root: PublicKey,
    /// What this host signs with.
    pub signing: SigningKey,
    /// To whom this host encrypts: the newest epoch.
    pub epoch: String,
    /// The chunking keys.
    pub chunk_keys: ChunkKeys,
    /// Opens the index segments that this host wrote; a write-only host has nothing else.
    pub own: Zeroizing<String>,
    /// The epochs' identities, if this host may read.
    pub identities: Vec<Zeroizing<String>>,
}

/// Any of the three.
pub enum KeyText {
    /// Readers' keys.
    Reader(ReaderKeys),
    /// The root key.
    Root(RootKey),
    /// A host's file.
    Host(Box<HostKey>),
}

impl ReaderKeys {
    /// The text to encrypt.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut out = Writer::new(READER, &self.repository);
        self.identities.iter().for_each(|line| out.line(line));
        out.chunk_keys(&self.chunk_keys);
        out.0
    }
}

impl RootKey {
    /// The text to encrypt.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut out = Writer::new(ROOT, &self.repository);
        out.field("minisign-secret-key", &self.key.to_text());
        out.0
    }
}

impl HostKey {
    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut out = Writer::new(HOST, &self.repository);
        out.field("root-public-key", self.root.as_str());
        out.field("minisign-secret-key", &self.signing.to_text());
        out.field("epoch-recipient", &self.epoch);
        out.chunk_keys(&self.chunk_keys);
        out.line("# this host's own identity opens the index segments it wrote");
        out.field("own-identity", &self.own);
        self.identities.iter().for_each(|line| out.line(line));
        out.0
    }
}

impl KeyText {
    /// Reads any of the three.
    ///
    /// # Errors
    /// When it is none, or something is missing. No message holds a secret.
    pub fn parse(text: &str) -> Result<Self> {
        let fields = Fields::parse(text)?;
        let repository = fields.get("repository")?.parse()?;
        match fields.title {
            READER => Ok(Self::Reader(ReaderKeys {
                repository,
                identities: fields.identities(),
                chunk_keys: fields.chunk_keys()?,
            })),
            ROOT => Ok(Self::Root(RootKey {
                repository,
                key: SigningKey::from_text(fields.get("minisign-secret-key")?)?,
            })),
            HOST => Ok(Self::Host(Box::new(HostKey {
                repository,
                root: PublicKey::try_from(fields.get("root-public-key")?.to_owned())?,
                signing: SigningKey::from_text(fields.get("minisign-secret-key")?)?,
                epoch: fields.get("epoch-recipient")?.to_owned(),
                chunk_keys: fields.chunk_keys()?,
                own: Zeroizing::new(fields.get("own-identity")?.to_owned()),
                identities: fields.identities(),
            }))),
            _ => Err(Error::damaged("a key file", "it is none of fardel's")),
        }
    }
}

struct Writer(Zeroizing<String>);

impl Writer {
    fn new(title: &str, repository: &RepositoryId) -> Self {
        let mut writer = Self(Zeroizing::new(String::with_capacity(2048)));
        writer.line(&format!("# {title}"));
        writer.field("repository", &repository.to_string());
        writer
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn field(&mut self, name: &str, value: &str) {
        for part in ["# ", name, ": ", value, "\n"] {
            self.0.push_str(part);
        }
    }

    fn chunk_keys(&mut self, keys: &ChunkKeys) {
        let mut text = [0; 64];
        for (name, key) in [("fardel-chunk-key", &keys.chunk.0), ("fardel-chunker-key", &keys.chunker)] {
            hex::encode_to_slice(key, &mut text).expect("64 digits");
            self.field(name, std::str::from_utf8(&text).expect("digits"));
        }
        text.zeroize();
    }
}

struct Fields<'a> {
    title: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    identities: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut lines = text.lines();
        let title = lines.next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
        let mut parsed = Self { title, fields: Vec::new(), identities: Vec::new() };
        for line in lines.map(str::trim) {
            match line.strip_prefix("# ") {
                Some(comment) => parsed.fields.extend(comment.split_once(": ")),
                None if line.is_empty() || line.starts_with('#') => {}
                None => parsed.identities.push(line),
            }
        }
        Ok(parsed)
    }

    fn get(&self, name: &str) -> Result<&'a str> {
        let found = self.fields.iter().find(|(field, _)| *field == name);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| Error::damaged("a key file", format!("it has no {name}")))
    }

    fn identities(&self) -> Vec<Zeroizing<String>> {
        self.identities.iter().map(|line| Zeroizing::new((*line).to_owned())).collect()
    }

    fn chunk_keys(&self) -> Result<ChunkKeys> {
        let mut keys = ChunkKeys { chunk: ChunkKey([0; 32]), chunker: [0; 32] };
        let bad = |_| Error::damaged("a key file", "a chunk key is not 64 hexadecimal digits");
        hex::decode_to_slice(self.get("fardel-chunk-key")?, &mut keys.chunk.0).map_err(bad)?;
        hex::decode_to_slice(self.get("fardel-chunker-key")?, &mut keys.chunker).map_err(bad)?;
        Ok(keys)
    }
}

#[cfg(test)]
mod tests;
