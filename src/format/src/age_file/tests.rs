use std::collections::HashSet;

use age::secrecy::SecretString;
use proptest::prelude::*;

use super::*;
use crate::samples;

/// A recipient that wraps the key as X25519 does, between stanzas made up by the test.
struct Among(age::x25519::Recipient, Vec<Stanza>, Vec<Stanza>);

impl age::Recipient for Among {
    fn wrap_file_key(
        &self,
        key: &FileKey,
    ) -> std::result::Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let (own, labels) = self.0.wrap_file_key(key)?;
        let copy = |s: &Stanza| Stanza { tag: s.tag.clone(), args: s.args.clone(), body: s.body.clone() };
        Ok((self.1.iter().map(copy).chain(own).chain(self.2.iter().map(copy)).collect(), labels))
    }
}

fn stanza(tag: &str, args: &[&str], body_len: usize) -> Stanza {
    Stanza {
        tag: tag.into(),
        args: args.iter().map(|a| (*a).into()).collect(),
        body: samples::bytes(tag, body_len),
    }
}

/// A file with its keys: everything here is for one X25519 identity unless a test says otherwise.
struct Sealed {
    stored: Vec<u8>,
    identities: Identities,
}

fn sealed(plain: &[u8]) -> Sealed {
    let (identity, recipient) = generate_identity();
    let mut identities = Identities::new();
    identities.push_x25519(&identity).unwrap();
    Sealed { stored: encrypt(plain, &Recipients::x25519(&recipient).unwrap()).unwrap(), identities }
}

fn open(stored: &[u8], size: u64, identities: &Identities) -> Result<Payload> {
    let header = Header::parse(stored)?.ok_or(Error::Truncated { what: "a header" })?;
    header.open(identities, size)
}

/// Reads a range as a client does: only the bytes of `stored_range`.
fn read(payload: &Payload, stored: &[u8], range: Range<u64>) -> Result<Vec<u8>> {
    let wanted = payload.stored_range(&range)?;
    let bytes =
        stored.get(wanted.start as usize..wanted.end as usize).ok_or(Error::Truncated { what: "a file" })?;
    payload.decrypt(&range, bytes)
}

fn assert_same_as_age(stored: &[u8], identities: &Identities, plain: &[u8]) {
    assert_eq!(decrypt("a file", stored, identities, plain.len() as u64).unwrap(), plain);
    let payload = open(stored, stored.len() as u64, identities).unwrap();
    assert_eq!(payload.plain_len(), plain.len() as u64);
    if !plain.is_empty() {
        assert_eq!(read(&payload, stored, 0..plain.len() as u64).unwrap(), plain);
    }
}

#[test]
fn headers_of_every_kind_open_as_age_opens_them() {
    let plain = samples::bytes("plain", 3_000);
    let (identity, recipient) = generate_identity();
    let x25519 = || -> age::x25519::Recipient { recipient.parse().unwrap() };
    let mut identities = Identities::new();
    identities.push_x25519(&identity).unwrap();
    // Bodies around the length of a line, and words of every plain character.
    for body in [0, 1, 2, 3, 47, 48, 49, 95, 96, 97, 144, 500] {
        for before in [true, false] {
            let odd = || vec![stanza("!~-grease", &["\"#$", "~", "A"], body), stanza("x", &[], body)];
            let (first, last) = if before { (odd(), vec![]) } else { (vec![], odd()) };
            let mut recipients = Recipients::new();
            recipients.push(Box::new(Among(x25519(), first, last)));
            assert_same_as_age(&encrypt(&plain, &recipients).unwrap(), &identities, &plain);
        }
    }
    // Many recipients, ours in the middle.
    let mut recipients = Recipients::new();
    for i in 0..41 {
        let other = generate_identity().1;
        recipients.push_x25519(if i == 20 { &recipient } else { &other }).unwrap();
    }
    let stored = encrypt(&plain, &recipients).unwrap();
    assert!(stored.len() > 4096 + plain.len() - 3_000);
    assert_same_as_age(&stored, &identities, &plain);
    assert_eq!(recipient_of(&identity).unwrap(), recipient);
}

