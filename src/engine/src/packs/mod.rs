//! Packs: reading ranges out of stored ones, filling new ones.

mod packer;
mod reader;
mod spool;

pub use packer::{Packed, Packer, PackerOptions};
pub use reader::{ChunkReader, PackReader};
pub use spool::Spooled;
