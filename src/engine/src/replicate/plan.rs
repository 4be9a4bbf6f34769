//! What a target lacks, snapshot by snapshot, newest first.

use std::collections::HashSet;

use fardel_format::ObjectHash;
use fardel_format::names::{FanOut, Name, PackName};
use fardel_format::pack_list::PackEntry;
use fardel_format::tomb::Takes;
use fardel_store::Store;

use super::arrival::Arrival;
use super::source::Source;
use crate::Result;
use crate::catalog::{Stored, key_of};
use crate::snapshots::Sealed;
use crate::status::{Amount, Known};
use crate::tombs;

/// What is to be done for one target.
#[derive(Default)]
pub struct Plan {
    /// Keys, records of signers, index segments: small, and of use to every snapshot.
    pub common: Vec<(Name, Stored)>,
    /// Snapshots, newest first.
    pub steps: Vec<Step>,
    /// Tombs that hold in every copy, and pins.
    pub forgets: Vec<(Name, Stored)>,
    /// The newest snapshot that the target holds whole already, and how many of the wanted ones are newer.
    pub complete: Option<(Known, u64)>,
    /// How many snapshots are wanted there: all that were neither forgotten nor revoked there.
    pub wanted: u64,
    /// Why some snapshots are not carried.
    pub problems: Vec<String>,
}

/// One snapshot that is not whole in the target.
pub struct Step {
    pub sealed: Sealed,
    /// Packs that it needs and no newer one brings.
    pub packs: Vec<PackEntry>,
    /// Its lists and root, its manifest, its seal, in this order.
    pub objects: Vec<(Name, Stored)>,
    /// How many of the wanted snapshots are newer.
    pub newer: u64,
}

impl Step {
    /// Bytes that it brings.
    pub fn bytes(&self) -> u64 {
        let packs = self.packs.iter().map(|pack| pack.size);
        packs.chain(self.objects.iter().map(|(_, stored)| stored.size)).sum()
    }
}

impl Plan {
    pub fn new(source: &Source<'_>, arrival: &Arrival) -> Result<Self> {
        let mut plan = Self::default();
        let mut planned = HashSet::new();
        let mut newer = 0;
        let retold = arrival.retold(source)?;
        for sealed in source.snapshots.sealed.iter().rev() {
            let hash = sealed.name.hash;
            if arrival.tombs.forgets(&sealed.manifest) {
                continue;
            }
            if arrival.tombs.revokes(&hash) {
                plan.problems.push(format!("snapshot {} was revoked there", sealed.id().short()));
                continue;
            }
            match step(source, arrival, sealed, &planned, newer) {
                // It was compacted there, and rests on other packs.
                _ if retold.contains(&sealed.id()) => {
                    plan.complete.get_or_insert((Known::of(sealed), newer));
                }
                Ok(None) => {
                    plan.complete.get_or_insert((Known::of(sealed), newer));
                }
                Ok(Some(step)) => {
                    planned.extend(step.packs.iter().map(|pack| pack.hash));
                    plan.steps.push(step);
                }
                Err(why) => {
                    plan.problems.push(format!("snapshot {} is not whole here: {why}", sealed.id().short()));
                }
            }
            newer += 1;
        }
        plan.wanted = newer;
        plan.common(source, arrival);
        plan.forgets(source, arrival)?;
        Ok(plan)
    }

    fn common(&mut self, source: &Source<'_>, arrival: &Arrival) {
        let wanted = |name: &Name| matches!(name, Name::Keys(_) | Name::Signers(_) | Name::SignersSig(_));
        // Hints are worth something only with the packs that they are about.
        let hint = |name: &Name| matches!(name, Name::Index(_)) && !self.steps.is_empty();
        let lacking = source
            .catalog
            .objects()
            .filter(|(name, stored)| (wanted(name) || hint(name)) && !arrival.holds(name, stored.size))
            .map(|(name, stored)| (name, stored.clone()));
        let mut common: Vec<_> = lacking.collect();
        // A record of signers before its signature, keys before both.
        common.sort_by_key(|(name, _)| match name {
            Name::Keys(_) => 0,
            Name::Signers(_) => 1,
            Name::SignersSig(_) => 2,
            _ => 3,
        });
        self.common = common;
    }

