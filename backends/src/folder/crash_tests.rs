//! Enumerates crashes and failures over every changing call of the folder store.
//!
//! After each: what was acknowledged is there whole; what was not is there whole or not at all; nothing else changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fardel_store::{Body, ByteRange, ErrorKind, Key, Listed, Store};
use futures::{FutureExt, TryStreamExt};

use super::fs::Fs;
use super::{FolderOptions, FolderStore, Loss, Refusals, SimFault, SimFaultKind, SimFs};

const ROOT: &str = "/sim/backups/repository";
const CRASHES: [SimFaultKind; 3] =
    [SimFaultKind::CrashBefore, SimFaultKind::CrashAfter, SimFaultKind::CrashTorn];
const FAILURES: [SimFaultKind; 3] =
    [SimFaultKind::FailOnce, SimFaultKind::AnswerLost, SimFaultKind::FailForever];

/// File systems with every way of publishing.
const KINDS: [Refusals; 3] = [
    Refusals { rename_noreplace: false, link: false, sync_dir: false },
    Refusals { rename_noreplace: true, link: false, sync_dir: false },
    Refusals { rename_noreplace: true, link: true, sync_dir: false },
];

pub(super) fn open(fs: &SimFs) -> FolderStore {
    FolderStore::with_fs(Arc::new(fs.clone()), Path::new(ROOT), FolderOptions::default())
}

pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a simulated file system never waits")
}

pub(super) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

pub(super) fn contents(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(5000).collect()
}

pub(super) fn list(store: &FolderStore) -> Vec<Listed> {
    let mut listed: Vec<Listed> = now(store.list("").try_collect()).unwrap();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    listed
}

/// One step of the enumerated program.
#[derive(Clone, Copy, Debug)]
enum Step {
    Put(&'static str),
    /// From a file that lies in the staging folder, never synced by its writer.
    PutStaged(&'static str),
    Delete(&'static str),
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Put(name) | Self::PutStaged(name) | Self::Delete(name) => name,
        }
    }
}

const STEPS: [Step; 6] = [
    Step::Put("packs/aa/one.age"),
    Step::PutStaged("packs/bb/two.age"),
    Step::Put("packs/aa/three.age"),
    Step::Delete("packs/aa/old.age"),
    Step::Delete("packs/never.age"),
    Step::PutStaged("seals/w/one.minisig"),
];

/// Objects that are there at the start.
const OLD: [&str; 3] = ["fardel.json", "packs/aa/old.age", "packs/aa/kept.age"];

pub(super) fn staged(fs: &SimFs, store: &FolderStore, name: &str) -> std::io::Result<Body> {
    let folder = store.staging_dir().map_err(std::io::Error::other)?;
    let path = folder.join(name.replace('/', "-"));
    let bytes = contents(name);
    let mut file = fs.create_new(&path)?;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        rest = &rest[file.write(rest)?..];
    }
    Ok(Body::File { path, len: bytes.len() as u64 })
}

pub(super) fn put(store: &FolderStore, name: &str) -> fardel_store::Result<()> {
    now(store.put_new(&key(name), Body::from(contents(name))))
}

/// Carries a step out; `None` when it could not even begin.
fn carry_out(fs: &SimFs, store: &FolderStore, step: Step) -> Option<fardel_store::Result<()>> {
    Some(match step {
        Step::Put(name) => put(store, name),
        Step::PutStaged(name) => {
            let body = staged(fs, store, name).ok()?;
            now(store.put_new(&key(name), body))
        }
        Step::Delete(name) => now(store.delete(&key(name))),
    })
}

/// A file system with the old objects, all durable.
fn start(refusals: Refusals) -> SimFs {
    let fs = SimFs::new();
    fs.set_refusals(refusals);
    let store = open(&fs);
    for name in OLD {
        put(&store, name).unwrap();
    }
    drop(store);
    let fs = fs.after_power_loss(Loss::DropUnsynced);
    assert_eq!(list(&open(&fs)).len(), OLD.len());
    fs
}

