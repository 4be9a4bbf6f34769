use super::*;
use crate::samples;

fn keys() -> (Identities, Recipients) {
    let (identity, recipient) = age_file::generate_identity();
    let mut identities = Identities::new();
    identities.push_x25519(&identity).unwrap();
    (identities, Recipients::x25519(&recipient).unwrap())
}

#[test]
fn documents_come_back() {
    let (identities, recipients) = keys();
    for plain in [&b""[..], b"{}\n", &samples::bytes("document", 100_000)] {
        assert_eq!(open(&seal(plain, &recipients).unwrap(), &identities).unwrap(), plain);
    }
}

#[test]
fn damage_and_other_keys_are_told() {
    let (identities, recipients) = keys();
    let stored = seal(b"{\"fardel\":1}\n", &recipients).unwrap();
    for at in 0..stored.len() {
        let mut altered = stored.clone();
        altered[at] ^= 4;
        assert!(open(&altered, &identities).is_err(), "byte {at}");
        assert!(open(&stored[..at], &identities).is_err());
    }
    assert!(matches!(open(&stored, &keys().0), Err(Error::WrongKey { .. })));
}

/// Anybody can encrypt to a recipient: what is inside need not be ours.
#[test]
fn bombs_are_refused() {
    let (identities, recipients) = keys();
    let zeros = vec![0; MAX_PLAIN + 1];
    assert!(matches!(seal(&zeros, &recipients), Err(Error::TooLarge { .. })));
    assert_eq!(open(&seal(&zeros[1..], &recipients).unwrap(), &identities).unwrap().len(), MAX_PLAIN);
    let packed = |packed: &[u8]| open(&age_file::encrypt(packed, &recipients).unwrap(), &identities);
    assert!(matches!(packed(&zstd::bulk::compress(&zeros, 1).unwrap()), Err(Error::TooLarge { .. })));
    let small = zstd::bulk::compress(b"{}", 1).unwrap();
    packed(&small).unwrap();
    assert!(packed(&[&small[..], &small].concat()).is_err());
    let mut stream = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    std::io::Write::write_all(&mut stream, b"{}").unwrap();
    std::io::Write::flush(&mut stream).unwrap();
    assert!(packed(&stream.finish().unwrap()).is_err(), "it does not say its size");
    assert!(packed(b"").is_err());
    assert!(packed(b"{}").is_err());
}
