//! The folder that a restore writes into. Everything stays beneath it, whatever names and links a snapshot holds and
//! whatever anybody does to the folder meanwhile.
//!
//! 1. A [`RelPath`] holds only names: `..`, absolute paths and NUL do not get this far.
//! 2. The folder of a name is opened beneath the target without following any symbolic link (`beneath.rs`), and every
//!    call takes that descriptor and one name which it does not follow.
//! 3. A file is made new as `NAME.partial` with mode 0600 and O_EXCL, written, given its attributes by descriptor, and
//!    only then renamed to `NAME`. It is never opened at a name that somebody else could have prepared.
//! 4. Nothing is replaced without `replace`, a folder never except by [`Target::remove_tree`].
//! 5. An existing file is written in place only if it is a regular file with one link, so that no other name of it,
//!    maybe outside, changes.
//! 6. Device nodes, set-user-id bits and file capabilities are made on request only, and a set-user-id bit only when
//!    the owner is the one it was meant for.
//! 7. A file that could not be restored whole stays as `NAME.partial`, never as `NAME`.

#[cfg(test)]
mod attacks;
mod attributes;
mod beneath;
pub mod collision;
mod content;
mod folders;
mod in_place_file;
mod listing;
mod node;
mod obstacle;
mod partial_file;
mod partial_names;
mod rel_path;
mod removal;
mod rename;
#[cfg(test)]
mod tests;
mod warning;

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

pub use attributes::Attributes;
pub use in_place_file::InPlaceFile;
pub use node::{Placed, Skipped};
pub use obstacle::Obstacle;
pub use partial_file::PartialFile;
pub use rel_path::RelPath;
pub use warning::Warning;

use crate::{Error, Result};
use attributes::Handle;
use beneath::{Beneath, PLACE, Place};
use collision::Collision;
use partial_names::PartialNames;

/// How often something is tried again when somebody else makes and removes names at the same time.
const TRIES: u32 = 16;

/// The result of a system call, before it is known which path to name.
type SysResult<T> = std::result::Result<T, Errno>;

/// What a restore sets beside content, permissions and times.
#[derive(Clone, Copy, Debug)]
pub struct TargetOptions {
    /// Sets owners and groups; by default only as root.
    pub owners: bool,
    /// Makes block and character devices.
    pub devices: bool,
    /// Keeps set-user-id and set-group-id bits and file capabilities. Folders count too: a set-group-id folder that
    /// others can write to has been a way to the group's rights more than once (CVE-2018-13405).
    pub setid: bool,
    /// Sets extended attributes, access lists among them.
    pub xattrs: bool,
}

impl Default for TargetOptions {
    fn default() -> Self {
        Self { owners: rustix::process::geteuid().is_root(), devices: false, setid: false, xattrs: true }
    }
}

/// Whether a folder was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was not there.
    New,
    /// A real folder was there already; what it holds is untouched.
    Existed,
}

/// The folder that a restore writes into, shared by many threads.
#[derive(Debug)]
pub struct Target {
    shared: Arc<Shared>,
}

/// What a target and its open files have in common.
#[derive(Debug)]
struct Shared {
    beneath: Beneath,
    options: TargetOptions,
    names: PartialNames,
    ignores_case: bool,
    euid: u32,
}

impl Target {
    /// Opens the folder, made with its parents if absent, and finds out whether its file system ignores case.
    /// Symbolic links in `root` itself are followed: the user named it.
    pub fn create(root: &Path, options: TargetOptions) -> Result<Target> {
        std::fs::create_dir_all(root).map_err(|error| Error::io(root, error))?;
        let beneath = Beneath::open(root)?;
        let ignores_case = collision::ignores_case(beneath.root());
        let names = PartialNames::new(ignores_case);
        let euid = rustix::process::geteuid().as_raw();
        Ok(Target { shared: Arc::new(Shared { beneath, options, names, ignores_case, euid }) })
    }

    /// The path for messages.
    pub fn full_path(&self, path: &RelPath) -> PathBuf {
        self.shared.beneath.full(path)
    }

    /// What lies at the path, not followed; none when there is nothing.
    pub fn obstacle(&self, path: &RelPath) -> Result<Option<Obstacle>> {
        if path.is_root() {
            return Ok(Some(Obstacle::Dir));
        }
        let found = self.shared.look(&self.shared.beneath.place(path)?)?;
        Ok(found.as_ref().map(Obstacle::of))
    }

    /// Makes a folder that only we can enter until [`Target::set_dir_attributes`]; its parent must be there. A real
    /// folder that exists is fine. Anything else in the way is removed with `replace`, else an error that names it.
    pub fn make_dir(&self, path: &RelPath, replace: bool) -> Result<Made> {
        if path.is_root() {
            return Ok(Made::Existed);
        }
        let shared = &*self.shared;
        let place = shared.place(path)?;
        for _ in 0..TRIES {
            match rustix::fs::mkdirat(&place.folder, place.name, Mode::from_raw_mode(0o700)) {
                Ok(()) => return Ok(Made::New),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(shared.error(path, errno)),
            }
            match shared.look(&place)? {
                Some(stat) if Obstacle::of(&stat) == Obstacle::Dir => {
                    shared.check_spelling(&place)?;
                    shared.make_usable(&place, &stat).map_err(|errno| shared.error(path, errno))?;
                    return Ok(Made::Existed);
                }
                Some(_) => shared.clear(&place, replace)?,
                None => {}
            }
        }
        Err(shared.error(path, Errno::BUSY))
    }

