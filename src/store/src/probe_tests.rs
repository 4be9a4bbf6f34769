use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::*;
use crate::memory::read_body;
use crate::{Body, ByteRange, Capabilities, Error, FaultyStore, Key, Listed, Listing, MemoryStore, Prefix};

/// What a store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    Replaces,
    AcceptsTakenNames,
    RefusesOddly,
    ShowsHalves,
    ForgetsToRace,
    Caches,
    ReadsShort,
    FlipsBits,
    CutsLongNames,
    HasNoRoom,
    CannotRemove,
    ListsUnknown,
    FailsInParallel,
}

/// A store in memory that does one thing wrong.
#[derive(Clone, Debug)]
struct Bad {
    wrong: Wrong,
    inner: MemoryStore,
    cache: Arc<Mutex<std::collections::HashMap<String, Bytes>>>,
    at_once: Arc<AtomicUsize>,
}

impl Bad {
    fn new(wrong: Wrong) -> Self {
        Self { wrong, inner: MemoryStore::new(), cache: Arc::default(), at_once: Arc::default() }
    }
}

#[async_trait]
impl Store for Bad {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        let others = self.at_once.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let result = self.put(key, body, others).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        result
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        match self.wrong {
            Wrong::Caches if self.inner.get_raw(key.as_str()).is_none() => {
                let cached = self.cache.lock().unwrap().get(key.as_str()).cloned();
                cached.ok_or_else(|| Error::new(ErrorKind::NotFound, key, "no"))
            }
            Wrong::ReadsShort => match self.inner.get_range(key, range).await {
                Err(error) if error.kind == ErrorKind::Truncated => {
                    let ByteRange::Span { start, .. } = range else { return Err(error) };
                    let whole = self.inner.get_range(key, ByteRange::All).await?;
                    Ok(whole.slice(start as usize..))
                }
                got => got,
            },
            Wrong::FlipsBits => {
                let mut bytes = self.inner.get_range(key, range).await?.to_vec();
                bytes[0] ^= 1;
                Ok(bytes.into())
            }
            _ => self.inner.get_range(key, range).await,
        }
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        self.inner.list(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        if self.wrong == Wrong::CannotRemove {
            return Err(Error::new(ErrorKind::Denied, key, "it is locked"));
        }
        self.inner.delete(key).await
    }

    fn capabilities(&self) -> Capabilities {
        let listing = if self.wrong == Wrong::ListsUnknown { Listing::Unknown } else { Listing::Strong };
        Capabilities { listing, ..self.inner.capabilities() }
    }

    async fn check_room(&self) -> Result<()> {
        match self.wrong {
            Wrong::HasNoRoom => Err(Error::new(ErrorKind::NoSpace, "packs/", "12 MiB are free")),
            _ => Ok(()),
        }
    }
}

impl Bad {
    async fn put(&self, key: &Key, body: Body, others: usize) -> Result<()> {
        let there = self.inner.get_raw(key.as_str()).is_some();
        let odd = Error::new(ErrorKind::Other, key, "409 Conflict");
        match self.wrong {
            Wrong::Replaces => self.inner.insert_raw(key.as_str(), read_body(key, &body)?),
            Wrong::AcceptsTakenNames if there => {}
            Wrong::RefusesOddly if there => return Err(odd),
            Wrong::ForgetsToRace if !there => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                self.inner.insert_raw(key.as_str(), read_body(key, &body)?);
            }
            Wrong::CutsLongNames => {
                let cut = Key::new(&key.as_str()[..key.as_str().len().min(80)])?;
                return self.inner.put_new(&cut, body).await;
            }
            Wrong::FailsInParallel if others > 3 && body.len() > 10_000 => return Err(odd),
            _ => match body {
                Body::Kept(kept) => {
                    let whole = std::fs::read(&kept.path).unwrap();
                    for (n, block) in whole.chunks(1 << 10).enumerate() {
                        if let Err(stopped) = kept.meter.passing(block.len() as u64) {
                            if self.wrong == Wrong::ShowsHalves {
                                self.inner.insert_raw(key.as_str(), whole[..n << 10].to_vec());
                            }
                            return Err(stopped);
                        }
                    }
                    self.inner.put_new(key, whole.into()).await?;
                }
                body => self.inner.put_new(key, body).await?,
            },
        }
        if let Some(bytes) = self.inner.get_raw(key.as_str()) {
            self.cache.lock().unwrap().insert(key.as_str().to_owned(), bytes);
        }
        Ok(())
    }
}

