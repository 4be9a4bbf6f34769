//! The folders used last, held open.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Worker threads rarely meet at one lock.
const SHARDS: usize = 8;
/// With the shards: at most 64 descriptors, well below the usual limit of 1,024.
const PER_SHARD: usize = 8;

/// Open folders by their path beneath the target, the least recently used ones closed.
///
/// A folder that was found here may have been renamed, replaced or deleted since. That is harmless: the descriptor
/// stands for a real folder that was reached from the target without a symbolic link, never for whatever lies at its
/// path now. Who moved it had the right to, and gets what would have been restored into it; nothing else is touched.
/// In a deleted folder nothing can be made (ENOENT). What this process removes itself is forgotten here.
#[derive(Debug, Default)]
pub(super) struct Folders {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    clock: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    path: Box<[u8]>,
    used: u64,
    fd: Arc<OwnedFd>,
}

impl Folders {
    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // A panic elsewhere cannot leave a half-made entry.
        self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, path: &[u8]) -> Option<Arc<OwnedFd>> {
        let hash = self.hasher.hash_one(path);
        let mut shard = self.shard(hash);
        shard.clock += 1;
        let now = shard.clock;
        let entry = shard.entries.iter_mut().find(|entry| entry.hash == hash && *entry.path == *path)?;
        entry.used = now;
        Some(Arc::clone(&entry.fd))
    }

    pub(super) fn put(&self, path: &[u8], fd: &Arc<OwnedFd>) {
        let hash = self.hasher.hash_one(path);
        let mut shard = self.shard(hash);
        shard.clock += 1;
        let entry = Entry { hash, path: path.into(), used: shard.clock, fd: Arc::clone(fd) };
        let same = shard.entries.iter().position(|entry| entry.hash == hash && *entry.path == *path);
        let oldest = || (0..PER_SHARD).min_by_key(|&i| shard.entries[i].used);
        match same.or_else(|| if shard.entries.len() < PER_SHARD { None } else { oldest() }) {
            Some(i) => shard.entries[i] = entry,
            None => shard.entries.push(entry),
        }
    }

    /// Forgets a folder that was removed, and all beneath it.
    pub(super) fn forget(&self, path: &[u8]) {
        let beneath = |entry: &Entry| {
            entry.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).entries.retain(|entry| !beneath(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_was_used_last() {
        let fd = Arc::new(OwnedFd::from(std::fs::File::open("/").unwrap()));
        let folders = Folders::default();
        folders.put(b"hot", &fd);
        for i in 0..1000 {
            folders.put(format!("cold/{i}").as_bytes(), &fd);
            assert!(folders.get(b"hot").is_some());
        }
        assert!(Arc::strong_count(&fd) <= SHARDS * PER_SHARD + 1);
        folders.forget(b"col");
        assert!(folders.get(b"cold/999").is_some());
        folders.forget(b"cold");
        assert!(folders.get(b"cold/999").is_none() && folders.get(b"hot").is_some());
        assert_eq!(Arc::strong_count(&fd), 2);
    }
}
