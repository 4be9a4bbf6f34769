use proptest::prelude::*;

use super::*;
use crate::samples;

fn filled(chunks: &[Vec<u8>]) -> Plain {
    let mut plain = Plain::new();
    for (n, chunk) in chunks.iter().enumerate() {
        plain.push(samples::id(n as u64), chunk).unwrap();
    }
    plain
}

fn compressed(plain: &Plain) -> Frame {
    plain.compress(&mut Compressor::new(3).unwrap()).unwrap()
}

/// A zstd frame by hand: a content size (or none), a window descriptor, one raw block.
fn by_hand(declared: Option<u32>, window: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, if declared.is_some() { 0x80 } else { 0 }, window];
    declared.iter().for_each(|size| frame.extend_from_slice(&size.to_le_bytes()));
    let block = (content.len() as u32) << 3 | 1;
    frame.extend_from_slice(&block.to_le_bytes()[..3]);
    frame.extend_from_slice(content);
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn chunks_come_back(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3_000), 1..30), level in 1i32..6) {
        let plain = filled(&chunks);
        let frame = plain.compress(&mut Compressor::new(level).unwrap()).unwrap();
        prop_assert_eq!(frame.plain_len as usize, plain.len());
        let mut out = vec![1, 2, 3];
        Decompressor::new().unwrap().frame(&frame.bytes, frame.plain_len, &mut out).unwrap();
        check_members(&out, &frame.members).unwrap();
        for (n, (member, content)) in frame.members.iter().zip(&chunks).enumerate() {
            prop_assert_eq!(member.id, samples::id(n as u64));
            prop_assert_eq!(chunk(&out, member).unwrap(), &content[..]);
        }
    }

    #[test]
    fn damaged_frames_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4), cut in any::<prop::sample::Index>()) {
        let frame = compressed(&filled(&[samples::bytes("frame", 900), vec![7; 900]]));
        let mut bytes = frame.bytes.clone();
        for (at, bits) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        let (mut out, mut decompressor) = (Vec::new(), Decompressor::new().unwrap());
        let _ = decompressor.frame(&bytes, frame.plain_len, &mut out);
        prop_assert!(decompressor.frame(&frame.bytes[..cut.index(frame.bytes.len())], frame.plain_len, &mut out).is_err());
        // The same decompressor still works.
        decompressor.frame(&frame.bytes, frame.plain_len, &mut out).unwrap();
    }
}

#[test]
fn frames_are_closed_at_the_target() {
    let mut plain = Plain::new();
    assert!(
        plain.is_empty() && !plain.is_full_for(MAX_CHUNK),
        "a chunk above the target gets a frame of its own"
    );
    plain.push(samples::id(0), &[0; 100]).unwrap();
    assert!(!plain.is_empty() && !plain.is_full_for(1000) && plain.is_full_for(TARGET));
    assert_eq!(plain.len(), 1024);
    plain.clear();
    assert!(plain.is_empty());
}

#[test]
fn nothing_is_written_that_readers_refuse() {
    let mut plain = Plain::new();
    assert!(matches!(plain.push(samples::id(0), &vec![0; MAX_CHUNK + 1]), Err(Error::TooLarge { .. })));
    plain.push(samples::id(0), &vec![0; MAX_CHUNK]).unwrap();
    plain.push(samples::id(1), &vec![0; MAX_CHUNK - 1024]).unwrap();
    assert_eq!(plain.len(), MAX_PLAIN);
    assert!(matches!(plain.push(samples::id(2), b""), Err(Error::TooLarge { .. })));
    let frame = compressed(&plain);
    Decompressor::new().unwrap().frame(&frame.bytes, frame.plain_len, &mut Vec::new()).unwrap();
}

