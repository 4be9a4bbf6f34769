//! The walk itself: depth first with a stack of its own, one `fstatat` an entry, few open folders.
//!
//! 1. List a folder, sort its names, take them in turn.
//! 2. Look at a name from its folder's descriptor. Gone: nothing to report.
//! 3. A folder that the options do not leave out is opened, and must be what was looked at; else look again.
//! 4. It becomes the top of the stack. The descriptor that is now `OPEN` levels up is closed.
//! 5. At its end its parent is on top again. When the parent was closed, it is found by `..` or else by its path,
//!    and must be the same inode; else what is left of it is reported as failed.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use crate::beneath::{Beneath, LIST};
use crate::cachedir;
use crate::error::{Error, ErrorKind};
use crate::event::{Entry, Event, ExcludedBy};
use crate::meta::{FileId, Meta};
use crate::names::Names;
use crate::walk::{Outbox, Stopped, WalkOptions};

/// Folders held open at once.
const OPEN: usize = 64;
/// How often a name is looked at that turns into something else each time.
const LOOKS: usize = 8;
/// Buffer for getdents.
const LISTING: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Walker {
    root: Arc<Beneath>,
    options: WalkOptions,
    out: Outbox,
    /// Path of what is looked at; the path of each folder on the stack is a prefix of it.
    path: Vec<u8>,
    stack: Vec<Folder>,
    scratch: Vec<u8>,
    root_dev: u64,
}

/// A folder on the stack.
#[derive(Debug)]
struct Folder {
    /// `None` when closed to hold few folders open.
    fd: Option<OwnedFd>,
    id: FileId,
    names: Names,
    next: usize,
    path_length: usize,
}

/// What became of a look at a name.
enum Look {
    Done,
    Again,
}

impl Walker {
    pub(crate) fn new(root: Arc<Beneath>, options: WalkOptions, out: Outbox) -> Self {
        let scratch = Vec::with_capacity(LISTING);
        Walker { root, options, out, path: Vec::new(), stack: Vec::new(), scratch, root_dev: 0 }
    }

    pub(crate) fn run(mut self) {
        let Ok(()) = self.walk().and_then(|()| self.out.flush()) else { return };
    }

