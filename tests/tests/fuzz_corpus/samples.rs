//! Makes the samples in `fuzz-corpus/`: valid ones, one cut short, one with a flipped bit, and what once went wrong.

use std::collections::BTreeMap;

use fardel_format::ack::Ack;
use fardel_format::age_file::{self, Recipients};
use fardel_format::card::Card;
use fardel_format::frame::{Compressor, Plain};
use fardel_format::ids::{Generation, Nonce};
use fardel_format::keys::{ChunkKeys, HostKey, ReaderKeys, RootKey};
use fardel_format::lines::Moment;
use fardel_format::manifest::{self, ListRef, Manifest, Origin, RootRef};
use fardel_format::names::{FanOut, Name, PackName};
use fardel_format::pack::{Finished, PackKind, PackWriter, Toc};
use fardel_format::pack_list::{self, Bitmap, PackEntry};
use fardel_format::root::{Root, Source, Totals};
use fardel_format::rope::{Layout, Rope, RopeBuilder};
use fardel_format::signers::{Record, Removed, Role, Signer};
use fardel_format::tomb::{MergedForget, Takes, Tomb};
use fardel_format::tree::{Node, NodeKind, Xattr};
use fardel_format::{ChunkId, ObjectHash, SnapshotId, WriterId, segment, zjson};
use fardel_tests::fuzz::{IDENTITY, REPOSITORY, SEALED, SEQ, numbered, recipients, signing_key};

const CREATED: &str = "2026-11-23T14:00:00Z";

/// Samples of one decoder: names and bytes.
type Samples = Vec<(&'static str, Vec<u8>)>;

/// Every sample: its decoder, its name, its bytes.
pub fn all() -> Vec<(&'static str, String, Vec<u8>)> {
    let groups: [(&'static str, Samples); 19] = [
        ("ack", acks()),
        ("age", ages()),
        ("bitmap", bitmaps()),
        ("card", cards()),
        ("frame", frames()),
        ("key_text", key_texts()),
        ("manifest", manifests()),
        ("names", names()),
        ("pack_list", pack_lists()),
        ("root", roots()),
        ("rope_leaf", rope_leaves()),
        ("seal", seals()),
        ("segment", segments()),
        ("signed_segment", signed_segments()),
        ("signers_record", records()),
        ("tomb", tombs()),
        ("trailer_toc", tables()),
        ("tree_leaf", tree_leaves()),
        ("zjson", documents()),
    ];
    let mut out = Vec::new();
    for (target, samples) in groups {
        let first = samples[0].1.clone();
        let mut flipped = first.clone();
        flipped[first.len() / 2] ^= 0x10;
        out.push((target, "short".to_owned(), first[..first.len() * 2 / 3].to_vec()));
        out.push((target, "flipped".to_owned(), flipped));
        out.extend(samples.into_iter().map(|(name, bytes)| (target, name.to_owned(), bytes)));
    }
    out
}

fn bytes(seed: &str, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut out);
    out
}

fn id(n: u64) -> ChunkId {
    ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn hash(n: u64) -> ObjectHash {
    ObjectHash(id(n).0)
}

fn ages() -> Samples {
    let mut two = Recipients::x25519(&age_file::generate_identity().1).unwrap();
    two.push_x25519(&age_file::recipient_of(IDENTITY).unwrap()).unwrap();
    let one_segment = age_file::encrypt(&bytes("age", 300), &recipients()).unwrap();
    let crlf = String::from_utf8_lossy(&one_segment[..100]).replace('\n', "\r\n").into_bytes();
    vec![
        ("one-segment", one_segment),
        ("empty", age_file::encrypt(b"", &recipients()).unwrap()),
        ("two-recipients", age_file::encrypt(b"x", &two).unwrap()),
        ("two-segments", age_file::encrypt(&bytes("age", 65_537), &recipients()).unwrap()),
        ("crlf", crlf),
    ]
}

fn bitmaps() -> Samples {
    let with_len = |len: u8, text: &str| [&[len][..], text.as_bytes()].concat();
    vec![
        ("all-of-20", with_len(20, &Bitmap::all(20).to_text())),
        ("none-of-8", with_len(8, &Bitmap::none(8).to_text())),
        ("none-of-none", with_len(0, "")),
        ("beyond-the-end", with_len(9, "/wM=")),
    ]
}

fn cards() -> Samples {
    let card = Card::new(signing_key().public().clone());
    let small = Card { volume_chunk_size: 16 << 10, ..card.clone() };
    vec![
        ("usual", card.to_bytes()),
        ("small-chunks", small.to_bytes()),
        ("newer", b"{\"fardel\": 2}".to_vec()),
    ]
}

fn plain_frame(chunks: &[usize]) -> Plain {
    let mut plain = Plain::new();
    for (n, len) in chunks.iter().enumerate() {
        plain.push(id(n as u64), &bytes("frame", *len)).unwrap();
    }
    plain
}

fn frames() -> Samples {
    let with_len = |len: u32, stored: &[u8]| [&len.to_le_bytes()[..], stored].concat();
    let frame = plain_frame(&[10, 700, 0]).compress(&mut Compressor::new(3).unwrap()).unwrap();
    let zeros = zstd::bulk::compress(&vec![0; 4096], 3).unwrap();
    let bomb = zstd::bulk::compress(&vec![0; (8 << 20) + 1], 19).unwrap();
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x80, 0xa8, 5, 0, 0, 0, 41, 0, 0][..], b"hello"].concat();
    vec![
        ("members", with_len(frame.plain_len, &frame.bytes)),
        ("zeros", with_len(4096, &zeros)),
        ("bomb", with_len((8 << 20) + 1, &bomb)),
        ("giant-window", with_len(5, &window)),
        ("two-frames", with_len(8192, &[&zeros[..], &zeros].concat())),
        ("skippable", with_len(0, b"\x50\x2a\x4d\x18\x04\0\0\0abcd")),
    ]
}

