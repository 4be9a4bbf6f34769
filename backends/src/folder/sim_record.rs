//! Every state that a simulated file system went through, so that one run gives all the crashes within it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sim_fs::{Sim, SimFs};
use super::sim_node::{DirNode, Ino, Node, ROOT, Tree};

/// The file system as it was before one changing call.
#[derive(Clone, Debug)]
pub struct Moment {
    tree: Tree,
    /// What the call was about to write.
    write: Option<(Ino, Arc<Vec<u8>>)>,
}

/// A file as a running program sees it.
#[derive(Clone, Debug)]
pub struct Visible {
    /// Where it lies.
    pub path: PathBuf,
    /// What it holds.
    pub bytes: Arc<Vec<u8>>,
    /// Whether its content and its name survive every loss of power; folders above it are looked at too.
    pub durable: bool,
}

impl Sim {
    /// Notes what is there before a call.
    pub(super) fn note_moment(&mut self) {
        if let Some(moments) = &mut self.moments {
            moments.push(Moment { tree: self.tree.clone(), write: None });
        }
    }

    /// The call that was noted last writes this.
    pub(super) fn note_write(&mut self, ino: Ino, bytes: &[u8]) {
        if let Some(moment) = self.moments.as_mut().and_then(|moments| moments.last_mut()) {
            moment.write = Some((ino, Arc::new(bytes.to_vec())));
        }
    }
}

impl SimFs {
    /// From now on what is there before each changing call is kept for [`SimFs::take_moments`].
    pub fn record(&self) {
        self.sim().moments = Some(Vec::new());
    }

    /// Changing calls since [`SimFs::record`].
    #[must_use]
    pub fn recorded(&self) -> usize {
        self.sim().moments.as_ref().map_or(0, Vec::len)
    }

    /// The file system before each changing call since [`SimFs::record`], and as it is now.
    #[must_use]
    pub fn take_moments(&self) -> Vec<Moment> {
        let mut sim = self.sim();
        let mut moments = sim.moments.take().unwrap_or_default();
        moments.push(Moment { tree: sim.tree.clone(), write: None });
        moments
    }

    /// Whether the system believes that something is stored of which a sync failed: whoever did not see that failure cannot
    /// know, and no sync of theirs stores it.
    #[must_use]
    pub fn has_forgotten(&self) -> bool {
        self.sim().tree.nodes.values().any(|node| match node {
            Node::File(file) => file.spoilt && file.now != file.durable,
            Node::Dir(dir) => dir
                .pending
                .iter()
                .any(|op| op.spoilt && op.node.is_some() && dir.now.get(&op.name) == op.node.as_ref()),
        })
    }

    /// Every file below `folder`, by path.
    #[must_use]
    pub fn visible(&self, folder: &Path) -> Vec<Visible> {
        let sim = self.sim();
        let mut found = Vec::new();
        let mut folders = vec![(PathBuf::from("/"), ROOT, true)];
        while let Some((at, ino, durable)) = folders.pop() {
            let Node::Dir(dir) = sim.tree.node(ino) else { continue };
            for (name, &below) in &dir.now {
                let path = at.join(name);
                let durable = durable && dir.stores(name, below);
                match sim.tree.node(below) {
                    Node::Dir(_) if path.starts_with(folder) || folder.starts_with(&path) => {
                        folders.push((path, below, durable));
                    }
                    Node::File(file) if path.starts_with(folder) => {
                        let durable = durable && file.now == file.durable;
                        found.push(Visible { path, bytes: file.now.clone(), durable });
                    }
                    Node::Dir(_) | Node::File(_) => {}
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }
}

impl DirNode {
    fn stores(&self, name: &std::ffi::OsStr, ino: Ino) -> bool {
        self.durable.get(name) == Some(&ino) && self.pending.iter().all(|op| op.name != *name)
    }
}

impl Moment {
    /// The file system, without faults, as the next process finds it when this one died before the call.
    #[must_use]
    pub fn file_system(&self) -> SimFs {
        SimFs::of_tree(self.tree.after_process_death())
    }

    /// How many bytes the call was about to write.
    #[must_use]
    pub fn writing(&self) -> usize {
        self.write.as_ref().map_or(0, |(_, bytes)| bytes.len())
    }

    /// The same, when only `len` bytes of the write landed.
    #[must_use]
    pub fn torn(&self, len: usize) -> Self {
        let mut tree = self.tree.clone();
        if let Some((ino, bytes)) = &self.write {
            // The file was there when the call was made.
            let _ = tree.append(*ino, &bytes[..len.min(bytes.len())]);
        }
        Self { tree, write: None }
    }
}
