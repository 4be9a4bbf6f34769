use std::collections::BTreeSet;
use std::sync::Arc;

use fardel_format::SnapshotId;
use fardel_format::names::{FanOut, Name};
use fardel_store::{Aftermath, Fault, FaultKind, FaultyStore, Key, MemoryStore, Store};

use super::*;
use crate::backup::{self, SourceSpec};
use crate::catalog::Catalog;
use crate::check::{self, CheckOptions, Level};
use crate::forget::{self, Selection, UndoOptions, UndoReport};
use crate::keyring::Material;
use crate::monitor::Silent;
use crate::packs::PackerOptions;
use crate::snapshots::Snapshots;
use crate::testing::{Fixture, failure, fixture, noise};

mod compaction;
mod copied;
mod hooked;
mod interrupted;
mod merging;
mod together;

use hooked::{Flaw, Hooked};

fn packer() -> PackerOptions {
    PackerOptions { threads: 1, ..PackerOptions::default() }
}

/// Deletes at once whatever is not needed.
fn at_once() -> PruneOptions {
    PruneOptions {
        grace: Duration::ZERO,
        unfinished: Duration::ZERO,
        packer: packer(),
        ..PruneOptions::default()
    }
}

/// Waits.
fn in_time() -> PruneOptions {
    PruneOptions { packer: packer(), ..PruneOptions::default() }
}

fn host(fixture: &Fixture) -> Option<Material> {
    Some(Material::Host(Box::new(fixture.host.clone())))
}

fn prune_in(fixture: &Fixture, store: Arc<dyn Store>, options: &PruneOptions) -> Result<PruneReport> {
    let (repo, _) = fixture.open_in(store, host(fixture))?;
    plan(&repo, options, &Silent::default())?.run(&Silent::default())
}

fn prune(fixture: &Fixture, options: &PruneOptions) -> PruneReport {
    prune_in(fixture, Arc::new(fixture.store.clone()), options).unwrap()
}

fn planned(fixture: &Fixture, options: &PruneOptions) -> Planned {
    let (repo, _) = fixture.open();
    plan(&repo, options, &Silent::default()).unwrap().planned
}

fn forget_in(fixture: &Fixture, store: Arc<dyn Store>, ids: &[SnapshotId]) -> Result<()> {
    let (repo, catalog) = fixture.open_in(store, host(fixture))?;
    let names: Vec<_> = ids.iter().map(SnapshotId::to_string).collect();
    forget::plan(&repo, &catalog, &Selection::Named(&names))?.run(&repo, &catalog, true).map(drop)
}

fn forget(fixture: &Fixture, ids: &[SnapshotId]) {
    forget_in(fixture, Arc::new(fixture.store.clone()), ids).unwrap();
}

fn undo_in(fixture: &Fixture, store: Arc<dyn Store>, ids: &[SnapshotId]) -> Result<UndoReport> {
    let (repo, _) = fixture.open_in(store, host(fixture))?;
    let names: Vec<_> = ids.iter().map(SnapshotId::to_string).collect();
    let options = UndoOptions { dry_run: false, memory: 64 << 20, packer: packer() };
    forget::undo(&repo, &names, &options, &Silent::default())
}

fn undo(fixture: &Fixture, ids: &[SnapshotId]) -> Result<UndoReport> {
    undo_in(fixture, Arc::new(fixture.store.clone()), ids)
}

fn backup_in(fixture: &Fixture, store: Arc<dyn Store>) -> Result<SnapshotId> {
    let (repo, catalog) = fixture.open_in(store, host(fixture))?;
    let options = fixture.options(vec![SourceSpec::Path(fixture.source())]);
    Ok(backup::backup(&repo, &catalog, &options, &Silent::default())?.snapshot.unwrap())
}

fn listed(fixture: &Fixture, store: &MemoryStore) -> BTreeSet<SnapshotId> {
    let (repo, catalog) = fixture.open_in(Arc::new(store.clone()), None).unwrap();
    Snapshots::load(&repo, &catalog).unwrap().sealed.iter().map(|sealed| sealed.id()).collect()
}

