//! An open repository and its operations. The library reports, the command draws: nothing is printed here.

pub mod backup;
pub mod bridge;
pub mod browse;
pub mod catalog;
pub mod check;
mod commit;
mod copier;
pub mod copies;
pub mod diff;
pub mod dump;
mod entomb;
mod error;
pub mod find;
pub mod forget;
pub mod index;
pub mod init;
mod kept;
pub mod key;
pub mod keyring;
mod lists;
pub mod monitor;
pub mod packs;
pub mod prune;
pub mod replicas;
pub mod replicate;
pub mod repository;
pub mod restore;
pub mod rope_reader;
pub mod snapshots;
pub mod status;
pub mod target;
#[cfg(test)]
pub mod testing;
pub mod time;
pub mod tombs;

pub use error::{Error, Result};
pub use repository::{OpenOptions, Repository};
