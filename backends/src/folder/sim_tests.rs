//! The folder store over the simulated file system: everything but crashes.

use std::path::Path;
use std::sync::Arc;

use fardel_store::{Body, ByteRange, Error, ErrorKind, Store, conformance};

use super::crash_tests::{contents, key, list, now, open, put, staged};
use super::fs::Fs;
use super::{FolderOptions, FolderStore, Loss, Refusals, Reserve, SimFs};

const MIB: u64 = 1 << 20;
const ROOT: &str = "/sim/backups/repository";

fn with_reserve(fs: &SimFs, reserve: Reserve) -> FolderStore {
    let options = FolderOptions { reserve, ..FolderOptions::default() };
    FolderStore::with_fs(Arc::new(fs.clone()), Path::new(ROOT), options)
}

fn put_len(store: &FolderStore, name: &str, len: u64) -> Result<(), Error> {
    now(store.put_new(&key(name), Body::from(vec![7; len as usize])))
}

#[tokio::test]
async fn conforms_on_every_kind_of_file_system() {
    for rename_noreplace in [false, true] {
        for link in [false, true] {
            for sync_dir in [false, true] {
                let fs = SimFs::new();
                fs.set_refusals(Refusals { rename_noreplace, link, sync_dir });
                fs.set_most_written(700_001);
                let store = open(&fs);
                conformance::run(&store).await;
                assert_eq!(store.durability_unproven(), sync_dir);
                drop(store);
                assert!(fs.files(Path::new("/sim")).is_empty(), "an emptied store leaves no file");
            }
        }
    }
}

#[test]
fn the_simulation_loses_what_was_not_synced() {
    let fs = SimFs::new();
    let [a, b] = ["/sim/a", "/sim/b"].map(Path::new);
    let mut file = fs.create_new(a).unwrap();
    file.write(b"text").unwrap();
    assert!(fs.after_power_loss(Loss::DropUnsynced).files(Path::new("/")).is_empty());
    fs.sync_dir(Path::new("/sim")).unwrap();
    let files = |fs: SimFs| fs.files(Path::new("/"));
    assert_eq!(files(fs.after_power_loss(Loss::DropUnsynced)), [(a.to_owned(), vec![])]);
    assert_eq!(files(fs.after_power_loss(Loss::KeepAll)), [(a.to_owned(), b"text".to_vec())]);
    file.sync_all().unwrap();
    fs.rename(a, b).unwrap();
    assert_eq!(files(fs.after_power_loss(Loss::DropUnsynced)), [(a.to_owned(), b"text".to_vec())]);
    for seed in 0..50 {
        let left = files(fs.after_power_loss(Loss::Random(seed)));
        assert!(!left.is_empty(), "a rename never loses the file (seed {seed})");
        assert!(left.iter().all(|(_, bytes)| bytes == b"text"));
    }
    fs.sync_dir(Path::new("/sim")).unwrap();
    assert_eq!(files(fs.after_power_loss(Loss::DropUnsynced)), [(b.to_owned(), b"text".to_vec())]);
}

#[test]
fn every_way_to_lose_power_has_a_number() {
    let fs = SimFs::new();
    fs.create_new(Path::new("/sim/a")).unwrap().write(b"text").unwrap();
    let files = |loss| fs.after_power_loss(loss).files(Path::new("/"));
    let left = |number| files(Loss::Nth(number)).pop().map(|(_, bytes)| bytes);
    assert_eq!(fs.losses(), 12, "the name is there or not, the content in one of six states");
    let all: std::collections::BTreeSet<_> = (0..12).map(left).collect();
    let wanted = ["", "t", "t\0\0\0", "tex", "tex\0", "text"].map(|text| Some(text.as_bytes().to_vec()));
    assert_eq!(all, wanted.into_iter().chain([None]).collect());
    assert_eq!(
        (files(Loss::Nth(0)), files(Loss::Nth(11))),
        (files(Loss::DropUnsynced), files(Loss::KeepAll))
    );
    fs.sync_all(Path::new("/sim")).unwrap();
    assert_eq!(fs.losses(), 1);
    fs.rename(Path::new("/sim/a"), Path::new("/sim/b")).unwrap();
    assert!(
        (0..fs.losses()).all(|number| !files(Loss::Nth(number)).is_empty()),
        "a rename never loses the file"
    );
}