/// Wants it to stop at the step that begins so.
#[derive(Debug, Default)]
struct StopsAt {
    step: &'static str,
    reached: std::sync::atomic::AtomicBool,
    steps: Mutex<Vec<String>>,
}

impl Watch for StopsAt {
    fn step(&self, what: &str) {
        self.steps.lock().unwrap().push(what.to_owned());
        if !self.step.is_empty() && what.starts_with(self.step) {
            self.reached.store(true, Ordering::SeqCst);
        }
    }

    fn stopped(&self) -> bool {
        self.reached.load(Ordering::SeqCst)
    }
}

async fn run(store: Arc<dyn Store>, watch: Arc<StopsAt>) -> ProbeReport {
    let files = tempfile::tempdir().unwrap();
    let options = ProbeOptions { large: 64 << 10, names: 20, ..ProbeOptions::new(files.path().to_owned()) };
    let report = probe(store.clone(), store, &options, watch).await.unwrap();
    assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 0, "nothing is left on this machine");
    report
}

async fn of(wrong: Wrong) -> ProbeReport {
    let store = Bad::new(wrong);
    let report = run(Arc::new(store.clone()), Arc::default()).await;
    if report.left.is_empty() {
        assert_eq!(store.inner.names(), [""; 0], "nothing is left in the store");
    }
    report
}

fn is_unsafe(report: &ProbeReport, what: &str) -> bool {
    report
        .findings
        .iter()
        .any(|found| found.level == Level::Unsafe && found.what.contains(what) && !found.means.is_empty())
}

#[tokio::test]
async fn a_good_store_is_found_good() {
    let report = of(Wrong::Nothing).await;
    assert!(report.is_usable && !report.was_stopped && report.left.is_empty(), "{report:?}");
    assert_eq!((report.count(Level::Unsafe), report.count(Level::Note)), (0, 0), "{report:?}");
    assert_eq!(report.rates.iter().map(|rate| rate.parallel).collect::<Vec<_>>(), [1, 2, 4, 8]);
    assert!(report.rates.iter().all(|rate| rate.upload > 0.0 && rate.download > 0.0));
    assert!(report.parallelism.is_some() && report.small_put.is_some() && report.small_get.is_some());
}

#[tokio::test]
async fn each_thing_that_is_unsafe_is_named() {
    let table = [
        // Then both of two who race believe that they were first.
        (Wrong::AcceptsTakenNames, "a name that is taken is accepted", 2),
        (Wrong::RefusesOddly, "refused in another way", 1),
        (Wrong::ShowsHalves, "half of an upload that was given up is visible", 1),
        (Wrong::ForgetsToRace, "both succeed (16 of 16)", 1),
        (Wrong::Caches, "what was removed can still be read", 1),
        (Wrong::ReadsShort, "reading beyond the end", 1),
        (Wrong::ListsUnknown, "nobody knows whether a listing", 1),
    ];
    for (wrong, what, count) in table {
        let report = of(wrong).await;
        assert!(is_unsafe(&report, what), "{wrong:?}: {report:#?}");
        assert_eq!(report.count(Level::Unsafe), count, "{wrong:?}: {report:#?}");
        assert!(
            report.is_usable && report.left.is_empty() && report.rates.len() == 4,
            "{wrong:?}: {report:#?}"
        );
    }
}

#[tokio::test]
async fn a_store_of_no_use_is_told_from_one_that_is_unsafe() {
    let table = [
        (Wrong::Replaces, "is replaced"),
        (Wrong::FlipsBits, "not what was stored"),
        (Wrong::CutsLongNames, "a name of 99 characters"),
        (Wrong::HasNoRoom, "12 MiB are free"),
    ];
    for (wrong, what) in table {
        let report = of(wrong).await;
        assert!(is_unsafe(&report, what) && !report.is_usable, "{wrong:?}: {report:#?}");
        assert!(report.left.is_empty(), "{wrong:?}: {report:#?}");
    }
}

