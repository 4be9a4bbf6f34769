//! Copies of large files that stay where they are: what an earlier process left is gone on with, and never believed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fardel_store::{Body, ByteRange, Error, ErrorKind, Kept, Meter, Result, Store};

use super::crash_tests::{key, now, open};
use super::fs::Fs;
use super::{FolderStore, Loss, Refusals, SimFault, SimFaultKind, SimFs};

const MIB: u64 = 1 << 20;

/// Counts what goes, and stops it where the test wants that.
#[derive(Debug)]
struct Counter {
    passed: AtomicU64,
    resumed: AtomicU64,
    most: u64,
}

impl Counter {
    fn until(most: u64) -> Arc<Self> {
        Arc::new(Self { passed: AtomicU64::new(0), resumed: AtomicU64::new(0), most })
    }

    fn counted(&self) -> (u64, u64) {
        (self.passed.load(Ordering::Relaxed), self.resumed.load(Ordering::Relaxed))
    }
}

impl Meter for Counter {
    fn passing(&self, bytes: u64) -> Result<Duration> {
        if self.passed.fetch_add(bytes, Ordering::Relaxed) >= self.most {
            return Err(Error::new(ErrorKind::Stopped, "the copy", "the test stops it"));
        }
        Ok(Duration::ZERO)
    }

    fn resumed(&self, bytes: u64) {
        self.resumed.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A file of ten steps, and its bytes.
fn large(place: &Path) -> (std::path::PathBuf, Vec<u8>) {
    let bytes: Vec<u8> = (0..u32::try_from(10 * MIB - 77).unwrap()).map(|n| (n / 5) as u8).collect();
    fs::write(place.join("large"), &bytes).unwrap();
    (place.join("large"), bytes)
}

fn kept(path: &Path, bytes: &[u8], meter: &Arc<Counter>) -> Body {
    let (path, len, hash) = (path.to_owned(), bytes.len() as u64, blake3::hash(bytes));
    Body::Kept(Arc::new(Kept { path, len, hash, meter: meter.clone() }))
}

#[test]
fn a_crash_at_any_call_costs_what_was_not_written_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let (path, bytes) = large(place.path());
    for rename_noreplace in [false, true] {
        crash_everywhere(&path, &bytes, Refusals { rename_noreplace, ..Refusals::default() });
    }
}

fn crash_everywhere(path: &Path, bytes: &[u8], refusals: Refusals) {
    let key = key("packs/ab/one.age");
    let put = |fs: &SimFs| {
        let counter = Counter::until(u64::MAX);
        (now(open(fs).put_new(&key, kept(path, bytes, &counter))), counter.counted())
    };
    let empty = || {
        let fs = SimFs::new();
        fs.set_refusals(refusals);
        fs.mkdir(Path::new("/sim/backups"), false).unwrap();
        fs.sync_all(Path::new("/sim")).unwrap();
        fs
    };
    let whole = empty();
    let before = whole.calls();
    put(&whole).0.unwrap();
    let mut most_resumed = 0;
    for (at, how) in (before..whole.calls())
        .flat_map(|at| [SimFaultKind::CrashBefore, SimFaultKind::CrashTorn].map(|how| (at, how)))
    {
        let fs = empty();
        fs.set_fault(Some(SimFault { at, how }));
        let _ = put(&fs);
        assert!(fs.is_dead(), "call {at}");
        let found = [
            fs.after_process_death(),
            fs.after_power_loss(Loss::DropUnsynced),
            fs.after_power_loss(Loss::Nth(at)),
        ];
        for (n, found) in found.into_iter().enumerate() {
            let context = format!("{how:?} at call {at}, state {n}");
            let (again, (passed, resumed)) = put(&found);
            match again {
                Err(error) if error.kind == ErrorKind::Exists => {}
                again => {
                    again.expect(&context);
                    assert_eq!(passed + resumed, bytes.len() as u64, "{context}");
                    most_resumed = most_resumed.max(resumed);
                }
            }
            let lost = found.after_power_loss(Loss::DropUnsynced);
            assert!(now(open(&lost).get_range(&key, ByteRange::All)).expect(&context) == bytes, "{context}");
        }
    }
    assert_eq!(most_resumed, bytes.len() as u64, "a copy that only lacked its name is not made again");
}

fn real(root: &Path) -> FolderStore {
    FolderStore::open(root).unwrap()
}

#[test]
fn a_copy_that_has_its_name_already_is_never_written_to_again() {
    let place = tempfile::tempdir().unwrap();
    let (path, bytes) = large(place.path());
    let (root, staging) = (place.path().join("repository"), place.path().join(".repository.staging"));
    fs::create_dir_all(&root).unwrap();
    let (store, copy) = (real(&root), staging.join(format!("copy-{}.tmp", blake3::hash(&bytes))));
    fs::create_dir(&staging).unwrap();
    // What a process leaves that gives names by links and died before it took the first one away; damaged since.
    fs::write(root.join("a"), b"damaged").unwrap();
    fs::hard_link(root.join("a"), &copy).unwrap();
    now(store.put_new(&key("b"), kept(&path, &bytes, &Counter::until(u64::MAX)))).unwrap();
    assert_eq!(fs::read(root.join("a")).unwrap(), b"damaged");
    assert!(fs::read(root.join("b")).unwrap() == bytes);
    drop((store, real(&root)));
    assert!(!staging.exists(), "it goes, for it is litter");
}

#[test]
fn a_copy_that_was_stopped_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let (path, bytes) = large(place.path());
    let root = place.path().join("repository");
    let first = Counter::until(6 * MIB);
    let error = now(real(&root).put_new(&key("a"), kept(&path, &bytes, &first))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Stopped);
    let second = Counter::until(u64::MAX);
    now(real(&root).put_new(&key("a"), kept(&path, &bytes, &second))).unwrap();
    assert_eq!(second.counted(), (bytes.len() as u64 - 6 * MIB, 6 * MIB));
    assert!(fs::read(root.join("a")).unwrap() == bytes);
    assert!(!place.path().join(".repository.staging").exists(), "nothing is left");
}

