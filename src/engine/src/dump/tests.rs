use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use fardel_format::ChunkId;
use fardel_format::root::Source;
use fardel_format::rope::Rope;
use fardel_store::{ErrorKind, FaultyStore, ReadFault, ReadFaultKind};

use super::*;
use crate::backup::{BackupOptions, SourceSpec};
use crate::browse::Browser;
use crate::monitor::Silent;
use crate::packs::PackerOptions;
use crate::snapshots::Snapshots;
use crate::testing::{Fixture, failure, file, fixture, noise};

const CHUNK: usize = 64 << 10;

/// Dumps `path` of the newest snapshot: what was written, and how it ended.
fn dumped(fixture: &Fixture, path: &Path, options: &DumpOptions) -> (Vec<u8>, Result<DumpReport>) {
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let contents = Contents::open(&repo, &catalog).unwrap();
    let chunks = contents.chunks(&repo).unwrap();
    let browser = Browser::open(&repo, &catalog, &chunks, snapshots.find("latest").unwrap()).unwrap();
    let place = browser.resolve(path.as_os_str().as_encoded_bytes()).unwrap();
    let mut out = Vec::new();
    let report = dump(&repo, &contents, &chunks, &place, options, &Silent::default(), &mut out);
    (out, report)
}

/// Backs up with small packs.
fn backup(fixture: &Fixture, path: &Path) {
    let packer = PackerOptions { threads: 1, pack_size: 300 << 10, ..PackerOptions::default() };
    let options = fixture.options(vec![SourceSpec::Path(path.to_owned())]);
    fixture.backup_with(&BackupOptions { packer, ..options });
}

fn some(start: u64, end: u64, memory: u64) -> DumpOptions {
    DumpOptions { range: Some(start..end), memory }
}

#[test]
fn files_and_volumes_come_back_byte_for_byte() {
    let fixture = fixture();
    let mut content = noise(1, CHUNK * 90 + 77);
    content[CHUNK * 20..CHUNK * 30].fill(0);
    // Blocks that repeat lie in packs once.
    content.copy_within(0..CHUNK * 10, CHUNK * 50);
    let size = content.len() as u64;
    let image = fixture.temp().join("disk.img");
    std::fs::write(&image, &content).unwrap();
    let inner = fixture.write("a/file", &content);
    fixture.write("empty", "");
    for (source, path) in [(&image, &image), (&fixture.source(), &inner)] {
        backup(&fixture, source);
        let ranges = [
            0..size,
            0..0,
            size..size,
            5..6,
            100..size - 100,
            CHUNK as u64 * 25..CHUNK as u64 * 31 + 1,
            0..u64::MAX,
        ];
        for range in ranges {
            for memory in [0, 1 << 20, 128 << 20] {
                let (out, report) = dumped(&fixture, path, &some(range.start, range.end, memory));
                let expected = &content[range.start as usize..range.end.min(size) as usize];
                assert!(out == expected, "{} {range:?} {memory}", path.display());
                assert_eq!(report.unwrap(), DumpReport { bytes: expected.len() as u64, inconsistent: None });
            }
        }
    }
    let (out, report) = dumped(&fixture, &fixture.source().join("empty"), &DumpOptions::default());
    assert!(out.is_empty() && report.unwrap().bytes == 0);
    let behind = failure(dumped(&fixture, &inner, &some(size + 1, size + 2, 0)).1);
    assert!(behind.contains("there is no byte"), "{behind}");
}

#[test]
fn only_what_has_bytes_is_dumped() {
    let fixture = fixture();
    std::os::unix::fs::symlink("there", fixture.source().join("link")).unwrap();
    fixture.backup(&[&fixture.source()]);
    for (path, what) in
        [("", "`fardel restore`"), ("link", "symbolic link to there"), ("..", "`fardel restore`")]
    {
        let path = if path == ".." { fixture.temp().to_owned() } else { fixture.source().join(path) };
        let (out, report) = dumped(&fixture, &path, &DumpOptions::default());
        assert!(out.is_empty());
        assert!(matches!(&report, Err(Error::Invalid(why)) if why.contains(what)), "{report:?}");
    }
}

#[test]
fn holes_are_zeros_and_what_is_inconsistent_is_said() {
    let fixture = fixture();
    fixture.craft(|packer| {
        let mut node = file(packer, "", &[Ok(b"ab"), Err(200_000), Ok(b"cd"), Err(3)]);
        node.inconsistent = Some("it grew".into());
        vec![Source::new(b"/f", node)]
    });
    let (out, report) = dumped(&fixture, Path::new("/f"), &DumpOptions::default());
    assert_eq!(out, [b"ab".to_vec(), vec![0; 200_000], b"cd\0\0\0".to_vec()].concat());
    assert_eq!(report.unwrap().inconsistent.as_deref(), Some("it grew"));
    assert_eq!(dumped(&fixture, Path::new("/f"), &some(1, 4, 0)).0, b"b\0\0");
}

