use super::*;
use crate::ids::Generation;
use crate::samples;

fn tombs(key: &SigningKey) -> Vec<Tomb> {
    let takes = [
        Takes::Forget { snapshots: vec![SnapshotId(samples::id(1).0)], everywhere: true },
        Takes::Condemn {
            packs: vec![
                PackName { hash: samples::hash(1), generation: None },
                PackName { hash: samples::hash(1), generation: Some(Generation([1, 2, 3, 4])) },
            ],
            others: vec![samples::hash(3)],
        },
        Takes::Revoke { names: vec![samples::hash(2).to_string()] },
        Takes::Pin { snapshots: vec![SnapshotId(samples::id(1).0)] },
        Takes::Unpin { pins: vec![samples::hash(4)] },
        Takes::MergedForgets {
            everywhere: false,
            forgets: vec![MergedForget {
                writer: key.public().writer(),
                seq: 3,
                tomb: samples::hash(5),
                created: "2026-11-22T14:00:00Z".into(),
                snapshots: vec![SnapshotId(samples::id(2).0)],
            }],
        },
    ];
    let tomb = |takes| Tomb {
        fardel: 1,
        repository: samples::repository(),
        writer: key.public().clone(),
        seq: 5,
        created: "2026-11-23T14:00:00Z".into(),
        takes,
    };
    takes.map(tomb).into()
}

#[test]
fn tombs_read_back() {
    let key = SigningKey::generate().unwrap();
    let repository = samples::repository();
    let kinds = ["forget", "condemn", "revoke", "pin", "unpin", "merged-forgets"];
    for (tomb, what) in tombs(&key).into_iter().zip(kinds) {
        let bytes = tomb.to_bytes();
        let name = samples::numbered(5, &bytes);
        let signature = sign(&bytes, &repository, &name, &key).unwrap();
        let read = |bytes: &[u8], repository: &RepositoryId, name: &Numbered, key: &PublicKey| {
            Tomb::from_bytes(bytes, &signature, repository, name, key)
        };
        assert_eq!(read(&bytes, &repository, &name, key.public()).unwrap(), tomb);
        assert!(String::from_utf8_lossy(&bytes).contains(&format!("\"what\": \"{what}\"")));

        let other = SigningKey::generate().unwrap();
        assert!(matches!(read(&bytes, &repository, &name, other.public()), Err(Error::Forged { .. })));
        assert!(read(&bytes, &RepositoryId([0; 32]), &name, key.public()).is_err());
        assert!(read(&bytes, &repository, &Numbered { seq: 6, ..name }, key.public()).is_err());
        assert!(read(&bytes[1..], &repository, &name, key.public()).is_err());
        // Taken for a tomb of somebody else.
        let signed_by_other = sign(&bytes, &repository, &name, &other).unwrap();
        assert!(Tomb::from_bytes(&bytes, &signed_by_other, &repository, &name, other.public()).is_err());
    }
}

#[test]
fn a_seal_is_no_tomb() {
    let key = SigningKey::generate().unwrap();
    let bytes = tombs(&key)[0].to_bytes();
    let (repository, name) = (samples::repository(), samples::numbered(5, &bytes));
    let seal = crate::manifest::seal(&bytes, &repository, &name, &key).unwrap();
    assert!(matches!(
        Tomb::from_bytes(&bytes, &seal, &repository, &name, key.public()),
        Err(Error::Forged { .. })
    ));
}

#[test]
fn hostile_tombs_are_refused() {
    let key = SigningKey::generate().unwrap();
    let text = String::from_utf8(tombs(&key)[1].to_bytes()).unwrap();
    let read = |text: &str| {
        let name = samples::numbered(5, text.as_bytes());
        let signature = sign(text.as_bytes(), &samples::repository(), &name, &key).unwrap();
        Tomb::from_bytes(text.as_bytes(), &signature, &samples::repository(), &name, key.public())
    };
    read(&text).unwrap();
    for (from, to) in [
        ("\"condemn\"", "\"resurrect\""),
        ("01020304", "0102030"),
        ("\"seq\": 5", "\"seq\": 6"),
        ("\"packs\"", "\"pack\""),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text);
        assert!(read(&bad).is_err(), "{to}");
    }
    assert!(matches!(read(r#"{"fardel":2}"#), Err(Error::Version { found: 2, .. })));
    samples::assert_depth_is_harmless(text.as_bytes(), |bytes| read(std::str::from_utf8(bytes).unwrap()));
}
