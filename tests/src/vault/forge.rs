//! Objects as an attacker with some of the keys, or none, could write them.

use fardel_format::age_file::{self, Recipients};
use fardel_format::frame::{Compressor, Plain};
use fardel_format::ids::Nonce;
use fardel_format::keys::HostKey;
use fardel_format::manifest::{self, ListRef, Manifest, RootRef};
use fardel_format::names::{FanOut, Name, Numbered};
use fardel_format::pack::{PackKind, PackWriter, Toc};
use fardel_format::pack_list::{self, Bitmap, PackEntry};
use fardel_format::root::{self, Root, Source, Totals};
use fardel_format::sign::SigningKey;
use fardel_format::signers::{self, Record, Role, Signer};
use fardel_format::tomb::{self, Takes, Tomb};
use fardel_format::tree::Node;
use fardel_format::{ChunkId, ObjectHash, SnapshotId, WriterId, segment, zjson};
use fardel_store::MemoryStore;

use super::Vault;

const CREATED: &str = "2026-11-23T12:00:00Z";

/// Puts an object under its name, over whatever is there.
pub fn put(store: &MemoryStore, name: &Name, bytes: impl Into<Vec<u8>>) -> String {
    let key = name.key(FanOut::FLAT);
    store.insert_raw(&key, bytes.into());
    key
}

fn next_seq(vault: &Vault, prefix: &str) -> u32 {
    let seq = |name: &String| name.strip_prefix(prefix)?.get(..8)?.parse::<u32>().ok();
    vault.store.names().iter().filter_map(seq).max().unwrap_or(0) + 1
}

/// Names a signer in the registry, signed by the root key.
///
/// # Panics
/// When signing fails.
pub fn put_signer(vault: &Vault, host: &HostKey, name: &str, roles: &[Role]) {
    let signer =
        Signer { public_key: host.signing.public().clone(), name: name.into(), roles: roles.to_vec() };
    put_record(vault, &vault.root, next_seq(vault, "signers/"), vec![signer]);
}

/// Writes a record of signers with any key as its root; returns the keys of record and signature.
///
/// # Panics
/// When signing fails.
pub fn put_record(vault: &Vault, root: &SigningKey, seq: u32, signers: Vec<Signer>) -> [String; 2] {
    let record = Record {
        fardel: 1,
        repository: vault.id,
        seq,
        created: CREATED.into(),
        signers,
        removed_signers: Vec::new(),
        retired_keys: Vec::new(),
    };
    let bytes = record.to_bytes();
    let name = Numbered { seq, hash: ObjectHash::of(&bytes) };
    let signature = signers::sign(&bytes, &vault.id, &name, root).unwrap();
    [put(&vault.store, &Name::Signers(name), bytes), put(&vault.store, &Name::SignersSig(name), signature)]
}

/// Forgets snapshots.
///
/// # Panics
/// When signing fails.
pub fn put_forget(vault: &Vault, host: &HostKey, snapshots: &[SnapshotId]) -> String {
    put_tomb(vault, host, Takes::Forget { snapshots: snapshots.to_vec(), everywhere: false })
}

/// Writes a tomb; returns its key.
///
/// # Panics
/// When signing fails.
pub fn put_tomb(vault: &Vault, host: &HostKey, takes: Takes) -> String {
    let writer = host.signing.public().writer();
    let seq = next_seq(vault, &format!("tombs/{writer}/"));
    let public = host.signing.public().clone();
    let tomb = Tomb { fardel: 1, repository: vault.id, writer: public, seq, created: CREATED.into(), takes };
    let bytes = tomb.to_bytes();
    let name = Numbered { seq, hash: ObjectHash::of(&bytes) };
    let signature = tomb::sign(&bytes, &vault.id, &name, &host.signing).unwrap();
    put(&vault.store, &Name::TombSig(writer, name), signature);
    put(&vault.store, &Name::Tomb(writer, name), bytes)
}

/// A pack in the making, of whatever chunks and ids.
pub struct Crafted {
    kind: PackKind,
    frames: Vec<Plain>,
}

impl Crafted {
    /// An empty one.
    #[must_use]
    pub fn new(kind: PackKind) -> Self {
        Self { kind, frames: Vec::new() }
    }

    /// Adds a chunk in a frame of its own, under any id.
    ///
    /// # Panics
    /// When no frame takes it.
    pub fn push(&mut self, id: ChunkId, chunk: &[u8]) {
        let mut frame = Plain::new();
        frame.push(id, chunk).unwrap();
        self.frames.push(frame);
    }

    /// Adds a chunk under its own id; returns that.
    pub fn push_true(&mut self, host: &HostKey, chunk: &[u8]) -> ChunkId {
        let id = host.chunk_keys.chunk.id(chunk);
        self.push(id, chunk);
        id
    }

    /// The pack's bytes and table.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn finish(&self, recipient: &str) -> (Vec<u8>, Toc) {
        let recipients = Recipients::x25519(recipient).unwrap();
        let mut writer = PackWriter::create(Vec::new(), self.kind, &recipients).unwrap();
        let mut compressor = Compressor::new(3).unwrap();
        for frame in &self.frames {
            writer.add(frame.compress(&mut compressor).unwrap()).unwrap();
        }
        let finished = writer.finish().unwrap();
        (finished.out, finished.toc)
    }

    /// Stores the pack, and an index segment about it that this key signs.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn put(&self, vault: &Vault, host: &HostKey) -> PackEntry {
        let (bytes, toc) = self.finish(&host.epoch);
        let entry = put_pack(vault, bytes);
        put_segment(vault, host, &[(entry.hash, entry.size, &toc)]);
        entry
    }
}

