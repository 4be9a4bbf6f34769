//! What a snapshot gives back, read chunk by chunk: an own, plain reader, so that it does not share a mistake with the
//! engine's restore. It takes no chunk that lies outside the packs that the snapshot's manifest names.

use std::collections::{BTreeMap, HashSet};

use fardel_engine::Repository;
use fardel_engine::catalog::Catalog;
use fardel_engine::index::ChunkIndex;
use fardel_engine::packs::{ChunkReader, PackReader};
use fardel_engine::snapshots::Sealed;
use fardel_format::pack::PackKind;
use fardel_format::root::Root;
use fardel_format::rope::{self, Line, Rope};
use fardel_format::tree::{self, Node, NodeKind};
use fardel_format::{ChunkId, ObjectHash};

use super::Result;
use super::model::{Item, Kind, Model, first};

/// Everything needed to read the snapshots of one repository.
pub struct Library<'a> {
    repo: &'a Repository,
    catalog: &'a Catalog,
    packs: &'a PackReader,
    index: &'a ChunkIndex,
}

/// One snapshot, read.
pub struct Contents {
    /// Its decrypted root.
    pub root: Root,
    /// Everything in it, by paths from the root of the file system.
    pub model: Model,
}

impl<'a> Library<'a> {
    /// Reads through these.
    #[must_use]
    pub fn new(
        repo: &'a Repository,
        catalog: &'a Catalog,
        packs: &'a PackReader,
        index: &'a ChunkIndex,
    ) -> Self {
        Self { repo, catalog, packs, index }
    }

    /// Reads a whole snapshot.
    ///
    /// # Errors
    /// When anything of it is missing or damaged.
    pub fn read(&self, sealed: &Sealed) -> Result<Contents> {
        let words = |error: fardel_engine::Error| error.to_string();
        let closure = self.repo.closure(self.catalog, &sealed.manifest).map_err(words)?;
        if let Some(pack) =
            closure.iter().find(|pack| self.catalog.whole_pack(&pack.hash, pack.size).is_none())
        {
            return Err(format!("the pack {} of {} bytes is not there", pack.hash, pack.size));
        }
        let root = self.repo.root(self.catalog, sealed).map_err(words)?;
        let mut reader = Reader {
            chunks: ChunkReader::new(self.repo, self.packs, self.index).map_err(words)?,
            index: self.index,
            closure: closure.iter().map(|pack| pack.hash).collect(),
            files: BTreeMap::new(),
            model: Model::default(),
        };
        for source in &root.sources {
            let path = source.path_bytes().map_err(|e| e.to_string())?.into_owned();
            reader.node(path, &source.node)?;
        }
        Ok(Contents { model: reader.model, root })
    }
}

struct Reader<'a> {
    chunks: ChunkReader<'a>,
    index: &'a ChunkIndex,
    closure: HashSet<ObjectHash>,
    files: BTreeMap<(u64, u64), Vec<u8>>,
    model: Model,
}

impl Reader<'_> {
    fn node(&mut self, path: Vec<u8>, node: &Node) -> Result {
        let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.escape_ascii());
        let mut item = Item {
            kind: match node.kind {
                NodeKind::File | NodeKind::Volume => Kind::File,
                NodeKind::Dir => Kind::Dir,
                NodeKind::Symlink => Kind::Symlink,
                NodeKind::Fifo => Kind::Fifo,
                NodeKind::Socket | NodeKind::Block | NodeKind::Char => Kind::Other,
            },
            mode: node.mode,
            owner: (node.uid, node.gid),
            mtime: Some((node.mtime.secs, node.mtime.nanos)),
            xattrs: node.xattrs.iter().map(|x| (x.name.clone().into_bytes(), x.value.clone())).collect(),
            content: Vec::new(),
            same_as: None,
            cut_off: node.inconsistent.is_some(),
        };
        match item.kind {
            Kind::File => {
                let rope = node.content.as_ref().ok_or_else(|| at(&"no content"))?;
                item.content = self.bytes(rope, node.size).map_err(|e| at(&e))?;
                if node.links > 1 && node.kind == NodeKind::File {
                    item.same_as = first(&mut self.files, (node.dev, node.inode), &path);
                }
            }
            Kind::Symlink => item.content = node.target_bytes().map_err(|e| at(&e))?.into_owned(),
            _ => {}
        }
        self.model.0.insert(path.clone(), item);
        if node.kind == NodeKind::Dir {
            let rope = node.entries.as_ref().ok_or_else(|| at(&"no entries"))?;
            for line in self.lines(rope).map_err(|e| at(&e))? {
                let id = line.chunk.ok_or_else(|| at(&"a hole among the entries"))?;
                let leaf = self.chunk(&id, PackKind::Meta).map_err(|e| at(&e))?;
                for entry in tree::leaf_lines(&leaf).map_err(|e| at(&e))? {
                    let entry = Node::from_line(entry).map_err(|e| at(&e))?;
                    let name = entry.name_bytes().map_err(|e| at(&e))?.into_owned();
                    self.node([&path[..], b"/", &name].concat(), &entry)?;
                }
            }
        }
        Ok(())
    }

    fn bytes(&self, rope: &Rope, size: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(size as usize);
        for line in self.lines(rope)? {
            let left = size - bytes.len() as u64;
            let len = line
                .len
                .or(rope.chunk_size.map(|chunk| left.min(chunk.into())))
                .ok_or("a line without a length")?;
            match line.chunk {
                None => bytes.resize(bytes.len() + len as usize, 0),
                Some(id) => bytes.extend_from_slice(&self.chunk(&id, PackKind::Data)?),
            }
        }
        if bytes.len() as u64 == size {
            Ok(bytes)
        } else {
            Err(format!("{} bytes instead of {size}", bytes.len()))
        }
    }

    /// The lines of depth 0.
    fn lines(&self, rope: &Rope) -> Result<Vec<Line>> {
        let mut lines = rope.parse_lines().map_err(|e| e.to_string())?;
        for _ in 0..rope.depth {
            let mut below = Vec::new();
            for line in lines {
                let leaf = self.chunk(&line.chunk.ok_or("a hole in a map")?, PackKind::Meta)?;
                let parsed =
                    rope::parse_leaf(&leaf).and_then(Iterator::collect::<fardel_format::Result<Vec<_>>>);
                below.extend(parsed.map_err(|e| e.to_string())?);
            }
            lines = below;
        }
        Ok(lines)
    }

    fn chunk(&self, id: &ChunkId, kind: PackKind) -> Result<Vec<u8>> {
        if !self.index.locate_all(id, kind).any(|location| self.closure.contains(&location.pack.hash)) {
            return Err(format!("chunk {} is in no pack that the manifest names", id.short()));
        }
        self.chunks.get(id, kind).map_err(|e| e.to_string())
    }
}
