//! Two writers of different data: neither ever waits for the other. `--nocapture` shows the calls of both.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use fardel_format::signers::Role;
use fardel_store::{Body, ByteRange, Capabilities, Key, Listed, MemoryStore, Store};
use futures::channel::oneshot::{self, Receiver, Sender};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};

use super::*;
use crate::check::{self, CheckOptions, Level};
use crate::key::Admin;
use crate::repository::OpenOptions;

/// A call that a writer made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    writer: &'static str,
    what: &'static str,
    name: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.split_inclusive('/').map(|part| part.get(..24).unwrap_or(part));
        write!(f, "{} {:6} {}", self.writer, self.what, name.collect::<String>())
    }
}

/// What all writers did, in one order.
type Trace = Arc<Mutex<Vec<Call>>>;

/// On which side of a call its writer stops: before the store does anything, or before it has the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// Where a writer stops, until it may go on.
struct Stop {
    at: usize,
    side: Side,
    stopped: Option<Sender<()>>,
    go: Option<Receiver<()>>,
}

/// The store as one writer sees it: every call is noted, and one of them may last.
struct Traced {
    inner: MemoryStore,
    writer: &'static str,
    trace: Trace,
    calls: Mutex<usize>,
    stop: Mutex<Option<Stop>>,
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.writer)
    }
}

impl Traced {
    fn new(inner: &MemoryStore, writer: &'static str, trace: &Trace, stop: Option<Stop>) -> Arc<Self> {
        let (inner, trace, stop) = (inner.clone(), trace.clone(), Mutex::new(stop));
        Arc::new(Self { inner, writer, trace, calls: Mutex::new(0), stop })
    }

    /// Notes a call; the number of it.
    async fn begins(&self, what: &'static str, name: &str) -> usize {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            *calls - 1
        };
        self.trace.lock().unwrap().push(Call { writer: self.writer, what, name: name.to_owned() });
        self.waits(number, Side::Before).await;
        number
    }

    async fn waits(&self, number: usize, side: Side) {
        let here = |stop: &mut Stop| (stop.at, stop.side) == (number, side);
        let stop = self.stop.lock().unwrap().take_if(here);
        if let Some(Stop { stopped: Some(stopped), go: Some(go), .. }) = stop {
            stopped.send(()).unwrap();
            go.await.unwrap();
        }
    }
}

