//! When what interrupted uploads left belongs to nobody any more.

#[cfg(any(feature = "sftp", feature = "s3"))]
use std::time::Duration;

/// A temporary, or an upload in parts, that is so old by the server's clock is removed by whoever stores something there: 7 days, in
/// seconds. A younger one may be that of another machine, which goes on with it.
#[cfg(any(feature = "folder", feature = "sftp", feature = "webdav", feature = "s3"))]
pub(crate) const ABANDONED: u64 = 7 * 24 * 3600;

/// This machine goes on with an upload of its own unless nothing was added to its journal for so long: 30 days.
#[cfg(any(feature = "sftp", feature = "s3"))]
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 3600);
