//! Tests that need the whole of Fardel: the built command, several crates at once, or the workspace itself.
//!
//! Each file in `tests/` is one suite. What concerns a single module is tested beside its code instead. Code that
//! several suites need belongs here, so that it is written once and linted like the rest.

pub mod crash;
pub mod disk_tree;
pub mod fuzz;
pub mod programs;
pub mod proxy;
pub mod servers;
pub mod vault;

pub use programs::fardel_binary;
