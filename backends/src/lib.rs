//! The places where a repository can lie; one cargo feature each.

#[cfg(any(feature = "sftp", feature = "webdav", feature = "cloud"))]
mod body;
#[cfg(feature = "cloud")]
pub mod cloud;
#[cfg(feature = "folder")]
pub mod folder;
#[cfg(any(feature = "sftp", feature = "s3"))]
mod journal;
mod litter;
#[cfg(any(feature = "folder", feature = "sftp", feature = "webdav"))]
mod made;
#[cfg(any(feature = "webdav", feature = "cloud"))]
mod pause;
#[cfg(any(feature = "sftp", feature = "webdav", feature = "cloud"))]
mod proof;
#[cfg(any(feature = "sftp", feature = "webdav"))]
mod pulse;
#[cfg(any(feature = "folder", feature = "sftp"))]
mod room;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(any(feature = "webdav", feature = "cloud"))]
mod secret;
#[cfg(feature = "sftp")]
pub mod sftp;
#[cfg(any(feature = "sftp", feature = "webdav"))]
mod staging;
#[cfg(any(feature = "webdav", feature = "cloud"))]
mod tls;
#[cfg(any(feature = "webdav", feature = "cloud"))]
mod turns;
#[cfg(any(feature = "sftp", feature = "webdav"))]
mod walk;
#[cfg(feature = "webdav")]
pub mod webdav;

#[cfg(any(feature = "webdav", feature = "cloud"))]
pub use secret::Secret;
