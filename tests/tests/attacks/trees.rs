//! Trees that are giant, recursive, or nonsense: written by somebody who holds a writer's keys.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use fardel_engine::check::{self, CheckOptions, CheckReport, Finding, Level};
use fardel_engine::monitor::Silent;
use fardel_engine::restore::{self, RestoreOptions, RestoreReport};
use fardel_format::ChunkId;
use fardel_format::pack::PackKind;
use fardel_format::rope::Rope;
use fardel_format::tree::{Node, NodeKind};
use fardel_tests::disk_tree::temporary_folder;
use fardel_tests::vault::forge::{Crafted, Put, Snapshot};

use super::Honest;

/// No attack takes longer; only one that could never end is stopped by the user before.
const LONG: Duration = Duration::from_secs(60);

/// A tree in the making: its parts go to one pack.
pub struct Tree {
    pub honest: Honest,
    meta: Crafted,
    data: Crafted,
}

impl Tree {
    pub fn new(name: &str) -> Self {
        Self {
            honest: Honest::new(name),
            meta: Crafted::new(PackKind::Meta),
            data: Crafted::new(PackKind::Data),
        }
    }

    pub fn part(&mut self, bytes: impl AsRef<[u8]>) -> ChunkId {
        self.meta.push_true(&self.honest.vault.host, bytes.as_ref())
    }

    pub fn chunk(&mut self, bytes: &[u8]) -> ChunkId {
        self.data.push_true(&self.honest.vault.host, bytes)
    }

    /// A folder whose entries are these lines.
    pub fn folder(&mut self, name: &str, entries: &[Node]) -> Node {
        let lines: Vec<u8> = entries.iter().flat_map(Node::to_line).collect();
        let id = self.part(lines);
        folder_of(name, 0, vec![id.to_string()])
    }

    /// Seals a snapshot with this node as its source, and checks it. What the check says about other snapshots is nothing.
    pub fn seal(&mut self, node: Node) -> (Put, CheckReport) {
        let host = &self.honest.vault.host;
        let mut packs = Vec::new();
        for crafted in [&self.meta, &self.data] {
            packs.push(crafted.put(&self.honest.vault, host));
        }
        let put =
            Snapshot::new(&self.honest.vault, vec![("/attack", node)], packs).put(&self.honest.vault, host);
        let begun = Instant::now();
        let report = self.honest.check(Level::Data);
        assert!(begun.elapsed() < LONG, "the check took {:?}", begun.elapsed());
        (put, report)
    }

    /// Restores, and stops after a while as a user would.
    pub fn restore(&self, put: &Put, stop_after: Option<Duration>) -> fardel_engine::Result<RestoreReport> {
        self.restore_path(put, None, stop_after)
    }

    pub fn restore_path(
        &self,
        put: &Put,
        path: Option<&[u8]>,
        stop_after: Option<Duration>,
    ) -> fardel_engine::Result<RestoreReport> {
        let folder = temporary_folder("attack");
        let opened = self.honest.vault.open();
        let snapshots = opened.snapshots().unwrap();
        let sealed = snapshots.find(&put.id.to_string()).unwrap();
        let options = RestoreOptions::new(folder.path().join("target"));
        let monitor = Silent::default();
        let begun = Instant::now();
        let report = std::thread::scope(|scope| {
            let (done, wait) = std::sync::mpsc::sync_channel::<()>(1);
            if let Some(after) = stop_after {
                let stop = &monitor.stop;
                scope.spawn(move || {
                    let _ = wait.recv_timeout(after);
                    stop.store(true, Relaxed);
                });
            }
            let report = restore::restore(&opened.repo, &opened.catalog, sealed, path, &options, &monitor);
            drop(done);
            report
        });
        let limit = stop_after.unwrap_or(LONG) + Duration::from_secs(20);
        assert!(begun.elapsed() < limit, "the restore took {:?}", begun.elapsed());
        let outside: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(outside.iter().all(|name| name == "target"), "something was written outside: {outside:?}");
        report
    }

