use fardel_format::keys::HostKey;
use fardel_format::signers::Role;

use super::*;
use crate::backup::{self, SourceSpec};
use crate::key::Admin;
use crate::keyring::Material;
use crate::monitor::Silent;
use crate::testing::{Fixture, failure, fixture};
use crate::{Error, Result};

/// A host that may do this, and its key.
fn host(fixture: &Fixture, name: &str, roles: &[Role]) -> HostKey {
    let (repo, catalog) = fixture.open();
    Admin::open(&repo, &catalog, &fixture.recovery()).unwrap().add_host(name, roles, false).unwrap()
}

fn open_as(fixture: &Fixture, host: &HostKey) -> (Repository, Catalog) {
    fixture.open_with(Some(Material::Host(Box::new(host.clone())))).unwrap()
}

fn backup_as(fixture: &Fixture, host: &HostKey, tag: &str) -> String {
    let (repo, catalog) = open_as(fixture, host);
    let mut options = fixture.options(vec![SourceSpec::Path(fixture.source())]);
    options.tags = vec![tag.into()];
    let report = backup::backup(&repo, &catalog, &options, &Silent::default()).unwrap();
    report.snapshot.unwrap().to_string()
}

fn forget_as(fixture: &Fixture, host: &HostKey, selection: &Selection<'_>) -> Result<usize> {
    let (repo, catalog) = open_as(fixture, host);
    let plan = plan(&repo, &catalog, selection)?;
    plan.run(&repo, &catalog, true)?;
    Ok(plan.forgotten().count())
}

fn listed(fixture: &Fixture) -> Vec<String> {
    let (repo, catalog) = fixture.open();
    let snapshots = Snapshots::load(&repo, &catalog).unwrap();
    snapshots.sealed.iter().map(|sealed| sealed.id().to_string()).collect()
}

fn all(_: &Root) -> bool {
    true
}

#[test]
fn each_forgets_what_its_role_allows() {
    let fixture = fixture();
    fixture.write("file", "content");
    let own = host(&fixture, "own", &[Role::Write, Role::ForgetOwn]);
    let mute = host(&fixture, "mute", &[Role::Write]);
    let first = backup_as(&fixture, &fixture.host, "");
    let second = backup_as(&fixture, &own, "");
    let third = backup_as(&fixture, &mute, "");
    let name = |id: &String| vec![id.clone()];

    let refused = forget_as(&fixture, &mute, &Selection::Named(&name(&third)));
    assert!(matches!(&refused, Err(Error::Key(why)) if why.contains("forget-own")), "{refused:?}");
    for id in [&first, &third] {
        let refused = forget_as(&fixture, &own, &Selection::Named(&name(id)));
        assert!(matches!(&refused, Err(Error::Key(why)) if why.contains("another host")), "{refused:?}");
    }
    assert_eq!(listed(&fixture).len(), 3);
    assert_eq!(forget_as(&fixture, &own, &Selection::Named(&name(&second))).unwrap(), 1);
    assert_eq!(listed(&fixture), [first, third.clone()]);
    assert_eq!(forget_as(&fixture, &fixture.host, &Selection::Named(&name(&third))).unwrap(), 1);
    assert_eq!(listed(&fixture).len(), 1);
    let gone = failure(forget_as(&fixture, &fixture.host, &Selection::Named(&name(&third))));
    assert!(gone.contains("no snapshot"), "{gone}");
}

#[test]
fn a_policy_of_one_host_looks_at_no_others_snapshots() {
    let fixture = fixture();
    fixture.write("file", "content");
    let own = host(&fixture, "own", &[Role::Write, Role::ForgetOwn]);
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(backup_as(&fixture, &fixture.host, ""));
    }
    for _ in 0..4 {
        backup_as(&fixture, &own, "");
    }
    let policy = Policy { last: 1, ..Policy::default() };
    assert_eq!(forget_as(&fixture, &own, &Selection::Policy(&policy, &all)).unwrap(), 3);
    assert_eq!(listed(&fixture).len(), 4);
    assert!(kept.iter().all(|id| listed(&fixture).contains(id)));
    // A maintainer forgets of both, and of each by itself.
    assert_eq!(forget_as(&fixture, &fixture.host, &Selection::Policy(&policy, &all)).unwrap(), 2);
    assert_eq!(listed(&fixture).len(), 2);
    assert_eq!(forget_as(&fixture, &fixture.host, &Selection::Policy(&policy, &all)).unwrap(), 0);
}

