//! Looks at one part of a tree or a map: what it names, and whether it is well formed.

use fardel_format::pack::PackKind;
use fardel_format::rope::{self, FIXED_LEAF, Line, Rope};
use fardel_format::tree::{self, Node, NodeKind};
use fardel_format::{ChunkId, frame};

use super::findings::class_of_read;
use super::frames::holding;
use crate::packs::ChunkReader;
use crate::{Error, Result};

/// A chunk that is named: id, kind and length, position of the snapshot in its chain.
pub const WANT: usize = super::frames::HOLDING;
/// The length of a want whose chunk could not be read.
pub const UNREADABLE: u32 = (1 << 31) - 1;

/// What a part of a tree or a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Entries of a folder.
    Entries,
    /// Lines of a folder's rope, of this depth.
    Listing(u8),
    /// Lines of a file's rope, of this depth; together they stand for so many bytes.
    File(u8, u64),
    /// Lines of a volume's rope, of this depth and chunk size; together they stand for so many bytes.
    Volume(u8, u32, u64),
}

/// A part that is to be looked at, as a record.
pub const PART: usize = 46;

fn to_record(id: &ChunkId, role: Role) -> [u8; PART] {
    let (tag, depth, chunk_size, len) = match role {
        Role::Entries => (0, 0, 0, 0),
        Role::Listing(depth) => (1, depth, 0, 0),
        Role::File(depth, len) => (2, depth, 0, len),
        Role::Volume(depth, chunk_size, len) => (3, depth, chunk_size, len),
    };
    let mut record = [0; PART];
    record[..32].copy_from_slice(&id.0);
    record[32] = tag;
    record[33] = depth;
    record[34..38].copy_from_slice(&chunk_size.to_le_bytes());
    record[38..].copy_from_slice(&len.to_le_bytes());
    record
}

fn from_record(record: &[u8; PART]) -> (ChunkId, Role) {
    let id = ChunkId(*record.first_chunk().expect("a record begins with an id"));
    let chunk_size = u32::from_le_bytes(*record[34..].first_chunk().expect("four bytes"));
    let len = u64::from_le_bytes(*record[38..].first_chunk().expect("eight bytes"));
    let role = match record[32] {
        0 => Role::Entries,
        1 => Role::Listing(record[33]),
        2 => Role::File(record[33], len),
        _ => Role::Volume(record[33], chunk_size, len),
    };
    (id, role)
}

/// The name of an entry, if it can be read.
type EntryName = Option<Vec<u8>>;

/// From where parts are looked at.
#[derive(Clone, Copy)]
pub struct Eye<'a> {
    pub chunks: &'a ChunkReader<'a>,
    /// Of the snapshot in its chain.
    pub position: u32,
    /// Whether the order of entries from part to part of a folder counts: then each part is read once more.
    pub order: bool,
}

/// Gathers what a part names.
pub struct Look<'a> {
    eye: Eye<'a>,
    /// Chunks.
    pub wants: Vec<[u8; WANT]>,
    /// Further parts.
    pub parts: Vec<[u8; PART]>,
    /// What is wrong with it, in words.
    pub wrong: Option<String>,
}