/// Whether the object is there, whole; panics when it is there otherwise.
#[track_caller]
fn is_whole(store: &FolderStore, name: &str, context: &str) -> bool {
    match now(store.get_range(&key(name), ByteRange::All)) {
        Ok(bytes) => {
            assert!(bytes == contents(name), "{context}: {name} is torn: {} bytes", bytes.len());
            true
        }
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::NotFound, "{context}: {name}: {error}");
            false
        }
    }
}

fn losses() -> impl Iterator<Item = Loss> {
    [Loss::DropUnsynced, Loss::KeepAll].into_iter().chain((0..12).map(Loss::Random))
}

/// Checks what is found after `acknowledged` of the steps succeeded and then the machine stopped.
fn check(found: &SimFs, acknowledged: usize, context: &str) {
    let store = open(found);
    for name in OLD {
        let deleted = STEPS.iter().position(|step| step.name() == name);
        let there = is_whole(&store, name, context);
        match deleted {
            Some(step) if step < acknowledged => assert!(!there, "{context}: {name} came back"),
            Some(step) if step == acknowledged => {}
            _ => assert!(there, "{context}: {name} was lost"),
        }
    }
    for (number, step) in STEPS.iter().enumerate() {
        if let Step::Put(name) | Step::PutStaged(name) = step {
            let there = is_whole(&store, name, context);
            assert!(there || number >= acknowledged, "{context}: acknowledged {name} was lost");
            assert!(!there || number <= acknowledged, "{context}: {name} was never put");
        }
    }
    for listed in list(&store) {
        assert!(is_whole(&store, &listed.name, context), "{context}: {} is listed", listed.name);
        assert_eq!(listed.size, contents(&listed.name).len() as u64, "{context}: {}", listed.name);
    }
    let temporaries = found.files(Path::new("/sim"));
    let left: Vec<&PathBuf> = temporaries.iter().map(|(path, _)| path).filter(|p| is_temporary(p)).collect();
    assert!(left.is_empty(), "{context}: temporaries are left after opening: {left:?}");
}

fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

/// What the next process puts again it finds, and it is durable, however the first one ended.
fn check_put_again(found: &SimFs, step: Step, context: &str) {
    let (Step::Put(name) | Step::PutStaged(name)) = step else { return };
    let store = open(found);
    match put(&store, name) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind, ErrorKind::Exists, "{context}: put again: {error}"),
    }
    let after = found.after_power_loss(Loss::DropUnsynced);
    assert!(is_whole(&open(&after), name, context), "{context}: {name} was put again and then lost");
}

#[test]
fn crashes_at_every_call() {
    let mut states = 0;
    for refusals in KINDS {
        let start = start(refusals);
        let total = run_until_failure(&start.deep_clone()).1;
        assert!(total > 40, "the program makes {total} changing calls");
        for at in 0..total {
            for how in CRASHES {
                let fs = start.deep_clone();
                fs.set_fault(Some(SimFault { at, how }));
                let (acknowledged, _) = run_until_failure(&fs);
                // The last calls are those of closing: a crash there is after everything.
                assert!(acknowledged == STEPS.len() || fs.is_dead());
                let context = format!("{refusals:?} {how:?} at {at}");
                check(&fs.after_process_death(), acknowledged, &context);
                for loss in losses() {
                    check(&fs.after_power_loss(loss), acknowledged, &format!("{context}, {loss:?}"));
                    states += 1;
                }
                if let Some(step) = STEPS.get(acknowledged) {
                    check_put_again(&fs.after_process_death(), *step, &context);
                    check_put_again(&fs.after_power_loss(Loss::Random(at)), *step, &context);
                }
            }
        }
    }
    assert!(states > 5000, "only {states} states were looked at");
}

/// How many steps were acknowledged before the first failure, and how many changing calls were made in all.
fn run_until_failure(fs: &SimFs) -> (usize, u64) {
    let store = open(fs);
    let mut acknowledged = 0;
    for step in STEPS {
        match carry_out(fs, &store, step) {
            Some(Ok(())) => acknowledged += 1,
            _ => break,
        }
    }
    drop(store);
    (acknowledged, fs.calls())
}

/// Every file, temporaries without their names, which are random.
fn files(fs: &SimFs) -> Vec<(PathBuf, Vec<u8>)> {
    let nameless = |path: PathBuf| if is_temporary(&path) { PathBuf::from("temporary") } else { path };
    let mut files: Vec<_> =
        fs.files(Path::new("/sim")).into_iter().map(|(path, bytes)| (nameless(path), bytes)).collect();
    files.sort();
    files
}