#[test]
fn a_plan_alone_forgets_nothing_and_what_does_not_fit_is_left_alone() {
    let fixture = fixture();
    fixture.write("file", "content");
    let (a, b) = (backup_as(&fixture, &fixture.host, "a"), backup_as(&fixture, &fixture.host, "b"));
    let c = backup_as(&fixture, &fixture.host, "b");
    let tagged_b = |root: &Root| root.tags == ["b"];
    let policy = Policy { last: 1, ..Policy::default() };
    let before = fixture.store.names();
    let (repo, catalog) = fixture.open();
    let plan = plan(&repo, &catalog, &Selection::Policy(&policy, &tagged_b)).unwrap();
    assert_eq!(fixture.store.names(), before);
    let decided: Vec<_> = plan.choices.iter().map(|c| (c.sealed.id().to_string(), c.decision.keep)).collect();
    assert_eq!(decided, [(b, false), (c.clone(), true)]);
    plan.run(&repo, &catalog, false).unwrap();
    assert_eq!(listed(&fixture), [a, c]);
    let nothing = failure(super::plan(&repo, &catalog, &Selection::Policy(&Policy::default(), &all)));
    assert!(nothing.contains("keeps nothing"), "{nothing}");
}

#[test]
fn what_is_pinned_stays_until_it_is_unpinned() {
    let fixture = fixture();
    fixture.write("file", "content");
    let own = host(&fixture, "own", &[Role::Write, Role::ForgetOwn]);
    let ids: Vec<_> = (0..3).map(|_| backup_as(&fixture, &fixture.host, "")).collect();
    let pin_as = |host: &HostKey, id: &String| {
        let (repo, catalog) = open_as(&fixture, host);
        pin(&repo, &catalog, std::slice::from_ref(id)).map(|ids| ids.len())
    };
    let unpin_as = |host: &HostKey, id: &String| {
        let (repo, catalog) = open_as(&fixture, host);
        unpin(&repo, &catalog, std::slice::from_ref(id)).map(|ids| ids.len())
    };
    assert!(failure(pin_as(&own, &ids[0])).contains("maintain"));
    assert_eq!(pin_as(&fixture.host, &ids[0]).unwrap(), 1);
    assert_eq!(pin_as(&fixture.host, &ids[0]).unwrap(), 0, "it is pinned already");
    let refused = failure(forget_as(&fixture, &fixture.host, &Selection::Named(&ids[..1])));
    assert!(refused.contains("pinned") && refused.contains("fardel unpin"), "{refused}");
    let policy = Policy { last: 1, ..Policy::default() };
    assert_eq!(forget_as(&fixture, &fixture.host, &Selection::Policy(&policy, &all)).unwrap(), 1);
    assert_eq!(listed(&fixture), [ids[0].clone(), ids[2].clone()]);

    // A forget that was decided before the pin was seen does not hold against it.
    let (repo, catalog) = fixture.open();
    let takes = Takes::Forget { snapshots: vec![ids[0].parse().unwrap()], everywhere: true };
    entomb::entomb(&repo, &catalog, takes).unwrap();
    assert_eq!(listed(&fixture).len(), 2);
    assert_eq!(unpin_as(&fixture.host, &ids[0]).unwrap(), 1);
    assert_eq!(listed(&fixture), [ids[2].clone()], "now the forget holds");
    // A host pins its own, and a maintainer lifts it.
    let mine = backup_as(&fixture, &own, "");
    assert_eq!(pin_as(&own, &mine).unwrap(), 1);
    assert_eq!(unpin_as(&fixture.host, &mine).unwrap(), 1);
    assert_eq!(forget_as(&fixture, &own, &Selection::Named(&[mine])).unwrap(), 1);
}

#[test]
fn nothing_is_forgotten_while_a_tomb_says_what_nobody_knows() {
    let fixture = fixture();
    fixture.write("file", "content");
    let id = backup_as(&fixture, &fixture.host, "");
    let (repo, catalog) = fixture.open();
    let pin = entomb::entomb(&repo, &catalog, Takes::Pin { snapshots: vec![id.parse().unwrap()] }).unwrap();
    // A newer fardel has a kind of tomb that this one does not know.
    let name = fixture.store.names().into_iter().find(|name| name.contains(&pin[0].to_string())).unwrap();
    let text = String::from_utf8(fixture.store.get_raw(&name).unwrap().to_vec()).unwrap();
    let text = text.replace("\"pin\"", "\"keep-until\"");
    let key = &fixture.host.signing;
    let number = fardel_format::names::Numbered { seq: 1, hash: ObjectHash::of(text.as_bytes()) };
    let signature = fardel_format::tomb::sign(text.as_bytes(), &fixture.id, &number, key).unwrap();
    let writer = key.public().writer();
    fixture.lose("tombs/");
    let flat = fardel_format::names::FanOut::FLAT;
    fixture.store.insert_raw(&fardel_format::names::Name::Tomb(writer, number).key(flat), text);
    fixture.store.insert_raw(&fardel_format::names::Name::TombSig(writer, number).key(flat), signature);
    let refused = failure(forget_as(&fixture, &fixture.host, &Selection::Named(&[id])));
    assert!(refused.contains("a newer fardel may know it"), "{refused}");
    assert_eq!(listed(&fixture).len(), 1, "it is read all the same");
}
