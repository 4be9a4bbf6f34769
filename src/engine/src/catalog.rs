//! What a listing of the store shows, sorted by kind. Nothing here is read or verified yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fardel_format::ids::{Generation, Nonce};
use fardel_format::names::{FanOut, Name, Numbered};
use fardel_format::{ObjectHash, WriterId};
use fardel_store::{Key, Listed};

use crate::Result;
use crate::bridge::Blocking;
use crate::copier::copier_of;
use crate::replicas::COPIED_MARK;

/// An object as it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it lies.
    pub key: Key,
    /// Its size in bytes, as the store says.
    pub size: u64,
}

/// A pack as it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackCopy {
    /// Which writing of the bytes it is.
    pub generation: Option<Generation>,
    /// Where it lies, and its size.
    pub stored: Stored,
}

/// Every object of a store, by kind.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The card's size, when there is a card.
    pub card: Option<Stored>,
    /// Packs, each with its generations.
    pub packs: HashMap<ObjectHash, Vec<PackCopy>>,
    /// Index segments.
    pub index: BTreeMap<ObjectHash, Stored>,
    /// Key files.
    pub keys: BTreeMap<ObjectHash, Stored>,
    /// Lists of packs.
    pub lists: BTreeMap<ObjectHash, Stored>,
    /// Roots.
    pub roots: BTreeMap<ObjectHash, Stored>,
    /// Manifests.
    pub manifests: BTreeMap<(WriterId, Numbered), Stored>,
    /// Seals.
    pub seals: BTreeMap<(WriterId, Numbered), Stored>,
    /// Records of signers, and their signatures.
    pub signers: BTreeMap<Numbered, Stored>,
    /// Signatures of records of signers.
    pub signer_sigs: BTreeMap<Numbered, Stored>,
    /// Tombs.
    pub tombs: BTreeMap<(WriterId, Numbered), Stored>,
    /// Signatures of tombs.
    pub tomb_sigs: BTreeMap<(WriterId, Numbered), Stored>,
    /// Intents of replicators.
    pub intents: BTreeMap<Nonce, Stored>,
    /// Acknowledgements of replicas.
    pub acks: BTreeMap<(String, Numbered), Stored>,
    /// Names that are none of ours: counted, never an error.
    pub ignored: u64,
    /// The first few of them, for people.
    pub strangers: Vec<String>,
    /// Whether a file says that another tool copies this store.
    pub is_marked: bool,
    /// Tools that copy this folder, as far as they leave names of their own in it.
    pub copiers: BTreeSet<&'static str>,
}

impl Catalog {
    /// Lists the whole store.
    ///
    /// # Errors
    /// When the listing fails.
    pub fn load(store: &Blocking) -> Result<Self> {
        Self::load_prefix(store, "")
    }

    /// Lists one folder of the store.
    ///
    /// # Errors
    /// When the listing fails.
    pub fn load_prefix(store: &Blocking, prefix: &str) -> Result<Self> {
        let mut catalog = Self::default();
        catalog.list(store, prefix)?;
        Ok(catalog)
    }

    /// Lists one more folder of the store.
    ///
    /// # Errors
    /// When the listing fails.
    pub fn list(&mut self, store: &Blocking, prefix: &str) -> Result<()> {
        Ok(store.list(prefix, |listed| self.add(listed))?)
    }

    fn add(&mut self, listed: Listed) {
        let (Some(name), Ok(key)) = (Name::parse(&listed.name), Key::new(&*listed.name)) else {
            if listed.name == COPIED_MARK {
                self.is_marked = true;
                return;
            }
            self.ignored += 1;
            self.copiers.extend(copier_of(&listed.name));
            if self.strangers.len() < 20 {
                self.strangers.push(listed.name);
            }
            return;
        };
        let stored = Stored { key, size: listed.size };
        match name {
            Name::Card => self.card = Some(stored),
            Name::Pack(hash, generation) => {
                self.packs.entry(hash).or_default().push(PackCopy { generation, stored })
            }
            Name::Index(hash) => drop(self.index.insert(hash, stored)),
            Name::Keys(hash) => drop(self.keys.insert(hash, stored)),
            Name::List(hash) => drop(self.lists.insert(hash, stored)),
            Name::Root(hash) => drop(self.roots.insert(hash, stored)),
            Name::Manifest(writer, n) => drop(self.manifests.insert((writer, n), stored)),
            Name::Seal(writer, n) => drop(self.seals.insert((writer, n), stored)),
            Name::Signers(n) => drop(self.signers.insert(n, stored)),
            Name::SignersSig(n) => drop(self.signer_sigs.insert(n, stored)),
            Name::Tomb(writer, n) => drop(self.tombs.insert((writer, n), stored)),
            Name::TombSig(writer, n) => drop(self.tomb_sigs.insert((writer, n), stored)),
            Name::Intent(nonce) => drop(self.intents.insert(nonce, stored)),
            Name::Ack(replica, n) => drop(self.acks.insert((replica, n), stored)),
        }
    }