/// Exactly these snapshots exist, and every byte of them is there.
fn assert_holds(fixture: &Fixture, store: &MemoryStore, ids: &[SnapshotId], when: &str) {
    assert_eq!(listed(fixture, store), ids.iter().copied().collect(), "{when}");
    let (repo, catalog) = fixture.open_in(Arc::new(store.clone()), Some(fixture.recovery())).unwrap();
    let options = CheckOptions { level: Level::Data, ..CheckOptions::default() };
    let report = check::check(&repo, &catalog, &options, &Silent::default()).unwrap();
    assert!(report.is_whole(), "{when}: {report:#?}");
}

fn names(store: &MemoryStore, prefix: &str) -> Vec<String> {
    store.names().into_iter().filter(|name| name.starts_with(prefix)).collect()
}

fn copy_of(store: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new();
    for name in store.names() {
        copy.insert_raw(&name, store.get_raw(&name).unwrap());
    }
    copy
}

/// Nothing is left that a run would still take away.
fn assert_nothing_to_do(fixture: &Fixture, store: &MemoryStore, when: &str) {
    let (repo, catalog) = fixture.open_in(Arc::new(store.clone()), host(fixture)).unwrap();
    let planned = plan(&repo, &at_once(), &Silent::default()).unwrap().planned;
    let left = (planned.sweep, planned.condemn, planned.repack);
    assert_eq!(left, Default::default(), "{when}");
    let status = crate::status::status(&repo, &catalog).unwrap();
    assert_eq!((status.unexplained, status.unsealed), (Amount::default(), 0), "{when}");
}

/// So many snapshots, each with a file of its own, and the first file only in the first two.
fn some(fixture: &Fixture, count: u64) -> Vec<SnapshotId> {
    let mut ids = Vec::new();
    for number in 0..count {
        if number == 2 {
            std::fs::remove_file(fixture.source().join("f0")).unwrap();
        }
        fixture.write(&format!("f{number}"), noise(number, 30_000));
        ids.push(fixture.backup(&[&fixture.source()]));
    }
    ids
}

#[test]
fn what_is_forgotten_goes_after_the_grace_and_not_before() {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    forget(&fixture, &ids[..2]);
    let before = fixture.store.names();
    let told = planned(&fixture, &in_time());
    assert_eq!(fixture.store.names(), before, "a plan changes nothing");
    assert!(told.condemn.objects > 0 && told.sweep == Amount::default(), "{told:?}");

    let report = prune(&fixture, &in_time());
    assert_eq!((report.swept.packs, report.swept.others), Default::default());
    assert!(before.iter().all(|name| fixture.store.names().contains(name)), "nothing is deleted yet");
    assert_eq!(report.waiting, report.condemned);
    assert_eq!(report.condemned.objects, told.condemn.objects);
    let again = prune(&fixture, &in_time());
    assert_eq!((again.condemned, again.swept.packs), Default::default(), "nothing more is condemned");

    let report = prune(&fixture, &at_once());
    assert_eq!(report.swept.packs, again.waiting);
    assert_eq!(report.swept.snapshots, 2);
    assert_holds(&fixture, &fixture.store, &ids[2..], "after the sweep");
    assert_nothing_to_do(&fixture, &fixture.store, "after the sweep");
    assert_eq!(names(&fixture.store, "roots/").len(), 1);
    let (repo, catalog) = fixture.open();
    let sealed = Snapshots::load(&repo, &catalog).unwrap().sealed;
    assert_eq!(names(&fixture.store, "lists/").len(), sealed[0].manifest.lists.len());
}

#[test]
fn a_forget_can_be_undone_until_the_sweep() {
    let fixture = fixture();
    let ids = some(&fixture, 4);
    forget(&fixture, &ids[..3]);
    assert_holds(&fixture, &fixture.store, &ids[3..], "forgotten");
    // Before anything was condemned.
    assert_eq!(undo(&fixture, &ids[..1]).unwrap().back, ids[..1]);
    assert_holds(&fixture, &fixture.store, &[ids[0], ids[3]], "undone");
    // And after.
    prune(&fixture, &in_time());
    assert_holds(&fixture, &fixture.store, &[ids[0], ids[3]], "condemned");
    let report = undo(&fixture, &ids[1..2]).unwrap();
    assert_eq!((report.back, report.gone), (ids[1..2].to_vec(), Vec::new()));
    let rest = [ids[0], ids[1], ids[3]];
    assert_holds(&fixture, &fixture.store, &rest, "undone after the condemnation");
    assert!(failure(undo(&fixture, &ids[1..2])).contains("is not forgotten"));
    // A sweep leaves what came back, and takes what did not.
    prune(&fixture, &at_once());
    assert_holds(&fixture, &fixture.store, &rest, "swept");
    let gone = failure(undo(&fixture, &ids[2..3]));
    assert!(gone.contains("its data is gone"), "{gone}");
    // Forgotten again, it goes.
    forget(&fixture, &rest[..2]);
    assert_holds(&fixture, &fixture.store, &ids[3..], "forgotten again");
    assert_eq!(undo(&fixture, &[]).unwrap().back, rest[..2]);
    forget(&fixture, &rest[..2]);
    prune(&fixture, &at_once());
    assert_holds(&fixture, &fixture.store, &ids[3..], "swept again");
    assert_nothing_to_do(&fixture, &fixture.store, "swept again");
}

