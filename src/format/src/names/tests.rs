use proptest::prelude::*;

use super::*;
use crate::samples;

fn any_hash() -> impl Strategy<Value = ObjectHash> {
    any::<[u8; 32]>().prop_map(ObjectHash)
}

fn any_numbered() -> impl Strategy<Value = Numbered> {
    (0..=Numbered::MAX_SEQ, any_hash()).prop_map(|(seq, hash)| Numbered { seq, hash })
}

fn any_writer() -> impl Strategy<Value = WriterId> {
    any::<[u8; 8]>().prop_map(WriterId)
}

fn any_name() -> impl Strategy<Value = Name> {
    let replica = "[0-9a-z-]{1,32}".prop_filter("a replica's name", |name| is_replica_name(name));
    prop_oneof![
        Just(Name::Card),
        (replica, any_numbered()).prop_map(|(r, n)| Name::Ack(r, n)),
        any_hash().prop_map(Name::Index),
        any::<[u8; 16]>().prop_map(|n| Name::Intent(Nonce(n))),
        any_hash().prop_map(Name::Keys),
        any_hash().prop_map(Name::List),
        (any_writer(), any_numbered()).prop_map(|(w, n)| Name::Manifest(w, n)),
        (any_hash(), proptest::option::of(any::<[u8; 4]>()))
            .prop_map(|(h, g)| Name::Pack(h, g.map(Generation))),
        any_hash().prop_map(Name::Root),
        (any_writer(), any_numbered()).prop_map(|(w, n)| Name::Seal(w, n)),
        any_numbered().prop_map(Name::Signers),
        any_numbered().prop_map(Name::SignersSig),
        (any_writer(), any_numbered()).prop_map(|(w, n)| Name::Tomb(w, n)),
        (any_writer(), any_numbered()).prop_map(|(w, n)| Name::TombSig(w, n)),
    ]
}

fn depths() -> [FanOut; 3] {
    [FanOut::FLAT, FanOut::for_count(5_000), FanOut::for_count(5_000_000)]
}

/// Whether a name is safe on every file system and syncer that we know.
fn is_plain(key: &str) -> bool {
    let plain = |part: &str| {
        (1..100).contains(&part.len())
            && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'-' | b'.'))
            && !part.starts_with('.')
            && !part.ends_with('.')
    };
    key.len() < 128 && key.split('/').all(plain)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_key_parses_back(name in any_name()) {
        for fan_out in depths() {
            let key = name.key(fan_out);
            prop_assert!(is_plain(&key), "{}", key);
            prop_assert_eq!(Name::parse(&key), Some(name.clone()));
        }
    }

    #[test]
    fn what_parses_is_written_as_it_was_read(key in "(fardel|packs|seals|keys|acks|signers|tombs|index)[/a-z0-9.-]{0,110}") {
        if let Some(name) = Name::parse(&key) {
            prop_assert!(depths().iter().any(|&depth| name.key(depth) == key), "{}", key);
        }
    }

    #[test]
    fn a_changed_letter_never_gives_the_same_name(name in any_name(), at in any::<prop::sample::Index>(), letter in "[ -~]") {
        let key = name.key(FanOut::for_count(5_000));
        let mut changed = key.clone();
        let at = at.index(key.len());
        changed.replace_range(at..=at, &letter);
        prop_assert!(changed == key || Name::parse(&changed) != Some(name));
    }
}

