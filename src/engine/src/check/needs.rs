//! Names and sizes: what every snapshot needs, and what of it is not there.

use std::collections::{BTreeSet, HashSet};

use fardel_format::names::{FanOut, Name};
use fardel_format::pack_list::PackEntry;
use fardel_format::{ObjectHash, SnapshotId};
use fardel_store::Key;

use super::closures::{Closures, Lack, wrong_size};
use super::findings::Findings;
use super::report::Class;
use crate::Result;
use crate::catalog::{Catalog, key_of};
use crate::snapshots::{Sealed, Snapshots};

/// All packs that are here or needed, numbered.
pub struct Packs {
    /// Those that are here, sorted.
    here: Vec<ObjectHash>,
    /// Those that are needed and not here, sorted.
    gone: Vec<ObjectHash>,
    /// Those that are here in the size that one list tells, and not in the size that another tells: one of them is wrong.
    disputed: HashSet<ObjectHash>,
}

impl Packs {
    fn new(catalog: &Catalog) -> Self {
        let mut here: Vec<_> = catalog.packs.keys().copied().collect();
        here.sort_unstable();
        Self { here, gone: Vec::new(), disputed: HashSet::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.here.len() + self.gone.len()
    }

    /// The number of a pack.
    pub fn number(&self, hash: &ObjectHash) -> Option<u32> {
        let gone = || self.gone.binary_search(hash).ok().map(|at| at + self.here.len());
        self.here.binary_search(hash).ok().or_else(gone).map(|number| number as u32)
    }

    /// The pack of a number.
    pub fn hash(&self, number: u32) -> Option<&ObjectHash> {
        self.here.get(number as usize).or_else(|| self.gone.get(number as usize - self.here.len()))
    }

    /// Whether lists tell different sizes of this pack, and it is here in one of them.
    pub fn is_disputed(&self, hash: &ObjectHash) -> bool {
        self.disputed.contains(hash)
    }

    /// Packs that are needed and not here.
    pub fn gone(&self) -> &[ObjectHash] {
        &self.gone
    }
}

/// The key of a pack as it was listed, or its plainest one.
pub fn pack_key(catalog: &Catalog, hash: &ObjectHash) -> Key {
    let listed = catalog.packs.get(hash).and_then(|copies| copies.first());
    listed.map_or_else(|| key_of(&Name::Pack(*hash, None), FanOut::FLAT), |copy| copy.stored.key.clone())
}

/// The key of a snapshot's manifest.
pub fn manifest_key(catalog: &Catalog, sealed: &Sealed) -> String {
    let id = (sealed.writer, sealed.name);
    let plain = || key_of(&Name::Manifest(sealed.writer, sealed.name), FanOut::FLAT);
    catalog.manifests.get(&id).map_or_else(plain, |stored| stored.key.clone()).to_string()
}

/// Looks for everything that every snapshot needs.
///
/// # Errors
/// When the store fails.
pub fn gather(
    catalog: &Catalog,
    snapshots: &Snapshots,
    closures: &mut Closures<'_>,
    arrived: &HashSet<SnapshotId>,
    findings: &mut Findings,
) -> Result<Packs> {
    let mut packs = Packs::new(catalog);
    let (mut gone, mut lacking) = (BTreeSet::new(), HashSet::new());
    for sealed in &snapshots.sealed {
        let closure = closures.of(&manifest_key(catalog, sealed), &sealed.manifest)?;
        let mut lacks = closure.lacks;
        lacks.extend(root_lack(catalog, sealed));
        for entry in &closure.packs {
            if packs.here.binary_search(&entry.hash).is_err() {
                gone.insert(entry.hash);
            }
            if let Some(lack) = pack_lack(catalog, entry) {
                lacking.insert(entry.hash);
                lacks.push(lack);
            }
        }
        for Lack { object, class, why } in lacks {
            if arrived.contains(&sealed.id()) {
                findings.mark_arrived(&object);
            }
            findings.add(object, class, why).costs.add_snapshot(sealed.id());
        }
    }
    packs.gone = gone.into_iter().collect();
    if lacking.is_empty() {
        return Ok(packs);
    }
    for sealed in &snapshots.sealed {
        for entry in closures.of(&manifest_key(catalog, sealed), &sealed.manifest)?.packs {
            if lacking.contains(&entry.hash) && catalog.whole_pack(&entry.hash, entry.size).is_some() {
                packs.disputed.insert(entry.hash);
            }
        }
    }
    for hash in &packs.disputed {
        let key = pack_key(catalog, hash);
        if let Some(finding) = findings.get_mut(key.as_str()) {
            finding.why.push_str("; other snapshots tell the size that it has");
        }
        findings.mark_unmendable(key.as_str());
    }
    Ok(packs)
}

fn root_lack(catalog: &Catalog, sealed: &Sealed) -> Option<Lack> {
    let root = &sealed.manifest.root;
    match catalog.roots.get(&root.hash) {
        None => {
            let key = key_of(&Name::Root(root.hash), FanOut::FLAT);
            Some(Lack::new(key, Class::Missing, "the root of a snapshot is not here"))
        }
        Some(stored) => {
            wrong_size(stored.size, root.size).map(|(class, why)| Lack::new(&stored.key, class, why))
        }
    }
}

/// What is wrong with a pack as far as its size tells.
pub fn pack_lack(catalog: &Catalog, entry: &PackEntry) -> Option<Lack> {
    let key = || pack_key(catalog, &entry.hash);
    let Some(copies) = catalog.packs.get(&entry.hash) else {
        return Some(Lack::new(key(), Class::Missing, "the pack is not here"));
    };
    if copies.iter().any(|copy| copy.stored.size == entry.size) {
        return None;
    }
    // What is longest is nearest to whole.
    let size = copies.iter().map(|copy| copy.stored.size).max().unwrap_or(0);
    wrong_size(size, entry.size).map(|(class, why)| Lack::new(key(), class, why))
}

/// Notes what a listing shows beside objects.
pub fn strangers(catalog: &Catalog, findings: &mut Findings) {
    if catalog.ignored == 0 {
        return;
    }
    let first: Vec<_> =
        catalog.strangers.iter().take(5).map(|name| name.escape_debug().to_string()).collect();
    let dots = if catalog.ignored > first.len() as u64 { ", …" } else { "" };
    findings.note(format!(
        "{} names are none of ours and were ignored: {}{dots}",
        catalog.ignored,
        first.join(", ")
    ));
}

/// `init` makes two key files at least: one for readers, one for administrators.
pub fn keys(catalog: &Catalog, findings: &mut Findings) {
    if catalog.keys.len() < 2 {
        let why = format!(
            "{} key files are here; a repository begins with two. Whoever has lost theirs reads nothing",
            catalog.keys.len()
        );
        findings.add("keys/", Class::Missing, why);
    }
}