#[test]
fn an_undo_travels_and_a_late_copy_of_an_old_seal_brings_nothing_back() {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    let before = copy_of(&fixture.store);
    forget(&fixture, &ids[..2]);
    prune(&fixture, &at_once());
    // A lagging copier brings everything that once was.
    let late = copy_of(&fixture.store);
    for name in before.names() {
        late.insert_raw(&name, before.get_raw(&name).unwrap());
    }
    assert_holds(&fixture, &late, &ids[2..], "a late copy");
    // With all of it there, even an undo works.
    assert_eq!(undo_in(&fixture, Arc::new(late.clone()), &ids[..1]).unwrap().back, ids[..1]);
    assert_holds(&fixture, &late, &[ids[0], ids[2]], "undone in the copy");
}

#[test]
fn what_is_pinned_stays_though_it_was_forgotten() {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    let (repo, catalog) = fixture.open();
    forget::pin(&repo, &catalog, &[ids[0].to_string()]).unwrap();
    let takes = Takes::Forget { snapshots: ids[..2].to_vec(), everywhere: true };
    entomb::entomb(&repo, &Catalog::load(repo.store()).unwrap(), takes).unwrap();
    prune(&fixture, &at_once());
    assert_holds(&fixture, &fixture.store, &[ids[0], ids[2]], "pruned");
}

/// A listing by pages may miss a pin and find the forget that came after it: the look before the deletion is not alone.
#[test]
fn what_was_not_forgotten_in_the_listing_before_is_needed_still() {
    let fixture = fixture();
    let ids = some(&fixture, 2);
    let (repo, _) = fixture.open();
    let first = Survey::take(&repo, Scope::Everything(false)).unwrap();
    let needed = |tombs: &crate::tombs::Tombs| {
        let survey = Survey::take(&repo, Scope::Deciding(tombs, &first)).unwrap();
        survey.live.packs.len()
    };
    let before = crate::commit::load_tombs(&repo).unwrap();
    let all = needed(&before);
    forget(&fixture, &ids[1..]);
    assert_eq!(needed(&before), all, "it is forgotten since the tombs were listed");
    assert!(needed(&crate::commit::load_tombs(&repo).unwrap()) < all);
}

#[test]
fn what_nobody_finished_goes_in_time() {
    let fixture = fixture();
    let ids = some(&fixture, 2);
    // A backup that dies before its seal, and one that dies before its manifest.
    for prefix in ["seals/", "manifests/"] {
        fixture.write(&format!("more-{}", prefix.len()), noise(prefix.len() as u64, 30_000));
        let dying = Hooked::new(fixture.store.clone());
        dying.fail_put(prefix);
        assert!(backup_in(&fixture, Arc::new(dying)).is_err());
    }
    let packs = names(&fixture.store, "packs/").len();
    let report = prune(&fixture, &PruneOptions { repack: false, ..in_time() });
    assert_eq!(report.condemned, Amount::default(), "somebody may be about to finish it");
    let report = prune(&fixture, &at_once());
    assert!(report.condemned.objects > 0);
    // What has no seal is announced, revoked, and no root any more for the next run.
    prune(&fixture, &at_once());
    prune(&fixture, &at_once());
    assert!(names(&fixture.store, "packs/").len() < packs);
    assert_holds(&fixture, &fixture.store, &ids, "pruned");
    assert_nothing_to_do(&fixture, &fixture.store, "pruned");
    let counts = |prefix| names(&fixture.store, prefix).len();
    assert_eq!(counts("roots/"), 2, "no root without a manifest is left");
}