    /// Whether another tool copies this store, as far as a whole listing of it tells: it is marked so, the tool left something
    /// here, or somebody acknowledged what arrived elsewhere.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        self.is_marked || !self.copiers.is_empty() || !self.acks.is_empty()
    }

    /// A copy of this pack that has the size it must have.
    #[must_use]
    pub fn whole_pack(&self, hash: &ObjectHash, size: u64) -> Option<&PackCopy> {
        self.packs.get(hash)?.iter().find(|copy| copy.stored.size == size)
    }

    /// The object of this name, as it was listed.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Stored> {
        match name {
            Name::Card => self.card.as_ref(),
            Name::Pack(hash, generation) => {
                let copy = self.packs.get(hash)?.iter().find(|copy| copy.generation == *generation);
                copy.map(|copy| &copy.stored)
            }
            Name::Index(hash) => self.index.get(hash),
            Name::Keys(hash) => self.keys.get(hash),
            Name::List(hash) => self.lists.get(hash),
            Name::Root(hash) => self.roots.get(hash),
            Name::Manifest(writer, n) => self.manifests.get(&(*writer, *n)),
            Name::Seal(writer, n) => self.seals.get(&(*writer, *n)),
            Name::Signers(n) => self.signers.get(n),
            Name::SignersSig(n) => self.signer_sigs.get(n),
            Name::Tomb(writer, n) => self.tombs.get(&(*writer, *n)),
            Name::TombSig(writer, n) => self.tomb_sigs.get(&(*writer, *n)),
            Name::Intent(nonce) => self.intents.get(nonce),
            Name::Ack(replica, n) => self.acks.get(&(replica.clone(), *n)),
        }
    }

    /// How many objects share the folder in which this one would lie; it decides the fan-out.
    #[must_use]
    pub fn siblings(&self, name: &Name) -> usize {
        match name {
            Name::Pack(..) => self.packs.len(),
            Name::List(_) => self.lists.len(),
            Name::Root(_) => self.roots.len(),
            Name::Index(_) => self.index.len(),
            Name::Manifest(writer, _) => self.manifests.keys().filter(|(w, _)| w == writer).count(),
            Name::Seal(writer, _) => self.seals.keys().filter(|(w, _)| w == writer).count(),
            Name::Tomb(writer, _) | Name::TombSig(writer, _) => {
                self.tombs.keys().filter(|(w, _)| w == writer).count()
            }
            _ => 0,
        }
    }

    /// Everything that was listed and is ours, with its parsed name.
    pub fn objects(&self) -> impl Iterator<Item = (Name, &Stored)> {
        let packs = self
            .packs
            .iter()
            .flat_map(|(hash, copies)| copies.iter().map(|c| (Name::Pack(*hash, c.generation), &c.stored)));
        let hashed = [
            (&self.index, Name::Index as fn(ObjectHash) -> Name),
            (&self.keys, Name::Keys),
            (&self.lists, Name::List),
            (&self.roots, Name::Root),
        ];
        let written = [
            (&self.manifests, Name::Manifest as fn(WriterId, Numbered) -> Name),
            (&self.seals, Name::Seal),
            (&self.tombs, Name::Tomb),
            (&self.tomb_sigs, Name::TombSig),
        ];
        self.card
            .iter()
            .map(|stored| (Name::Card, stored))
            .chain(packs)
            .chain(
                hashed
                    .into_iter()
                    .flat_map(|(map, name)| map.iter().map(move |(hash, stored)| (name(*hash), stored))),
            )
            .chain(
                written
                    .into_iter()
                    .flat_map(|(map, name)| map.iter().map(move |((w, n), stored)| (name(*w, *n), stored))),
            )
            .chain(self.signers.iter().map(|(n, stored)| (Name::Signers(*n), stored)))
            .chain(self.signer_sigs.iter().map(|(n, stored)| (Name::SignersSig(*n), stored)))
            .chain(self.intents.iter().map(|(n, stored)| (Name::Intent(*n), stored)))
            .chain(self.acks.iter().map(|((r, n), stored)| (Name::Ack(r.clone(), *n), stored)))
    }

    /// The fan-out for the next object of a folder that now holds `count`.
    #[must_use]
    pub fn fan_out(count: usize) -> FanOut {
        FanOut::for_count(count as u64)
    }
}

/// The key of a name at a given fan-out.
///
/// # Panics
/// Never: the grammar of names is within the grammar of keys.
#[must_use]
pub fn key_of(name: &Name, fan_out: FanOut) -> Key {
    Key::new(name.key(fan_out)).expect("names are keys")
}
