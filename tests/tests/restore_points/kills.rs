//! The built command is killed before every changing call that a restore makes: `strace` delivers SIGKILL on entering it.
//!
//! Into an empty folder: whatever has its final name is whole. Over older content: anything goes until it is done. After
//! either, a restore in place makes everything as it was saved.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use fardel_tests::crash::machine::Machine;
use fardel_tests::crash::model::{Kind, Model};
use fardel_tests::crash::site::{Scale, Site};
use fardel_tests::crash::tally::{Counts, Tally, tell};
use fardel_tests::crash::{Result, seed};
use fardel_tests::disk_tree::temporary_folder;
use fardel_tests::fardel_binary;
use fardel_tests::programs::are_installed;

use super::remove_whole_copies;

/// What makes, changes or syncs a file or folder; each kind is counted by itself, so that every boundary between two calls is a
/// point.
const CALLS: [&str; 21] = [
    "openat",
    "openat2",
    "syncfs",
    "pwrite64",
    "write",
    "ftruncate",
    "fallocate",
    "mkdirat",
    "renameat",
    "renameat2",
    "unlinkat",
    "linkat",
    "symlinkat",
    "mknodat",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "fsetxattr",
    "setxattr",
    "utimensat",
];
/// Points in all, at least.
const POINTS: u64 = 200;

/// How a restore begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Onto {
    /// Nothing is there.
    Nothing,
    /// An older version is there.
    Older,
}