#[test]
fn the_output_ends_before_what_is_lost() {
    for kind in [ReadFaultKind::Fail(ErrorKind::NotFound), ReadFaultKind::FlipBit(8 * 100_000)] {
        let fixture = fixture();
        let image = fixture.temp().join("disk.img");
        let content = noise(1, CHUNK * 100);
        std::fs::write(&image, &content).unwrap();
        backup(&fixture, &image);
        let store = Arc::new(FaultyStore::new(fixture.store.clone()));
        let (repo, catalog) = fixture.open_in(store.clone(), Some(fixture.recovery())).unwrap();
        let snapshots = Snapshots::load(&repo, &catalog).unwrap();
        let contents = Contents::open(&repo, &catalog).unwrap();
        let chunks = contents.chunks(&repo).unwrap();
        let browser = Browser::open(&repo, &catalog, &chunks, snapshots.find("latest").unwrap()).unwrap();
        let place = browser.resolve(image.as_os_str().as_encoded_bytes()).unwrap();
        // One large pack after the other is lost; each costs other bytes.
        let mut damaged = 0;
        for copy in catalog.packs.values().flatten().filter(|copy| copy.stored.size > 200_000) {
            store.set_read_fault(&copy.stored.key, Some(ReadFault { kind, once: false }));
            let packs = Contents::open(&repo, &catalog).unwrap();
            let mut out = Vec::new();
            let report =
                dump(&repo, &packs, &chunks, &place, &DumpOptions::default(), &Silent::default(), &mut out);
            store.set_read_fault(&copy.stored.key, None);
            let why = failure(report);
            assert!(
                why.contains(&format!("bytes {} to {} cannot be read", out.len(), out.len() + CHUNK)),
                "{why}"
            );
            assert!(out.len() < content.len() && out == content[..out.len()]);
            damaged += 1;
        }
        assert!(damaged >= 2);
    }
}

#[test]
fn a_store_that_does_not_answer_is_no_damage() {
    let fixture = fixture();
    let path = fixture.write("f", noise(1, 100_000));
    fixture.backup(&[&fixture.source()]);
    let store = Arc::new(FaultyStore::new(fixture.store.clone()));
    let (repo, catalog) = fixture.open_in(store.clone(), Some(fixture.recovery())).unwrap();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let contents = Contents::open(&repo, &catalog).unwrap();
    let chunks = contents.chunks(&repo).unwrap();
    let browser = Browser::open(&repo, &catalog, &chunks, snapshots.find("latest").unwrap()).unwrap();
    let place = browser.resolve(path.as_os_str().as_encoded_bytes()).unwrap();
    for copy in catalog.packs.values().flatten() {
        let kind = ReadFaultKind::Fail(ErrorKind::Transient);
        store.set_read_fault(&copy.stored.key, Some(ReadFault { kind, once: false }));
    }
    let (monitor, options) = (Silent::default(), DumpOptions::default());
    let report = dump(&repo, &contents, &chunks, &place, &options, &monitor, &mut Vec::new());
    assert!(matches!(report, Err(Error::Store(_))), "{report:?}");
}

#[test]
fn maps_that_contradict_themselves_are_damage() {
    let lost = ChunkId([7; 32]).to_string();
    let fixture = fixture();
    let cases = [
        (vec![format!("{lost} 5")], None, 0, "bytes 0 to 5"),
        (vec!["- 2".into(), format!("{lost} 3")], None, 2, "bytes 2 to 5"),
        (vec!["- 6".into()], None, 0, "goes on behind the end"),
        (vec!["- 4".into()], None, 4, "bytes 4 to 5"),
        (vec!["-".into()], None, 0, "of two kinds"),
        (vec!["- 5".into()], Some(16 << 10), 0, "of two kinds"),
        (vec!["-".into(), "-".into()], Some(16 << 10), 5, ""),
        (vec![], None, 0, "bytes 0 to 5"),
        (vec!["? 5".into()], None, 0, "a line of a map"),
    ];
    for (lines, chunk_size, written, why) in cases {
        fixture.craft(|_| {
            let mut node = Node::new(b"", NodeKind::Volume);
            (node.size, node.content) = (5, Some(Rope { depth: 0, chunk_size, lines: lines.clone() }));
            vec![Source::new(b"/v", node)]
        });
        let (out, report) = dumped(&fixture, Path::new("/v"), &DumpOptions::default());
        assert_eq!(out, vec![0; written], "{lines:?}");
        match report {
            Ok(report) => assert!(report.bytes == 5 && why.is_empty(), "{lines:?}"),
            Err(error) => assert!(!why.is_empty() && error.to_string().contains(why), "{lines:?}: {error}"),
        }
    }
    fixture.craft(|packer| {
        let id = packer.put(fardel_format::pack::PackKind::Data, b"four").unwrap();
        let mut node = Node::new(b"", NodeKind::File);
        (node.size, node.content) =
            (5, Some(Rope { depth: 0, chunk_size: None, lines: vec![format!("{id} 5")] }));
        vec![Source::new(b"/v", node)]
    });
    let (out, report) = dumped(&fixture, Path::new("/v"), &DumpOptions::default());
    assert!(out.is_empty() && failure(report).contains("4 bytes instead of 5"));
}

