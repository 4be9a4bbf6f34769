//! What may stand on the command line. Parsed here, resolved in [`crate::config`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::size::Size;

mod contents;
mod replica;
mod retention;
mod upkeep;

pub use contents::{DiffArgs, DumpArgs, FindArgs, LsArgs, RestoreArgs};
pub use replica::{ReplicaAcknowledgeArgs, ReplicaCommand, ReplicaStrikeArgs};
pub use retention::{ForgetArgs, PinArgs, PolicyArgs, PruneArgs, parse_group_by, parse_span};
pub use upkeep::{
    CheckArgs, CompletionsArgs, KeyAddArgs, KeyCommand, KeyRemoveArgs, Level, ManArgs, ProbeArgs, Role,
    Sample, StatusArgs, SyncArgs,
};

const ABOUT: &str =
    "Backs up folders, disk images and block devices into a repository of immutable, encrypted packs";
const AFTER: &str = "\
Repositories: a path, file:///PATH, sftp://USER@HOST/PATH, webdav+https://USER@HOST/PATH,
s3://BUCKET/PREFIX?endpoint=URL&region=R, or memory: (gone when the command ends)
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
    /// Carry snapshots to the replicas; needs no key
    Sync(SyncArgs),
    /// Say what each copy holds; needs no key
    Status(StatusArgs),
    /// Try out what a store can do and how fast, and leave nothing there
    Probe(ProbeArgs),
    /// Forget snapshots, by name or by policy, or bring them back
    Forget(Box<ForgetArgs>),
    /// Let nobody forget a snapshot
    Pin(PinArgs),
    /// Let a pinned snapshot be forgotten again
    Unpin(PinArgs),
    /// Delete what no snapshot needs, and merge small packs
    Prune(PruneArgs),
    /// List replicas, acknowledge what one holds that another tool makes, strike one off
    #[command(subcommand)]
    Replica(ReplicaCommand),
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
    /// The desktop client of Nextcloud or ownCloud.
    Nextcloud,
    /// Dropbox, and others that keep files online only: OneDrive, Google Drive, iCloud.
    Dropbox,
    /// rclone.
    Rclone,
    /// rsync.
    Rsync,
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
    /// Seal what there is as a partial snapshot so often, so that an interruption costs little [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = crate::span::parse)]
    pub checkpoint_every: Option<Duration>,
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

impl Selection {
    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.tags.is_empty()
    }

    /// Whether a snapshot of this host with these tags is wanted.
    #[must_use]
    pub fn fits(&self, host: &str, tags: &[String]) -> bool {
        let tagged = self.tags.iter().any(|tag| tags.contains(tag));
        (self.hosts.is_empty() || self.hosts.iter().any(|wanted| wanted == host))
            && (self.tags.is_empty() || tagged)
    }
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        LowArgs::command().debug_assert();
    }
}
