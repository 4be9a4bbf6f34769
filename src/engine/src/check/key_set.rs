//! A set of keys that may outgrow memory: the newest in a table, older ones in sorted files.

use std::collections::HashSet;

use super::sorter::{KEY, OnDisk, RunWriter, Scratch, merge};
use crate::Result;

/// A set of keys that may outgrow memory.
pub struct KeySet {
    scratch: Scratch,
    fresh: HashSet<[u8; KEY]>,
    capacity: usize,
    runs: Vec<OnDisk<KEY>>,
}

impl KeySet {
    /// Holds about so many bytes.
    pub fn new(scratch: &Scratch, memory: u64) -> Self {
        // What a hash set takes for a key, the spare room of its table included.
        let capacity = (memory as usize / (3 * KEY)).max(1024);
        Self { scratch: scratch.clone(), fresh: HashSet::new(), capacity, runs: Vec::new() }
    }

    /// Whether the key is in it.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn contains(&self, key: &[u8; KEY]) -> Result<bool> {
        if self.fresh.contains(key) {
            return Ok(true);
        }
        for run in &self.runs {
            if !run.find(key)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds a key; whether it is new.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn insert(&mut self, key: [u8; KEY]) -> Result<bool> {
        if self.contains(&key)? {
            return Ok(false);
        }
        if self.fresh.len() >= self.capacity {
            let mut keys: Vec<_> = self.fresh.drain().collect();
            keys.sort_unstable();
            let mut writer = RunWriter::create(&self.scratch)?;
            keys.iter().try_for_each(|key| writer.push(key))?;
            self.runs.push(writer.finish()?);
            if self.runs.len() >= 8 {
                self.runs = vec![merge(&self.scratch, &self.runs)?];
            }
        }
        Ok(self.fresh.insert(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outgrows_memory() {
        let temp = tempfile::tempdir().unwrap();
        let mut set = KeySet::new(&Scratch::new(temp.path()), 0);
        let key = |n: u64| *blake3::hash(&n.to_le_bytes()).as_bytes();
        for n in 0..20_000 {
            assert!(set.insert(key(n)).unwrap());
            assert!(!set.insert(key(n)).unwrap());
        }
        for n in (0..20_000).step_by(501) {
            assert!(set.contains(&key(n)).unwrap());
        }
        assert!(!set.contains(&[7; 32]).unwrap());
    }
}
