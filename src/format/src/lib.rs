//! Bytes to types and back: the repository format, pure. No files, network, clock or threads.
//!
//! `FORMAT.md` beside this crate is the same in prose; a stranger can write a reader from it.

pub mod ack;
pub mod age_file;
pub mod card;
pub mod chunker;
mod error;
pub mod frame;
pub mod ids;
pub mod intent;
pub mod keys;
pub mod lines;
pub mod manifest;
pub mod names;
pub mod pack;
pub mod pack_list;
pub mod root;
pub mod rope;
pub mod search;
pub mod segment;
pub mod sign;
pub mod signers;
pub mod tomb;
pub mod tree;
mod version;
pub mod zjson;

#[cfg(test)]
mod samples;

pub use error::{Error, Result};
pub use ids::{ChunkId, ObjectHash, RepositoryId, SnapshotId, WriterId};
