//! Changes samples as fuzzers do: bits, numbers at the borders of their types, pieces left out, doubled and moved.

/// Numbers that follow from a seed (xorshift64*): good enough to choose with.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }
}

const BYTES: [u8; 12] = [0, 1, 0x0a, 0x0d, 0x20, 0x22, 0x2d, 0x2f, 0x7f, 0x80, 0xfe, 0xff];
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    1 << 23,
    (1 << 23) + 1,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];
const WORDS: [&str; 14] = [
    "0",
    "-1",
    "18446744073709551615",
    "18446744073709551616",
    "1e999",
    "null",
    "[[[[[[[[",
    "{\"a\":",
    "\"",
    "\\u0000",
    "..",
    "- ",
    "\n\n",
    "\u{fffd}",
];

/// A sample after one to five changes.
pub fn mutate(samples: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut data = samples[random.below(samples.len())].clone();
    // Few changes are the likeliest to get past the first check.
    let changes = 1 + random.below(4).min(random.below(5));
    for _ in 0..changes {
        change(&mut data, samples, random);
    }
    data
}

fn change(data: &mut Vec<u8>, samples: &[Vec<u8>], random: &mut Random) {
    if data.is_empty() {
        data.push(random.next() as u8);
        return;
    }
    let at = random.below(data.len());
    let piece = at..(at + 1 + random.below(40)).min(data.len());
    match random.below(12) {
        0 | 1 => data[at] ^= 1 << random.below(8),
        2 => data[at] = BYTES[random.below(BYTES.len())],
        3 => data.insert(at, BYTES[random.below(BYTES.len())]),
        4 => drop(data.drain(piece)),
        5 => data.truncate(at),
        6 => {
            let copy = data[piece].to_vec();
            let to = random.below(data.len());
            data.splice(to..to, copy);
        }
        7 => {
            let number =
                NUMBERS[random.below(NUMBERS.len())].wrapping_add(random.below(3) as u64).wrapping_sub(1);
            let width = [1, 2, 4, 8][random.below(4)].min(data.len() - at);
            data[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        8 => {
            let word = WORDS[random.below(WORDS.len())];
            data.splice(at..at, word.bytes());
        }
        9 => replace_number(data, at, random),
        10 => {
            let other = &samples[random.below(samples.len())];
            let cut = random.below(other.len() + 1);
            data.truncate(at);
            data.extend_from_slice(&other[cut..]);
        }
        _ => data[piece].reverse(),
    }
}

/// Replaces the digits at or after `at` by another number.
fn replace_number(data: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = data[at..].iter().position(u8::is_ascii_digit).map(|i| at + i) else { return };
    let len = data[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    let number = NUMBERS[random.below(NUMBERS.len())].to_string();
    data.splice(start..start + len, number.into_bytes());
}
