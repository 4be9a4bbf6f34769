use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::frame::Member;
use crate::samples;

/// A pack's table: a frame for each list of ids.
fn toc(frames: &[Vec<ChunkId>]) -> Toc {
    let frames = frames.iter().enumerate().map(|(i, ids)| {
        let span = FrameSpan { offset: i as u64 * 1000, stored: 1000, plain: 1 << 20 };
        let member =
            |(n, id): (usize, &ChunkId)| Member { id: *id, offset: 512 + n as u32, len: n as u32 % 7 };
        (span, ids.iter().enumerate().map(member).collect())
    });
    Toc { kind: PackKind::Data, frames: frames.collect() }
}

fn segment_of(ids: Vec<ChunkId>) -> Vec<u8> {
    build([(samples::hash(1), 5_000, &toc(&[ids]))])
}

/// An id that begins with these eight bytes.
fn beginning(prefix: u64, n: u64) -> ChunkId {
    let mut id = samples::id(n);
    id.0[..8].copy_from_slice(&prefix.to_be_bytes());
    id
}

/// Everything that can be asked of a view: it may refuse, it may not panic.
fn ask_everything(view: &View<'_>) {
    let counts = view.counts();
    for i in 0..counts.packs.saturating_add(2).min(50) {
        let _ = view.pack(i);
    }
    for i in 0..counts.frames.saturating_add(2).min(50) {
        if let Ok((_, span)) = view.frame(i) {
            assert!(span.range().end > span.offset);
        }
    }
    for i in (0..counts.records.saturating_add(2).min(50)).chain([u64::MAX, u64::MAX / 44, 1 << 63]) {
        if let Ok(record) = view.record(i) {
            let _ = view.location(&record);
            assert!(view.locate(&record.id).count() as u64 <= counts.records);
        }
    }
    for n in 0..20 {
        let _ = view.find(&samples::id(n));
        let _ = view.find(&ChunkId([n as u8 * 13; 32]));
        let _ = view.advance(n.min(counts.records), &samples::id(n));
    }
    assert!(view.pack(u32::MAX).is_err());
    assert!(view.frame(u32::MAX).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn finds_what_a_map_finds(packs in prop::collection::vec(prop::collection::vec(prop::collection::vec(0u64..400, 0..40), 0..4), 0..4)) {
        let tocs: Vec<Toc> = packs.iter().map(|frames| {
            toc(&frames.iter().map(|ids| ids.iter().map(|n| samples::id(*n)).collect()).collect::<Vec<_>>())
        }).collect();
        let bytes = build(tocs.iter().enumerate().map(|(i, toc)| (samples::hash(i as u64), 7 + i as u64, toc)));
        let view = View::new(&bytes).unwrap();
        let mut map: BTreeMap<ChunkId, Vec<(ObjectHash, FrameSpan, u32, u32)>> = BTreeMap::new();
        for (i, toc) in tocs.iter().enumerate() {
            for (span, members) in &toc.frames {
                for m in members {
                    map.entry(m.id).or_default().push((samples::hash(i as u64), *span, m.offset, m.len));
                }
            }
        }
        prop_assert_eq!(view.counts().records, map.values().map(Vec::len).sum::<usize>() as u64);
        for n in 0..420 {
            let id = samples::id(n);
            let found: Vec<_> = view.locate(&id).map(|l| l.map(|l| (l.pack.hash, l.frame, l.offset, l.len)).unwrap()).collect();
            let mut expected = map.get(&id).cloned().unwrap_or_default();
            expected.sort_by_key(|(hash, span, offset, _)| (tocs.iter().enumerate().position(|(i, _)| samples::hash(i as u64) == *hash), span.offset, *offset));
            prop_assert_eq!(found, expected);
        }
        // In the order of ids, and all of them.
        let records: Vec<_> = (0..view.counts().records).map(|i| view.record(i).unwrap()).collect();
        prop_assert!(records.is_sorted());
    }

    #[test]
    fn damaged_segments_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30), cut in 0usize..100) {
        let mut bytes = segment_of((0..20).map(samples::id).collect());
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut / 2);
        if let Ok(view) = View::new(&bytes) {
            ask_everything(&view);
        }
    }
}