#[test]
fn strangers_are_none() {
    let hash = samples::hash(1);
    let folder = &hash.to_string()[..2];
    let upper = hash.to_string().to_uppercase();
    let strangers = [
        String::new(),
        "/".into(),
        "desktop.ini".into(),
        ".stfolder".into(),
        ".stfolder/marker".into(),
        "Fardel.json".into(),
        "fardel.json ".into(),
        "fardel.sync-conflict-20261123-120000-ABCDEFG.json".into(),
        format!("packs/.syncthing.{hash}.tar.zst.age.tmp"),
        format!("packs/~syncthing~{hash}.tar.zst.age.tmp"),
        format!("packs/{hash}.sync-conflict-20261123-120000-ABCDEFG.tar.zst.age"),
        format!("packs/{hash}.tar.zst.sync-conflict-20261123-120000-ABCDEFG.age"),
        format!("packs/{hash} (1).tar.zst.age"),
        format!("packs/{hash}.tar.zst.age.part"),
        format!("packs/{hash}.tar.zst"),
        format!("packs/{upper}.tar.zst.age"),
        format!("Packs/{hash}.tar.zst.age"),
        format!("packs//{hash}.tar.zst.age"),
        format!("/packs/{hash}.tar.zst.age"),
        format!("packs/{hash}-.tar.zst.age"),
        format!("packs/{hash}-0102030.tar.zst.age"),
        format!("packs/{hash}-010203040.tar.zst.age"),
        format!("packs/{hash}-0102030G.tar.zst.age"),
        format!("packs/{}.tar.zst.age", &hash.to_string()[1..]),
        format!("packs/zz/{hash}.tar.zst.age"),
        format!("packs/{folder}/zz/{hash}.tar.zst.age"),
        format!("packs/../packs/{hash}.tar.zst.age"),
        format!("packs/{hash}{hash}.tar.zst.age"),
        format!("manifests/{hash}.json"),
        format!("manifests/0102030405060708/{hash}.json"),
        format!("manifests/0102030405060708/1-{hash}.json"),
        format!("manifests/0102030405060708/+0000001-{hash}.json"),
        format!("manifests/0102030405060708/000000001-{hash}.json"),
        format!("manifests/01020304050607/00000001-{hash}.json"),
        format!("manifests/0102030405060708/00000001-{hash}.minisig"),
        format!("seals/0102030405060708/00000001-{hash}.json"),
        format!("signers/00000001-{hash}.txt"),
        format!("acks//00000001-{hash}.json"),
        format!("acks/laptop_1/00000001-{hash}.json"),
        format!("acks/aux/00000001-{hash}.json"),
        format!("acks/com1/00000001-{hash}.json"),
        format!("acks/{}/00000001-{hash}.json", "a".repeat(33)),
        format!("intents/{hash}.json"),
        format!("unknown/{hash}.json"),
        "x".repeat(5_000),
        format!("packs/{}", "a/".repeat(5_000)),
    ];
    for stranger in strangers {
        assert_eq!(Name::parse(&stranger), None, "{stranger}");
    }
}

#[test]
fn fan_out_is_the_beginning_of_the_hash_or_nothing() {
    let hash = samples::hash(2);
    let digits = hash.to_string();
    let (a, b, c) = (&digits[..2], &digits[2..4], &digits[4..6]);
    for folders in [String::new(), format!("{a}/"), format!("{a}/{b}/")] {
        assert_eq!(Name::parse(&format!("packs/{folders}{hash}.tar.zst.age")), Some(Name::Pack(hash, None)));
        let seal = format!("seals/0102030405060708/{folders}00000009-{hash}.minisig");
        let writer = WriterId([1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Name::parse(&seal), Some(Name::Seal(writer, Numbered { seq: 9, hash })));
    }
    assert_eq!(Name::parse(&format!("packs/{a}/{b}/{c}/{hash}.tar.zst.age")), None);
    assert_eq!(Name::parse(&format!("packs/{b}/{hash}.tar.zst.age")), None);
}

#[test]
fn folders_stay_small() {
    for objects in [0u64, 4_000, 4_001, 100_000, 1_000_000, 1_000_001, 100_000_000] {
        let FanOut(depth) = FanOut::for_count(objects);
        assert!(objects / 256u64.pow(u32::from(depth)) <= 4_096, "{objects} objects at depth {depth}");
    }
}

#[test]
fn copiers_that_go_by_name_bring_what_is_needed_first() {
    let n = samples::numbered(1, b"");
    let writer = WriterId([0; 8]);
    let in_order = [
        Name::Keys(n.hash),
        Name::List(n.hash),
        Name::Manifest(writer, n),
        Name::Pack(n.hash, None),
        Name::Root(n.hash),
        Name::Seal(writer, n),
        Name::Signers(n),
        Name::Tomb(writer, n),
    ];
    assert!(in_order.map(|name| name.key(FanOut::FLAT)).is_sorted());
}

#[test]
fn hashes_stand_in_names_of_what_is_hashed() {
    let n = samples::numbered(1, b"x");
    let writer = WriterId([0; 8]);
    assert_eq!(Name::Pack(n.hash, Some(Generation([1; 4]))).content_hash(), Some(n.hash));
    assert_eq!(Name::Manifest(writer, n).content_hash(), Some(n.hash));
    for name in [
        Name::Card,
        Name::Seal(writer, n),
        Name::SignersSig(n),
        Name::TombSig(writer, n),
        Name::Intent(Nonce([0; 16])),
    ] {
        assert_eq!(name.content_hash(), None);
    }
}
