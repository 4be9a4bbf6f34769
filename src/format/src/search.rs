//! Search among sorted ids, which are hashes and therefore spread evenly.

/// So many guesses by interpolation; then it bisects, so that crafted ids cost log n steps at most.
const GUESSES: u32 = 4;
/// Within fewer than so many it bisects at once.
const NEAR: u64 = 8;

/// The beginning of an id as a number: it tells nearly always which of two comes first, and sooner than a comparison of all bytes.
#[must_use]
pub fn head(id: &[u8; 32]) -> u64 {
    u64::from_be_bytes(*id.first_chunk().expect("an id has 32 bytes"))
}

/// The number of the first of `len` sorted ids that does not come before `id`; `at` gives the id of a number.
pub fn first_not_before<'a>(len: u64, id: &[u8; 32], at: impl Fn(u64) -> &'a [u8; 32]) -> u64 {
    let wanted = head(id);
    let (mut low, mut high) = (0, len);
    let (mut low_head, mut high_head) = (0, u64::MAX);
    let mut guesses = 0;
    while low < high {
        let width = high - low;
        let middle = if width > NEAR && guesses < GUESSES {
            guesses += 1;
            let span = u128::from(high_head - low_head) + 1;
            let guess = u128::from(wanted.saturating_sub(low_head)) * u128::from(width) / span;
            low + (guess as u64).min(width - 1)
        } else {
            low + width / 2
        };
        let found = at(middle);
        let found_head = head(found);
        if found_head < wanted || (found_head == wanted && found < id) {
            (low, low_head) = (middle + 1, found_head);
        } else {
            (high, high_head) = (middle, found_head);
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees(ids: &[[u8; 32]], id: &[u8; 32]) {
        let found = first_not_before(ids.len() as u64, id, |n| &ids[n as usize]);
        assert_eq!(found, ids.partition_point(|other| other < id) as u64, "{id:?}");
    }

    #[test]
    fn it_finds_what_bisection_finds() {
        let hash = |n: u32| *blake3::hash(&n.to_le_bytes()).as_bytes();
        for len in [0, 1, 2, 9, 100, 10_000] {
            let mut ids: Vec<_> = (0..len).map(|n| hash(n / 2)).collect();
            ids.sort_unstable();
            (0..2000).for_each(|n| agrees(&ids, &hash(n)));
            [[0; 32], [255; 32]].iter().for_each(|id| agrees(&ids, id));
        }
    }

    #[test]
    fn crafted_ids_cost_no_more_than_bisection() {
        // All but one begin alike.
        let tail = |n: u32, head: u8| {
            let mut id = [head; 32];
            id[28..].copy_from_slice(&n.to_be_bytes());
            id
        };
        let mut alike: Vec<_> = (0..5000).map(|n| tail(n, 7)).collect();
        alike.push([255; 32]);
        // Each twice as large as the one before.
        let powers: Vec<[u8; 32]> = (0..256_usize)
            .rev()
            .map(|bit| {
                let mut id = [0; 32];
                id[bit / 8] = 0x80 >> (bit % 8);
                id
            })
            .collect();
        for ids in [alike, powers] {
            for n in (0..ids.len()).step_by(7) {
                agrees(&ids, &ids[n]);
                let steps = std::cell::Cell::new(0);
                first_not_before(ids.len() as u64, &ids[n], |n| {
                    steps.set(steps.get() + 1);
                    &ids[n as usize]
                });
                assert!(steps.get() <= GUESSES + ids.len().ilog2() + 1, "{} steps", steps.get());
            }
        }
    }
}