type MakesIds = fn(u64) -> ChunkId;

/// Ids that make interpolation guess wrong each time: lookups stay right and quick.
#[test]
fn crafted_ids_do_not_slow_the_search() {
    const N: u64 = 100_000;
    let shapes: [(&str, MakesIds); 5] = [
        ("one prefix", |n| beginning(0x4242_4242_4242_4242, n)),
        ("two heaps", |n| beginning(if n % 2 == 0 { 0 } else { u64::MAX }, n)),
        ("all low but one", |n| beginning(if n == 0 { u64::MAX } else { n }, n)),
        ("all high but one", |n| beginning(if n == 0 { 0 } else { u64::MAX - n }, n)),
        ("doubling", |n| beginning(1 << (n % 64), n)),
    ];
    for (shape, id) in shapes {
        let bytes = segment_of((0..N).map(id).collect());
        let view = View::new(&bytes).unwrap();
        let begun = std::time::Instant::now();
        for n in 0..N {
            assert!(view.find(&id(n)).is_some(), "{shape} {n}");
            assert!(view.find(&samples::id(N + n)).is_none());
        }
        // A linear search would take hours.
        assert!(begun.elapsed().as_secs() < 20, "{shape}");
    }
}

#[test]
fn extreme_ids_are_found() {
    let mut ids = vec![ChunkId([0; 32]), ChunkId([0xff; 32])];
    ids.extend((0..100).map(samples::id));
    let bytes = segment_of(ids.clone());
    let view = View::new(&bytes).unwrap();
    assert!(ids.iter().all(|id| view.find(id).is_some()));
    assert_eq!(view.find(&ChunkId([0; 32])), Some(0));
    let one = segment_of(vec![ChunkId([0xff; 32])]);
    assert_eq!(View::new(&one).unwrap().find(&ChunkId([0xff; 32])), Some(0));
    assert_eq!(View::new(&one).unwrap().find(&ChunkId([0; 32])), None);
    let none = build(std::iter::empty());
    assert_eq!(View::new(&none).unwrap().find(&ChunkId([0; 32])), None);
    assert_eq!(View::new(&none).unwrap().locate(&ChunkId([0; 32])).count(), 0);
}

#[test]
fn every_place_of_a_chunk_is_found() {
    let bytes = segment_of(vec![samples::id(5); 1_000]);
    let view = View::new(&bytes).unwrap();
    assert_eq!(view.find(&samples::id(5)), Some(0));
    assert_eq!(view.locate(&samples::id(5)).filter(Result::is_ok).count(), 1_000);
}

#[test]
fn records_that_are_not_sorted_are_missed_at_worst() {
    let mut bytes = segment_of((0..1_000).map(samples::id).collect());
    let records = bytes.len() - 1_000 * RECORD;
    bytes[records..].rotate_left(500 * RECORD);
    let view = View::new(&bytes).unwrap();
    for n in 0..2_000 {
        assert!(view.find(&samples::id(n)).is_none_or(|i| view.record(i).unwrap().id == samples::id(n)));
    }
}

#[test]
fn counts_that_do_not_fit() {
    let good = segment_of(vec![samples::id(1)]);
    View::new(&good).unwrap();
    for (at, value) in [
        (8, u64::from(u32::MAX)),
        (12, u64::from(u32::MAX)),
        (16, u64::MAX),
        (16, u64::MAX / 44 + 1),
        (16, 0),
        (16, 2),
    ] {
        let mut bytes = good.clone();
        let len = if at == 16 { 8 } else { 4 };
        bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        assert!(View::new(&bytes).is_err(), "{value} at {at}");
    }
    assert!(View::new(&good[..good.len() - 1]).is_err());
    assert!(View::new(&[&good[..], b"x"].concat()).is_err());
    assert!(View::new(&good[..HEAD - 1]).is_err());
    assert!(View::new(b"").is_err());
}