#[test]
fn what_is_recorded_of_one_run_is_what_a_crash_at_each_call_leaves() {
    let start = start(KINDS[0]);
    let recorded = start.deep_clone();
    recorded.record();
    let total = run_until_failure(&recorded).1;
    let moments = recorded.take_moments();
    assert_eq!(moments.len() as u64, total - start.calls() + 1);
    for (number, moment) in moments.iter().enumerate() {
        for how in CRASHES {
            let fs = start.deep_clone();
            fs.set_fault(Some(SimFault { at: start.calls() + number as u64, how }));
            run_until_failure(&fs);
            let same = match how {
                SimFaultKind::CrashTorn => moment.torn(moment.writing() / 2).file_system(),
                SimFaultKind::CrashAfter => moments[(number + 1).min(moments.len() - 1)].file_system(),
                _ => moment.file_system(),
            };
            assert_eq!(files(&same), files(&fs.after_process_death()), "{how:?} at {number}");
            let loss = Loss::DropUnsynced;
            assert_eq!(
                files(&same.after_power_loss(loss)),
                files(&fs.after_power_loss(loss)),
                "{how:?} at {number}"
            );
        }
    }
}

#[test]
fn failures_at_every_call() {
    for refusals in KINDS {
        let start = start(refusals);
        let total = run_until_failure(&start.deep_clone()).1;
        for at in 0..total {
            for how in FAILURES {
                let fs = start.deep_clone();
                fs.set_fault(Some(SimFault { at, how }));
                run_through_failures(&fs, &format!("{refusals:?} {how:?} at {at}"), how);
            }
        }
    }
}

/// Runs all steps whatever fails, and looks after each.
fn run_through_failures(fs: &SimFs, context: &str, how: SimFaultKind) {
    let store = open(fs);
    let mut failed = Vec::new();
    for step in STEPS {
        let name = step.name();
        let result = carry_out(fs, &store, step);
        let after_loss = open(&fs.after_power_loss(Loss::DropUnsynced));
        let in_place = is_whole(&store, name, context);
        match (step, &result) {
            (Step::Delete(_), Some(Ok(()))) => {
                assert!(
                    !in_place && !is_whole(&after_loss, name, context),
                    "{context}: {name} is not deleted"
                );
            }
            (_, Some(Ok(()))) => {
                assert!(in_place && is_whole(&after_loss, name, context), "{context}: {name} is not durable");
            }
            _ => failed.push((step, result)),
        }
        is_whole(&after_loss, name, context);
    }
    if how == SimFaultKind::FailForever {
        fs.set_fault(None);
    } else {
        let distrusted = |result: &Option<fardel_store::Result<()>>| match result {
            Some(Err(error)) => error.message.contains("could not be synced before"),
            _ => result.is_none(),
        };
        let own = failed.iter().filter(|(_, result)| !distrusted(result)).count();
        assert!(own <= 1, "{context}: one failure spoilt several steps: {failed:?}");
    }
    for (step, _) in failed {
        let (Step::Put(name) | Step::PutStaged(name)) = step else { continue };
        match put(&store, name) {
            Ok(()) => {}
            Err(error) if error.message.contains("could not be synced before") => continue,
            Err(error) => assert_eq!(error.kind, ErrorKind::Exists, "{context}: put again: {error}"),
        }
        let after = fs.after_power_loss(Loss::DropUnsynced);
        assert!(is_whole(&open(&after), name, context), "{context}: {name} was put again and then lost");
    }
    drop(store);
    drop(open(fs));
    let left = fs.files(Path::new("/sim")).into_iter().filter(|(path, _)| is_temporary(path)).count();
    assert_eq!(left, 0, "{context}: temporaries are left");
}

