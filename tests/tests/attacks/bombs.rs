//! Small objects that would be huge once unpacked. They are defused in a process of their own, whose memory says something.

use std::io::Write as _;
use std::process::Command;

use fardel_engine::check::{Class, Level};
use fardel_format::age_file::{self, Recipients};
use fardel_format::frame::Frame;
use fardel_format::frame::Member;
use fardel_format::pack::{FrameSpan, PackKind, PackWriter, Toc};
use fardel_format::{ChunkId, ObjectHash};
use fardel_tests::vault::forge::{self, Snapshot};

use super::packs::file_of;
use super::{Honest, assert_forged, stranger};

/// What a bomb would unpack to, in bytes.
const HUGE: u64 = 3 << 30;
/// What the whole process may take, in KiB: what a check may hold; every bomb is larger.
const LIMIT: u64 = 256 << 10;
/// Set in the process that defuses.
const ALONE: &str = "FARDEL_TEST_ALONE";

/// Zeros, compressed as a stream; whether the frame tells its size.
fn zeros(len: u64, tells: bool, window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_contentsize(tells).unwrap();
    encoder.window_log(window_log).unwrap();
    if tells {
        encoder.set_pledged_src_size(Some(len)).unwrap();
    }
    let block = vec![0; 1 << 20];
    for _ in 0..len / (1 << 20) {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap()
}

/// A frame whose header tells less than what is in it.
fn understated(len: u64, tells: u64, window_log: u32) -> Vec<u8> {
    let mut frame = zeros(len, true, window_log);
    // Magic, descriptor, window; then the size in 4 or 8 bytes, as the descriptor's upper bits say.
    let (descriptor, single) = (frame[4], frame[4] & 0x20 != 0);
    let at = if single { 5 } else { 6 };
    match descriptor >> 6 {
        2 => frame[at..at + 4].copy_from_slice(&(tells as u32).to_le_bytes()),
        3 => frame[at..at + 8].copy_from_slice(&tells.to_le_bytes()),
        other => panic!("a size field of code {other}"),
    }
    frame
}

/// A stranger's index segment of some 100 MB: nobody needs what it says.
fn put_large_segment(honest: &Honest) {
    let member = |n: u32| {
        let id = ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes());
        Member { id, offset: 0, len: 1 }
    };
    let span = FrameSpan { offset: 0, stored: 1, plain: 1 };
    let toc = Toc { kind: PackKind::Data, frames: vec![(span, (0..2_300_000).map(member).collect())] };
    forge::put_segment(&honest.vault, &stranger(&honest.vault), &[(ObjectHash([7; 32]), 1000, &toc)]);
}

fn pack_of(honest: &Honest, frame: Vec<u8>, id: ChunkId, len: u32) -> (Vec<u8>, Toc) {
    let recipients = Recipients::x25519(&honest.vault.host.epoch).unwrap();
    let mut writer = PackWriter::create(Vec::new(), PackKind::Data, &recipients).unwrap();
    let members = vec![Member { id, offset: 512, len }];
    writer.add(Frame { bytes: frame, plain_len: 1 << 20, members }).unwrap();
    let finished = writer.finish().unwrap();
    (finished.out, finished.toc)
}

/// Making bombs takes memory too: from here on only what they do counts.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn bombs_are_told_and_not_unpacked() {
    if std::env::var_os(ALONE).is_some() {
        return defuse();
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["bombs::bombs_are_told_and_not_unpacked", "--exact", "--nocapture"])
        .env(ALONE, "yes")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