#[test]
fn restore_killed_at_every_call() {
    if !are_installed(&["strace"]) {
        return;
    }
    let seed = seed();
    let tally = Tally::new(seed);
    let fixture = Fixture::new(seed).expect("a repository with two snapshots");
    let jobs: Vec<(Onto, &str)> =
        [Onto::Nothing, Onto::Older].into_iter().flat_map(|onto| CALLS.map(|call| (onto, call))).collect();
    let (next, litter) = (AtomicUsize::new(0), AtomicU64::new(0));
    let failures = Mutex::new(Vec::new());
    let work = || {
        while let Some((onto, call)) = jobs.get(next.fetch_add(1, Relaxed)) {
            for when in 1.. {
                let began = Instant::now();
                match fixture.kill(*onto, call, when, &litter) {
                    Ok(true) => {
                        let counts =
                            Counts { runs: 1, states: 1, time: began.elapsed(), ..Counts::default() };
                        tally.add(&format!("restore onto {onto:?}, {call}"), counts);
                    }
                    Ok(false) => break,
                    Err(why) => {
                        failures.lock().unwrap().push(format!("{onto:?}, {call} number {when}: {why}"));
                        break;
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    tally.print("restore, killed before each changing call");
    let points = tally.all().states;
    tell(&format!(
        "restores: killed before {points} changing calls, {} whole NAME.partial stayed; seed {seed}, {:.0} s",
        litter.into_inner(),
        tally.elapsed().as_secs_f64()
    ));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "seed {seed}:\n{}", failures.join("\n"));
    assert!(points >= POINTS, "only {points} points");
}

#[test]
fn a_restore_is_durable_before_it_is_reported() {
    if !are_installed(&["strace"]) {
        return;
    }
    let fixture = Fixture::new(seed()).expect("a repository with two snapshots");
    let folder = temporary_folder("target");
    let target = folder.path().join("t");
    for (version, in_place) in [(0, false), (1, true)] {
        let log = folder.path().join(format!("log-{version}"));
        let plain = fixture.restore(version, &target, in_place);
        let mut traced = fixture.machine.program(Path::new("strace"));
        traced.args(["-f", "-qq", "-e", &format!("trace={}", CALLS.join(",")), "-o"]).arg(&log);
        end_of(traced.arg(fardel_binary()).args(plain.get_args()), Some(0)).unwrap();
        let log = std::fs::read_to_string(&log).unwrap();
        let calls: Vec<&str> = log.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        let synced = calls.iter().rposition(|call| call.starts_with("syncfs(")).expect("it is made durable");
        assert!(calls[..synced].iter().any(|call| call.starts_with("renameat2(")), "{log}");
        let after: Vec<_> = calls[synced..]
            .iter()
            .filter(|call| !call.starts_with("write(") && !call.starts_with("openat"))
            .collect();
        assert_eq!(after.len(), 1, "something is changed after the sync: {log}");
        assert!(
            calls[synced..].iter().any(|call| call.starts_with("write(1")),
            "it reports at the end: {log}"
        );
    }
}

/// A repository with two versions of a site, and what they restore to.
struct Fixture {
    machine: Machine,
    ids: [String; 2],
    /// The newer one, and where it was.
    wanted: Model,
    /// The same, and what only the older one had: a restore removes nothing.
    both: Model,
    /// Where the folder of a version lies below a target.
    inside: PathBuf,
    _site: Site,
}

impl Fixture {
    fn new(seed: u64) -> Result<Self> {
        let words = |e: std::io::Error| e.to_string();
        let site = Site::new(seed, Scale::Small).map_err(words)?;
        let view = site.view("restore").map_err(words)?;
        let machine = Machine::new("restore", "chunk_size: 16KiB\nmemory: 64MiB\n").map_err(words)?;
        machine.succeed(&["init", "--recovery-file", "recovery"])?;
        let mut ids = [String::new(), String::new()];
        for (version, id) in ids.iter_mut().enumerate() {
            view.show(version).map_err(words)?;
            let summary = machine.succeed(&[Path::new("backup"), &view.tree(), &view.image()])?;
            *id = summary["snapshot_id"].as_str().unwrap_or_default().to_owned();
        }
        let model = |version: usize| {
            let mut model = site.version(version).model.clone();
            model.0.remove(fardel_tests::crash::site::STREAM.as_bytes());
            model
        };
        let (older, wanted) = (model(0), model(1));
        let mut both = older;
        both.merge(wanted.clone());
        let inside = view.tree().parent().unwrap().strip_prefix("/").unwrap().to_owned();
        Ok(Self { machine, ids, wanted, both, inside, _site: site })
    }

    fn restore(&self, version: usize, target: &Path, in_place: bool) -> Command {
        let mut command = self.machine.program(&fardel_binary());
        command.args(["restore", &self.ids[version], "--setid", "--json", "--target"]).arg(target);
        if in_place {
            command.arg("--in-place");
        }
        command
    }

    /// Kills a restore before call number `when` of this kind; `false` when there are not so many.
    fn kill(&self, onto: Onto, call: &str, when: u32, litter: &AtomicU64) -> Result<bool> {
        let folder = temporary_folder("target");
        let target = folder.path().join("t");
        if onto == Onto::Older {
            end(self.restore(0, &target, false), Some(0))?;
        }
        let plain = self.restore(1, &target, onto == Onto::Older);
        let mut traced = self.machine.program(Path::new("strace"));
        // Not with --seccomp-bpf: strace 6.1 then counts wrongly.
        traced.args(["-f", "-qq", "-o", "/dev/null"]);
        traced.args([
            "-e",
            &format!("trace={call}"),
            "-e",
            &format!("inject={call}:signal=SIGKILL:when={when}"),
        ]);
        traced.arg(fardel_binary()).args(plain.get_args());
        let output = traced.output().map_err(|e| e.to_string())?;
        match output.status.code() {
            Some(0) => return Ok(false),
            Some(code) if code != 128 + 9 => {
                return Err(format!(
                    "it was not killed but ended with {code}: {}",
                    String::from_utf8_lossy(&output.stderr)
                ));
            }
            _ => {}
        }
        if onto == Onto::Nothing {
            self.nothing_is_torn(&target)?;
        }
        end(self.restore(1, &target, true), Some(0)).map_err(|why| format!("in place after it: {why}"))?;
        let mut found = self.found(&target).map_err(|e| e.to_string())?;
        litter.fetch_add(remove_whole_copies(&mut found, &self.both), Relaxed);
        let wrong = if onto == Onto::Older { &self.both } else { &self.wanted }.differences(&found);
        if wrong.is_empty() { Ok(true) } else { Err(format!("in place after it: {}", wrong.join("; "))) }
    }

    fn found(&self, target: &Path) -> std::io::Result<Model> {
        let mut model = Model::default();
        for name in ["tree", "disk.img"] {
            let path = target.join(&self.inside).join(name);
            if path.symlink_metadata().is_ok() {
                model.merge(Model::of_disk(&path, name)?);
            }
        }
        // The image may have another name as long as it is not whole.
        let partial = target.join(&self.inside).join("disk.img.partial");
        if partial.exists() {
            model.merge(Model::of_disk(&partial, "disk.img.partial")?);
        }
        Ok(model)
    }

    /// Every file has its final name only when it is whole, attributes and all.
    fn nothing_is_torn(&self, target: &Path) -> Result {
        let found = self.found(target).map_err(|e| e.to_string())?;
        for (path, item) in &found.0 {
            let shown = path.escape_ascii();
            let Some(wanted) = self.wanted.0.get(path) else {
                if item.kind == Kind::File && path.ends_with(b".partial") {
                    continue;
                }
                return Err(format!("{shown} is none of the snapshot's: {item:?}"));
            };
            let mut whole = wanted.clone();
            // Further names of a file come later.
            whole.same_as.clone_from(&item.same_as);
            let torn = match item.kind {
                Kind::File => *item != whole,
                kind => kind != wanted.kind || item.content != wanted.content,
            };
            if torn {
                return Err(format!("{shown} is torn: {item:?} instead of {wanted:?}"));
            }
        }
        Ok(())
    }
}

fn end(mut command: Command, code: Option<i32>) -> Result {
    end_of(&mut command, code)
}

fn end_of(command: &mut Command, code: Option<i32>) -> Result {
    let output = command.output().map_err(|e| e.to_string())?;
    let told =
        || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == code { Ok(()) } else { Err(format!("{}: {}", output.status, told())) }
}
