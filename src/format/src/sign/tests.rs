use proptest::prelude::*;

use super::*;

const COMMENT: &str = "fardel test 1";

fn signed() -> (SigningKey, String) {
    let key = SigningKey::generate().unwrap();
    let signature = key.sign(b"message", COMMENT).unwrap();
    (key, signature)
}

#[test]
fn signatures_hold_for_what_was_signed_only() {
    let (key, signature) = signed();
    let verify = |message: &[u8], signature: &str, comment: &str| {
        key.public().verify("a message", message, signature, comment)
    };
    verify(b"message", &signature, COMMENT).unwrap();
    assert!(matches!(verify(b"messagf", &signature, COMMENT), Err(Error::Forged { .. })));
    assert!(matches!(verify(b"", &signature, COMMENT), Err(Error::Forged { .. })));
    assert!(matches!(verify(b"message", &signature, "fardel test 2"), Err(Error::Forged { .. })));
    let changed = signature.replace(COMMENT, "fardel test 2");
    assert!(
        matches!(verify(b"message", &changed, "fardel test 2"), Err(Error::Forged { .. })),
        "the comment is signed too"
    );
    let (other, _) = signed();
    assert!(matches!(
        other.public().verify("a message", b"message", &signature, COMMENT),
        Err(Error::Forged { .. })
    ));
}

/// The second line of a genuine signature made short: the `minisign` crate panics on it.
#[test]
fn a_second_signature_that_is_too_short_is_no_panic() {
    let (key, signature) = signed();
    let lines: Vec<&str> = signature.lines().collect();
    for len in [0, 1, 31, 32, 33, 63, 65, 100] {
        let second = lines::base64(&vec![7; len]);
        let hostile = format!("{}\n{}\n{}\n{second}\n", lines[0], lines[1], lines[2]);
        assert!(
            matches!(
                key.public().verify("a message", b"message", &hostile, COMMENT),
                Err(Error::Damaged { .. })
            ),
            "{len}"
        );
        let first = format!("{}\n{second}\n{}\n{}\n", lines[0], lines[2], lines[3]);
        assert!(key.public().verify("a message", b"message", &first, COMMENT).is_err());
    }
}

#[test]
fn a_signature_has_one_form() {
    let (key, signature) = signed();
    let lines: Vec<&str> = signature.lines().collect();
    let legacy = {
        let mut bytes = lines::from_base64("a signature", lines[1]).unwrap();
        bytes[..2].copy_from_slice(b"Ed");
        signature.replace(lines[1], &lines::base64(&bytes))
    };
    let refused = [
        String::new(),
        "\n\n\n\n".into(),
        signature[..signature.len() - 1].to_owned(),
        format!("{signature}\n"),
        format!("{signature}more\n"),
        signature.replace('\n', "\r\n"),
        signature.replace(COMMENT, &format!("{COMMENT} ")),
        signature.replace(COMMENT, &format!(" {COMMENT}")),
        signature.replace("untrusted comment: ", "comment: "),
        signature.replace("trusted comment: ", "trusted: "),
        signature.replace(lines[1], &format!(" {}", lines[1])),
        signature.replace("fardel\n", &format!("{}\n", "x".repeat(MAX_SIGNATURE))),
        legacy,
    ];
    for text in refused {
        assert!(key.public().verify("a message", b"message", &text, COMMENT).is_err(), "{text:?}");
    }
    let other_name = signature.replacen("comment: fardel", "comment: anything else", 1);
    key.public().verify("a message", b"message", &other_name, COMMENT).unwrap();
}

#[test]
fn keys_read_back() {
    let (key, _) = signed();
    let again = SigningKey::from_text(&key.to_text()).unwrap();
    assert_eq!(again.public(), key.public());
    let signature = again.sign(b"message", COMMENT).unwrap();
    key.public().verify("a message", b"message", &signature, COMMENT).unwrap();
    let public = PublicKey::try_from(key.public().as_str().to_owned()).unwrap();
    assert_eq!(&public, key.public());
    assert_eq!(public.writer().0[..], blake3::hash(public.as_str().as_bytes()).as_bytes()[..8]);
    assert!(public.as_str().starts_with("RW"), "as minisign prints it");
}

#[test]
fn damaged_keys_are_refused() {
    let (key, _) = signed();
    let text = key.to_text();
    let bytes = lines::from_base64("a key", &text).unwrap();
    assert_eq!(bytes.len(), SECRET_LEN);
    // The seed and the public key lie at the end, before the checksum.
    for at in [0, 1, 62, 93, 94, 125] {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(SigningKey::from_text(&lines::base64(&altered)).is_err(), "byte {at}");
    }
    for bad in
        ["", "AAAA", &text[1..], &text[4..], &format!("{}AAAA", text.trim_end_matches('=')), "not base64"]
    {
        let error = SigningKey::from_text(bad).unwrap_err().to_string();
        assert!(!error.contains("AAAA") && !error.contains("offset"), "nothing of the key stands in {error}");
    }
    assert_eq!(format!("{key:?}"), format!("SigningKey(of {})", key.public()));
}

#[test]
fn public_keys_have_one_spelling() {
    let (key, _) = signed();
    let text = key.public().as_str();
    let bytes = lines::from_base64("a key", text).unwrap();
    let other_algorithm = {
        let mut b = bytes.clone();
        b[1] = b'D';
        lines::base64(&b)
    };
    for bad in [
        "",
        &text[1..],
        &format!("{text} "),
        &format!("{text}\n"),
        &other_algorithm,
        &lines::base64(&bytes[..41]),
    ] {
        assert!(PublicKey::try_from((*bad).to_owned()).is_err(), "{bad:?}");
    }
    assert!(serde_json::from_str::<PublicKey>("\"x\"").is_err());
    assert_eq!(serde_json::from_str::<PublicKey>(&format!("\"{text}\"")).unwrap(), *key.public());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn hostile_signatures_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), "[ -~\n]"), 1..6), cut in any::<prop::sample::Index>()) {
        let (key, signature) = signed();
        let mut text = signature.clone();
        for (at, letter) in flips {
            let at = at.index(text.len());
            text.replace_range(at..=at, &letter);
        }
        let first = signature.find('\n').unwrap();
        if key.public().verify("a message", b"message", &text, COMMENT).is_ok() {
            prop_assert_eq!(&text[text.find('\n').unwrap()..], &signature[first..]);
        }
        prop_assert!(key.public().verify("a message", b"message", &signature[..cut.index(signature.len())], COMMENT).is_err());
    }
}
