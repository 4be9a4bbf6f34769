//! A plain function for each decoder of the format, for fuzzers and for the corpus that CI replays.
//!
//! Each takes any bytes. It panics when an invariant breaks: what was read is written as it was read, or as something that
//! reads the same; nothing points outside what it points into; and no decoder panics, whatever it is given.

use std::ops::Range;
use std::sync::LazyLock;

use fardel_format::ack::Ack;
use fardel_format::age_file::{self, Header, Identities, Payload, Recipients};
use fardel_format::card::Card;
use fardel_format::frame::{self, Decompressor};
use fardel_format::ids::{RepositoryId, SnapshotId};
use fardel_format::keys::KeyText;
use fardel_format::manifest::{self, Manifest};
use fardel_format::names::{FanOut, Name, Numbered, is_replica_name};
use fardel_format::pack::{TRAILER_LEN, Toc, Trailer};
use fardel_format::pack_list::{self, Bitmap};
use fardel_format::root::Root;
use fardel_format::segment::{self, View};
use fardel_format::sign::SigningKey;
use fardel_format::signers::{self, Record};
use fardel_format::tomb::{self, Tomb};
use fardel_format::tree::{self, Node};
use fardel_format::{ChunkId, ObjectHash, rope, zjson};

/// The repository that every sample belongs to.
pub const REPOSITORY: RepositoryId = RepositoryId([0x5a; 32]);
/// The number that every numbered sample has.
pub const SEQ: u32 = 7;
/// The message that the samples of `seal` sign.
pub const SEALED: &[u8] = b"{\"fardel\": 1}\n";
/// The identity that opens encrypted samples; it was made for these tests and opens nothing else.
pub const IDENTITY: &str = "AGE-SECRET-KEY-1JF4E5Q9TT69L0P5MWKF6ZGJE9DXMKF4DVS7C376DXPLY5D47M48SWP00CK";
/// The key that signs signed samples; it was made for these tests and signs nothing else.
pub const SIGNING_KEY: &str = "RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA1Kq16knHu6qz13vx4ByaSIahIQgs/zK9mQA2BNFkaCwN1kzG6pSbxeOm2TH8Lo2dEkaQ4mcxJfkS2yw5V9DryHM9Jg8zoyEDdxW7AUviNq9a6SKo/jxrV7zCTVLWzCyCfq6+vgoVDdA=";

static IDENTITIES: LazyLock<Identities> = LazyLock::new(|| {
    let mut identities = Identities::new();
    identities.push_x25519(IDENTITY).expect("it is one");
    identities
});
static RECIPIENT: LazyLock<String> = LazyLock::new(|| age_file::recipient_of(IDENTITY).expect("it is one"));
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_text(SIGNING_KEY).expect("it is one"));

/// A decoder and its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every decoder.
pub const TARGETS: &[Target] = &[
    ("ack", ack),
    ("age", age),
    ("bitmap", bitmap),
    ("card", card),
    ("frame", frame),
    ("key_text", key_text),
    ("manifest", manifest),
    ("names", names),
    ("pack_list", pack_list),
    ("root", root),
    ("rope_leaf", rope_leaf),
    ("seal", seal),
    ("segment", segment),
    ("signed_segment", signed_segment),
    ("signers_record", signers_record),
    ("tomb", tomb),
    ("trailer_toc", trailer_toc),
    ("tree_leaf", tree_leaf),
    ("zjson", zjson),
];

/// Whom encrypted samples are for.
#[must_use]
pub fn recipients() -> Recipients {
    Recipients::x25519(&RECIPIENT).expect("it is one")
}

/// Who signs signed samples.
#[must_use]
pub fn signing_key() -> &'static SigningKey {
    &KEY
}

