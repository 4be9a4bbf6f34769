//! Index segments that lie.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fardel_engine::check::{self, Level};
use fardel_engine::monitor::Silent;
use fardel_format::ObjectHash;
use fardel_format::frame::Member;
use fardel_format::keys::HostKey;
use fardel_format::lines::Moment;
use fardel_format::pack::{FrameSpan, PackKind, Toc};
use fardel_format::rope::Rope;
use fardel_format::signers::Role;
use fardel_format::tree::{Node, NodeKind};
use fardel_store::{ErrorKind, FaultyStore, Key, ReadFault, ReadFaultKind};
use fardel_tests::vault::Restored;
use fardel_tests::vault::forge::{self, Crafted, Snapshot};

use super::{Honest, assert_forged, stranger};

/// The true tables of all packs of a kind.
fn tables(honest: &Honest, kind: PackKind) -> Vec<(ObjectHash, u64, Toc)> {
    let opened = honest.vault.open();
    let reader = fardel_engine::packs::PackReader::new(&opened.repo, &opened.catalog);
    let packs = opened.catalog.packs.iter().map(|(hash, copies)| (*hash, copies[0].stored.size));
    let tables = packs.map(|(hash, size)| (hash, size, reader.toc(&hash, size).unwrap()));
    tables.filter(|(_, _, toc)| toc.kind == kind).collect()
}

/// Packs with their sizes and what is said to lie in them.
type Tables = Vec<(ObjectHash, u64, Toc)>;

/// Every way to lie about where a chunk is.
fn lies(tables: &[(ObjectHash, u64, Toc)]) -> Vec<(&'static str, Tables)> {
    let change = |f: &dyn Fn(&mut Toc)| -> Vec<_> {
        let mut tables = tables.to_vec();
        tables.iter_mut().for_each(|(_, _, toc)| f(toc));
        tables
    };
    let members = |toc: &mut Toc, f: &dyn Fn(&mut fardel_format::frame::Member)| {
        toc.frames.iter_mut().flat_map(|(_, members)| members).for_each(f);
    };
    let mut all = vec![
        ("false lengths", change(&|toc| members(toc, &|m| m.len -= 1))),
        (
            "false places in the frame",
            change(&|toc| members(toc, &|m| m.offset = m.offset.saturating_sub(512))),
        ),
        ("false frames", change(&|toc| toc.frames.iter_mut().for_each(|(span, _)| span.offset += 100))),
        (
            "frames beyond the pack",
            change(&|toc| toc.frames.iter_mut().for_each(|(span, _)| span.offset += 1 << 40)),
        ),
        ("false plain lengths", change(&|toc| toc.frames.iter_mut().for_each(|(span, _)| span.plain += 512))),
        ("short frames", change(&|toc| toc.frames.iter_mut().for_each(|(span, _)| span.stored = 1))),
        ("nothing in the packs", change(&|toc| toc.frames.clear())),
        (
            "another kind",
            change(&|toc| {
                toc.kind = if toc.kind == PackKind::Data { PackKind::Meta } else { PackKind::Data };
            }),
        ),
    ];
    let mut sizes = tables.to_vec();
    sizes.iter_mut().for_each(|(_, size, _)| *size += 1);
    all.push(("false sizes", sizes));
    let mut turned = tables.to_vec();
    let mut hashes: Vec<_> = turned.iter().map(|(hash, size, _)| (*hash, *size)).collect();
    hashes.rotate_left(1);
    turned.iter_mut().zip(hashes).for_each(|(entry, (hash, size))| (entry.0, entry.1) = (hash, size));
    if turned.len() > 1 {
        all.push(("another pack", turned));
    }
    all
}

fn put(honest: &Honest, host: &HostKey, tables: &[(ObjectHash, u64, Toc)]) -> String {
    let tables: Vec<_> = tables.iter().map(|(hash, size, toc)| (*hash, *size, toc)).collect();
    forge::put_segment(&honest.vault, host, &tables)
}

