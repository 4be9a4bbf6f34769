use proptest::prelude::*;

use super::*;
use crate::age_file::{Header, Identities, Payload, SEGMENT, generate_identity};
use crate::frame::{Compressor, Decompressor, Plain, chunk};
use crate::samples;

struct Sample {
    stored: Vec<u8>,
    finished: Finished<()>,
    identities: Identities,
}

/// A pack of these chunks, `per_frame` in a frame; chunk `n` has the id `n`.
fn pack(kind: PackKind, chunks: &[Vec<u8>], per_frame: usize) -> Sample {
    let (identity, recipient) = generate_identity();
    let mut identities = Identities::new();
    identities.push_x25519(&identity).unwrap();
    let mut compressor = Compressor::new(3).unwrap();
    let mut writer = PackWriter::create(Vec::new(), kind, &Recipients::x25519(&recipient).unwrap()).unwrap();
    assert!(writer.is_empty());
    let mut n = 0;
    for group in chunks.chunks(per_frame) {
        let mut plain = Plain::new();
        for content in group {
            plain.push(samples::id(n), content).unwrap();
            n += 1;
        }
        writer.add(plain.compress(&mut compressor).unwrap()).unwrap();
        assert!(!writer.is_empty());
    }
    let Finished { out, hash, size, toc } = writer.finish().unwrap();
    assert_eq!(hash, ObjectHash::of(&out));
    assert_eq!(size, out.len() as u64);
    Sample { stored: out, finished: Finished { out: (), hash, size, toc }, identities }
}

fn read(payload: &Payload, stored: &[u8], range: &Range<u64>) -> Result<Vec<u8>> {
    let wanted = payload.stored_range(range)?;
    let bytes =
        stored.get(wanted.start as usize..wanted.end as usize).ok_or(Error::Truncated { what: "a pack" })?;
    payload.decrypt(range, bytes)
}

/// What a client does with a pack: header, trailer, table, every chunk of every frame.
fn read_all(stored: &[u8], identities: &Identities) -> Result<(Toc, Vec<Vec<u8>>)> {
    let header = Header::parse(stored)?.ok_or(Error::Truncated { what: "a pack" })?;
    let payload = header.open(identities, stored.len() as u64)?;
    let len = payload.plain_len();
    let tail = len.checked_sub(TRAILER_LEN).ok_or(Error::Truncated { what: "a pack" })?;
    let trailer = Trailer::parse(&read(&payload, stored, &(tail..len))?, len)?;
    let toc = trailer.open(&read(&payload, stored, &trailer.toc)?)?;
    let (mut decompressor, mut plain, mut chunks) = (Decompressor::new()?, Vec::new(), Vec::new());
    for (span, members) in &toc.frames {
        decompressor.frame(&read(&payload, stored, &span.range())?, span.plain, &mut plain)?;
        crate::frame::check_members(&plain, members)?;
        for member in members {
            chunks.push(chunk(&plain, member)?.to_vec());
        }
    }
    Ok((toc, chunks))
}

