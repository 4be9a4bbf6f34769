//! An open repository and its operations. The library reports, the command draws: nothing is printed here.

pub mod backup;
pub mod bridge;
pub mod catalog;
mod commit;
mod error;
pub mod index;
pub mod init;
pub mod keyring;
pub mod monitor;
pub mod packs;
pub mod repository;
pub mod restore;
pub mod rope_reader;
pub mod snapshots;
mod target;
pub mod time;

pub use error::{Error, Result};
pub use repository::{OpenOptions, Repository};
