use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use rustix::io::Errno;

use super::sim_fs::Loss;

/// Number of a node.
pub(super) type Ino = u64;

/// The root folder.
pub(super) const ROOT: Ino = 1;

/// The files and folders of a simulated file system: what a program sees, and what a loss of power would leave.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<Ino, Node>,
    next_ino: Ino,
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
    links: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct DirNode {
    pub(super) now: BTreeMap<OsString, Ino>,
    durable: BTreeMap<OsString, Ino>,
    pending: Vec<DirOp>,
}

/// A change of a folder that is not durable yet.
#[derive(Clone, Debug)]
struct DirOp {
    id: u64,
    name: OsString,
    /// What the name stands for now; `None` when it was removed.
    node: Option<Ino>,
    /// The old name of a renamed file goes only after the new one (folder, change) came: a rename never loses the file.
    after: Option<(Ino, u64)>,
    /// A sync failed while this was pending: no later sync stores it.
    spoilt: bool,
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

    /// Whether the change that came with `after` is no longer pending.
    fn is_stored(&self, after: Option<(Ino, u64)>) -> bool {
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

    /// What is there after the process died and the machine went on: everything, and no locks.
    pub(super) fn after_process_death(&self) -> Self {
        let mut tree = self.clone();
        for node in tree.nodes.values_mut() {
            if let Node::File(file) = node {
                file.locked = false;
            }
        }
        tree
    }

    /// What is there after the machine lost power.
    pub(super) fn after_power_loss(&self, loss: Loss) -> Self {
        let mut chance = Chance::new(loss);
        let mut kept = HashSet::new();
        for dir in self.dirs() {
            kept.extend(dir.pending.iter().filter(|op| op.after.is_none() && chance.keeps()).map(|op| op.id));
        }
        for op in self.dirs().flat_map(|dir| &dir.pending) {
            let came = self.is_stored(op.after) || op.after.is_some_and(|(_, id)| kept.contains(&id));
            if op.after.is_some() && came && chance.keeps() {
                kept.insert(op.id);
            }
        }
        let mut left = Self::new();
        left.next_ino = self.next_ino;
        left.nodes.clear();
        let mut reachable = vec![ROOT];
        while let Some(ino) = reachable.pop() {
            if let Some(Node::File(file)) = left.nodes.get_mut(&ino) {
                file.links += 1;
                continue;
            }
            let node = match &self.nodes[&ino] {
                Node::File(file) => {
                    let bytes = chance.contents(file);
                    left.used_bytes += bytes.len() as u64;
                    Node::File(FileNode {
                        now: bytes.clone(),
                        durable: bytes,
                        links: 1,
                        ..FileNode::default()
                    })
                }
                Node::Dir(dir) => {
                    let mut names = dir.durable.clone();
                    dir.pending
                        .iter()
                        .filter(|op| kept.contains(&op.id))
                        .for_each(|op| apply(&mut names, op));
                    reachable.extend(names.values());
                    Node::Dir(DirNode { now: names.clone(), durable: names, pending: Vec::new() })
                }
            };
            left.nodes.insert(ino, node);
        }
        left.used_inodes = left.nodes.len() as u64;
        left
    }

    fn dirs(&self) -> impl Iterator<Item = &DirNode> {
        self.nodes.values().filter_map(|node| match node {
            Node::Dir(dir) => Some(dir),
            Node::File(_) => None,
        })
    }
}

fn apply(names: &mut BTreeMap<OsString, Ino>, op: &DirOp) {
    match op.node {
        Some(ino) => names.insert(op.name.clone(), ino),
        None => names.remove(&op.name),
    };
}

/// Decides what of the unsynced is left.
struct Chance {
    loss: Loss,
    state: u64,
}

impl Chance {
    fn new(loss: Loss) -> Self {
        let seed = if let Loss::Random(seed) = loss { seed } else { 0 };
        Self { loss, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d }
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 16
    }

    fn keeps(&mut self) -> bool {
        match self.loss {
            Loss::DropUnsynced => false,
            Loss::KeepAll => true,
            Loss::Random(_) => self.random().is_multiple_of(2),
        }
    }

    /// What a file holds: what was synced, or for what was not: nothing, all, a part, or zeros for a part.
    fn contents(&mut self, file: &FileNode) -> Arc<Vec<u8>> {
        if file.now == file.durable && !file.spoilt {
            return file.durable.clone();
        }
        match self.loss {
            Loss::DropUnsynced => file.durable.clone(),
            Loss::KeepAll => file.now.clone(),
            Loss::Random(_) => {
                let cut = self.random() as usize % (file.now.len() + 1);
                match self.random() % 4 {
                    0 => file.durable.clone(),
                    1 => file.now.clone(),
                    2 => Arc::new(file.now[..cut].to_vec()),
                    _ => {
                        let mut bytes = file.now.to_vec();
                        bytes[cut..].fill(0);
                        Arc::new(bytes)
                    }
                }
            }
        }
    }
}
