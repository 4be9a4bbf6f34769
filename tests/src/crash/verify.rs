//! A look at a repository as a crash left it: everything that was reported is there, and nothing that is sealed lies.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use fardel_engine::Repository;
use fardel_engine::catalog::Catalog;
use fardel_engine::check::{self, CheckOptions, Level};
use fardel_engine::index::ChunkIndex;
use fardel_engine::keyring::Material;
use fardel_engine::monitor::Silent;
use fardel_engine::packs::PackReader;
use fardel_engine::snapshots::{Sealed, Snapshots};
use fardel_format::ObjectHash;
use fardel_store::Store;

use super::Result;
use super::chance::Chance;
use super::model::Model;
use super::program::{Keys, Reported, open};
use super::site::Site;
use super::snapshot::{Contents, Library};

/// A snapshot that was read once, and whose objects all still hash to their names, is read again in one of so many states.
const READ_AGAIN: u64 = 4;

/// Snapshots that were read and compared, by the hash of their manifest. It names everything else by hash, so that the same
/// bytes give the same snapshot; only the way to them, the index, may be another.
#[derive(Debug, Default)]
pub struct Known(Mutex<HashSet<ObjectHash>>);

/// What must hold.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Every one of these is there, whole.
    pub reported: Vec<Reported>,
    /// Objects may lie torn under their names: then what does not verify is no mistake.
    pub torn: bool,
}

/// Who looks.
pub struct Verifier<'a> {
    /// The keys to the repository.
    pub keys: &'a Keys,
    /// What was saved.
    pub site: &'a Site,
    /// What was looked at before.
    pub known: &'a Known,
}

impl Verifier<'_> {
    /// Opens the repository and proves that what was reported can be restored, that whatever else is sealed can be too, and
    /// that `check` finds nothing.
    ///
    /// # Errors
    /// When it is not so: what is wrong.
    pub fn verify(
        &self,
        store: Arc<dyn Store>,
        cache: &Path,
        expected: &Expected,
        chance: &mut Chance,
    ) -> Result {
        let words = |error: fardel_engine::Error| error.to_string();
        let material = Material::Host(Box::new(self.keys.hosts[0].clone()));
        let (repo, catalog) = open(store, material, cache)?;
        let snapshots = Snapshots::load(&repo, &catalog).map_err(words)?;
        let packs = PackReader::new(&repo, &catalog);
        let index = ChunkIndex::for_reading(&repo, &catalog, &packs).map_err(words)?;
        if let (Some(problem), false) =
            (snapshots.problems.iter().chain(&index.problems).next(), expected.torn)
        {
            return Err(format!("{} does not verify: {}", problem.object, problem.error));
        }
        let library = Library::new(&repo, &catalog, &packs, &index);
        let mut intact = Intact { repo: &repo, catalog: &catalog, seen: HashMap::new() };
        for sealed in &snapshots.sealed {
            let at = |why| format!("snapshot {}: {why}", sealed.id().short());
            intact.snapshot(sealed).map_err(at)?;
            if !self.known.holds(&sealed.name.hash) || chance.one_in(READ_AGAIN) {
                compare(&library.read(sealed).map_err(at)?, self.site).map_err(at)?;
                self.known.add(sealed.name.hash);
            }
        }
        for reported in &expected.reported {
            let found =
                snapshots.sealed.iter().find(|sealed| sealed.id().to_string().starts_with(&reported.id));
            let sealed = found.ok_or_else(|| format!("snapshot {} was reported and is gone", reported.id))?;
            let root = repo.root(&catalog, sealed).map_err(words)?;
            if (version_of(&root.tags)?, root.partial) != (reported.version, reported.partial) {
                return Err(format!("snapshot {} is another one than was reported", reported.id));
            }
        }
        if expected.torn { Ok(()) } else { check_finds_nothing(&repo, &catalog) }
    }
}

fn check_finds_nothing(repo: &Repository, catalog: &Catalog) -> Result {
    let options =
        CheckOptions { level: Level::Data, memory: 64 << 20, impact: false, ..CheckOptions::default() };
    let report = check::check(repo, catalog, &options, &Silent::default()).map_err(|e| e.to_string())?;
    match report.errors.first() {
        None => Ok(()),
        Some(found) => Err(format!("check finds {} things, one of them {found:?}", report.errors.len())),
    }
}

impl Known {
    fn holds(&self, manifest: &ObjectHash) -> bool {
        self.0.lock().is_ok_and(|known| known.contains(manifest))
    }

    fn add(&self, manifest: ObjectHash) {
        if let Ok(mut known) = self.0.lock() {
            known.insert(manifest);
        }
    }
}

/// Objects whose bytes hash to their names.
struct Intact<'a> {
    repo: &'a Repository,
    catalog: &'a Catalog,
    seen: HashMap<ObjectHash, bool>,
}

impl Intact<'_> {
    fn snapshot(&mut self, sealed: &Sealed) -> Result {
        let closure = self.repo.closure(self.catalog, &sealed.manifest).map_err(|e| e.to_string())?;
        let root = sealed.manifest.root.hash;
        for hash in closure.iter().map(|pack| pack.hash).chain([root]) {
            if !*self.seen.entry(hash).or_insert_with(|| is_intact(self.repo, self.catalog, &hash)) {
                return Err(format!("the bytes of {hash} have another hash"));
            }
        }
        Ok(())
    }
}

fn is_intact(repo: &Repository, catalog: &Catalog, hash: &ObjectHash) -> bool {
    let pack = catalog.packs.get(hash).and_then(|copies| copies.first()).map(|copy| &copy.stored);
    let stored = pack.or_else(|| catalog.roots.get(hash));
    let bytes = stored.and_then(|stored| repo.store().get(&stored.key).ok());
    bytes.is_some_and(|bytes| ObjectHash::of(&bytes) == *hash)
}

fn version_of(tags: &[String]) -> Result<usize> {
    let version = tags.first().and_then(|tag| tag.strip_prefix('v')).and_then(|number| number.parse().ok());
    version.ok_or_else(|| format!("no version among its tags: {tags:?}"))
}

/// A finished snapshot is its version of the site, as far as it was among the sources; a checkpoint contradicts it nowhere.
fn compare(contents: &Contents, site: &Site) -> Result {
    let wanted = &site.version(version_of(&contents.root.tags)?).model;
    let found = contents.model.0.iter().map(|(path, item)| {
        let mut item = item.clone();
        item.same_as = item.same_as.map(|path| site.name_in_model(&path));
        (site.name_in_model(path), item)
    });
    let found = Model(found.collect());
    let wrong = if contents.root.partial {
        wanted.contradictions(&found)
    } else {
        let tops: Vec<&[u8]> =
            found.0.keys().filter(|path| !path.contains(&b'/')).map(|path| &path[..]).collect();
        let is_saved = |path: &[u8]| {
            tops.iter().any(|top| path.strip_prefix(*top).is_some_and(|r| r.is_empty() || r[0] == b'/'))
        };
        Model(
            wanted.0.iter().filter(|(path, _)| is_saved(path)).map(|(p, i)| (p.clone(), i.clone())).collect(),
        )
        .differences(&found)
    };
    if wrong.is_empty() { Ok(()) } else { Err(format!("it is not what was saved: {}", wrong.join("; "))) }
}
