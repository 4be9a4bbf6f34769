use std::fmt;
use std::path::{Path, PathBuf};

/// Why an operation failed, with the object or path and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A store refused or failed.
    #[error("{0}")]
    Store(#[from] fardel_store::Error),
    /// An object's bytes are not what they must be.
    #[error("{object}: {error}")]
    Object {
        /// Its key.
        object: String,
        /// What is wrong.
        error: fardel_format::Error,
    },
    /// A source could not be read.
    #[error("{0}")]
    Source(#[from] fardel_source::Error),
    /// A local file or folder failed.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// How.
        error: std::io::Error,
    },
    /// There is no repository.
    #[error("there is no fardel repository at {0}")]
    NoRepository(String),
    /// A repository is there already.
    #[error("there is a fardel repository at {0} already")]
    Exists(String),
    /// The card is another one than the one that was pinned.
    #[error("this is repository {found}, not {expected}")]
    OtherRepository {
        /// The id of the card that was found.
        found: String,
        /// The id that was expected.
        expected: String,
    },
    /// The key at hand does not open the repository, or does not allow the operation.
    #[error("{0}")]
    Key(String),
    /// What was asked for is not in the repository.
    #[error("{0}")]
    NotFound(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// What is there forbids it.
    #[error("{0}")]
    Refused(String),
    /// Data that a snapshot needs is missing or damaged.
    #[error("{0}")]
    Damaged(String),
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
}

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A local failure at `path`.
    pub fn io(path: impl AsRef<Path>, error: impl Into<std::io::Error>) -> Self {
        Self::Io { path: path.as_ref().to_owned(), error: error.into() }
    }

    /// Damage in an object.
    pub fn object(object: impl fmt::Display, error: fardel_format::Error) -> Self {
        Self::Object { object: object.to_string(), error }
    }

    /// Whether an object that was to be read is not there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind == fardel_store::ErrorKind::NotFound)
    }

    /// Whether it says something about one stored object, so that others may still be had.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Object { .. } | Self::Damaged(_) => true,
            Self::Store(error) => {
                use fardel_store::ErrorKind::{Denied, NotFound, Other, Truncated};
                matches!(error.kind, Denied | NotFound | Other | Truncated)
            }
            _ => false,
        }
    }
}
