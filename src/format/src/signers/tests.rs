use super::*;
use crate::samples;

fn signer(name: &str, roles: &[Role]) -> Signer {
    Signer {
        public_key: SigningKey::generate().unwrap().public().clone(),
        name: name.into(),
        roles: roles.to_vec(),
    }
}

fn record(seq: u32, signers: &[&Signer], removed: &[&Signer]) -> Record {
    Record {
        fardel: 1,
        repository: samples::repository(),
        seq,
        created: "2026-11-23T14:00:00Z".into(),
        signers: signers.iter().map(|s| (*s).clone()).collect(),
        removed_signers: removed
            .iter()
            .map(|s| Removed { writer: s.public_key.writer(), last_seq: 7, last_tomb: 2 })
            .collect(),
        retired_keys: vec![samples::hash(u64::from(seq))],
    }
}

fn named(record: Record, order: u8) -> (Numbered, Record) {
    let mut hash = samples::hash(1);
    hash.0[0] = order;
    (Numbered { seq: record.seq, hash }, record)
}

#[test]
fn a_record_reads_back() {
    let root = SigningKey::generate().unwrap();
    let record = record(3, &[&signer("laptop", &[Role::Write, Role::ForgetOwn])], &[&signer("old", &[])]);
    let bytes = record.to_bytes();
    let (repository, name) = (samples::repository(), samples::numbered(3, &bytes));
    let signature = sign(&bytes, &repository, &name, &root).unwrap();
    let read =
        |bytes: &[u8], signature: &str, repository: &RepositoryId, name: &Numbered, root: &PublicKey| {
            Record::from_bytes(bytes, signature, repository, name, root)
        };
    assert_eq!(read(&bytes, &signature, &repository, &name, root.public()).unwrap(), record);
    assert!(String::from_utf8_lossy(&bytes).contains("\"forget-own\""));

    let other = SigningKey::generate().unwrap();
    let own = sign(&bytes, &repository, &name, &other).unwrap();
    assert!(matches!(read(&bytes, &own, &repository, &name, root.public()), Err(Error::Forged { .. })));
    assert!(matches!(
        read(&bytes, &signature, &repository, &name, other.public()),
        Err(Error::Forged { .. })
    ));
    assert!(read(&bytes, &signature, &RepositoryId([0; 32]), &name, root.public()).is_err());
    assert!(read(&bytes, &signature, &repository, &Numbered { seq: 4, ..name }, root.public()).is_err());
    assert!(read(&bytes[1..], &signature, &repository, &name, root.public()).is_err());
    assert!(read(&bytes, "", &repository, &name, root.public()).is_err());
    // Signed by the root key, but for another place or of another version.
    for text in [
        r#"{"fardel":2}"#.to_owned(),
        String::from_utf8(bytes.clone()).unwrap().replace("\"seq\": 3", "\"seq\": 4"),
    ] {
        let name = samples::numbered(3, text.as_bytes());
        let signature = sign(text.as_bytes(), &repository, &name, &root).unwrap();
        assert!(read(text.as_bytes(), &signature, &repository, &name, root.public()).is_err());
    }
    samples::assert_depth_is_harmless(&bytes, |bytes| {
        let name = samples::numbered(3, bytes);
        read(bytes, &sign(bytes, &repository, &name, &root).unwrap(), &repository, &name, root.public())
    });
    let text = String::from_utf8(bytes).unwrap().replace("\"write\"", "\"rule\"");
    assert!(serde_json::from_str::<Record>(&text).is_err(), "an unknown role");
}

#[test]
fn the_registry_is_the_sum_of_its_records() {
    let (laptop, server) = (signer("laptop", &[Role::Write]), signer("server", &[Role::Maintain]));
    let promoted = Signer { roles: vec![Role::Write, Role::Maintain], ..laptop.clone() };
    let id = laptop.public_key.writer();
    let records = [
        named(record(1, &[&laptop], &[]), 9),
        named(record(2, &[&server], &[]), 1),
        named(record(3, &[&promoted], &[&server]), 1),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let registry = Registry::from_records(order.map(|i: usize| records[i].clone()).to_vec());
        assert!(
            registry.may(&id, Role::Write)
                && registry.may(&id, Role::Maintain)
                && !registry.may(&id, Role::Acknowledge)
        );
        let server = server.public_key.writer();
        assert!(registry.get(&server).is_none());
        assert_eq!(registry.get_even_removed(&server).unwrap().name, "server");
        assert_eq!(registry.honours(&server, 7).unwrap().name, "server");
        assert!(registry.honours(&server, 8).is_none(), "sealed after it was removed");
        assert!(registry.honours(&id, 8).is_some());
        assert!(registry.honours_tomb(&server, 2).is_some() && registry.honours_tomb(&server, 3).is_none());
        assert!(!registry.may(&server, Role::Maintain));
        assert_eq!(registry.signers().count(), 1);
        assert!(registry.is_retired(&samples::hash(2)) && !registry.is_retired(&samples::hash(4)));
        assert_eq!(registry.next_seq(), 4);
    }
    assert_eq!(Registry::from_records(Vec::new()).next_seq(), 1);
    assert!(!Registry::default().may(&id, Role::Write));
    // Somebody who was removed can be let in again, later.
    let back = named(record(4, &[&server], &[]), 1);
    let registry = Registry::from_records(records.iter().cloned().chain([back]).collect());
    assert!(registry.may(&server.public_key.writer(), Role::Maintain));
}

/// Two administrators at one time: whatever the hashes are, who was removed stays removed.
#[test]
fn of_two_records_with_one_number_the_removal_wins() {
    let lost = signer("lost laptop", &[Role::Write]);
    let id = lost.public_key.writer();
    for (removing, renaming) in [(1, 2), (2, 1)] {
        let records = vec![
            named(record(1, &[&lost], &[]), 1),
            named(record(2, &[], &[&lost]), removing),
            named(record(2, &[&Signer { name: "laptop".into(), ..lost.clone() }], &[]), renaming),
        ];
        let registry = Registry::from_records(records);
        assert!(registry.get(&id).is_none());
        assert!(registry.get_even_removed(&id).is_some());
    }
}

#[test]
fn numbers_end() {
    let registry = Registry::from_records(vec![named(record(Numbered::MAX_SEQ, &[], &[]), 1)]);
    assert_eq!(registry.next_seq(), Numbered::MAX_SEQ, "a larger one would have a name that nobody reads");
}