#[test]
fn what_cannot_be_compressed_still_fits() {
    let mut plain = Plain::new();
    let content = samples::bytes("random", MAX_CHUNK);
    plain.push(samples::id(0), &content).unwrap();
    plain.push(samples::id(1), &content[1024..]).unwrap();
    let frame = plain.compress(&mut Compressor::new(1).unwrap()).unwrap();
    assert!(frame.bytes.len() <= MAX_STORED);
    assert!(zstd::zstd_safe::compress_bound(MAX_PLAIN) <= MAX_STORED);
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let (mut decompressor, mut out) = (Decompressor::new().unwrap(), Vec::new());
    let bomb = zstd::bulk::compress(&vec![0; MAX_PLAIN + 1], 3).unwrap();
    assert!(bomb.len() < 2_000);
    let refused = |result| matches!(result, Err(Error::TooLarge { .. }));
    assert!(refused(decompressor.frame(&bomb, MAX_PLAIN as u32 + 1, &mut out)));
    assert!(refused(decompressor.frame(&bomb, u32::MAX, &mut out)));
    assert!(refused(decompressor.frame(&bomb, 100, &mut out)));
    let gigabytes = by_hand(Some(u32::MAX), 0x50, b"x");
    assert!(refused(decompressor.frame(&gigabytes, 1, &mut out)));
    assert!(refused(decompress_limited("a document", &gigabytes, 64 << 20).map(drop)));
    assert_eq!(out.capacity(), 0, "no memory was taken");
    // One that says less than it holds, one that says more, one that says nothing.
    assert!(decompressor.frame(&by_hand(Some(1), 0x50, &[7; 500]), 1, &mut out).is_err());
    assert!(decompressor.frame(&by_hand(Some(501), 0x50, &[7; 500]), 501, &mut out).is_err());
    assert!(decompressor.frame(&by_hand(None, 0x50, &[7; 500]), 500, &mut out).is_err());
    assert!(out.capacity() < 64 << 10);
}

/// The window of a frame says how much memory a streaming reader needs; this one needs none.
#[test]
fn a_giant_window_takes_no_memory() {
    let (mut decompressor, mut out) = (Decompressor::new().unwrap(), Vec::new());
    for window in [0x50, 0xa8, 0xf8, 0xff] {
        let frame = by_hand(Some(500), window, &[7; 500]);
        let before = resident();
        if decompressor.frame(&frame, 500, &mut out).is_ok() {
            assert_eq!(out, [7; 500]);
        }
        assert!(resident() < before + (32 << 20), "window {window:#x}");
    }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

#[test]
fn a_frame_is_one_frame() {
    let frame = compressed(&filled(&[vec![1; 100]]));
    let (mut decompressor, mut out) = (Decompressor::new().unwrap(), Vec::new());
    let empty = zstd::bulk::compress(b"", 1).unwrap();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"1234"].concat();
    for other in [&empty[..], &skippable, b"x", &frame.bytes] {
        let after = [&frame.bytes[..], other].concat();
        let before = [other, &frame.bytes[..]].concat();
        assert!(decompressor.frame(&after, frame.plain_len, &mut out).is_err());
        assert!(decompressor.frame(&before, frame.plain_len, &mut out).is_err());
    }
    assert!(decompressor.frame(&[], 0, &mut out).is_err());
    assert!(decompressor.frame(b"not a frame at all", 0, &mut out).is_err());
}

#[test]
fn a_chunk_outside_its_frame() {
    let plain = vec![0; 100];
    let member = |offset, len| Member { id: samples::id(0), offset, len };
    assert_eq!(chunk(&plain, &member(60, 40)).unwrap().len(), 40);
    for (offset, len) in [(60, 41), (101, 0), (u32::MAX, u32::MAX), (0, u32::MAX), (u32::MAX, 1)] {
        assert!(chunk(&plain, &member(offset, len)).is_err());
    }
}

#[test]
fn members_must_be_what_tar_sees() {
    let plain = filled(&[vec![1; 10], vec![], vec![3; 512]]);
    let good = plain.members.clone();
    check_members(&plain.bytes, &good).unwrap();
    let mut other_id = good.clone();
    other_id[1].id = samples::id(9);
    let mut other_len = good.clone();
    other_len[0].len = 11;
    let mut moved = good.clone();
    moved[2].offset += 1;
    let mut giant = good.clone();
    giant[2].len = u32::MAX;
    let swapped = vec![good[1], good[0], good[2]];
    for bad in [other_id, other_len, moved, giant, swapped, good[..2].to_vec(), vec![]] {
        assert!(check_members(&plain.bytes, &bad).is_err());
    }
    assert!(check_members(&plain.bytes[..plain.bytes.len() - 1], &good).is_err());
}

/// The header of version 1, byte by byte, as sums: another header would be another frame of the same chunks.
#[test]
fn the_tar_header_is_frozen() {
    let header = tar_header(samples::id(1), 0o1234567);
    assert_eq!(&header[..64], samples::id(1).to_string().as_bytes());
    assert_eq!(&header[100..124], b"0000644\x000000000\x000000000\x00");
    assert_eq!(&header[124..148], b"00001234567\x0000000000000\x00");
    assert_eq!(&header[156..158], b"0\x00");
    assert_eq!(&header[257..265], b"ustar\x0000");
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(i, &b)| if (148..156).contains(&i) { 32 } else { u32::from(b) })
        .sum();
    assert_eq!(&header[148..156], format!("{sum:06o}\0 ").as_bytes());
    assert!(header[64..100].iter().chain(&header[158..257]).chain(&header[265..]).all(|&b| b == 0));
}
