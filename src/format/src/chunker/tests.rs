use proptest::prelude::*;

use super::*;
use crate::samples;

const SMALL: Limits = Limits { min: 256, avg: 1024, max: 4096 };

fn key() -> [u8; 32] {
    std::array::from_fn(|i| i as u8)
}

/// The end of each chunk.
fn cuts(chunker: &Chunker, data: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while at < data.len() {
        at += chunker.cut(&data[at..]);
        ends.push(at);
    }
    ends
}

/// Published vectors: the key is the bytes 0 to 31, the input the BLAKE3 output stream of `fardel chunker vector 1`.
/// They never change, else every file would be stored anew.
#[test]
fn vectors() {
    let data = samples::bytes("fardel chunker vector 1", 16 << 20);
    let chunker = Chunker::new(&key(), Limits::DEFAULT).unwrap();
    assert_eq!(cuts(&chunker, &data), VECTOR_DEFAULT);
    let chunker = Chunker::new(&key(), SMALL).unwrap();
    assert_eq!(cuts(&chunker, &data[..32 << 10]), VECTOR_SMALL);
    let other = Chunker::new(&[9; 32], SMALL).unwrap();
    assert_eq!(cuts(&other, &data[..16 << 10]), VECTOR_OTHER_KEY);
}

const VECTOR_DEFAULT: &[usize] = &[
    1261639, 1798947, 2805571, 3357437, 3988943, 4942278, 5377034, 5971126, 6799764, 7229682, 8320042,
    9040949, 9724901, 11077345, 11415952, 11981706, 12591899, 13148361, 13799810, 14941757, 15714407,
    16444773, 16777216,
];
const VECTOR_SMALL: &[usize] = &[
    446, 1121, 2545, 4242, 4548, 5610, 5984, 6356, 7802, 9283, 10075, 11180, 12247, 13317, 14611, 15076,
    16263, 18513, 20002, 20384, 21036, 22490, 23239, 23890, 24394, 24780, 25950, 27842, 29273, 30453, 31270,
    32768,
];
const VECTOR_OTHER_KEY: &[usize] =
    &[950, 2368, 3581, 3867, 4643, 5789, 6069, 7143, 8011, 8363, 10470, 11186, 12946, 14016, 14919, 16384];

/// The gear table as FORMAT.md describes it: its ends, so that a second implementation finds its mistake early.
#[test]
fn gear_table() {
    let chunker = Chunker::new(&key(), SMALL).unwrap();
    assert_eq!(
        format!("{:016x} {:016x}", chunker.gear[0], chunker.gear[255]),
        "463439b70676987b af2b16c7adc96ce5"
    );
    assert_eq!(
        format!("{:016x} {:016x}", chunker.before_avg, chunker.after_avg),
        "ffe0000000000000 ff80000000000000"
    );
}

#[test]
fn equal_bytes_are_cut_at_the_largest_size() {
    let chunker = Chunker::new(&key(), SMALL).unwrap();
    let data = vec![0; 10_000];
    assert_eq!(cuts(&chunker, &data), [4096, 8192, 10_000]);
}

#[test]
fn short_inputs_are_one_chunk() {
    let chunker = Chunker::new(&key(), SMALL).unwrap();
    for len in [0, 1, 63, 64, 65, 255, 256] {
        assert_eq!(chunker.cut(&vec![7; len]), len);
    }
    assert_eq!(chunker.limits(), SMALL);
}

#[test]
fn limits_that_make_no_sense() {
    let good = SMALL;
    good.check().unwrap();
    Limits::DEFAULT.check().unwrap();
    let bad = [
        Limits { min: 63, ..good },
        Limits { min: 1024, ..good },
        Limits { min: 0, avg: 0, max: 0 },
        Limits { avg: 1000, ..good },
        Limits { avg: 4096, ..good },
        Limits { max: (4 << 20) + 1, ..good },
        Limits { max: u32::MAX, ..good },
        Limits { avg: 1 << 31, max: u32::MAX, ..good },
    ];
    for limits in bad {
        assert!(limits.check().is_err(), "{limits:?}");
        assert!(Chunker::new(&key(), limits).is_err());
    }
}

#[test]
fn the_usual_size_is_near_the_average() {
    let data = samples::bytes("average", 4 << 20);
    let chunks = cuts(&Chunker::new(&key(), SMALL).unwrap(), &data).len();
    let usual = data.len() / chunks;
    assert!((900..1500).contains(&usual), "{usual}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sizes_are_within_the_limits(seed in any::<u32>(), len in 0usize..100_000, repeat in 1usize..40) {
        // Partly random, partly repeating, so that cuts fall at the smallest, the usual and the largest size.
        let mut data = samples::bytes(&seed.to_string(), len);
        for run in data.chunks_mut(9_000).skip(1).step_by(2) {
            let pattern = run[..repeat.min(run.len())].to_vec();
            run.iter_mut().zip(pattern.iter().cycle()).for_each(|(byte, p)| *byte = *p);
        }
        let ends = cuts(&Chunker::new(&key(), SMALL).unwrap(), &data);
        prop_assert_eq!(ends.last().copied().unwrap_or(0), len);
        let mut start = 0;
        for (i, end) in ends.iter().enumerate() {
            let size = end - start;
            prop_assert!(size <= SMALL.max as usize);
            prop_assert!(size > SMALL.min as usize || i + 1 == ends.len());
            start = *end;
        }
    }

    #[test]
    fn an_insertion_moves_only_cuts_near_it(seed in any::<u32>(), at in 20_000usize..60_000, insert in 1usize..500) {
        let data = samples::bytes(&seed.to_string(), 200_000);
        let mut changed = data[..at].to_vec();
        changed.extend(samples::bytes("inserted", insert));
        changed.extend_from_slice(&data[at..]);
        let chunker = Chunker::new(&key(), SMALL).unwrap();
        let (before, after) = (cuts(&chunker, &data), cuts(&chunker, &changed));
        // Cuts before the insertion stay; from some cut after it on, all are the same, moved.
        let same_start = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
        prop_assert!(before[same_start.saturating_sub(1)] + 2 * SMALL.max as usize >= at);
        let same_end = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| **a + insert == **b).count();
        prop_assert!(same_end > 0);
        let changed_chunks = after.len() - same_start - same_end;
        prop_assert!(changed_chunks <= 40, "{} of {} chunks changed", changed_chunks, after.len());
    }

    #[test]
    fn a_cut_looks_at_one_chunk_only(seed in any::<u32>(), more in 0usize..10_000) {
        let data = samples::bytes(&seed.to_string(), SMALL.max as usize + more);
        let chunker = Chunker::new(&key(), SMALL).unwrap();
        prop_assert_eq!(chunker.cut(&data), chunker.cut(&data[..SMALL.max as usize]));
    }
}