fn chunk_keys() -> ChunkKeys {
    ChunkKeys::generate()
}

fn key_texts() -> Samples {
    let (identity, recipient) = age_file::generate_identity();
    let reader =
        ReaderKeys { repository: REPOSITORY, identities: vec![identity.clone()], chunk_keys: chunk_keys() };
    let root = RootKey { repository: REPOSITORY, key: signing_key().clone() };
    let host = HostKey {
        repository: REPOSITORY,
        root: signing_key().public().clone(),
        signing: signing_key().clone(),
        epoch: recipient,
        chunk_keys: chunk_keys(),
        own: age_file::generate_identity().0,
        identities: vec![identity],
    };
    vec![
        ("host", host.to_text().as_bytes().to_vec()),
        ("reader", reader.to_text().as_bytes().to_vec()),
        ("root", root.to_text().as_bytes().to_vec()),
        ("crlf", reader.to_text().replace('\n', "\r\n").into_bytes()),
        ("no-fields", b"# fardel keys 1\nAGE-SECRET-KEY-1\n".to_vec()),
    ]
}

fn manifests() -> Samples {
    let manifest = Manifest {
        fardel: 1,
        repository: REPOSITORY,
        writer: signing_key().public().clone(),
        seq: SEQ,
        created: CREATED.into(),
        previous: Some(hash(1)),
        heads: BTreeMap::from([(WriterId([3; 8]), numbered(b"head").to_string())]),
        snapshot: SnapshotId(id(2).0),
        root: RootRef { hash: hash(3), size: 900 },
        lists: vec![ListRef { hash: hash(4), size: 740, count: 10, packs: Bitmap::all(10).to_text() }],
        supersedes: Some(hash(5)),
        origin: Some(Origin { writer: WriterId([4; 8]), seq: 2, created: CREATED.into() }),
        despite: vec![hash(6)],
    };
    let bare = Manifest {
        previous: None,
        heads: BTreeMap::new(),
        lists: vec![],
        supersedes: None,
        origin: None,
        despite: vec![],
        ..manifest.clone()
    };
    let deep = format!("{{\"fardel\":1,\"x\":{}{}}}", "[".repeat(3_000), "]".repeat(3_000));
    vec![
        ("full", manifest.to_bytes()),
        ("bare", bare.to_bytes()),
        ("newer", b"{\"fardel\":2,\"new\":{}}".to_vec()),
        ("deep", deep.into_bytes()),
    ]
}

