//! Checks a repository, level by level, and names what damage costs.
//!
//! 1. List, without a key: whatever seals, manifests and lists need is there in its right size.
//! 2. Seals, without a key: signatures hold, names follow from bytes, nobody named a manifest that is not there.
//! 3. Hashes, without a key: every object has the BLAKE3 hash that its name says.
//! 4. Data, with a key: in the same pass each pack is decrypted and decompressed and each chunk's id computed; then trees
//!    and maps are walked, and every chunk they name must lie in a pack of the snapshot's own closure.
//!
//! What grows with the number of chunks is sorted through temporary files, never held.

mod assembler;
mod chains;
mod closures;
mod content;
mod costs;
mod damage;
mod findings;
pub(crate) mod frames;
mod impact;
mod key_set;
pub(crate) mod look;
mod meanwhile;
mod needs;
mod proof;
mod report;
mod run;
mod sample;
mod scan;
mod seals;
mod segments;
mod signed;
pub(crate) mod sorter;
mod stack;
pub(crate) mod structure;
mod tally;

use std::collections::HashSet;

use fardel_format::SnapshotId;

pub use impact::impact;
pub use meanwhile::check;
pub use report::{
    CheckReport, Class, Cost, Costs, Finding, Impact, MAX_PATHS, MAX_RANGES, MAX_SNAPSHOTS, Sampled,
};

use crate::catalog::Catalog;
use crate::monitor::Monitor;
use crate::repository::Repository;
use crate::snapshots::Snapshots;

/// How deep a check looks; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Names and sizes.
    List,
    /// Signatures and what they cover.
    Seals,
    /// Every stored byte, against names.
    Hashes,
    /// Every chunk, against its id. Needs a key that reads.
    Data,
}

/// How much of the packs is read at [`Level::Hashes`] and above; which ones is left to chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// So many of a hundred packs, 0 to 100.
    Percent(f64),
    /// About so many stored bytes.
    Bytes(u64),
}

/// How to check.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// How deep.
    pub level: Level,
    /// Read only some of the packs.
    pub sample: Option<Sample>,
    /// Bytes that the check may hold at once.
    pub memory: u64,
    /// Find out which files damage costs (needs a key that reads); without, only the snapshots are named.
    pub impact: bool,
    /// The store is a copy that a foreign tool makes: what is absent or too short is on its way.
    pub copy: bool,
    /// Snapshots of which everything was here already: what they lack is lost.
    pub arrived: HashSet<SnapshotId>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            level: Level::Seals,
            sample: None,
            memory: 256 << 20,
            impact: true,
            copy: false,
            arrived: HashSet::new(),
        }
    }
}

/// What all parts of a check work with.
struct Context<'a> {
    repo: &'a Repository,
    catalog: &'a Catalog,
    options: &'a CheckOptions,
    monitor: &'a dyn Monitor,
    snapshots: &'a Snapshots,
    scratch: sorter::Scratch,
}

#[cfg(test)]
mod tests;