#[test]
fn pointers_outside_the_tables_are_refused() {
    let good = segment_of(vec![samples::id(1)]);
    let frame_at = HEAD + PACK_ENTRY;
    let record_at = frame_at + FRAME_ENTRY;
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let view = View::new(&bytes).unwrap();
        ask_everything(&view);
        view.locate(&samples::id(1)).collect::<Result<Vec<_>>>().is_err()
    };
    assert!(!with(0, b"FARDELI1"));
    assert!(with(frame_at, &1u32.to_le_bytes()), "no such pack");
    assert!(with(frame_at + 4, &u64::MAX.to_le_bytes()), "an offset whose end is beyond 64 bits");
    assert!(with(frame_at + 12, &u32::MAX.to_le_bytes()), "a stored length that no frame has");
    assert!(with(frame_at + 12, &0u32.to_le_bytes()));
    assert!(with(frame_at + 16, &u32::MAX.to_le_bytes()), "a plain length that no frame has");
    assert!(with(record_at + 32, &1u32.to_le_bytes()), "no such frame");
    assert!(with(record_at + 36, &u32::MAX.to_le_bytes()), "a chunk outside its frame");
    assert!(with(record_at + 40, &u32::MAX.to_le_bytes()));
}

#[test]
fn the_layout_is_frozen() {
    let pack = SegmentPack { hash: samples::hash(3), size: 0x0102_0304, kind: PackKind::Meta };
    let head = Counts { packs: 1, frames: 2, records: 3 }.head();
    assert_eq!(head[..24], *b"FARDELI1\x01\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0");
    assert!(head[24..].iter().all(|&b| b == 0));
    let entry = pack_entry(&pack);
    assert_eq!(entry[..32], samples::hash(3).0);
    assert_eq!(entry[32..], [4, 3, 2, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let span = FrameSpan { offset: 5, stored: 6, plain: 7 };
    assert_eq!(frame_entry(9, &span), [9, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0]);
    let record = Record { id: samples::id(1), frame: 2, offset: 3, len: 4 }.to_bytes();
    assert_eq!(record[32..], [2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]);
    let view = [&Counts { packs: 1, frames: 0, records: 0 }.head()[..], &entry].concat();
    assert_eq!(View::new(&view).unwrap().pack(0).unwrap(), pack);
    assert_eq!(View::new(&view).unwrap().pack_table(), &entry);
}

#[test]
fn segments_are_signed() {
    let repository = samples::repository();
    let key = SigningKey::generate().unwrap();
    let segment = segment_of(vec![samples::id(1)]);
    let stored = sign(&segment, &repository, &key).unwrap();
    let (writer, found) = open_signed(&stored, &repository).unwrap();
    assert_eq!((&writer, found), (key.public(), &segment[..]));

    let forged = |bytes: &[u8]| assert!(open_signed(bytes, &repository).is_err());
    for at in (0..stored.len()).step_by(7).chain([stored.len() - 1]) {
        let mut altered = stored.clone();
        altered[at] ^= 2;
        // The comment that nobody trusts may change; what is signed may not.
        if let Ok((_, found)) = open_signed(&altered, &repository) {
            assert_eq!(found, segment);
        }
    }
    assert!(matches!(open_signed(&stored, &crate::RepositoryId([0; 32])), Err(Error::Forged { .. })));
    forged(&stored[..stored.len() - 1]);
    forged(&[&stored[..], b"x"].concat());
    forged(&segment);
    forged(b"");
    forged(b"\n\n");
    let other = SigningKey::generate().unwrap();
    let text = String::from_utf8_lossy(&stored[..57]).into_owned();
    forged(&[format!("{}\n", other.public()).as_bytes(), &stored[text.len()..]].concat());
}

#[test]
fn goes_forward_to_where_it_would_search() {
    let ids: Vec<_> = (0..500).map(|n| samples::id(n / 3)).collect();
    let bytes = segment_of(ids);
    let view = View::new(&bytes).unwrap();
    let mut wanted: Vec<_> = (0..300).map(samples::id).collect();
    wanted.sort_unstable();
    for every in [1, 2, 7, 100] {
        let mut at = 0;
        for id in wanted.iter().step_by(every) {
            at = view.advance(at, id);
            let first = (0..500).find(|i| view.record(*i).unwrap().id >= *id).unwrap_or(500);
            assert_eq!(at, first, "{id:?}, every {every}");
        }
    }
}