#[test]
fn a_full_disk_leaves_no_temporary() {
    let fs = SimFs::new();
    let store = with_reserve(&fs, Reserve::NONE);
    put(&store, "fardel.json").unwrap();
    // The guard believes that there is room; writing finds that there is not.
    for (bytes, inodes) in [(6000, 0), (5200, 0), (1 << 30, 5)] {
        fs.set_capacity(bytes, if inodes == 0 { 1000 } else { inodes });
        let space = fs.space(Path::new(ROOT)).unwrap();
        let fitting = with_reserve(&fs, Reserve::NONE);
        let error = put(&fitting, "packs/aa/new.age").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoSpace, "{error} ({space:?})");
        assert_eq!(fs.files(Path::new("/sim")).len(), 1, "only what was there is left");
    }
    fs.set_capacity(1 << 30, 1000);
    put(&store, "packs/aa/new.age").unwrap();
    assert_eq!(list(&store).len(), 2);
}

/// A file system that says it has room, and has none: quotas are like that.
#[test]
fn a_disk_that_fills_up_while_writing_leaves_no_temporary() {
    let fs = SimFs::new();
    let store = with_reserve(&fs, Reserve::NONE);
    put(&store, "packs/aa/old.age").unwrap();
    fs.set_most_written(1000);
    fs.set_quota(contents("x").len() as u64 + 3500);
    let error = put_len(&store, "packs/aa/new.age", 4000).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace);
    assert_eq!(fs.files(Path::new("/sim")).len(), 1, "the temporary went at once");
    put_len(&store, "packs/aa/new.age", 3500).unwrap();
    // Files that may be made are unknown (0, as on btrfs), so the guard says nothing; and in fact none may be made.
    fs.set_quota(u64::MAX);
    fs.set_capacity(1 << 40, 0);
    assert_eq!(put_len(&store, "packs/aa/x.age", 1).unwrap_err().kind, ErrorKind::NoSpace);
    assert_eq!(fs.files(Path::new("/sim")).len(), 2);
}

#[test]
fn the_guard_keeps_a_reserve() {
    let fs = SimFs::new();
    fs.set_capacity(1000 * MIB, 1000);
    let store = with_reserve(&fs, Reserve { bytes: Some(900 * MIB), inodes: 64 });
    put_len(&store, "packs/a.age", 60 * MIB).unwrap();
    let error = put_len(&store, "packs/b.age", 60 * MIB).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace);
    for part in ["940 MiB are free", "60 MiB are needed", "900 MiB must stay free", "collect old snapshots"] {
        assert!(error.message.contains(part), "{error}");
    }
    put_len(&store, "tombs/w/small.json", 1000).unwrap();
    // Something that is taken over needs no room of its own.
    let body = staged(&fs, &store, "packs/c.age").unwrap();
    now(store.put_new(&key("packs/c.age"), body)).unwrap();
    now(store.delete(&key("packs/a.age"))).unwrap();
    put_len(&store, "packs/b.age", 60 * MIB).unwrap();
}

#[test]
fn the_guard_keeps_files_free_where_they_are_counted() {
    let fs = SimFs::new();
    fs.set_capacity(1 << 40, 70);
    let store = open(&fs);
    let error =
        put_len(&store, "packs/a.age", 2 * MIB).and_then(|()| put_len(&store, "packs/b.age", 2 * MIB));
    let error = error.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace);
    assert!(error.message.contains("no more files fit"), "{error}");
    put_len(&store, "tombs/w/small.json", 1000).unwrap();
}

