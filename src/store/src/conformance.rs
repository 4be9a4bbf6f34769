//! The suite that every backend must pass: what the documentation of [`Store`] promises, as a function.
//!
//! It takes an empty store, and leaves it empty. It panics with a message that names the promise that was broken.
//! What it cannot show is durability: that needs crashes (see the tests of the folder store).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::join_all;

use crate::noise::noise;
use crate::{Body, ByteRange, Error, ErrorKind, Kept, Key, Listing, Meter, Result, Store};

/// Runs every check against `store`, which must be empty.
///
/// # Panics
/// When the store breaks a promise; the message says which.
pub async fn run(store: &dyn Store) {
    assert!(names(store, "").await.is_empty(), "conformance: the store must be empty at the start");
    small_objects(store).await;
    ranges(store).await;
    missing_objects(store).await;
    taken_names(store).await;
    race(store).await;
    file_bodies(store).await;
    kept_bodies(store).await;
    listings(store).await;
    names_of_all_shapes(store).await;
    deletion(store).await;
    large_object(store).await;
    for name in names(store, "").await {
        step("cleaning up", store.delete(&key(&name)).await);
    }
    assert!(names(store, "").await.is_empty(), "delete: an emptied store must list nothing");
}

fn key(name: &str) -> Key {
    Key::new(name).expect("the suite uses valid names")
}

#[track_caller]
fn step<T>(what: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {:?}: {error}", error.kind))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(what: &str, kind: ErrorKind, result: Result<T>) {
    match result {
        Ok(value) => panic!("{what}: must fail with {kind:?}, but gave {value:?}"),
        Err(error) => assert_eq!(error.kind, kind, "{what}: wrong kind of error: {error}"),
    }
}

