use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fardel_engine::keyring::Material;
use fardel_engine::snapshots::{Sealed, Snapshots};
use fardel_format::WriterId;
use fardel_store::Store;
use fardel_tests::crash::Result;
use fardel_tests::crash::program::{Reported, open};
use fardel_tests::crash::restored::restores;
use fardel_tests::crash::verify::{Expected, Verifier};
use fardel_tests::disk_tree::temporary_folder;

use crate::age::{Age, Writer};
use crate::place::Side;

/// That the repository and its replica hold what they must; the command restores the newest snapshots, or all.
///
/// # Errors
/// When not: what is wrong.
pub fn judge(age: &mut Age<'_>, all: bool) -> Result {
    let primary = age.place.store(Side::Primary(age.number))?;
    let found = Found::look(age, primary.clone())?;
    let mut standing = Vec::new();
    for writer in &age.writers {
        standing.push(found.of(writer)?);
    }
    let reported: Vec<Reported> = standing.iter().flatten().cloned().collect();
    verify(age, primary, reported).map_err(|why| format!("the repository: {why}"))?;
    for (writer, standing) in age.writers.iter().zip(&standing) {
        let newest = standing.len().saturating_sub(if all { standing.len() } else { 1 });
        for reported in &standing[newest..] {
            restores(&writer.machine, age.site, &writer.view, reported, None)?;
            age.counts.add(|numbers| numbers.restored += 1);
        }
    }
    replica(age, all).map_err(|why| format!("the replica: {why}"))
}

/// What is sealed and what is forgotten.
struct Found {
    snapshots: Snapshots,
    forgotten: BTreeSet<String>,
}

impl Found {
    fn look(age: &Age<'_>, store: Arc<dyn Store>) -> Result<Self> {
        let cache = temporary_folder("judge");
        let material = Material::Host(Box::new(age.keys.hosts[0].clone()));
        let (repo, catalog) = open(store, material, cache.path())?;
        let snapshots = Snapshots::load(&repo, &catalog).map_err(|e| e.to_string())?;
        let forgotten = snapshots.tombs.all_forgotten().map(ToString::to_string).collect();
        let found = Self { snapshots, forgotten };
        let both =
            found.snapshots.sealed.iter().find(|sealed| found.forgotten.contains(&sealed.id().to_string()));
        match both {
            Some(both) => Err(format!("snapshot {} is forgotten, and is there", both.id().short())),
            None => Ok(found),
        }
    }

    /// What a writer was told and nobody forgot. Every policy keeps the newest one, so it must be among the others, unless a newer one was
    /// sealed whose report was cut off.
    fn of(&self, writer: &Writer) -> Result<Vec<Reported>> {
        let told = writer.told.lock().expect("nobody panics while it is held");
        let standing: Vec<_> =
            told.iter().filter(|reported| !self.forgotten.contains(&reported.id)).cloned().collect();
        let Some(last) = told.last() else { return Ok(standing) };
        let newest = self.newest(writer)?;
        if self.forgotten.contains(&last.id) && newest.is_none_or(|id| told.iter().any(|told| told.id == id))
        {
            return Err(format!("{}: its newest snapshot {} was forgotten", writer.name, last.id));
        }
        Ok(standing)
    }

    /// The newest that is there, by the writer's own numbers.
    fn newest(&self, writer: &Writer) -> Result<Option<String>> {
        let key = writer.machine.host_key("host.key")?;
        let of: BTreeMap<_, _> = self
            .snapshots
            .sealed
            .iter()
            .filter(|sealed| is_of(sealed, key.signing.public().writer()))
            .map(|sealed| (sealed.manifest.origin().seq, sealed.id().to_string()))
            .collect();
        Ok(of.into_values().next_back())
    }
}

fn is_of(sealed: &Sealed, writer: WriterId) -> bool {
    sealed.manifest.origin().writer == writer
}

/// Every snapshot that is sealed in a store is whole, and those that were reported are among them.
fn verify(age: &Age<'_>, store: Arc<dyn Store>, reported: Vec<Reported>) -> Result {
    let cache = temporary_folder("judge");
    let expected = Expected { reported, torn: false };
    let verifier = Verifier { keys: &age.keys, site: age.site, known: &age.known };
    verifier.verify(store, cache.path(), &expected, &mut age.chance.clone())
}

fn replica(age: &Age<'_>, all: bool) -> Result {
    let side = Side::Replica(age.number);
    let store = age.place.store(side)?;
    let card = fardel_store::Key::new("fardel.json").map_err(|e| e.to_string())?;
    if fardel_engine::bridge::Blocking::new(store.clone()).get(&card).is_err() {
        // No sync came so far.
        return Ok(());
    }
    verify(age, store.clone(), Vec::new())?;
    if !all {
        return Ok(());
    }
    let found = Found::look(age, store)?;
    for writer in &age.writers {
        let newest = found.newest(writer)?;
        let told = writer.told.lock().expect("nobody panics while it is held");
        if let Some(reported) = told.iter().find(|reported| newest.as_ref() == Some(&reported.id)) {
            restores(&writer.machine, age.site, &writer.view, reported, Some(&age.place.url(side)))?;
            age.counts.add(|numbers| numbers.restored += 1);
        }
    }
    Ok(())
}
