//! The places where a repository can lie; one cargo feature each.

#[cfg(feature = "folder")]
pub mod folder;