    /// Sets a folder's attributes. Last of all, children first: what happens in a folder changes its time, and its
    /// permissions may not let us in again.
    pub fn set_dir_attributes(&self, path: &RelPath, attributes: &Attributes<'_>) -> Result<Vec<Warning>> {
        let shared = &*self.shared;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = if path.is_root() {
            rustix::fs::openat(shared.beneath.root(), c".", flags, Mode::empty())
        } else {
            let place = shared.beneath.place(path)?;
            rustix::fs::openat(&place.folder, place.name, flags, Mode::empty())
        };
        fd.and_then(|fd| Handle::Open(fd.as_fd()).apply(attributes, &shared.options))
            .map_err(|errno| shared.error(path, errno))
    }

    /// Makes an empty file `NAME.partial` beside the path, to be written and then finished.
    pub fn begin_file(&self, path: &RelPath) -> Result<PartialFile> {
        PartialFile::begin(&self.shared, path)
    }

    /// Opens a file that exists so that only what differs needs to be written, cut or extended to `size`. None when
    /// there is none, or none that can be changed without harm: not a regular file, not ours, with other links, running.
    pub fn open_in_place(&self, path: &RelPath, size: u64) -> Result<Option<InPlaceFile>> {
        InPlaceFile::open(&self.shared, path, size)
    }

    /// The names of one folder that this target's file system takes for the same; none where case matters.
    pub fn collisions<'a>(&self, names: impl IntoIterator<Item = &'a [u8]>) -> Vec<Collision> {
        if self.shared.ignores_case { collision::collisions(names) } else { Vec::new() }
    }

    /// Why the name may mean something else where this target is at home; none where case matters.
    pub fn foreign_name(&self, name: &[u8]) -> Option<&'static str> {
        if self.shared.ignores_case { collision::reserved(name) } else { None }
    }

    /// Returns once everything restored on the target's file system is on the disk. Also the place where a file
    /// system tells of writes that it lost after it had taken them.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(self.shared.beneath.root())
            .map_err(|errno| self.shared.error(&RelPath::root(), errno))
    }
}

impl Shared {
    fn error(&self, path: &RelPath, errno: Errno) -> Error {
        Error::io(self.beneath.full(path), errno)
    }

    /// The place of something that the snapshot has. No unfinished file has its name from now on.
    fn place<'a>(&self, path: &'a RelPath) -> Result<Place<'a>> {
        let place = self.beneath.place(path)?;
        let parent = path.split().map_or(&b""[..], |(parent, _)| parent);
        match self.names.reserve(parent, place.name) {
            Ok(()) => Ok(place),
            Err(Errno::EXIST) => Err(Error::io(
                self.beneath.full(path),
                std::io::Error::new(
                    std::io::ErrorKind::AlreadyExists,
                    "what could be restored of a damaged file lies there",
                ),
            )),
            Err(errno) => Err(self.error(path, errno)),
        }
    }

    /// What lies there, not followed.
    fn look(&self, place: &Place<'_>) -> Result<Option<Stat>> {
        match rustix::fs::statat(&place.folder, place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.error(place.path, errno)),
        }
    }

    /// Removes what is in the way, if it may be replaced; a folder never.
    fn clear(&self, place: &Place<'_>, replace: bool) -> Result<()> {
        let Some(stat) = self.look(place)? else { return Ok(()) };
        self.check_spelling(place)?;
        let obstacle = Obstacle::of(&stat);
        if !replace || obstacle == Obstacle::Dir {
            return Err(obstacle.error(self.beneath.full(place.path)));
        }
        match rustix::fs::unlinkat(&place.folder, place.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error(place.path, errno)),
        }
    }

    /// Fails if what lies there is known by another spelling: it is another file of the snapshot, or of the user's.
    fn check_spelling(&self, place: &Place<'_>) -> Result<()> {
        if !self.ignores_case {
            return Ok(());
        }
        match collision::is_spelled_so(&place.folder, place.name) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::io(
                self.beneath.full(place.path),
                std::io::Error::new(
                    std::io::ErrorKind::AlreadyExists,
                    "the target ignores case, and another spelling of this name is there already",
                ),
            )),
            Err(errno) => Err(self.error(place.path, errno)),
        }
    }

    /// As [`Shared::check_spelling`], where there may be nothing.
    fn check_spelling_of_any(&self, place: &Place<'_>) -> Result<()> {
        if self.ignores_case && self.look(place)?.is_some() { self.check_spelling(place) } else { Ok(()) }
    }

    /// Lets us work in our own folder that was read-only, as after an earlier restore. Its mode is set again at the end.
    fn make_usable(&self, place: &Place<'_>, stat: &Stat) -> SysResult<()> {
        if self.euid == 0 || stat.st_uid != self.euid || stat.st_mode & 0o700 == 0o700 {
            return Ok(());
        }
        let fd = rustix::fs::openat(&place.folder, place.name, PLACE, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory || stat.st_uid != self.euid {
            return Ok(());
        }
        let proc = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o700);
        rustix::fs::chmodat(CWD, proc.as_str(), mode, AtFlags::empty())
    }
}
