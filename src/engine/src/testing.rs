//! A repository in memory with a folder to back up, for the tests of this crate.

pub mod stores;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fardel_format::age_file::{Identities, Recipients};
use fardel_format::frame::{Compressor, Plain};
use fardel_format::ids::Nonce;
use fardel_format::keys::HostKey;
use fardel_format::names::{FanOut, Name, Numbered};
use fardel_format::pack::{PackKind, PackWriter};
use fardel_format::root::{self, Root, Source, Totals};
use fardel_format::rope::{Layout, RopeBuilder};
use fardel_format::tomb::{self, Takes, Tomb};
use fardel_format::tree::{Node, NodeKind};
use fardel_format::{ChunkId, ObjectHash, RepositoryId, SnapshotId};
use fardel_store::{MemoryStore, Store};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::backup::{self, BackupOptions, BackupReport, SourceSpec};
use crate::bridge::Blocking;
use crate::catalog::Catalog;
use crate::commit::{self, Outcome};
use crate::index::ChunkIndex;
use crate::init::{self, InitOptions};
use crate::keyring::Material;
use crate::monitor::Silent;
use crate::packs::{PackReader, Packer, PackerOptions};
use crate::repository::{OpenOptions, Repository};
use crate::snapshots::Snapshots;
use crate::{Error, Result};

/// A new repository, the keys to it, and a temporary folder.
pub struct Fixture {
    /// Where it lies; clones share the objects, so that a test can damage them.
    pub store: MemoryStore,
    /// Its id.
    pub id: RepositoryId,
    /// The key file of the host that made it: it may read and write.
    pub host: HostKey,
    /// The recovery identity, an `AGE-SECRET-KEY-…` line.
    pub recovery: Zeroizing<String>,
    temp: TempDir,
}

/// A new repository with the usual options.
pub fn fixture() -> Fixture {
    Fixture::new(&InitOptions { host: "test".into(), ..InitOptions::default() })
}

impl Fixture {
    /// A new repository.
    pub fn new(options: &InitOptions) -> Self {
        let store = MemoryStore::new();
        let prepared = init::prepare(Blocking::new(Arc::new(store.clone())), "memory:", options).unwrap();
        let (host, recovery) = (prepared.host.clone(), prepared.recovery.clone());
        let id = prepared.publish().unwrap();
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("source")).unwrap();
        Self { store, id, host, recovery, temp }
    }

    /// A folder to put files into; empty at first.
    pub fn source(&self) -> PathBuf {
        self.temp.path().join("source")
    }

    /// A temporary folder that is no source.
    pub fn temp(&self) -> &Path {
        self.temp.path()
    }

    /// Writes a file below [`Self::source`], with its folders; returns its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.source().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Opened with the host's key file.
    pub fn open(&self) -> (Repository, Catalog) {
        self.open_with(Some(Material::Host(Box::new(self.host.clone())))).unwrap()
    }

    /// Opened with `material`, or without any key.
    pub fn open_with(&self, material: Option<Material>) -> Result<(Repository, Catalog)> {
        self.open_in(Arc::new(self.store.clone()), material)
    }

    /// Opened in another store, such as a copy or a faulty one.
    pub fn open_in(
        &self,
        store: Arc<dyn Store>,
        material: Option<Material>,
    ) -> Result<(Repository, Catalog)> {
        let cache = self.temp.path().join("cache");
        Repository::open(store, OpenOptions { material, cache, display: "memory:".into(), pinned: None })
    }

    /// The recovery identity, as it is given to open a repository.
    pub fn recovery(&self) -> Material {
        let mut identities = Identities::new();
        identities.push_x25519(&self.recovery).unwrap();
        Material::Identities(identities)
    }

    /// How the backups of this fixture are made.
    pub fn options(&self, sources: Vec<SourceSpec>) -> BackupOptions {
        BackupOptions {
            packer: PackerOptions { threads: 1, ..PackerOptions::default() },
            ..BackupOptions::new("test", sources)
        }
    }

    /// Backs up these paths.
    pub fn backup(&self, paths: &[&Path]) -> SnapshotId {
        let sources = paths.iter().map(|path| SourceSpec::Path((*path).to_owned())).collect();
        self.backup_with(&self.options(sources)).snapshot.unwrap()
    }

    /// Backs up.
    pub fn backup_with(&self, options: &BackupOptions) -> BackupReport {
        let (repo, catalog) = self.open();
        backup::backup(&repo, &catalog, options, &Silent::default()).unwrap()
    }

    /// Seals a snapshot of whatever `make` puts into the packer, as no backup would write it.
    pub fn craft(&self, make: impl FnOnce(&mut Packer) -> Vec<Source>) -> SnapshotId {
        let (repo, catalog) = self.open();
        let snapshots = Snapshots::load(&repo, &catalog).unwrap();
        let packs = PackReader::new(&repo, &catalog);
        let index =
            ChunkIndex::for_writing(&repo, &catalog, &snapshots, &Default::default(), &packs).unwrap();
        let options = PackerOptions { threads: 1, ..PackerOptions::default() };
        let mut packer = Packer::start(&repo, &catalog, index, options, false).unwrap();
        let sources = make(&mut packer);
        let packed = packer.flush().unwrap();
        let root = root_of(self.id, sources);
        let closure = packed.packs.iter().chain(&packed.reused).copied().collect();
        match commit::write(&repo, &catalog, &snapshots.tombs, None, &root, closure, None)
            .unwrap()
            .publish()
            .unwrap()
        {
            Outcome::Published(sealed) => sealed.id(),
            Outcome::Lost(_) | Outcome::Revoked => panic!("nobody took anything away"),
        }
    }

    /// Stores a pack of data that holds these bytes under these ids, whether they are the right ones or not.
    pub fn plant_pack(&self, chunks: &[(ChunkId, &[u8])]) {
        let mut plain = Plain::new();
        chunks.iter().for_each(|(id, bytes)| plain.push(*id, bytes).unwrap());
        let epoch = Recipients::x25519(&self.host.epoch).unwrap();
        let mut pack = PackWriter::create(Vec::new(), PackKind::Data, &epoch).unwrap();
        pack.add(plain.compress(&mut Compressor::new(3).unwrap()).unwrap()).unwrap();
        let finished = pack.finish().unwrap();
        self.store.insert_raw(&Name::Pack(finished.hash, None).key(FanOut::FLAT), finished.out);
    }

    /// Takes away every object whose name begins so; returns how many.
    pub fn lose(&self, prefix: &str) -> usize {
        let lost: Vec<_> = self.store.names().into_iter().filter(|name| name.starts_with(prefix)).collect();
        lost.iter().for_each(|name| drop(self.store.remove_raw(name)));
        lost.len()
    }
}

