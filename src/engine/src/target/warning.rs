//! What could not be restored of a file whose content was.

use std::io;

/// A part of a file's attributes that is not as in the snapshot. The caller knows the path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The owner or the group was not set.
    #[error("owner {uid}:{gid} was not set: {error}")]
    Owner {
        /// The user it should belong to.
        uid: u32,
        /// The group it should belong to.
        gid: u32,
        /// Why.
        error: io::Error,
    },
    /// The set-user-id or set-group-id bit was left out: not asked for, or the file has another owner than it had.
    #[error("mode {dropped:04o} (set-user-id, set-group-id) was left out")]
    SetId {
        /// The bits.
        dropped: u32,
    },
    /// The permissions were not set.
    #[error("mode {mode:04o} was not set: {error}")]
    Mode {
        /// The permissions it should have.
        mode: u32,
        /// Why.
        error: io::Error,
    },
    /// An extended attribute was not set, or one that the snapshot does not have was not removed.
    #[error("attribute {} was not set: {error}", name.escape_ascii())]
    Xattr {
        /// Its name.
        name: Vec<u8>,
        /// Why.
        error: io::Error,
    },
    /// File capabilities were left out: they give the rights of root, and were not asked for.
    #[error("file capabilities were left out")]
    Capabilities,
    /// The modification time was not set.
    #[error("modification time was not set: {0}")]
    Time(io::Error),
}
