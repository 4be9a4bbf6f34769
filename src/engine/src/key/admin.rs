//! Changes who can read and who may write. It takes the root key, which lies in `keys/` for administrators alone.

use std::collections::BTreeSet;

use fardel_format::age_file::{self, Identities, Recipients};
use fardel_format::keys::{HostKey, KeyText, ReaderKeys, RootKey};
use fardel_format::sign::SigningKey;
use fardel_format::signers::{Registry, Removed, Role, Signer};
use fardel_format::{Error as FormatError, ObjectHash, WriterId, zjson};
use fardel_store::ErrorKind;
use zeroize::Zeroizing;

use crate::catalog::Catalog;
use crate::keyring::{self, Material};
use crate::repository::Repository;
use crate::snapshots::Snapshots;
use crate::{Error, Result, init};

/// Longest name of a host, in bytes.
const MAX_NAME: usize = 255;

/// For whom a key file is. age does not let a passphrase stand beside others.
pub enum Whom {
    /// `age1…` and SSH public keys.
    Recipients(Vec<String>),
    /// Whoever knows it.
    Passphrase(Zeroizing<String>),
}

impl Whom {
    fn recipients(&self) -> Result<Recipients> {
        match self {
            Self::Recipients(texts) if texts.is_empty() => {
                Err(Error::Invalid("there is no recipient".into()))
            }
            Self::Recipients(texts) => {
                let mut recipients = Recipients::new();
                texts.iter().try_for_each(|text| keyring::push_recipient(&mut recipients, text))?;
                Ok(recipients)
            }
            Self::Passphrase(passphrase) if passphrase.trim().is_empty() => {
                Err(Error::Invalid("the passphrase is empty".into()))
            }
            Self::Passphrase(passphrase) => Ok(keyring::passphrase_recipient(passphrase)),
        }
    }
}

/// Whoever holds the root key.
pub struct Admin<'a> {
    repo: &'a Repository,
    reader: ReaderKeys,
    root: SigningKey,
    /// The files that the material opens and that are not retired.
    reader_files: BTreeSet<ObjectHash>,
    root_files: BTreeSet<ObjectHash>,
}

impl<'a> Admin<'a> {
    /// Opens the root key and the readers' keys with the recovery identity, or an administrator's passphrase or key.
    ///
    /// # Errors
    /// [`Error::Key`] when the material does not open both, or the files that it opens contradict each other or the
    /// newest snapshot: somebody may have planted one, so that new hosts would encrypt to him.
    pub fn open(repo: &'a Repository, catalog: &Catalog, material: &Material) -> Result<Self> {
        let Material::Identities(identities) = material else {
            let why = "a host's own key file has no root key: changing keys takes the recovery identity that `fardel init` showed, or an \
                       administrator's passphrase";
            return Err(Error::Key(why.into()));
        };
        let (catalog, snapshots) = Snapshots::load_lasting(repo, catalog)?;
        let (mut readers, mut roots) = (Vec::new(), Vec::new());
        for (hash, text) in keyring::open_key_files(repo.store(), &catalog, identities)? {
            match text {
                _ if snapshots.registry.is_retired(&hash) => {}
                KeyText::Reader(keys) if keys.repository == *repo.id() => readers.push((hash, keys)),
                KeyText::Root(root) if root.key.public() == &repo.card().root_public_key => {
                    roots.push((hash, root.key))
                }
                _ => {}
            }
        }
        let none = |what| {
            Error::Key(format!(
                "this key opens {what}; changing keys takes the recovery identity that `fardel init` showed"
            ))
        };
        let root = roots.first().map(|(_, key)| key.clone());
        let reader = consistent(&readers)?.cloned();
        let (reader, root) = match (reader, root) {
            (Some(reader), Some(root)) => (reader, root),
            (Some(_), None) => return Err(none("the content and not the root key")),
            (None, Some(_)) => return Err(none("the root key and not the content")),
            (None, None) => return Err(none("none of the repository's key files")),
        };
        check_opens_newest(repo, &catalog, &snapshots, &reader)?;
        let [reader_files, root_files] =
            [readers.iter().map(|(hash, _)| *hash).collect(), roots.iter().map(|(hash, _)| *hash).collect()];
        Ok(Self { repo, reader, root, reader_files, root_files })
    }

    /// Lets others read: one new file in `keys/`. It gives nothing that could not be copied from then on.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the recipients cannot be used; else when the store fails.
    pub fn add_reader(&self, whom: &Whom) -> Result<ObjectHash> {
        init::put_key_file(self.repo.store(), keyring::reader_file(&self.reader, &whom.recipients()?)?)
    }

    /// Lets others administrate: one new file in `keys/`, beside the one of [`Self::add_reader`], which they need too.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the recipients cannot be used; else when the store fails.
    pub fn add_administrator(&self, whom: &Whom) -> Result<ObjectHash> {
        let root = RootKey { repository: *self.repo.id(), key: self.root.clone() };
        init::put_key_file(self.repo.store(), keyring::root_file(&root, &whom.recipients()?)?)
    }