/// Stores a pack of these bytes.
pub fn put_pack(vault: &Vault, bytes: Vec<u8>) -> PackEntry {
    let entry = PackEntry { hash: ObjectHash::of(&bytes), size: bytes.len() as u64 };
    put(&vault.store, &Name::Pack(entry.hash, None), bytes);
    entry
}

/// Stores an index segment that says whatever these tables say; returns its key.
///
/// # Panics
/// When it cannot be made.
pub fn put_segment(vault: &Vault, host: &HostKey, packs: &[(ObjectHash, u64, &Toc)]) -> String {
    let plain = segment::build(packs.iter().copied());
    let signed = segment::sign(&plain, &vault.id, &host.signing).unwrap();
    let mut readers = Recipients::x25519(&host.epoch).unwrap();
    readers.push_x25519(&age_file::recipient_of(&host.own).unwrap()).unwrap();
    let stored = age_file::encrypt(&signed, &readers).unwrap();
    put(&vault.store, &Name::Index(ObjectHash::of(&stored)), stored)
}

/// A snapshot in the making.
pub struct Snapshot {
    /// Its root, to be changed at will.
    pub root: Root,
    /// What its manifest says it needs.
    pub packs: Vec<PackEntry>,
    /// The number of its manifest; the next one when absent.
    pub seq: Option<u32>,
    /// Changes the manifest before it is sealed.
    pub change: fn(&mut Manifest),
    /// Whether it gets a seal.
    pub sealed: bool,
}

/// A stored snapshot.
pub struct Put {
    /// Its id.
    pub id: SnapshotId,
    /// Its manifest's key.
    pub manifest: String,
    /// Its seal's key.
    pub seal: String,
    /// Its name.
    pub name: (WriterId, Numbered),
}

impl Snapshot {
    /// A snapshot of these nodes, each under its own path.
    #[must_use]
    pub fn new(vault: &Vault, nodes: Vec<(&str, Node)>, packs: Vec<PackEntry>) -> Self {
        let root = Root {
            fardel: root::VERSION,
            repository: vault.id,
            salt: Nonce::random(),
            run: Nonce::random(),
            partial: false,
            time: CREATED.into(),
            host: "test".into(),
            user: None,
            tags: Vec::new(),
            parent: None,
            sources: nodes.into_iter().map(|(path, node)| Source::new(path.as_bytes(), node)).collect(),
            totals: Totals::default(),
            unreadable: 0,
            program: "a forger".into(),
        };
        Self { root, packs, seq: None, change: |_| (), sealed: true }
    }

    /// Stores root, list, manifest and seal.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn put(mut self, vault: &Vault, host: &HostKey) -> Put {
        let plain = self.root.to_bytes();
        let stored = zjson::seal(&plain, &Recipients::x25519(&host.epoch).unwrap()).unwrap();
        let root = RootRef { hash: ObjectHash::of(&stored), size: stored.len() as u64 };
        put(&vault.store, &Name::Root(root.hash), stored);
        let bytes = pack_list::to_bytes(&mut self.packs).unwrap();
        let list = ListRef {
            hash: ObjectHash::of(&bytes),
            size: bytes.len() as u64,
            count: self.packs.len() as u64,
            packs: Bitmap::all(self.packs.len()).to_text(),
        };
        put(&vault.store, &Name::List(list.hash), bytes);
        let writer = host.signing.public().writer();
        let seq = self.seq.unwrap_or_else(|| next_seq(vault, &format!("manifests/{writer}/")));
        let mut manifest = Manifest {
            fardel: manifest::VERSION,
            repository: vault.id,
            writer: host.signing.public().clone(),
            seq,
            created: CREATED.into(),
            previous: None,
            heads: Default::default(),
            snapshot: Root::id(&plain),
            root,
            lists: vec![list],
            supersedes: None,
            origin: None,
            despite: Vec::new(),
        };
        (self.change)(&mut manifest);
        put_manifest(vault, host, &manifest, self.sealed)
    }
}

/// Stores a manifest, and its seal if wanted.
///
/// # Panics
/// When it cannot be signed.
pub fn put_manifest(vault: &Vault, host: &HostKey, manifest: &Manifest, sealed: bool) -> Put {
    let writer = host.signing.public().writer();
    let bytes = manifest.to_bytes();
    let name = Numbered { seq: manifest.seq, hash: ObjectHash::of(&bytes) };
    let seal = manifest::seal(&bytes, &vault.id, &name, &host.signing).unwrap();
    let manifest_key = put(&vault.store, &Name::Manifest(writer, name), bytes);
    let seal_name = Name::Seal(writer, name);
    if sealed {
        put(&vault.store, &seal_name, seal);
    }
    let seal = seal_name.key(FanOut::FLAT);
    Put { id: manifest.snapshot, manifest: manifest_key, seal, name: (writer, name) }
}
