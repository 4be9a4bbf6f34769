//! A repository in a bucket of S3, or of one of the many services that speak it.
//!
//! How `put_new` stores an object:
//! 1. the name is asked for; what is there is left alone;
//! 2. small bodies go in one PUT, with `If-None-Match: *` until the service says that it does not know it; large ones in parts of
//!    8 MiB, several at a time, whose tags are written down, so that the next attempt goes on where this one stopped;
//! 3. the length is asked for and compared.
//!
//! An object appears whole or not at all, everywhere. The precondition is hardening and no more: some services ignore it. One program
//! takes turns with itself; two programs store the same bytes under one name.
//!
//! Requests that change something are never repeated here: after a lost answer nobody knows whether they were done, and whoever
//! repeats them (`fardel_store::Retrying`) compares the bytes.

mod client;
mod multipart;
mod orphans;
mod profile;
mod put;
mod requests;
mod store;

pub use store::{S3Options, S3Store};