#[test]
fn ssh_and_passphrases_open_too() {
    let plain = samples::bytes("plain", 70_000);
    let ssh: age::ssh::Recipient = SSH_PUBLIC.parse().unwrap_or_else(|_| panic!("the sample key is a key"));
    let mut recipients = Recipients::x25519(&generate_identity().1).unwrap();
    recipients.push(Box::new(ssh));
    let mut identities = Identities::new();
    identities.push(Box::new(age::ssh::Identity::from_buffer(SSH_SECRET.as_bytes(), None).unwrap()));
    assert_same_as_age(&encrypt(&plain, &recipients).unwrap(), &identities, &plain);

    let passphrase = || SecretString::from("correct horse".to_owned());
    let mut recipient = age::scrypt::Recipient::new(passphrase());
    recipient.set_work_factor(4);
    let mut recipients = Recipients::new();
    recipients.push(Box::new(recipient));
    let mut identities = Identities::new();
    identities.push(Box::new(age::scrypt::Identity::new(passphrase())));
    assert_same_as_age(&encrypt(&plain, &recipients).unwrap(), &identities, &plain);
}

/// Made with `ssh-keygen -t ed25519` for this test; it opens nothing else.
const SSH_PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOoocL4A1rhH8FdzzTHV3ypWuDi0fnneS2zpELQvneZi";
const SSH_SECRET: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\nQyNTUxOQAAACDqKHC+ANa4R/BXc80x1d8qVrg4tH553kts6RC0L53mYgAAAIj4diVk+HYl\nZAAAAAtzc2gtZWQyNTUxOQAAACDqKHC+ANa4R/BXc80x1d8qVrg4tH553kts6RC0L53mYg\nAAAEAHLl2fEcQXZpY4HvD7rqlNVixmTn3f1CTUqhbTm9doW+oocL4A1rhH8FdzzTHV3ypW\nuDi0fnneS2zpELQvneZiAAAABHRlc3QB\n-----END OPENSSH PRIVATE KEY-----\n";

#[test]
fn a_header_needs_all_its_bytes() {
    let Sealed { stored, identities } = sealed(b"");
    let payload = open(&stored, stored.len() as u64, &identities).unwrap();
    let end = payload.start as usize;
    for len in 0..end {
        assert!(Header::parse(&stored[..len]).unwrap().is_none(), "{len} of {end} bytes");
    }
    assert!(Header::parse(&stored[..end]).unwrap().is_some());
}

