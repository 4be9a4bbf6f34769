//! The one error of this crate.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, so that a caller can decide without reading the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A path the user named does not exist.
    NotFound,
    /// The operating system does not let us.
    Denied,
    /// It was there when the tree was walked and is gone.
    Vanished,
    /// It is no longer what the walk saw: another file, another kind, or a symbolic link in its path.
    Changed,
    /// The root of a tree must be a folder.
    NotAFolder,
    /// An image must be a regular file or a block device.
    NotAnImage,
    /// A path that is not a plain relative path beneath the root.
    BadPath,
    /// A pattern that cannot be used.
    Pattern,
    /// Reading failed.
    Io,
}

/// An error with the path it concerns, what was attempted and, where it helps, what to do.
///
/// The cause is part of the message, and not given as `source()` again.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}{}{}", Shown(path), Cause(.cause.as_ref()), self.hint())]
pub struct Error {
    kind: ErrorKind,
    path: PathBuf,
    what: String,
    cause: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Error { kind, path: path.into(), what: what.into(), cause: None }
    }

    pub(crate) fn os(path: impl Into<PathBuf>, what: impl Into<String>, errno: Errno) -> Self {
        let kind = match errno {
            Errno::NOENT | Errno::STALE => ErrorKind::NotFound,
            Errno::ACCESS | Errno::PERM => ErrorKind::Denied,
            _ => ErrorKind::Io,
        };
        Error { cause: Some(errno.into()), ..Error::new(kind, path, what) }
    }

    /// As [`Error::os`], for a path that a walk has seen: what is missing now has vanished, and another kind of
    /// file in its place is a change.
    pub(crate) fn seen(path: impl Into<PathBuf>, what: impl Into<String>, errno: Errno) -> Self {
        let mut error = Error::os(path, what, errno);
        match errno {
            Errno::NOENT | Errno::STALE => error.kind = ErrorKind::Vanished,
            Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO => error.kind = ErrorKind::Changed,
            Errno::INVAL => error.kind = ErrorKind::BadPath,
            _ => {}
        }
        error
    }

    pub(crate) fn io(path: impl Into<PathBuf>, what: impl Into<String>, cause: io::Error) -> Self {
        match cause.raw_os_error() {
            Some(code) => Error::os(path, what, Errno::from_raw_os_error(code)),
            None => Error { cause: Some(cause), ..Error::new(ErrorKind::Io, path, what) },
        }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file, folder or image it concerns, with the root in front.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The errno of the operating system, where one was the cause.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.cause.as_ref().and_then(io::Error::raw_os_error)
    }

    fn hint(&self) -> &'static str {
        let code = self.raw_os_error();
        match self.kind {
            ErrorKind::Denied => " (run as a user who may read it, or with CAP_DAC_READ_SEARCH)",
            ErrorKind::Io if code == Some(Errno::IO.raw_os_error()) => {
                " (the disk reports a read error: see the kernel log, and save what can be read soon)"
            }
            ErrorKind::Io if code == Some(Errno::MFILE.raw_os_error()) => {
                " (too many files are open: raise `ulimit -n`)"
            }
            _ => "",
        }
    }
}

struct Cause<'a>(Option<&'a io::Error>);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

/// A path as it can be printed on a terminal: control characters are escaped, foreign bytes replaced.
pub(crate) struct Shown<'a>(pub &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string_lossy().chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_path_and_cannot_steer_a_terminal() {
        let error = Error::os("/a/\x1b[2Jb", "cannot open it", Errno::ACCESS);
        assert_eq!(error.kind(), ErrorKind::Denied);
        let text = error.to_string();
        assert!(text.starts_with("/a/\\u{1b}[2Jb: cannot open it: "), "{text}");
        assert!(text.contains("CAP_DAC_READ_SEARCH"), "{text}");
    }
}
