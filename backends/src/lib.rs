//! The places where a repository can lie; one cargo feature each.

#[cfg(any(feature = "sftp", feature = "webdav", feature = "s3"))]
mod body;
#[cfg(feature = "folder")]
pub mod folder;
#[cfg(any(feature = "sftp", feature = "s3"))]
mod journal;
#[cfg(any(feature = "folder", feature = "sftp", feature = "webdav"))]
mod made;
#[cfg(any(feature = "sftp", feature = "webdav"))]
mod pulse;
#[cfg(any(feature = "folder", feature = "sftp"))]
mod room;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(any(feature = "webdav", feature = "s3"))]
mod secret;
#[cfg(feature = "sftp")]
pub mod sftp;
#[cfg(any(feature = "sftp", feature = "webdav"))]
mod staging;
#[cfg(any(feature = "webdav", feature = "s3"))]
mod tls;
#[cfg(any(feature = "webdav", feature = "s3"))]
mod turns;
#[cfg(any(feature = "sftp", feature = "webdav"))]
mod walk;
#[cfg(feature = "webdav")]
pub mod webdav;

#[cfg(any(feature = "webdav", feature = "s3"))]
pub use secret::Secret;