#[test]
fn a_key_that_cannot_read_deletes_whole_packs_only() {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    forget(&fixture, &ids[..2]);
    let mut blind = fixture.host.clone();
    blind.identities.clear();
    let material = Some(Material::Host(Box::new(blind)));
    let (repo, _) = fixture.open_in(Arc::new(fixture.store.clone()), material).unwrap();
    let plan = plan(&repo, &at_once(), &Silent::default()).unwrap();
    assert!(plan.planned.no_repack.as_ref().unwrap().contains("only write"), "{:?}", plan.planned);
    let report = plan.run(&Silent::default()).unwrap();
    assert_eq!((report.packs_read, report.packs_written), (0, 0));
    assert_eq!(report.swept.snapshots, 2);
    assert_holds(&fixture, &fixture.store, &ids[2..], "pruned blindly");
}

#[test]
fn who_may_not_maintain_prunes_nothing() {
    let fixture = fixture();
    some(&fixture, 1);
    let (repo, catalog) = fixture.open();
    let admin = crate::key::Admin::open(&repo, &catalog, &fixture.recovery()).unwrap();
    let roles = [fardel_format::signers::Role::Write, fardel_format::signers::Role::ForgetOwn];
    let own = admin.add_host("own", &roles, false).unwrap();
    let (repo, _) = fixture.open_with(Some(Material::Host(Box::new(own)))).unwrap();
    let refused = failure(plan(&repo, &at_once(), &Silent::default()));
    assert!(refused.contains("role maintain"), "{refused}");
}

#[test]
fn a_store_whose_listing_may_lag_is_refused() {
    let fixture = fixture();
    some(&fixture, 1);
    let store = Hooked::with(Flaw::Lags, fixture.store.clone());
    let refused = failure(prune_in(&fixture, Arc::new(store), &at_once()));
    assert!(refused.contains("listing"), "{refused}");
}

#[test]
fn what_the_store_does_not_let_go_is_told_and_tried_again() {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    forget(&fixture, &ids[..2]);
    let locked = Arc::new(Hooked::with(Flaw::DeletesNoPack, fixture.store.clone()));
    let report = prune_in(&fixture, locked, &at_once()).unwrap();
    assert_eq!(report.swept.packs, Amount::default());
    assert!(report.swept.denied.iter().any(|why| why.starts_with("packs/")), "{report:?}");
    assert_holds(&fixture, &fixture.store, &ids[2..], "locked");
    let report = prune(&fixture, &at_once());
    assert!(report.swept.packs.objects > 0 && report.swept.denied.is_empty());
    assert_holds(&fixture, &fixture.store, &ids[2..], "unlocked");
    assert_nothing_to_do(&fixture, &fixture.store, "unlocked");
}

#[test]
fn nothing_is_deleted_while_it_is_not_known_what_a_snapshot_needs() {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    forget(&fixture, &ids[..1]);
    let (repo, catalog) = fixture.open();
    let sealed = Snapshots::load(&repo, &catalog).unwrap().sealed;
    let list = Name::List(sealed[0].manifest.lists[0].hash).key(FanOut::FLAT);
    let manifest = Name::Manifest(sealed[0].writer, sealed[0].name).key(FanOut::FLAT);
    for lost in [list, manifest] {
        let store = copy_of(&fixture.store);
        store.remove_raw(&lost);
        let before = store.names();
        let refused = failure(prune_in(&fixture, Arc::new(store.clone()), &at_once()));
        assert!(refused.contains("Nothing was deleted"), "{lost}: {refused}");
        assert_eq!(store.names(), before);
    }
}

#[test]
fn young_packs_stay_where_the_store_charges_for_them() {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    forget(&fixture, &ids[..2]);
    let month = Duration::from_secs(30 * 86_400);
    let options = PruneOptions { min_age: month, ..at_once() };
    let told = planned(&fixture, &options);
    assert!(told.young.objects > 0 && told.young_byte_days > told.young.bytes as f64 * 29.0, "{told:?}");
    let packs = names(&fixture.store, "packs/");
    let report = prune(&fixture, &options);
    assert_eq!((report.condemned, report.packs_read), (Amount::default(), 0));
    assert_eq!(names(&fixture.store, "packs/"), packs);
    assert_holds(&fixture, &fixture.store, &ids[2..], "young");
}

