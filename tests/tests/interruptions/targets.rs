use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use fardel_backends::folder::FolderStore;
use fardel_engine::Error;
use fardel_engine::monitor::{Monitor, Silent};
use fardel_engine::replicate::{ReplicateOptions, Target, replicate};
use fardel_store::{Body, ByteRange, Capabilities, ErrorKind, Key, Listed, Result, Store, Throttle};
use fardel_tests::crash::seed;
use fardel_tests::proxy::{End, Strike, Way};
use futures::stream::BoxStream;

use crate::replica::{PATIENT, Replica};
use crate::server::{Server, Width};
use crate::site::Site;

/// Whoever is held up by nobody is done by then, however busy the machine is.
const LONGEST: Duration = Duration::from_secs(300);

/// Bytes a second on the narrow line: what is carried takes minutes there.
const NARROW: u64 = 200_000;

/// A store on another machine, as far as anybody can tell; it notes what is read of each object.
#[derive(Debug)]
struct Remote {
    folder: FolderStore,
    read: Mutex<BTreeMap<String, u64>>,
}

#[async_trait]
impl Store for Remote {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        self.folder.put_new(key, body).await
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        let bytes = self.folder.get_range(key, range).await?;
        *self.read.lock().unwrap().entry(key.to_string()).or_default() += bytes.len() as u64;
        Ok(bytes)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        self.folder.list(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.folder.delete(key).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { files: None, staging: None, ..self.folder.capabilities() }
    }
}

impl Remote {
    /// Packs, and how often each was read as a whole.
    fn packs_read(&self) -> BTreeMap<String, u64> {
        let read = self.read.lock().unwrap();
        read.iter().filter(|(name, _)| name.starts_with("packs/")).map(|(n, b)| (n.clone(), *b)).collect()
    }
}

/// Two targets that keep up, one that nobody reaches, one behind a narrow line, one that falls silent.
#[test]
fn a_dead_a_narrow_and_a_silent_target_hold_up_nobody() {
    let names = ["OpenSSH", "nginx", "Apache", "rclone", "Ceph"];
    let servers: Vec<Server> = names.into_iter().filter_map(Server::start).collect();
    let [_, _, dead, narrow, silent] = &servers[..] else { return };
    dead.line.cut(End::Rst);
    narrow.line.set_rate(Some(NARROW));
    silent.line.arm(Way::Up, 1 << 20, Strike::Stall);

    let site = Site::new(seed()).unwrap();
    let folder = FolderStore::open(&site.path("repo")).unwrap();
    let source = Arc::new(Remote { folder, read: Mutex::default() });
    let (repo, catalog) = site.open_in(source.clone()).unwrap();
    let replicas: Vec<_> =
        names.map(|name| Replica::new(&site, format!("beside-{name}"), Width::Usual)).into();
    let monitors: Vec<_> = names.iter().map(|_| Arc::new(Silent::default())).collect();
    let targets: Vec<_> = (servers.iter().zip(&replicas).zip(&monitors))
        .map(|((server, replica), monitor)| Target {
            name: server.name().into(),
            store: replica.over_the_line(server, PATIENT),
            parallelism: None,
            upload: Arc::default(),
            download: Arc::default(),
            monitor: monitor.clone(),
        })
        .collect();
    let options = ReplicateOptions {
        dry_run: false,
        spool: site.path("spool"),
        download: Throttle::default(),
        memory: 256 << 20,
    };
    let is_done = |at: usize| {
        let progress = monitors[at].counters().get();
        progress.files_total > 0 && progress.files_done == progress.files_total
    };

    let reports = std::thread::scope(|scope| {
        let syncing = scope.spawn(|| replicate(&repo, &catalog, &targets, &options).unwrap());
        let begun = Instant::now();
        while !(is_done(0) && is_done(1)) && begun.elapsed() < LONGEST && !syncing.is_finished() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let done = [0, 1, 2, 3, 4].map(is_done);
        let has_fallen_silent = silent.line.has_struck();
        let read = source.packs_read();
        narrow.line.set_rate(None);
        silent.line.mend();
        let reports = syncing.join().unwrap();
        assert_eq!(
            done,
            [true, true, false, false, false],
            "those that keep up are done, the others are not"
        );
        assert!(has_fallen_silent);
        let once: BTreeMap<_, _> = (site.objects.iter().filter(|(name, _)| name.starts_with("packs/")))
            .map(|(name, bytes)| (name.clone(), bytes.len() as u64))
            .collect();
        assert_eq!(read, once, "each pack was read once");
        assert_eq!(source.packs_read(), once, "nor did those who came later read one again");
        reports
    });

    for (at, (report, replica)) in reports.into_iter().zip(&replicas).enumerate() {
        let server = &servers[at];
        match report {
            Ok(report) if report.behind == 0 => replica.is_whole(server).unwrap(),
            Err(Error::Store(error)) if server.name() == dead.name() => {
                assert_eq!(error.kind, ErrorKind::Transient, "{error}");
            }
            other => panic!("{}: {other:?}", server.name()),
        }
    }
    dead.line.mend();
    let late = &replicas[2];
    assert_eq!(late.sync(late.over_the_line(dead, PATIENT)).unwrap().unwrap().behind, 0);
    late.is_whole(dead).unwrap();
}
