//! What may stand on the command line. Parsed here, resolved in [`crate::config`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::size::Size;
use crate::snapshot_path::SnapshotPath;

const ABOUT: &str = "Backs up folders, disk images and block devices into a repository of immutable, encrypted packs";
const AFTER: &str = "\
Repositories: a path, file:///PATH, or memory: (gone when the command ends)
SNAPSHOT: an id, the first digits of one, or `latest`

Environment: FARDEL_CONFIG, FARDEL_REPOSITORY, FARDEL_KEY_FILE, FARDEL_PASSPHRASE_COMMAND, FARDEL_CACHE_DIR, NO_COLOR

Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 3 done, but some source could not be read; 4 damage found;
5 a copy is incomplete; 10 no repository there; 12 the key does not open it; 130 interrupted";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "fardel", version, about = ABOUT, after_help = AFTER, max_term_width = 110, infer_subcommands = false)]
pub struct LowArgs {
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The configuration [default: fardel.yaml here, then in the user's configuration folder]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The repository: a path, a URL, or a replica's name in the configuration
    #[arg(short, long, global = true, value_name = "URL|NAME")]
    pub repo: Option<String>,
    /// One JSON object a line; the last one has "type":"summary"
    #[arg(long, global = true)]
    pub json: bool,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Show no progress
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// A host's key file, an age identity (the recovery key) or an SSH private key
    #[arg(long, global = true, value_name = "F")]
    pub key_file: Option<PathBuf>,
    /// A file whose first line is a passphrase of the repository
    #[arg(long, global = true, value_name = "F")]
    pub passphrase_file: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new repository; makes and shows the recovery key
    Init(InitArgs),
    /// Save a snapshot of folders, disk images, block devices or standard input
    Backup(BackupArgs),
    /// List the snapshots
    Snapshots(SnapshotsArgs),
    /// List what is in a snapshot
    Ls(LsArgs),
    /// Find files in the snapshots by a pattern
    Find(FindArgs),
    /// Compare two snapshots
    Diff(DiffArgs),
    /// Get files, disk images or everything back
    Restore(RestoreArgs),
    /// Write one file or volume to standard output
    Dump(DumpArgs),
    /// Look for damage, and say what it costs
    Check(CheckArgs),
    /// Say what each copy holds; needs no key
    Status(StatusArgs),
    /// List, add and remove keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
}

/// How a new repository is to be; of `init`, and of `backup --init`.
#[derive(Clone, Debug, Default, Args)]
pub struct NewArgs {
    /// Who may read besides the recovery key: age1… or an SSH public key
    #[arg(long = "recipient", value_name = "AGE")]
    pub recipients: Vec<String>,
    /// Write the recovery key to a new file instead of showing it
    #[arg(long, value_name = "F")]
    pub recovery_file: Option<PathBuf>,
}

/// Which tool copies the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Copier {
    /// Syncthing.
    Syncthing,
}

/// `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// How it is to be.
    #[command(flatten)]
    pub new: NewArgs,
    /// Prepare the folder for a tool that copies it
    #[arg(long = "for", value_name = "TOOL")]
    pub copier: Option<Copier>,
    /// Chunk size for volumes: a power of two from 16KiB to 4MiB [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = crate::config_file::parse_chunk_size)]
    pub chunk_size: Option<u32>,
    /// This machine's name [default: its host name]
    #[arg(long, value_name = "H")]
    pub host: Option<String>,
}

/// `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Folders, disk images, block devices, or - for standard input [default: the configured jobs]
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<PathBuf>,
    /// Save standard input under this name
    #[arg(long, value_name = "N")]
    pub stdin_name: Option<String>,
    /// A word to find the snapshot by
    #[arg(long = "tag", value_name = "T")]
    pub tags: Vec<String>,
    /// Leave out what matches this pattern, as in .gitignore
    #[arg(long = "exclude", value_name = "P")]
    pub excludes: Vec<String>,
    /// Leave out what matches the patterns in this file
    #[arg(long, value_name = "F")]
    pub exclude_from: Vec<PathBuf>,
    /// Leave out folders that a CACHEDIR.TAG marks as caches
    #[arg(long)]
    pub exclude_caches: bool,
    /// Leave out files above this size
    #[arg(long, value_name = "SIZE")]
    pub exclude_larger_than: Option<Size>,
    /// Stay in the file system of each source
    #[arg(short = 'x', long)]
    pub one_file_system: bool,
    /// Only this configured job
    #[arg(long = "job", value_name = "NAME", conflicts_with = "sources")]
    pub jobs: Vec<String>,
    /// This machine's name [default: its host name]
    #[arg(long, value_name = "H")]
    pub host: Option<String>,
    /// Read every file again, even where nothing seems to have changed
    #[arg(long)]
    pub force: bool,
    /// Say what would be saved, and save nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Make the repository first when there is none
    #[arg(long)]
    pub init: bool,
    /// How a new repository is to be.
    #[command(flatten)]
    pub new: NewArgs,
}

