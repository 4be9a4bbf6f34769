//! Stores that another tool copies: what a replica acknowledged stays, whatever its tool does meanwhile.

use fardel_format::keys::HostKey;
use fardel_format::signers::Role;

use super::*;
use crate::backup::BackupOptions;
use crate::key::Admin;
use crate::replicas::{self, AckOptions, Acknowledged};
use crate::status::Wholeness;

/// A source, and what happens to it.
struct Scene {
    fixture: Arc<Fixture>,
    ids: Vec<SnapshotId>,
    nas: HostKey,
}

fn scene(snapshots: u64) -> Scene {
    let fixture = fixture();
    let (repo, catalog) = fixture.open();
    let admin = Admin::open(&repo, &catalog, &fixture.recovery()).unwrap();
    let nas = admin.add_host("nas", &[Role::Acknowledge], true).unwrap();
    let mut scene = Scene { fixture: Arc::new(fixture), ids: Vec::new(), nas };
    (0..snapshots).for_each(|_| scene.back_up());
    scene
}

/// A snapshot that a replica acknowledged, and a second one since; and the replica.
fn acknowledged() -> (Scene, MemoryStore) {
    let mut scene = scene(1);
    let replica = copy_of(scene.source());
    scene.acknowledge(&replica, "nas", &scene.nas).unwrap();
    scene.carry_acks(&replica);
    scene.back_up();
    (scene, replica)
}

/// Deletes whatever may go, and writes nothing anew.
fn whole_packs() -> PruneOptions {
    PruneOptions { repack: false, copied: true, ..at_once() }
}

impl Scene {
    /// A snapshot that shares nothing with the others but the closure that it inherits.
    fn back_up(&mut self) {
        let number = self.ids.len() as u64;
        self.fixture.write("file", noise(number + 70, 30_000));
        let alone = BackupOptions {
            force: true,
            ..self.fixture.options(vec![SourceSpec::Path(self.fixture.source())])
        };
        self.ids.push(self.fixture.backup_with(&alone).snapshot.unwrap());
    }

    fn source(&self) -> &MemoryStore {
        &self.fixture.store
    }

    fn acknowledge(&self, replica: &MemoryStore, name: &str, host: &HostKey) -> Result<Acknowledged> {
        let material = Some(Material::Host(Box::new(host.clone())));
        let (repo, catalog) = self.fixture.open_in(Arc::new(replica.clone()), material)?;
        replicas::acknowledge(&AckOptions { replica: name, copy: (&repo, &catalog), source: None })
    }

    /// The replica becomes what the source is, and the source gets what the replica acknowledged.
    fn mirror(&self, replica: &MemoryStore) {
        for name in replica.names().iter().filter(|name| !name.starts_with("acks/")) {
            replica.remove_raw(name);
        }
        for name in self.source().names() {
            replica.insert_raw(&name, self.source().get_raw(&name).unwrap());
        }
        self.carry_acks(replica);
    }

    fn carry_acks(&self, replica: &MemoryStore) {
        for name in names(replica, "acks/") {
            self.source().insert_raw(&name, replica.get_raw(&name).unwrap());
        }
    }

    fn whole(&self, store: &MemoryStore) -> BTreeSet<SnapshotId> {
        let (repo, catalog) = self.fixture.open_in(Arc::new(store.clone()), None).unwrap();
        let snapshots = Snapshots::load_for_reading(&repo, &catalog).unwrap();
        let mut wholeness = Wholeness::new(&repo, &catalog);
        let all = snapshots.sealed.iter().chain(&snapshots.forgotten);
        all.filter(|sealed| wholeness.lacks(sealed).unwrap().is_nothing()).map(|sealed| sealed.id()).collect()
    }

    fn left(&self, wanted: &[usize], when: &str) {
        let wanted: BTreeSet<_> = wanted.iter().map(|number| self.ids[*number]).collect();
        assert_eq!(self.whole(self.source()), wanted, "{when}");
    }
}

