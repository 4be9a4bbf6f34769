//! Makes a repository. The card is stored last: before it there is no repository, after it nothing is lacking.
//!
//! A bad store can leave half of a card under its name. Where nothing else lies that a repository could have, it is removed.

use fardel_format::age_file::{self, Recipients};
use fardel_format::card::{self, Card};
use fardel_format::keys::{ChunkKeys, HostKey, ReaderKeys, RootKey};
use fardel_format::names::{CARD, FanOut, Name, Numbered};
use fardel_format::sign::SigningKey;
use fardel_format::signers::{self, Record, Role, Signer};
use fardel_format::{ObjectHash, RepositoryId};
use fardel_store::{Body, ErrorKind, Key};
use zeroize::Zeroizing;

use crate::bridge::Blocking;
use crate::catalog::{Catalog, key_of};
use crate::keyring;
use crate::{Error, Result};

/// How a new repository is to be.
#[derive(Default)]
pub struct InitOptions {
    /// For people: who signs from this machine.
    pub host: String,
    /// `age1…` or SSH recipients that may read besides the recovery identity.
    pub recipients: Vec<String>,
    /// A passphrase that opens everything, besides the recovery identity.
    pub passphrase: Option<Zeroizing<String>>,
    /// Chunk size for volumes, in bytes; the usual one when absent.
    pub volume_chunk_size: Option<u32>,
}

/// A repository whose card is not yet stored: nothing is lost when it never will be.
pub struct Prepared {
    store: Blocking,
    card: Vec<u8>,
    /// Its id.
    pub id: RepositoryId,
    /// Opens everything, alone; to be kept somewhere else.
    pub recovery: Zeroizing<String>,
    /// This host's file; to be saved before [`Self::publish`].
    pub host: HostKey,
}

