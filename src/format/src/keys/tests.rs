use super::*;
use crate::age_file::generate_identity;
use crate::samples;

fn reader() -> ReaderKeys {
    let identities = vec![generate_identity().0, generate_identity().0];
    ReaderKeys { repository: samples::repository(), identities, chunk_keys: ChunkKeys::generate() }
}

fn host(identities: Vec<Zeroizing<String>>) -> HostKey {
    HostKey {
        repository: samples::repository(),
        root: SigningKey::generate().unwrap().public().clone(),
        signing: SigningKey::generate().unwrap(),
        epoch: generate_identity().1,
        chunk_keys: ChunkKeys::generate(),
        own: generate_identity().0,
        identities,
    }
}

fn same(a: &ChunkKeys, b: &ChunkKeys) -> bool {
    a.chunk.0 == b.chunk.0 && a.chunker == b.chunker
}

#[test]
fn readers_keys_read_back() {
    let keys = reader();
    let KeyText::Reader(read) = KeyText::parse(&keys.to_text()).unwrap() else { panic!("another kind") };
    assert_eq!(read.repository, keys.repository);
    assert_eq!(read.identities, keys.identities);
    assert!(same(&read.chunk_keys, &keys.chunk_keys));
    assert_ne!(keys.chunk_keys.chunk.0, keys.chunk_keys.chunker);
}

#[test]
fn the_root_key_reads_back() {
    let root = RootKey { repository: samples::repository(), key: SigningKey::generate().unwrap() };
    let KeyText::Root(read) = KeyText::parse(&root.to_text()).unwrap() else { panic!("another kind") };
    assert_eq!((read.repository, read.key.public()), (root.repository, root.key.public()));
}

#[test]
fn hosts_read_back_with_and_without_the_right_to_read() {
    for identities in [vec![], vec![generate_identity().0]] {
        let host = host(identities);
        let text = host.to_text();
        let KeyText::Host(read) = KeyText::parse(&text).unwrap() else { panic!("another kind") };
        assert_eq!((read.repository, &read.root, &read.epoch), (host.repository, &host.root, &host.epoch));
        assert_eq!((&read.own, &read.identities), (&host.own, &host.identities));
        assert_eq!(read.signing.public(), host.signing.public());
        assert!(same(&read.chunk_keys, &host.chunk_keys));
        // Stock age reads the file: every line is a comment or an identity, and the host's own is a comment.
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines, host.identities.iter().map(|i| i.as_str()).collect::<Vec<_>>());
    }
}

#[test]
fn an_editor_may_have_touched_the_file() {
    let text = reader().to_text();
    let touched = format!("{}\n\n# a note\n#another: one\n   \n", text.replace('\n', "\r\n"));
    let KeyText::Reader(read) = KeyText::parse(&touched).unwrap() else { panic!("another kind") };
    assert_eq!(read.identities.len(), 2);
}

#[test]
fn what_lacks_is_named_and_no_secret_is_shown() {
    let text = host(vec![generate_identity().0]).to_text();
    for field in [
        "repository",
        "root-public-key",
        "minisign-secret-key",
        "epoch-recipient",
        "fardel-chunk-key",
        "fardel-chunker-key",
        "own-identity",
    ] {
        let without: String = text
            .lines()
            .filter(|line| !line.starts_with(&format!("# {field}: ")))
            .map(|l| format!("{l}\n"))
            .collect();
        let error = KeyText::parse(&without).err().unwrap().to_string();
        assert!(error.contains(field), "{error}");
    }
    for (field, bad) in [
        ("fardel-chunk-key", "zz"),
        ("minisign-secret-key", "x*y"),
        ("root-public-key", "x"),
        ("repository", "1"),
    ] {
        let lines = text.lines().map(|line| {
            if line.starts_with(&format!("# {field}: ")) {
                format!("# {field}: {bad}\n")
            } else {
                format!("{line}\n")
            }
        });
        let error = KeyText::parse(&lines.collect::<String>()).err().unwrap().to_string();
        assert!(!error.contains("AGE-SECRET-KEY"), "{error}");
    }
    for bad in ["", "\n", "# fardel keys 2\n", "AGE-SECRET-KEY-1\n", "# fardel keys 1\n", "{}"] {
        assert!(KeyText::parse(bad).is_err(), "{bad:?}");
    }
}
