//! Arguments of the commands about the repository itself, and about the command itself.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::size::Size;

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
    /// Read only some of the packs, chosen at random: 5%, or so many bytes: 10GiB
    #[arg(long, value_name = "PART", value_parser = parse_sample)]
    pub sample: Option<Sample>,
    /// Say what would be lost with this object
    #[arg(long, value_name = "OBJECT", conflicts_with_all = ["level", "sample"])]
    pub impact: Option<String>,
}

/// `sync`.
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Only to this copy [default: every configured replica]
    #[arg(long, value_name = "NAME|URL")]
    pub to: Vec<String>,
    /// Send at most so many bytes a second to each copy: 500K, 2MiB
    #[arg(long, value_name = "RATE")]
    pub limit_upload: Option<Size>,
    /// Read at most so many bytes a second from the repository
    #[arg(long, value_name = "RATE")]
    pub limit_download: Option<Size>,
    /// Send so many packs at once to each copy [default: what turns out to be fastest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,
    /// Say what would be sent, and send nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only this copy
    #[arg(long, value_name = "NAME|URL")]
    pub replica: Option<String>,
}

/// `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Where: a path, a URL or a replica's name; no repository need be there [default: the repository]
    #[arg(value_name = "URL|NAME")]
    pub place: Option<String>,
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

/// What a machine may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Seal snapshots
    Write,
    /// Forget its own snapshots
    ForgetOwn,
    /// Forget any snapshot, and collect garbage
    Maintain,
    /// Say what a replica holds
    Acknowledge,
}

/// `key add`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("whom").required(true).multiple(false)))]
pub struct KeyAddArgs {
    /// Somebody who may read: age1… or an SSH public key
    #[arg(long = "recipient", value_name = "AGE", group = "whom")]
    pub recipients: Vec<String>,
    /// Whoever knows this passphrase may read: the first line of a file
    #[arg(long, value_name = "F", group = "whom")]
    pub new_passphrase_file: Option<PathBuf>,
    /// A machine that may back up: makes its key file
    #[arg(long, value_name = "NAME", group = "whom")]
    pub host: Option<String>,
    /// They may change keys, too
    #[arg(long, conflicts_with = "host")]
    pub admin: bool,
    /// That machine can write, but not read
    #[arg(long, requires = "host")]
    pub write_only: bool,
    /// What that machine may do [default: write, and if it can read: forget-own, acknowledge]
    #[arg(long = "role", value_name = "ROLE", value_enum, requires = "host")]
    pub roles: Vec<Role>,
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

/// How much to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// So many of a hundred packs.
    Percent(f64),
    /// About so many bytes.
    Bytes(u64),
}

fn parse_sample(text: &str) -> Result<Sample, String> {
    let Some(number) = text.strip_suffix('%') else {
        return text.parse().map(|Size(bytes)| Sample::Bytes(bytes));
    };
    match number.trim().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Sample::Percent(percent)),
        _ => Err("write a percentage above 0% and up to 100%, or a size".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_percentages_or_sizes() {
        assert_eq!(parse_sample("5%"), Ok(Sample::Percent(5.0)));
        assert_eq!(parse_sample("1GiB"), Ok(Sample::Bytes(1 << 30)));
        for text in ["0%", "101%", "x", "", "nan%", "-1%"] {
            assert!(parse_sample(text).is_err(), "{text}");
        }
    }
}