async fn names(store: &dyn Store, prefix: &str) -> Vec<String> {
    let mut names: Vec<_> = sizes(store, prefix).await.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

async fn sizes(store: &dyn Store, prefix: &str) -> Vec<(String, u64)> {
    let listed: Result<Vec<_>> = store.list(prefix).map_ok(|l| (l.name, l.size)).try_collect().await;
    step(&format!("list {prefix:?}"), listed)
}

async fn put(store: &dyn Store, name: &str, bytes: &[u8]) {
    step(&format!("put {name}"), store.put_new(&key(name), Body::from(bytes.to_vec())).await);
}

async fn get(store: &dyn Store, name: &str, range: ByteRange) -> Bytes {
    step(&format!("get {name} {range:?}"), store.get_range(&key(name), range).await)
}

async fn small_objects(store: &dyn Store) {
    put(store, "fardel.json", b"0123456789").await;
    let whole = get(store, "fardel.json", ByteRange::All).await;
    assert_eq!(whole, "0123456789", "get: the whole object must come back as it was put");
    put(store, "lists/empty.txt", b"").await;
    let empty = get(store, "lists/empty.txt", ByteRange::All).await;
    assert!(empty.is_empty(), "get: an empty object must come back empty");
    let beyond = store.get_range(&key("lists/empty.txt"), ByteRange::between(0, 1)).await;
    refused("get: first byte of an empty object", ErrorKind::Truncated, beyond);
}

async fn ranges(store: &dyn Store) {
    for (start, end, want) in [(0, 10, "0123456789"), (0, 1, "0"), (9, 10, "9"), (3, 7, "3456"), (4, 4, "")] {
        let got = get(store, "fardel.json", ByteRange::between(start, end)).await;
        assert_eq!(got, want, "get: bytes {start} to {end}");
    }
    for (start, len) in [(9, 2), (10, 1), (11, 1), (0, 11), (1 << 40, 1), (u64::MAX, 2), (1, u64::MAX)] {
        let got = store.get_range(&key("fardel.json"), ByteRange::Span { start, len }).await;
        refused(&format!("get: {len} bytes from {start} of 10"), ErrorKind::Truncated, got);
    }
}

async fn missing_objects(store: &dyn Store) {
    for name in ["nothing.json", "none/at/all.json", "lists/nothing.txt"] {
        let whole = store.get_range(&key(name), ByteRange::All).await;
        refused(&format!("get: whole of {name}, which is not there"), ErrorKind::NotFound, whole);
        let part = store.get_range(&key(name), ByteRange::between(0, 1)).await;
        refused(&format!("get: part of {name}, which is not there"), ErrorKind::NotFound, part);
    }
}

async fn taken_names(store: &dyn Store) {
    for bytes in [&b"other bytes, and more of them"[..], b"", b"0123456789"] {
        let again = store.put_new(&key("fardel.json"), Body::from(bytes.to_vec())).await;
        refused("put: a name that is taken", ErrorKind::Exists, again);
        let kept = get(store, "fardel.json", ByteRange::All).await;
        assert_eq!(kept, "0123456789", "put: a refused put must leave the old bytes");
    }
}

async fn race(store: &dyn Store) {
    let contested = key("tombs/0123456789abcdef/00000001-race.json");
    let bodies: Vec<Vec<u8>> = (0..50).map(|n| noise(n, 20_000 + 100 * n as usize)).collect();
    let results =
        join_all(bodies.iter().map(|body| store.put_new(&contested, Body::from(body.clone())))).await;
    let mut winner = None;
    for (n, result) in results.into_iter().enumerate() {
        match result {
            Ok(()) => assert_eq!(winner.replace(n), None, "race: two puts of one name both succeeded"),
            Err(error) => assert_eq!(error.kind, ErrorKind::Exists, "race: a loser must see Exists: {error}"),
        }
    }
    let winner = winner.expect("race: one of 50 puts of one name must succeed");
    let stored = get(store, contested.as_str(), ByteRange::All).await;
    assert!(stored == bodies[winner], "race: the stored bytes must be the winner's, whole");
}

/// A folder of this process for bodies that lie outside the store; removed when dropped.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn new() -> Self {
        let random = getrandom::u64().expect("the system gives random numbers");
        let path = std::env::temp_dir().join(format!("fardel-conformance-{random:016x}"));
        std::fs::create_dir_all(&path).expect("a folder for temporary files");
        Self(path)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn file_bodies(store: &dyn Store) {
    let elsewhere = Elsewhere::new();
    file_bodies_from(store, "elsewhere", &elsewhere.0).await;
    if let Some(staging) = store.capabilities().staging {
        std::fs::create_dir_all(&staging).expect("file bodies: the staging folder can be made");
        file_bodies_from(store, "staging", &staging).await;
    }
}

async fn file_bodies_from(store: &dyn Store, origin: &str, folder: &Path) {
    for len in [0, 1, 3_000_000] {
        let (bytes, name) = (noise(len as u64 + 7, len), format!("packs/{origin}-{len}.age"));
        let path = folder.join(format!("conformance-{origin}-{len}"));
        let body = Body::File { path: path.clone(), len: len as u64 };
        std::fs::write(&path, &bytes).expect("file bodies: the file can be written");
        step(
            &format!("put: file of {len} bytes from {origin}"),
            store.put_new(&key(&name), body.clone()).await,
        );
        assert!(!path.exists(), "put: a file from {origin} must be gone once it is stored");
        let stored = get(store, &name, ByteRange::All).await;
        assert!(stored == bytes, "put: a file of {len} bytes from {origin} must come back as it was");

        std::fs::write(&path, b"other").expect("file bodies: the file can be written");
        let body = Body::File { path: path.clone(), len: 5 };
        let again = store.put_new(&key(&name), body).await;
        refused(&format!("put: file from {origin} under a taken name"), ErrorKind::Exists, again);
        assert!(path.exists(), "put: a file from {origin} must stay when the put is refused");
        let stored = get(store, &name, ByteRange::All).await;
        assert!(stored == bytes, "put: a refused file from {origin} must leave the old bytes");
        std::fs::remove_file(&path).expect("file bodies: the file can be removed");
    }
}

#[derive(Debug, Default)]
struct Passed(AtomicU64);

impl Meter for Passed {
    fn passing(&self, bytes: u64) -> Result<Duration> {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Ok(Duration::ZERO)
    }

    fn resumed(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Wants it to end before the last byte.
#[derive(Debug)]
struct Stops;

impl Meter for Stops {
    fn passing(&self, _: u64) -> Result<Duration> {
        Err(Error::new(ErrorKind::Stopped, "the upload", "stopped"))
    }

    fn resumed(&self, _: u64) {}
}

async fn kept_bodies(store: &dyn Store) {
    let elsewhere = Elsewhere::new();
    for len in [0, 1, 3_000_000, 20_000_000] {
        let (bytes, name) = (noise(len as u64 + 9, len), format!("packs/kept-{len}.age"));
        let path = elsewhere.0.join(format!("conformance-kept-{len}"));
        std::fs::write(&path, &bytes).expect("kept bodies: the file can be written");
        let passed = Arc::new(Passed::default());
        let body = |of: &[u8]| {
            let (len, hash) = (len as u64, blake3::hash(of));
            Body::Kept(Arc::new(Kept { path: path.clone(), len, hash, meter: passed.clone() }))
        };
        let other = store.put_new(&key(&name), body(b"other bytes")).await;
        refused("put: a kept file with other bytes than it should have", ErrorKind::Damaged, other);
        let shown = names(store, "").await;
        assert!(!shown.contains(&name), "put: what has the wrong bytes must not be stored");
        if len > 0 {
            let kept = Kept {
                path: path.clone(),
                len: len as u64,
                hash: blake3::hash(&bytes),
                meter: Arc::new(Stops),
            };
            let stopped = store.put_new(&key(&name), Body::Kept(Arc::new(kept))).await;
            refused("put: a kept file that shall not go", ErrorKind::Stopped, stopped);
            let shown = names(store, "").await;
            assert!(!shown.contains(&name), "put: what was stopped must not be stored");
        }
        passed.0.store(0, Ordering::Relaxed);
        step("put: a kept file", store.put_new(&key(&name), body(&bytes)).await);
        assert_eq!(passed.0.load(Ordering::Relaxed), len as u64, "put: the meter must be told of every byte");
        assert!(std::fs::read(&path).is_ok_and(|now| now == bytes), "put: a kept file must stay as it is");
        let again = store.put_new(&key(&name), body(&bytes)).await;
        refused("put: a kept file under a taken name", ErrorKind::Exists, again);
        let stored = get(store, &name, ByteRange::All).await;
        assert!(stored == bytes, "put: a kept file of {len} bytes must come back as it was");
    }
}

async fn listings(store: &dyn Store) {
    assert_eq!(
        store.capabilities().listing,
        Listing::Strong,
        "listings: the suite is for stores with a strong listing"
    );
    for name in ["packs/ab/one.age", "packs/ab/two.age", "packs/b.age", "packsx/three.age", "packs-x.age"] {
        put(store, name, name.as_bytes()).await;
        let listed = sizes(store, "").await;
        let shown: Vec<_> = listed.iter().filter(|(shown, _)| shown == name).collect();
        assert_eq!(shown.len(), 1, "list: {name} was put just before and must be shown, once");
        assert_eq!(shown[0].1, name.len() as u64, "list: the size of {name} must be right");
    }
    let below = |names: &[String], prefix: &str| names.iter().filter(|n| n.starts_with(prefix)).count();
    let all = names(store, "").await;
    for (prefix, least) in [("packs/", 3), ("packs/ab/", 2), ("packsx/", 1)] {
        let got = names(store, prefix).await;
        assert!(
            got.iter().all(|n| n.starts_with(prefix)),
            "list {prefix}: shows what is not below it: {got:?}"
        );
        assert_eq!(got.len(), below(&all, prefix), "list {prefix}: must show all of it: {got:?}");
        assert!(got.len() >= least, "list {prefix}: must show what was put there: {got:?}");
    }
    assert_eq!(
        names(store, "packs").await,
        names(store, "packs/").await,
        "list: a missing / makes no difference"
    );
    for prefix in ["nothing/", "packs/nothing/", "packs/ab/one/", "pack/"] {
        assert!(names(store, prefix).await.is_empty(), "list {prefix}: an unknown prefix must be empty");
    }
}

async fn names_of_all_shapes(store: &dyn Store) {
    let hash = "0123456789abcdef".repeat(4);
    let part = "a".repeat(63);
    let longest = format!("{part}/{}", "b".repeat(127 - 64));
    let wide = format!("{}/{}", "c".repeat(99), "d".repeat(27));
    let deep = "e/".repeat(63) + "e";
    assert_eq!((longest.len(), wide.len(), deep.len()), (127, 127, 127));
    let pack = format!("packs/ab/cd/{hash}.tar.zst.age");
    let generation = format!("packs/ab/cd/{hash}-01234567.tar.zst.age");
    let numbered = format!("manifests/0123456789abcdef/00000001-{}.json", &hash[..40]);
    for name in [&pack, &generation, &numbered, &longest, &wide, &deep] {
        put(store, name, name.as_bytes()).await;
        let got = get(store, name, ByteRange::All).await;
        assert_eq!(got, name.as_bytes(), "names: {name} must come back");
        assert!(names(store, "").await.contains(name), "names: {name} must be listed");
    }
    assert_eq!(names(store, "packs/ab/cd/").await.len(), 2, "names: the deep folder holds two objects");
}

async fn deletion(store: &dyn Store) {
    for name in ["fardel.json", "lists/empty.txt", "packs/ab/one.age"] {
        step(&format!("delete {name}"), store.delete(&key(name)).await);
        let gone = store.get_range(&key(name), ByteRange::All).await;
        refused(&format!("get: {name} after it was deleted"), ErrorKind::NotFound, gone);
        assert!(!names(store, "").await.iter().any(|n| n == name), "list: {name} was deleted just before");
        step(&format!("delete {name}, which is no longer there"), store.delete(&key(name)).await);
    }
    step("delete: a name that never was", store.delete(&key("never/was/there.age")).await);
    let kept = get(store, "packs/ab/two.age", ByteRange::All).await;
    assert_eq!(kept, "packs/ab/two.age", "delete: the neighbour of a deleted object must stay");
}

async fn large_object(store: &dyn Store) {
    const LEN: u64 = 20 << 20;
    let bytes = Bytes::from(noise(99, LEN as usize));
    let name = key("packs/large.tar.zst.age");
    step("put: 20 MiB", store.put_new(&name, Body::Bytes(bytes.clone())).await);
    assert_eq!(
        sizes(store, "packs/").await.iter().find(|(n, _)| n == name.as_str()).map(|(_, size)| *size),
        Some(LEN),
        "list: the size of a large object must be right"
    );
    let spans: Vec<(u64, u64)> = (0..200)
        .map(|n: u64| {
            let start = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % LEN;
            (start, (LEN - start).min(1 + n * 700))
        })
        .chain([(0, LEN), (LEN - 1, 1), (65_535, 2), (LEN / 2, LEN / 2)])
        .collect();
    for batch in spans.chunks(8) {
        let got = join_all(batch.iter().map(|&(start, len)| {
            let name = &name;
            async move { (start, len, store.get_range(name, ByteRange::Span { start, len }).await) }
        }))
        .await;
        for (start, len, got) in got {
            let got = step(&format!("get: {len} bytes from {start} of 20 MiB"), got);
            let want = bytes.slice(start as usize..(start + len) as usize);
            assert!(got == want, "get: {len} bytes from {start} of 20 MiB are not what was put");
        }
    }
    let beyond = store.get_range(&name, ByteRange::Span { start: LEN - 1, len: 2 }).await;
    refused("get: past the end of a large object", ErrorKind::Truncated, beyond);
}
