use crate::{Error, ErrorKind, Key, Result};

/// The folder that a listing is about: empty for the whole store, else a key that ends in `/`.
///
/// Backends turn the text they are given into this first, so that `packs` and `packs/` mean the same everywhere,
/// `packsx/` is never taken for a part of `packs`, and no `..` reaches a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Checks a prefix; a missing `/` at the end is added.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is neither empty nor the name of a folder that could hold objects.
    pub fn new(text: &str) -> Result<Self> {
        let folder = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self(String::new()));
        }
        match Key::new(folder) {
            Ok(key) => Ok(Self(format!("{key}/"))),
            Err(_) => Err(Error::new(ErrorKind::Invalid, text, "not a folder of objects")),
        }
    }

    /// The prefix as text: empty, or ending in `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` lies below it.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        name.starts_with(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_only() {
        assert_eq!(Prefix::new("").unwrap().as_str(), "");
        assert_eq!(Prefix::new("packs").unwrap(), Prefix::new("packs/").unwrap());
        assert!(!Prefix::new("packs/").unwrap().holds("packsx/a"));
        for bad in ["/", "..", "../", "a/../b/", "a//", "/a/", "A/"] {
            assert_eq!(Prefix::new(bad).unwrap_err().kind, ErrorKind::Invalid, "{bad:?}");
        }
    }
}
