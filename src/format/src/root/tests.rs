use super::*;
use crate::samples;
use crate::tree::NodeKind;

fn sample() -> Root {
    Root {
        fardel: VERSION,
        repository: samples::repository(),
        salt: Nonce([1; 16]),
        run: Nonce([2; 16]),
        partial: false,
        time: "2026-11-23T14:00:00.000000001Z".into(),
        host: "laptop".into(),
        user: None,
        tags: vec!["daily".into()],
        parent: Some(SnapshotId(samples::id(1).0)),
        sources: vec![
            Source::new(b"/home", Node::new(b"home", NodeKind::Dir)),
            Source::new(b"/\xff", Node::new(b"\xff", NodeKind::Dir)),
        ],
        totals: Totals { files: 1, dirs: 2, others: 3, bytes: u64::MAX },
        unreadable: 0,
        program: "fardel 0.1.0".into(),
    }
}

#[test]
fn a_root_reads_back() {
    let root = sample();
    let bytes = root.to_bytes();
    assert_eq!(Root::from_bytes(&bytes).unwrap(), root);
    assert_eq!(Root::id(&bytes).to_string(), blake3::hash(&bytes).to_string());
    assert_eq!(root.sources[0].path_bytes().unwrap().as_ref(), b"/home");
    assert_eq!(root.sources[1].path_bytes().unwrap().as_ref(), b"/\xff");
    assert!(
        String::from_utf8(bytes).unwrap().contains(r#""bytes":"18446744073709551615""#),
        "a number above 2^53 is a string"
    );
}

#[test]
fn hostile_roots_are_refused() {
    let text = String::from_utf8(sample().to_bytes()).unwrap();
    assert_eq!(Root::from_bytes(&samples::nested(text.as_bytes(), 2)).unwrap(), sample());
    samples::assert_depth_is_harmless(text.as_bytes(), Root::from_bytes);
    assert!(matches!(Root::from_bytes(br#"{"fardel":2}"#), Err(Error::Version { found: 2, .. })));
    assert!(Root::from_bytes(&text.as_bytes()[..text.len() - 2]).is_err());
    assert!(Root::from_bytes(b"").is_err());
    for (from, to) in [
        ("\"salt\":\"0", "\"salt\":\"g"),
        ("\"partial\":false", "\"partial\":0"),
        ("\"files\":1", "\"files\":\"+1\""),
    ] {
        assert!(Root::from_bytes(text.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
    }
    let mut neither = sample().sources.remove(0);
    neither.path = None;
    assert!(neither.path_bytes().is_err());
    neither.path_b64 = Some("*".into());
    assert!(neither.path_bytes().is_err());
}
