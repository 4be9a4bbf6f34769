//! Lists of packs, each read once: the snapshots of a host share most of theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fardel_format::ObjectHash;
use fardel_format::pack_list::PackEntry;

/// Lists beyond this are not read, in bytes: nobody has the tens of terabytes of packs that they would name.
pub const MAX_SIZE: u64 = 64 << 20;

/// Packs in all lists that are kept; each is 40 bytes.
const ROOM: usize = 1 << 20;

/// Lists that were read and verified, while there is room.
#[derive(Default)]
pub struct Lists(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    lists: HashMap<ObjectHash, Arc<Vec<PackEntry>>>,
    packs: usize,
}

impl Lists {
    /// The list of this hash, if it was kept; else what `read` gives, which is kept from now on.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn get_or_read<E>(
        &self,
        hash: &ObjectHash,
        read: impl FnOnce() -> Result<Vec<PackEntry>, E>,
    ) -> Result<Arc<Vec<PackEntry>>, E> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lock().lists.get(hash) {
            return Ok(list.clone());
        }
        let list = Arc::new(read()?);
        let mut kept = lock();
        if kept.packs + list.len() > ROOM {
            *kept = Kept::default();
        }
        kept.packs += list.len();
        kept.lists.insert(*hash, list.clone());
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshots::Snapshots;

    #[test]
    fn lists_are_read_once_and_take_no_more_than_the_room() {
        let lists = Lists::default();
        let hash = |n: usize| ObjectHash(*blake3::hash(&n.to_le_bytes()).as_bytes());
        let list = vec![PackEntry { hash: hash(0), size: 1 }; ROOM / 4];
        for n in 0..10 {
            let read = lists.get_or_read(&hash(n), || Ok::<_, ()>(list.clone())).unwrap();
            assert_eq!(read.len(), ROOM / 4);
            assert!(lists.0.lock().unwrap().packs <= ROOM);
            assert!(lists.get_or_read(&hash(n), || Err("it was read before")).is_ok());
        }
        assert_eq!(lists.get_or_read(&hash(0), || Err("it was let go")), Err("it was let go"));
    }

    #[test]
    fn a_list_that_nobody_would_write_is_not_read() {
        let fixture = crate::testing::fixture();
        fixture.write("a", "a");
        fixture.backup(&[&fixture.source()]);
        let (repo, mut catalog) = fixture.open();
        let snapshots = Snapshots::load(&repo, &catalog).unwrap();
        let manifest = &snapshots.sealed[0].manifest;
        assert!(!repo.closure(&catalog, manifest).unwrap().is_empty());
        let (repo, _) = fixture.open();
        catalog.lists.values_mut().for_each(|stored| stored.size = MAX_SIZE + 1);
        let error = repo.closure(&catalog, manifest).unwrap_err().to_string();
        assert!(error.contains("lists/") && error.contains("a list"), "{error}");
    }
}
