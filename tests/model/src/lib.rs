//! The protocol of writers, collectors, replicators and forgets on one store, as a state machine whose every order of steps can
//! be tried. `README.md` beside this crate says what the steps and invariants are, and what is not covered.

mod collector;
mod machine;
mod merger;
mod mutant;
mod pinner;
mod replicator;
mod scope;
mod seen;
mod set;
mod store;
mod violation;
mod walk;
mod world;
mod writer;

pub use machine::{Machine, Searched, Trace};
pub use mutant::Mutant;
pub use scope::{OLD, OLDER, Paging, Revocation, Role, SOURCE, Scope, Sweeping};
pub use set::Set;
pub use violation::Violation;
pub use walk::{Walk, Walked};
pub use world::{Action, Object, Process, World};
