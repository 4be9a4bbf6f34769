//! Writes a small repository with the format crate alone, in the order that FORMAT.md gives.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fardel_format::age_file::{self, Recipients};
use fardel_format::card::{self, Card};
use fardel_format::chunker::{Chunker, Limits};
use fardel_format::frame::{Compressor, Plain};
use fardel_format::ids::{Generation, Nonce};
use fardel_format::keys::{ChunkKeys, HostKey, ReaderKeys, RootKey};
use fardel_format::lines::Moment;
use fardel_format::manifest::{self, ListRef, Manifest, RootRef};
use fardel_format::names::{CARD, FanOut, Name, Numbered};
use fardel_format::pack::{PackKind, PackWriter};
use fardel_format::pack_list::{self, Bitmap, PackEntry};
use fardel_format::root::{Root, Source, Totals};
use fardel_format::rope::{Layout, Rope, RopeBuilder};
use fardel_format::sign::SigningKey;
use fardel_format::signers::{self, Record, Role, Signer};
use fardel_format::tomb::{self, MergedForget, Takes, Tomb};
use fardel_format::tree::{LeafSplitter, Node, NodeKind};
use fardel_format::{ChunkId, ObjectHash, RepositoryId, SnapshotId, zjson};

const PASSPHRASE: &str = "correct horse battery staple";
const CHUNK_SIZE: u32 = 64 << 10;
const CREATED: &str = "2026-11-23T14:00:00Z";

/// A repository and everything that opens it.
pub struct SmallRepository {
    folder: PathBuf,
    id: RepositoryId,
    root: SigningKey,
    host: HostKey,
    recovery: String,
}

/// Files that open it, and some that do not.
pub struct KeyFiles {
    pub host: PathBuf,
    pub recovery: PathBuf,
    pub passphrase: PathBuf,
    pub write_only: PathBuf,
    pub stranger: PathBuf,
    pub wrong_passphrase: PathBuf,
}

fn fan_out() -> FanOut {
    FanOut::for_count(5_000)
}

fn passphrase_recipient(passphrase: &str) -> Recipients {
    let mut recipient = age::scrypt::Recipient::new(passphrase.to_owned().into());
    recipient.set_work_factor(6);
    let mut recipients = Recipients::new();
    recipients.push(Box::new(recipient));
    recipients
}

impl SmallRepository {
    pub fn create(folder: &Path) -> Self {
        let root = SigningKey::generate().unwrap();
        let mut card = Card::new(root.public().clone());
        card.chunker = Limits { min: 16 << 10, avg: 64 << 10, max: 256 << 10 };
        let card = card.to_bytes();
        let id = card::repository_id(&card);
        let (epoch, epoch_recipient) = age_file::generate_identity();
        let (recovery, recovery_recipient) = age_file::generate_identity();
        let reader =
            ReaderKeys { repository: id, identities: vec![epoch.clone()], chunk_keys: ChunkKeys::generate() };
        let host = HostKey {
            repository: id,
            root: root.public().clone(),
            signing: SigningKey::generate().unwrap(),
            epoch: epoch_recipient,
            chunk_keys: reader.chunk_keys.clone(),
            own: age_file::generate_identity().0,
            identities: vec![epoch],
        };
        let new = Self { folder: folder.to_owned(), id, root, host, recovery: recovery.to_string() };
        let recipients = || Recipients::x25519(&recovery_recipient).unwrap();
        let root_key = RootKey { repository: id, key: new.root.clone() };
        for recipients in [recipients(), recipients(), passphrase_recipient(PASSPHRASE)] {
            new.put_keys(&reader, &recipients);
        }
        let stored = age_file::encrypt(root_key.to_text().as_bytes(), &recipients()).unwrap();
        new.put(&Name::Keys(ObjectHash::of(&stored)), FanOut::FLAT, &stored);
        new.put_record(1, &[Role::Write, Role::ForgetOwn, Role::Maintain]);
        new.put(&Name::Card, FanOut::FLAT, &card);
        new
    }