/// Whatever a segment says beside the honest ones: named, harmless, and a restore finds the truth.
#[test]
fn lies_beside_the_truth_cost_nothing() {
    let mut honest = Honest::new("lies");
    // Enough segments that the cache merges them.
    for n in 0..10 {
        let path = honest
            .vault
            .write(&format!("source/more/{n}"), &fardel_tests::disk_tree::bytes(&n.to_string(), 30_000));
        honest.id = honest.vault.backup(&[path.parent().unwrap().parent().unwrap()]);
    }
    honest.content = fardel_tests::vault::contents(&[&honest.vault.folder("source")]);
    let insider = honest.vault.add_host("insider", &[Role::Write]);
    let outsider = stranger(&honest.vault);
    for host in [&honest.vault.host, &insider, &outsider] {
        for kind in [PackKind::Data, PackKind::Meta] {
            for (lie, tables) in lies(&tables(&honest, kind)) {
                let key = put(&honest, host, &tables);
                let report = honest.check(Level::Data);
                let finding = report.errors.iter().find(|finding| finding.object == key);
                let finding = finding.unwrap_or_else(|| panic!("{lie} is not found: {report:#?}"));
                assert_forged(finding, true);
                assert!(report.is_whole(), "{lie}: {report:#?}");
                let opened = honest.vault.open();
                let restored = opened.restore(&honest.id).unwrap_or_else(|e| panic!("{lie} {kind:?}: {e}"));
                assert_eq!(
                    restored.compare(&honest.content),
                    Ok(honest.content.len()),
                    "{lie} {kind:?}: {:?}",
                    restored.report
                );
                honest.vault.store.remove_raw(&key);
            }
        }
    }
}

/// All honest segments are withheld, and a stranger's lies stand in their place.
#[test]
fn lies_instead_of_the_truth_cost_nothing() {
    let honest = Honest::new("only-lies");
    let truth: Vec<_> =
        honest.vault.store.names().into_iter().filter(|name| name.starts_with("index/")).collect();
    let outsider = stranger(&honest.vault);
    for kind in [PackKind::Data, PackKind::Meta] {
        let tables = tables(&honest, kind);
        for (lie, tables) in lies(&tables) {
            let store = honest.vault.store.deep_clone();
            let key = put(&honest, &outsider, &tables);
            truth.iter().for_each(|name| drop(honest.vault.store.remove_raw(name)));
            let opened = honest.vault.open();
            let report = opened.check(Level::Data).unwrap();
            assert!(
                report.errors.iter().any(|finding| finding.object == key && finding.harmless),
                "{lie}: {report:#?}"
            );
            let restored = opened.restore(&honest.id).unwrap_or_else(|e| panic!("{lie} {kind:?}: {e}"));
            assert_eq!(
                restored.compare(&honest.content),
                Ok(honest.content.len()),
                "{lie} {kind:?}: {:?}",
                restored.report
            );
            // As it was.
            honest.vault.store.remove_raw(&key);
            truth.iter().for_each(|name| honest.vault.store.insert_raw(name, store.get_raw(name).unwrap()));
        }
    }
}

/// A stranger's segment says that all chunks lie in another pack too: what the loss of theirs would cost is told nevertheless.
#[test]
fn a_lie_about_another_place_is_no_comfort() {
    let honest = Honest::with_large("comfort", 4_600_000);
    let tables = tables(&honest, PackKind::Data);
    let [(one, _, toc), (two, size, _), ..] = &tables[..] else { panic!("{} packs", tables.len()) };
    let cost = || {
        let opened = honest.vault.open();
        check::impact(&opened.repo, &opened.catalog, &one.to_string(), &Silent::default()).unwrap().costs
    };
    let before = cost();
    assert!(before.snapshots == [honest.id] && !before.paths.is_empty(), "{before:#?}");
    put(&honest, &stranger(&honest.vault), &[(*two, *size, toc.clone())]);
    assert_eq!(cost(), before);
}

