use std::fmt;
use std::time::Duration;

/// What went wrong, as far as a caller would act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such object.
    NotFound,
    /// The name is taken.
    Exists,
    /// The object ends before the range that was asked for.
    Truncated,
    /// The store has no room: bytes, inodes or quota.
    NoSpace,
    /// The store does not let us.
    Denied,
    /// The object must stay yet: a lock or a retention period keeps it.
    Locked,
    /// A passing fault: trying again may help.
    Transient,
    /// The bytes that were to be stored are not those that they should be.
    Damaged,
    /// Whoever made the request wants it to end.
    Stopped,
    /// The request itself is wrong.
    Invalid,
    /// Anything else.
    Other,
}

/// A failed request, with the name it was about.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{object}: {message}")]
pub struct Error {
    /// What a caller would act on.
    pub kind: ErrorKind,
    /// The key or path.
    pub object: String,
    /// What happened, for people.
    pub message: String,
    /// How long the store asks to be left alone before the next attempt.
    pub delay: Option<Duration>,
}

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error about `object`.
    pub fn new(kind: ErrorKind, object: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self { kind, object: object.to_string(), message: message.to_string(), delay: None }
    }

    /// The same error, with how long the store asks to be left alone.
    #[must_use]
    pub fn with_delay(self, delay: Option<Duration>) -> Self {
        Self { delay, ..self }
    }

    /// An error of the operating system about `object`.
    #[must_use]
    pub fn io(object: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::AlreadyExists => ErrorKind::Exists,
            Io::StorageFull | Io::QuotaExceeded => ErrorKind::NoSpace,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
            Io::UnexpectedEof => ErrorKind::Truncated,
            Io::Interrupted | Io::TimedOut => ErrorKind::Transient,
            _ => ErrorKind::Other,
        };
        Self::new(kind, object, error)
    }
}
