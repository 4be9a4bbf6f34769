//! Leaves to chance which packs are read.

use std::collections::HashSet;

use fardel_format::ObjectHash;

use super::Sample;
use crate::catalog::Catalog;

/// Packs that are to be read; `None` for all.
pub fn choose(catalog: &Catalog, sample: Option<Sample>) -> Option<HashSet<ObjectHash>> {
    let sample = sample?;
    // A fresh key at each run: whoever damages packs cannot know which ones are looked at.
    let mut key = [0; 32];
    getrandom::fill(&mut key).expect("the operating system gives randomness");
    let mut packs: Vec<_> = catalog
        .packs
        .iter()
        .map(|(hash, copies)| (*blake3::keyed_hash(&key, &hash.0).as_bytes(), *hash, copies[0].stored.size))
        .collect();
    packs.sort_unstable();
    let count = match sample {
        Sample::Percent(percent) => (packs.len() as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil() as usize,
        Sample::Bytes(limit) => {
            let mut sum = 0u64;
            let mut fits = |size: &u64| {
                sum = sum.saturating_add(*size);
                sum - size < limit
            };
            packs.iter().map(|(_, _, size)| *size).take_while(|size| fits(size)).count()
        }
    };
    Some(packs.into_iter().take(count).map(|(_, hash, _)| hash).collect())
}
