//! Where objects are kept: a small trait that every backend implements, and what is common to all of them.
//!
//! There is no overwrite, rename or append: what is stored is never changed, and the signature of [`Store`] says so.

mod body;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod faulty;
mod finding;
mod key;
mod memory;
mod noise;
mod prefix;
pub mod probe;
mod range;
mod rate;
mod retry;
mod shared;

pub use body::{Body, Kept};
pub use error::{Error, ErrorKind, Result};
pub use faulty::{Aftermath, Fault, FaultKind, FaultyStore, ReadFault, ReadFaultKind};
pub use finding::{Finding, Level};
pub use key::Key;
pub use memory::MemoryStore;
pub use prefix::Prefix;
pub use range::ByteRange;
pub use rate::{Meter, Throttle, Unmetered};
pub use retry::{RetryPolicy, Retrying};

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// One name that a listing showed.
///
/// `name` is relative to the root of the store and may be any string at all: strangers lie in folders too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Path below the root of the store, with `/` between components.
    pub name: String,
    /// Length in bytes as the store tells it.
    pub size: u64,
}

/// How much a listing can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// A listing shows everything whose `put_new` was acknowledged before the listing began.
    Strong,
    /// It may lag behind, or nobody knows.
    Unknown,
}

/// What a store can do; declared, so that an operation refuses early instead of failing late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether collection of garbage may run here.
    pub listing: Listing,
    /// Largest object in bytes.
    pub max_object: u64,
    /// How many requests at once pay off.
    pub parallelism: usize,
    /// Where the caller may make a file that `put_new` can take over without copying it.
    ///
    /// Such a file lies on the same file system as the objects, and outside the tree that other tools copy where that is possible.
    /// The folder may not exist yet: whoever wants to put a file there makes it (and only then: a reader makes no folders).
    pub staging: Option<PathBuf>,
    /// The folder in which each object lies as a file under its key, where this machine has one.
    pub files: Option<PathBuf>,
}

/// A place that keeps immutable objects under keys.
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// Stores all of `body` durably under a free name, or nothing.
    ///
    /// When this returns `Ok` the object survives a loss of power, and a listing begun afterwards shows it (where
    /// [`Capabilities::listing`] is [`Listing::Strong`]). A [`Body::File`] may be moved into place: it is gone afterwards.
    /// On an error the object may be there whole or not at all, and a [`Body::File`] is still where it was unless the object is there.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] when the name is taken: what is there is left as it is. [`ErrorKind::Damaged`] when the bytes of
    /// a [`Body::Kept`] are not the right ones.
    async fn put_new(&self, key: &Key, body: Body) -> Result<()>;

    /// Reads the bytes of `range`, all of them.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such object; [`ErrorKind::Truncated`] when it ends before the range does.
    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes>;

    /// Lists every name below `prefix` (a folder such as `packs/`, or empty for all), in no particular order.
    ///
    /// A prefix that does not exist is an empty listing. Temporary files of the store itself are not shown.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>>;

    /// Removes an object durably; an object that is not there counts as removed.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// What this store can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether large objects can still be stored, as far as the store can tell beforehand: one that cannot tell says yes.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] when the store would refuse even a small pack.
    async fn check_room(&self) -> Result<()> {
        Ok(())
    }

    /// How long whatever is stored here stays at least: before that it cannot be deleted, or its bytes are kept and paid for.
    ///
    /// Zero where the place promises nothing, or does not tell.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn retention(&self) -> Result<Duration> {
        Ok(Duration::ZERO)
    }

    /// How many requests [`Store::put_new`] makes of whoever counts them (and lets them be paid for), for so many bytes and when
    /// nothing goes wrong.
    fn put_requests(&self, _len: u64) -> u64 {
        1
    }

    /// What this store knows of the place where it lies beyond what its other methods show: what was promised there, and what
    /// it tries out. For [`probe::probe`], after other things were stored.
    ///
    /// Names may come and go below the folder `scratch`, which has to be nobody else's; whoever asks removes what is left there.
    ///
    /// # Errors
    /// When it cannot be found out.
    async fn examine(&self, _scratch: &Prefix) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// Removes the folders that this store made, where a store has folders, as far as nothing is in them.
    ///
    /// Returns the paths of those that had to stay though they seem empty: a folder is removed only where nobody's object can
    /// go with it.
    ///
    /// # Errors
    /// When one cannot be removed.
    async fn remove_made_folders(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
