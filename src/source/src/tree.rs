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

    #[cfg(test)]
    pub(crate) fn forget_openat2(&self) {
        self.root.forget_openat2();
    }
}
