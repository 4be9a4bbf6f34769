use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use rustix::io::Errno;

/// Number of a node.
pub(super) type Ino = u64;

/// The root folder.
pub(super) const ROOT: Ino = 1;

/// The files and folders of a simulated file system: what a program sees, and what a loss of power would leave.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: BTreeMap<Ino, Node>,
    pub(super) next_ino: Ino,
    next_op: u64,
    pub(super) used_bytes: u64,
    pub(super) used_inodes: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    pub(super) now: Arc<Vec<u8>>,
    pub(super) durable: Arc<Vec<u8>>,
    pub(super) locked: bool,
    /// A sync failed: the system believes that all is stored, and syncs no more.
    pub(super) spoilt: bool,
    pub(super) links: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct DirNode {
    pub(super) now: BTreeMap<OsString, Ino>,
    pub(super) durable: BTreeMap<OsString, Ino>,
    pub(super) pending: Vec<DirOp>,
}

/// A change of a folder that is not durable yet.
#[derive(Clone, Debug)]
pub(super) struct DirOp {
    pub(super) id: u64,
    pub(super) name: OsString,
    /// What the name stands for now; `None` when it was removed.
    pub(super) node: Option<Ino>,
    /// The old name of a renamed file goes only after the new one (folder, change) came: a rename never loses the file.
    pub(super) after: Option<(Ino, u64)>,
    /// A sync failed while this was pending: no later sync stores it.
    pub(super) spoilt: bool,
}

pub(super) fn errno(errno: Errno) -> io::Error {
    errno.into()
}

