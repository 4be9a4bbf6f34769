use super::*;
use crate::samples;
use crate::sign::SigningKey;

fn sample() -> Card {
    Card::new(SigningKey::generate().unwrap().public().clone())
}

#[test]
fn a_card_reads_back() {
    let card = sample();
    let bytes = card.to_bytes();
    assert_eq!(Card::from_bytes(&bytes).unwrap(), card);
    assert_eq!(repository_id(&bytes).to_string(), blake3::hash(&bytes).to_hex().to_string());
    assert!(bytes.ends_with(b"}\n"));
}

/// The text of version 1 never changes: the repository's id is its hash.
#[test]
fn the_text_is_frozen() {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let card = Card::new(crate::sign::PublicKey::try_from(key.to_owned()).unwrap());
    let text = String::from_utf8(card.to_bytes()).unwrap();
    assert_eq!(
        text,
        format!(
            "{{\n  \"fardel\": 1,\n  \"root_public_key\": \"{key}\",\n  \"chunker\": {{\n    \"min\": 131072,\n    \
             \"avg\": 524288,\n    \"max\": 2097152\n  }},\n  \"volume_chunk_size\": 65536\n}}\n"
        )
    );
}

#[test]
fn another_version_is_told_even_when_all_else_is_new() {
    let error = Card::from_bytes(br#"{"fardel": 2, "everything": "else"}"#).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error}");
    assert!(matches!(Card::from_bytes(br#"{"fardel": "1"}"#), Err(Error::Damaged { .. })));
    assert!(matches!(Card::from_bytes(br#"{}"#), Err(Error::Damaged { .. })));
}

#[test]
fn unknown_fields_are_passed_over() {
    let card = sample();
    assert_eq!(Card::from_bytes(&samples::nested(&card.to_bytes(), 2)).unwrap(), card);
}

#[test]
fn hostile_cards_are_refused() {
    let good = String::from_utf8(sample().to_bytes()).unwrap();
    let replaced = [
        ("65536", "0"),
        ("65536", "65535"),
        ("65536", "8388608"),
        ("65536", "4294967296"),
        ("131072", "0"),
        ("131072", "63"),
        ("131072", "524288"),
        ("524288", "524289"),
        ("2097152", "4194305"),
        ("2097152", "524288"),
        ("\"fardel\": 1", "\"fardel\": 1, \"fardel\": 1"),
    ];
    for (from, to) in replaced {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert!(Card::from_bytes(bad.as_bytes()).is_err(), "{from} -> {to}");
    }
    assert!(Card::from_bytes(&good.as_bytes()[..good.len() - 2]).is_err());
    assert!(Card::from_bytes(format!("{good}x").as_bytes()).is_err());
    Card::from_bytes(&samples::nested(good.as_bytes(), 30_000)).unwrap();
    assert!(Card::from_bytes(good.replace("65536", &"[".repeat(60_000)).as_bytes()).is_err());
    let large = good.replacen('{', &format!("{{{}", " ".repeat(MAX_SIZE)), 1);
    assert!(matches!(Card::from_bytes(large.as_bytes()), Err(Error::TooLarge { .. })));
}

#[test]
fn chunk_sizes_of_volumes() {
    for size in [16 << 10, 64 << 10, 4 << 20] {
        check_volume_chunk_size(size).unwrap();
    }
    for size in [0, 1, 8 << 10, (64 << 10) + 1, 8 << 20, u32::MAX] {
        assert!(check_volume_chunk_size(size).is_err(), "{size}");
    }
}
