use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fardel_store::{Body, ByteRange, Capabilities, Key, Listed, MemoryStore, Store};
use futures::stream::BoxStream;
use tempfile::TempDir;

use super::*;
use crate::monitor::Silent;
use crate::repository::OpenOptions;
use crate::snapshots::Snapshots;
use crate::testing::{Fixture, fixture, noise};

/// Counts the bytes that are read.
#[derive(Debug)]
struct Counting {
    inner: MemoryStore,
    read: Arc<AtomicU64>,
}

#[async_trait::async_trait]
impl Store for Counting {
    async fn put_new(&self, key: &Key, body: Body) -> fardel_store::Result<()> {
        self.inner.put_new(key, body).await
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> fardel_store::Result<Bytes> {
        let bytes = self.inner.get_range(key, range).await?;
        self.read.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(bytes)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, fardel_store::Result<Listed>> {
        self.inner.list(prefix)
    }

    async fn delete(&self, key: &Key) -> fardel_store::Result<()> {
        self.inner.delete(key).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// Opens with nothing but the recovery key and an empty cache.
fn as_on_a_new_machine(fixture: &Fixture, cache: &TempDir) -> OpenOptions {
    OpenOptions {
        material: Some(fixture.recovery()),
        cache: cache.path().to_owned(),
        display: "memory:".into(),
        pinned: None,
    }
}

#[test]
fn one_file_of_many_takes_little_more_than_its_own_bytes() {
    const FILE: usize = 1_000_000;
    const MORE: u64 = 2_000_000;
    let fixture = fixture();
    let wanted = noise(77, FILE);
    // 40 MB in large files and 500 small ones, before and after.
    for number in 0..20 {
        fixture.write(&format!("large-{number:02}"), noise(number + 1, 2_000_000));
    }
    for number in 0..500 {
        fixture.write(&format!("small/{number:03}"), noise(number + 1000, 500));
    }
    fixture.write("large-09-wanted", &wanted);
    let mut options = fixture.options(vec![crate::backup::SourceSpec::Path(fixture.source())]);
    options.packer.pack_size = 16 << 20;
    fixture.backup_with(&options);
    assert!(fixture.store.total_bytes() > 40_000_000);

    let read = Arc::new(AtomicU64::new(0));
    let store = Arc::new(Counting { inner: fixture.store.clone(), read: read.clone() });
    let cache = tempfile::tempdir().unwrap();
    let (repo, catalog) = Repository::open(store, as_on_a_new_machine(&fixture, &cache)).unwrap();
    let snapshots = Snapshots::load_for_reading(&repo, &catalog).unwrap();
    let target = tempfile::tempdir().unwrap();
    let options = RestoreOptions::new(target.path().join("out"));
    let path = fixture.source().join("large-09-wanted");
    let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    let report =
        restore(&repo, &catalog, snapshots.find("latest").unwrap(), Some(path), &options, &Silent::default())
            .unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert!(std::fs::read(target.path().join("out/large-09-wanted")).unwrap() == wanted);
    let read = read.load(Ordering::SeqCst);
    assert!(read <= FILE as u64 + MORE, "{read} bytes were read");
}

/// What was found out about a writing of the wrong length says nothing of another one of that pack.
#[test]
fn packs_that_are_cut_short_here_come_from_a_copy_though_the_index_is_lost() {
    let fixture = fixture();
    fixture.write("file", noise(5, 300_000));
    fixture.backup(&[&fixture.source()]);
    let copy = fixture.store.deep_clone();
    fixture.lose("index/");
    for name in fixture.store.names().into_iter().filter(|name| name.starts_with("packs/")) {
        let bytes = fixture.store.get_raw(&name).unwrap();
        fixture.store.insert_raw(&name, bytes.slice(..bytes.len() / 2));
    }
    let cache = tempfile::tempdir().unwrap();
    let open = as_on_a_new_machine(&fixture, &cache);
    let other = crate::copies::Other::new("copy", move || Ok(Arc::new(copy.clone()) as Arc<dyn Store>));
    let (repo, catalog) = Repository::open_among(Arc::new(fixture.store.clone()), open, vec![other]).unwrap();
    let snapshots = Snapshots::load_for_reading(&repo, &catalog).unwrap();
    let target = tempfile::tempdir().unwrap();
    let path = fixture.source().into_os_string().into_encoded_bytes();
    let options = RestoreOptions::new(target.path().join("out"));
    let sealed = snapshots.find("latest").unwrap();
    let report = restore(&repo, &catalog, sealed, Some(&path), &options, &Silent::default()).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert!(std::fs::read(target.path().join("out/file")).unwrap() == noise(5, 300_000));
}
