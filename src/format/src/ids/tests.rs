use super::*;
use crate::samples;

#[test]
fn one_identifier_has_one_spelling() {
    let id = samples::id(1);
    let text = id.to_string();
    assert_eq!(text.len(), 64);
    assert_eq!(text.parse::<ChunkId>().unwrap(), id);
    assert_eq!(id.short(), text[..8]);
    for wrong in [
        &text[1..],
        &text.to_uppercase(),
        &format!("{text}0"),
        &format!("{text}00"),
        "",
        "é",
        &format!(" {}", &text[1..]),
    ] {
        assert!(wrong.parse::<ChunkId>().is_err(), "{wrong}");
    }
}

#[test]
fn json_takes_the_same_spelling_only() {
    let id = samples::id(2);
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(serde_json::from_str::<ChunkId>(&json).unwrap(), id);
    assert!(serde_json::from_str::<ChunkId>(&json.to_uppercase()).is_err());
    assert!(serde_json::from_str::<ChunkId>("7").is_err());
    let map = std::collections::BTreeMap::from([(WriterId([7; 8]), 1)]);
    let json = serde_json::to_string(&map).unwrap();
    assert_eq!(json, r#"{"0707070707070707":1}"#);
    assert_eq!(serde_json::from_str::<std::collections::BTreeMap<WriterId, u32>>(&json).unwrap(), map);
}

/// `printf 'fardel' | b3sum --keyed` with 32 bytes of 7 as the key says the same.
#[test]
fn chunk_ids_are_keyed_blake3() {
    let expected = CHUNK_VECTOR;
    assert_eq!(ChunkKey([7; 32]).id(b"fardel").to_string(), expected);
    assert_ne!(ChunkKey([8; 32]).id(b"fardel").to_string(), expected);
    assert_eq!(ObjectHash::of(b"fardel").to_string(), OBJECT_VECTOR);
}

const CHUNK_VECTOR: &str = "be42c6ccf759dd9c3e77856a75185b3a9d728212befb659c5265d257a417d581";
const OBJECT_VECTOR: &str = "707bb2400743b64737d0db59a8262902f160d086b6c3e0109fc49e1ee86d7b21";

#[test]
fn random_names_differ() {
    assert_ne!(Nonce::random(), Nonce::random());
}
