//! Replicas that another tool copies, and what they acknowledge.
//!
//! Such a folder counts as one store with its source, and nobody knows how far its tool has come. So the machine at the other side
//! signs what is whole there ([`acknowledge`]), the tool brings that back like any other file, and whoever collects at the source
//! keeps it until the same replica acknowledges something newer. One that will never do so again is struck off ([`strike`]).

mod acknowledge;
mod heard;
mod known;
mod strike;

pub use acknowledge::{AckOptions, Acknowledged, acknowledge};
pub use heard::{Acks, Heard, Line};
pub use known::{Known, known};
pub use strike::strike;

/// A file of this name in the root of a store says that another tool copies it.
pub const COPIED_MARK: &str = ".fardel-copied";

#[cfg(test)]
mod tests;