impl<'a> Look<'a> {
    /// At this part.
    ///
    /// # Errors
    /// When the store fails.
    pub fn at_part(eye: Eye<'a>, part: &[u8; PART]) -> Result<Self> {
        let mut look = Self::nowhere(eye);
        let (id, role) = from_record(part);
        let bytes = match eye.chunks.get(&id, PackKind::Meta) {
            Ok(bytes) => bytes,
            Err(Error::Store(error)) if class_of_read(&error).is_none() => return Err(error.into()),
            Err(_) => {
                look.want(&id, PackKind::Meta, UNREADABLE);
                return Ok(look);
            }
        };
        look.want(&id, PackKind::Meta, bytes.len() as u32);
        let looked = match role {
            Role::Entries => look.entries(&bytes)?,
            Role::Listing(_) | Role::File(..) | Role::Volume(..) => {
                match rope::parse_leaf(&bytes).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
                    Ok(lines) => look.lines(&lines, role)?,
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        look.wrong = looked.err();
        Ok(look)
    }

    /// At an entry of the root.
    ///
    /// # Errors
    /// When the store fails.
    pub fn at_node(eye: Eye<'a>, node: &Node) -> Result<Self> {
        let mut look = Self::nowhere(eye);
        look.wrong = look.node(node)?.err();
        Ok(look)
    }

    fn nowhere(eye: Eye<'a>) -> Self {
        Self { eye, wants: Vec::new(), parts: Vec::new(), wrong: None }
    }

    fn want(&mut self, id: &ChunkId, kind: PackKind, len: u32) {
        self.wants.push(holding(id, kind, len, self.eye.position));
    }

    fn part(&mut self, id: &ChunkId, role: Role) {
        self.parts.push(to_record(id, role));
    }

    fn entries(&mut self, bytes: &[u8]) -> Result<Result<(), String>> {
        let lines = match tree::leaf_lines(bytes) {
            Ok(lines) => lines,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut first_wrong = Ok(());
        let mut last: Option<Vec<u8>> = None;
        for line in lines {
            let node = match Node::from_line(line) {
                Ok(node) => node,
                Err(error) => {
                    first_wrong = first_wrong.and(Err(error.to_string()));
                    continue;
                }
            };
            let named = match node.name_bytes() {
                Ok(name) if last.as_ref().is_some_and(|last| **last >= *name) => {
                    Err("its entries are not sorted by name".to_owned())
                }
                Ok(name) => {
                    last = Some(name.into_owned());
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            };
            let looked = self.node(&node)?;
            first_wrong = first_wrong.and(named).and(looked);
        }
        Ok(first_wrong)
    }

    /// The inner result tells what is wrong with the entry itself.
    fn node(&mut self, node: &Node) -> Result<Result<(), String>> {
        let looked = match (node.kind, &node.content, &node.entries) {
            (NodeKind::File | NodeKind::Volume, Some(rope), None) => match rope.chunk_size {
                None => self.rope(rope, Role::File(rope.depth, node.size))?,
                Some(chunk_size) => self.rope(rope, Role::Volume(rope.depth, chunk_size, node.size))?,
            },
            (NodeKind::Dir, None, Some(rope)) => self.rope(rope, Role::Listing(rope.depth))?,
            (NodeKind::File | NodeKind::Volume | NodeKind::Dir, ..) => {
                Err("it does not say what is in it".into())
            }
            (_, None, None) => Ok(()),
            _ => Err("it has a content that its kind cannot have".into()),
        };
        let shown = || node.name_bytes().map_or_else(|_| "?".into(), |name| name.escape_ascii().to_string());
        Ok(looked.map_err(|why| format!("{}: {why}", shown())))
    }

    fn rope(&mut self, rope: &Rope, role: Role) -> Result<Result<(), String>> {
        match rope.parse_lines() {
            Ok(lines) => self.lines(&lines, role),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    fn lines(&mut self, lines: &[Line], role: Role) -> Result<Result<(), String>> {
        match role {
            Role::Entries => Ok(Ok(())),
            Role::Listing(depth) => self.listing(lines, depth),
            Role::File(depth, len) => self.file(lines, depth, len),
            Role::Volume(depth, chunk_size, len) => self.volume(lines, depth, chunk_size, len),
        }
    }

    fn listing(&mut self, lines: &[Line], depth: u8) -> Result<Result<(), String>> {
        let below = depth.checked_sub(1).map_or(Role::Entries, Role::Listing);
        let mut last: Option<Vec<u8>> = None;
        for line in lines {
            let Line { chunk: Some(id), len: None } = line else {
                return Ok(Err("a folder has a hole".into()));
            };
            self.part(id, below);
            if lines.len() == 1 || !self.eye.order {
                continue;
            }
            // Parts are looked at once each, so their order is seen from where they are named.
            let (first, next) = self.edges(id, below)?;
            if last.is_some() && first.is_some() && last >= first {
                return Ok(Err("its entries are not sorted by name from part to part".into()));
            }
            last = next.or(last);
        }
        Ok(Ok(()))
    }

    /// The first and the last name in a part of a folder, as far as they can be read.
    fn edges(&self, id: &ChunkId, role: Role) -> Result<(EntryName, EntryName)> {
        let bytes = match self.eye.chunks.get(id, PackKind::Meta) {
            Ok(bytes) => bytes,
            Err(error) if error.is_damage() => return Ok((None, None)),
            Err(error) => return Err(error),
        };
        let Some(body) = bytes.strip_suffix(b"\n") else { return Ok((None, None)) };
        let mut lines = body.split(|&b| b == b'\n');
        let (first, last) = (lines.next().unwrap_or_default(), lines.next_back());
        let last = last.unwrap_or(first);
        let Role::Listing(depth) = role else {
            let name = |line| Some(Node::from_line(line).ok()?.name_bytes().ok()?.into_owned());
            return Ok((name(first), name(last)));
        };
        let below = depth.checked_sub(1).map_or(Role::Entries, Role::Listing);
        let part = |line| Line::parse(std::str::from_utf8(line).ok()?).ok()?.chunk;
        let edges = |line| part(line).map_or(Ok((None, None)), |part| self.edges(&part, below));
        Ok((edges(first)?.0, edges(last)?.1))
    }

    fn file(&mut self, lines: &[Line], depth: u8, wanted: u64) -> Result<Result<(), String>> {
        let mut total = 0u64;
        for line in lines {
            let Some(len) = line.len else { return Ok(Err("a line of a file's map has no length".into())) };
            let sum = total.checked_add(len).filter(|sum| *sum <= wanted);
            let Some(sum) = sum else { return Ok(Err(format!("its map is longer than its {wanted} bytes"))) };
            total = sum;
            match (line.chunk, depth.checked_sub(1)) {
                (None, None) => {}
                (None, Some(_)) => return Ok(Err("a map has a hole where a part of it belongs".into())),
                (Some(id), Some(below)) => self.part(&id, Role::File(below, len)),
                (Some(_), None) if len > frame::MAX_CHUNK as u64 => {
                    return Ok(Err(format!("its map names a chunk of {len} bytes, which none has")));
                }
                (Some(id), None) => self.want(&id, PackKind::Data, len as u32),
            }
        }
        if total == wanted {
            Ok(Ok(()))
        } else {
            Ok(Err(format!("its map has {total} bytes instead of {wanted}")))
        }
    }

    fn volume(
        &mut self,
        lines: &[Line],
        depth: u8,
        chunk_size: u32,
        wanted: u64,
    ) -> Result<Result<(), String>> {
        let unit = (FIXED_LEAF as u64)
            .checked_pow(depth.into())
            .and_then(|lines| lines.checked_mul(chunk_size.into()));
        let unit = unit.unwrap_or(u64::MAX);
        if lines.len() as u64 != wanted.div_ceil(unit) {
            return Ok(Err(format!(
                "its map has {} lines for {wanted} bytes in units of {unit}",
                lines.len()
            )));
        }
        let mut at = 0;
        for line in lines {
            let len = unit.min(wanted - at);
            at += len;
            match (line.chunk, line.len, depth.checked_sub(1)) {
                (_, Some(_), _) => return Ok(Err("a line of a volume's map has a length".into())),
                (None, None, None) => {}
                (None, None, Some(_)) => {
                    return Ok(Err("a map has a hole where a part of it belongs".into()));
                }
                (Some(id), None, Some(below)) => self.part(&id, Role::Volume(below, chunk_size, len)),
                (Some(id), None, None) => self.want(&id, PackKind::Data, len as u32),
            }
        }
        Ok(Ok(()))
    }
}