#[test]
fn the_default_reserve_is_a_hundredth_within_bounds() {
    for (total, reserve) in [(2 << 30, 64), (20 << 30, 204), (1 << 40, 1024)] {
        let fs = SimFs::new();
        let fill = total - (reserve + 1) * MIB - 3 * MIB;
        fs.set_capacity(total - fill, 1 << 20);
        // The same free space on a disk of the whole size: only the reserve differs.
        let small = put_len(&open(&fs), "packs/a.age", 2 * MIB);
        assert_eq!(small.is_ok(), reserve > 60, "{total}: {small:?}");
    }
}

#[test]
fn an_error_of_the_disk_is_an_error() {
    let fs = SimFs::new();
    let store = open(&fs);
    put(&store, "packs/a.age").unwrap();
    fs.set_read_error(true);
    let error = now(store.get_range(&key("packs/a.age"), ByteRange::between(1, 2))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Other);
    fs.set_read_error(false);
    assert_eq!(now(store.get_range(&key("packs/a.age"), ByteRange::All)).unwrap(), contents("packs/a.age"));
}

#[test]
fn litter_is_cleaned_and_what_is_in_use_is_not() {
    let fs = SimFs::new();
    let store = open(&fs);
    let staging = store.staging_dir().unwrap();
    let litter = staging.join("put-1-0123456789abcdef.tmp");
    let in_use = staging.join("put-2-0123456789abcdef.tmp");
    let spool = staging.join("pack-17");
    for path in [&litter, &in_use, &spool] {
        drop(fs.create_new(path).unwrap());
    }
    let held = fs.open_locked(&in_use).unwrap().unwrap();
    drop(open(&fs));
    assert!(fs.stat(&litter).is_err(), "a dead process held it");
    assert!(fs.stat(&in_use).is_ok(), "somebody holds its lock");
    assert!(fs.stat(&spool).is_ok(), "files of the caller are the caller's");
    drop(held);
    drop(open(&fs));
    assert!(fs.stat(&in_use).is_err());
}

#[test]
fn the_staging_folder_comes_and_goes() {
    let fs = SimFs::new();
    let beside = Path::new("/sim/repository");
    let open = || FolderStore::with_fs(Arc::new(fs.clone()), beside, FolderOptions::default());
    let (first, second) = (open(), open());
    put(&first, "a").unwrap();
    drop(first);
    assert!(fs.stat(Path::new("/sim/.repository.staging")).is_err());
    put(&second, "b").unwrap();
    assert!(fs.stat(Path::new("/sim/.repository.staging")).is_ok());
    drop(second);
    assert!(fs.stat(Path::new("/sim/.repository.staging")).is_err());
}

#[test]
fn readers_change_nothing() {
    let fs = SimFs::new();
    let store = open(&fs);
    assert!(list(&store).is_empty());
    assert!(now(store.get_range(&key("packs/a.age"), ByteRange::All)).is_err());
    now(store.delete(&key("packs/a.age"))).unwrap();
    drop(store);
    assert!(fs.files(Path::new("/sim")).is_empty());
    assert!(fs.stat(Path::new(ROOT)).is_err(), "a reader makes no folder");
}

#[test]
fn a_body_of_the_wrong_length_is_refused() {
    let fs = SimFs::new();
    let store = open(&fs);
    let Body::File { path, len } = staged(&fs, &store, "packs/a.age").unwrap() else { unreachable!() };
    let error =
        now(store.put_new(&key("packs/a.age"), Body::File { path: path.clone(), len: len - 1 })).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(fs.stat(&path).is_ok());
    let missing = Body::File { path: path.with_extension("gone"), len };
    assert_eq!(now(store.put_new(&key("packs/a.age"), missing)).unwrap_err().kind, ErrorKind::Invalid);
    assert!(list(&store).is_empty());
}