    /// The check names nonsense, and a restore tells of something that is not whole.
    pub fn is_told(&mut self, node: Node) {
        let shown = format!("{node:?}");
        let (put, report) = self.seal(node);
        let told = |finding: &Finding| !finding.harmless && finding.costs.snapshots.contains(&put.id);
        assert!(report.errors.iter().any(told), "{shown:.300}: {report:#?}");
        let false_comfort = report.errors.iter().find(|finding| finding.why.contains("can still be had"));
        assert_eq!(false_comfort, None, "{shown:.300}");
        match self.restore(&put, None) {
            Ok(restored) => assert!(!restored.is_whole(), "{shown:.300}: {restored:?}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        self.honest.restores();
        self.forget(&put);
    }

    pub fn forget(&self, put: &Put) {
        self.honest.vault.store.remove_raw(&put.seal);
        self.honest.vault.store.remove_raw(&put.manifest);
    }
}

pub fn folder_of(name: &str, depth: u8, lines: Vec<String>) -> Node {
    let mut node = Node::new(name.as_bytes(), NodeKind::Dir);
    node.mode = 0o755;
    node.entries = Some(Rope { depth, chunk_size: None, lines });
    node
}

pub fn file_of(name: &str, size: u64, depth: u8, lines: Vec<String>) -> Node {
    let mut node = Node::new(name.as_bytes(), NodeKind::File);
    node.mode = 0o644;
    node.size = size;
    node.content = Some(Rope { depth, chunk_size: None, lines });
    node
}

pub fn volume_of(name: &str, size: u64, depth: u8, lines: Vec<String>) -> Node {
    let mut node = file_of(name, size, depth, lines);
    node.kind = NodeKind::Volume;
    node.content.as_mut().unwrap().chunk_size = Some(16 << 10);
    node
}

#[test]
fn folders_that_are_nonsense() {
    let mut tree = Tree::new("nonsense");
    let good = |name: &str| {
        let mut node = Node::new(name.as_bytes(), NodeKind::File);
        node.content = Some(Rope::default());
        node
    };
    let line = |name: &str| String::from_utf8(good(name).to_line()).unwrap();
    let folders: Vec<Vec<u8>> = vec![
        b"not json\n".to_vec(),
        b"{}\n".to_vec(),
        line("a").trim_end().into(),
        [line("b"), line("a")].concat().into(),
        [line("a"), line("a")].concat().into(),
        b"\n\n\n".to_vec(),
        vec![b'\n'; 4 << 20],
        vec![b'['; 4 << 20],
        b"{\"name\":\"../../up\",\"type\":\"file\"}\n".to_vec(),
        vec![0xff; 1000],
    ];
    for bytes in folders {
        let id = tree.part(&bytes);
        tree.is_told(folder_of("", 0, vec![id.to_string()]));
    }
    for name in ["..", ".", "a/b", "/etc/passwd", "a\0b", ""] {
        let folder = tree.folder("", &[good(name)]);
        tree.is_told(folder);
    }
    // What lies beside such a name is restored nevertheless.
    let folder = tree.folder("", &[good(".."), good("good")]);
    let (put, _) = tree.seal(folder);
    let restored = tree.restore(&put, None).unwrap();
    assert_eq!((restored.files, restored.damaged.len()), (1, 1), "{restored:?}");
    tree.forget(&put);
    let nothing = Node::new(b"nothing", NodeKind::Dir);
    let folder = tree.folder("", &[nothing]);
    tree.is_told(folder);
    let id = tree.part(line("a"));
    for node in [
        folder_of("", 0, vec!["-".into()]),
        folder_of("", 1, vec![id.to_string()]),
        folder_of("", 9, vec![id.to_string()]),
        folder_of("", 0, vec![ChunkId([7; 32]).to_string()]),
        folder_of("", 0, vec![id.to_string(), id.to_string()]),
    ] {
        tree.is_told(node);
    }
}

#[test]
fn folders_within_folders_without_end() {
    let mut tree = Tree::new("deep");
    // A long way down.
    let mut node = tree.folder("leaf", &[]);
    let empty = tree.part("\n");
    node.entries = Some(Rope { depth: 0, chunk_size: None, lines: Vec::new() });
    for n in 0..2000 {
        node = tree.folder(&format!("{n}"), &[node]);
    }
    let (put, report) = tree.seal(node);
    assert!(report.is_whole(), "{report:#?}");
    let restored = tree.restore(&put, None).unwrap();
    assert!(restored.dirs > 2000 || !restored.is_whole(), "{} folders", restored.dirs);
    tree.forget(&put);
    assert_ne!(empty, ChunkId([0; 32]));
}

/// Their paths together grow with the square of the depth: what lies beyond the memory is told, the rest is there.
#[test]
fn folders_within_folders_of_long_names() {
    let mut tree = Tree::new("long-names");
    let mut node = folder_of("leaf", 0, Vec::new());
    for n in 0..400 {
        node = tree.folder(&format!("{n:0255}"), &[node]);
    }
    let (put, _) = tree.seal(node);
    let restored = tree.restore(&put, None).unwrap();
    assert!((100..400).contains(&restored.dirs), "{} folders", restored.dirs);
    assert_eq!(restored.damaged.len(), 1, "{:?}", restored.damaged);
    assert!(restored.damaged[0].why.contains("memory"), "{}", restored.damaged[0].why);
    tree.forget(&put);
}

#[test]
fn a_small_tree_with_more_paths_than_atoms() {
    let mut tree = Tree::new("doubling");
    let mut node = folder_of("x", 0, Vec::new());
    for _ in 0..100 {
        let (mut a, mut b) = (node.clone(), node);
        a.name = Some("a".into());
        b.name = Some("b".into());
        node = tree.folder("x", &[a, b]);
    }
    let (put, report) = tree.seal(node);
    assert!(report.is_whole(), "{report:#?}");
    let stopped = tree.restore(&put, Some(Duration::from_secs(1)));
    assert!(matches!(stopped, Err(fardel_engine::Error::Interrupted)), "{:?}", stopped.map(|r| r.dirs));
    tree.forget(&put);
}

#[test]
fn damage_in_a_tree_with_endless_paths_is_counted_to_an_end() {
    let mut tree = Tree::new("endless-costs");
    let lost = ChunkId([5; 32]);
    let mut node = tree.folder("x", &[file_of("f", 10, 0, vec![format!("{lost} 10")])]);
    for _ in 0..60 {
        let (mut a, mut b) = (node.clone(), node);
        a.name = Some("a".into());
        b.name = Some("b".into());
        node = tree.folder("x", &[a, b]);
    }
    let (put, report) = tree.seal(node);
    let finding = report.errors.iter().find(|finding| finding.object.starts_with("chunk ")).unwrap();
    assert_eq!(finding.costs.paths.len(), check::MAX_PATHS);
    assert!(finding.costs.more_paths > 100_000);
    assert_eq!(finding.costs.snapshots, [put.id]);
    assert!(report.notes.iter().any(|note| note.contains("more")), "{:?}", report.notes);
    // Neither does a map whose every line is lost end.
    let mut map = tree.part(format!("{lost} 16384\n").repeat(1024));
    let mut len = 16384u64 * 1024;
    for _ in 0..3 {
        map = tree.part(format!("{map} {len}\n").repeat(1024));
        len *= 1024;
    }
    let (_, report) = tree.seal(file_of("f", len, 4, vec![format!("{map} {len}")]));
    assert!(report.errors.iter().any(|finding| finding.object.starts_with("chunk ")));
    let opened = tree.honest.vault.open();
    let options = CheckOptions { level: Level::Data, memory: 0, ..CheckOptions::default() };
    assert!(!check::check(&opened.repo, &opened.catalog, &options, &Silent::default()).unwrap().is_whole());
}
