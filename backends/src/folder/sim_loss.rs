//! What a crash leaves of a simulated file system, in every way that POSIX allows.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::sim_node::{DirNode, FileNode, Node, ROOT, Tree, apply};

/// What a loss of power leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    DropUnsynced,
    /// Everything.
    KeepAll,
    /// Some changes and not others; of unsynced contents nothing, all, a part, or zeros in place of a part.
    Random(u64),
    /// One of all ways, by its number below [`super::SimFs::losses`]; unsynced contents are torn at sectors and
    /// a byte beside either end. The first is [`Loss::DropUnsynced`], the last [`Loss::KeepAll`].
    Nth(u64),
}

/// What a disk writes at once, in bytes.
const SECTOR: usize = 512;

/// Lengths at which a content of `len` bytes is torn by [`Loss::Nth`]: at each sector, and a byte beside either end.
fn cuts(len: usize) -> Vec<usize> {
    let cuts: BTreeSet<usize> =
        [1, len.saturating_sub(1)].into_iter().chain((SECTOR..len).step_by(SECTOR)).collect();
    cuts.into_iter().filter(|cut| (1..len).contains(cut)).collect()
}

impl FileNode {
    fn is_dirty(&self) -> bool {
        self.now != self.durable
    }

    /// In how many ways [`Loss::Nth`] can leave the content: as synced, torn, torn and zeros behind, whole.
    fn ways(&self) -> u64 {
        if self.is_dirty() { 2 + 2 * cuts(self.now.len()).len() as u64 } else { 1 }
    }
}

impl Tree {
    /// In how many ways a loss of power can leave this, some of them the same; [`u64::MAX`] for more.
    pub(super) fn losses(&self) -> u64 {
        let pending = self.dirs().flat_map(|dir| &dir.pending);
        let mut files: HashSet<_> = self.dirs().flat_map(|dir| dir.durable.values().copied()).collect();
        files.extend(self.dirs().flat_map(|dir| &dir.pending).filter_map(|op| op.node));
        let contents = files.iter().map(|ino| match &self.nodes[ino] {
            Node::File(file) => file.ways(),
            Node::Dir(_) => 1,
        });
        pending.map(|_| 2).chain(contents).fold(1, u64::saturating_mul)
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
            if op.after.is_some() && chance.keeps() && came {
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
}

/// Decides what of the unsynced is left.
struct Chance {
    loss: Loss,
    state: u64,
}

impl Chance {
    fn new(loss: Loss) -> Self {
        let state = match loss {
            Loss::Random(seed) => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d,
            Loss::Nth(number) => number,
            Loss::DropUnsynced | Loss::KeepAll => 0,
        };
        Self { loss, state }
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 16
    }

    /// The next digit of the number of the way.
    fn digit(&mut self, base: u64) -> u64 {
        let digit = self.state % base;
        self.state /= base;
        digit
    }

    fn keeps(&mut self) -> bool {
        match self.loss {
            Loss::DropUnsynced => false,
            Loss::KeepAll => true,
            Loss::Random(_) => self.random().is_multiple_of(2),
            Loss::Nth(_) => self.digit(2) == 1,
        }
    }

    /// What a file holds: what was synced, or for what was not: nothing, all, a part, or zeros for a part.
    fn contents(&mut self, file: &FileNode) -> Arc<Vec<u8>> {
        if !file.is_dirty() {
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
                    2 => torn(file, cut, false),
                    _ => torn(file, cut, true),
                }
            }
            Loss::Nth(_) => {
                let ways = file.ways();
                let way = self.digit(ways);
                if way == 0 {
                    return file.durable.clone();
                }
                match cuts(file.now.len()).get((way as usize - 1) / 2) {
                    Some(cut) => torn(file, *cut, way.is_multiple_of(2)),
                    None => file.now.clone(),
                }
            }
        }
    }
}

fn torn(file: &FileNode, cut: usize, zeros: bool) -> Arc<Vec<u8>> {
    let mut bytes = file.now[..cut].to_vec();
    if zeros {
        bytes.resize(file.now.len(), 0);
    }
    Arc::new(bytes)
}