impl Tree {
    pub(super) fn new() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]);
        Self { nodes, next_ino: ROOT + 1, next_op: 0, used_bytes: 0, used_inodes: 1 }
    }

    pub(super) fn dir(&mut self, ino: Ino) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(&ino) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(errno(Errno::NOTDIR)),
            None => Err(errno(Errno::NOENT)),
        }
    }

    pub(super) fn file(&mut self, ino: Ino) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(errno(Errno::ISDIR)),
            None => Err(errno(Errno::NOENT)),
        }
    }

    pub(super) fn node(&self, ino: Ino) -> &Node {
        &self.nodes[&ino]
    }

    /// The node at an absolute path.
    pub(super) fn find(&mut self, path: &Path) -> io::Result<Ino> {
        let mut ino = ROOT;
        for component in path.components() {
            if let Component::Normal(name) = component {
                ino = *self.dir(ino)?.now.get(name).ok_or_else(|| errno(Errno::NOENT))?;
            }
        }
        Ok(ino)
    }

    /// The folder that a path lies in, and the name there.
    pub(super) fn place<'a>(&mut self, path: &'a Path) -> io::Result<(Ino, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(errno(Errno::INVAL));
        };
        let folder = self.find(parent)?;
        self.dir(folder)?;
        Ok((folder, name))
    }

    fn change(
        &mut self,
        folder: Ino,
        name: &OsStr,
        node: Option<Ino>,
        after: Option<(Ino, u64)>,
    ) -> (Ino, u64) {
        let id = self.next_op;
        self.next_op += 1;
        if let Ok(dir) = self.dir(folder) {
            match node {
                Some(ino) => dir.now.insert(name.to_owned(), ino),
                None => dir.now.remove(name),
            };
            dir.pending.push(DirOp { id, name: name.to_owned(), node, after, spoilt: false });
        }
        (folder, id)
    }

    /// Makes a node under a free name.
    pub(super) fn make(&mut self, path: &Path, node: Node) -> io::Result<Ino> {
        let (folder, name) = self.place(path)?;
        if self.dir(folder)?.now.contains_key(name) {
            return Err(errno(Errno::EXIST));
        }
        let ino = self.next_ino;
        self.next_ino += 1;
        self.nodes.insert(ino, node);
        self.used_inodes += 1;
        if let Ok(file) = self.file(ino) {
            file.links = 1;
        }
        self.change(folder, name, Some(ino), None);
        Ok(ino)
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ino = self.find(from)?;
        let (folder, name) = self.place(to)?;
        if self.dir(folder)?.now.contains_key(name) {
            return Err(errno(Errno::EXIST));
        }
        self.file(ino)?.links += 1;
        self.change(folder, name, Some(ino), None);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let ino = self.find(from)?;
        let (old_folder, old_name) = self.place(from)?;
        let (folder, name) = self.place(to)?;
        match self.dir(folder)?.now.get(name).copied() {
            Some(_) if !replace => return Err(errno(Errno::EXIST)),
            Some(there) if there == ino => return Ok(()),
            Some(there) => self.unlinked(there)?,
            None => {}
        }
        let came = self.change(folder, name, Some(ino), None);
        self.change(old_folder, old_name, None, Some(came));
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.find(path)?;
        self.unlinked(ino)?;
        let (folder, name) = self.place(path)?;
        self.change(folder, name, None, None);
        Ok(())
    }

    fn unlinked(&mut self, ino: Ino) -> io::Result<()> {
        let file = self.file(ino)?;
        file.links -= 1;
        if file.links == 0 {
            let len = file.now.len() as u64;
            self.used_bytes -= len;
            self.used_inodes -= 1;
        }
        Ok(())
    }

    pub(super) fn rmdir(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.find(path)?;
        if !self.dir(ino)?.now.is_empty() {
            return Err(errno(Errno::NOTEMPTY));
        }
        let (folder, name) = self.place(path)?;
        self.used_inodes -= 1;
        self.change(folder, name, None, None);
        Ok(())
    }

    pub(super) fn append(&mut self, ino: Ino, bytes: &[u8]) -> io::Result<()> {
        let file = self.file(ino)?;
        Arc::make_mut(&mut file.now).extend_from_slice(bytes);
        if file.links > 0 {
            self.used_bytes += bytes.len() as u64;
        }
        Ok(())
    }

    pub(super) fn cut(&mut self, ino: Ino, len: usize) -> io::Result<()> {
        let file = self.file(ino)?;
        let less = file.now.len().saturating_sub(len);
        Arc::make_mut(&mut file.now).truncate(len);
        if file.links > 0 {
            self.used_bytes -= less as u64;
        }
        Ok(())
    }

    /// Whether the change that came with `after` is no longer pending.
    pub(super) fn is_stored(&self, after: Option<(Ino, u64)>) -> bool {
        after.is_none_or(|(folder, id)| match &self.nodes[&folder] {
            Node::Dir(dir) => dir.pending.iter().all(|op| op.id != id),
            Node::File(_) => true,
        })
    }

    pub(super) fn sync_dir(&mut self, ino: Ino) -> io::Result<()> {
        let pending = std::mem::take(&mut self.dir(ino)?.pending);
        let mut kept = Vec::new();
        for op in pending {
            // A rename inside one folder: what came is stored by this very sync.
            let after = op.after.filter(|(folder, _)| *folder != ino);
            if op.spoilt || !self.is_stored(after) {
                kept.push(op);
            } else {
                // What was done to this name before is past, stored or not.
                kept.retain(|before: &DirOp| before.name != op.name);
                apply(&mut self.dir(ino)?.durable, &op);
            }
        }
        self.dir(ino)?.pending = kept;
        Ok(())
    }

    /// A sync of a folder failed: what was pending stays so for ever.
    pub(super) fn spoil_dir(&mut self, ino: Ino) -> io::Result<()> {
        self.dir(ino)?.pending.iter_mut().for_each(|op| op.spoilt = true);
        Ok(())
    }

    pub(super) fn sync_all(&mut self) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) if !file.spoilt => file.durable = file.now.clone(),
                Node::File(_) => {}
                Node::Dir(dir) => {
                    dir.durable.clone_from(&dir.now);
                    dir.pending.clear();
                }
            }
        }
    }

    pub(super) fn dirs(&self) -> impl Iterator<Item = &DirNode> {
        self.nodes.values().filter_map(|node| match node {
            Node::Dir(dir) => Some(dir),
            Node::File(_) => None,
        })
    }
}

pub(super) fn apply(names: &mut BTreeMap<OsString, Ino>, op: &DirOp) {
    match op.node {
        Some(ino) => names.insert(op.name.clone(), ino),
        None => names.remove(&op.name),
    };
}
