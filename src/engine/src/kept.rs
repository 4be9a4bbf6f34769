//! Signed objects that were read before, in the cache: a service is asked for each of them once, not by every command.
//!
//! One counts as long as a listing shows it and its signature with the sizes that they had, and is verified whenever it is read, like what
//! comes from the store. Whoever examines a store ([`Repository::keep_signed`](crate::Repository::keep_signed)) does without.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fardel_format::ids::Nonce;
use fardel_format::names::Name;

use crate::catalog::{Catalog, Stored};

/// A folder with a file for each: the object, and its signature behind it.
pub struct Kept(PathBuf);

impl Kept {
    /// What is kept of a repository with this cache, of which this is listed; the rest is let go.
    pub fn open(cache: &Path, catalog: &Catalog) -> Self {
        let kept = Self(cache.join("signed"));
        let numbered = catalog.manifests.keys().chain(catalog.tombs.keys()).map(|(_, name)| name.hash);
        let hashes = numbered.chain(catalog.signers.keys().map(|name| name.hash));
        let listed: HashSet<OsString> = hashes.map(|hash| hash.to_string().into()).collect();
        for file in std::fs::read_dir(&kept.0).into_iter().flatten().flatten() {
            if !listed.contains(&file.file_name()) {
                let _ = std::fs::remove_file(file.path());
            }
        }
        kept
    }

    /// An object and its signature, neither of them verified.
    pub fn get(&self, object: &Stored, signature: &Stored) -> Option<(Vec<u8>, String)> {
        let mut bytes = std::fs::read(self.place(object)?).ok()?;
        if bytes.len() as u64 != object.size + signature.size {
            return None;
        }
        let signature = bytes.split_off(usize::try_from(object.size).ok()?);
        Some((bytes, String::from_utf8(signature).ok()?))
    }

    /// Keeps them. Whatever goes wrong only costs the next reader its time.
    pub fn put(&self, object: &Stored, bytes: &[u8], signature: &str) {
        let _ = self.place(object).map(|place| self.write(&place, &[bytes, signature.as_bytes()].concat()));
    }

    #[expect(clippy::disallowed_methods, reason = "it is a cache, and both would have the same bytes")]
    fn write(&self, place: &Path, bytes: &[u8]) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        let temporary = self.0.join(format!("tmp-{}", Nonce::random()));
        let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, place));
        written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
    }

    fn place(&self, object: &Stored) -> Option<PathBuf> {
        let hash = Name::parse(object.key.as_str())?.content_hash()?;
        Some(self.0.join(hash.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Repository;
    use crate::snapshots::Snapshots;
    use crate::testing::stores::Counting;
    use crate::testing::{Fixture, fixture};

    /// A repository with so many snapshots.
    fn with_snapshots(count: u64) -> Fixture {
        let fixture = fixture();
        for number in 0..count {
            fixture.write("f", number.to_string());
            fixture.backup(&[&fixture.source()]);
        }
        fixture
    }

    fn open(fixture: &Fixture) -> (Arc<Counting>, Repository, Catalog) {
        let store = Arc::new(Counting::new(fixture.store.clone()));
        let (mut repo, catalog) = fixture.open_in(store.clone(), None).unwrap();
        repo.keep_signed(&catalog);
        (store, repo, catalog)
    }

    /// How many requests it takes to learn which snapshots there are, and how many there are.
    fn load(fixture: &Fixture) -> (u64, usize) {
        let (store, repo, catalog) = open(fixture);
        let before = store.requests().0;
        let snapshots = Snapshots::load(&repo, &catalog).unwrap();
        (store.requests().0 - before, snapshots.sealed.len())
    }

    #[test]
    fn what_was_read_once_is_not_asked_for_again() {
        let fixture = with_snapshots(3);
        // Of each snapshot the manifest and its seal; the record of signers with its signature.
        assert_eq!(load(&fixture), (2 * 3 + 2, 3));
        assert_eq!(load(&fixture), (0, 3));
        fixture.write("f", "new");
        fixture.backup(&[&fixture.source()]);
        assert_eq!(load(&fixture), (2, 4));
    }

    #[test]
    fn a_damaged_cache_costs_time_alone() {
        let fixture = with_snapshots(2);
        let (first, snapshots) = load(&fixture);
        let (_, repo, _) = open(&fixture);
        let mut damaged = 0;
        for file in std::fs::read_dir(repo.cache().join("signed")).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
        assert_eq!(damaged, 3);
        assert_eq!(load(&fixture), (first, snapshots));
        assert_eq!(load(&fixture), (0, snapshots));
    }

    #[test]
    fn what_no_listing_shows_is_not_there_and_not_kept() {
        let fixture = with_snapshots(2);
        load(&fixture);
        let seal = fixture.store.names().into_iter().find(|name| name.starts_with("seals/")).unwrap();
        let manifest = seal.replace("seals/", "manifests/").replace(".minisig", ".json");
        for name in [&seal, &manifest] {
            assert!(fixture.store.get_raw(name).is_some(), "{name}");
            fixture.store.remove_raw(name);
        }
        assert_eq!(load(&fixture), (0, 1));
        let (_, repo, _) = open(&fixture);
        assert_eq!(std::fs::read_dir(repo.cache().join("signed")).unwrap().count(), 2);
    }

    #[test]
    fn whoever_examines_the_store_sees_what_it_has() {
        let fixture = with_snapshots(1);
        load(&fixture);
        let manifest = fixture.store.names().into_iter().find(|name| name.starts_with("manifests/")).unwrap();
        let mut bytes = fixture.store.get_raw(&manifest).unwrap().to_vec();
        bytes[10] ^= 1;
        fixture.store.insert_raw(&manifest, bytes);
        let (repo, catalog) = fixture.open_with(None).unwrap();
        assert_eq!(Snapshots::load_for_reading(&repo, &catalog).unwrap().problems.len(), 1);
    }
}