#[test]
fn a_replica_holds_up_what_it_acknowledged_until_it_acknowledges_something_newer() {
    let mut scene = scene(2);
    let replica = copy_of(scene.source());
    let said = scene.acknowledge(&replica, "nas", &scene.nas).unwrap();
    assert_eq!((said.snapshot, said.newer, said.new), (scene.ids[1], 0, true));
    scene.carry_acks(&replica);
    scene.back_up();
    forget(&scene.fixture, &scene.ids[..2]);
    let told = planned(&scene.fixture, &whole_packs());
    let [held] = &told.held_up[..] else { panic!("{told:?}") };
    assert_eq!(
        (held.replica.as_deref(), held.snapshot, &held.since),
        (Some("nas"), scene.ids[1], &said.created)
    );
    assert!(held.packs.objects > 0 && !told.patient && told.silent.is_empty(), "{told:?}");
    prune(&scene.fixture, &whole_packs());
    scene.left(&[1, 2], "the replica needs the second one");
    assert_holds(&scene.fixture, scene.source(), &scene.ids[2..], "and it stays forgotten");
    prune(&scene.fixture, &whole_packs());
    scene.left(&[1, 2], "however often");

    scene.mirror(&replica);
    let said = scene.acknowledge(&replica, "nas", &scene.nas).unwrap();
    assert_eq!((said.snapshot, said.new), (scene.ids[2], true));
    scene.carry_acks(&replica);
    assert_eq!(names(scene.source(), "acks/").len(), 2);
    prune(&scene.fixture, &whole_packs());
    scene.left(&[2], "nobody needs the second one any more");
    assert_eq!(names(scene.source(), "acks/").len(), 1, "what a newer one replaces goes");
    let again = scene.acknowledge(&replica, "nas", &scene.nas).unwrap();
    assert_eq!((again.snapshot, again.new), (scene.ids[2], false), "the same is not said twice in a day");
}

#[test]
fn without_acknowledgements_there_is_only_time() {
    let scene = scene(3);
    forget(&scene.fixture, &scene.ids[..2]);
    let told = planned(&scene.fixture, &whole_packs());
    assert!(told.patient && told.grace == PATIENCE, "{told:?}");
    let [held] = &told.held_up[..] else { panic!("{told:?}") };
    assert_eq!(
        (held.replica.as_deref(), held.snapshot),
        (None, scene.ids[0]),
        "the oldest is the first to be old"
    );
    assert!(held.packs.objects > 2 && told.sweep.objects == 0 && told.condemn.objects == 0, "{told:?}");
    for _ in 0..2 {
        let report = prune(&scene.fixture, &whole_packs());
        assert_eq!((report.swept.packs.objects, report.swept.snapshots), (0, 0), "{report:?}");
    }
    scene.left(&[0, 1, 2], "a copier may be behind by so much");
    let alone = PruneOptions { copied: false, ..whole_packs() };
    prune(&scene.fixture, &alone);
    scene.left(&[2], "nobody copies it");
}

#[test]
fn a_full_generation_older_than_every_copier_stays() {
    let scene = scene(1);
    // As it was made long ago: the same manifest, told of with an older time.
    let (repo, catalog) = scene.fixture.open();
    let sealed = Snapshots::load(&repo, &catalog).unwrap().sealed[0].clone();
    let old = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 40);
    let manifest = fardel_format::manifest::Manifest {
        created: old.to_string(),
        seq: 2,
        previous: Some(sealed.name.hash),
        ..sealed.manifest.clone()
    };
    let bytes = manifest.to_bytes();
    let name = fardel_format::names::Numbered { seq: 2, hash: fardel_format::ObjectHash::of(&bytes) };
    let seal = fardel_format::manifest::seal(&bytes, repo.id(), &name, &scene.fixture.host.signing).unwrap();
    let store = scene.source();
    store.insert_raw(&Name::Manifest(sealed.writer, name).key(FanOut::FLAT), bytes);
    store.insert_raw(&Name::Seal(sealed.writer, name).key(FanOut::FLAT), seal);
    forget(&scene.fixture, &scene.ids);
    for _ in 0..2 {
        let told = planned(&scene.fixture, &whole_packs());
        let [held] = &told.held_up[..] else { panic!("{told:?}") };
        assert_eq!((held.replica.as_deref(), held.snapshot), (None, scene.ids[0]));
        prune(&scene.fixture, &whole_packs());
        let (repo, catalog) = scene.fixture.open();
        let tombs = crate::commit::load_tombs(&repo).unwrap();
        assert!(!tombs.condemns_other(&name.hash) && tombs.condemned.is_empty(), "not even announced");
        assert!(catalog.seals.contains_key(&(sealed.writer, name)));
    }
}

