//! What a walk reports.

use crate::error::Error;
use crate::meta::Meta;

/// One name beneath the root, with its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path relative to the root, without a leading slash; never empty.
    pub path: Vec<u8>,
    /// Its metadata when the walk came by.
    pub meta: Meta,
}

impl Entry {
    /// The last component of the path.
    pub fn name(&self) -> &[u8] {
        match self.path.iter().rposition(|&b| b == b'/') {
            Some(slash) => &self.path[slash + 1..],
            None => &self.path,
        }
    }
}

/// Why something was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExcludedBy {
    /// A pattern; nothing else is said of the path.
    Pattern,
    /// Another file system is mounted on this folder. The folder itself is sent, empty.
    OtherFilesystem,
    /// A valid `CACHEDIR.TAG`. The folder and its tag are sent, nothing else in it.
    CacheFolder,
    /// A regular file larger than the limit.
    Larger,
    /// One of [`WalkOptions::never`](crate::WalkOptions::never), such as the repository itself.
    Never,
}

/// One step of a walk.
///
/// Depth first, siblings by the bytes of their names. Every [`Event::Enter`] has its [`Event::Leave`], unless the
/// walk is dropped. The root has neither.
#[derive(Debug)]
pub enum Event {
    /// A folder; what follows up to its `Leave` lies in it.
    Enter(Entry),
    /// Anything that is not a folder.
    Entry(Entry),
    /// The end of the folder entered last.
    Leave,
    /// Something that the options leave out.
    Excluded {
        /// Path relative to the root.
        path: Vec<u8>,
        /// Which option.
        why: ExcludedBy,
    },
    /// Something that could not be looked at or, for a folder, not be listed to its end. The walk goes on.
    /// A folder that cannot be listed is still entered and left, so that its own metadata is kept.
    Failed {
        /// Path relative to the root; empty for the root itself.
        path: Vec<u8>,
        /// What went wrong.
        error: Error,
    },
}
