//! Whether what was read was one state of the file.

use crate::meta::Meta;

/// The verdict on a file or an image after reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Nothing showed that it was written meanwhile.
    Stable,
    /// It was, or may have been, written: the bytes read may be a mixture. The text says what showed it.
    Changed(String),
}

impl Stability {
    /// Whether nothing showed a change.
    pub fn is_stable(&self) -> bool {
        *self == Stability::Stable
    }

    /// Compares two looks at one file: its size, mtime and ctime.
    pub(crate) fn between(before: &Meta, after: &Meta) -> Stability {
        if before.size != after.size {
            Stability::Changed(format!("its size went from {} to {} bytes", before.size, after.size))
        } else if before.mtime != after.mtime {
            Stability::Changed("it was written while it was read".into())
        } else if before.ctime != after.ctime {
            Stability::Changed("its status (ctime) changed while it was read".into())
        } else {
            Stability::Stable
        }
    }
}