/// The name under which these bytes would be stored.
#[must_use]
pub fn numbered(data: &[u8]) -> Numbered {
    Numbered { seq: SEQ, hash: ObjectHash::of(data) }
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// An acknowledgement: as it comes, and signed when its first line is one.
pub fn ack(data: &[u8]) {
    let read = |bytes: &[u8], replica: &str| Ack::from_bytes(bytes, &REPOSITORY, replica, &numbered(bytes));
    if let Ok(ack) = read(data, "nas-2") {
        assert_eq!((ack.fardel, ack.repository, &*ack.replica, ack.seq), (1, REPOSITORY, "nas-2", SEQ));
    }
    let said = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(ack) = serde_json::from_slice::<Ack>(said) else { return };
    // A replica of any name at all may be asked for; a comment holds no line's end.
    let Ok(bytes) = ack.to_bytes(&KEY) else { return };
    let fits = ack.fardel == 1
        && ack.repository == REPOSITORY
        && ack.seq == SEQ
        && ack.writer == *KEY.public()
        && is_replica_name(&ack.replica);
    assert_eq!(read(&bytes, &ack.replica).ok().as_ref(), Some(&ack).filter(|_| fits));
}

/// An age file: header, key and payload by ranges, beside the whole file as the `age` crate decrypts it.
pub fn age(data: &[u8]) {
    let whole = age_file::decrypt("a file", data, &IDENTITIES, 1 << 24);
    let Ok(Some(header)) = Header::parse(data) else { return };
    let Ok(payload) = header.open(&IDENTITIES, data.len() as u64) else { return };
    let len = payload.plain_len();
    assert!(len < data.len() as u64);
    if len == 0 {
        return;
    }
    let ranged = read(&payload, data, 0..len);
    match (whole, ranged) {
        (Ok(whole), Ok(ranged)) => assert_eq!(whole, ranged),
        (Err(_), Err(_)) => {}
        (whole, ranged) => panic!("age: {:?}, ranged: {:?}", whole.map(|b| b.len()), ranged.map(|b| b.len())),
    }
    let _ = read(&payload, data, len - 1..len);
    assert!(payload.stored_range(&(len..len + 1)).is_err());
}

fn read(payload: &Payload, stored: &[u8], range: Range<u64>) -> fardel_format::Result<Vec<u8>> {
    let at = payload.stored_range(&range)?;
    let plain = payload.decrypt(&range, &stored[at.start as usize..at.end as usize])?;
    assert_eq!(plain.len() as u64, range.end - range.start);
    Ok(plain)
}

/// A bitmap: the first byte is the number of lines, the rest the text.
pub fn bitmap(data: &[u8]) {
    let Some((&len, rest)) = data.split_first() else { return };
    let Some(text) = text(rest) else { return };
    if let Ok(bitmap) = Bitmap::from_text(text, len.into()) {
        assert_eq!(bitmap.to_text(), text);
        assert!((usize::from(len)..300).all(|i| !bitmap.get(i)));
    }
}

/// A card.
pub fn card(data: &[u8]) {
    if let Ok(card) = Card::from_bytes(data) {
        assert_eq!(Card::from_bytes(&card.to_bytes()), Ok(card));
    }
}

/// A frame: four bytes of the length that a table says it has, then the frame.
pub fn frame(data: &[u8]) {
    let Some((len, stored)) = data.split_first_chunk::<4>() else { return };
    let (len, mut plain) = (u32::from_le_bytes(*len), Vec::new());
    let mut decompressor = Decompressor::new().expect("there is memory");
    if decompressor.frame(stored, len, &mut plain).is_ok() {
        assert_eq!(plain.len(), len as usize);
        assert!(plain.len() <= frame::MAX_PLAIN);
        let member = frame::Member { id: ChunkId([0; 32]), offset: 512, len };
        assert!(frame::chunk(&plain, &member).is_err());
        assert!(frame::check_members(&plain, &[member]).is_err());
    }
    assert!(plain.capacity() <= 2 * frame::MAX_PLAIN);
}

/// The text of a key file.
pub fn key_text(data: &[u8]) {
    let Some(Ok(parsed)) = text(data).map(KeyText::parse) else { return };
    let to_text = |parsed: &KeyText| match parsed {
        KeyText::Reader(keys) => keys.to_text(),
        KeyText::Root(key) => key.to_text(),
        KeyText::Host(key) => key.to_text(),
    };
    let first = to_text(&parsed);
    let again = KeyText::parse(&first).unwrap_or_else(|e| panic!("what was written cannot be read: {e}"));
    assert_eq!(to_text(&again), first);
}

/// A manifest, under the name that fits it.
pub fn manifest(data: &[u8]) {
    let read = |data: &[u8]| Manifest::from_bytes(data, &REPOSITORY, &KEY.public().writer(), &numbered(data));
    if let Ok(manifest) = read(data) {
        let bytes = manifest.to_bytes();
        assert_eq!(read(&bytes), Ok(manifest));
        let other =
            Manifest::from_bytes(&bytes, &RepositoryId([0; 32]), &KEY.public().writer(), &numbered(&bytes));
        assert!(other.is_err());
    }
}

/// The name of an object.
pub fn names(data: &[u8]) {
    let Some(key) = text(data) else { return };
    let Some(name) = Name::parse(key) else { return };
    assert!(
        key.len() < 128 && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'.' | b'/' | b'-'))
    );
    let depths = [FanOut::FLAT, FanOut::for_count(5_000), FanOut::for_count(5_000_000)];
    assert!(depths.iter().all(|depth| Name::parse(&name.key(*depth)) == Some(name.clone())));
    let fanned = depths.iter().any(|depth| name.key(*depth) == key);
    // The files of `keys/` and `signers/` are few: they are written flat, and found where another program puts them.
    assert!(fanned || matches!(name, Name::Keys(_) | Name::Signers(_) | Name::SignersSig(_)));
}

