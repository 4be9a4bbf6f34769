//! Looks at the states in which a run can be left.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use blake3::Hash;
use fardel_engine::backup::BackupReport;
use fardel_tests::crash::Result;
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::digest::Hashes;
use fardel_tests::crash::medium::{Crash, Medium, Moments, Plan, State};
use fardel_tests::crash::program::{self, Manner, Reported};
use fardel_tests::crash::site::View;
use fardel_tests::crash::tally::Counts;
use fardel_tests::crash::verify::{Expected, Verifier};
use fardel_tests::disk_tree::temporary_folder;

/// In one content of so many the operation is made once more after it was made again: it must add nothing.
const ONCE_MORE: u64 = 4;

/// What is done again after a crash.
pub struct Again<'a> {
    /// Where it finds its sources.
    pub view: &'a View,
    /// How.
    pub manner: Manner,
}

/// Looks at the states of one run.
pub struct Explorer<'a> {
    verifier: Verifier<'a>,
    again: Again<'a>,
    /// The client's cache before and after the run.
    caches: [&'a Path; 2],
    /// What was told, before the run (at 0) and in it.
    pub reported: Vec<Reported>,
    /// The store tore an object in the run.
    pub torn: bool,
    /// What was looked at.
    pub counts: Counts,
    hashes: Hashes,
    states: HashSet<(Hash, bool, usize)>,
    contents: HashSet<(Hash, bool, usize)>,
}

impl<'a> Explorer<'a> {
    /// Nothing was looked at yet.
    pub fn new(verifier: Verifier<'a>, again: Again<'a>, caches: [&'a Path; 2]) -> Self {
        Self {
            verifier,
            again,
            caches,
            reported: Vec::new(),
            torn: false,
            counts: Counts { runs: 1, ..Counts::default() },
            hashes: Hashes::default(),
            states: HashSet::new(),
            contents: HashSet::new(),
        }
    }

    /// Looks at the states in which a crash at one moment can leave the medium, as far as they were not seen before.
    ///
    /// # Errors
    /// When one is not as it must be.
    pub fn explore(&mut self, moments: &Moments, at: usize, losses: u64, chance: &mut Chance) -> Result {
        let told = self.reported.iter().filter(|reported| reported.at <= at).cloned().collect();
        let expected = Expected { reported: told, torn: self.torn };
        for state in moments.states(at, losses, chance) {
            let expected = Expected { torn: self.torn || state.crash.tears(), ..expected.clone() };
            let crash = state.crash;
            self.state(state, &expected, chance)
                .map_err(|why| format!("call {at} of {}, {crash:?}: {why}", moments.len() - 1))?;
        }
        self.hashes.relieve();
        Ok(())
    }

    fn state(&mut self, state: State, expected: &Expected, chance: &mut Chance) -> Result {
        let found = state.medium.digests(&mut self.hashes);
        let key = |hash| (hash, expected.torn, expected.reported.len());
        if !self.states.insert(key(found.whole)) {
            return Ok(());
        }
        self.counts.states += 1;
        drop(state.medium.open(Plan::Well).end());
        let opened = state.medium.digests(&mut self.hashes);
        if opened.objects != found.objects {
            return Err("opening it changed an object".into());
        }
        if !state.medium.is_tidy() {
            return Err("temporaries are left after opening it".into());
        }
        if !self.contents.insert(key(found.objects)) {
            return Ok(());
        }
        self.counts.contents += 1;
        let cache = self.cache_after(state.crash, chance);
        self.go_on(&state.medium, cache.path(), expected, chance)
    }

    /// What was reported is there; the same again succeeds; then a loss of power costs nothing; once more adds nothing.
    fn go_on(&self, medium: &Medium, cache: &Path, expected: &Expected, chance: &mut Chance) -> Result {
        self.verify(medium, cache, expected, chance)?;
        let mut expected = expected.clone();
        let report = self.backup(medium, cache, &mut expected).map_err(|why| format!("again: {why}"))?;
        if report.snapshot.is_none() || report.partial {
            return Err("again: it was not finished".into());
        }
        let medium = medium.durable();
        self.verify(&medium, cache, &expected, chance)
            .map_err(|why| format!("after doing it again: {why}"))?;
        if !chance.one_in(ONCE_MORE) {
            return Ok(());
        }
        let report = self.backup(&medium, cache, &mut expected).map_err(|why| format!("once more: {why}"))?;
        if report.bytes_added > 0 || report.packs_written > 0 {
            let BackupReport { bytes_added, packs_written, .. } = report;
            return Err(format!("once more: {bytes_added} bytes were added in {packs_written} packs"));
        }
        self.verify(&medium, cache, &expected, chance)
            .map_err(|why| format!("after doing it once more: {why}"))
    }

    fn verify(&self, medium: &Medium, cache: &Path, expected: &Expected, chance: &mut Chance) -> Result {
        // A copy, so that looking does not repair anything for the next run.
        let store = medium.fork().open(Plan::Well).store;
        self.verifier.verify(store, cache, expected, chance)
    }

    fn backup(&self, medium: &Medium, cache: &Path, expected: &mut Expected) -> Result<BackupReport> {
        let in_use = medium.open(Plan::Well);
        let Again { view, manner } = &self.again;
        let ran = program::backup(&in_use, self.verifier.keys, cache, self.verifier.site, view, manner);
        drop(in_use.end());
        expected.reported.extend(ran.reported);
        ran.outcome
    }

    /// The client's cache as the next process may find it: from before, or ahead of what the store got. Nobody syncs it, so
    /// that a loss of power can leave anything of it.
    fn cache_after(&self, crash: Crash, chance: &mut Chance) -> tempfile::TempDir {
        let power = matches!(crash, Crash::PowerLoss(_));
        if power && chance.one_in(3) {
            return temporary_folder("cache");
        }
        let cache = copy(self.caches[chance.below(2) as usize]);
        if power {
            files(cache.path()).iter().for_each(|file| damage(file, chance).expect("a damaged cache"));
        }
        cache
    }
}

fn damage(file: &Path, chance: &mut Chance) -> std::io::Result<()> {
    let mut bytes = std::fs::read(file)?;
    let cut = chance.below(bytes.len() as u64 + 1) as usize;
    match chance.below(4) {
        0 => bytes.truncate(cut),
        1 => bytes[cut..].fill(0),
        _ => return Ok(()),
    }
    std::fs::write(file, bytes)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// A copy of a folder of files.
pub fn copy(folder: &Path) -> tempfile::TempDir {
    let copy = temporary_folder("cache");
    for file in files(folder) {
        let to = copy.path().join(file.strip_prefix(folder).expect("it lies there"));
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        std::fs::copy(&file, to).expect("a copy");
    }
    copy
}
