//! A folder as a source.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::beneath::Beneath;
use crate::error::{Error, ErrorKind, Result};
use crate::meta::{FileId, Meta};
use crate::reader::FileReader;
use crate::walk::{Walk, WalkOptions};
use crate::xattr::{self, Xattr};

/// A handle on an inode that opens nothing: devices, pipes and unreadable files are safe with it.
const PEEK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open root folder. All of it can be used from several threads at once.
#[derive(Debug)]
pub struct Tree {
    root: Arc<Beneath>,
}

impl Tree {
    /// Opens a folder; symbolic links in `root` itself are followed, none beneath it ever is.
    pub fn open(root: &Path) -> Result<Tree> {
        Ok(Tree { root: Arc::new(Beneath::open(root)?) })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The metadata of the root itself, as it is now.
    pub fn root_meta(&self) -> Result<Meta> {
        Meta::of_fd(self.root.fd()).map_err(|e| Error::seen(self.path(), "cannot look at it", e))
    }

    /// Starts to list the tree on a thread of its own. Several walks may run at once.
    pub fn walk(&self, options: WalkOptions) -> Walk {
        Walk::start(Arc::clone(&self.root), options)
    }

    /// Opens a regular file that a walk has reported.
    ///
    /// It is the inode that `meta` names and a regular file, or the error says [`ErrorKind::Vanished`] or
    /// [`ErrorKind::Changed`]; a symbolic link anywhere in its path counts as a change. Opening never blocks, and
    /// the access time is left alone where that is permitted to us.
    pub fn open_file(&self, path: &[u8], meta: &Meta) -> Result<FileReader> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fail = |errno| Error::seen(self.root.full(path), "cannot open it", errno);
        let fd = self.root.open_to_read(path, flags, meta).map_err(fail)?;
        let now = Meta::of_fd(&fd).map_err(fail)?;
        if !now.is_file() || now.id() != meta.id() {
            return Err(self.replaced(path));
        }
        Ok(FileReader::new(fd, self.root.full(path), now))
    }

    /// The extended attributes of anything that a walk has reported (empty `path`: the root), sorted by name.
    ///
    /// ACLs are among them (`system.posix_acl_access`). A file system without attributes gives none. For a regular
    /// file that is read anyway, [`FileReader::xattrs`] is cheaper.
    pub fn xattrs(&self, path: &[u8], meta: &Meta) -> Result<Vec<Xattr>> {
        let fail = |errno| Error::seen(self.root.full(path), "cannot read its extended attributes", errno);
        let fd = self.root.open_at(path, PEEK).map_err(fail)?;
        let stat = rustix::fs::fstat(&fd).map_err(fail)?;
        if FileId::from_stat(&stat) != meta.id() {
            return Err(self.replaced(path));
        }
        xattr::of_path_fd(&fd).map_err(|errno| match errno {
            Errno::NOENT => Error::new(
                ErrorKind::Io,
                self.root.full(path),
                "cannot read its extended attributes: /proc is not mounted",
            ),
            errno => fail(errno),
        })
    }

    /// The metadata of one path as it is now (empty: the root), for a second try after [`ErrorKind::Changed`].
    pub fn look(&self, path: &[u8]) -> Result<Meta> {
        let fail = |errno| Error::seen(self.root.full(path), "cannot look at it", errno);
        let fd = self.root.open_at(path, PEEK).map_err(fail)?;
        let stat = rustix::fs::fstat(&fd).map_err(fail)?;
        let link = || rustix::fs::readlinkat(&fd, c"", Vec::new()).map(|target| target.into_bytes());
        Meta::from_stat(&stat, link).map_err(fail)
    }

    fn replaced(&self, path: &[u8]) -> Error {
        let what = "another file has taken its place since the folder was listed";
        Error::new(ErrorKind::Changed, self.root.full(path), what)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests move folders about on purpose")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::event::{Entry, Event};

    fn file(tree: &Tree) -> Entry {
        tree.walk(WalkOptions::default())
            .find_map(|event| match event {
                Event::Entry(entry) if entry.path == b"sub/file" => Some(entry),
                _ => None,
            })
            .unwrap()
    }

    /// Every way to open must refuse what took the place of a file that was listed.
    #[test]
    fn what_was_swapped_is_refused() {
        for fallback in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let at = |path: &str| dir.path().join(path);
            fs::create_dir_all(at("root/sub")).unwrap();
            fs::create_dir(at("outside")).unwrap();
            fs::write(at("root/sub/file"), "mine").unwrap();
            fs::write(at("outside/file"), "secret").unwrap();
            let tree = Tree::open(&at("root")).unwrap();
            if fallback {
                tree.root.forget_openat2();
            }
            let entry = file(&tree);
            let kind = || {
                let xattrs = tree.xattrs(&entry.path, &entry.meta).map(drop).map_err(|e| e.kind());
                let opened = tree.open_file(&entry.path, &entry.meta).map(drop).map_err(|e| e.kind());
                assert_eq!(xattrs, opened);
                opened
            };
            assert_eq!(kind(), Ok(()));

            fs::rename(at("root/sub"), at("root/moved")).unwrap();
            assert_eq!(kind(), Err(ErrorKind::Vanished));
            symlink(at("outside"), at("root/sub")).unwrap();
            assert_eq!(kind(), Err(ErrorKind::Changed));
            fs::remove_file(at("root/sub")).unwrap();
            symlink("moved", at("root/sub")).unwrap();
            assert_eq!(kind(), Err(ErrorKind::Changed));
            fs::remove_file(at("root/sub")).unwrap();
            fs::write(at("root/sub"), "a file").unwrap();
            assert_eq!(kind(), Err(ErrorKind::Changed));
            fs::remove_file(at("root/sub")).unwrap();
            fs::rename(at("root/moved"), at("root/sub")).unwrap();
            assert_eq!(kind(), Ok(()));

            fs::rename(at("root/sub/file"), at("root/sub/old")).unwrap();
            fs::write(at("root/sub/file"), "another").unwrap();
            assert_eq!(kind(), Err(ErrorKind::Changed));
            fs::remove_file(at("root/sub/file")).unwrap();
            symlink("old", at("root/sub/file")).unwrap();
            assert!(tree.open_file(&entry.path, &entry.meta).is_err());
            fs::remove_file(at("root/sub/file")).unwrap();
            // A pipe without a writer: opening it must not wait for one.
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, at("root/sub/file"), rustix::fs::FileType::Fifo, mode, 0)
                .unwrap();
            assert_eq!(kind(), Err(ErrorKind::Changed));
            // A second look finds what is there now.
            assert_eq!(tree.look(&entry.path).unwrap().kind, crate::Kind::Fifo);
            assert_eq!(tree.look(b"../outside").unwrap_err().kind(), ErrorKind::BadPath);
        }
    }

    #[test]
    fn a_root_must_be_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "").unwrap();
        let kind = |path: &Path| Tree::open(path).map(drop).map_err(|e| e.kind());
        assert_eq!(kind(&dir.path().join("f")), Err(ErrorKind::NotAFolder));
        assert_eq!(kind(&dir.path().join("none")), Err(ErrorKind::NotFound));
        symlink(dir.path(), dir.path().join("link")).unwrap();
        let tree = Tree::open(&dir.path().join("link")).unwrap();
        assert_eq!(tree.look(b"").unwrap().id(), tree.root_meta().unwrap().id());
    }
}