#[tokio::test]
async fn a_listing_that_lags_behind_is_named() {
    let store = Arc::new(FaultyStore::new(MemoryStore::new()));
    store.set_stale_listing(Some(1));
    let report = run(store.clone(), Arc::default()).await;
    assert!(is_unsafe(&report, "does not show what was stored just before"), "{report:#?}");
    assert!(is_unsafe(&report, "still shows what was removed just before"), "{report:#?}");
    store.set_stale_listing(None);
    assert_eq!(store.inner().names(), [""; 0], "what a listing does not show is removed all the same");
}

#[tokio::test]
async fn what_cannot_be_removed_is_told() {
    let store = Bad::new(Wrong::CannotRemove);
    let report = run(Arc::new(store.clone()), Arc::default()).await;
    assert!(report.is_usable, "{report:#?}");
    for name in store.inner.names() {
        assert!(report.left.iter().any(|left| left.starts_with(&name)), "{name}: {:#?}", report.left);
    }
    assert!(!report.left.is_empty());
}

#[tokio::test]
async fn uploads_that_fail_only_together_limit_the_parallelism() {
    let report = of(Wrong::FailsInParallel).await;
    assert!(report.is_usable, "{report:#?}");
    assert!(report.parallelism.is_some_and(|most| most <= 4), "{report:#?}");
    assert!(
        report.findings.iter().any(|found| found.what.starts_with("8 uploads at once fail")),
        "{report:#?}"
    );
}

#[tokio::test]
async fn it_cleans_up_wherever_it_is_stopped() {
    let all = Arc::new(StopsAt::default());
    run(Arc::new(Bad::new(Wrong::Nothing)), all.clone()).await;
    let steps = all.steps.lock().unwrap().clone();
    assert!(steps.len() > 12, "{steps:?}");
    for step in &steps[..steps.len() - 1] {
        let store = Bad::new(Wrong::Nothing);
        let watch = StopsAt { step: step.clone().leak(), ..StopsAt::default() };
        let report = run(Arc::new(store.clone()), Arc::new(watch)).await;
        assert!(report.was_stopped && report.left.is_empty(), "{step}: {report:?}");
        assert_eq!(store.inner.names(), [""; 0], "{step}");
    }
}

#[tokio::test]
async fn it_cleans_up_when_any_of_its_changes_fails() {
    let counting = Arc::new(FaultyStore::new(MemoryStore::new()));
    run(counting.clone(), Arc::default()).await;
    // Those of the cleaning up itself at the end are repeated here by nobody, and told.
    for at in 0..counting.mutations() {
        let fault = crate::Fault {
            at,
            how: crate::FaultKind::AnswerLost,
            then: crate::Aftermath::Once(ErrorKind::Other),
        };
        let store = Arc::new(FaultyStore::new(MemoryStore::new()).with_fault(fault));
        let report = run(store.clone(), Arc::default()).await;
        assert_eq!(store.inner().names(), [""; 0], "fault {at}: {report:#?}");
    }
}

#[tokio::test]
async fn names_are_none_of_a_repository() {
    #[derive(Debug)]
    struct Keeps(MemoryStore, Mutex<Vec<String>>);
    #[async_trait]
    impl Store for Keeps {
        async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
            self.1.lock().unwrap().push(key.as_str().to_owned());
            self.0.put_new(key, body).await
        }
        async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
            self.0.get_range(key, range).await
        }
        fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
            self.0.list(prefix)
        }
        async fn delete(&self, key: &Key) -> Result<()> {
            self.0.delete(key).await
        }
        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
        async fn examine(&self, scratch: &Prefix) -> Result<Vec<Finding>> {
            self.1.lock().unwrap().push(scratch.as_str().to_owned());
            Ok(Vec::new())
        }
    }
    let store = Arc::new(Keeps(MemoryStore::new(), Mutex::default()));
    store.0.insert_raw("fardel.json", "{}");
    run(store.clone(), Arc::default()).await;
    let names = store.1.lock().unwrap().clone();
    assert!(names.len() > 50 && names.iter().all(|name| name.starts_with("probe-")), "{names:?}");
    assert_eq!(store.0.names(), ["fardel.json"], "what was there stays");
}