/// A stranger's segment names so many places of one chunk that nobody could try them all.
#[test]
fn more_false_places_than_anybody_tries() {
    let honest = Honest::with_large("many-places", 4_600_000);
    let outsider = stranger(&honest.vault);
    // The chunk that takes longest to compare with all places in its frame.
    let tables = tables(&honest, PackKind::Data);
    let frames =
        tables.iter().flat_map(|(hash, size, toc)| toc.frames.iter().map(move |f| (*hash, *size, f)));
    let chunks =
        frames.flat_map(|(hash, size, (span, members))| members.iter().map(move |m| (hash, size, *span, *m)));
    let work = |span: &FrameSpan, chunk: &Member| u64::from(span.plain - chunk.len) * u64::from(chunk.len);
    let (hash, size, span, chunk) = chunks.max_by_key(|(_, _, span, chunk)| work(span, chunk)).unwrap();
    assert!(work(&span, &chunk) > 100 << 30, "trying all takes no time: {span:?} {chunk:?}");
    let places = (0..span.plain - chunk.len).filter(|offset| *offset != chunk.offset);
    let members: Vec<_> = places.map(|offset| Member { offset, ..chunk }).collect();
    put(&honest, &outsider, &[(hash, size, Toc { kind: PackKind::Data, frames: vec![(span, members)] })]);
    let begun = Instant::now();
    honest.restores();
    assert!(begun.elapsed() < Duration::from_secs(10), "the restore took {:?}", begun.elapsed());
}

/// One segment cannot be read, or the pack's own table cannot be where there is no segment: the rest is restored.
#[test]
fn a_hint_that_cannot_be_read_costs_nothing_else() {
    let honest = Honest::new("unreadable-hint");
    let of_kind = |prefix: &str| {
        honest.vault.store.names().into_iter().filter(|name| name.starts_with(prefix)).collect::<Vec<_>>()
    };
    for kind in [ReadFaultKind::Fail(ErrorKind::Other), ReadFaultKind::Truncate(10)] {
        for segment in of_kind("index/") {
            let restored = restore_with_fault(&honest, &segment, kind);
            assert_eq!(restored.compare(&honest.content), Ok(honest.content.len()), "{:?}", restored.report);
        }
    }
    // A pack that no segment speaks of and that ends early costs what was in it.
    let spare = honest.vault.write("spare/file", b"in a pack of its own");
    honest.vault.backup(&[spare.parent().unwrap()]);
    let before: HashSet<_> = of_kind("packs/").into_iter().collect();
    let other = honest.vault.write("other/file", b"in another pack of its own");
    honest.vault.backup(&[other.parent().unwrap()]);
    of_kind("index/").iter().for_each(|name| drop(honest.vault.store.remove_raw(name)));
    for pack in of_kind("packs/").iter().filter(|pack| !before.contains(*pack)) {
        let restored = restore_with_fault(&honest, pack, ReadFaultKind::Truncate(100));
        assert_eq!(restored.compare(&honest.content), Ok(honest.content.len()), "{:?}", restored.report);
    }
}

fn restore_with_fault(honest: &Honest, object: &str, kind: ReadFaultKind) -> Restored {
    let faulty = FaultyStore::new(honest.vault.store.clone());
    faulty.set_read_fault(&Key::new(object).unwrap(), Some(ReadFault { kind, once: false }));
    let opened = honest.vault.open_store(Arc::new(faulty), Some(honest.vault.material())).unwrap();
    opened.restore(&honest.id).unwrap_or_else(|e| panic!("{object}: {e}"))
}

/// Another signer says that chunks which this host is about to save are stored already, in a pack of garbage.
#[test]
fn a_backup_does_not_rest_on_another_signers_word() {
    let honest = Honest::new("poisoned");
    let insider = honest.vault.add_host("insider", &[Role::Write, Role::Maintain]);
    for (n, host) in [&insider, &stranger(&honest.vault)].into_iter().enumerate() {
        let secret = fardel_tests::disk_tree::bytes(&format!("about to be saved {n}"), 90_000);
        let id = host.chunk_keys.chunk.id(&secret);
        let mut garbage = Crafted::new(PackKind::Data);
        garbage.push(id, &vec![0; secret.len()]);
        let entry = garbage.put(&honest.vault, host);
        let path = honest.vault.write(&format!("new{n}/secret"), &secret);
        let opened = honest.vault.open();
        let report = opened.backup(&[path.parent().unwrap()]).unwrap();
        assert!(report.bytes_added >= secret.len() as u64, "{report:?}");
        let opened = honest.vault.open();
        let snapshots = opened.snapshots().unwrap();
        let sealed = snapshots.find(&report.snapshot.unwrap().to_string()).unwrap();
        let closure: HashSet<_> = opened
            .repo
            .closure(&opened.catalog, &sealed.manifest)
            .unwrap()
            .into_iter()
            .map(|pack| pack.hash)
            .collect();
        assert!(!closure.contains(&entry.hash));
        let restored = opened.restore(&sealed.id()).unwrap();
        let content = fardel_tests::vault::contents(&[path.parent().unwrap()]);
        assert_eq!(restored.compare(&content), Ok(1), "{:?}", restored.report);
    }
    honest.restores();
}