fn names() -> Samples {
    let (n, writer) = (numbered(b"x"), WriterId([1; 8]));
    let deep = FanOut::for_count(5_000_000);
    let mut all = vec![
        ("pack", Name::Pack(n.hash, None).key(FanOut::FLAT)),
        ("pack-again", Name::Pack(n.hash, Some(Generation([1; 4]))).key(deep)),
        ("seal", Name::Seal(writer, n).key(deep)),
        ("signers", Name::Signers(n).key(FanOut::FLAT)),
        ("tomb", Name::TombSig(writer, n).key(FanOut::FLAT)),
        ("ack", Name::Ack("nas-2".into(), n).key(FanOut::FLAT)),
        ("intent", Name::Intent(Nonce([2; 16])).key(FanOut::FLAT)),
        ("card", Name::Card.key(FanOut::FLAT)),
        ("syncthing", format!("packs/.syncthing.{}.tar.zst.age.tmp", n.hash)),
        ("conflict", format!("seals/{writer}/{n}.sync-conflict-20261123-120000-ABCDEFG.minisig")),
    ];
    all.push(("index", Name::Index(n.hash).key(deep)));
    all.into_iter().map(|(name, key)| (name, key.into_bytes())).collect()
}

fn pack_lists() -> Samples {
    let list = |n: u64| {
        pack_list::to_bytes(&mut (0..n).map(|i| PackEntry { hash: hash(i), size: i << 20 }).collect())
            .unwrap()
    };
    vec![
        ("five", list(5)),
        ("empty", list(0)),
        ("one", list(1)),
        ("crlf", String::from_utf8(list(2)).unwrap().replace('\n', "\r\n").into_bytes()),
    ]
}

fn node(name: &[u8], kind: NodeKind) -> Node {
    let mut node = Node::new(name, kind);
    node.mode = 0o755;
    node.mtime = Moment { secs: 1_700_000_000, nanos: 5 };
    node.user = Some("ann".into());
    node.xattrs = vec![Xattr { name: "user.x".into(), value: vec![0, 255] }];
    node
}

fn ropes() -> [Rope; 3] {
    [Layout::Fixed { chunk_size: 64 << 10 }, Layout::Variable, Layout::Listing].map(|layout| {
        let mut rope = RopeBuilder::new(layout);
        let mut store =
            |leaf: &[u8]| Ok::<_, std::convert::Infallible>(ChunkId(*blake3::hash(leaf).as_bytes()));
        for n in 0..if layout == Layout::Listing { 2 } else { 700 } {
            let chunk = (layout == Layout::Listing || n % 5 != 0).then(|| id(n));
            let Ok(()) = rope.push(chunk, n + 1, &mut store);
        }
        let Ok(rope) = rope.finish(&mut store);
        rope
    })
}

fn roots() -> Samples {
    let [volume, file, listing] = ropes();
    let mut dir = node(b"home", NodeKind::Dir);
    dir.entries = Some(listing);
    let mut image = node(b"disk.img", NodeKind::Volume);
    (image.size, image.content) = (700 * 65_536, Some(volume));
    let mut stream = node(b"\xff", NodeKind::File);
    (stream.size, stream.content) = (u64::MAX, Some(file));
    let root = Root {
        fardel: 1,
        repository: REPOSITORY,
        salt: Nonce([1; 16]),
        run: Nonce([2; 16]),
        partial: false,
        time: "2026-11-23T14:00:00.000000001Z".into(),
        host: "laptop".into(),
        user: Some("ann".into()),
        tags: vec!["daily".into()],
        parent: Some(SnapshotId(id(1).0)),
        sources: vec![
            Source::new(b"/home", dir),
            Source::new(b"/disk.img", image),
            Source::new(b"/\xff", stream),
        ],
        totals: Totals { files: 2, dirs: 1, others: 0, bytes: u64::MAX },
        unreadable: 1,
        program: "fardel 0.1.0".into(),
    };
    let empty =
        Root { sources: vec![], tags: vec![], parent: None, user: None, partial: true, ..root.clone() };
    vec![
        ("three-sources", root.to_bytes()),
        ("no-source", empty.to_bytes()),
        ("newer", b"{\"fardel\":2}".to_vec()),
    ]
}