#[test]
fn what_is_wrong_in_an_earlier_copy_is_written_again() {
    let place = tempfile::tempdir().unwrap();
    let (path, bytes) = large(place.path());
    let (root, staging) = (place.path().join("repository"), place.path().join(".repository.staging"));
    let copy = staging.join(format!("copy-{}.tmp", blake3::hash(&bytes)));
    fs::create_dir(&staging).unwrap();
    let mut wrong = bytes.clone();
    wrong[usize::try_from(4 * MIB + 5).unwrap()] ^= 1;
    let long = [&bytes[..], b"and more"].concat();
    let zeros = [&bytes[..usize::try_from(2 * MIB).unwrap()], &[0; 99][..]].concat();
    for (n, (left, right)) in
        [(wrong, 4 * MIB), (long, bytes.len() as u64), (zeros, 2 * MIB), (vec![7], 0)].into_iter().enumerate()
    {
        fs::create_dir_all(&staging).unwrap();
        fs::write(&copy, left).unwrap();
        let counter = Counter::until(u64::MAX);
        let name = format!("a{n}");
        now(real(&root).put_new(&key(&name), kept(&path, &bytes, &counter))).unwrap();
        assert!(fs::read(root.join(&name)).unwrap() == bytes, "{name}");
        assert_eq!(counter.counted().1, right, "{name}");
    }
}

#[test]
fn copies_are_kept_for_a_week() {
    let place = tempfile::tempdir().unwrap();
    let (root, staging) = (place.path().join("repository"), place.path().join(".repository.staging"));
    fs::create_dir(&staging).unwrap();
    let (old, young) = (staging.join("copy-1.tmp"), staging.join("copy-2.tmp"));
    for (path, days) in [(&old, 8), (&young, 6)] {
        let age = Duration::from_secs(days * 24 * 3600);
        fs::File::create(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }
    drop(real(&root));
    assert!(!old.exists() && young.exists());
}
