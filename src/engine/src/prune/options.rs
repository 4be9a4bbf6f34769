//! How to prune.

use std::time::Duration;

use crate::packs::PackerOptions;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How to prune.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// How long what is condemned, and what is forgotten, stays before it is deleted: so long can a forget be undone.
    pub grace: Duration,
    /// How long what nobody finished stays: packs that no snapshot names, manifests without a seal, intents.
    pub unfinished: Duration,
    /// How much of all packs may be unused bytes inside packs that are needed, 0 to 1.
    pub max_unused: f64,
    /// Stored bytes of packs that are written anew at most.
    pub max_repack: u64,
    /// Whether packs are written anew at all; it needs a key that reads.
    pub repack: bool,
    /// How long the store keeps an object or charges for it at least: younger packs are neither condemned nor written anew. What the
    /// store says itself ([`fardel_store::Store::retention`]) holds where it is longer.
    pub min_age: Duration,
    /// Whether this store is a copy: then a manifest without a seal may be a replicator's, who cannot write another one.
    pub replica: bool,
    /// Whether another tool copies this store ([`Catalog::is_copied`](crate::catalog::Catalog::is_copied)): then what replicas may
    /// still need stays. One that lies full of acknowledgements is copied anyway.
    pub copied: bool,
    /// Whether to collect in a copied store although another signer collected there last.
    pub take_over: bool,
    /// Bytes that may be held at once.
    pub memory: u64,
    /// How new packs are made.
    pub packer: PackerOptions,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            grace: DAY,
            unfinished: 7 * DAY,
            max_unused: 0.05,
            max_repack: u64::MAX,
            repack: true,
            min_age: Duration::ZERO,
            replica: false,
            copied: false,
            take_over: false,
            memory: 256 << 20,
            packer: PackerOptions::default(),
        }
    }
}

impl PruneOptions {
    /// Stored bytes below which a pack is small: several such are merged.
    pub fn small(&self) -> u64 {
        self.packer.pack_size / 4
    }
}