fn rope_leaves() -> Samples {
    let lines =
        |text: &dyn Fn(u64) -> String, n| (0..n).map(|i| text(i) + "\n").collect::<String>().into_bytes();
    vec![
        (
            "variable",
            lines(
                &|n| if n % 3 == 0 { format!("- {}", n + 1) } else { format!("{} {}", id(n), n << 20) },
                12,
            ),
        ),
        ("fixed", lines(&|n| if n % 3 == 0 { "-".into() } else { id(n).to_string() }, 12)),
        ("too-many", lines(&|_| "-".into(), 1_025)),
        ("empty-line", b"-\n\n-\n".to_vec()),
        ("zero", b"- 0\n".to_vec()),
    ]
}

fn seals() -> Samples {
    let good = manifest::seal(SEALED, &REPOSITORY, &numbered(SEALED), signing_key()).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    // The parser of the `minisign` crate panicked on these.
    let short = |second: &str| format!("{}\n{}\n{}\n{second}\n", lines[0], lines[1], lines[2]).into_bytes();
    let elsewhere = signing_key().sign(SEALED, "fardel seal 1 elsewhere").unwrap();
    vec![
        ("good", good.clone().into_bytes()),
        ("second-empty", short("")),
        ("second-short", short(&lines[3][..44])),
        ("elsewhere", elsewhere.into_bytes()),
        ("crlf", good.replace('\n', "\r\n").into_bytes()),
    ]
}

fn pack(chunks: &[usize]) -> (Vec<u8>, Finished<()>) {
    let mut writer = PackWriter::create(Vec::new(), PackKind::Data, &recipients()).unwrap();
    for group in chunks.chunks(3) {
        writer.add(plain_frame(group).compress(&mut Compressor::new(3).unwrap()).unwrap()).unwrap();
    }
    let Finished { out, hash, size, toc } = writer.finish().unwrap();
    (out, Finished { out: (), hash, size, toc })
}

fn some_segment(chunks: &[usize]) -> Vec<u8> {
    let (_, finished) = pack(chunks);
    segment::build([(finished.hash, finished.size, &finished.toc)])
}

fn segments() -> Samples {
    let some = some_segment(&[5, 6, 7, 8, 9]);
    let frame = segment::HEAD + segment::PACK_ENTRY;
    let mut overflow = some.clone();
    overflow[frame + 4..frame + 12].fill(0xff);
    let mut counts = some.clone();
    counts[8..24].fill(0xff);
    let many: Vec<usize> = (0..200).collect();
    vec![
        ("some", some),
        ("none", segment::build(std::iter::empty::<(ObjectHash, u64, &Toc)>())),
        ("many", some_segment(&many)),
        ("offset-overflow", overflow),
        ("count-overflow", counts),
    ]
}

fn signed_segments() -> Samples {
    let sign = |segment: &[u8]| segment::sign(segment, &REPOSITORY, signing_key()).unwrap();
    let elsewhere = segment::sign(b"", &fardel_format::RepositoryId([0; 32]), signing_key()).unwrap();
    vec![
        ("some", sign(&some_segment(&[5, 6, 7]))),
        ("no-segment", sign(b"")),
        ("elsewhere", elsewhere),
        ("lines", b"\n\n\n".to_vec()),
    ]
}

fn records() -> Samples {
    let roles = vec![Role::Write, Role::ForgetOwn, Role::Maintain, Role::Acknowledge];
    let signer = Signer { public_key: signing_key().public().clone(), name: "laptop".into(), roles };
    let record = Record {
        fardel: 1,
        repository: REPOSITORY,
        seq: SEQ,
        created: CREATED.into(),
        signers: vec![signer],
        removed_signers: vec![Removed { writer: WriterId([9; 8]), last_seq: 3, last_tomb: 0 }],
        retired_keys: vec![hash(1)],
    };
    let empty = Record { signers: vec![], removed_signers: vec![], retired_keys: vec![], ..record.clone() };
    vec![("full", record.to_bytes()), ("empty", empty.to_bytes()), ("newer", b"{\"fardel\":2}".to_vec())]
}