#[test]
fn an_altered_header_never_opens() {
    let Sealed { stored, identities } = sealed(b"content");
    let payload = open(&stored, stored.len() as u64, &identities).unwrap();
    for at in 0..payload.start as usize {
        for bit in 0..8 {
            let mut altered = stored.clone();
            altered[at] ^= 1 << bit;
            let result =
                open(&altered, stored.len() as u64, &identities).and_then(|p| read(&p, &altered, 0..7));
            assert!(result.is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn headers_that_age_refuses() {
    let Sealed { stored, .. } = sealed(b"");
    let body = "A".repeat(64);
    let mac = "A".repeat(43);
    let nonce = "0123456789abcdef";
    let v1 = "age-encryption.org/v1";
    let refused = [
        format!("age-encryption.org/v2\n-> X a\n\n--- {mac}\n{nonce}"),
        format!("{v1}\n--- {mac}\n{nonce}"),
        format!("{v1}\n-> \n\n--- {mac}\n{nonce}"),
        format!("{v1}\n-> X  a\n\n--- {mac}\n{nonce}"),
        format!("{v1}\n-> X \n\n--- {mac}\n{nonce}"),
        format!("{v1}\n-> é\n\n--- {mac}\n{nonce}"),
        format!("{v1}\n->X\n\n--- {mac}\n{nonce}"),
        format!("{v1}\n-> X\n{body}AAAA\n\n--- {mac}\n{nonce}"),
        format!("{v1}\n-> X\nAAAB==\n--- {mac}\n{nonce}"),
        format!("{v1}\n-> X\nAB\n--- {mac}\n{nonce}"),
        format!("{v1}\n-> X\nA*\n--- {mac}\n{nonce}"),
        format!("{v1}\n-> X\n\n---{mac}\n{nonce}"),
        format!("{v1}\n-> X\n\n--- {mac}A\n{nonce}"),
        format!("{v1}\n-> X\n\n--- {}B\n{nonce}", &mac[1..]),
        format!("{v1}\n-> scrypt a 1\n\n-> X\n\n--- {mac}\n{nonce}"),
        format!("{v1}\r\n-> X\n\n--- {mac}\n{nonce}"),
    ];
    for text in refused {
        assert!(Header::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(
        Header::parse(format!("{v1}\n-> X a b\n{body}\n\n--- {mac}\n{nonce}").as_bytes()).unwrap().is_some()
    );
    assert!(Header::parse(&stored).unwrap().is_some());
}

#[test]
fn a_header_without_end_is_refused() {
    let mut endless = b"age-encryption.org/v1\n".to_vec();
    endless.resize(MAX_HEADER + 2, b'x');
    assert!(matches!(Header::parse(&endless), Err(Error::TooLarge { .. })));
    let mut many = b"age-encryption.org/v1\n".to_vec();
    while many.len() <= MAX_HEADER {
        many.extend_from_slice(b"-> X\n\n");
    }
    assert!(Header::parse(&many[..4096]).unwrap().is_none());
    assert!(matches!(Header::parse(&many), Err(Error::TooLarge { .. })));
    many.extend_from_slice(format!("--- {}\n0123456789abcdef", "A".repeat(43)).as_bytes());
    assert!(matches!(Header::parse(&many), Err(Error::TooLarge { .. })));
}

const LENGTHS: [usize; 12] =
    [0, 1, 15, 16, 17, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 3 * 65_536];

#[test]
fn lengths_around_a_segment() {
    for len in LENGTHS {
        let plain = samples::bytes("length", len);
        let Sealed { stored, identities } = sealed(&plain);
        assert_same_as_age(&stored, &identities, &plain);
        // Plain length = L - 16 * ceil(L / 65552), L = file size - header - 16.
        let payload = open(&stored, stored.len() as u64, &identities).unwrap();
        let sealed_len = stored.len() as u64 - payload.start;
        assert_eq!(len as u64, sealed_len - 16 * sealed_len.div_ceil(65_552).max(1));
        for wrong in
            [len as u64..len as u64 + 1, 0..len as u64 + 1, 5..5, 0..u64::MAX, u64::MAX - 1..u64::MAX]
        {
            assert!(payload.stored_range(&wrong).is_err(), "{wrong:?} of {len}");
        }
    }
}

/// A cut file never shows its end: neither when its new size is believed, nor when the old one is.
#[test]
fn truncation_is_noticed_at_and_off_segment_borders() {
    for len in LENGTHS {
        let plain = samples::bytes("cut", len);
        let Sealed { stored, identities } = sealed(&plain);
        let start = open(&stored, stored.len() as u64, &identities).unwrap().start as usize;
        let borders = (start..stored.len()).step_by(SEALED_SEGMENT as usize);
        let cuts: HashSet<usize> = borders
            .flat_map(|b| [b.saturating_sub(1), b, b + 1, b + 15, b + 16, b + 17])
            .chain([stored.len() - 1, stored.len() - 16, stored.len() - 17])
            .filter(|cut| (start..stored.len()).contains(cut))
            .collect();
        for cut in cuts {
            let short = &stored[..cut];
            assert!(
                decrypt("a file", short, &identities, 1 << 30).is_err(),
                "age takes {cut} of {}",
                stored.len()
            );
            if let Ok(payload) = open(short, cut as u64, &identities) {
                let end = payload.plain_len();
                let tail = read(&payload, short, end.saturating_sub(1)..end);
                assert!(end == 0 || tail.is_err(), "cut to {cut} of {}", stored.len());
            }
            let payload = open(&stored, stored.len() as u64, &identities).unwrap();
            if len > 0 {
                assert!(read(&payload, short, len as u64 - 1..len as u64).is_err());
            }
        }
        let longer = [&stored[..], b"0123456789abcdefgh"].concat();
        assert!(decrypt("a file", &longer, &identities, 1 << 30).is_err());
        let payload = open(&longer, longer.len() as u64, &identities).unwrap();
        assert!(read(&payload, &longer, payload.plain_len() - 1..payload.plain_len()).is_err());
    }
}

#[test]
fn sizes_that_cannot_be() {
    let Sealed { stored, identities } = sealed(b"x");
    let start = open(&stored, stored.len() as u64, &identities).unwrap().start;
    for size in [0, 1, start - 1, start, start + 15, start + SEALED_SEGMENT + 15, start + SEALED_SEGMENT + 16]
    {
        assert!(matches!(open(&stored, size, &identities), Err(Error::Truncated { .. })), "{size}");
    }
    for size in [u64::MAX, u64::MAX - 100_000, 1 << 63] {
        if let Ok(payload) = open(&stored, size, &identities) {
            let end = payload.plain_len();
            let range = payload.stored_range(&(end - 1..end)).unwrap();
            assert!(range.start < range.end && range.end <= size);
        }
    }
}

#[test]
fn segments_cannot_change_places() {
    let plain = samples::bytes("swap", 3 * 65_536);
    let Sealed { stored, identities } = sealed(&plain);
    let payload = open(&stored, stored.len() as u64, &identities).unwrap();
    let start = payload.start as usize;
    let segment = SEALED_SEGMENT as usize;
    let mut swapped = stored.clone();
    swapped[start..start + 2 * segment].rotate_left(segment);
    assert!(read(&payload, &swapped, 0..10).is_err());
    assert!(read(&payload, &swapped, 65_536..65_537).is_err());
    assert_eq!(read(&payload, &swapped, 131_072..131_073).unwrap(), plain[131_072..131_073]);
    // Too few and too many bytes for a range.
    assert!(payload.decrypt(&(0..1), &stored[start..start + segment - 1]).is_err());
    assert!(payload.decrypt(&(0..1), &stored[start..start + segment + 1]).is_err());
}

#[test]
fn other_keys_are_told_from_damage() {
    let Sealed { stored, .. } = sealed(b"x");
    let others = sealed(b"").identities;
    for identities in [others, Identities::new()] {
        assert!(matches!(open(&stored, stored.len() as u64, &identities), Err(Error::WrongKey { .. })));
        assert!(matches!(decrypt("a file", &stored, &identities, 10), Err(Error::WrongKey { .. })));
    }
    assert!(Identities::new().is_empty());
    assert!(matches!(encrypt(b"", &Recipients::new()), Err(Error::Damaged { .. })));
    assert!(Recipients::x25519("age1nonsense").is_err());
    assert!(Identities::new().push_x25519("AGE-SECRET-KEY-1NONSENSE").is_err());
    assert!(recipient_of("AGE-SECRET-KEY-1NONSENSE").is_err());
}

#[test]
fn small_files_have_a_limit() {
    let Sealed { stored, identities } = sealed(&[0; 1000]);
    assert_eq!(decrypt("a file", &stored, &identities, 1000).unwrap().len(), 1000);
    assert!(matches!(decrypt("a file", &stored, &identities, 999), Err(Error::TooLarge { .. })));
    assert!(matches!(decrypt("a file", b"", &identities, 9), Err(Error::Damaged { .. })));
    assert!(matches!(
        decrypt("a file", b"age-encryption.org/v1\n", &identities, 9),
        Err(Error::Damaged { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn ranges_are_what_age_decrypts(len in 1u64..400_000, ranges in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 20)) {
        let plain = samples::bytes("ranges", len as usize);
        let Sealed { stored, identities } = sealed(&plain);
        let payload = open(&stored, stored.len() as u64, &identities).unwrap();
        for (a, b) in ranges {
            let (a, b) = (a.index(len as usize), b.index(len as usize));
            let range = a.min(b)..a.max(b) + 1;
            let found = read(&payload, &stored, range.start as u64..range.end as u64).unwrap();
            prop_assert!(found == plain[range]);
        }
    }

    #[test]
    fn no_header_is_taken_that_age_would_not_take(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..4)) {
        let mut recipients = Recipients::new();
        let recipient = generate_identity().1.parse().unwrap();
        recipients.push(Box::new(Among(recipient, vec![stanza("a", &["b"], 50)], vec![])));
        let mut stored = encrypt(b"x", &recipients).unwrap();
        for (at, byte, how) in flips {
            let at = at.index(stored.len() - 33);
            match how {
                0 => stored[at] = byte,
                1 => stored.insert(at, byte),
                _ => drop(stored.remove(at)),
            }
        }
        if matches!(Header::parse(&stored), Ok(Some(_))) {
            prop_assert!(age::Decryptor::new(&stored[..]).is_ok(), "{}", String::from_utf8_lossy(&stored));
        }
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Header::parse(&bytes);
        let text = [b"age-encryption.org/v1\n-> ".as_slice(), &bytes].concat();
        let _ = Header::parse(&text);
    }
}
