use super::*;
use crate::pack_list::Bitmap;
use crate::samples;

struct Signed {
    bytes: Vec<u8>,
    seal: String,
    name: Numbered,
    key: SigningKey,
    manifest: Manifest,
}

fn sample() -> Signed {
    let key = SigningKey::generate().unwrap();
    let manifest = Manifest {
        fardel: VERSION,
        repository: samples::repository(),
        writer: key.public().clone(),
        seq: 7,
        created: "2026-11-23T14:00:00Z".into(),
        previous: Some(samples::hash(1)),
        heads: BTreeMap::from([(WriterId([3; 8]), samples::numbered(4, b"head").to_string())]),
        snapshot: SnapshotId(samples::id(2).0),
        root: RootRef { hash: samples::hash(3), size: 900 },
        lists: vec![ListRef {
            hash: samples::hash(4),
            size: 740,
            count: 10,
            packs: Bitmap::all(10).to_text(),
        }],
        supersedes: None,
        origin: None,
        despite: Vec::new(),
    };
    let bytes = manifest.to_bytes();
    let name = samples::numbered(7, &bytes);
    let seal = seal(&bytes, &manifest.repository, &name, &key).unwrap();
    Signed { bytes, seal, name, key, manifest }
}

#[test]
fn a_manifest_reads_back() {
    let Signed { bytes, name, key, mut manifest, .. } = sample();
    let read = |bytes: &[u8], name| {
        Manifest::from_bytes(bytes, &samples::repository(), &key.public().writer(), name)
    };
    assert_eq!(read(&bytes, &name).unwrap(), manifest);
    // Without what may be absent, and with what may be there.
    manifest.previous = None;
    manifest.heads.clear();
    manifest.supersedes = Some(samples::hash(9));
    let own = manifest.origin();
    assert_eq!((own.writer, own.seq), (key.public().writer(), 7));
    manifest.origin =
        Some(Origin { writer: WriterId([5; 8]), seq: 3, created: "2026-11-22T14:00:00Z".into() });
    assert_eq!(Some(manifest.origin()), manifest.origin);
    manifest.despite = vec![samples::hash(8)];
    let bytes = manifest.to_bytes();
    assert!(!String::from_utf8_lossy(&bytes).contains("previous"));
    assert_eq!(read(&bytes, &samples::numbered(7, &bytes)).unwrap(), manifest);
}

#[test]
fn a_manifest_belongs_under_one_name() {
    let Signed { bytes, name, key, .. } = sample();
    let (repository, writer) = (samples::repository(), key.public().writer());
    assert!(Manifest::from_bytes(&bytes, &RepositoryId([0; 32]), &writer, &name).is_err());
    assert!(Manifest::from_bytes(&bytes, &repository, &WriterId([0; 8]), &name).is_err());
    assert!(Manifest::from_bytes(&bytes, &repository, &writer, &Numbered { seq: 8, ..name }).is_err());
    assert!(
        Manifest::from_bytes(&bytes, &repository, &writer, &Numbered { hash: samples::hash(1), ..name })
            .is_err()
    );
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(Manifest::from_bytes(&altered, &repository, &writer, &name).is_err());
        assert!(Manifest::from_bytes(&bytes[..at], &repository, &writer, &name).is_err());
    }
}

/// Reads bytes under the name that fits them: what is refused then is refused for what it says.
fn read_as_named(bytes: &[u8], key: &SigningKey) -> Result<Manifest> {
    Manifest::from_bytes(bytes, &samples::repository(), &key.public().writer(), &samples::numbered(7, bytes))
}

#[test]
fn hostile_manifests_are_refused() {
    let Signed { bytes, key, manifest, .. } = sample();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert_eq!(
        read_as_named(&samples::nested(&bytes, 3), &key).unwrap(),
        manifest,
        "unknown fields are passed over"
    );
    samples::assert_depth_is_harmless(&bytes, |bytes| read_as_named(bytes, &key));
    let replaced = [
        ("\"seq\": 7", "\"seq\": 8"),
        ("\"seq\": 7", "\"seq\": 4294967303"),
        ("\"seq\": 7", "\"seq\": 7, \"seq\": 7"),
        ("\"size\": 900", "\"size\": -1"),
        ("\"size\": 900", "\"size\": 1e2"),
        ("\"writer\": \"RW", "\"writer\": \"AA"),
        ("\"lists\": [", "\"lists\": [null,"),
        ("\"snapshot\":", "\"snap\":"),
    ];
    for (from, to) in replaced {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text, "{from}");
        assert!(read_as_named(bad.as_bytes(), &key).is_err(), "{to}");
    }
    let newer = br#"{"fardel": 2, "all": "else"}"#;
    assert!(matches!(read_as_named(newer, &key), Err(Error::Version { found: 2, known: 1, .. })));
    let large = vec![b' '; MAX_SIZE as usize + 1];
    assert!(matches!(read_as_named(&large, &key), Err(Error::TooLarge { .. })));
}

#[test]
fn a_seal_seals_one_manifest_in_one_place() {
    let Signed { bytes, seal, name, key, .. } = sample();
    let repository = samples::repository();
    let check = |bytes: &[u8], repository: &RepositoryId, name: &Numbered, key: &PublicKey, seal: &str| {
        check_seal(bytes, repository, name, key, seal)
    };
    check(&bytes, &repository, &name, key.public(), &seal).unwrap();
    let other = SigningKey::generate().unwrap();
    let forged = [
        check(b"other", &repository, &name, key.public(), &seal),
        check(&bytes, &RepositoryId([1; 32]), &name, key.public(), &seal),
        check(&bytes, &repository, &Numbered { seq: 8, ..name }, key.public(), &seal),
        check(&bytes, &repository, &Numbered { hash: samples::hash(1), ..name }, key.public(), &seal),
        check(&bytes, &repository, &name, other.public(), &seal),
        // A signature of the right key, made for another purpose.
        check(&bytes, &repository, &name, key.public(), &key.sign(&bytes, "fardel tomb 1").unwrap()),
    ];
    for result in forged {
        assert!(matches!(result, Err(Error::Forged { .. })), "{result:?}");
    }
    let comment = format!("fardel seal 1 {repository} {} 00000007 {}", key.public().writer(), name.hash);
    assert_eq!(seal_comment(&repository, &key.public().writer(), &name), comment);
    assert!(seal.lines().nth(2).unwrap().ends_with(&comment));
}