/// A list of packs.
pub fn pack_list(data: &[u8]) {
    if let Ok(mut packs) = pack_list::from_bytes(data) {
        assert_eq!(pack_list::to_bytes(&mut packs).as_deref(), Ok(data));
    }
}

/// A plain root.
pub fn root(data: &[u8]) {
    if let Ok(root) = Root::from_bytes(data) {
        for source in &root.sources {
            let _ = source.path_bytes();
            look_at(&source.node);
        }
        assert_eq!(Root::from_bytes(&root.to_bytes()), Ok(root));
        assert_ne!(Root::id(data), SnapshotId([0; 32]));
    }
}

/// A leaf of a rope.
pub fn rope_leaf(data: &[u8]) {
    let Ok(lines) = rope::parse_leaf(data) else { return };
    let lines: Vec<_> = lines.collect();
    assert!(lines.len() <= rope::MAX_LEAF);
    if let Ok(lines) = lines.into_iter().collect::<Result<Vec<_>, _>>() {
        let again: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(again.as_bytes(), data);
    }
}

/// A seal over [`SEALED`].
pub fn seal(data: &[u8]) {
    let Some(seal) = text(data) else { return };
    let name = numbered(SEALED);
    if manifest::check_seal(SEALED, &REPOSITORY, &name, KEY.public(), seal).is_ok() {
        assert_eq!(seal.lines().count(), 4);
        let comment = manifest::seal_comment(&REPOSITORY, &KEY.public().writer(), &name);
        assert!(seal.contains(&format!("\ntrusted comment: {comment}\n")));
        assert!(manifest::check_seal(b"other", &REPOSITORY, &name, KEY.public(), seal).is_err());
    }
}

/// An index segment.
pub fn segment(data: &[u8]) {
    let Ok(view) = View::new(data) else { return };
    let counts = view.counts();
    assert_eq!(counts.total_len(), data.len() as u64);
    for i in 0..counts.packs.min(64) {
        let pack = view.pack(i).expect("the table has it");
        let row = &view.pack_table()[i as usize * segment::PACK_ENTRY..][..40];
        assert_eq!(&segment::pack_entry(&pack)[..40], row);
    }
    for i in 0..counts.frames.min(64) {
        if let Ok((_, span)) = view.frame(i) {
            assert!(span.range().end > span.range().start && span.plain as usize <= frame::MAX_PLAIN);
        }
    }
    for i in 0..counts.records.min(64) {
        let record = view.record(i).expect("the table has it");
        for location in view.locate(&record.id).flatten().take(8) {
            assert!(u64::from(location.offset) + u64::from(location.len) <= u64::from(location.frame.plain));
        }
    }
    assert!(
        view.pack(counts.packs).is_err()
            && view.frame(counts.frames).is_err()
            && view.record(counts.records).is_err()
    );
    for id in [ChunkId([0; 32]), ChunkId([0xff; 32]), ChunkId(*blake3::hash(data).as_bytes())] {
        assert!(view.find(&id).is_none_or(|i| view.record(i).is_ok_and(|record| record.id == id)));
    }
}

/// An index segment with its writer's signature before it.
pub fn signed_segment(data: &[u8]) {
    if let Ok((writer, found)) = segment::open_signed(data, &REPOSITORY) {
        assert!(data.ends_with(found));
        assert!(data.starts_with(writer.as_str().as_bytes()));
        segment(found);
    }
}

