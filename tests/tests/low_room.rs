//! A disk that is nearly full: a backup says so before it reads anything.

use std::path::Path;
use std::sync::Arc;

use fardel_backends::folder::{FolderOptions, FolderStore, SimFs};
use fardel_engine::Error;
use fardel_engine::backup::{self, BackupOptions, SourceSpec};
use fardel_engine::bridge::block_on;
use fardel_engine::monitor::{Monitor, Silent};
use fardel_engine::packs::PackerOptions;
use fardel_store::{Body, ErrorKind, Key, Store};
use fardel_tests::disk_tree::bytes;
use fardel_tests::vault::Vault;

const MIB: u64 = 1 << 20;

fn options(source: &Path, dry_run: bool) -> BackupOptions {
    BackupOptions {
        dry_run,
        packer: PackerOptions { threads: 1, ..PackerOptions::default() },
        ..BackupOptions::new("test", vec![SourceSpec::Path(source.to_owned())])
    }
}

#[test]
fn a_backup_to_a_disk_that_is_nearly_full_reads_nothing() {
    let vault = Vault::new("low-room");
    let file = vault.write("source/file", &bytes("low room", 3_000_000));
    let source = file.parent().unwrap();
    let fs = SimFs::new();
    let store = FolderStore::with_fs(Arc::new(fs.clone()), Path::new("/sim"), FolderOptions::default());
    for name in vault.store.names() {
        let object = vault.store.get_raw(&name).unwrap();
        block_on(store.put_new(&Key::new(&*name).unwrap(), Body::Bytes(object))).unwrap();
    }
    let before = fs.files(Path::new("/sim"));
    let store: Arc<dyn Store> = Arc::new(store);
    // The default keeps 64 MiB and 64 files free.
    for (bytes, inodes, told) in [(60 * MIB, 1000, "must stay free"), (1 << 40, 60, "no more files fit")] {
        fs.set_capacity(bytes, inodes);
        let opened = vault.open_store(store.clone(), Some(vault.material())).unwrap();
        let monitor = Silent::default();
        let run =
            |dry_run| backup::backup(&opened.repo, &opened.catalog, &options(source, dry_run), &monitor);
        match run(false) {
            Err(Error::Store(error)) => {
                assert_eq!(error.kind, ErrorKind::NoSpace);
                assert!(error.message.contains(told) && error.message.contains("/sim"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(monitor.counters().get().bytes_done, 0, "it began to read");
        assert_eq!(fs.files(Path::new("/sim")), before);
        // A dry run stores nothing.
        assert_eq!(run(true).unwrap().bytes_read, 3_000_000);
    }
    fs.set_capacity(1 << 40, 1_000_000);
    let opened = vault.open_store(store, Some(vault.material())).unwrap();
    backup::backup(&opened.repo, &opened.catalog, &options(source, false), &Silent::default()).unwrap();
}
