//! Arguments of the commands about replicas.

use clap::{Args, Subcommand};

/// `replica`.
#[derive(Debug, Subcommand)]
pub enum ReplicaCommand {
    /// List the configured replicas, and those that ever acknowledged something; needs no key
    List,
    /// Sign what a copy that another tool makes holds whole: a prune at its source keeps that until something newer is signed
    Acknowledge(ReplicaAcknowledgeArgs),
    /// Strike off a replica that will never come back: it holds up no prune any more
    Strike(ReplicaStrikeArgs),
}

/// `replica acknowledge`.
#[derive(Debug, Args)]
pub struct ReplicaAcknowledgeArgs {
    /// This copy; the acknowledgement goes into the repository [default: the repository is the copy, and its tool carries the
    /// acknowledgement to the source]
    #[arg(value_name = "NAME|URL")]
    pub copy: Option<String>,
    /// How the replica is called: 1 to 32 of a-z, 0-9 and - [default: as in the configuration, else this machine's name]
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
}

/// `replica strike`.
#[derive(Debug, Args)]
pub struct ReplicaStrikeArgs {
    /// Which, as `replica list` names them
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}