    fn forgets(&mut self, source: &Source<'_>, arrival: &Arrival) -> Result<()> {
        let catalog = source.catalog;
        let mut pins = Vec::new();
        // Under its own name, or in one that it was merged into there.
        let there: HashSet<_> = arrival.tombs.all_forgets().collect();
        for ((writer, name), stored) in &catalog.tombs {
            let Some(signature) = catalog.tomb_sigs.get(&(*writer, *name)) else { continue };
            let (tomb_name, sig_name) = (Name::Tomb(*writer, *name), Name::TombSig(*writer, *name));
            if arrival.holds(&tomb_name, stored.size) && arrival.holds(&sig_name, signature.size) {
                continue;
            }
            let Some(signer) = source.snapshots.registry.honours_tomb(writer, name.seq) else { continue };
            let tomb = match tombs::open(source.repo, &(*writer, *name), stored, signature, signer) {
                // A collector merged it after it was listed: the next run carries what it was merged into.
                Err(error) if error.is_gone() => continue,
                tomb => tomb?,
            };
            let both = [(tomb_name, stored.clone()), (sig_name, signature.clone())];
            match tomb.map(|tomb| tomb.takes) {
                Ok(Takes::Forget { everywhere: true, .. }) if there.contains(&name.hash) => {}
                Ok(Takes::MergedForgets { everywhere: true, forgets })
                    if forgets.iter().all(|forget| there.contains(&forget.tomb)) => {}
                Ok(
                    Takes::Forget { everywhere: true, .. } | Takes::MergedForgets { everywhere: true, .. },
                ) => {
                    self.forgets.extend(both);
                }
                Ok(Takes::Pin { .. } | Takes::Unpin { .. }) => pins.extend(both),
                _ => {}
            }
        }
        // A pin before the forget that does not hold against it.
        self.forgets.splice(0..0, pins);
        Ok(())
    }

    /// Packs to put, and everything else.
    pub fn amounts(&self) -> (Amount, Amount) {
        let (mut packs, mut others) = (Amount::default(), Amount::default());
        self.packs().for_each(|pack| packs.add(pack.size));
        self.others().for_each(|stored| others.add(stored.size));
        (packs, others)
    }

    /// The requests to this store that it takes to do all of it.
    pub fn requests(&self, store: &dyn Store) -> u64 {
        let packs = self.packs().map(|pack| pack.size);
        let puts = packs.chain(self.others().map(|stored| stored.size)).map(|len| store.put_requests(len));
        // An intent comes and goes; tombs are listed, packs, and tombs again.
        let around = if self.steps.is_empty() { 0 } else { store.put_requests(0) + 1 + 3 };
        puts.sum::<u64>() + around
    }

    fn packs(&self) -> impl Iterator<Item = &PackEntry> {
        self.steps.iter().flat_map(|step| &step.packs)
    }

    /// Each once.
    fn others(&self) -> impl Iterator<Item = &Stored> {
        let objects = self.steps.iter().flat_map(|step| &step.objects);
        let mut seen = HashSet::new();
        let once = self.common.iter().chain(objects).chain(&self.forgets);
        once.filter(move |(name, _)| seen.insert(name)).map(|(_, stored)| stored)
    }

    /// Every pack that the snapshots will rest on, in the generations that are there or will be.
    pub fn rests_on(&self, source: &Source<'_>, arrival: &Arrival) -> Vec<PackName> {
        let mut names = HashSet::new();
        for step in &self.steps {
            // It was read a moment ago.
            for pack in source.repo.closure(source.catalog, &step.sealed.manifest).unwrap_or_default() {
                let copies = arrival.catalog.packs.get(&pack.hash).into_iter().flatten();
                names.extend(copies.map(|copy| PackName { hash: pack.hash, generation: copy.generation }));
                names.insert(PackName { hash: pack.hash, generation: None });
            }
        }
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names
    }
}

/// What one snapshot needs there, none when it is whole, or why it cannot be had here.
fn step(
    source: &Source<'_>,
    arrival: &Arrival,
    sealed: &Sealed,
    planned: &HashSet<ObjectHash>,
    newer: u64,
) -> Result<Option<Step>, String> {
    let catalog = source.catalog;
    let closure = source.repo.closure(catalog, &sealed.manifest).map_err(|error| error.to_string())?;
    let (coming, packs): (Vec<_>, Vec<_>) =
        closure.into_iter().filter(|pack| !arrival.has(pack)).partition(|pack| planned.contains(&pack.hash));
    let gone: Vec<_> =
        packs.iter().filter(|pack| catalog.whole_pack(&pack.hash, pack.size).is_none()).collect();
    if !gone.is_empty() {
        let bytes: u64 = gone.iter().map(|pack| pack.size).sum();
        return Err(format!("{} packs of {bytes} bytes are missing", gone.len()));
    }
    let mut objects = Vec::new();
    let mut need = |name: Name, stored: Option<&Stored>| -> Result<(), String> {
        let stored = stored.ok_or_else(|| format!("{} is missing", key_of(&name, FanOut::FLAT)))?;
        if !arrival.holds(&name, stored.size) {
            objects.push((name, stored.clone()));
        }
        Ok(())
    };
    for list in &sealed.manifest.lists {
        need(Name::List(list.hash), catalog.lists.get(&list.hash))?;
    }
    let root = sealed.manifest.root.hash;
    need(Name::Root(root), catalog.roots.get(&root))?;
    let name = (sealed.writer, sealed.name);
    need(Name::Manifest(name.0, name.1), catalog.manifests.get(&name))?;
    need(Name::Seal(name.0, name.1), catalog.seals.get(&name))?;
    let whole = coming.is_empty() && packs.is_empty() && objects.is_empty();
    Ok((!whole).then(|| Step { sealed: sealed.clone(), packs, objects, newer }))
}
