//! A repository in a plain folder: local disks, network mounts, folders that other tools copy.
//!
//! How `put_new` makes an object durable, and never shows half of one:
//! 1. the folders above the name are made, and the folder above each is synced;
//! 2. a temporary is made (O_EXCL, locked) in the staging folder, written and synced; a sync that failed is never
//!    repeated: the bytes are written again into a fresh temporary;
//! 3. it is renamed to its name without replacing anything, and the folder is synced;
//! 4. if that last sync fails, the object is withdrawn again: what could be lost is never left looking stored.
//!
//! The copy of a large file that stays where it is (a pack that is carried here) outlives its process: the next one reads it again,
//! compares it with the file, and goes on behind what is right.
//!
//! What a listing showed is made durable before the next object is published (another process may have died between
//! its rename and its sync), and `Exists` is answered only when what exists is durable. So nothing that is stored after
//! looking can outlive what was looked at.

mod copying;
mod dirs;
mod examine;
mod fs;
mod guard;
mod object;
mod publish;
mod real_fs;
#[cfg(any(test, feature = "sim"))]
mod sim_fs;
#[cfg(any(test, feature = "sim"))]
mod sim_loss;
#[cfg(any(test, feature = "sim"))]
mod sim_node;
#[cfg(any(test, feature = "sim"))]
mod sim_record;
mod staging;
mod store;
mod walk;

pub use fs::{DirEntry, Entries, Fs, FsFile, Kind, Medium, Space, Stat};
pub use guard::Reserve;
pub use real_fs::RealFs;
#[cfg(any(test, feature = "sim"))]
pub use sim_fs::{Refusals, SimFault, SimFaultKind, SimFs};
#[cfg(any(test, feature = "sim"))]
pub use sim_loss::Loss;
#[cfg(any(test, feature = "sim"))]
pub use sim_record::{Moment, Visible};
pub use store::{FolderOptions, FolderStore};

#[cfg(test)]
mod copy_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod sim_tests;
