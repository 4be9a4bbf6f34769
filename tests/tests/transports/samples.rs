//! What the suites of several transports need.

use std::path::Path;

use fardel_store::{Key, Store};
use futures::TryStreamExt;

pub const MIB: usize = 1 << 20;

pub fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// All names, sorted.
pub async fn names(store: &impl Store) -> Vec<String> {
    let mut names: Vec<String> = store.list("").map_ok(|l| l.name).try_collect().await.unwrap();
    names.sort();
    names
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 8) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// How many files lie in the folders of a folder.
pub fn files_below(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder).into_iter().flatten();
    folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}
