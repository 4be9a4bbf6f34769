//! Which packs are written anew.
//!
//! 1. Packs of which nothing is wanted: they are only left out.
//! 2. Packs that are needed and condemned: no new snapshot may rest on them.
//! 3. Small packs, when there are more than a few: the smallest, and larger ones as long as each is not much larger than all
//!    smaller ones together. So each byte is written anew a few times only, until it lies in a pack of full size.
//! 4. Packs with the largest unused part, until little enough is unused in all.

use std::collections::HashSet;

use fardel_format::ObjectHash;
use fardel_format::pack::PackKind;
use fardel_format::pack_list::PackEntry;

use super::options::PruneOptions;
use super::usage::Used;

/// Small packs that may stay, of data and of metadata.
const FEW_DATA: usize = 5;
const FEW_META: usize = 3;

/// Packs whose chunks are written anew together.
pub type Batch = Vec<PackEntry>;

/// Chooses. Packs in `held` stay whatever happens.
#[must_use]
pub fn choose(used: &[Used], held: &HashSet<ObjectHash>, options: &PruneOptions) -> Vec<Batch> {
    let may = |used: &&Used| !held.contains(&used.hash) && (!used.young || used.condemned);
    let mut choice = Choice { chosen: HashSet::new(), bytes: 0, limit: options.max_repack };
    for used in used.iter().filter(may).filter(|used| used.live == 0 || used.condemned) {
        choice.take(used);
    }
    for (kind, few) in [(PackKind::Data, FEW_DATA), (PackKind::Meta, FEW_META)] {
        let is_small = |used: &&Used| used.kind == kind && used.size < options.small() && used.live > 0;
        let mut small: Vec<_> = used.iter().filter(is_small).filter(may).collect();
        small.sort_by_key(|used| std::cmp::Reverse((used.size, used.hash)));
        let stay = used.iter().filter(is_small).count() - small.len();
        for used in &small[staying(&small, few.saturating_sub(stay))..] {
            choice.take(used);
        }
    }
    let total: u64 = used.iter().map(|used| used.size).sum();
    let unused = |used: &Used| used.size - used.live;
    let mut left: u64 = used.iter().filter(|used| !choice.chosen.contains(&used.hash)).map(unused).sum();
    let mut sparse: Vec<_> =
        used.iter().filter(may).filter(|used| !choice.chosen.contains(&used.hash)).collect();
    // By the part that is unused, the largest first.
    sparse.sort_by(|a, b| {
        let part = |x: &Used, y: &Used| u128::from(unused(x)) * u128::from(y.size);
        part(b, a).cmp(&part(a, b)).then(a.hash.cmp(&b.hash))
    });
    for used in sparse {
        if left as f64 <= total as f64 * options.max_unused || unused(used) == 0 {
            break;
        }
        if choice.take(used) {
            left -= unused(used);
        }
    }
    batches(used, &choice.chosen, options)
}

struct Choice {
    chosen: HashSet<ObjectHash>,
    bytes: u64,
    limit: u64,
}

impl Choice {
    fn take(&mut self, used: &Used) -> bool {
        let cost = if used.live == 0 { 0 } else { used.size };
        if self.bytes.saturating_add(cost) > self.limit || !self.chosen.insert(used.hash) {
            return false;
        }
        self.bytes += cost;
        true
    }
}

/// How many of these, the largest first, stay as they are so that `few` are left.
fn staying(small: &[&Used], few: usize) -> usize {
    if small.len() <= few {
        return small.len();
    }
    // The merged one takes a place, too.
    let mut stay = few.saturating_sub(1);
    let mut merged: u64 = small[stay..].iter().map(|used| used.size).sum();
    while stay > 0 && 2 * small[stay - 1].size <= 3 * merged {
        stay -= 1;
        merged += small[stay].size;
    }
    // One alone would only be copied.
    if small.len() - stay < 2 { small.len() } else { stay }
}