#[async_trait::async_trait]
impl Store for Traced {
    async fn put_new(&self, key: &Key, body: Body) -> fardel_store::Result<()> {
        let number = self.begins("put", key.as_str()).await;
        let put = self.inner.put_new(key, body).await;
        self.waits(number, Side::After).await;
        put
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> fardel_store::Result<bytes::Bytes> {
        let number = self.begins("get", key.as_str()).await;
        let got = self.inner.get_range(key, range).await;
        self.waits(number, Side::After).await;
        got
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, fardel_store::Result<Listed>> {
        let listed = async move {
            let number = self.begins("list", prefix).await;
            let listed: Vec<_> = self.inner.list(prefix).collect().await;
            self.waits(number, Side::After).await;
            stream::iter(listed)
        };
        listed.flatten_stream().boxed()
    }

    async fn delete(&self, key: &Key) -> fardel_store::Result<()> {
        let number = self.begins("delete", key.as_str()).await;
        let deleted = self.inner.delete(key).await;
        self.waits(number, Side::After).await;
        deleted
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// One who backs up.
#[derive(Clone)]
struct Writer {
    name: &'static str,
    key: HostKey,
    source: PathBuf,
    cache: PathBuf,
}

impl Writer {
    fn new(fixture: &Fixture, name: &'static str, key: HostKey, cache: &str) -> Self {
        let (source, cache) = (fixture.temp().join(name), fixture.temp().join(cache));
        std::fs::create_dir_all(&source).unwrap();
        let seed = u64::from(name.as_bytes()[0]);
        for file in 0..5 {
            std::fs::write(source.join(file.to_string()), noise(seed * 100 + file, 20_000)).unwrap();
        }
        Self { name, key, source, cache }
    }

    /// Opens the repository, and backs up, as a command does.
    fn backs_up(&self, store: Arc<dyn Store>) -> fardel_format::SnapshotId {
        let (material, cache) = (Some(Material::Host(Box::new(self.key.clone()))), self.cache.clone());
        let options = OpenOptions { material, cache, display: "memory:".into(), pinned: None };
        let (repo, catalog) = Repository::open(store, options).unwrap();
        let packer = PackerOptions { threads: 1, ..PackerOptions::default() };
        let sources = vec![SourceSpec::Path(self.source.clone())];
        let options = BackupOptions { packer, ..BackupOptions::new("test", sources) };
        let report = backup(&repo, &catalog, &options, &Silent::default()).unwrap();
        report.snapshot.expect("it was acknowledged")
    }
}

fn copy_of(store: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new();
    store.names().iter().for_each(|name| copy.insert_raw(name, store.get_raw(name).unwrap()));
    copy
}

fn calls_of<'a>(trace: &'a [Call], writer: &'a Writer, what: &'a str) -> impl Iterator<Item = &'a str> {
    let calls = trace.iter().filter(move |call| (call.writer, call.what) == (writer.name, what));
    calls.map(|call| &*call.name)
}

/// The calls of a writer who has the store for himself.
fn alone(store: &MemoryStore, writer: &Writer, cache: &str) -> Vec<Call> {
    let trace = Trace::default();
    let writer = Writer { cache: writer.cache.with_file_name(cache), ..writer.clone() };
    writer.backs_up(Traced::new(&copy_of(store), writer.name, &trace, None));
    trace.lock().unwrap().clone()
}

/// Stops `one` at each of its calls, on either side of it, and lets `other` run to its end meanwhile.
fn one_stops_and_the_other_does_not_notice(fixture: &Fixture, one: &Writer, other: &Writer) {
    let (calls, undisturbed) =
        (alone(&fixture.store, one, "one alone").len(), alone(&fixture.store, other, "other alone"));
    println!("{} makes {calls} calls, {} alone {}", one.name, other.name, undisturbed.len());
    let mut shown = false;
    for (at, side) in (0..calls).flat_map(|at| [(at, Side::Before), (at, Side::After)]) {
        let when = format!("{} stopped {side:?} call {at}", one.name);
        let (store, trace) = (copy_of(&fixture.store), Trace::default());
        let ((stopped, is_stopped), (go_on, go)) = (oneshot::channel(), oneshot::channel());
        let stop = Stop { at, side, stopped: Some(stopped), go: Some(go) };
        for cache in [&one.cache, &other.cache].into_iter().filter(|cache| cache.exists()) {
            std::fs::remove_dir_all(cache).unwrap();
        }
        let traced = Traced::new(&store, one.name, &trace, Some(stop));
        let (saved, begun) = std::thread::scope(|scope| {
            let begun = scope.spawn(|| one.backs_up(traced));
            crate::bridge::block_on(is_stopped).unwrap_or_else(|_| panic!("{when}: it made fewer calls"));
            let saved = other.backs_up(Traced::new(&store, other.name, &trace, None));
            // It exists for everybody, while the first one still stands where it stood.
            assert!(!begun.is_finished(), "{when}");
            assert!(exist(fixture, &store).contains(&saved), "{when}: it was acknowledged");
            let trace = trace.lock().unwrap().clone();
            assert_independent(&trace, one, other, &undisturbed, &when);
            go_on.send(()).unwrap();
            (saved, begun.join().unwrap())
        });
        // One of them for people: where the first one was about to put its manifest.
        let trace = trace.lock().unwrap().clone();
        if !shown
            && (trace[at].what, side) == ("put", Side::Before)
            && trace[at].name.starts_with("manifests/")
        {
            shown = true;
            println!("{when}:");
            trace.iter().for_each(|call| println!("  {call}"));
        }
        assert_eq!(exist(fixture, &store), BTreeSet::from([saved, begun]), "{when}");
        let (repo, catalog) = fixture.open_in(Arc::new(store), Some(fixture.recovery())).unwrap();
        let options = CheckOptions { level: Level::Data, ..CheckOptions::default() };
        assert!(check::check(&repo, &catalog, &options, &Silent::default()).unwrap().is_whole(), "{when}");
    }
    assert!(shown);
}

/// The second writer made the calls that it makes alone, and beside them read what the first had put and a listing showed.
fn assert_independent(trace: &[Call], one: &Writer, other: &Writer, alone: &[Call], when: &str) {
    for what in ["put", "list", "delete"] {
        let (here, there) = (calls_of(trace, other, what).count(), calls_of(alone, other, what).count());
        assert_eq!(here, there, "{when}: calls to {what}");
    }
    let put: BTreeSet<_> = calls_of(trace, one, "put").collect();
    let of_its_own = calls_of(trace, other, "get").filter(|name| !put.contains(name));
    assert_eq!(of_its_own.count(), calls_of(alone, other, "get").count(), "{when}: calls to get");
    for what in ["put", "delete"] {
        assert_eq!(calls_of(trace, other, what).find(|name| put.contains(name)), None, "{when}");
    }
}

fn exist(fixture: &Fixture, store: &MemoryStore) -> BTreeSet<fardel_format::SnapshotId> {
    let (repo, catalog) = fixture.open_in(Arc::new(store.clone()), None).unwrap();
    Snapshots::load(&repo, &catalog).unwrap().sealed.iter().map(|sealed| sealed.id()).collect()
}

#[test]
fn two_hosts_never_wait_for_each_other() {
    let fixture = fixture();
    let (repo, catalog) = fixture.open();
    let admin = Admin::open(&repo, &catalog, &fixture.recovery()).unwrap();
    let key = admin.add_host("other", &[Role::Write], false).unwrap();
    let one = Writer::new(&fixture, "A", fixture.host.clone(), "cache of A");
    let other = Writer::new(&fixture, "B", key, "cache of B");
    one_stops_and_the_other_does_not_notice(&fixture, &one, &other);
}

#[test]
fn two_backups_of_one_machine_never_wait_for_each_other() {
    let fixture = fixture();
    let one = Writer::new(&fixture, "A", fixture.host.clone(), "their cache");
    let other = Writer::new(&fixture, "B", fixture.host.clone(), "their cache");
    one_stops_and_the_other_does_not_notice(&fixture, &one, &other);
}
