//! Arguments of the commands that look into snapshots and get things back.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use fardel_format::lines::Moment;

use super::Selection;
use crate::size::Size;
use crate::snapshot_path::SnapshotPath;

/// `ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Which snapshot, and which folder in it
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = SnapshotPath::parser())]
    pub what: SnapshotPath,
    /// Everything below too
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Permissions, owner, size and time
    #[arg(short, long)]
    pub long: bool,
}

/// `find`.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// A name, or a path with slashes, with *, ?, [a-z] and ** for any number of folders
    #[arg(value_name = "PATTERN")]
    pub pattern: OsString,
    /// Which.
    #[command(flatten)]
    pub select: Selection,
    /// Only in this snapshot
    #[arg(short, long = "snapshot", value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    /// Upper and lower case are the same
    #[arg(short, long)]
    pub ignore_case: bool,
    /// Changed at this time or later, such as 2026-11-23 or 2026-11-23T14:00
    #[arg(long, value_name = "TIME", value_parser = crate::moment::parse)]
    pub newer: Option<Moment>,
    /// Changed before this time
    #[arg(long, value_name = "TIME", value_parser = crate::moment::parse)]
    pub older: Option<Moment>,
    /// Files of at least this size
    #[arg(long, value_name = "SIZE")]
    pub min_size: Option<Size>,
    /// Files of at most this size
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<Size>,
    /// Permissions, owner, size and time
    #[arg(short, long)]
    pub long: bool,
}

/// `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The older one, or a part of it
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = SnapshotPath::parser())]
    pub before: SnapshotPath,
    /// The newer one, or a part of it
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = SnapshotPath::parser())]
    pub after: SnapshotPath,
    /// Differences of owner, permissions, times and extended attributes too
    #[arg(short, long)]
    pub metadata: bool,
}

/// `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Which snapshot, and which file, volume or folder in it
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = SnapshotPath::parser())]
    pub what: SnapshotPath,
    /// The folder to restore into; nothing outside it is touched
    #[arg(short, long, value_name = "DIR")]
    pub target: PathBuf,
    /// Only what matches this pattern
    #[arg(short, long = "include", value_name = "P")]
    pub includes: Vec<String>,
    /// All but what matches this pattern
    #[arg(short, long = "exclude", value_name = "P")]
    pub excludes: Vec<String>,
    /// Change what is there already, writing only what differs
    #[arg(long)]
    pub in_place: bool,
    /// Say what would be written, and write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Device nodes too
    #[arg(long)]
    pub devices: bool,
    /// Set-user-id and set-group-id bits and file capabilities too
    #[arg(long)]
    pub setid: bool,
    /// Owners and groups too [default: when run by root]
    #[arg(long, conflicts_with = "no_owner")]
    pub owner: bool,
    /// Everything belongs to whoever restores
    #[arg(long)]
    pub no_owner: bool,
}

/// `dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Which file or volume
    #[arg(value_name = "SNAPSHOT:PATH", value_parser = SnapshotPath::parser())]
    pub what: SnapshotPath,
}
