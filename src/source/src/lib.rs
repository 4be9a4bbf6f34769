//! Where the bytes of a backup come from, and whether they changed while they were read.
//!
//! - [`Tree`] is a folder: [`Tree::walk`] lists it in a fixed order, [`Tree::open_file`] reads one file of it,
//!   [`Tree::xattrs`] its extended attributes. Nothing is ever resolved outside the root that was opened.
//! - [`Image`] is a raw disk image or a block device, read by ranges.
//! - [`Excludes`] are gitignore patterns, [`Owners`] the names of users and groups.
//!
//! The crate only reads. What could not be read is an [`Event::Failed`] or an [`Error`], never silence; the one
//! exception is a name that vanished between listing its folder and looking at it.

mod beneath;
mod cachedir;
mod error;
mod event;
mod excludes;
mod fiemap;
mod image;
mod meta;
mod mounts;
mod names;
mod owners;
mod ranges;
mod reader;
mod stability;
mod tree;
mod walk;
mod walker;
mod writers;
mod xattr;

pub use error::{Error, ErrorKind, Result};
pub use event::{Entry, Event, ExcludedBy};
pub use excludes::{Excludes, ExcludesBuilder};
pub use fiemap::{Extent, Extents};
pub use image::Image;
pub use meta::{FileId, Kind, Meta, Time};
pub use owners::Owners;
pub use ranges::{DataRange, DataRanges};
pub use reader::{FileReader, Run};
pub use stability::Stability;
pub use tree::Tree;
pub use walk::{Walk, WalkOptions};
pub use xattr::Xattr;
