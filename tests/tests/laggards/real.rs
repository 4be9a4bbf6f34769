//! The same with real repositories: what the model leaves out (compaction, superseded manifests, signatures) is in these.

use std::collections::BTreeSet;
use std::sync::Arc;

use fardel_engine::forget::policy::Policy;
use fardel_engine::forget::{self, Selection};
use fardel_engine::keyring::Material;
use fardel_engine::monitor::Silent;
use fardel_engine::packs::PackerOptions;
use fardel_engine::prune::{self, PruneOptions};
use fardel_engine::replicas::{self, AckOptions};
use fardel_engine::snapshots::Snapshots;
use fardel_engine::status::Wholeness;
use fardel_format::SnapshotId;
use fardel_format::keys::HostKey;
use fardel_format::signers::Role;
use fardel_store::MemoryStore;
use fardel_tests::crash::chance::Chance;
use fardel_tests::vault::Vault;

/// What happened, so that nobody takes easy sequences for all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub packs_deleted: u64,
    pub snapshots_retold: u64,
    pub held_up: u64,
    pub acknowledged: u64,
    pub looks: u64,
}

struct Copied {
    vault: Vault,
    nas: HostKey,
    replica: MemoryStore,
    /// Whether the source heard of the replica.
    heard: bool,
}

/// One sequence.
pub fn sequence(seed: u64, number: u64, counts: &mut Counts) {
    let mut chance = Chance::of(seed, "laggards, real", number);
    let vault = Vault::new("laggards");
    let nas = vault.add_host("nas", &[Role::Acknowledge]);
    let mut copied = Copied { vault, nas, replica: MemoryStore::new(), heard: false };
    for step in 0..26 {
        match chance.below(8) {
            _ if step == 0 => copied.back_up(step),
            0..=2 => copied.back_up(step),
            3 => copied.forget(1 + chance.below(2) as u32),
            4 => copied.prune(counts),
            5 => copied.acknowledge(chance.one_in(3), counts),
            _ => {}
        }
        copied.copy(&mut chance);
        counts.looks += 1;
        let whole = copied.whole();
        assert!(!copied.heard || !whole.is_empty(), "FARDEL_SEED={seed}, sequence {number}, step {step}");
    }
}

impl Copied {
    fn back_up(&self, step: u64) {
        self.vault.write("tree/changes", &fardel_tests::disk_tree::bytes(&format!("{step}"), 20_000));
        if step.is_multiple_of(4) {
            let name = format!("tree/stays {step}");
            self.vault.write(&name, &fardel_tests::disk_tree::bytes(&name, 30_000));
        }
        self.vault.backup(&[&self.vault.folder("tree")]);
    }

    fn forget(&self, last: u32) {
        let opened = self.vault.open();
        let policy = Policy { last, ..Policy::default() };
        let plan =
            forget::plan(&opened.repo, &opened.catalog, &Selection::Policy(&policy, &|_| true)).unwrap();
        if plan.forgotten().count() > 0 {
            plan.run(&opened.repo, &opened.catalog, true).unwrap();
        }
    }

    fn prune(&self, counts: &mut Counts) {
        let opened = self.vault.open();
        let options = PruneOptions {
            grace: std::time::Duration::ZERO,
            copied: true,
            packer: PackerOptions { pack_size: 1 << 20, threads: 1, ..PackerOptions::default() },
            ..PruneOptions::default()
        };
        let plan = prune::plan(&opened.repo, &options, &Silent::default()).unwrap();
        counts.held_up += u64::from(!plan.planned.held_up.is_empty());
        let report = plan.run(&Silent::default()).unwrap();
        counts.packs_deleted += report.swept.packs.objects;
        counts.snapshots_retold += report.snapshots_retold;
    }

    /// Signs what is whole there; it arrives at once, or some time.
    fn acknowledge(&mut self, late: bool, counts: &mut Counts) {
        let material = Some(Material::Host(Box::new(self.nas.clone())));
        let Ok(opened) = self.vault.open_in(&self.replica, material) else { return };
        let options = AckOptions { replica: "nas", copy: (&opened.repo, &opened.catalog), source: None };
        if replicas::acknowledge(&options).is_err() {
            return;
        }
        counts.acknowledged += 1;
        if late {
            return;
        }
        for name in self.replica.names().into_iter().filter(|name| name.starts_with("acks/")) {
            self.vault.store.insert_raw(&name, self.replica.get_raw(&name).unwrap());
        }
        self.heard |= self.counts();
    }

    /// Whether the source keeps something for it now.
    fn counts(&self) -> bool {
        let opened = self.vault.open();
        let options = PruneOptions { repack: false, copied: true, ..PruneOptions::default() };
        !prune::plan(&opened.repo, &options, &Silent::default()).unwrap().planned.patient
    }

    /// A pass towards what the source is now, deletes first as often as not, that stops anywhere.
    fn copy(&self, chance: &mut Chance) {
        let (source, replica) = (&self.vault.store, &self.replica);
        let here: BTreeSet<_> =
            replica.names().into_iter().filter(|name| !name.starts_with("acks/")).collect();
        let there: BTreeSet<_> =
            source.names().into_iter().filter(|name| !name.starts_with("acks/")).collect();
        let mut puts: Vec<_> = there.difference(&here).map(|name| (name, true)).collect();
        let mut deletes: Vec<_> = here.difference(&there).map(|name| (name, false)).collect();
        shuffle(&mut puts, chance);
        shuffle(&mut deletes, chance);
        let steps = if chance.one_in(3) { [puts, deletes].concat() } else { [deletes, puts].concat() };
        let end = if chance.one_in(3) { steps.len() } else { chance.below(steps.len() as u64 + 1) as usize };
        for (name, is_put) in &steps[..end] {
            match is_put {
                true => replica.insert_raw(name, source.get_raw(name).unwrap()),
                false => drop(replica.remove_raw(name)),
            }
        }
    }

    /// Snapshots of which everything is in the replica, forgotten ones too.
    fn whole(&self) -> BTreeSet<SnapshotId> {
        let Ok(opened) = self.vault.open_store(Arc::new(self.replica.clone()), None) else {
            return BTreeSet::new();
        };
        let snapshots = Snapshots::load_for_reading(&opened.repo, &opened.catalog).unwrap();
        let mut wholeness = Wholeness::new(&opened.repo, &opened.catalog);
        let Snapshots { sealed, forgotten, superseded, .. } = &snapshots;
        let all = sealed.iter().chain(forgotten).chain(superseded);
        all.filter(|sealed| wholeness.lacks(sealed).unwrap().is_nothing()).map(|sealed| sealed.id()).collect()
    }
}

fn shuffle<T>(all: &mut [T], chance: &mut Chance) {
    for i in (1..all.len()).rev() {
        all.swap(i, chance.below(i as u64 + 1) as usize);
    }
}
