//! An open repository: its store, its card, the keys at hand, the local cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fardel_format::card::{self, Card};
use fardel_format::chunker::Chunker;
use fardel_format::keys::ChunkKeys;
use fardel_format::names::{CARD, FanOut, Name, Numbered};
use fardel_format::signers::{Record, Registry};
use fardel_format::{ObjectHash, RepositoryId, WriterId};
use fardel_store::{ErrorKind, Key, Store};

use crate::bridge::Blocking;
use crate::catalog::{Catalog, Stored, key_of};
use crate::copies::{Copies, Other};
use crate::kept::Kept;
use crate::keyring::{Keys, Material};
use crate::lists::{self, Lists};
use crate::{Error, Result};

/// Largest small object (record, tomb, seal), in bytes.
const MAX_SMALL: u64 = 4 << 20;

/// How to open a repository.
pub struct OpenOptions {
    /// What opens it; without, only what needs no key can be done.
    pub material: Option<Material>,
    /// Where index segments and the like are kept between runs; everything in it can be rebuilt.
    pub cache: PathBuf,
    /// How the repository is called in messages.
    pub display: String,
    /// Refuse any other repository than this one.
    pub pinned: Option<RepositoryId>,
}

/// An open repository.
pub struct Repository {
    store: Blocking,
    card: Card,
    id: RepositoryId,
    keys: Keys,
    cache: PathBuf,
    display: String,
    lists: Lists,
    copies: Arc<Copies>,
    kept: Option<Kept>,
}

impl Repository {
    /// Opens the repository in `store`.
    ///
    /// # Errors
    /// [`Error::NoRepository`] without a card; [`Error::Key`] when the material opens nothing.
    pub fn open(store: Arc<dyn Store>, options: OpenOptions) -> Result<(Self, Catalog)> {
        Self::open_among(store, options, Vec::new())
    }

