//! The bytes of a file or a stream, cut by content.

use fardel_format::chunker::Chunker;
use fardel_format::pack::PackKind;
use fardel_format::rope::{Layout, Rope, RopeBuilder};

use crate::packs::Packer;
use crate::{Error, Result};

/// How much is read at once, in bytes.
pub const READ: usize = 2 << 20;

/// What comes next in a file.
pub enum Piece {
    /// Bytes were appended to the buffer.
    Data,
    /// So many zeros that take no room.
    Hole(u64),
    /// Nothing more.
    End,
}

/// Cuts what `next` yields and stores it; `buffer` is working memory. Returns the rope and the length in bytes.
///
/// # Errors
/// Those of `next`, and those of the store.
pub fn store(
    packer: &mut Packer,
    chunker: &Chunker,
    buffer: &mut Vec<u8>,
    mut next: impl FnMut(&mut Vec<u8>) -> Result<Piece>,
) -> Result<(Rope, u64)> {
    let mut rope = RopeBuilder::new(Layout::Variable);
    let mut total = 0;
    buffer.clear();
    loop {
        let piece = next(buffer)?;
        let more = matches!(piece, Piece::Data);
        let mut start = 0;
        // A cut needs the largest chunk's worth of bytes, or all that is left.
        while start < buffer.len() && (!more || buffer.len() - start >= chunker.limits().max as usize) {
            let len = chunker.cut(&buffer[start..]);
            let id = packer.put(PackKind::Data, &buffer[start..start + len])?;
            rope.push(Some(id), len as u64, &mut |leaf: &[u8]| packer.put(PackKind::Meta, leaf))?;
            start += len;
            total += len as u64;
        }
        buffer.drain(..start);
        match piece {
            Piece::Data => {}
            Piece::Hole(len) => {
                rope.push(None, len, &mut |leaf: &[u8]| packer.put(PackKind::Meta, leaf))?;
                total += len;
            }
            Piece::End => break,
        }
    }
    let rope = rope.finish::<Error>(&mut |leaf: &[u8]| packer.put(PackKind::Meta, leaf))?;
    Ok((rope, total))
}
