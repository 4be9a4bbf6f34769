//! Where each file that has several hard links was restored first.
//!
//! Paths go to a file without a name; memory holds 72 bytes or so for each file whose links are not all restored yet. When even
//! that is too much, further files are restored once for each link, and the report says so.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fardel_format::tree::Node;

use crate::target::RelPath;

/// Bytes that an entry of the table costs.
const COST: u64 = 72;

struct First {
    at: u64,
    len: u32,
    /// Links that are still to come.
    left: u32,
    /// Tells another file that got the same number while the backup ran.
    content: u64,
}

/// What to do with a file.
pub enum Link {
    /// It has one name, or this is the first of them.
    Restore,
    /// It was restored here before.
    To(RelPath),
    /// It has other names, but there is no room to remember where.
    Untracked,
}

/// The table.
pub struct Links {
    firsts: HashMap<(u64, u64), First>,
    paths: File,
    end: u64,
    max: usize,
}

impl Links {
    /// An empty table that takes up to `memory` bytes; paths go to a file in `folder`.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn new(folder: &Path, memory: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let name = folder.join(format!("links-{}", fardel_format::ids::Nonce::random()));
        let paths = File::options().read(true).write(true).create_new(true).open(&name)?;
        std::fs::remove_file(&name)?;
        Ok(Self { firsts: HashMap::new(), paths, end: 0, max: (memory / COST) as usize })
    }

    /// Looks a file up, and remembers it if it is the first of its links.
    ///
    /// # Errors
    /// When the file of paths fails.
    pub fn find(&mut self, node: &Node, at: &RelPath) -> io::Result<Link> {
        if node.links < 2 {
            return Ok(Link::Restore);
        }
        let id = (node.dev, node.inode);
        let content = fingerprint(node);
        if self.firsts.get(&id).is_some_and(|first| first.content != content) {
            return Ok(Link::Restore);
        }
        if let Some(first) = self.firsts.get_mut(&id) {
            let mut path = vec![0; first.len as usize];
            self.paths.read_exact_at(&mut path, first.at)?;
            first.left -= 1;
            if first.left == 0 {
                self.firsts.remove(&id);
            }
            let path = RelPath::new(path.split(|&b| b == b'/')).map_err(io::Error::other)?;
            return Ok(Link::To(path));
        }
        if self.firsts.len() >= self.max {
            return Ok(Link::Untracked);
        }
        let path = at.as_bytes();
        self.paths.write_all_at(path, self.end)?;
        let left = u32::try_from(node.links - 1).unwrap_or(u32::MAX);
        self.firsts.insert(id, First { at: self.end, len: path.len() as u32, left, content });
        self.end += path.len() as u64;
        Ok(Link::Restore)
    }
}

/// Says whether two entries are of the same bytes; a chance of one in 2^64 that they only seem so.
fn fingerprint(node: &Node) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&node.size.to_le_bytes());
    for line in node.content.iter().flat_map(|rope| &rope.lines) {
        hasher.update(line.as_bytes());
    }
    let hash = hasher.finalize();
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use fardel_format::tree::NodeKind;

    use super::*;

    fn node(inode: u64, links: u64) -> Node {
        Node { inode, links, ..Node::new(b"x", NodeKind::File) }
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text.split('/').map(str::as_bytes)).unwrap()
    }

    #[test]
    fn later_names_point_at_the_first_and_are_then_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut links = Links::new(folder.path(), 1 << 20).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file of paths has no name");
        assert!(matches!(links.find(&node(1, 1), &path("single")).unwrap(), Link::Restore));
        assert!(matches!(links.find(&node(2, 3), &path("a/first")).unwrap(), Link::Restore));
        assert!(matches!(links.find(&node(3, 2), &path("other")).unwrap(), Link::Restore));
        for name in ["b", "c"] {
            assert!(
                matches!(links.find(&node(2, 3), &path(name)).unwrap(), Link::To(p) if p == path("a/first"))
            );
        }
        // All three names are there: a fourth file of that number is another one.
        assert!(matches!(links.find(&node(2, 3), &path("d")).unwrap(), Link::Restore));
        assert!(matches!(links.find(&node(3, 2), &path("e")).unwrap(), Link::To(p) if p == path("other")));
    }

    #[test]
    fn a_number_that_was_given_to_another_file_links_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut links = Links::new(folder.path(), 1 << 20).unwrap();
        let other = Node { size: 5, ..node(2, 2) };
        assert!(matches!(links.find(&node(2, 2), &path("a")).unwrap(), Link::Restore));
        assert!(matches!(links.find(&other, &path("b")).unwrap(), Link::Restore));
        assert!(matches!(links.find(&node(2, 2), &path("c")).unwrap(), Link::To(p) if p == path("a")));
    }

    #[test]
    fn without_room_nothing_is_invented() {
        let folder = tempfile::tempdir().unwrap();
        let mut links = Links::new(folder.path(), COST).unwrap();
        assert!(matches!(links.find(&node(1, 2), &path("a")).unwrap(), Link::Restore));
        assert!(matches!(links.find(&node(2, 2), &path("b")).unwrap(), Link::Untracked));
        assert!(matches!(links.find(&node(1, 2), &path("c")).unwrap(), Link::To(p) if p == path("a")));
    }
}