#[test]
fn a_false_chunk_under_a_right_id_is_not_written() {
    let fixture = fixture();
    let id = fixture.host.chunk_keys.chunk.id(b"true");
    fixture.plant_pack(&[(id, b"liar")]);
    fixture.craft(|_| vec![four_bytes(id)]);
    let (out, report) = dumped(&fixture, Path::new("/f"), &DumpOptions::default());
    assert!(out.is_empty());
    assert!(failure(report).contains("bytes 0 to 4 cannot be read"));
}

#[test]
fn a_true_chunk_beside_false_ones_is_found() {
    let fixture = fixture();
    let id = fixture.host.chunk_keys.chunk.id(b"true");
    (0..3).for_each(|number: u8| fixture.plant_pack(&[(id, b"liar"), (ChunkId([number; 32]), &[number])]));
    fixture.plant_pack(&[(id, b"true")]);
    fixture.craft(|_| vec![four_bytes(id)]);
    let (out, report) = dumped(&fixture, Path::new("/f"), &DumpOptions::default());
    assert_eq!((&out[..], report.unwrap().bytes), (&b"true"[..], 4));
}

fn four_bytes(id: ChunkId) -> Source {
    let mut node = Node::new(b"", NodeKind::File);
    (node.size, node.content) =
        (4, Some(Rope { depth: 0, chunk_size: None, lines: vec![format!("{id} 4")] }));
    Source::new(b"/f", node)
}

/// Takes so many bytes, and no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.checked_sub(bytes.len()) {
            Some(left) => self.0 = left,
            None => return Err(std::io::ErrorKind::BrokenPipe.into()),
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn whoever_reads_may_stop() {
    let fixture = fixture();
    let image = fixture.temp().join("disk.img");
    std::fs::write(&image, noise(1, CHUNK * 200)).unwrap();
    backup(&fixture, &image);
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let contents = Contents::open(&repo, &catalog).unwrap();
    let chunks = contents.chunks(&repo).unwrap();
    let browser = Browser::open(&repo, &catalog, &chunks, snapshots.find("latest").unwrap()).unwrap();
    let place = browser.resolve(image.as_os_str().as_encoded_bytes()).unwrap();
    let (monitor, options) = (Silent::default(), DumpOptions { range: None, memory: 1 << 20 });
    let report = dump(&repo, &contents, &chunks, &place, &options, &monitor, &mut Full(CHUNK * 3));
    assert!(matches!(report, Err(Error::Io { error, .. }) if error.kind() == std::io::ErrorKind::BrokenPipe));
    assert_eq!(monitor.counters().get().bytes_done, CHUNK as u64 * 3);
    monitor.stop.store(true, Relaxed);
    let report = dump(&repo, &contents, &chunks, &place, &options, &monitor, &mut Full(CHUNK * 3));
    assert!(matches!(report, Err(Error::Interrupted)));
}

#[test]
fn windows_do_not_end_within_frames() {
    let fixture = fixture();
    let image = fixture.temp().join("disk.img");
    std::fs::write(&image, noise(1, CHUNK * 200)).unwrap();
    fixture.backup(&[&image]);
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let contents = Contents::open(&repo, &catalog).unwrap();
    let chunks = contents.chunks(&repo).unwrap();
    let browser = Browser::open(&repo, &catalog, &chunks, snapshots.find("latest").unwrap()).unwrap();
    let place = browser.resolve(image.as_os_str().as_encoded_bytes()).unwrap();
    let map = MapCursor::new(&chunks, place.node.as_ref().unwrap()).unwrap();
    let mut windows = Windows::new(map, &contents.index, 0..CHUNK as u64 * 200, 3 << 20).unwrap();
    let mut frames = std::collections::HashSet::new();
    let mut count = 0;
    loop {
        let (pieces, then) = windows.next_window();
        then.unwrap();
        if pieces.is_empty() {
            break;
        }
        count += 1;
        assert!(pieces.len() * CHUNK <= 6 << 20);
        let own: std::collections::HashSet<_> =
            pieces.iter().map(|piece| piece.location.unwrap().frame.offset).collect();
        assert!(own.iter().all(|frame| frames.insert(*frame)), "a frame in two windows");
    }
    assert!(count > 2);
}
