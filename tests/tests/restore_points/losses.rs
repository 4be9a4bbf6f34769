//! Losses of power while a restore runs.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use fardel_engine::catalog::Catalog;
use fardel_engine::keyring::Material;
use fardel_engine::monitor::Silent;
use fardel_engine::restore::{self, RestoreOptions};
use fardel_engine::snapshots::{Sealed, Snapshots};
use fardel_engine::{Repository, restore::RestoreReport};
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::medium::{Medium, Plan};
use fardel_tests::crash::model::{Kind, Model};
use fardel_tests::crash::program::{self, Manner};
use fardel_tests::crash::site::{STREAM, Scale, Site};
use fardel_tests::crash::tally::tell;
use fardel_tests::crash::{Result, seed};
use fardel_tests::disk_tree::temporary_folder;

use super::remove_whole_copies;
use super::stage::{Stage, leave};

/// Different states in CI.
const STATES: u64 = 1_000;
/// Different states of a soak.
const SOAK_STATES: u64 = 50_000;

#[test]
fn losses_of_power_in_a_restore() {
    lose(STATES);
}

#[test]
#[ignore = "soak: fifty thousand losses of power in a restore"]
fn soak_losses_of_power_in_a_restore() {
    lose(SOAK_STATES);
}

fn lose(wanted: u64) {
    let (seed, began) = (seed(), Instant::now());
    let fixture = Fixture::new(seed).expect("a repository with two snapshots");
    let (seen, failures) = (Mutex::new(HashSet::new()), Mutex::new(Vec::new()));
    let litter = Mutex::new(0);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (fixture, seen, failures, litter) = (&fixture, &seen, &failures, &litter);
            scope.spawn(move || {
                for number in (thread..).step_by(2) {
                    if number >= wanted || failures.lock().unwrap().len() >= 5 {
                        break;
                    }
                    let mut chance = Chance::of(seed, "power", number);
                    let onto_older = chance.one_in(2);
                    match fixture.lose(onto_older, &mut chance) {
                        Ok((stages, copies)) => {
                            seen.lock().unwrap().insert((onto_older, stages));
                            *litter.lock().unwrap() += copies;
                        }
                        Err(why) => failures.lock().unwrap().push(format!("state {number}: {why}")),
                    }
                }
            });
        }
    });
    let (states, copies) = (seen.into_inner().unwrap().len(), litter.into_inner().unwrap());
    tell(&format!(
        "restores: {states} different states after a loss of power, {copies} whole NAME.partial stayed; seed {seed}, {:.0} s",
        began.elapsed().as_secs_f64()
    ));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "seed {seed}:\n{}", failures.join("\n"));
    assert!(states as u64 >= wanted * 9 / 10, "only {states} different states");
}

/// A repository with two versions of a site.
struct Fixture {
    repo: Repository,
    catalog: Catalog,
    newer: Sealed,
    /// Path of the snapshot's folder that is restored.
    inside: Vec<u8>,
    models: [Model; 2],
    _cache: tempfile::TempDir,
    _site: Site,
}

impl Fixture {
    fn new(seed: u64) -> Result<Self> {
        let words = |e: std::io::Error| e.to_string();
        let site = Site::new(seed, Scale::Small).map_err(words)?;
        let view = site.view("losses").map_err(words)?;
        let cache = temporary_folder("cache");
        let (medium, keys) = program::repository(1, cache.path())?;
        let manner = Manner { stream: false, version: 1, ..Manner::plain() };
        let in_use = medium.open(Plan::Well);
        program::backup(&in_use, &keys, cache.path(), &site, &view, &manner).outcome?;
        let Medium::Memory(memory) = medium else { return Err("it lies in memory".into()) };
        let material = Material::Host(Box::new(keys.hosts[0].clone()));
        let (repo, catalog) = program::open(Arc::new(memory), material, cache.path())?;
        let snapshots = Snapshots::load(&repo, &catalog).map_err(|e| e.to_string())?;
        let newer = snapshots.find("latest").map_err(|e| e.to_string())?.clone();
        let inside = view.tree().parent().unwrap_or(Path::new("/")).as_os_str().as_bytes().to_vec();
        let models = [0, 1].map(|version| {
            let mut model = site.version(version).model.clone();
            model.0.remove(STREAM.as_bytes());
            model
        });
        Ok(Self { repo, catalog, newer, inside, models, _cache: cache, _site: site })
    }

    /// Leaves a target as a loss of power can, restores in place, and compares. Returns where each entry stood, and how many
    /// whole copies stayed.
    fn lose(&self, onto_older: bool, chance: &mut Chance) -> Result<(Vec<Stage>, u64)> {
        let folder = temporary_folder("target");
        let target = folder.path();
        let nothing = Model::default();
        let older = if onto_older { &self.models[0] } else { &nothing };
        let newer = &self.models[1];
        let (stages, left) = leave_all(target, older, newer, chance).map_err(|e| e.to_string())?;
        let report = self.restore(target)?;
        if !report.is_whole() {
            return Err(format!("{:?}: {:?} {:?}", stages, report.damaged, report.failed));
        }
        let mut wanted = left;
        wanted.merge(newer.clone());
        let mut found = of_disk(target).map_err(|e| e.to_string())?;
        let copies = remove_whole_copies(&mut found, &wanted);
        let wrong = wanted.differences(&found);
        if wrong.is_empty() { Ok((stages, copies)) } else { Err(format!("{stages:?}: {}", wrong.join("; "))) }
    }

    fn restore(&self, target: &Path) -> Result<RestoreReport> {
        let options = RestoreOptions { in_place: true, setid: true, ..RestoreOptions::new(target) };
        let inside = Some(&self.inside[..]);
        restore::restore(&self.repo, &self.catalog, &self.newer, inside, &options, &Silent::default())
            .map_err(|e| e.to_string())
    }
}

/// Leaves each entry at some stage; returns the stages in the order of the paths, and what only the older one had.
fn leave_all(
    target: &Path,
    older: &Model,
    newer: &Model,
    chance: &mut Chance,
) -> std::io::Result<(Vec<Stage>, Model)> {
    let at = |path: &[u8]| -> PathBuf { target.join(OsStr::from_bytes(path)) };
    let mut stages = Vec::new();
    let mut only_older = Model::default();
    let paths: std::collections::BTreeSet<&Vec<u8>> = older.0.keys().chain(newer.0.keys()).collect();
    for path in paths {
        let (before, item) = (older.0.get(path), newer.0.get(path));
        // What lies in a folder that was not made is not there either.
        if !at(path).parent().is_some_and(Path::exists) {
            continue;
        }
        let Some(item) = item else {
            let before = before.expect("it is in one of them");
            leave(&at(path), before, Some(before), None, Stage::Before)?;
            only_older.0.insert(path.clone(), before.clone());
            continue;
        };
        let mut stage = Stage::any(item, before, chance);
        if item.kind == Kind::Dir && (before.is_some() || chance.one_in(2)) {
            stage = Stage::Done;
        }
        let first = item.same_as.as_ref().map(|first| at(first));
        leave(&at(path), item, before, first.as_deref(), stage)?;
        stages.push(stage);
    }
    Ok((stages, only_older))
}

fn of_disk(target: &Path) -> std::io::Result<Model> {
    let mut model = Model::default();
    for entry in std::fs::read_dir(target)? {
        let entry = entry?;
        model.merge(Model::of_disk(&entry.path(), &entry.file_name().to_string_lossy())?);
    }
    Ok(model)
}
