//! A repository in a folder of another machine, over the user's own `ssh` or whatever command carries SFTP there.
//!
//! How `put_new` stores an object:
//! 1. a temporary with a random name is made (CREAT, EXCL) in `.fardel-staging`, and written with many requests in flight;
//! 2. it is synced (`fsync@openssh.com`, where the server has it), and its size is compared;
//! 3. it is renamed to its name, which in SFTP replaces nothing, and the size is compared again.
//!
//! What the protocol does not have is a sync of folders: the rename is as durable as the server's file system makes it. Servers
//! without `fsync@openssh.com` promise nothing at all.
//!
//! A connection is a child process with its own window of requests; there are up to four, made when they are needed. What
//! stands still for too long, or ends, is given up, and its requests fail as passing faults.

mod child;
mod ciphers;
mod examine;
mod failure;
mod link;
mod pool;
mod put;
mod read;
mod session;
mod staging;
mod store;
mod walk;

pub use child::SshHost;
pub use store::{SftpOptions, SftpStore};