#[test]
fn nothing_is_condemned_that_the_store_still_keeps() {
    let fixture = fixture();
    let ids = some(&fixture, 3);
    forget(&fixture, &ids[..2]);
    let before = names(&fixture.store, "").len();
    let keeping = Arc::new(Hooked::with(Flaw::KeepsForADay, fixture.store.clone()));
    let (repo, _) = fixture.open_in(keeping.clone(), host(&fixture)).unwrap();
    let plan = plan(&repo, &at_once(), &Silent::default()).unwrap();
    assert_eq!(plan.planned.min_age, Duration::from_secs(86_400));
    assert!(plan.planned.young.objects > 0 && plan.planned.condemn == Amount::default());
    let report = plan.run(&Silent::default()).unwrap();
    assert_eq!((report.condemned, report.swept.snapshots), Default::default(), "{report:?}");
    assert_eq!(names(&fixture.store, "").len(), before, "nothing came, and nothing went");
    // And where a lock is met that nobody told of, the rest goes on.
    let locked = Arc::new(Hooked::with(Flaw::Locks, fixture.store.clone()));
    let report = prune_in(&fixture, locked, &at_once()).unwrap();
    assert!(report.swept.snapshots == 2 && report.swept.denied.is_empty(), "{report:?}");
    assert!(report.swept.locked.iter().any(|why| why.contains("kept for a month")), "{report:?}");
    assert_holds(&fixture, &fixture.store, &ids[2..], "locked");
    prune(&fixture, &at_once());
    assert_holds(&fixture, &fixture.store, &ids[2..], "unlocked");
    assert_nothing_to_do(&fixture, &fixture.store, "unlocked");
}

#[test]
fn sparse_packs_are_written_anew_and_snapshots_keep_their_names() {
    let fixture = fixture();
    for number in 0..20 {
        fixture.write(&format!("old-{number}"), noise(number, 40_000));
    }
    let first = fixture.backup(&[&fixture.source()]);
    for number in 0..19 {
        std::fs::remove_file(fixture.source().join(format!("old-{number}"))).unwrap();
    }
    fixture.write("new", noise(99, 10_000));
    let second = fixture.backup(&[&fixture.source()]);
    forget(&fixture, &[first]);
    let told = planned(&fixture, &at_once());
    assert!(told.repack.objects > 0 && told.unused_bytes > 700_000, "{told:?}");
    let report = prune(&fixture, &at_once());
    assert!(report.snapshots_retold == 1 && report.bytes_stored < 100_000, "{report:?}");
    assert_holds(&fixture, &fixture.store, &[second], "written anew");
    assert_nothing_to_do(&fixture, &fixture.store, "written anew");
    // The next backup rests on it as before.
    let (repo, catalog) = fixture.open();
    let options = fixture.options(vec![SourceSpec::Path(fixture.source())]);
    let next = backup::backup(&repo, &catalog, &options, &Silent::default()).unwrap();
    assert_eq!((next.files_new, next.bytes_added), (0, 0), "{next:?}");
    // The limit holds.
    let (repo, _) = fixture.open();
    let none = PruneOptions { max_repack: 0, ..at_once() };
    assert_eq!(plan(&repo, &none, &Silent::default()).unwrap().planned.repack, Amount::default());
}

#[test]
fn a_damaged_pack_stays_as_it_is_and_hinders_no_other() {
    let fixture = fixture();
    let ids = some(&fixture, 9);
    // One byte in a pack of data that is to be merged.
    let (repo, catalog) = fixture.open();
    let reader = PackReader::new(&repo, &catalog);
    let data = |hash: &&fardel_format::ObjectHash| {
        let size = catalog.packs[*hash][0].stored.size;
        reader.toc(hash, size).unwrap().kind == fardel_format::pack::PackKind::Data
    };
    let hash = *catalog.packs.keys().find(data).unwrap();
    let name = Name::Pack(hash, None).key(FanOut::FLAT);
    let mut bytes = fixture.store.get_raw(&name).unwrap().to_vec();
    bytes[1000] ^= 1;
    fixture.store.insert_raw(&name, bytes);
    let report = prune(&fixture, &at_once());
    assert!(report.packs_written > 0, "{report:?}");
    assert!(report.unreadable.len() <= 1, "{report:?}");
    assert!(fixture.store.get_raw(&name).is_some(), "it is the only place of its chunks");
    assert_eq!(listed(&fixture, &fixture.store).len(), ids.len());
}