    fn put(&self, name: &Name, fan_out: FanOut, bytes: &[u8]) {
        let path = self.folder.join(name.key(fan_out));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn put_keys(&self, keys: &ReaderKeys, recipients: &Recipients) {
        let stored = age_file::encrypt(keys.to_text().as_bytes(), recipients).unwrap();
        self.put(&Name::Keys(ObjectHash::of(&stored)), FanOut::FLAT, &stored);
    }

    fn put_record(&self, seq: u32, roles: &[Role]) {
        let signer = Signer {
            public_key: self.host.signing.public().clone(),
            name: "laptop".into(),
            roles: roles.to_vec(),
        };
        let record = Record {
            fardel: 1,
            repository: self.id,
            seq,
            created: CREATED.into(),
            signers: vec![signer],
            removed_signers: vec![],
            retired_keys: vec![],
        };
        let bytes = record.to_bytes();
        let name = Numbered { seq, hash: ObjectHash::of(&bytes) };
        let signature = signers::sign(&bytes, &self.id, &name, &self.root).unwrap();
        self.put(&Name::Signers(name), FanOut::FLAT, &bytes);
        self.put(&Name::SignersSig(name), FanOut::FLAT, signature.as_bytes());
    }

    pub fn write_keys(&self, folder: &Path) -> KeyFiles {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let write_only = HostKey { identities: vec![], ..self.host.clone() };
        KeyFiles {
            host: write("host.key", &self.host.to_text()),
            recovery: write("recovery.txt", &format!("# keep this safe\n{}\n", self.recovery)),
            passphrase: write("passphrase", &format!("{PASSPHRASE}\n")),
            write_only: write("write-only.key", &write_only.to_text()),
            stranger: write("stranger.txt", &age_file::generate_identity().0),
            wrong_passphrase: write("wrong", "wrong horse\n"),
        }
    }

    /// Saves the sources as the snapshot of this number.
    pub fn save(&self, sources: &[&Path], seq: u32) -> SnapshotId {
        self.save_signed(sources, seq, &self.host.signing)
    }

    /// The same, sealed by somebody who is in no record of signers.
    pub fn save_as_stranger(&self, sources: &[&Path], seq: u32) -> SnapshotId {
        self.save_signed(sources, seq, &SigningKey::generate().unwrap())
    }

    fn save_signed(&self, sources: &[&Path], seq: u32, key: &SigningKey) -> SnapshotId {
        // A pack of data for each source, so that damage to one leaves the other.
        let mut meta = Packer::new(self, PackKind::Meta);
        let mut packs = Vec::new();
        let mut found = Vec::new();
        for source in sources {
            let mut data = Packer::new(self, PackKind::Data);
            let node = Saver { repo: self, data: &mut data, meta: &mut meta }.node(source, b"", true);
            packs.push(data.finish(self, None));
            found.push(Source::new(source.as_os_str().as_bytes(), node));
        }
        packs.push(meta.finish(self, Some(Generation([1, 2, 3, 4]))));

        let wanted = packs.clone();
        packs.push(PackEntry { hash: ObjectHash([7; 32]), size: 1 << 20 });
        let list = pack_list::to_bytes(&mut packs).unwrap();
        let mut bitmap = Bitmap::none(packs.len());
        packs.iter().enumerate().filter(|(_, pack)| wanted.contains(pack)).for_each(|(i, _)| bitmap.set(i));
        let hash = ObjectHash::of(&list);
        self.put(&Name::List(hash), fan_out(), &list);
        let list =
            ListRef { hash, size: list.len() as u64, count: packs.len() as u64, packs: bitmap.to_text() };

        let plain = self.root_of(found).to_bytes();
        let stored = zjson::seal(&plain, &Recipients::x25519(&self.host.epoch).unwrap()).unwrap();
        let root = RootRef { hash: ObjectHash::of(&stored), size: stored.len() as u64 };
        self.put(&Name::Root(root.hash), fan_out(), &stored);

        let manifest = Manifest {
            fardel: 1,
            repository: self.id,
            writer: key.public().clone(),
            seq,
            created: format!("2026-11-23T14:00:{seq:02}Z"),
            previous: None,
            heads: Default::default(),
            snapshot: Root::id(&plain),
            root,
            lists: vec![list],
            supersedes: None,
            origin: None,
            despite: Vec::new(),
        };
        let bytes = manifest.to_bytes();
        let name = Numbered { seq, hash: ObjectHash::of(&bytes) };
        let seal = manifest::seal(&bytes, &self.id, &name, key).unwrap();
        self.put(&Name::Manifest(key.public().writer(), name), fan_out(), &bytes);
        self.put(&Name::Seal(key.public().writer(), name), fan_out(), seal.as_bytes());
        manifest.snapshot
    }

    fn root_of(&self, sources: Vec<Source>) -> Root {
        Root {
            fardel: 1,
            repository: self.id,
            salt: Nonce::random(),
            run: Nonce::random(),
            partial: false,
            time: "2026-11-23T14:00:00.000000001Z".into(),
            host: "laptop".into(),
            user: None,
            tags: vec![],
            parent: None,
            sources,
            totals: Totals::default(),
            unreadable: 0,
            program: "a test".into(),
        }
    }

    fn put_tomb(&self, takes: Takes, seq: u32) {
        let writer = self.host.signing.public().clone();
        let tomb = Tomb {
            fardel: 1,
            repository: self.id,
            writer: writer.clone(),
            seq,
            created: CREATED.into(),
            takes,
        };
        let bytes = tomb.to_bytes();
        let name = Numbered { seq, hash: ObjectHash::of(&bytes) };
        let signature = tomb::sign(&bytes, &self.id, &name, &self.host.signing).unwrap();
        self.put(&Name::Tomb(writer.writer(), name), FanOut::FLAT, &bytes);
        self.put(&Name::TombSig(writer.writer(), name), FanOut::FLAT, signature.as_bytes());
    }

    pub fn forget(&self, snapshot: SnapshotId, seq: u32) {
        self.put_tomb(Takes::Forget { snapshots: vec![snapshot], everywhere: true }, seq);
    }

    /// Forgets it as a tomb would that was merged with others.
    pub fn forget_merged(&self, snapshot: SnapshotId, seq: u32) {
        let merged = MergedForget {
            writer: self.host.signing.public().writer(),
            seq: 1,
            tomb: ObjectHash([3; 32]),
            created: CREATED.into(),
            snapshots: vec![snapshot],
        };
        self.put_tomb(Takes::MergedForgets { everywhere: true, forgets: vec![merged] }, seq);
    }

    /// Revokes the manifest with the largest number.
    pub fn revoke_last(&self, seq: u32) {
        let names = self.objects().into_iter().filter_map(|path| {
            let name = Name::parse(path.strip_prefix(&self.folder).unwrap().to_str().unwrap())?;
            if let Name::Manifest(_, numbered) = name { Some(numbered) } else { None }
        });
        let last = names.max().unwrap();
        self.put_tomb(Takes::Revoke { names: vec![last.hash.to_string()] }, seq);
    }

    /// What copiers leave, and objects under names that are not theirs.
    pub fn leave_strangers(&self) {
        for object in self.objects() {
            let file = object.file_name().unwrap().to_str().unwrap();
            let beside = |name: String| fs::write(object.with_file_name(name), b"not whole").unwrap();
            beside(format!(".syncthing.{file}.tmp"));
            beside(format!("{file}.part"));
            beside(file.replacen('.', ".sync-conflict-20261123-120000-ABCDEFG.", 1));
            beside(file.to_uppercase());
        }
        fs::write(self.folder.join("desktop.ini"), b"").unwrap();
        fs::create_dir(self.folder.join(".stfolder")).unwrap();
    }

    /// Anybody who knows the recovery recipient can write such a file: it names other keys for this repository.
    pub fn plant_key_file(&self) {
        let (identity, _) = age_file::generate_identity();
        let keys =
            ReaderKeys { repository: self.id, identities: vec![identity], chunk_keys: ChunkKeys::generate() };
        let recipient = age_file::recipient_of(&self.recovery).unwrap();
        self.put_keys(&keys, &Recipients::x25519(&recipient).unwrap());
    }

    /// Every file of the repository, the card apart.
    pub fn objects(&self) -> Vec<PathBuf> {
        let (mut found, mut folders) = (Vec::new(), vec![self.folder.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() { folders.push(entry) } else { found.push(entry) }
            }
        }
        found.retain(|path| path.file_name().unwrap() != CARD);
        found.sort();
        found
    }
}

/// Fills one pack.
struct Packer {
    writer: PackWriter<Vec<u8>>,
    compressor: Compressor,
    plain: Plain,
    known: std::collections::HashSet<ChunkId>,
}

impl Packer {
    fn new(repo: &SmallRepository, kind: PackKind) -> Self {
        let writer =
            PackWriter::create(Vec::new(), kind, &Recipients::x25519(&repo.host.epoch).unwrap()).unwrap();
        Self {
            writer,
            compressor: Compressor::new(3).unwrap(),
            plain: Plain::new(),
            known: Default::default(),
        }
    }