    /// Makes the key file of a new host and registers what it may do. A write-only host gets nothing that opens content.
    ///
    /// The file is nowhere else: whoever loses it before it is saved makes another one, and removes this signer.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that cannot be told to people, or without roles; else when the store fails.
    pub fn add_host(&self, name: &str, roles: &[Role], write_only: bool) -> Result<HostKey> {
        if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let why =
                format!("{name:?} cannot name a host: 1 to {MAX_NAME} bytes, without control characters");
            return Err(Error::Invalid(why));
        }
        if roles.is_empty() {
            return Err(Error::Invalid("a signer without any role could do nothing".into()));
        }
        let failed = |e: FormatError| Error::Key(e.to_string());
        let epoch =
            self.reader.identities.last().ok_or_else(|| Error::Key("the repository has no epoch".into()))?;
        let (own, _) = age_file::generate_identity();
        let host = HostKey {
            repository: *self.repo.id(),
            root: self.root.public().clone(),
            signing: SigningKey::generate().map_err(failed)?,
            epoch: age_file::recipient_of(epoch).map_err(failed)?,
            chunk_keys: self.reader.chunk_keys.clone(),
            own,
            identities: if write_only { Vec::new() } else { self.reader.identities.clone() },
        };
        let roles: BTreeSet<_> = roles.iter().copied().collect();
        let roles = roles.into_iter().collect();
        let signer = Signer { public_key: host.signing.public().clone(), name: name.to_owned(), roles };
        self.record(vec![signer], Vec::new(), Vec::new())?;
        Ok(host)
    }

    /// Retires a key file: no client uses it from now on. Whoever had it may have kept what is in it.
    ///
    /// # Errors
    /// [`Error::Invalid`] when without it the material at hand would no longer open content, or the root key; when it is
    /// retired already. [`Error::NotFound`] when there is no such file.
    pub fn retire_file(&self, catalog: &Catalog, hash: &ObjectHash) -> Result<()> {
        let short = hash.short();
        if !catalog.keys.contains_key(hash) {
            return Err(Error::NotFound(format!("no key file {short}: `fardel key list` shows them")));
        }
        if self.registry()?.is_retired(hash) {
            return Err(Error::Invalid(format!("key file {short} is retired already")));
        }
        for (files, what) in [(&self.reader_files, "the content"), (&self.root_files, "the root key")] {
            if files.iter().all(|file| file == hash) {
                let why = format!(
                    "key file {short} is the last one with which this key opens {what}: add another one first, and give \
                     its key for this"
                );
                return Err(Error::Invalid(why));
            }
        }
        self.record(Vec::new(), Vec::new(), vec![*hash])
    }

    /// Removes a signer: it may do nothing from now on. What it sealed before stays.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such signer; else when the store fails.
    pub fn remove_signer(&self, writer: &WriterId) -> Result<()> {
        if self.registry()?.get(writer).is_none() {
            return Err(Error::NotFound(format!("no signer {writer}: `fardel key list` shows them")));
        }
        // Only what verifies counts: the name of a seal alone could say any number, and let it seal on for ever.
        let snapshots = Snapshots::load(self.repo, &Catalog::load(self.repo.store())?)?;
        let sealed = [&snapshots.sealed, &snapshots.forgotten, &snapshots.superseded];
        let sealed = sealed.into_iter().flatten().filter(|sealed| sealed.writer == *writer);
        let last_seq = sealed.map(|sealed| sealed.name.seq).max().unwrap_or(0);
        let tombs = Catalog::load_prefix(self.repo.store(), "tombs/")?.tombs;
        let last_tomb = tombs.keys().filter(|(w, _)| w == writer).map(|(_, n)| n.seq).max().unwrap_or(0);
        self.record(Vec::new(), vec![Removed { writer: *writer, last_seq, last_tomb }], Vec::new())
    }

    /// As it is now: another administrator may have been at work.
    fn registry(&self) -> Result<Registry> {
        let signers = Catalog::load_prefix(self.repo.store(), "signers/")?;
        Ok(self.repo.registry(&signers)?.0)
    }

    fn record(&self, signers: Vec<Signer>, removed: Vec<Removed>, retired: Vec<ObjectHash>) -> Result<()> {
        let seq = self.registry()?.next_seq();
        init::put_record(self.repo.store(), self.repo.id(), &self.root, seq, signers, removed, retired)
    }
}

/// The keys with the most epochs, if the others have a beginning of them.
fn consistent(files: &[(ObjectHash, ReaderKeys)]) -> Result<Option<&ReaderKeys>> {
    let Some((best, keys)) = files.iter().max_by_key(|(_, keys)| keys.identities.len()) else {
        return Ok(None);
    };
    for (hash, other) in files {
        let same_chunks = other.chunk_keys.is_same(&keys.chunk_keys);
        let same_epochs = other.identities.iter().zip(&keys.identities).all(|(a, b)| **a == **b);
        if !same_chunks || !same_epochs {
            let (one, two) = (best.short(), hash.short());
            return Err(Error::Key(format!(
                "key files {one} and {two} contradict each other: one of them was planted; retire it"
            )));
        }
    }
    Ok(Some(keys))
}

/// Whether the newest snapshot that can be had is encrypted to these keys.
fn check_opens_newest(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &Snapshots,
    reader: &ReaderKeys,
) -> Result<()> {
    let mut identities = Identities::new();
    for identity in &reader.identities {
        identities.push_x25519(identity).map_err(|e| Error::Key(e.to_string()))?;
    }
    for sealed in snapshots.sealed.iter().rev() {
        let root = &sealed.manifest.root;
        let Some(stored) = catalog.roots.get(&root.hash).filter(|stored| stored.size == root.size) else {
            continue;
        };
        let bytes = match repo.store().get(&stored.key) {
            Ok(bytes) => bytes,
            Err(error) if error.kind == ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        if ObjectHash::of(&bytes) != root.hash {
            continue;
        }
        return match zjson::open(&bytes, &identities) {
            Err(FormatError::WrongKey { .. }) => Err(Error::Key(format!(
                "the key file that this key opens is not the one that snapshot {} was made with: it was planted",
                sealed.id().short()
            ))),
            _ => Ok(()),
        };
    }
    Ok(())
}