/// Puts a tomb of this host into a store, with its signature.
pub fn put_tomb(store: &MemoryStore, id: &RepositoryId, host: &HostKey, seq: u32, takes: Takes) {
    let key = &host.signing;
    let tomb = Tomb {
        fardel: 1,
        repository: *id,
        writer: key.public().clone(),
        seq,
        created: crate::time::now(),
        takes,
    };
    let bytes = tomb.to_bytes();
    let (writer, name) = (key.public().writer(), Numbered { seq, hash: ObjectHash::of(&bytes) });
    let signature = tomb::sign(&bytes, id, &name, key).unwrap();
    store.insert_raw(&Name::Tomb(writer, name).key(FanOut::FLAT), bytes);
    store.insert_raw(&Name::TombSig(writer, name).key(FanOut::FLAT), signature);
}

/// The root of a snapshot of these sources, as a finished backup of now has it.
pub fn root_of(repository: RepositoryId, sources: Vec<Source>) -> Root {
    Root {
        fardel: root::VERSION,
        repository,
        salt: Nonce::random(),
        run: Nonce::random(),
        partial: false,
        time: crate::time::now(),
        host: "test".into(),
        user: None,
        tags: Vec::new(),
        parent: None,
        sources,
        totals: Totals::default(),
        unreadable: 0,
        program: "a test".into(),
    }
}

/// A folder with these entries, which must be in order.
pub fn folder(packer: &mut Packer, name: &str, entries: &[Node]) -> Node {
    let leaf: Vec<u8> = entries.iter().flat_map(Node::to_line).collect();
    let mut rope = RopeBuilder::new(Layout::Listing);
    if !leaf.is_empty() {
        let id = packer.put(PackKind::Meta, &leaf).unwrap();
        rope.push(Some(id), 0, &mut |leaf: &[u8]| packer.put(PackKind::Meta, leaf)).unwrap();
    }
    let mut node = Node::new(name.as_bytes(), NodeKind::Dir);
    node.entries = Some(rope.finish(&mut |leaf: &[u8]| packer.put(PackKind::Meta, leaf)).unwrap());
    node
}

/// A file of these chunks; `Err` is a hole of so many bytes.
pub fn file(packer: &mut Packer, name: &str, chunks: &[Result<&[u8], u64>]) -> Node {
    let mut node = Node::new(name.as_bytes(), NodeKind::File);
    let mut rope = RopeBuilder::new(Layout::Variable);
    for chunk in chunks {
        let (id, len) = match chunk {
            Ok(bytes) => (Some(packer.put(PackKind::Data, bytes).unwrap()), bytes.len() as u64),
            Err(hole) => (None, *hole),
        };
        rope.push(id, len, &mut |leaf: &[u8]| packer.put(PackKind::Meta, leaf)).unwrap();
        node.size += len;
    }
    node.content = Some(rope.finish(&mut |leaf: &[u8]| packer.put(PackKind::Meta, leaf)).unwrap());
    node
}

/// Bytes that look random and follow from `seed` alone.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The message of what must have failed.
pub fn failure<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("this must fail"),
        Err(error) => error.to_string(),
    }
}
