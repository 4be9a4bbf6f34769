//! Who can open and who may write: what is seen of that without any secret, and a little more with one.

use std::collections::HashMap;
use std::fmt;

use fardel_format::keys::KeyText;
use fardel_format::signers::{Registry, Role};
use fardel_format::{ObjectHash, WriterId};

use crate::catalog::{Catalog, Stored};
use crate::keyring::{self, Material};
use crate::repository::{Problem, Repository};
use crate::{Error, Result};

/// Largest key file that is looked at, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Recipients that are told of one file.
const MAX_TOLD: usize = 100;

/// For whom a key file is, as far as its header tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Somebody's `age1…`; age does not say whose.
    X25519,
    /// Whoever knows the passphrase.
    Passphrase,
    /// An SSH key.
    Ssh {
        /// `ssh-ed25519` or `ssh-rsa`.
        kind: String,
        /// Base64 of the first four bytes of the SHA-256 of the public key.
        tag: String,
    },
    /// A plugin's.
    Other(String),
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X25519 => f.write_str("X25519"),
            Self::Passphrase => f.write_str("passphrase"),
            Self::Ssh { kind, tag } => write!(f, "{kind} {tag}"),
            Self::Other(tag) => f.write_str(tag),
        }
    }
}

/// What is in a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// What opens the content.
    Reader,
    /// The root key: whoever has it administrates.
    Root,
}

/// A file of `keys/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// BLAKE3 of its bytes, as its name says.
    pub hash: ObjectHash,
    /// Its size in bytes.
    pub size: u64,
    /// Whether a signed record says that nobody uses it any more.
    pub retired: bool,
    /// What is in it; known only of files that the material at hand opens.
    pub holds: Option<Holds>,
    /// For whom it is.
    pub recipients: Vec<Recipient>,
    /// What is wrong with it.
    pub damage: Option<String>,
}

/// A signer of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerEntry {
    /// Under which name its manifests and seals are kept.
    pub writer: WriterId,
    /// For people: usually a host's name.
    pub name: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// Whether it is the one whose key file opened the repository.
    pub is_this_host: bool,
}

/// Every key file and every signer.
#[derive(Clone, Debug, Default)]
pub struct KeyList {
    /// Sorted by hash.
    pub files: Vec<KeyFile>,
    /// Those that are not removed, sorted by writer.
    pub signers: Vec<SignerEntry>,
    /// Records of signers that do not verify.
    pub problems: Vec<Problem>,
}

/// Something that can be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A key file.
    File(ObjectHash),
    /// A signer.
    Signer(WriterId),
}

impl KeyList {
    /// Lists; `material` tells what is in the files that it opens.
    ///
    /// # Errors
    /// When the store fails. A damaged file is told as such.
    pub fn load(repo: &Repository, catalog: &Catalog, material: Option<&Material>) -> Result<Self> {
        let (registry, problems) = repo.registry(catalog)?;
        let mut holds = HashMap::new();
        if let Some(Material::Identities(identities)) = material {
            for (hash, text) in keyring::open_key_files(repo.store(), catalog, identities)? {
                let held = match text {
                    KeyText::Reader(keys) if keys.repository == *repo.id() => Holds::Reader,
                    KeyText::Root(key) if key.repository == *repo.id() => Holds::Root,
                    _ => continue,
                };
                holds.insert(hash, held);
            }
        }
        let mut files = Vec::with_capacity(catalog.keys.len());
        for (hash, stored) in &catalog.keys {
            let (recipients, damage) = match recipients(repo, hash, stored)? {
                Ok(recipients) => (recipients, None),
                Err(damage) => (Vec::new(), Some(damage)),
            };
            let (retired, holds) = (registry.is_retired(hash), holds.get(hash).copied());
            files.push(KeyFile { hash: *hash, size: stored.size, retired, holds, recipients, damage });
        }
        Ok(Self { files, signers: signers(repo, &registry), problems })
    }

    /// Finds a key file by the beginning of its hash, or a signer by its name or the beginning of its id.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, or more than one.
    pub fn find(&self, text: &str) -> Result<Target> {
        let begins = |id: String| text.len() >= 4 && id.starts_with(text);
        let files = self
            .files
            .iter()
            .filter(|file| begins(file.hash.to_string()))
            .map(|file| Target::File(file.hash));
        let fits = |signer: &&SignerEntry| signer.name == text || begins(signer.writer.to_string());
        let signers = self.signers.iter().filter(fits).map(|signer| Target::Signer(signer.writer));
        let found: Vec<_> = files.chain(signers).take(2).collect();
        match found[..] {
            [one] => Ok(one),
            [] => Err(Error::NotFound(format!(
                "no key file and no signer {text}: `fardel key list` shows them"
            ))),
            _ => Err(Error::NotFound(format!("{text} fits several: give more digits of the one you mean"))),
        }
    }
}

fn signers(repo: &Repository, registry: &Registry) -> Vec<SignerEntry> {
    let this = repo.keys().host.as_ref().map(|host| host.signing.public());
    let entry = |(writer, signer): (&WriterId, &fardel_format::signers::Signer)| SignerEntry {
        writer: *writer,
        name: signer.name.clone(),
        roles: signer.roles.clone(),
        is_this_host: this == Some(&signer.public_key),
    };
    registry.signers().map(entry).collect()
}

/// For whom a file is, or what is wrong with it.
fn recipients(
    repo: &Repository,
    hash: &ObjectHash,
    stored: &Stored,
) -> Result<Result<Vec<Recipient>, String>> {
    if stored.size > MAX_FILE {
        return Ok(Err("it is larger than any key file".into()));
    }
    let bytes = match repo.store().get(&stored.key) {
        Ok(bytes) => bytes,
        Err(error) if error.kind == fardel_store::ErrorKind::NotFound => return Ok(Err("it is gone".into())),
        Err(error) => return Err(error.into()),
    };
    if ObjectHash::of(&bytes) != *hash {
        return Ok(Err("its hash differs from its name".into()));
    }
    Ok(stanzas(&bytes).ok_or_else(|| "it does not begin as an age file does".into()))
}

/// Whom the header of an age file names. Only its words are read: what they mean is for age to check.
fn stanzas(bytes: &[u8]) -> Option<Vec<Recipient>> {
    let mut lines = bytes.split(|&b| b == b'\n');
    if lines.next()? != b"age-encryption.org/v1" {
        return None;
    }
    let mut recipients = Vec::new();
    loop {
        let line = lines.next()?;
        if line.starts_with(b"---") {
            return Some(recipients);
        }
        let Some(words) = line.strip_prefix(b"-> ") else { continue };
        let words =
            std::str::from_utf8(words).ok().filter(|words| words.bytes().all(|b| matches!(b, 32..=126)))?;
        let mut words = words.split(' ');
        let (tag, first) = (words.next()?, words.next().unwrap_or_default());
        let recipient = match tag {
            "X25519" => Recipient::X25519,
            "scrypt" => Recipient::Passphrase,
            "ssh-ed25519" | "ssh-rsa" => {
                Recipient::Ssh { kind: tag.into(), tag: first.chars().take(8).collect() }
            }
            // Put in by writers so that readers get used to what they do not know.
            _ if tag.ends_with("-grease") => continue,
            _ => Recipient::Other(tag.chars().take(64).collect()),
        };
        if recipients.len() < MAX_TOLD {
            recipients.push(recipient);
        }
    }
}
