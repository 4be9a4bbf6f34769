//! Folders that other tools copy, in any order and with any accident, against what status says of them.
//!
//! A repository grows: snapshots of several hosts, one that is forgotten, what only it needed collected. A copier takes a copy
//! from one state of it towards a later one and stops anywhere: by name, by age, backwards or at random; deletes first, last,
//! in between or never; halves under final names, temporaries, conflict copies, and objects of older states that come back.
//!
//! What is whole is computed from the objects themselves by code of this suite, and compared with what status says. In some of
//! the cases the copy is a real folder, with placeholders in it, and what status calls complete is restored, if the key files
//! have come: they belong to the repository, and no snapshot names them.
//!
//! `FARDEL_SEED` chooses others; a failure names the seed and the case. `just soak` runs ten times as many.

#[path = "copiers/copier.rs"]
mod copier;
#[path = "copiers/history.rs"]
mod history;
#[path = "copiers/oracle.rs"]
mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fardel_backends::folder::FolderStore;
use fardel_engine::check::{self, CheckOptions, Class, Level};
use fardel_engine::monitor::Silent;
use fardel_engine::status::{Wholeness, status};
use fardel_engine::{Error, OpenOptions, Repository};
use fardel_store::{MemoryStore, Store};
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::seed;

use copier::Copy;
use history::History;
use oracle::Truth;

/// One case in so many is a real folder.
const FOLDER_EVERY: u64 = 60;
/// In one case of so many what is called complete is restored, and the copy checked.
const RESTORE_EVERY: u64 = 40;

#[test]
fn status_tells_what_is_whole_whatever_a_copier_did() {
    run(10_000);
}

#[test]
#[ignore = "soak: some minutes"]
fn soak_status_tells_what_is_whole_whatever_a_copier_did() {
    run(100_000);
}

/// What the cases had in them, so that nobody takes easy ones for all.
#[derive(Debug, Default)]
struct Counts {
    complete: AtomicU64,
    incomplete: AtomicU64,
    nothing_complete: AtomicU64,
    torn: AtomicU64,
    restored: AtomicU64,
    folders: AtomicU64,
}

fn run(cases: u64) {
    let (seed, began) = (seed(), Instant::now());
    eprintln!("copiers: seed {seed}, {cases} cases");
    let history = History::new();
    let (counts, next, failed) = (Counts::default(), AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let work = || {
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case >= cases || failed.load(Ordering::Relaxed) != u64::MAX {
                return;
            }
            let one = AssertUnwindSafe(|| look_at(&history, seed, case, &counts));
            if let Err(panic) = std::panic::catch_unwind(one) {
                eprintln!("copiers: FARDEL_SEED={seed}, case {case} failed");
                failed.store(case, Ordering::Relaxed);
                std::panic::resume_unwind(panic);
            }
        }
    };
    std::thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(work)));
    });
    eprintln!("copiers: {cases} cases in {:.0} s: {counts:?}", began.elapsed().as_secs_f64());
    let enough = |count: &AtomicU64, part: u64| {
        assert!(count.load(Ordering::Relaxed) >= cases / part, "too few of a kind: {counts:?}");
    };
    enough(&counts.complete, 2);
    enough(&counts.incomplete, 8);
    enough(&counts.nothing_complete, 50);
    enough(&counts.torn, 5);
    enough(&counts.restored, 2 * RESTORE_EVERY);
    enough(&counts.folders, 2 * FOLDER_EVERY);
}

fn look_at(history: &History, seed: u64, case: u64, counts: &Counts) {
    let mut chance = Chance::of(seed, "copier", case);
    let copy = Copy::make(history, &mut chance);
    let truth = Truth::of(history, &copy.objects);
    if case.is_multiple_of(FOLDER_EVERY) {
        counts.folders.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        copy.write_into(history, folder.path(), &mut chance);
        compare(history, Arc::new(FolderStore::open(folder.path()).unwrap()), &copy, &truth, case, counts);
    } else {
        let store = MemoryStore::new();
        copy.objects.iter().for_each(|(name, bytes)| store.insert_raw(name, bytes.clone()));
        compare(history, Arc::new(store), &copy, &truth, case, counts);
    }
}

