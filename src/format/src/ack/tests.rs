use super::*;
use crate::ids::Generation;
use crate::samples;

fn ack(key: &SigningKey) -> Ack {
    Ack {
        fardel: 1,
        repository: samples::repository(),
        replica: "nas-2".into(),
        writer: key.public().clone(),
        seq: 5,
        created: "2026-11-23T14:00:00Z".into(),
        snapshot: SnapshotId(samples::id(1).0),
        manifest: samples::hash(2),
        generations: vec![PackName { hash: samples::hash(3), generation: Some(Generation([1, 2, 3, 4])) }],
    }
}

fn read(bytes: &[u8]) -> Result<Ack> {
    Ack::from_bytes(bytes, &samples::repository(), "nas-2", &samples::numbered(5, bytes))
}

/// Signed anew, whatever it says.
fn signed(said: &str, key: &SigningKey, comment: &str) -> Vec<u8> {
    let mut bytes = said.as_bytes().to_vec();
    let signature = key.sign(&bytes, comment).unwrap();
    bytes.extend(line(&Signed { signature }));
    bytes
}

#[test]
fn acknowledgements_read_back() {
    let key = SigningKey::generate().unwrap();
    let ack = ack(&key);
    let bytes = ack.to_bytes(&key).unwrap();
    assert_eq!(read(&bytes).unwrap(), ack);
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 2);
    let name = samples::numbered(5, &bytes);
    let elsewhere = |repository: &RepositoryId, replica: &str, name: &Numbered| {
        Ack::from_bytes(&bytes, repository, replica, name).is_err()
    };
    assert!(elsewhere(&RepositoryId([0; 32]), "nas-2", &name));
    assert!(elsewhere(&ack.repository, "nas-3", &name));
    assert!(elsewhere(&ack.repository, "nas-2", &Numbered { seq: 6, ..name }));
    assert!(elsewhere(&ack.repository, "nas-2", &Numbered { hash: samples::hash(9), ..name }));
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "the first {len} bytes");
    }
    let plain = Ack { generations: Vec::new(), ..ack };
    let bytes = plain.to_bytes(&key).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("generations"));
    assert_eq!(read(&bytes).unwrap(), plain);
}

#[test]
fn only_its_writer_signs_it_and_for_nothing_else() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let ack = ack(&key);
    let text = String::from_utf8(line(&ack)).unwrap();
    assert!(read(&signed(&text, &key, &ack.comment())).is_ok());
    assert!(matches!(read(&signed(&text, &other, &ack.comment())), Err(Error::Forged { .. })));
    let of_another = ack.comment().replace("nas-2", "nas-3");
    assert!(matches!(read(&signed(&text, &key, &of_another)), Err(Error::Forged { .. })));
    let tomb = ack.comment().replace("fardel ack", "fardel tomb");
    assert!(matches!(read(&signed(&text, &key, &tomb)), Err(Error::Forged { .. })));
}

#[test]
fn hostile_acknowledgements_are_refused() {
    let key = SigningKey::generate().unwrap();
    let ack = ack(&key);
    let text = String::from_utf8(line(&ack)).unwrap();
    for (from, to) in [
        ("\"seq\":5", "\"seq\":6"),
        ("nas-2", "../x"),
        ("01020304", "0102030"),
        ("\"manifest\"", "\"manifests\""),
        ("{", "{\n"),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text);
        assert!(read(&signed(&bad, &key, &ack.comment())).is_err(), "{to}");
    }
    let newer = text.replacen("\"fardel\":1", "\"fardel\":2", 1);
    let error = read(&signed(&newer, &key, &ack.comment())).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error}");
    let mut more = ack.to_bytes(&key).unwrap();
    more.extend(b"{}\n");
    assert!(read(&more).is_err());
    let hashes = (0..20_000).map(samples::hash);
    let generations = hashes.map(|hash| PackName { hash, generation: None }).collect();
    assert!(matches!(Ack { generations, ..ack }.to_bytes(&key), Err(Error::TooLarge { .. })));
}