/// Stores the keys and the registry of a new repository.
///
/// # Errors
/// [`Error::Exists`] when there is one already.
pub fn prepare(store: Blocking, display: &str, options: &InitOptions) -> Result<Prepared> {
    match store.get(&Key::new(CARD)?) {
        Ok(bytes) if is_cut_off(&bytes) && holds_no_data(&store)? => store.delete(&Key::new(CARD)?)?,
        Ok(_) => return Err(Error::Exists(display.into())),
        Err(error) if error.kind == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let invalid = |e: fardel_format::Error| Error::Invalid(e.to_string());
    let root = SigningKey::generate().map_err(invalid)?;
    let mut card = Card::new(root.public().clone());
    if let Some(size) = options.volume_chunk_size {
        card::check_volume_chunk_size(size).map_err(invalid)?;
        card.volume_chunk_size = size;
    }
    let card = card.to_bytes();
    let id = card::repository_id(&card);

    let (epoch, epoch_recipient) = age_file::generate_identity();
    let (recovery, recovery_recipient) = age_file::generate_identity();
    let reader = ReaderKeys { repository: id, identities: vec![epoch], chunk_keys: ChunkKeys::generate() };
    let root_key = RootKey { repository: id, key: root };
    let mut readers = Recipients::x25519(&recovery_recipient).map_err(invalid)?;
    for recipient in &options.recipients {
        keyring::push_recipient(&mut readers, recipient)?;
    }
    let administrators = Recipients::x25519(&recovery_recipient).map_err(invalid)?;
    put_key_file(&store, keyring::reader_file(&reader, &readers)?)?;
    put_key_file(&store, keyring::root_file(&root_key, &administrators)?)?;
    if let Some(passphrase) = &options.passphrase {
        put_key_file(&store, keyring::reader_file(&reader, &keyring::passphrase_recipient(passphrase))?)?;
        put_key_file(&store, keyring::root_file(&root_key, &keyring::passphrase_recipient(passphrase))?)?;
    }

    let (own, _) = age_file::generate_identity();
    let host = HostKey {
        repository: id,
        root: root_key.key.public().clone(),
        signing: SigningKey::generate().map_err(invalid)?,
        epoch: epoch_recipient,
        chunk_keys: reader.chunk_keys.clone(),
        own,
        identities: reader.identities.clone(),
    };
    let signer = Signer {
        public_key: host.signing.public().clone(),
        name: options.host.clone(),
        roles: vec![Role::Write, Role::ForgetOwn, Role::Maintain, Role::Acknowledge],
    };
    put_record(&store, &id, &root_key.key, 1, vec![signer], Vec::new(), Vec::new())?;
    Ok(Prepared { store, card, id, recovery, host })
}

impl Prepared {
    /// Stores the card: now there is a repository.
    ///
    /// # Errors
    /// [`Error::Exists`] when somebody else made one meanwhile.
    pub fn publish(self) -> Result<RepositoryId> {
        match self.store.put_new(&Key::new(CARD)?, Body::from(self.card)) {
            Ok(()) => Ok(self.id),
            Err(error) if error.kind == ErrorKind::Exists => Err(Error::Exists("this place".into())),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether these are the first bytes of a card, and not all of them: a whole one ends with a line's end.
fn is_cut_off(card: &[u8]) -> bool {
    !card.ends_with(b"\n")
        || serde_json::from_slice::<serde::de::IgnoredAny>(card).is_err_and(|error| error.is_eof())
}

/// Whether there is nothing but what an `init` stores before the card.
fn holds_no_data(store: &Blocking) -> Result<bool> {
    let catalog = Catalog::load(store)?;
    let of_init =
        |name: &Name| matches!(name, Name::Card | Name::Keys(_) | Name::Signers(_) | Name::SignersSig(_));
    Ok(catalog.objects().all(|(name, _)| of_init(&name)))
}

/// Stores a file of `keys/`; returns its hash.
///
/// # Errors
/// When the store fails.
pub(crate) fn put_key_file(store: &Blocking, bytes: Vec<u8>) -> Result<ObjectHash> {
    let hash = ObjectHash::of(&bytes);
    store.put_new(&key_of(&Name::Keys(hash), FanOut::FLAT), Body::from(bytes))?;
    Ok(hash)
}

/// Signs and stores a record of signers: the signature last, since a record without it counts for nothing.
///
/// # Errors
/// When the store fails.
pub(crate) fn put_record(
    store: &Blocking,
    repository: &RepositoryId,
    root: &SigningKey,
    seq: u32,
    signers: Vec<Signer>,
    removed_signers: Vec<signers::Removed>,
    retired_keys: Vec<ObjectHash>,
) -> Result<()> {
    let created = crate::time::now();
    let record =
        Record { fardel: 1, repository: *repository, seq, created, signers, removed_signers, retired_keys };
    let bytes = record.to_bytes();
    let name = Numbered { seq, hash: ObjectHash::of(&bytes) };
    let signature = signers::sign(&bytes, repository, &name, root).map_err(|e| Error::Key(e.to_string()))?;
    store.put_same(&key_of(&Name::Signers(name), FanOut::FLAT), bytes)?;
    store.put_same(&key_of(&Name::SignersSig(name), FanOut::FLAT), signature.into_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use fardel_store::MemoryStore;

    use super::*;

    #[test]
    fn a_card_of_which_any_part_is_lacking_does_not_hinder_the_next_init() {
        let memory = MemoryStore::new();
        let store = Blocking::new(std::sync::Arc::new(memory.clone()));
        let make = || prepare(store.clone(), "memory:", &InitOptions::default());
        make().unwrap().publish().unwrap();
        let whole = memory.get_raw(CARD).unwrap();
        assert!(matches!(make(), Err(Error::Exists(_))));
        for len in 0..whole.len() {
            memory.insert_raw(CARD, whole.slice(..len));
            let id = make().unwrap_or_else(|e| panic!("{len} bytes: {e}")).publish().unwrap();
            assert_eq!(id, card::repository_id(&memory.get_raw(CARD).unwrap()), "{len} bytes");
        }
    }
}