fn compare(history: &History, store: Arc<dyn Store>, copy: &Copy, truth: &Truth, case: u64, counts: &Counts) {
    let options = OpenOptions {
        material: None,
        cache: Path::new("/nonexistent/cache").to_owned(),
        display: "copy".into(),
        pinned: Some(history.vault.id),
    };
    let (repo, catalog) = match Repository::open(store.clone(), options) {
        Ok(opened) => opened,
        Err(Error::NoRepository(_)) if !copy.objects.contains_key("fardel.json") => return,
        Err(_) if !truth.has_card => return,
        Err(error) => panic!("it does not open: {error}"),
    };
    let status = status(&repo, &catalog).unwrap();
    let told = status.complete.as_ref().map(|known| known.id);
    if let Some(id) = &told {
        assert!(truth.all_there.contains(id), "{id} is called complete, and is not");
        counts.complete.fetch_add(1, Ordering::Relaxed);
    }
    counts.torn.fetch_add(u64::from(!copy.torn.is_empty()), Ordering::Relaxed);
    if truth.knows_signers {
        assert_eq!(told, truth.newest_whole, "the newest complete snapshot");
        let incomplete: BTreeSet<_> = status.incomplete.iter().copied().collect();
        assert_eq!(incomplete, truth.incomplete, "snapshots that are not whole");
        assert_eq!(status.snapshots, (truth.whole.len() + truth.incomplete.len()) as u64);
        assert!(status.behind >= truth.newer_incomplete, "{} of {}", status.behind, truth.newer_incomplete);
        if truth.incomplete.is_empty() && truth.bare_seals == 0 {
            assert_eq!((status.behind, status.missing.objects, status.missing_at_least), (0, 0, false));
        }
        if let Some(missing) = &truth.missing {
            let bare = status.missing_names.iter().filter(|name| name.as_str().starts_with("manifests/"));
            assert_eq!(status.missing.objects - bare.count() as u64, missing.len() as u64, "{missing:?}");
            assert_eq!(status.missing.bytes, missing.values().sum::<u64>(), "{missing:?}");
        }
        counts.incomplete.fetch_add(u64::from(!truth.incomplete.is_empty()), Ordering::Relaxed);
        counts.nothing_complete.fetch_add(u64::from(truth.whole.is_empty()), Ordering::Relaxed);
        let snapshots = fardel_engine::snapshots::Snapshots::load_for_reading(&repo, &catalog).unwrap();
        let mut wholeness = Wholeness::new(&repo, &catalog);
        for sealed in &snapshots.sealed {
            let whole = wholeness.lacks(sealed).unwrap().is_nothing();
            assert_eq!(whole, truth.whole.contains(&sealed.id()), "{}", sealed.id());
        }
    }
    assert_eq!(status.ignored_names, copy.strangers.len() as u64, "{:?}", copy.strangers);
    if case.is_multiple_of(RESTORE_EVERY) {
        nothing_is_damaged(history, store.clone(), copy, truth);
        if let Some(id) = told.filter(|_| truth.has_keys) {
            restore(history, store, &id);
            counts.restored.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A check of the copy calls nothing damaged: everything that it lacks is on its way.
fn nothing_is_damaged(history: &History, store: Arc<dyn Store>, copy: &Copy, truth: &Truth) {
    let opened = history.vault.open_store(store, None).unwrap();
    let options = CheckOptions { level: Level::Hashes, copy: true, ..CheckOptions::default() };
    let report = check::check(&opened.repo, &opened.catalog, &options, &Silent::default()).unwrap();
    let wrong: BTreeMap<_, _> = report
        .errors
        .iter()
        .filter(|finding| finding.class != Class::NotYetArrived)
        .filter(|finding| !truth.cut_at_a_line.contains(&finding.object))
        .map(|finding| (&finding.object, (finding.class, &finding.why)))
        .collect();
    assert!(wrong.is_empty() || !truth.knows_signers, "{wrong:#?} of {:?}", copy.torn);
    let found: BTreeSet<_> = report.errors.iter().map(|finding| finding.object.clone()).collect();
    if let (true, Some(missing)) = (truth.knows_signers, &truth.missing) {
        assert!(missing.keys().all(|name| found.contains(name)), "{missing:?} in {found:?}");
    }
}

fn restore(history: &History, store: Arc<dyn Store>, id: &fardel_format::SnapshotId) {
    let opened = history.vault.open_store(store, Some(history.vault.recovery())).unwrap();
    let restored = opened.restore(id).unwrap();
    assert!(restored.report.is_whole(), "{:?}", restored.report);
    if let Some(content) = history.contents.get(id) {
        assert_eq!(restored.compare(content).unwrap(), content.len());
    }
}
