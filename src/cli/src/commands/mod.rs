//! One file a command: arguments in, an operation of the engine, its report out.

pub mod backup;
pub mod check;
pub mod completions;
pub mod diff;
pub mod dump;
pub mod find;
pub mod forget;
pub mod init;
pub mod key;
pub mod ls;
pub mod man;
pub mod pin;
pub mod probe;
pub mod prune;
pub mod replica;
pub mod restore;
pub mod snapshots;
pub mod status;
pub mod sync;
