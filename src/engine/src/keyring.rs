//! What a key file or a passphrase opens.

use std::path::Path;
use std::sync::Arc;

use age::secrecy::SecretString;
use fardel_format::age_file::{self, Identities, Recipients};
use fardel_format::keys::{ChunkKeys, HostKey, KeyText, ReaderKeys, RootKey};
use fardel_format::sign::SigningKey;
use fardel_format::{Error as FormatError, ObjectHash, RepositoryId};
use zeroize::Zeroizing;

use crate::bridge::Blocking;
use crate::catalog::Catalog;
use crate::repository::{Repository, Unread};
use crate::{Error, Result};

/// Largest key file, in bytes.
const MAX_KEYS: u64 = 1 << 20;

/// What the user gave to open a repository with.
pub enum Material {
    /// A host's own file.
    Host(Box<HostKey>),
    /// Identities that may open files in `keys/`.
    Identities(Identities),
}

impl Material {
    /// Reads a host's file, a stock age identity file (the recovery identity) or an SSH private key.
    ///
    /// # Errors
    /// When the file is none of these, or others can read it.
    pub fn from_file(path: &Path) -> Result<Self> {
        check_private(path)?;
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?);
        let bad = |why: String| Error::Key(format!("{}: {why}", path.display()));
        if let Ok(KeyText::Host(host)) = KeyText::parse(&text) {
            return Ok(Self::Host(host));
        }
        let mut identities = Identities::new();
        if text.contains("PRIVATE KEY-----") {
            let name = Some(path.display().to_string());
            let identity =
                age::ssh::Identity::from_buffer(text.as_bytes(), name).map_err(|e| bad(e.to_string()))?;
            match identity {
                age::ssh::Identity::Unencrypted(_) => identities.push(Box::new(identity)),
                _ => return Err(bad("this SSH key has a passphrase: give an age identity instead".into())),
            }
            return Ok(Self::Identities(identities));
        }
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            identities
                .push_x25519(line)
                .map_err(|_| bad("not a key file: expected AGE-SECRET-KEY-1…".into()))?;
        }
        if identities.is_empty() {
            return Err(bad("there is no identity in it".into()));
        }
        Ok(Self::Identities(identities))
    }

    /// A passphrase.
    #[must_use]
    pub fn from_passphrase(passphrase: &str) -> Self {
        let mut identities = Identities::new();
        identities.push(Box::new(age::scrypt::Identity::new(SecretString::from(
            passphrase.trim_end_matches('\n').to_owned(),
        ))));
        Self::Identities(identities)
    }
}

/// Whether only the owner can read a file with secrets.
///
/// # Errors
/// When others can, or when there is no such file.
pub fn check_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::Key(format!("{0}: others can read this secret; run: chmod 600 {0}", path.display())))
}

/// The recipient that a passphrase stands for.
#[must_use]
pub fn passphrase_recipient(passphrase: &str) -> Recipients {
    let mut recipients = Recipients::new();
    let passphrase = SecretString::from(passphrase.trim_end_matches('\n').to_owned());
    recipients.push(Box::new(age::scrypt::Recipient::new(passphrase)));
    recipients
}

/// Parses what stands after `--recipient`: `age1…` or an SSH public key.
///
/// # Errors
/// When it is neither.
pub fn push_recipient(recipients: &mut Recipients, text: &str) -> Result<()> {
    if text.starts_with("ssh-") {
        let recipient: age::ssh::Recipient = text
            .parse()
            .map_err(|e| Error::Invalid(format!("{text}: not an SSH public key that age can use: {e:?}")))?;
        recipients.push(Box::new(recipient));
        return Ok(());
    }
    recipients
        .push_x25519(text)
        .map_err(|_| Error::Invalid(format!("{text}: not an age recipient (age1… or ssh-…)")))
}

/// What may be done with the repository.
#[derive(Clone, Default)]
pub struct Keys {
    /// Opens packs and roots; empty on a write-only host.
    pub readers: Arc<Identities>,
    /// Opens index segments too: the readers', and the host's own.
    pub index_readers: Arc<Identities>,
    /// Whether `readers` holds anything.
    pub can_read: bool,
    /// Chunk ids and cut points.
    pub chunk_keys: Option<ChunkKeys>,
    /// This host's file.
    pub host: Option<Box<HostKey>>,
    /// Signs the registry.
    pub root: Option<SigningKey>,
}

impl Keys {
    /// Opens what the material opens; of the repository's key files those that are not retired.
    ///
    /// # Errors
    /// [`Error::Key`] when it opens nothing here.
    pub fn open(repo: &Repository, catalog: &Catalog, material: Material) -> Result<Self> {
        match material {
            Material::Host(host) => Self::from_host(*host, repo.id()),
            Material::Identities(identities) => Self::from_key_files(repo, catalog, &identities),
        }
    }

    fn from_host(host: HostKey, repository: &RepositoryId) -> Result<Self> {
        if host.repository != *repository {
            return Err(Error::Key(format!(
                "this key file belongs to repository {}, not to {}",
                host.repository.short(),
                repository.short()
            )));
        }
        let mut keys = Self::from_reader_lines(&host.identities, &host.chunk_keys, Some(&host.own))?;
        keys.host = Some(Box::new(host));
        Ok(keys)
    }

