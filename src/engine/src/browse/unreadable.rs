//! What could not be read in a snapshot: counted in full, told as far as memory should go.

use fardel_format::SnapshotId;

use crate::Error;

/// How many are kept with their paths.
const KEPT: usize = 1000;

/// A part of a snapshot that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRead {
    /// Of which snapshot; `None` when not even that is known.
    pub snapshot: Option<SnapshotId>,
    /// The folder or file, or the object of the store.
    pub path: Vec<u8>,
    /// What is wrong.
    pub why: String,
}

/// Everything that could not be read.
#[derive(Clone, Debug, Default)]
pub struct Unreadable {
    count: u64,
    first: Vec<NotRead>,
}

impl Unreadable {
    /// One more.
    pub fn push(&mut self, snapshot: Option<SnapshotId>, path: &[u8], error: &Error) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(NotRead { snapshot, path: path.to_vec(), why: error.to_string() });
        }
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether everything could be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first ones, up to a thousand.
    #[must_use]
    pub fn first(&self) -> &[NotRead] {
        &self.first
    }
}