/// A record of signers: unsigned, and signed when it is one.
pub fn signers_record(data: &[u8]) {
    let name = numbered(data);
    let read = |signature: &str| Record::from_bytes(data, signature, &REPOSITORY, &name, KEY.public());
    assert!(read("").is_err());
    // A signature costs more than all the rest: only for what could be read at all.
    let Ok(record) = serde_json::from_slice::<Record>(data) else { return };
    let signature = signers::sign(data, &REPOSITORY, &name, &KEY).expect("it can be signed");
    let fits = record.fardel == 1 && record.repository == REPOSITORY && record.seq == SEQ;
    assert_eq!(read(&signature).ok().as_ref(), Some(&record).filter(|_| fits));
    assert_eq!(serde_json::from_slice::<Record>(&record.to_bytes()).ok(), Some(record.clone()));
    let registry = signers::Registry::from_records(vec![(name, record)]);
    assert_eq!(registry.next_seq(), SEQ + 1);
}

/// A tomb: unsigned, and signed when it is one.
pub fn tomb(data: &[u8]) {
    let name = numbered(data);
    let read = |signature: &str| Tomb::from_bytes(data, signature, &REPOSITORY, &name, KEY.public());
    assert!(read("").is_err());
    let Ok(tomb) = serde_json::from_slice::<Tomb>(data) else { return };
    let signature = tomb::sign(data, &REPOSITORY, &name, &KEY).expect("it can be signed");
    let fits =
        tomb.fardel == 1 && tomb.repository == REPOSITORY && tomb.seq == SEQ && tomb.writer == *KEY.public();
    assert_eq!(read(&signature).ok().as_ref(), Some(&tomb).filter(|_| fits));
    assert_eq!(serde_json::from_slice::<Tomb>(&tomb.to_bytes()).ok(), Some(tomb));
}

/// The end of a plain pack: the table, and the trailer behind it. The table is read with and without its hash.
pub fn trailer_toc(data: &[u8]) {
    let tail = data.len().saturating_sub(TRAILER_LEN as usize);
    if let Ok(trailer) = Trailer::parse(&data[tail..], data.len() as u64) {
        let table = &data[trailer.toc.start as usize..trailer.toc.end as usize];
        let opened = trailer.open(table);
        assert!(opened.is_err() || opened == Toc::from_bytes(table));
    }
    for table in [data, &data[..tail]] {
        let Ok(toc) = Toc::from_bytes(table) else { continue };
        assert_eq!(toc.to_bytes(), table);
        let mut end = 0;
        for (span, members) in &toc.frames {
            assert!(span.range().start >= end);
            end = span.range().end;
            assert!(members.iter().all(|m| u64::from(m.offset) + u64::from(m.len) <= u64::from(span.plain)));
        }
    }
}

/// A leaf of a folder: lines of JSON.
pub fn tree_leaf(data: &[u8]) {
    let Ok(lines) = tree::leaf_lines(data) else { return };
    for line in lines {
        let Ok(node) = Node::from_line(line) else { continue };
        look_at(&node);
        assert_eq!(Node::from_line(&node.to_line()), Ok(node));
    }
}

fn look_at(node: &Node) {
    if let Ok(name) = node.name_bytes() {
        assert!(
            !name.is_empty()
                && !name.contains(&b'/')
                && !name.contains(&0)
                && *name != *b".."
                && *name != *b"."
        );
        assert_eq!(Node::new(&name, node.kind).name_bytes(), Ok(name));
    }
    assert!(
        node.target_bytes().is_ok_and(|target| !target.is_empty() && !target.contains(&0))
            || node.target_bytes().is_err()
    );
    assert!(node.mode <= 0o7777);
    for rope in node.content.iter().chain(&node.entries) {
        if let Ok(lines) = rope.parse_lines() {
            assert_eq!(lines.iter().map(ToString::to_string).collect::<Vec<_>>(), rope.lines);
            assert!(rope.chunk_size.is_none_or(|size| size > 0));
        }
    }
}

/// A compressed and encrypted document; and one that the fuzzer compressed, which anybody can encrypt.
pub fn zjson(data: &[u8]) {
    let opened = zjson::open(data, &IDENTITIES);
    if let Ok(plain) = &opened {
        assert!(plain.len() <= zjson::MAX_PLAIN);
    }
    // Encrypting costs more than all the rest: only for what begins as zstd does.
    if opened.is_err() && data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let stored = age_file::encrypt(data, &recipients()).expect("it can be encrypted");
        if let Ok(plain) = zjson::open(&stored, &IDENTITIES) {
            let again =
                zjson::seal(&plain, &recipients()).and_then(|stored| zjson::open(&stored, &IDENTITIES));
            assert_eq!(again, Ok(plain));
        }
    }
}
