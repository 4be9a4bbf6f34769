use std::fmt;

use crate::{Error, ErrorKind};

/// The name of an object: `[0-9a-z./-]`, components under 100 bytes, the whole under 128.
///
/// Such a name is the same on every file system and in every store: no case, no reserved name, no `.` or `..` component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it does not follow the rule above.
    pub fn new(name: impl Into<String>) -> crate::Result<Self> {
        let name = name.into();
        if Self::is_valid(&name) {
            Ok(Self(name))
        } else {
            Err(Error::new(ErrorKind::Invalid, name, "not an object name"))
        }
    }

    fn is_valid(name: &str) -> bool {
        !name.is_empty()
            && name.len() < 128
            && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'.' | b'/' | b'-'))
            && name.split('/').all(|part| {
                !part.is_empty() && part.len() < 100 && !part.starts_with('.') && !part.ends_with('.')
            })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
