//! Metadata as the file system gives it, to entries as the format keeps them.

use fardel_format::lines::Moment;
use fardel_format::tree::{Node, NodeKind, Xattr};
use fardel_source::{Kind, Meta, Owners, Time};

/// An entry without content.
pub fn node(name: &[u8], meta: &Meta, owners: &Owners) -> Node {
    let mut node = Node::new(name, NodeKind::File);
    match &meta.kind {
        Kind::File => node.size = meta.size,
        Kind::Dir => node.kind = NodeKind::Dir,
        Kind::Symlink { target } => {
            node.kind = NodeKind::Symlink;
            node.set_target(target);
        }
        Kind::Fifo => node.kind = NodeKind::Fifo,
        Kind::Socket => node.kind = NodeKind::Socket,
        Kind::BlockDevice { major, minor } => {
            node.kind = NodeKind::Block;
            node.device = Some((*major, *minor));
        }
        Kind::CharDevice { major, minor } => {
            node.kind = NodeKind::Char;
            node.device = Some((*major, *minor));
        }
    }
    node.mode = meta.mode;
    node.uid = meta.uid;
    node.gid = meta.gid;
    node.user = owners.user(meta.uid).map(str::to_owned);
    node.group = owners.group(meta.gid).map(str::to_owned);
    node.mtime = moment(meta.mtime);
    node.ctime = moment(meta.ctime);
    node.inode = meta.inode;
    node.dev = meta.dev;
    node.links = meta.links;
    node
}

/// The same moment.
pub fn moment(time: Time) -> Moment {
    Moment { secs: time.secs, nanos: time.nanos }
}

/// The same attributes; a name that is not UTF-8 cannot be kept and is told.
pub fn xattrs(from: Vec<fardel_source::Xattr>, mut lost: impl FnMut(&[u8])) -> Vec<Xattr> {
    let mut kept = Vec::with_capacity(from.len());
    for fardel_source::Xattr { name, value } in from {
        match String::from_utf8(name) {
            Ok(name) => kept.push(Xattr { name, value }),
            Err(error) => lost(error.as_bytes()),
        }
    }
    kept
}