    /// The same for whoever only reads: what cannot be had in `store` is looked for in the other places.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn open_among(
        store: Arc<dyn Store>,
        options: OpenOptions,
        others: Vec<Other>,
    ) -> Result<(Self, Catalog)> {
        let store = Blocking::new(store);
        let card_bytes = match store.get(&Key::new(CARD)?) {
            Ok(bytes) => bytes,
            Err(error) if error.kind == ErrorKind::NotFound => {
                return Err(Error::NoRepository(options.display));
            }
            Err(error) => return Err(error.into()),
        };
        let card = Card::from_bytes(&card_bytes).map_err(|e| Error::object(CARD, e))?;
        let id = card::repository_id(&card_bytes);
        if let Some(pinned) = options.pinned.filter(|pinned| *pinned != id) {
            return Err(Error::OtherRepository { found: id.short(), expected: pinned.short() });
        }
        let catalog = Catalog::load(&store)?;
        let cache = options.cache.join(id.to_string());
        let (keys, lists) = (Keys::default(), Lists::default());
        let copies = Arc::new(Copies::new(id, others));
        let mut repo =
            Self { store, card, id, keys, cache, display: options.display, lists, copies, kept: None };
        if let Some(material) = options.material {
            repo.keys = Keys::open(&repo, &catalog, material)?;
        }
        if repo.keys.host.as_ref().is_some_and(|host| host.root != repo.card.root_public_key) {
            return Err(Error::Key("the card names another root key than this host's key file".into()));
        }
        Ok((repo, catalog))
    }

    /// From now on signed objects that were verified once are taken from the cache, while a listing shows them; `catalog` is the
    /// whole of one. Not for whoever examines the store. Files of this machine are read as fast as a cache.
    pub fn keep_signed(&mut self, catalog: &Catalog) {
        self.kept = self.store.capabilities().files.is_none().then(|| Kept::open(&self.cache, catalog));
    }

    /// The store it lies in.
    #[must_use]
    pub fn store(&self) -> &Blocking {
        &self.store
    }

    /// Its card.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &RepositoryId {
        &self.id
    }

    /// The keys at hand.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The local cache of this repository; it may not exist yet.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The lists of packs that were read.
    pub(crate) fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The other places where it lies.
    #[must_use]
    pub fn copies(&self) -> &Arc<Copies> {
        &self.copies
    }

    /// How it is called in messages.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// The keys for chunk ids and cut points.
    ///
    /// # Errors
    /// [`Error::Key`] when no key is at hand.
    pub fn chunk_keys(&self) -> Result<&ChunkKeys> {
        self.keys
            .chunk_keys
            .as_ref()
            .ok_or_else(|| Error::Key("this needs a key: give --key-file, or FARDEL_KEY_FILE".into()))
    }

    /// Whether content can be read.
    ///
    /// # Errors
    /// [`Error::Key`] when not.
    pub fn need_reader(&self) -> Result<()> {
        self.chunk_keys()?;
        if self.keys.can_read {
            return Ok(());
        }
        Err(Error::Key("this key can only write; reading needs the recovery identity, a passphrase or a reader's key file".into()))
    }

    /// The cut points of this repository.
    ///
    /// # Errors
    /// [`Error::Key`] when no key is at hand.
    pub fn chunker(&self) -> Result<Chunker> {
        Chunker::new(&self.chunk_keys()?.chunker, self.card.chunker).map_err(|e| Error::object(CARD, e))
    }

    /// Reads a small object, refusing large ones.
    ///
    /// # Errors
    /// When the store fails, or it is larger than any such object.
    pub(crate) fn small(&self, stored: &Stored) -> Result<Vec<u8>> {
        small(&self.store, stored)
    }

    /// Reads a small object of text.
    pub(crate) fn small_text(&self, stored: &Stored) -> Result<String> {
        small_text(&self.store, stored)
    }

    /// Reads an object with its signature; one that does not verify is a problem, and costs nothing else.
    pub(crate) fn signed<T>(
        &self,
        object: &Stored,
        signature: &Stored,
        open: impl Fn(&[u8], &str) -> fardel_format::Result<T>,
    ) -> Result<Result<T, Problem>> {
        let kept = self.kept.as_ref().and_then(|kept| kept.get(object, signature));
        if let Some(Ok(opened)) = kept.map(|(bytes, signature)| open(&bytes, &signature)) {
            return Ok(Ok(opened));
        }
        let read = |store: &Blocking, object: &Stored, signature: &Stored| {
            let (bytes, signature) = (small(store, object)?, small_text(store, signature)?);
            let opened = open(&bytes, &signature).map_err(|error| Error::object(&object.key, error))?;
            Ok((opened, bytes, signature))
        };
        let read = self.copies.or_there(&object.key, read(&self.store, object, signature), |there| {
            let found = |stored: &Stored| {
                let found = Name::parse(stored.key.as_str()).and_then(|name| there.catalog.get(&name));
                found.ok_or_else(|| missing(&stored.key))
            };
            read(&there.store, found(object)?, found(signature)?)
        });
        match read {
            Ok((opened, bytes, signature)) => {
                self.kept.iter().for_each(|kept| kept.put(object, &bytes, &signature));
                Ok(Ok(opened))
            }
            Err(Error::Object { error, .. }) => Ok(Err(Problem { object: object.key.clone(), error })),
            Err(error) => Err(error),
        }
    }

    /// Reads an object whose name carries its hash, and takes it apart.
    ///
    /// # Errors
    /// When it is missing or damaged, or the store fails.
    pub(crate) fn hashed<T>(
        &self,
        catalog: &Catalog,
        (name, what): (&Name, &'static str),
        open: impl Fn(&Key, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let plainest = key_of(name, FanOut::FLAT);
        let read = |store: &Blocking, catalog: &Catalog| {
            let stored = catalog.get(name).ok_or_else(|| missing(&plainest))?;
            if stored.size > lists::MAX_SIZE {
                let error = fardel_format::Error::TooLarge { what, limit: lists::MAX_SIZE };
                return Err(Error::object(&stored.key, error));
            }
            let bytes = store.get(&stored.key)?;
            if name.content_hash().is_some_and(|hash| ObjectHash::of(&bytes) != hash) {
                let why = "its hash differs from its name".into();
                return Err(Error::object(&stored.key, fardel_format::Error::Damaged { what, why }));
            }
            open(&stored.key, &bytes)
        };
        self.copies
            .or_there(&plainest, read(&self.store, catalog), |there| read(&there.store, &there.catalog))
    }

    /// Who may do what: every record that the root key signed. A record that does not verify is a problem, never a rule;
    /// one of another repository is neither: an `init` that was cut off leaves such a record behind.
    ///
    /// # Errors
    /// When the store fails, or does not give a record back.
    pub fn registry(&self, catalog: &Catalog) -> Result<(Registry, Vec<Problem>)> {
        let mut unread = Unread::default();
        let registry = self.read_registry(catalog, &mut unread)?;
        unread.none(registry)
    }

    /// The same; a record that cannot be read is among the problems.
    pub(crate) fn read_registry(
        &self,
        catalog: &Catalog,
        unread: &mut Unread,
    ) -> Result<(Registry, Vec<Problem>)> {
        let (mut records, mut problems) = (Vec::new(), Vec::new());
        let signed = |(name, stored)| Some((name, stored, catalog.signer_sigs.get(name)?));
        let signed: Vec<(&Numbered, &Stored, &Stored)> = catalog.signers.iter().filter_map(signed).collect();
        let read = |(name, stored, signature): &(&Numbered, &Stored, &Stored)| {
            self.signed(stored, signature, |bytes, signature| {
                let foreign = ObjectHash::of(bytes) == name.hash && is_foreign(bytes, &self.id);
                let read = Record::from_bytes(bytes, signature, &self.id, name, &self.card.root_public_key);
                if foreign { Ok(None) } else { read.map(Some) }
            })
        };
        self.store.for_many(&signed, read, |(name, stored, _), record| {
            match unread.settle(&stored.key, record)? {
                Ok(record) => records.extend(record.map(|record| (**name, record))),
                Err(problem) => problems.push(problem),
            }
            Ok::<_, Error>(())
        })?;
        Ok((Registry::from_records(records), problems))
    }

    /// The number for this writer's next manifest: one more than the largest that is listed or remembered.
    pub(crate) fn next_seq(&self, catalog: &Catalog, writer: &WriterId) -> u32 {
        let listed = catalog
            .manifests
            .keys()
            .chain(catalog.seals.keys())
            .filter(|(w, _)| w == writer)
            .map(|(_, n)| n.seq);
        self.after(listed, &format!("seq-{writer}"))
    }

    /// The number for this writer's next tomb.
    pub(crate) fn next_tomb(&self, catalog: &Catalog, writer: &WriterId) -> u32 {
        let listed = catalog.tombs.keys().chain(catalog.tomb_sigs.keys());
        self.after(listed.filter(|(w, _)| w == writer).map(|(_, n)| n.seq), &format!("tomb-seq-{writer}"))
    }

    /// The number for the next acknowledgement of a replica; `listed` are those that are here.
    pub(crate) fn next_ack(&self, replica: &str, listed: impl Iterator<Item = u32>) -> u32 {
        self.after(listed, &format!("ack-seq-{replica}"))
    }

    fn after(&self, listed: impl Iterator<Item = u32>, file: &str) -> u32 {
        let remembered = std::fs::read_to_string(self.cache.join(file)).ok();
        let remembered = remembered.and_then(|text| text.trim().parse().ok());
        listed.chain(remembered).max().unwrap_or(0).saturating_add(1).min(Numbered::MAX_SEQ)
    }

    /// Remembers a number before it is used, so that a store that loses its newest objects does not see it twice.
    pub(crate) fn remember_seq(&self, writer: &WriterId, seq: u32) {
        self.remember(&format!("seq-{writer}"), seq);
    }

    /// The same for tombs.
    pub(crate) fn remember_tomb(&self, writer: &WriterId, seq: u32) {
        self.remember(&format!("tomb-seq-{writer}"), seq);
    }

    /// The same for acknowledgements of a replica.
    pub(crate) fn remember_ack(&self, replica: &str, seq: u32) {
        self.remember(&format!("ack-seq-{replica}"), seq);
    }

    fn remember(&self, file: &str, seq: u32) {
        // Losing this costs nothing while the listing shows the number: it is a second line of defence.
        let _ = std::fs::create_dir_all(&self.cache);
        let _ = std::fs::write(self.cache.join(file), seq.to_string());
    }
}

fn missing(key: &Key) -> Error {
    Error::Damaged(format!("{key} is missing"))
}

fn small(store: &Blocking, stored: &Stored) -> Result<Vec<u8>> {
    if stored.size > MAX_SMALL {
        let error = fardel_format::Error::TooLarge { what: "a small object", limit: MAX_SMALL };
        return Err(Error::object(&stored.key, error));
    }
    Ok(store.get(&stored.key)?.into())
}

fn small_text(store: &Blocking, stored: &Stored) -> Result<String> {
    String::from_utf8(small(store, stored)?).map_err(|_| {
        Error::object(
            &stored.key,
            fardel_format::Error::Damaged { what: "an object", why: "it is not text".into() },
        )
    })
}

/// Remembers that an object could not be read, though the store as a whole works: a reader goes on as if it were withheld,
/// a writer must not.
#[derive(Default)]
pub(crate) struct Unread(Option<Error>);

impl Unread {
    /// A problem instead of an error about this object alone.
    pub fn settle<T>(
        &mut self,
        object: &Key,
        read: Result<Result<T, Problem>>,
    ) -> Result<Result<T, Problem>> {
        match read {
            Err(error) if error.is_damage() => {
                let why = error.to_string();
                self.0.get_or_insert(error);
                let error = fardel_format::Error::Damaged { what: "an object", why };
                Ok(Err(Problem { object: object.clone(), error }))
            }
            other => other,
        }
    }

    /// `whole`, if everything could be read.
    pub fn none<T>(self, whole: T) -> Result<T> {
        self.0.map_or(Ok(whole), Err)
    }
}

/// Whether a signed document says itself that it belongs to another repository.
fn is_foreign(document: &[u8], repository: &RepositoryId) -> bool {
    #[derive(serde::Deserialize)]
    struct Belongs {
        repository: RepositoryId,
    }
    serde_json::from_slice::<Belongs>(document).is_ok_and(|belongs| belongs.repository != *repository)
}

/// An object that is not what it must be; others do not depend on it.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Which.
    pub object: Key,
    /// What is wrong.
    pub error: fardel_format::Error,
}

impl Problem {
    /// What an error says of this object.
    pub(crate) fn new(object: Key, error: Error) -> Self {
        let error = match error {
            Error::Object { error, .. } => error,
            other => fardel_format::Error::Damaged { what: "an object", why: other.to_string() },
        };
        Self { object, error }
    }
}
