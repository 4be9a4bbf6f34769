//! Links, pipes, devices and the metadata of folders: what waits for the files of its round.

use fardel_format::tree::{Node, NodeKind};

use super::output::Shared;
use crate::Error;
use crate::target::{Placed, RelPath, Skipped};

/// Everything that waits until the files of this round are complete.
pub enum Later {
    Entry(RelPath, String, Node),
    HardLink { first: RelPath, at: RelPath, shown: String, node: Node },
    Folder(RelPath, String, Node),
}

impl Later {
    /// Does what waited; returns a hard link that must become a copy, because the target has no hard links.
    pub fn carry_out(self, shared: &Shared<'_>) -> Option<(RelPath, String, Node)> {
        let replace = shared.replace;
        let (shown, placed) = match &self {
            Self::Folder(at, shown, node) => {
                let target = shared.target?;
                match shared.with_attributes(node, |attributes| target.set_dir_attributes(at, attributes)) {
                    Ok(warnings) => shared.warn(shown, warnings),
                    Err(error) => shared.failed(shown, &error),
                }
                return None;
            }
            Self::HardLink { first, at, shown, .. } => {
                (shown, shared.target.map(|target| target.hard_link(first, at, replace)))
            }
            Self::Entry(at, shown, node) => {
                let placed = shared.target.map(|target| {
                    shared.with_attributes(node, |attributes| match node.kind {
                        NodeKind::Symlink => {
                            let to = node.target_bytes().map_err(|e| Error::object(shown, e))?;
                            target.symlink(at, &to, attributes, replace)
                        }
                        NodeKind::Fifo => target.fifo(at, attributes, replace),
                        NodeKind::Block | NodeKind::Char => {
                            let device = node.device.ok_or_else(|| {
                                Error::Damaged(format!("{shown}: a device without numbers"))
                            })?;
                            target.device(at, node.kind == NodeKind::Block, device, attributes, replace)
                        }
                        _ => Ok(Placed::Made(Vec::new())),
                    })
                });
                (shown, placed)
            }
        };
        shared.monitor.counters().done(1, 0);
        match placed {
            None => shared.report().others += 1,
            Some(Ok(Placed::Made(warnings))) => {
                shared.report().others += 1;
                shared.warn(shown, warnings);
            }
            Some(Ok(Placed::Skipped(why @ Skipped::Device))) => shared.warn(shown, [why]),
            Some(Ok(Placed::Skipped(why))) => {
                let error = Error::Invalid(why.to_string());
                if let Self::HardLink { at, shown, node, .. } = self {
                    shared.warn(&shown, ["restored as a copy of its own: the target has no hard links"]);
                    return Some((at, shown, node));
                }
                shared.failed(shown, &error);
            }
            Some(Err(error)) => shared.failed(shown, &error),
        }
        None
    }
}