    fn from_reader_lines(
        lines: &[Zeroizing<String>],
        chunk_keys: &ChunkKeys,
        own: Option<&str>,
    ) -> Result<Self> {
        let (mut readers, mut index_readers) = (Identities::new(), Identities::new());
        let bad = |e: FormatError| Error::Key(e.to_string());
        for line in lines {
            readers.push_x25519(line).map_err(bad)?;
            index_readers.push_x25519(line).map_err(bad)?;
        }
        if let Some(own) = own {
            index_readers.push_x25519(own).map_err(bad)?;
        }
        Ok(Self {
            can_read: !readers.is_empty(),
            readers: Arc::new(readers),
            index_readers: Arc::new(index_readers),
            chunk_keys: Some(chunk_keys.clone()),
            host: None,
            root: None,
        })
    }

    fn from_key_files(repo: &Repository, catalog: &Catalog, identities: &Identities) -> Result<Self> {
        let (registry, _) = repo.read_registry(catalog, &mut Unread::default())?;
        let (mut lines, mut chunk_keys, mut root) = (Vec::new(), None::<ChunkKeys>, None);
        let opens = |(hash, text): &(ObjectHash, KeyText)| {
            matches!(text, KeyText::Reader(reader) if reader.repository == *repo.id())
                && !registry.is_retired(hash)
        };
        let open = |store: &Blocking, catalog: &Catalog| match open_key_files(store, catalog, identities)? {
            opened if opened.iter().any(opens) => Ok(opened),
            _ => Err(Error::Damaged("there is none that this key opens".into())),
        };
        let here = open(repo.store(), catalog);
        let opened = repo.copies().or_there(&"keys/", here, |there| open(&there.store, &there.catalog));
        let opened = match opened {
            Err(Error::Damaged(_)) => Vec::new(),
            opened => opened?,
        };
        for (hash, text) in opened {
            match text {
                _ if registry.is_retired(&hash) => {}
                KeyText::Reader(reader) if reader.repository == *repo.id() => {
                    // Whoever can write here and knows a recipient can plant a file with keys of his own: never pick one.
                    if chunk_keys.as_ref().is_some_and(|keys| !keys.is_same(&reader.chunk_keys)) {
                        let why = format!(
                            "key file {} disagrees with another one: one of them is forged",
                            hash.short()
                        );
                        return Err(Error::Key(format!(
                            "{why}; give this host's own key file, or remove the forged one"
                        )));
                    }
                    lines.extend(reader.identities);
                    chunk_keys = Some(reader.chunk_keys);
                }
                KeyText::Root(root_key) if root_key.key.public() == &repo.card().root_public_key => {
                    root = Some(root_key.key)
                }
                _ => {}
            }
        }
        let chunk_keys = chunk_keys.ok_or_else(|| {
            Error::Key("this key opens none of the repository's key files; `fardel key list` shows whom they are for".into())
        })?;
        lines.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        lines.dedup();
        let mut keys = Self::from_reader_lines(&lines, &chunk_keys, None)?;
        keys.root = root;
        Ok(keys)
    }
}

/// Opens every key file that the identities open.
///
/// # Errors
/// When the store fails; files that stay shut are passed over, and files that cannot be read if another one opens.
pub fn open_key_files(
    store: &Blocking,
    catalog: &Catalog,
    identities: &Identities,
) -> Result<Vec<(ObjectHash, KeyText)>> {
    let (mut opened, mut unreadable) = (Vec::new(), None);
    for (hash, stored) in &catalog.keys {
        if stored.size > MAX_KEYS {
            continue;
        }
        let bytes = match store.get(&stored.key).map_err(Error::from) {
            Ok(bytes) => bytes,
            Err(error) if error.is_damage() => {
                unreadable = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if ObjectHash::of(&bytes) != *hash {
            continue;
        }
        let Ok(plain) = age_file::decrypt("a key file", &bytes, identities, MAX_KEYS) else { continue };
        let plain = Zeroizing::new(plain);
        let Ok(text) = std::str::from_utf8(&plain) else { continue };
        if let Ok(text) = KeyText::parse(text) {
            opened.push((*hash, text));
        }
    }
    match unreadable {
        Some(error) if opened.is_empty() => Err(error),
        _ => Ok(opened),
    }
}

/// Makes the file of `keys/` that opens the repository's content for these recipients.
///
/// # Errors
/// When the recipients cannot be used together.
pub fn reader_file(keys: &ReaderKeys, recipients: &Recipients) -> Result<Vec<u8>> {
    age_file::encrypt(keys.to_text().as_bytes(), recipients).map_err(|e| Error::Invalid(e.to_string()))
}

/// Makes the file of `keys/` that holds the root key for these recipients.
///
/// # Errors
/// When the recipients cannot be used together.
pub fn root_file(key: &RootKey, recipients: &Recipients) -> Result<Vec<u8>> {
    age_file::encrypt(key.to_text().as_bytes(), recipients).map_err(|e| Error::Invalid(e.to_string()))
}
