//! Made-up values for the tests of this crate: the same ones in every run.

use crate::ids::{ChunkId, ObjectHash, RepositoryId};
use crate::names::Numbered;

/// Bytes that look random and follow from `seed` alone.
pub fn bytes(seed: &str, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut out);
    out
}

/// The `n`th chunk id.
pub fn id(n: u64) -> ChunkId {
    ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

/// The `n`th object hash.
pub fn hash(n: u64) -> ObjectHash {
    ObjectHash(id(n).0)
}

/// A repository.
pub fn repository() -> RepositoryId {
    RepositoryId(id(u64::MAX).0)
}

/// The name under which these bytes would be stored.
pub fn numbered(seq: u32, bytes: &[u8]) -> Numbered {
    Numbered { seq, hash: ObjectHash::of(bytes) }
}

/// JSON of `depth` arrays within one another, as the value of an unknown field before the rest of `document`.
pub fn nested(document: &[u8], depth: usize) -> Vec<u8> {
    let mut out = b"{\"future\":".to_vec();
    out.extend(std::iter::repeat_n(b'[', depth));
    out.extend(std::iter::repeat_n(b']', depth));
    out.push(b',');
    out.extend_from_slice(document.trim_ascii_start().strip_prefix(b"{").expect("a JSON object"));
    out
}

/// Reads documents with a million brackets: passed over in a field that is not known, refused in one that is; never a stack
/// that overflows.
pub fn assert_depth_is_harmless<T: PartialEq + std::fmt::Debug>(
    document: &[u8],
    read: impl Fn(&[u8]) -> crate::Result<T>,
) {
    assert_eq!(read(&nested(document, 500_000)), read(document));
    let text = String::from_utf8(document.to_vec()).expect("JSON is text");
    let fields: Vec<_> = text.match_indices("\":").map(|(at, _)| at + 2).collect();
    assert!(!fields.is_empty());
    for at in fields {
        let deep = [&text[..at], &"[".repeat(200_000), &text[at..]].concat();
        assert!(read(deep.as_bytes()).is_err());
    }
}
