//! Who can read, and who may write: lists it, adds to it, takes away from it.
//!
//! Reading is a matter of files in `keys/`, each encrypted to one class of recipients. Writing is a matter of the registry
//! of signers, whose records the root key signs. Nothing is ever deleted or changed: a record retires a file or removes a
//! signer. That protects nothing which could be read before; a new epoch would.

mod admin;
mod list;
#[cfg(test)]
mod tests;

pub use admin::{Admin, Whom};
pub use list::{Holds, KeyFile, KeyList, Recipient, SignerEntry, Target};
