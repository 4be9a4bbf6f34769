//! Packs: reading ranges out of stored ones, filling new ones, and remembering what one may not read.

mod packer;
mod reader;
mod remembered;
mod spool;

pub use packer::{Packed, Packer, PackerOptions};
pub use reader::{ChunkReader, PackReader};
pub use remembered::{Remembered, Remembering, place as remembered_at};
pub use spool::Spooled;