    fn walk(&mut self) -> Result<(), Stopped> {
        self.start()?;
        while let Some(top) = self.stack.last() {
            if self.out.stopped() {
                return Err(Stopped);
            }
            if top.next < top.names.len() { self.step()? } else { self.leave()? }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), Stopped> {
        let opened = Meta::of_fd(self.root.fd())
            .and_then(|meta| Ok((self.root.open_name(self.root.fd(), c".", LIST, meta.uid)?, meta)));
        match opened {
            Ok((_, meta)) if self.options.never.contains(&meta.id()) => self.excluded(ExcludedBy::Never),
            Ok((fd, meta)) => {
                self.root_dev = meta.dev;
                self.descend(fd, meta.id(), false)
            }
            Err(errno) => self.failed("cannot list the folder", errno),
        }
    }

    /// Takes the next name of the folder on top.
    fn step(&mut self) -> Result<(), Stopped> {
        let top = self.stack.last_mut().expect("called with a folder on top");
        let place = top.next;
        top.next += 1;
        self.path.truncate(top.path_length);
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(top.names.get(place).to_bytes());
        for _ in 0..LOOKS {
            if let Look::Done = self.look(place)? {
                return Ok(());
            }
        }
        let what = "it is replaced again and again, faster than it can be looked at";
        let error = Error::new(ErrorKind::Changed, self.root.full(&self.path), what);
        self.out.put(Event::Failed { path: self.path.clone(), error })
    }

    fn look(&mut self, place: usize) -> Result<Look, Stopped> {
        let (folder, name) = self.top(place);
        let how = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let stat = match rustix::fs::statat(folder, name, how) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Look::Done),
            Err(Errno::INTR) => return Ok(Look::Again),
            Err(errno) => return self.failed("cannot look at it", errno).map(|()| Look::Done),
        };
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if self.options.excludes.matches(&self.path, is_dir) {
            return self.excluded(ExcludedBy::Pattern).map(|()| Look::Done);
        }
        if is_dir { self.look_at_folder(place, &stat) } else { self.look_at_file(place, &stat) }
    }

    fn look_at_file(&mut self, place: usize, stat: &Stat) -> Result<Look, Stopped> {
        let (folder, name) = self.top(place);
        let link = || rustix::fs::readlinkat(folder, name, Vec::new()).map(|target| target.into_bytes());
        match Meta::from_stat(stat, link) {
            // Gone, or no longer a symbolic link.
            Err(Errno::NOENT | Errno::INVAL) => Ok(Look::Again),
            Err(errno) => self.failed("cannot look at it", errno).map(|()| Look::Done),
            Ok(meta)
                if meta.is_file()
                    && self.options.exclude_larger_than.is_some_and(|most| meta.size > most) =>
            {
                self.excluded(ExcludedBy::Larger).map(|()| Look::Done)
            }
            Ok(meta) => {
                let entry = Entry { path: self.path.clone(), meta };
                self.out.put(Event::Entry(entry)).map(|()| Look::Done)
            }
        }
    }

    fn look_at_folder(&mut self, place: usize, stat: &Stat) -> Result<Look, Stopped> {
        let id = FileId::from_stat(stat);
        if self.options.never.contains(&id) {
            return self.excluded(ExcludedBy::Never).map(|()| Look::Done);
        }
        if self.options.one_file_system && id.dev != self.root_dev {
            self.enter(stat)?;
            self.excluded(ExcludedBy::OtherFilesystem)?;
            return self.out.put(Event::Leave).map(|()| Look::Done);
        }
        let (folder, name) = self.top(place);
        let opened = self
            .root
            .open_name(folder, name, LIST, stat.st_uid)
            .and_then(|fd| Ok((rustix::fs::fstat(&fd)?, fd)));
        match opened {
            Ok((now, fd)) if FileId::from_stat(&now) == id => {
                self.enter(&now)?;
                self.descend(fd, id, self.options.exclude_caches).map(|()| Look::Done)
            }
            // Another folder by now (or one that opening has mounted), no folder, or gone.
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INTR) => Ok(Look::Again),
            Err(errno) => {
                self.enter(stat)?;
                self.failed("cannot list the folder", errno)?;
                self.out.put(Event::Leave).map(|()| Look::Done)
            }
        }
    }

    /// Lists the folder that `path` leads to and puts it on top.
    fn descend(&mut self, fd: OwnedFd, id: FileId, caches: bool) -> Result<(), Stopped> {
        let out = &self.out;
        let (mut names, error) = Names::read(&fd, &mut self.scratch, || out.stopped());
        if let Some(errno) = error {
            self.failed("cannot list the folder to its end", errno)?;
        }
        if caches && names.find(cachedir::TAG).is_some() && cachedir::is_tagged(&fd) {
            names.keep_only(cachedir::TAG);
            self.excluded(ExcludedBy::CacheFolder)?;
        }
        self.stack.push(Folder { fd: Some(fd), id, names, next: 0, path_length: self.path.len() });
        if let Some(above) = self.stack.len().checked_sub(OPEN + 1) {
            self.stack[above].fd = None;
        }
        Ok(())
    }

    /// Takes the folder on top away and makes sure that the one below it is open.
    fn leave(&mut self) -> Result<(), Stopped> {
        let done = self.stack.pop().expect("called with a folder on top");
        let Some(parent) = self.stack.last_mut() else { return Ok(()) };
        self.out.put(Event::Leave)?;
        if parent.fd.is_some() {
            return Ok(());
        }
        self.path.truncate(parent.path_length);
        match reopen(&self.root, done.fd.as_ref(), parent.id, &self.path) {
            Ok(fd) => parent.fd = Some(fd),
            Err(error) if parent.next < parent.names.len() => {
                parent.next = parent.names.len();
                self.out.put(Event::Failed { path: self.path.clone(), error })?;
            }
            // Nothing is left to be done in it.
            Err(_) => {}
        }
        Ok(())
    }

    fn top(&self, place: usize) -> (&OwnedFd, &CStr) {
        let top = self.stack.last().expect("called with a folder on top");
        (top.fd.as_ref().expect("the folder on top is open"), top.names.get(place))
    }

    fn enter(&mut self, stat: &Stat) -> Result<(), Stopped> {
        let meta = Meta::from_stat(stat, || Ok(Vec::new())).expect("a folder");
        self.out.put(Event::Enter(Entry { path: self.path.clone(), meta }))
    }

    fn excluded(&mut self, why: ExcludedBy) -> Result<(), Stopped> {
        self.out.put(Event::Excluded { path: self.path.clone(), why })
    }

    fn failed(&mut self, what: &str, errno: Errno) -> Result<(), Stopped> {
        let error = Error::seen(self.root.full(&self.path), what, errno);
        self.out.put(Event::Failed { path: self.path.clone(), error })
    }
}

/// Opens a folder again that was closed on the way down, and makes sure that it is the same one.
fn reopen(root: &Beneath, child: Option<&OwnedFd>, id: FileId, path: &[u8]) -> Result<OwnedFd, Error> {
    let same = |fd: &OwnedFd| rustix::fs::fstat(fd).is_ok_and(|stat| FileId::from_stat(&stat) == id);
    let up = child.and_then(|fd| rustix::fs::openat(fd, c"..", LIST, Mode::empty()).ok());
    if let Some(fd) = up.filter(same) {
        return Ok(fd);
    }
    match root.open_at(path, LIST) {
        Ok(fd) if same(&fd) => Ok(fd),
        Ok(_) => {
            let what = "the folder was moved away while it was listed; the rest of it is missing";
            Err(Error::new(ErrorKind::Changed, root.full(path), what))
        }
        Err(errno) => Err(Error::seen(root.full(path), "cannot open the folder again", errno)),
    }
}