/// Of one kind each, of about as much as a pack or two.
fn batches(used: &[Used], chosen: &HashSet<ObjectHash>, options: &PruneOptions) -> Vec<Batch> {
    let mut batches = Vec::new();
    for kind in [PackKind::Data, PackKind::Meta] {
        let (mut batch, mut live) = (Batch::new(), 0);
        for used in used.iter().filter(|used| used.kind == kind && chosen.contains(&used.hash)) {
            batch.push(PackEntry { hash: used.hash, size: used.size });
            live += used.live;
            if live >= 2 * options.packer.pack_size {
                batches.push(std::mem::take(&mut batch));
                live = 0;
            }
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packs::PackerOptions;

    fn options() -> PruneOptions {
        let packer = PackerOptions { pack_size: 64 << 20, ..PackerOptions::default() };
        PruneOptions { packer, ..PruneOptions::default() }
    }

    fn used(number: u64, size: u64, live: u64) -> Used {
        let hash = ObjectHash(*blake3::hash(&number.to_le_bytes()).as_bytes());
        Used { hash, kind: PackKind::Data, size, live, condemned: false, young: false }
    }

    fn chosen(used: &[Used], options: &PruneOptions) -> Vec<u64> {
        let batches = choose(used, &HashSet::new(), options);
        let mut sizes: Vec<_> = batches.iter().flatten().map(|pack| pack.size).collect();
        sizes.sort_unstable();
        sizes
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn full_packs_are_left_alone_and_so_are_a_few_small_ones() {
        let full: Vec<_> = (0..50).map(|i| used(i, 64 * MIB, 64 * MIB)).collect();
        assert!(chosen(&full, &options()).is_empty());
        let few: Vec<_> = (0..5).map(|i| used(i, MIB, MIB)).collect();
        assert!(chosen(&few, &options()).is_empty());
    }

    #[test]
    fn more_small_packs_are_merged_from_the_smallest_on() {
        let sizes = [15, 7, 3, 2, 1, 1];
        let small: Vec<_> = sizes.iter().enumerate().map(|(i, s)| used(i as u64, s * MIB, s * MIB)).collect();
        // 1 + 1 = 2: so the one of 2 as well, 4: so 3, 7: so 7, 14: so 15.
        assert_eq!(chosen(&small, &options()), [1, 1, 2, 3, 7, 15].map(|s| s * MIB));
        let small = [used(0, 15 * MIB, 15 * MIB), used(1, 12 * MIB, 12 * MIB), used(2, 9 * MIB, 9 * MIB)];
        let tiny = (3..6).map(|i| used(i, 1000, 1000));
        assert_eq!(chosen(&small.into_iter().chain(tiny).collect::<Vec<_>>(), &options()), [1000; 3]);
    }

    #[test]
    fn each_byte_is_merged_a_few_times_until_its_pack_is_full() {
        let (mut packs, mut written, mut added) = (Vec::<u64>::new(), 0, 0);
        for night in 0..1000 {
            let size = 300_000 + 7919 * (night % 40);
            packs.push(size);
            added += size;
            let used: Vec<_> =
                packs.iter().enumerate().map(|(i, size)| used(i as u64, *size, *size)).collect();
            let merged: Vec<_> = choose(&used, &HashSet::new(), &options()).concat();
            for pack in &merged {
                packs.remove(packs.iter().position(|size| *size == pack.size).unwrap());
            }
            let sum: u64 = merged.iter().map(|pack| pack.size).sum();
            written += sum;
            packs.extend((sum > 0).then_some(sum));
            assert!(packs.iter().filter(|size| **size < 16 * MIB).count() <= FEW_DATA);
        }
        assert!(written <= 3 * added, "{written} bytes written for {added}");
    }

    #[test]
    fn sparse_packs_are_written_anew_until_little_is_unused() {
        let packs: Vec<_> = (0..10).map(|i| used(i, 60 * MIB + i, 60 * MIB - 6 * i * MIB)).collect();
        // 270 of 600 MiB are unused; 30 may be.
        let sizes: Vec<_> = chosen(&packs, &options()).into_iter().map(|size| size - 60 * MIB).collect();
        assert_eq!(sizes, [3, 4, 5, 6, 7, 8, 9]);
        let nothing = PruneOptions { max_unused: 1.0, ..options() };
        assert!(chosen(&packs, &nothing).is_empty());
        let limited = PruneOptions { max_repack: 130 * MIB, ..options() };
        assert_eq!(chosen(&packs, &limited).len(), 2, "the sparsest");
    }

    #[test]
    fn what_is_held_or_young_stays_and_what_is_condemned_goes() {
        let mut packs: Vec<_> = (0..4).map(|i| used(i, 60 * MIB, MIB)).collect();
        packs[0].young = true;
        let held = HashSet::from([packs[1].hash]);
        packs[2].condemned = true;
        packs[2].live = packs[2].size;
        packs[3].live = 0;
        let batches = choose(&packs, &held, &options());
        let hashes: HashSet<_> = batches.iter().flatten().map(|pack| pack.hash).collect();
        assert_eq!(hashes, HashSet::from([packs[2].hash, packs[3].hash]));
        // What is dead costs nothing to leave out.
        let none = PruneOptions { max_repack: 0, ..options() };
        let batches = choose(&packs, &held, &none);
        assert_eq!(batches.concat().iter().map(|pack| pack.hash).collect::<Vec<_>>(), [packs[3].hash]);
    }
}
