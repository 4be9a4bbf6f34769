use fardel_format::age_file::{self, Recipients};
use fardel_format::keys::{ChunkKeys, HostKey, KeyText, ReaderKeys};
use fardel_format::signers::Role;
use zeroize::Zeroizing;

use super::*;
use crate::backup::{self, SourceSpec};
use crate::init::{self, InitOptions};
use crate::keyring::{self, Material};
use crate::monitor::Silent;
use crate::snapshots::Snapshots;
use crate::testing::{Fixture, failure, fixture};
use crate::{Error, Result};

/// An SSH public key.
const SSH: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@rust";

/// Administrates with the recovery identity.
fn administrate<T>(fixture: &Fixture, work: impl FnOnce(&Admin<'_>) -> T) -> T {
    let (repo, catalog) = fixture.open();
    work(&Admin::open(&repo, &catalog, &fixture.recovery()).unwrap())
}

fn list(fixture: &Fixture, material: Option<&Material>) -> KeyList {
    let (repo, catalog) = fixture.open();
    KeyList::load(&repo, &catalog, material).unwrap()
}

fn identity() -> (Material, String) {
    let (secret, recipient) = age_file::generate_identity();
    let mut identities = age_file::Identities::new();
    identities.push_x25519(&secret).unwrap();
    (Material::Identities(identities), recipient)
}

fn back_up(fixture: &Fixture, host: &HostKey) -> Result<()> {
    fixture.write("file", "content");
    let (repo, catalog) = fixture.open_with(Some(Material::Host(Box::new(host.clone()))))?;
    let options = fixture.options(vec![SourceSpec::Path(fixture.source())]);
    backup::backup(&repo, &catalog, &options, &Silent::default()).map(drop)
}

fn snapshots(fixture: &Fixture) -> Snapshots {
    let (repo, catalog) = fixture.open();
    Snapshots::load(&repo, &catalog).unwrap()
}

#[test]
fn lists_files_and_signers() {
    let passphrase = Some(Zeroizing::new("a passphrase".to_owned()));
    let recipients = vec![SSH.to_owned(), identity().1];
    let fixture =
        Fixture::new(&InitOptions { host: "ann".into(), recipients, passphrase, ..InitOptions::default() });
    let found = list(&fixture, None);
    assert_eq!(found.files.len(), 4);
    assert!(
        found.problems.is_empty()
            && found.files.iter().all(|file| !file.retired && file.holds.is_none() && file.damage.is_none())
    );
    let passphrases = found.files.iter().filter(|file| file.recipients == [Recipient::Passphrase]).count();
    let ssh = Recipient::Ssh { kind: "ssh-ed25519".into(), tag: "PYX4ow".into() };
    assert_eq!(passphrases, 2);
    let readers = found.files.iter().find(|file| file.recipients.len() == 3).unwrap();
    assert!(readers.recipients.contains(&ssh), "{:?}", readers.recipients);
    assert_eq!(readers.recipients.iter().map(ToString::to_string).filter(|text| text == "X25519").count(), 2);

    let [signer] = &found.signers[..] else { panic!("{:?}", found.signers) };
    assert_eq!((&signer.name[..], signer.is_this_host, signer.roles.len()), ("ann", true, 4));

    let found = list(&fixture, Some(&fixture.recovery()));
    let held: Vec<_> = found.files.iter().filter_map(|file| file.holds).collect();
    assert!(held.len() == 2 && held.contains(&Holds::Reader) && held.contains(&Holds::Root));

    let file = fixture.store.names().into_iter().find(|name| name.starts_with("keys/")).unwrap();
    fixture.store.insert_raw(&file, vec![b'x'; 50]);
    let damaged = list(&fixture, None).files.into_iter().filter(|file| file.damage.is_some()).count();
    assert_eq!(damaged, 1);
}

#[test]
fn finds_what_is_meant() {
    let fixture = fixture();
    let found = list(&fixture, None);
    let (file, signer) = (found.files[0].hash, found.signers[0].writer);
    assert_eq!(found.find("test").unwrap(), Target::Signer(signer));
    assert_eq!(found.find(&signer.to_string()[..8]).unwrap(), Target::Signer(signer));
    assert_eq!(found.find(&file.to_string()[..8]).unwrap(), Target::File(file));
    for nothing in ["", "x", &file.to_string()[..3], "ffffffffffff"] {
        assert!(matches!(found.find(nothing), Err(Error::NotFound(_))), "{nothing}");
    }
    administrate(&fixture, |admin| admin.add_host("test", &[Role::Write], true).unwrap());
    assert!(failure(list(&fixture, None).find("test")).contains("several"));
}

#[test]
fn headers_are_read_without_trust() {
    let fixture = fixture();
    for bytes in [
        &b""[..],
        b"age-encryption.org/v1\n",
        b"age-encryption.org/v1\n-> X25519 a",
        b"age-encryption.org/v1\n-> \x1b[2J\n--- ",
    ] {
        let hash = fardel_format::ObjectHash::of(bytes);
        fixture.store.insert_raw(&format!("keys/{hash}.age"), bytes.to_vec());
        let found = list(&fixture, None).files.into_iter().find(|file| file.hash == hash).unwrap();
        assert!(found.damage.is_some() && found.recipients.is_empty(), "{found:?}");
    }
}

#[test]
fn adding_takes_the_root_key() {
    let fixture = fixture();
    let (repo, catalog) = fixture.open();
    let host = Material::Host(Box::new(fixture.host.clone()));
    let why = failure(Admin::open(&repo, &catalog, &host).map(drop));
    assert!(why.contains("recovery identity"), "{why}");
    let (stranger, recipient) = identity();
    assert!(failure(Admin::open(&repo, &catalog, &stranger).map(drop)).contains("none of"));
    administrate(&fixture, |admin| admin.add_reader(&Whom::Recipients(vec![recipient])).unwrap());
    let (repo, catalog) = fixture.open();
    assert!(failure(Admin::open(&repo, &catalog, &stranger).map(drop)).contains("not the root key"));
}

#[test]
fn a_reader_reads() {
    let fixture = fixture();
    back_up(&fixture, &fixture.host).unwrap();
    let (reader, recipient) = identity();
    assert!(matches!(fixture.open_with(Some(identity().0)), Err(Error::Key(_))));
    let (file, passphrase) = administrate(&fixture, |admin| {
        let file = admin.add_reader(&Whom::Recipients(vec![recipient, SSH.into()])).unwrap();
        (file, admin.add_reader(&Whom::Passphrase(Zeroizing::new("open sesame\n".into()))).unwrap())
    });
    for material in [reader, Material::from_passphrase("open sesame")] {
        let (repo, catalog) = fixture.open_with(Some(material)).unwrap();
        repo.need_reader().unwrap();
        let snapshots = Snapshots::load(&repo, &catalog).unwrap();
        repo.root(&catalog, &snapshots.sealed[0]).unwrap();
    }
    let found = list(&fixture, None);
    assert_eq!(found.files.iter().find(|f| f.hash == file).unwrap().recipients.len(), 2);
    assert_eq!(
        found.files.iter().find(|f| f.hash == passphrase).unwrap().recipients,
        [Recipient::Passphrase]
    );
    administrate(&fixture, |admin| {
        for whom in [vec![], vec!["age1nonsense".to_owned()], vec!["AGE-SECRET-KEY-1".to_owned()]] {
            assert!(matches!(admin.add_reader(&Whom::Recipients(whom)), Err(Error::Invalid(_))));
        }
        assert!(matches!(
            admin.add_reader(&Whom::Passphrase(Zeroizing::new(" \n".into()))),
            Err(Error::Invalid(_))
        ));
    });
}

#[test]
fn an_administrator_administrates() {
    let fixture = fixture();
    let (other, recipient) = identity();
    let whom = Whom::Recipients(vec![recipient]);
    administrate(&fixture, |admin| {
        admin.add_reader(&whom).unwrap();
        admin.add_administrator(&whom).unwrap();
    });
    let (repo, catalog) = fixture.open();
    Admin::open(&repo, &catalog, &other).unwrap().add_host("new", &[Role::Write], false).unwrap();
    assert_eq!(list(&fixture, None).signers.len(), 2);
}

#[test]
fn a_host_writes_and_a_write_only_host_does_not_read() {
    let fixture = fixture();
    for (name, write_only) in [("reads", false), ("writes", true)] {
        let roles = [Role::Write, Role::ForgetOwn, Role::Write];
        let host = administrate(&fixture, |admin| admin.add_host(name, &roles, write_only).unwrap());
        let Ok(KeyText::Host(host)) = KeyText::parse(&host.to_text()) else { panic!("not a host's file") };
        assert_eq!(host.identities.is_empty(), write_only);
        back_up(&fixture, &host).unwrap();
        let sealed = snapshots(&fixture).sealed;
        assert_eq!(sealed.last().unwrap().writer, host.signing.public().writer());
        let (repo, catalog) = fixture.open_with(Some(Material::Host(host.clone()))).unwrap();
        assert_eq!(repo.root(&catalog, sealed.last().unwrap()).is_err(), write_only);
        assert_eq!(repo.need_reader().is_err(), write_only);
        // Every reader reads what it wrote.
        let (repo, catalog) = fixture.open();
        repo.root(&catalog, sealed.last().unwrap()).unwrap();
        let entry = list(&fixture, None).signers.into_iter().find(|signer| signer.name == name).unwrap();
        assert_eq!((entry.roles, entry.is_this_host), (vec![Role::Write, Role::ForgetOwn], false));
    }
    administrate(&fixture, |admin| {
        for name in ["", "  ", "a\nb", "\x1b[2J", &"x".repeat(256)] {
            assert!(matches!(admin.add_host(name, &[Role::Write], true), Err(Error::Invalid(_))));
        }
        assert!(matches!(admin.add_host("idle", &[], true), Err(Error::Invalid(_))));
    });
}

#[test]
fn a_removed_signer_may_do_nothing_and_what_it_sealed_stays() {
    let fixture = fixture();
    let host =
        administrate(&fixture, |admin| admin.add_host("old", &[Role::Write, Role::Maintain], false).unwrap());
    back_up(&fixture, &host).unwrap();
    let writer = host.signing.public().writer();
    assert!(snapshots(&fixture).registry.may(&writer, Role::Maintain));
    // A seal that holds for nothing does not stretch what is honoured.
    fixture.store.insert_raw(&format!("seals/{writer}/99999998-{}.minisig", "ab".repeat(32)), "no seal");
    administrate(&fixture, |admin| {
        admin.remove_signer(&writer).unwrap();
        assert!(matches!(admin.remove_signer(&writer), Err(Error::NotFound(_))));
    });
    let now = snapshots(&fixture);
    assert!(!now.registry.may(&writer, Role::Maintain) && !now.registry.may(&writer, Role::Write));
    assert_eq!(now.sealed.len(), 1);
    assert!(now.registry.honours(&writer, 1).is_some() && now.registry.honours(&writer, 2).is_none());
    assert!(list(&fixture, None).signers.iter().all(|signer| signer.name != "old"));
    // It can be let in again.
    administrate(&fixture, |admin| admin.add_host("old", &[Role::Write], true).unwrap());
    assert_eq!(list(&fixture, None).signers.len(), 2);
}

#[test]
fn the_last_way_in_is_never_retired() {
    let fixture = fixture();
    let (repo, catalog) = fixture.open();
    let found = list(&fixture, Some(&fixture.recovery()));
    administrate(&fixture, |admin| {
        for file in &found.files {
            let why = failure(admin.retire_file(&catalog, &file.hash));
            assert!(why.contains("the last one"), "{why}");
        }
        let unknown = fardel_format::ObjectHash([9; 32]);
        assert!(matches!(admin.retire_file(&catalog, &unknown), Err(Error::NotFound(_))));
    });
    drop((repo, catalog));

    // What the material does not open can be retired: it keeps its own way.
    let (_, recipient) = identity();
    let added = administrate(&fixture, |admin| admin.add_reader(&Whom::Recipients(vec![recipient])).unwrap());
    let (_, catalog) = fixture.open();
    administrate(&fixture, |admin| {
        admin.retire_file(&catalog, &added).unwrap();
        assert!(failure(admin.retire_file(&catalog, &added)).contains("already"));
    });
    assert!(list(&fixture, None).files.iter().any(|file| file.hash == added && file.retired));

    // A second file for the same identity lets the first one go, and then is the last one.
    let recovery = age_file::recipient_of(&fixture.recovery).unwrap();
    let first = found.files.iter().find(|file| file.holds == Some(Holds::Reader)).unwrap().hash;
    let second = administrate(&fixture, |admin| admin.add_reader(&Whom::Recipients(vec![recovery])).unwrap());
    let (_, catalog) = fixture.open();
    administrate(&fixture, |admin| admin.retire_file(&catalog, &first).unwrap());
    administrate(&fixture, |admin| {
        let why = failure(admin.retire_file(&catalog, &second));
        assert!(why.contains("the last one"), "{why}");
    });
}

#[test]
fn a_planted_key_file_is_not_followed() {
    let fixture = fixture();
    let (planted, _) = age_file::generate_identity();
    let keys =
        ReaderKeys { repository: fixture.id, identities: vec![planted], chunk_keys: ChunkKeys::generate() };
    let recipients = Recipients::x25519(&age_file::recipient_of(&fixture.recovery).unwrap()).unwrap();
    let plant = |store| init::put_key_file(store, keyring::reader_file(&keys, &recipients).unwrap()).unwrap();
    let (repo, catalog) = fixture.open();
    let genuine = list(&fixture, Some(&fixture.recovery()));
    let genuine = genuine.files.iter().find(|file| file.holds == Some(Holds::Reader)).unwrap().hash;
    plant(repo.store());
    drop(catalog);
    back_up(&fixture, &fixture.host).unwrap();
    let (repo, catalog) = fixture.open();
    let why = failure(Admin::open(&repo, &catalog, &fixture.recovery()).map(drop));
    assert!(why.contains("contradict"), "{why}");
    // Alone it does not open what was saved.
    fixture.store.remove_raw(&format!("keys/{genuine}.age"));
    let (repo, catalog) = fixture.open();
    let why = failure(Admin::open(&repo, &catalog, &fixture.recovery()).map(drop));
    assert!(why.contains("planted"), "{why}");
}

/// Whoever had only a retired file gets in no more, and one that was planted hinders nobody once it is retired.
#[test]
fn a_retired_key_file_opens_nothing_and_hinders_nobody() {
    let fixture = fixture();
    let (secret, recipient) = age_file::generate_identity();
    let added = administrate(&fixture, |admin| admin.add_reader(&Whom::Recipients(vec![recipient])).unwrap());
    let open = || {
        let mut identities = age_file::Identities::new();
        identities.push_x25519(&secret).unwrap();
        fixture.open_with(Some(Material::Identities(identities)))
    };
    open().unwrap();
    let (_, catalog) = fixture.open();
    administrate(&fixture, |admin| admin.retire_file(&catalog, &added).unwrap());
    assert!(matches!(open(), Err(Error::Key(_))));

    let keys = ReaderKeys {
        repository: fixture.id,
        identities: vec![age_file::generate_identity().0],
        chunk_keys: ChunkKeys::generate(),
    };
    let recovery = Recipients::x25519(&age_file::recipient_of(&fixture.recovery).unwrap()).unwrap();
    let (repo, catalog) = fixture.open();
    let admin = fixture.recovery();
    let admin = Admin::open(&repo, &catalog, &admin).unwrap();
    let planted = init::put_key_file(repo.store(), keyring::reader_file(&keys, &recovery).unwrap()).unwrap();
    let why = failure(fixture.open_with(Some(fixture.recovery())));
    assert!(why.contains("forged"), "{why}");
    admin.retire_file(&fixture.open().1, &planted).unwrap();
    let (repo, _) = fixture.open_with(Some(fixture.recovery())).unwrap();
    assert!(repo.keys().chunk_keys.as_ref().unwrap().is_same(&fixture.host.chunk_keys));
    assert!(repo.keys().root.is_some());
}

#[test]
fn two_administrators_at_once_both_count() {
    let fixture = fixture();
    let (repo, catalog) = fixture.open();
    let (one, two) = (fixture.recovery(), fixture.recovery());
    let (one, two) =
        (Admin::open(&repo, &catalog, &one).unwrap(), Admin::open(&repo, &catalog, &two).unwrap());
    one.add_host("one", &[Role::Write], true).unwrap();
    two.add_host("two", &[Role::Write], true).unwrap();
    one.remove_signer(&fixture.host.signing.public().writer()).unwrap();
    let names: Vec<_> = list(&fixture, None).signers.into_iter().map(|signer| signer.name).collect();
    assert!(names.len() == 2 && names.contains(&"one".into()) && names.contains(&"two".into()));
}