#[test]
fn a_replica_that_is_struck_off_holds_nothing_up() {
    let mut scene = scene(1);
    let (usb, cloud) = (copy_of(scene.source()), copy_of(scene.source()));
    scene.acknowledge(&usb, "usb", &scene.nas).unwrap();
    scene.carry_acks(&usb);
    scene.back_up();
    scene.mirror(&cloud);
    scene.acknowledge(&cloud, "cloud", &scene.nas).unwrap();
    scene.carry_acks(&cloud);
    forget(&scene.fixture, &scene.ids[..1]);
    prune(&scene.fixture, &whole_packs());
    scene.left(&[0, 1], "the one that is behind holds it up");
    let (repo, catalog) = scene.fixture.open();
    assert!(failure(replicas::strike(&repo, &catalog, "tape")).contains("no replica `tape`"));
    assert_eq!(replicas::strike(&repo, &catalog, "usb").unwrap(), 1);
    let (repo, catalog) = scene.fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    let known = replicas::known(&repo, &catalog, &snapshots).unwrap();
    let struck: Vec<_> = known.iter().map(|known| (&*known.name, known.struck, known.snapshot)).collect();
    assert_eq!(struck, [("cloud", false, Some(scene.ids[1])), ("usb", true, None)]);
    prune(&scene.fixture, &whole_packs());
    scene.left(&[1], "struck off");
    // It lives after all.
    scene.mirror(&usb);
    scene.acknowledge(&usb, "usb", &scene.nas).unwrap();
    scene.carry_acks(&usb);
    scene.back_up();
    forget(&scene.fixture, &scene.ids[1..2]);
    let told = planned(&scene.fixture, &whole_packs());
    let held: Vec<_> = told.held_up.iter().filter_map(|held| held.replica.as_deref()).collect();
    assert_eq!(held, ["cloud", "usb"]);
}

#[test]
fn what_is_about_to_go_cannot_be_counted_on() {
    let (mut scene, replica) = acknowledged();
    scene.mirror(&replica);
    // It holds the second one whole and says so too late.
    scene.back_up();
    forget(&scene.fixture, &scene.ids[..2]);
    prune(&scene.fixture, &whole_packs());
    scene.left(&[0, 2], "the first was acknowledged");
    assert_eq!(scene.acknowledge(&replica, "nas", &scene.nas).unwrap().snapshot, scene.ids[1]);
    scene.carry_acks(&replica);
    for _ in 0..2 {
        let told = planned(&scene.fixture, &whole_packs());
        assert_eq!(told.held_up.iter().map(|held| held.snapshot).collect::<Vec<_>>(), scene.ids[..1]);
        prune(&scene.fixture, &whole_packs());
        scene.left(&[0, 2], "the first is all that it will keep");
    }
    scene.mirror(&replica);
    assert_eq!(scene.acknowledge(&replica, "nas", &scene.nas).unwrap().snapshot, scene.ids[2]);
    scene.carry_acks(&replica);
    prune(&scene.fixture, &whole_packs());
    scene.left(&[2], "now it has got the third");
}

#[test]
fn what_is_torn_or_by_somebody_else_lets_nothing_go() {
    let (scene, replica) = acknowledged();
    scene.mirror(&replica);
    // Half of a newer one came, and somebody without the role signed another.
    let (repo, catalog) = scene.fixture.open();
    let admin = Admin::open(&repo, &catalog, &scene.fixture.recovery()).unwrap();
    let writer = admin.add_host("writer", &[Role::Write], true).unwrap();
    assert!(failure(scene.acknowledge(&replica, "nas", &writer)).contains("may not acknowledge"));
    scene.acknowledge(&replica, "nas", &scene.nas).unwrap();
    let newer = names(&replica, "acks/").pop().unwrap();
    let half = replica.get_raw(&newer).unwrap();
    scene.source().insert_raw(&newer, half.slice(..half.len() / 2));
    forget(&scene.fixture, &scene.ids[..1]);
    let told = planned(&scene.fixture, &whole_packs());
    assert!(!told.patient, "the older one counts: {told:?}");
    prune(&scene.fixture, &whole_packs());
    scene.left(&[0, 1], "half a word is none");
    let (repo, catalog) = scene.fixture.open_in(Arc::new(scene.source().clone()), None).unwrap();
    let options = CheckOptions { level: Level::Seals, ..CheckOptions::default() };
    let report = check::check(&repo, &catalog, &options, &Silent::default()).unwrap();
    let found: Vec<_> = report.errors.iter().map(|finding| (&*finding.object, finding.harmless)).collect();
    assert_eq!(found, [(&*newer, true)]);
    // A replica of which nothing else is known may need anything.
    let place = newer.replace("acks/nas/", "acks/other/");
    scene.source().insert_raw(&place, half);
    let told = planned(&scene.fixture, &whole_packs());
    assert!(told.patient && told.silent == ["other"], "{told:?}");
}

