//! `SNAPSHOT[:PATH]` as it stands on the command line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use clap::builder::{OsStringValueParser, TypedValueParser};

/// A snapshot, and perhaps a path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPath {
    /// An id, an unambiguous prefix, or `latest`.
    pub snapshot: String,
    /// The bytes of the path; never empty.
    pub path: Option<Vec<u8>>,
}

impl SnapshotPath {
    /// What clap reads it with; a path need not be UTF-8.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().try_map(|text| Self::parse(&text))
    }

    fn parse(text: &OsStr) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let (snapshot, path) = match bytes.iter().position(|&byte| byte == b':') {
            Some(colon) => (&bytes[..colon], Some(&bytes[colon + 1..])),
            None => (bytes, None),
        };
        let snapshot = std::str::from_utf8(snapshot).ok().filter(|id| is_id(id));
        let snapshot =
            snapshot.ok_or("write `latest` or the first digits of a snapshot's id, then perhaps `:PATH`")?;
        let path = path.filter(|path| !path.is_empty()).map(<[u8]>::to_vec);
        Ok(Self { snapshot: snapshot.to_owned(), path })
    }
}

fn is_id(text: &str) -> bool {
    text == "latest" || (!text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Option<(String, Option<Vec<u8>>)> {
        let parsed = SnapshotPath::parse(OsStr::from_bytes(text)).ok()?;
        Some((parsed.snapshot, parsed.path))
    }

    #[test]
    fn splits_at_the_first_colon() {
        assert_eq!(parse(b"latest"), Some(("latest".into(), None)));
        assert_eq!(parse(b"12ab:"), Some(("12ab".into(), None)));
        assert_eq!(parse(b"12ab:/a:b\xff"), Some(("12ab".into(), Some(b"/a:b\xff".to_vec()))));
    }

    #[test]
    fn refuses_what_is_no_id() {
        for text in [&b"/home"[..], b"", b":/x", b"Latest", b"12AB"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