    fn chunk(&mut self, repo: &SmallRepository, bytes: &[u8]) -> ChunkId {
        let id = repo.host.chunk_keys.chunk.id(bytes);
        if self.known.insert(id) {
            if self.plain.is_full_for(bytes.len()) {
                self.flush();
            }
            self.plain.push(id, bytes).unwrap();
        }
        id
    }

    fn flush(&mut self) {
        if !self.plain.is_empty() {
            self.writer.add(self.plain.compress(&mut self.compressor).unwrap()).unwrap();
            self.plain.clear();
        }
    }

    fn finish(mut self, repo: &SmallRepository, generation: Option<Generation>) -> PackEntry {
        self.flush();
        let finished = self.writer.finish().unwrap();
        repo.put(&Name::Pack(finished.hash, generation), fan_out(), &finished.out);
        PackEntry { hash: finished.hash, size: finished.size }
    }
}

/// Saves one source.
struct Saver<'a> {
    repo: &'a SmallRepository,
    data: &'a mut Packer,
    meta: &'a mut Packer,
}

impl Saver<'_> {
    fn node(&mut self, path: &Path, name: &[u8], is_source: bool) -> Node {
        let meta = fs::symlink_metadata(path).unwrap();
        let kind = match meta.file_type() {
            kind if kind.is_dir() => NodeKind::Dir,
            kind if kind.is_symlink() => NodeKind::Symlink,
            kind if kind.is_fifo() => NodeKind::Fifo,
            _ if is_source => NodeKind::Volume,
            _ => NodeKind::File,
        };
        let mut node = Node::new(name, kind);
        node.mode = meta.mode() & 0o7777;
        (node.uid, node.gid) = (meta.uid(), meta.gid());
        node.mtime = Moment { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 };
        (node.inode, node.dev, node.links) = (meta.ino(), meta.dev(), meta.nlink());
        match kind {
            NodeKind::Dir => node.entries = Some(self.folder(path)),
            NodeKind::Symlink => node.set_target(fs::read_link(path).unwrap().as_os_str().as_bytes()),
            NodeKind::File => (node.size, node.content) = (meta.len(), Some(self.file(path))),
            NodeKind::Volume => (node.size, node.content) = (meta.len(), Some(self.volume(path))),
            _ => {}
        }
        node
    }

    fn rope(&mut self, layout: Layout, lines: Vec<(Option<ChunkId>, u64)>) -> Rope {
        let mut rope = RopeBuilder::new(layout);
        let mut store = |leaf: &[u8]| Ok::<_, std::convert::Infallible>(self.meta.chunk(self.repo, leaf));
        for (chunk, bytes) in lines {
            let Ok(()) = rope.push(chunk, bytes, &mut store);
        }
        let Ok(rope) = rope.finish(&mut store);
        rope
    }

    fn folder(&mut self, path: &Path) -> Rope {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        let splitter = LeafSplitter::new(&self.repo.host.chunk_keys.chunker);
        let (mut leaves, mut leaf) = (Vec::new(), Vec::new());
        for (i, name) in names.iter().enumerate() {
            leaf.extend(self.node(&path.join(name), name.as_bytes(), false).to_line());
            if splitter.ends_after(name.as_bytes(), leaf.len()) || i + 1 == names.len() {
                leaves.push((Some(self.meta.chunk(self.repo, &std::mem::take(&mut leaf))), 0));
            }
        }
        self.rope(Layout::Listing, leaves)
    }

    /// Long runs of zeros are holes: enough for a test.
    fn file(&mut self, path: &Path) -> Rope {
        let bytes = fs::read(path).unwrap();
        let limits = Limits { min: 16 << 10, avg: 64 << 10, max: 256 << 10 };
        let chunker = Chunker::new(&self.repo.host.chunk_keys.chunker, limits).unwrap();
        let (mut lines, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let zeros = bytes[at..].iter().take_while(|&&b| b == 0).count();
            if zeros >= 64 << 10 {
                lines.push((None, zeros as u64));
                at += zeros;
            } else {
                let len = chunker.cut(&bytes[at..]);
                lines.push((Some(self.data.chunk(self.repo, &bytes[at..at + len])), len as u64));
                at += len;
            }
        }
        self.rope(Layout::Variable, lines)
    }

    fn volume(&mut self, path: &Path) -> Rope {
        let bytes = fs::read(path).unwrap();
        let lines = bytes.chunks(CHUNK_SIZE as usize).map(|chunk| {
            let id = chunk.iter().any(|&b| b != 0).then(|| self.data.chunk(self.repo, chunk));
            (id, chunk.len() as u64)
        });
        let lines = lines.collect();
        self.rope(Layout::Fixed { chunk_size: CHUNK_SIZE }, lines)
    }
}
