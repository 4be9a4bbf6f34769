//! What a check finds, and what it costs.

use fardel_format::SnapshotId;

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It is not there.
    Missing,
    /// It is shorter than it must be.
    Truncated,
    /// Its bytes are not those that were stored.
    Corrupt,
    /// Its bytes are as somebody stored them, but they are not what they pretend to be.
    Forged,
    /// A foreign tool has not copied it yet.
    NotYetArrived,
}

impl Class {
    /// As it stands in `--json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::Forged => "forged",
            Self::NotYetArrived => "not-yet-arrived",
        }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A file, volume or folder that cannot be restored whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Its path in the snapshot.
    pub path: String,
    /// Whether it is a folder, of which some or all entries cannot be read.
    pub folder: bool,
    /// Which bytes: start and length, sorted; at most [`MAX_RANGES`]. Empty for a folder.
    pub ranges: Vec<(u64, u64)>,
    /// Ranges beyond those.
    pub more_ranges: u64,
    /// Bytes in all ranges together.
    pub bytes: u64,
    /// In how many of the snapshots it is like this.
    pub snapshots: u64,
}

/// Ranges that a [`Cost`] names at most.
pub const MAX_RANGES: usize = 64;
/// Paths that a [`Finding`] or an [`Impact`] names at most.
pub const MAX_PATHS: usize = 1000;
/// Snapshots that a [`Finding`] or an [`Impact`] names at most.
pub const MAX_SNAPSHOTS: usize = 256;

/// What something costs, as far as the keys at hand allow to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Snapshots that cannot be restored whole, oldest first; at most [`MAX_SNAPSHOTS`].
    pub snapshots: Vec<SnapshotId>,
    /// Snapshots beyond those.
    pub more_snapshots: u64,
    /// Files, volumes and folders in them, without those that have the same chunks elsewhere; at most [`MAX_PATHS`].
    pub paths: Vec<Cost>,
    /// Paths beyond those, each counted in every snapshot.
    pub more_paths: u64,
}

/// An object that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its key; `chunk <id>` when no object can be named.
    pub object: String,
    /// What is wrong.
    pub class: Class,
    /// In words, and what to do.
    pub why: String,
    /// Whether no snapshot needs it: nothing is lost with it (index segments, what an interrupted run left behind).
    pub harmless: bool,
    /// What it costs.
    pub costs: Costs,
}

/// How much was looked at, when not everything was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Packs that were read.
    pub packs: u64,
    /// Packs that there are.
    pub of_packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The bytes of all packs.
    pub of_bytes: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Objects that are not as they must be, sorted by key.
    pub errors: Vec<Finding>,
    /// What is worth knowing and no damage: forks, manifests that later ones name and that are gone, unfinished backups.
    pub notes: Vec<String>,
    /// Objects that were looked at.
    pub objects_checked: u64,
    /// Stored bytes that were read and found right.
    pub bytes_checked: u64,
    /// Snapshots of which everything was looked at that the level asks for.
    pub snapshots_checked: u64,
    /// Present when packs were sampled.
    pub sampled: Option<Sampled>,
}

impl CheckReport {
    /// Whether nothing at all was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether every snapshot is whole, as far as the level can tell: whatever was found costs nothing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.errors.iter().all(|finding| finding.harmless)
    }
}

/// What the loss of an object would cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impact {
    /// The object's key.
    pub object: String,
    /// In words: what kind of object it is, and what its loss means.
    pub meaning: String,
    /// What would be lost.
    pub costs: Costs,
    /// What could not be found out, and why.
    pub notes: Vec<String>,
}
