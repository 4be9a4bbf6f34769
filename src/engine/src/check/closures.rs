//! Which packs each snapshot needs, list by list; lists that snapshots share are read once.

use std::collections::HashMap;
use std::sync::Arc;

use fardel_format::ObjectHash;
use fardel_format::manifest::{ListRef, Manifest};
use fardel_format::names::{FanOut, Name};
use fardel_format::pack_list::{self, Bitmap, PackEntry};

use super::findings::{class_of_read, class_of_text};
use super::report::Class;
use crate::catalog::{Catalog, key_of};
use crate::repository::Repository;
use crate::{Error, Result, lists};

/// Something that a snapshot needs and that is not as it must be.
#[derive(Clone, Debug)]
pub struct Lack {
    /// Its key.
    pub object: String,
    /// What is wrong.
    pub class: Class,
    /// In words.
    pub why: String,
}

impl Lack {
    /// One lack.
    pub fn new(object: impl ToString, class: Class, why: impl ToString) -> Self {
        Self { object: object.to_string(), class, why: why.to_string() }
    }
}

/// A snapshot's packs, as far as its lists can be read.
pub struct Closure {
    /// Sorted by hash.
    pub packs: Vec<PackEntry>,
    /// Lists that cannot be read.
    pub lacks: Vec<Lack>,
}

/// Lists, read once and kept while there is room.
pub struct Closures<'a> {
    repo: &'a Repository,
    catalog: &'a Catalog,
    lists: HashMap<ObjectHash, Arc<Result<Vec<PackEntry>, Lack>>>,
    kept: usize,
    room: usize,
}

impl<'a> Closures<'a> {
    /// Holds about so many bytes of lists.
    pub fn new(repo: &'a Repository, catalog: &'a Catalog, memory: u64) -> Self {
        let room = (memory as usize / size_of::<PackEntry>()).max(1024);
        Self { repo, catalog, lists: HashMap::new(), kept: 0, room }
    }

    /// The packs of a snapshot.
    ///
    /// # Errors
    /// When the store fails.
    pub fn of(&mut self, manifest_key: &str, manifest: &Manifest) -> Result<Closure> {
        let mut closure = Closure { packs: Vec::new(), lacks: Vec::new() };
        for list in &manifest.lists {
            let entries = self.list(list)?;
            let entries = match &*entries {
                Ok(entries) => entries,
                Err(lack) => {
                    closure.lacks.push(lack.clone());
                    continue;
                }
            };
            let bitmap = Bitmap::from_text(&list.packs, entries.len());
            match bitmap.ok().filter(|_| entries.len() as u64 == list.count) {
                Some(bitmap) => {
                    let marked = entries.iter().enumerate().filter(|(i, _)| bitmap.get(*i));
                    closure.packs.extend(marked.map(|(_, entry)| *entry));
                }
                None => {
                    let why = format!("it marks packs that list {} does not have", list.hash.short());
                    closure.lacks.push(Lack::new(manifest_key, Class::Forged, why));
                }
            }
        }
        closure.packs.sort_unstable();
        closure.packs.dedup();
        Ok(closure)
    }

    fn list(&mut self, list: &ListRef) -> Result<Arc<Result<Vec<PackEntry>, Lack>>> {
        if let Some(entries) = self.lists.get(&list.hash) {
            return Ok(entries.clone());
        }
        let entries = Arc::new(self.read(list)?);
        let len = entries.as_ref().as_ref().map_or(1, Vec::len);
        if self.kept + len > self.room {
            self.lists.clear();
            self.kept = 0;
        }
        self.kept += len;
        self.lists.insert(list.hash, entries.clone());
        Ok(entries)
    }

    fn read(&self, list: &ListRef) -> Result<Result<Vec<PackEntry>, Lack>> {
        let Some(stored) = self.catalog.lists.get(&list.hash) else {
            let key = key_of(&Name::List(list.hash), FanOut::FLAT);
            return Ok(Err(Lack::new(key, Class::Missing, "a list of packs is not here")));
        };
        if let Some((class, why)) = wrong_size(stored.size, list.size) {
            return Ok(Err(Lack::new(&stored.key, class, why)));
        }
        if stored.size > lists::MAX_SIZE {
            let why = format!("a list of packs has {} bytes: no writer makes one so large", stored.size);
            return Ok(Err(Lack::new(&stored.key, Class::Forged, why)));
        }
        let bytes = match self.repo.store().get(&stored.key) {
            Ok(bytes) => bytes,
            Err(error) => match class_of_read(&error) {
                Some(class) => return Ok(Err(Lack::new(&stored.key, class, error))),
                None => return Err(Error::Store(error)),
            },
        };
        if ObjectHash::of(&bytes) != list.hash {
            return Ok(Err(Lack::new(&stored.key, class_of_text(&bytes), "its hash differs from its name")));
        }
        Ok(pack_list::from_bytes(&bytes).map_err(|error| Lack::new(&stored.key, Class::Forged, error)))
    }
}

/// What an object of `found` bytes is that must have `wanted`.
pub fn wrong_size(found: u64, wanted: u64) -> Option<(Class, String)> {
    let class = match found.cmp(&wanted) {
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Less => Class::Truncated,
        std::cmp::Ordering::Greater => Class::Corrupt,
    };
    Some((class, format!("it has {found} bytes instead of {wanted}")))
}