/// Two collectors and an acknowledgement that comes between any two calls of them: one of both snapshots that the replica
/// held stays.
#[test]
fn an_acknowledgement_and_a_prune_between_any_two_calls_of_a_prune() {
    let (mut scene, replica) = acknowledged();
    scene.mirror(&replica);
    scene.acknowledge(&replica, "nas", &scene.nas).unwrap();
    let newer = names(&replica, "acks/").pop().unwrap();
    let said = replica.get_raw(&newer).unwrap();
    scene.back_up();
    forget(&scene.fixture, &scene.ids[..2]);
    let fixture = scene.fixture.clone();
    let (mut first, mut second) = (0, 0);
    together::at_any_call(
        &fixture,
        scene.source(),
        |store| drop(prune_in(&fixture, store, &whole_packs()).unwrap()),
        move |fixture, store| {
            let (repo, _) = fixture.open_in(store.clone(), None).unwrap();
            repo.store().put_same(&Key::new(&*newer).unwrap(), said.to_vec()).unwrap();
            prune_in(fixture, store, &whole_packs()).unwrap();
        },
        |store, (), when| {
            for _ in 0..2 {
                let whole = scene.whole(store);
                assert!(whole.contains(&scene.ids[2]), "{when}");
                assert!(scene.ids[..2].iter().any(|id| whole.contains(id)), "{when}");
                prune_in(&fixture, Arc::new(store.clone()), &whole_packs()).unwrap();
            }
            let whole = scene.whole(store);
            first += usize::from(whole.contains(&scene.ids[0]));
            second += usize::from(whole.contains(&scene.ids[1]));
        },
    );
    assert!(first > 0 && second > 0, "both ends of it: {first} and {second}");
}

#[test]
fn a_forget_can_be_undone_there_too() {
    let (scene, _) = acknowledged();
    forget(&scene.fixture, &scene.ids[..1]);
    prune(&scene.fixture, &PruneOptions { copied: true, ..in_time() });
    assert_eq!(undo(&scene.fixture, &scene.ids[..1]).unwrap().back, scene.ids[..1]);
    prune(&scene.fixture, &whole_packs());
    assert_holds(&scene.fixture, scene.source(), &scene.ids, "undone");
}

#[test]
fn the_newest_that_counts_keeps_and_all_newer_ones() {
    for (counts, keep) in [
        (&[][..], 0),
        (&[true][..], 1),
        (&[false][..], 1),
        (&[true, true][..], 1),
        (&[false, true, true][..], 2),
        (&[false, false][..], 2),
    ] {
        assert_eq!(how_many_keep(counts.iter().copied()), keep, "{counts:?}");
    }
}

#[test]
fn one_side_collects() {
    let scene = scene(3);
    forget(&scene.fixture, &scene.ids[..2]);
    let (repo, catalog) = scene.fixture.open();
    let admin = Admin::open(&repo, &catalog, &scene.fixture.recovery()).unwrap();
    let other = admin.add_host("attic", &[Role::Maintain], true).unwrap();
    let by_other = |options: &PruneOptions| {
        let material = Some(Material::Host(Box::new(other.clone())));
        let (repo, _) = scene.fixture.open_in(Arc::new(scene.source().clone()), material)?;
        plan(&repo, options, &Silent::default())?.run(&Silent::default())
    };
    let waits = PruneOptions { copied: false, grace: PATIENCE, ..whole_packs() };
    assert!(by_other(&waits).unwrap().condemned.objects > 0);
    let why = failure(prune_in(&scene.fixture, Arc::new(scene.source().clone()), &whole_packs()));
    assert!(why.contains("attic collected in it last") && why.contains("--take-over"), "{why}");
    by_other(&whole_packs()).unwrap();
    prune(&scene.fixture, &waits);
    prune(&scene.fixture, &PruneOptions { take_over: true, ..whole_packs() });
}
