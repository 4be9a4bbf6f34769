//! Paths beneath the target.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::{Error, Result};

/// The longest name that Linux file systems take, in bytes.
pub(super) const NAME_MAX: usize = 255;

/// A path beneath the target: names joined by `/`, none of them empty, `.`, `..`, above 255 bytes, or with `/` or NUL
/// inside. The empty path is the target itself. As a whole it may be longer than PATH_MAX.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath {
    bytes: Vec<u8>,
}

impl RelPath {
    /// The target itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path of these names, outermost first; [`Error::Invalid`] when one of them is not a file name.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Result<Self> {
        names.into_iter().try_fold(Self::root(), |path, name| path.extended(name))
    }

    /// The path of `name` in the folder that this path names; [`Error::Invalid`] when it is not a file name.
    pub fn join(&self, name: &[u8]) -> Result<Self> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 1 + name.len());
        bytes.extend_from_slice(&self.bytes);
        Self { bytes }.extended(name)
    }

    fn extended(mut self, name: &[u8]) -> Result<Self> {
        if let Some(why) = refused(name) {
            return Err(Error::Invalid(format!("\"{}\" cannot be restored: {why}", name.escape_ascii())));
        }
        if !self.bytes.is_empty() {
            self.bytes.push(b'/');
        }
        self.bytes.extend_from_slice(name);
        Ok(self)
    }

    /// Whether it is the target itself.
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The names joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same as a path, for messages.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.bytes))
    }

    /// The last name; none for the target itself.
    pub fn name(&self) -> Option<&[u8]> {
        self.split().map(|(_, name)| name)
    }

    /// The folder it lies in; none for the target itself.
    pub fn parent(&self) -> Option<RelPath> {
        self.split().map(|(folder, _)| RelPath { bytes: folder.to_vec() })
    }

    /// The folder's path and the last name.
    pub(super) fn split(&self) -> Option<(&[u8], &[u8])> {
        split(&self.bytes)
    }
}

/// Splits plain path bytes at the last `/`.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}

fn refused(name: &[u8]) -> Option<&'static str> {
    match name {
        b"" => Some("a file name cannot be empty"),
        b"." | b".." => Some("it names a folder that exists already"),
        _ if name.contains(&b'/') => Some("a file name cannot hold a slash"),
        _ if name.contains(&0) => Some("a file name cannot hold a NUL byte"),
        _ if name.len() > NAME_MAX => Some("a file name cannot be longer than 255 bytes"),
        _ => None,
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath(\"{}\")", self.bytes.escape_ascii())
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { write!(f, "{}", self.as_path().display()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_slashes_nuls_and_long_names_are_refused() {
        let long = [b'x'; 256];
        for bad in [&b""[..], b".", b"..", b"/", b"/etc", b"../x", b"a/b", b"a\0b", b"\0", &long] {
            assert!(matches!(RelPath::new([bad]), Err(Error::Invalid(_))), "{bad:?}");
            assert!(matches!(RelPath::new([&b"a"[..], bad]), Err(Error::Invalid(_))), "{bad:?}");
            assert!(matches!(RelPath::root().join(bad), Err(Error::Invalid(_))), "{bad:?}");
        }
    }

    #[test]
    fn what_only_looks_odd_is_a_name() {
        for good in [&b"..."[..], b"..a", b" ", b"-rf", b"~", b"C:\\x", b"\xff\xfe", b"a\nb", &[b'x'; 255]] {
            assert_eq!(RelPath::new([good]).unwrap().name(), Some(good));
        }
    }

    #[test]
    fn paths_come_apart_as_they_were_put_together() {
        let path = RelPath::new([&b"a"[..], b"b", b"c"]).unwrap();
        assert_eq!(path.as_bytes(), b"a/b/c");
        assert_eq!(path.name(), Some(&b"c"[..]));
        assert_eq!(path.parent().unwrap().join(b"c").unwrap(), path);
        assert_eq!(RelPath::new([&b"a"[..]]).unwrap().parent(), Some(RelPath::root()));
        assert_eq!((RelPath::root().parent(), RelPath::root().name()), (None, None));
        assert_eq!(RelPath::root().to_string(), ".");
    }
}
