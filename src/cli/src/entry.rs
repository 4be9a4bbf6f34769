//! An entry of a snapshot as it is shown: a line like those of `ls -l`, or an object.

use fardel_format::lines::{Moment, base64};
use fardel_format::tree::{Node, NodeKind};
use serde::Serialize;

use crate::human;

/// An entry for programs; what is not known is left out.
#[derive(Serialize)]
pub struct Entry<'a> {
    /// Its absolute path; control characters stay as they are, what is not UTF-8 is replaced.
    pub path: String,
    /// The path as base64 when it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<NodeKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inconsistent: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// Of the entry at `path`; a folder that is only above a source has no node.
    #[must_use]
    pub fn of(path: &[u8], node: Option<&'a Node>) -> Self {
        let (text, path_b64) = path_for_programs(path);
        let has_size = |node: &&Node| matches!(node.kind, NodeKind::File | NodeKind::Volume);
        Self {
            path: text,
            path_b64,
            kind: Some(node.map_or(NodeKind::Dir, |node| node.kind)),
            mode: node.map(|node| format!("{:04o}", node.mode)),
            uid: node.map(|node| node.uid),
            gid: node.map(|node| node.gid),
            user: node.and_then(|node| node.user.as_deref()),
            group: node.and_then(|node| node.group.as_deref()),
            size: node.filter(has_size).map(|node| node.size),
            mtime: node.map(|node| rfc3339(&node.mtime)),
            link_target: node.and_then(link_target),
            inconsistent: node.and_then(|node| node.inconsistent.as_deref()),
        }
    }
}

/// The path as text, and as base64 when that loses something.
#[must_use]
pub fn path_for_programs(path: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(path) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (String::from_utf8_lossy(path).into_owned(), Some(base64(path))),
    }
}

/// A line like those of `ls -l`, with the whole path.
#[must_use]
pub fn long_line(path: &[u8], node: Option<&Node>) -> String {
    let Some(node) = node else {
        return format!("{:10} {:<17} {:>10} {:16} {}", "d---------", "", "", "", human::shown(path));
    };
    let name = |name: &Option<String>, id: u32| {
        name.as_ref().map_or_else(|| id.to_string(), |name| human::shown(name.as_bytes()))
    };
    let owner = format!("{} {}", name(&node.user, node.uid), name(&node.group, node.gid));
    let size = match (node.kind, node.device) {
        (NodeKind::File | NodeKind::Volume, _) => human::bytes(node.size),
        (_, Some((major, minor))) => format!("{major}, {minor}"),
        _ => String::new(),
    };
    let target = link_target(node)
        .map(|target| format!(" -> {}", human::shown(target.as_bytes())))
        .unwrap_or_default();
    let path = human::shown(path);
    format!("{} {owner:<17} {size:>10} {} {path}{target}", mode(node), human::minute(node.mtime.secs))
}

fn link_target(node: &Node) -> Option<String> {
    let target = if node.kind == NodeKind::Symlink { node.target_bytes().ok() } else { None };
    target.map(|target| String::from_utf8_lossy(&target).into_owned())
}

fn rfc3339(time: &Moment) -> String {
    match jiff::Timestamp::new(time.secs, time.nanos as i32) {
        Ok(moment) => format!("{moment:.9}"),
        // A file may claim any time at all.
        Err(_) => time.to_string(),
    }
}

fn mode(node: &Node) -> String {
    let kind = match node.kind {
        NodeKind::File => '-',
        NodeKind::Dir => 'd',
        NodeKind::Symlink => 'l',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
        NodeKind::Block => 'b',
        NodeKind::Char => 'c',
        NodeKind::Volume => 'V',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = node.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (node.mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => letter.to_ascii_uppercase(),
            (true, true) => letter,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_in_ls() {
        let table = [
            (NodeKind::File, 0o644, "-rw-r--r--"),
            (NodeKind::Dir, 0o1777, "drwxrwxrwt"),
            (NodeKind::File, 0o4755, "-rwsr-xr-x"),
            (NodeKind::File, 0o6644, "-rwSr-Sr--"),
        ];
        for (kind, bits, text) in table {
            let mut node = Node::new(b"x", kind);
            node.mode = bits;
            assert_eq!(mode(&node), text);
        }
    }

    #[test]
    fn names_that_are_not_utf8_are_kept_as_base64() {
        let entry = Entry::of(b"/\xff", None);
        assert_eq!((entry.path.as_str(), entry.path_b64.as_deref()), ("/\u{fffd}", Some("L/8=")));
    }
}