fn defuse() {
    let honest = Honest::new("bombs");
    let host = &honest.vault.host;
    let id = host.chunk_keys.chunk.id(&[0; 4096]);
    let mut twice = zeros(1 << 20, true, 20);
    twice.extend_from_slice(&zeros(HUGE, true, 20));
    let frames = [
        ("a frame that tells a huge size", zeros(HUGE, true, 20)),
        ("a frame that tells no size", zeros(HUGE, false, 20)),
        ("a frame with a huge window", zeros(HUGE, true, 30)),
        ("a frame that tells less than it holds", understated(HUGE, 1 << 20, 20)),
        ("a frame that tells what the table tells, with a huge window", understated(HUGE, 1 << 20, 30)),
        ("two frames in one", twice),
    ];
    let documents = [
        zeros(HUGE, true, 20),
        understated(HUGE, 1 << 10, 20),
        zeros(HUGE, false, 20),
        zeros(HUGE, true, 30),
    ];
    put_large_segment(&honest);
    forget_peak();
    for (bomb, frame) in frames {
        let (bytes, toc) = pack_of(&honest, frame, id, 4096);
        let entry = forge::put_pack(&honest.vault, bytes);
        forge::put_segment(&honest.vault, host, &[(entry.hash, entry.size, &toc)]);
        let nodes = vec![("/bomb", file_of(&[(id, 4096)]))];
        let put = Snapshot::new(&honest.vault, nodes, vec![entry]).put(&honest.vault, host);
        let opened = honest.vault.open();
        let key = opened.catalog.packs[&entry.hash][0].stored.key.to_string();
        let report = opened.check(Level::Data).unwrap();
        let finding = report.errors.iter().find(|finding| finding.object == key);
        assert_forged(finding.unwrap_or_else(|| panic!("{bomb}: {report:#?}")), false);
        let restored = opened.restore(&put.id).unwrap();
        assert_eq!(restored.report.damaged.len(), 1, "{bomb}: {:?}", restored.report);
        honest.vault.store.remove_raw(&key);
        honest.vault.store.remove_raw(&put.seal);
        honest.vault.store.remove_raw(&put.manifest);
    }
    roots(&honest, documents);
    small_objects(&honest);
    honest.restores();
    let peak = peak_memory();
    println!("bombs: peak of the whole process {} MiB", peak >> 10);
    assert!(peak < LIMIT, "{peak} KiB");
}

/// Roots that unpack to more than any document may have.
fn roots(honest: &Honest, bombs: [Vec<u8>; 4]) {
    let host = &honest.vault.host;
    for bomb in bombs {
        let stored = age_file::encrypt(&bomb, &Recipients::x25519(&host.epoch).unwrap()).unwrap();
        let put = Snapshot::new(&honest.vault, Vec::new(), Vec::new()).put(&honest.vault, host);
        // The manifest that names it is sealed as any other.
        let manifest = honest.vault.store.get_raw(&put.manifest).unwrap();
        let mut manifest: fardel_format::manifest::Manifest = serde_json::from_slice(&manifest).unwrap();
        manifest.root.hash = ObjectHash::of(&stored);
        manifest.root.size = stored.len() as u64;
        let key =
            forge::put(&honest.vault.store, &fardel_format::names::Name::Root(manifest.root.hash), stored);
        let bomb = forge::put_manifest(&honest.vault, host, &manifest, true);
        assert_forged(&honest.finding(Level::Data, &key), false);
        assert!(honest.vault.open().restore(&bomb.id).is_err());
        for put in [put, bomb] {
            honest.vault.store.remove_raw(&put.seal);
            honest.vault.store.remove_raw(&put.manifest);
        }
    }
}

/// Seals, manifests and records far larger than any: not even read.
fn small_objects(honest: &Honest) {
    let opened = honest.vault.open();
    let of_kind = |prefix: &str| {
        let names = honest.vault.store.names();
        names.into_iter().find(|name| name.starts_with(prefix)).unwrap()
    };
    drop(opened);
    for name in [of_kind("seals/"), of_kind("manifests/"), of_kind("signers/")] {
        let bytes = honest.vault.store.get_raw(&name).unwrap();
        honest.vault.store.insert_raw(&name, vec![b' '; 64 << 20]);
        let finding = honest.finding(Level::Seals, &name);
        assert_eq!(finding.class, Class::Corrupt, "{finding:#?}");
        assert!(finding.why.contains("limit"), "{finding:#?}");
        honest.vault.store.insert_raw(&name, bytes);
    }
    // An age header without an end.
    let pack = of_kind("packs/");
    let bytes = honest.vault.store.get_raw(&pack).unwrap();
    let endless = [b"age-encryption.org/v1\n-> X25519 ".to_vec(), vec![b'a'; bytes.len() - 32]].concat();
    honest.vault.store.insert_raw(&pack, endless);
    assert_eq!(honest.finding(Level::Data, &pack).class, Class::Corrupt);
    honest.vault.store.insert_raw(&pack, bytes);
}