/// Which snapshots.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// Only those of this machine
    #[arg(long = "host", value_name = "H")]
    pub hosts: Vec<String>,
    /// Only those with this tag
    #[arg(long = "tag", value_name = "T")]
    pub tags: Vec<String>,
}

/// `snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Which.
    #[command(flatten)]
    pub select: Selection,
    /// Partial snapshots too that a finished one of the same run follows
    #[arg(long)]
    pub all: bool,
}

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
    /// A name or path, with *, ? and […]; a pattern without a slash is compared with names
    #[arg(value_name = "PATTERN", required = true)]
    pub patterns: Vec<String>,
    /// Which.
    #[command(flatten)]
    pub select: Selection,
    /// Only in this snapshot
    #[arg(short, long = "snapshot", value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    /// Upper and lower case are the same
    #[arg(short, long)]
    pub ignore_case: bool,
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

/// How thoroughly to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Names and sizes
    List,
    /// Seals too, and whether everything that they need is there
    Seals,
    /// The hashes of all stored bytes too; needs no key
    Hashes,
    /// Decryption and every chunk too
    Data,
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Check this copy
    #[arg(long, value_name = "NAME|URL")]
    pub replica: Option<String>,
    /// How thoroughly; each level includes those before it [default: hashes]
    #[arg(long, value_enum)]
    pub level: Option<Level>,
    /// Only this part of the packs, chosen at random, such as 5%
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub sample: Option<f64>,
    /// Say what would be lost with this object
    #[arg(long, value_name = "OBJECT", conflicts_with_all = ["level", "sample"])]
    pub impact: Option<String>,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only this copy
    #[arg(long, value_name = "NAME|URL")]
    pub replica: Option<String>,
}

/// `key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the key files and the hosts that may write
    List,
    /// Give somebody access: a recipient, a passphrase or a host
    Add(KeyAddArgs),
    /// Retire a key file or a host
    Remove(KeyRemoveArgs),
}

/// `key add`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("whom").required(true).multiple(false)))]
pub struct KeyAddArgs {
    /// Somebody who may read: age1… or an SSH public key
    #[arg(long = "recipient", value_name = "AGE", group = "whom")]
    pub recipients: Vec<String>,
    /// A new passphrase that opens everything: the first line of this file
    #[arg(long, value_name = "F", group = "whom")]
    pub new_passphrase_file: Option<PathBuf>,
    /// A machine that may back up: makes its key file
    #[arg(long, value_name = "NAME", group = "whom")]
    pub host: Option<String>,
    /// That machine may write, but not read
    #[arg(long, requires = "host")]
    pub write_only: bool,
    /// Where its new key file goes [default: where this user's keys are]
    #[arg(long, value_name = "F", requires = "host")]
    pub out: Option<PathBuf>,
}

/// `key remove`.
#[derive(Debug, Args)]
pub struct KeyRemoveArgs {
    /// A key file or a host, as `key list` names them
    #[arg(value_name = "KEY", required = true)]
    pub keys: Vec<String>,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The page of this command [default: the page of fardel itself]
    #[arg(value_name = "COMMAND")]
    pub page: Vec<OsString>,
    /// Write all pages into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    pub dir: Option<PathBuf>,
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    match number {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("write a percentage above 0% and up to 100%".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        LowArgs::command().debug_assert();
    }

    #[test]
    fn percentages_are_parts() {
        assert_eq!(parse_percent("5%"), Ok(0.05));
        assert_eq!(parse_percent("100"), Ok(1.0));
        for text in ["0%", "101%", "x", "", "nan"] {
            assert!(parse_percent(text).is_err(), "{text}");
        }
    }
}