fn tombs() -> Samples {
    let tomb = |takes| {
        let writer = signing_key().public().clone();
        Tomb { fardel: 1, repository: REPOSITORY, writer, seq: SEQ, created: CREATED.into(), takes }
            .to_bytes()
    };
    let packs = vec![
        PackName { hash: hash(1), generation: None },
        PackName { hash: hash(1), generation: Some(Generation([1; 4])) },
    ];
    let merged = MergedForget {
        writer: WriterId([9; 8]),
        seq: 1,
        tomb: hash(4),
        created: CREATED.into(),
        snapshots: vec![SnapshotId(id(1).0)],
    };
    vec![
        ("condemn", tomb(Takes::Condemn { packs, others: vec![hash(2)] })),
        ("forget", tomb(Takes::Forget { snapshots: vec![SnapshotId(id(1).0)], everywhere: true })),
        ("merged", tomb(Takes::MergedForgets { everywhere: true, forgets: vec![merged] })),
        ("pin", tomb(Takes::Pin { snapshots: vec![SnapshotId(id(1).0)] })),
        ("unpin", tomb(Takes::Unpin { pins: vec![hash(3)] })),
        ("revoke", tomb(Takes::Revoke { names: vec![hash(1).to_string()] })),
    ]
}

fn acks() -> Samples {
    let full = Ack {
        fardel: 1,
        repository: REPOSITORY,
        replica: "nas-2".into(),
        writer: signing_key().public().clone(),
        seq: SEQ,
        created: CREATED.into(),
        snapshot: SnapshotId(id(1).0),
        manifest: hash(2),
        generations: vec![PackName { hash: hash(1), generation: Some(Generation([1; 4])) }],
    };
    let plain = Ack { generations: Vec::new(), ..full.clone() };
    let elsewhere = Ack { replica: "nas-3".into(), ..full.clone() };
    let signed = |ack: &Ack| ack.to_bytes(signing_key()).unwrap();
    vec![
        ("full", signed(&full)),
        ("plain", signed(&plain)),
        ("elsewhere", signed(&elsewhere)),
        ("unsigned", serde_json::to_vec(&full).unwrap()),
    ]
}

/// The table and the trailer of a pack, as the last bytes of a plain pack that is nothing else.
fn tail(toc: &[u8]) -> Vec<u8> {
    let head =
        [&b"\x52\x2a\x4d\x18\x38\0\0\0FARDELP1"[..], &0u64.to_le_bytes(), &(toc.len() as u64).to_le_bytes()]
            .concat();
    [toc, &head, blake3::hash(toc).as_bytes()].concat()
}

fn tables() -> Samples {
    let toc = pack(&[5, 6, 7, 8, 9]).1.toc.to_bytes();
    let counts = |frames: u32, chunks: u32| {
        [&b"FTOC\x01\0\0\0"[..], &frames.to_le_bytes(), &chunks.to_le_bytes(), &[0; 20]].concat()
    };
    vec![
        ("tail", tail(&toc)),
        ("toc", toc),
        ("empty", tail(&pack(&[]).1.toc.to_bytes())),
        ("32-bit-overflow", tail(&counts(214_748_365, 0))),
        ("both-overflow", counts(u32::MAX, u32::MAX)),
    ]
}

fn tree_leaves() -> Samples {
    let [volume, file, listing] = ropes();
    let mut nodes: Vec<Node> = [NodeKind::File, NodeKind::Dir, NodeKind::Symlink, NodeKind::Volume]
        .iter()
        .map(|kind| node(b"a name", *kind))
        .collect();
    nodes[0].content = Some(file);
    nodes[1].entries = Some(listing);
    nodes[2].set_target(b"../\xff");
    nodes[3].content = Some(volume);
    let mut device = node(b"\xff\n", NodeKind::Block);
    device.device = Some((8, 1));
    let devices = vec![node(b"fifo", NodeKind::Fifo), node(b"socket", NodeKind::Socket), device];
    let leaf = |nodes: &[Node]| nodes.iter().flat_map(Node::to_line).collect();
    vec![
        ("usual", leaf(&nodes)),
        ("devices", leaf(&devices)),
        ("up", leaf(&[node(b"..", NodeKind::Dir), node(b"a/b", NodeKind::File)])),
        ("empty-object", b"{}\n".to_vec()),
    ]
}

fn documents() -> Samples {
    let bomb = zstd::bulk::compress(&vec![0; (64 << 20) + 1], 19).unwrap();
    vec![
        ("sealed", zjson::seal(b"{\"fardel\":1}\n", &recipients()).unwrap()),
        ("compressed", zstd::bulk::compress(b"{\"fardel\":1}\n", 3).unwrap()),
        ("bomb", bomb),
        ("sealed-empty", zjson::seal(b"", &recipients()).unwrap()),
    ]
}