#[test]
fn one_failed_sync_of_a_temporary_is_made_good() {
    let fs = start(KINDS[0]);
    let before = fs.calls();
    put(&open(&fs), "packs/aa/counted.age").unwrap();
    let calls = fs.calls() - before;
    let mut repaired = 0;
    for at in 0..calls {
        let fs = start(KINDS[0]);
        fs.set_fault(Some(SimFault { at, how: SimFaultKind::FailOnce }));
        let store = open(&fs);
        if put(&store, "packs/aa/new.age").is_ok() {
            repaired += 1;
            let after = fs.after_power_loss(Loss::DropUnsynced);
            assert!(is_whole(&open(&after), "packs/aa/new.age", "repaired"), "call {at}");
        }
    }
    // Write, sync of the file, sync of the folder; and the harmless ones about the staging folder.
    assert!(repaired >= 3, "only {repaired} of {calls} single failures were made good");
}

#[test]
fn a_deed_whose_answer_was_lost_counts_as_done() {
    for refusals in KINDS {
        for staging in [false, true] {
            for at in 0.. {
                let fs = start(refusals);
                let store = open(&fs);
                put(&store, "packs/aa/first.age").unwrap();
                let body = if staging {
                    staged(&fs, &store, "packs/aa/new.age").unwrap()
                } else {
                    Body::from(contents("packs/aa/new.age"))
                };
                let struck = fs.calls() + at;
                fs.set_fault(Some(SimFault { at: struck, how: SimFaultKind::AnswerLost }));
                let result = now(store.put_new(&key("packs/aa/new.age"), body));
                if fs.calls() <= struck {
                    assert!(at >= 3, "a put makes more than {at} changing calls");
                    break;
                }
                // A sync that says it failed is believed to have failed: what the caller wrote may be lost.
                let is_adopted_sync = staging && at == 0;
                assert_eq!(result.is_ok(), !is_adopted_sync, "{refusals:?} at {at}: {result:?}");
                let after = open(&fs.after_power_loss(Loss::DropUnsynced));
                assert_eq!(is_whole(&after, "packs/aa/new.age", "lost answer"), result.is_ok());
            }
        }
    }
}

#[test]
fn a_folder_that_somebody_else_just_made_is_made_durable() {
    let fs = SimFs::new();
    fs.mkdir(Path::new("/sim/backups"), false).unwrap();
    fs.sync_dir(Path::new("/sim")).unwrap();
    for folder in [ROOT, &format!("{ROOT}/packs")] {
        fs.mkdir(Path::new(folder), false).unwrap();
    }
    put(&open(&fs), "packs/one.age").unwrap();
    let after = open(&fs.after_power_loss(Loss::DropUnsynced));
    assert!(is_whole(&after, "packs/one.age", "made by somebody else"));
}

#[test]
fn a_callers_file_that_could_not_be_synced_is_never_believed() {
    let fs = start(KINDS[0]);
    let store = open(&fs);
    let body = staged(&fs, &store, "packs/aa/spoilt.age").unwrap();
    put(&store, "packs/aa/first.age").unwrap();
    // The next changing call is the sync of the adopted file.
    fs.set_fault(Some(SimFault { at: fs.calls(), how: SimFaultKind::FailOnce }));
    for _ in 0..2 {
        let error = now(store.put_new(&key("packs/aa/spoilt.age"), body.clone())).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Other);
        assert!(error.message.contains("write it again"), "{error}");
    }
    let Body::File { path, .. } = body else { unreachable!() };
    assert!(fs.stat(&path).is_ok(), "the file of a failed put stays");
}

#[test]
fn what_was_listed_outlives_nothing_that_is_put_later() {
    // A process dies between its rename and its sync; the next one sees the object and builds on it.
    let total = run_until_failure(&start(KINDS[0])).1;
    for at in 0..total {
        for how in CRASHES {
            let fs = start(KINDS[0]);
            fs.set_fault(Some(SimFault { at, how }));
            run_until_failure(&fs);
            let fs = fs.after_process_death();
            let second = open(&fs);
            let seen = list(&second);
            put(&second, "seals/w/relies-on-it.minisig").unwrap();
            let after = open(&fs.after_power_loss(Loss::DropUnsynced));
            for listed in seen {
                assert!(
                    is_whole(&after, &listed.name, "seen"),
                    "{} was seen, then lost ({how:?} at {at})",
                    listed.name
                );
            }
            assert!(is_whole(&after, "seals/w/relies-on-it.minisig", "seal"));
        }
    }
}