fn contents(seed: &str, lens: &[usize]) -> Vec<Vec<u8>> {
    lens.iter().enumerate().map(|(i, len)| samples::bytes(&format!("{seed}{i}"), *len)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn packs_come_back(lens in prop::collection::vec(0usize..60_000, 0..30), per_frame in 1usize..8, meta in any::<bool>()) {
        let kind = if meta { PackKind::Meta } else { PackKind::Data };
        let chunks = contents("pack", &lens);
        let Sample { stored, finished, identities } = pack(kind, &chunks, per_frame);
        let (toc, found) = read_all(&stored, &identities).unwrap();
        prop_assert_eq!(&toc, &finished.toc);
        prop_assert_eq!(toc.kind, kind);
        prop_assert!(found == chunks);
        let ids: Vec<_> = toc.frames.iter().flat_map(|(_, members)| members).map(|m| m.id).collect();
        prop_assert_eq!(ids, (0..lens.len() as u64).map(samples::id).collect::<Vec<_>>());
        // The same bytes as age's own decryption, for the whole and for ranges.
        let plain = age_file::decrypt("a pack", &stored, &identities, 1 << 30).unwrap();
        let payload = Header::parse(&stored).unwrap().unwrap().open(&identities, stored.len() as u64).unwrap();
        prop_assert_eq!(payload.plain_len(), plain.len() as u64);
        for (span, _) in &toc.frames {
            let range = span.range();
            prop_assert!(read(&payload, &stored, &range).unwrap() == plain[range.start as usize..range.end as usize]);
        }
    }

    #[test]
    fn damaged_tables_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), cut in 0usize..200) {
        let good = pack(PackKind::Data, &contents("t", &[10, 20, 30, 40]), 2).finished.toc.to_bytes();
        let mut bytes = good.clone();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().max(cut) - cut / 2);
        if let Ok(toc) = Toc::from_bytes(&bytes) {
            prop_assert_eq!(toc.to_bytes(), bytes);
            for (span, members) in &toc.frames {
                let _ = span.range();
                prop_assert!(members.iter().all(|m| u64::from(m.offset) + u64::from(m.len) <= u64::from(span.plain)));
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_detected() {
    let Sample { stored, identities, .. } = pack(PackKind::Meta, &contents("flip", &[100, 0, 700, 3]), 2);
    read_all(&stored, &identities).unwrap();
    for at in 0..stored.len() {
        let mut altered = stored.clone();
        altered[at] ^= 1 << (at % 8);
        assert!(read_all(&altered, &identities).is_err(), "byte {at} of {}", stored.len());
    }
}

#[test]
fn truncation_at_and_off_segment_borders_is_detected() {
    let Sample { stored, identities, .. } = pack(PackKind::Data, &contents("cut", &[60_000; 6]), 2);
    let payload = Header::parse(&stored).unwrap().unwrap().open(&identities, stored.len() as u64).unwrap();
    let start = payload.stored_range(&(0..1)).unwrap().start as usize;
    let mut cuts: Vec<usize> = (start..stored.len())
        .step_by(SEGMENT as usize + 16)
        .flat_map(|b| [b, b + 1, b + 16, b + 17])
        .collect();
    cuts.extend([0, 1, start - 1, stored.len() - 65, stored.len() - 16, stored.len() - 1]);
    for cut in cuts.into_iter().filter(|cut| *cut < stored.len()) {
        assert!(read_all(&stored[..cut], &identities).is_err(), "cut to {cut} of {}", stored.len());
    }
    assert!(read_all(&[&stored[..], b"more"].concat(), &identities).is_err());
}

/// A payload of a whole number of segments has a full last one; the sizes of the chunks are searched for it.
#[test]
fn payloads_of_whole_segments() {
    let mut whole = 0;
    for len in (40_000..).step_by(512).take(400) {
        let chunks = contents("whole", &[len]);
        let Sample { stored, identities, .. } = pack(PackKind::Data, &chunks, 1);
        let payload =
            Header::parse(&stored).unwrap().unwrap().open(&identities, stored.len() as u64).unwrap();
        assert_eq!(payload.plain_len() % 512, 0, "padding rounds lengths up");
        if payload.plain_len().is_multiple_of(SEGMENT) {
            whole += 1;
            assert!(read_all(&stored, &identities).unwrap().1 == chunks);
            assert!(read_all(&stored[..stored.len() - 1], &identities).is_err());
        }
    }
    assert!(whole >= 2, "{whole} packs of whole segments");
}

#[test]
fn padding_hides_lengths_and_costs_little() {
    for len in
        (1..5_000_000u64).step_by(999).chain([1 << 26, (1 << 26) + 1, 100_000_000, u64::from(u32::MAX)])
    {
        let total = len + padding(len);
        assert!(padding(len) < 512 || padding(len) * 256 < len, "{len}");
        assert_eq!(total % 512, 0);
        assert!(total >> (total.ilog2().saturating_sub(9)) <= 1023);
    }
}

/// The size that packs are closed at must count the table: of tiny chunks it is the larger part, and readers have a limit.
#[test]
fn the_length_counts_the_table() {
    let recipients = Recipients::x25519(&generate_identity().1).unwrap();
    let mut writer = PackWriter::create(Vec::new(), PackKind::Data, &recipients).unwrap();
    let mut compressor = Compressor::new(1).unwrap();
    for f in 0..5u64 {
        let mut plain = Plain::new();
        (0..1_000).for_each(|n| plain.push(samples::id(f * 1_000 + n), &[1]).unwrap());
        writer.add(plain.compress(&mut compressor).unwrap()).unwrap();
    }
    let announced = writer.len();
    let finished = writer.finish().unwrap();
    assert!(
        finished.size.abs_diff(announced) < 2_000 + announced / 100,
        "{announced} announced, {} stored",
        finished.size
    );
    assert!(finished.toc.to_bytes().len() > finished.size as usize / 3);
}

#[test]
fn nothing_is_written_that_readers_refuse() {
    let recipients = Recipients::x25519(&generate_identity().1).unwrap();
    let mut writer = PackWriter::create(Vec::new(), PackKind::Data, &recipients).unwrap();
    let member = Member { id: samples::id(0), offset: 512, len: 0 };
    let full = |n| Frame { bytes: vec![0; 10], plain_len: 512, members: vec![member; n] };
    assert!(writer.add(Frame { plain_len: frame::MAX_PLAIN as u32 + 1, ..full(1) }).is_err());
    assert!(writer.add(Frame { bytes: vec![0; frame::MAX_STORED + 1], ..full(1) }).is_err());
    assert!(writer.add(Frame { bytes: vec![], ..full(1) }).is_err());
    let half = (MAX_TOC / MEMBER_ROW / 2) as usize;
    writer.add(full(half)).unwrap();
    assert!(writer.add(full(half + 1)).is_err());
    writer.add(full(half - 2)).unwrap();
    let toc = writer.finish().unwrap().toc;
    assert!(toc.to_bytes().len() as u64 <= MAX_TOC);
    assert_eq!(Toc::from_bytes(&toc.to_bytes()).unwrap(), toc);
}

fn crafted(frames: u32, chunks: u32, rest: &[u8]) -> Vec<u8> {
    [&b"FTOC\x01\0\0\0"[..], &frames.to_le_bytes(), &chunks.to_le_bytes(), rest].concat()
}

fn span(offset: u64, stored: u32, plain: u32, members: u32) -> Vec<u8> {
    [&offset.to_le_bytes()[..], &stored.to_le_bytes(), &plain.to_le_bytes(), &members.to_le_bytes()].concat()
}

fn member(offset: u32, len: u32) -> Vec<u8> {
    [&[7; 32][..], &offset.to_le_bytes(), &len.to_le_bytes()].concat()
}

#[test]
fn hostile_tables_are_refused() {
    let good = crafted(2, 1, &[span(0, 10, 1024, 1), span(10, 5, 0, 0), member(512, 512)].concat());
    assert_eq!(Toc::from_bytes(&good).unwrap().frames.len(), 2);
    // 214,748,365 x 20 and 107,374,183 x 40 wrap around to small numbers in 32 bits.
    let overflows =
        [(214_748_365, 0), (0, 107_374_183), (u32::MAX, u32::MAX), (0x4000_0000, 0x6000_0000), (1 << 30, 0)];
    for (frames, chunks) in overflows {
        let wrapped = frames.wrapping_mul(20).wrapping_add(chunks.wrapping_mul(40)) as usize;
        for len in [0, 20, 40, wrapped.min(1 << 20)] {
            assert!(Toc::from_bytes(&crafted(frames, chunks, &vec![0; len])).is_err());
        }
    }
    let bad = [
        crafted(1, 1, &[span(0, 10, 1024, 0), member(512, 512)].concat()),
        crafted(1, 1, &[span(0, 10, 1024, 2), member(512, 512)].concat()),
        crafted(2, 1, &[span(0, 10, 1024, u32::MAX), span(10, 10, 0, 2), member(512, 512)].concat()),
        crafted(1, 1, &[span(0, 10, 1024, 1), member(512, 513)].concat()),
        crafted(1, 1, &[span(0, 10, 1024, 1), member(u32::MAX, u32::MAX)].concat()),
        crafted(1, 0, &span(0, 0, 0, 0)),
        crafted(1, 0, &span(0, 10, frame::MAX_PLAIN as u32 + 1, 0)),
        crafted(1, 0, &span(0, frame::MAX_STORED as u32 + 1, 0, 0)),
        crafted(1, 0, &span(u64::MAX, 10, 0, 0)),
        crafted(2, 0, &[span(10, 10, 0, 0), span(19, 10, 0, 0)].concat()),
        crafted(2, 0, &[span(10, 10, 0, 0), span(0, 10, 0, 0)].concat()),
        good[..good.len() - 1].to_vec(),
        [&good[..], b"x"].concat(),
        b"FTOC".to_vec(),
        Vec::new(),
    ];
    for (i, bytes) in bad.iter().enumerate() {
        assert!(Toc::from_bytes(bytes).is_err(), "table {i}");
    }
    for (at, byte) in [(0, b'G'), (5, 2), (6, 1), (7, 1)] {
        let mut other = good.clone();
        other[at] = byte;
        assert!(matches!(Toc::from_bytes(&other), Err(Error::Damaged { .. })));
    }
    let mut newer = good;
    newer[4] = 2;
    assert!(matches!(Toc::from_bytes(&newer), Err(Error::Version { found: 2, known: 1, .. })));
}

#[test]
fn hostile_trailers_are_refused() {
    let toc = crafted(0, 0, &[]);
    let trailer = |offset: u64, len: u64| {
        let head = [&skippable(TRAILER_MAGIC, 56)[..], b"FARDELP1"].concat();
        [&head[..], &offset.to_le_bytes(), &len.to_le_bytes(), blake3::hash(&toc).as_bytes()].concat()
    };
    let good = trailer(100, 16);
    assert_eq!(good.len() as u64, TRAILER_LEN);
    let parsed = Trailer::parse(&good, 180).unwrap();
    assert_eq!(parsed.toc, 100..116);
    assert_eq!(parsed.open(&toc).unwrap().frames.len(), 0);
    assert!(parsed.open(&crafted(1, 0, &span(0, 1, 0, 0))).is_err());
    for plain_len in [0, 179, 181, u64::MAX] {
        assert!(Trailer::parse(&good, plain_len).is_err());
    }
    for (offset, len) in [(u64::MAX, 16), (u64::MAX - 15, 16), (100, MAX_TOC + 1), (100, u64::MAX), (0, 180)]
    {
        assert!(Trailer::parse(&trailer(offset, len), 180).is_err());
    }
    assert!(Trailer::parse(&good[..63], 180).is_err());
    assert!(Trailer::parse(&[&good[..], b"x"].concat(), 180).is_err());
    for at in 0..16 {
        let mut other = good.clone();
        other[at] ^= 1;
        assert!(Trailer::parse(&other, 180).is_err());
    }
}

/// A plain pack is one zstd stream: frames, then three skippable frames that streaming readers pass over.
#[test]
fn the_plain_pack_is_a_tar_for_any_zstd() {
    let chunks = contents("tar", &[100, 5_000, 0, 512]);
    let Sample { stored, identities, finished } = pack(PackKind::Data, &chunks, 3);
    let plain = age_file::decrypt("a pack", &stored, &identities, 1 << 30).unwrap();
    let tar = zstd::stream::decode_all(&plain[..]).unwrap();
    let members: usize = finished.toc.frames.iter().map(|(span, _)| span.plain as usize).sum();
    assert_eq!(tar.len(), members + frame::TAR_END.len());
    assert_eq!(tar[members..], frame::TAR_END);
    assert_eq!(&plain[plain.len() - 64..][..16], b"\x52\x2a\x4d\x18\x38\x00\x00\x00FARDELP1");
}
