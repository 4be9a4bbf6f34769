//! Saves a disk image or block device: aligned chunks of fixed size, holes kept as holes.

use fardel_format::pack::PackKind;
use fardel_format::rope::{Layout, RopeBuilder};
use fardel_format::tree::{Node, NodeKind};
use fardel_source::{Image, Owners, Stability};

use super::node;
use super::session::Session;
use crate::packs::Packer;
use crate::{Error, Result};

/// How much is read at once, in bytes; a multiple of every chunk size.
const READ: usize = 4 << 20;

/// A volume of which a part is saved.
pub struct VolumeSaver<'a> {
    image: &'a Image,
    node: Node,
    rope: RopeBuilder,
    chunk_size: u64,
    at: u64,
}

impl<'a> VolumeSaver<'a> {
    /// Begins at the first byte.
    pub fn new(image: &'a Image, chunk_size: u32, owners: &Owners) -> Self {
        let mut node = node::node(b"", image.meta(), owners);
        node.kind = NodeKind::Volume;
        node.device = None;
        node.size = image.size();
        Self {
            image,
            node,
            rope: RopeBuilder::new(Layout::Fixed { chunk_size }),
            chunk_size: u64::from(chunk_size),
            at: 0,
        }
    }

    /// Reads and saves everything; `Err` leaves what was gathered, for [`Self::so_far`].
    ///
    /// # Errors
    /// [`Error::Source`] when the image cannot be read; else when the store fails or the user stops it.
    pub fn run(&mut self, session: &mut Session<'_>) -> Result<()> {
        let mut buffer = vec![0; READ];
        for range in self.image.runs() {
            let range = range?;
            if !range.data {
                continue;
            }
            let start = range.start / self.chunk_size * self.chunk_size;
            let end = range.end.next_multiple_of(self.chunk_size).min(self.image.size());
            self.holes_up_to(&mut session.packer, start)?;
            while self.at < end {
                let wanted = (end - self.at).min(READ as u64) as usize;
                let read = self.image.read_at(self.at, &mut buffer[..wanted])?;
                if read < wanted {
                    // It shrank: what is missing is not invented.
                    self.node.size = self.at + read as u64;
                }
                for chunk in buffer[..read].chunks(self.chunk_size as usize) {
                    self.chunk(&mut session.packer, chunk)?;
                }
                session.monitor.counters().done(0, read as u64);
                session.report.bytes_read += read as u64;
                if read < wanted {
                    return Ok(());
                }
                session.pause(|packer| self.so_far(packer))?;
            }
        }
        self.holes_up_to(&mut session.packer, self.image.size())
    }

    fn chunk(&mut self, packer: &mut Packer, chunk: &[u8]) -> Result<()> {
        let id = if is_zero(chunk) { None } else { Some(packer.put(PackKind::Data, chunk)?) };
        self.at += chunk.len() as u64;
        self.rope.push(id, chunk.len() as u64, &mut |leaf: &[u8]| packer.put(PackKind::Meta, leaf))
    }

    fn holes_up_to(&mut self, packer: &mut Packer, end: u64) -> Result<()> {
        while self.at < end {
            let len = self.chunk_size.min(end - self.at);
            self.rope.push(None, len, &mut |leaf: &[u8]| packer.put(PackKind::Meta, leaf))?;
            self.at += len;
        }
        Ok(())
    }

    /// The volume as far as it was read, marked as such.
    ///
    /// # Errors
    /// When the store fails.
    pub fn so_far(&self, packer: &mut Packer) -> Result<Node> {
        let mut node = self.node.clone();
        node.content =
            Some(self.rope.clone().finish::<Error>(&mut |leaf: &[u8]| packer.put(PackKind::Meta, leaf))?);
        node.inconsistent = Some(format!(
            "only the first {} of {} bytes were saved when the backup paused",
            self.at, self.node.size
        ));
        node.size = self.at;
        Ok(node)
    }

    /// The whole volume; a reason when it changed while it was read.
    ///
    /// # Errors
    /// When the store fails, or the image cannot be looked at any more.
    pub fn finish(self, packer: &mut Packer) -> Result<(Node, Option<String>)> {
        let mut node = self.node;
        node.content = Some(self.rope.finish::<Error>(&mut |leaf: &[u8]| packer.put(PackKind::Meta, leaf))?);
        if let Stability::Changed(why) = self.image.stability()? {
            node.inconsistent = Some(why);
        }
        let why = node.inconsistent.clone();
        Ok((node, why))
    }
}

fn is_zero(chunk: &[u8]) -> bool {
    let (words, tail) = chunk.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && tail.iter().all(|&byte| byte == 0)
}