/// Another signer seals a snapshot as if it were this host's: it says that a file which did not change since holds other
/// bytes. A backup that took its word would save those.
#[test]
fn a_backup_takes_nothing_over_from_another_signers_snapshot() {
    let honest = Honest::new("poisoned-parent");
    let insider = honest.vault.add_host("insider", &[Role::Write, Role::Maintain]);
    let path = honest.vault.write("precious/file", b"the true bytes");
    let source = path.parent().unwrap();
    let stat = std::fs::metadata(&path).unwrap();
    let mut garbage = Crafted::new(PackKind::Data);
    let chunk = garbage.push_true(&insider, b"THE FALSE BYTE");
    let mut file = super::packs::file_of(&[(chunk, stat.len() as usize)]);
    file.name = Some("file".into());
    file.mtime = Moment { secs: stat.mtime(), nanos: stat.mtime_nsec() as u32 };
    file.ctime = Moment { secs: stat.ctime(), nanos: stat.ctime_nsec() as u32 };
    (file.inode, file.dev, file.mode) = (stat.ino(), stat.dev(), stat.mode() & 0o7777);
    let mut meta = Crafted::new(PackKind::Meta);
    let leaf = meta.push_true(&insider, &file.to_line());
    let mut folder = Node::new(b"", NodeKind::Dir);
    folder.entries = Some(Rope { depth: 0, chunk_size: None, lines: vec![leaf.to_string()] });
    let packs = [&garbage, &meta].map(|crafted| crafted.put(&honest.vault, &insider)).to_vec();
    let mut forged = Snapshot::new(&honest.vault, vec![(source.to_str().unwrap(), folder)], packs);
    forged.root.time = "2100-01-01T00:00:00Z".into();
    let forged = forged.put(&honest.vault, &insider);
    assert!(honest.is_listed(&forged.id));

    let report = honest.vault.open().backup(&[source]).unwrap();
    let restored = honest.vault.open().restore(&report.snapshot.unwrap()).unwrap();
    assert_eq!(restored.compare(&fardel_tests::vault::contents(&[source])), Ok(1), "{report:?}");
    assert_eq!((report.files_new, report.files_unmodified, report.parent), (1, 0, None));
}

#[test]
fn a_segment_of_another_repository_or_without_a_signature_is_told() {
    let honest = Honest::new("foreign-segment");
    let other = Honest::new("other-segment");
    let (name, bytes) = other
        .vault
        .store
        .names()
        .into_iter()
        .find(|name| name.starts_with("index/"))
        .map(|name| (name.clone(), other.vault.store.get_raw(&name).unwrap()))
        .unwrap();
    honest.vault.store.insert_raw(&name, bytes);
    // It is shut for every key here: noted, not an error.
    assert!(honest.check(Level::Data).notes.iter().any(|note| note.contains("shut")));
    // One that opens and is signed for the other repository.
    let table = tables(&honest, PackKind::Data);
    let plain = fardel_format::segment::build(table.iter().map(|(hash, size, toc)| (*hash, *size, toc)));
    let signed = fardel_format::segment::sign(&plain, &other.vault.id, &honest.vault.host.signing).unwrap();
    let readers = fardel_format::age_file::Recipients::x25519(&honest.vault.host.epoch).unwrap();
    for plain in [signed, plain] {
        let stored = fardel_format::age_file::encrypt(&plain, &readers).unwrap();
        let name = fardel_format::names::Name::Index(ObjectHash::of(&stored));
        let key = forge::put(&honest.vault.store, &name, stored);
        assert_forged(&honest.finding(Level::Data, &key), true);
    }
    honest.restores();
}
