/// Bytes that are not what the format says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end too early.
    #[error("{what} is cut short")]
    Truncated {
        /// Which part.
        what: &'static str,
    },
    /// The bytes are not of the format.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The bytes ask for more than a reader grants.
    #[error("{what} is beyond the limit of {limit}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// What is granted, in bytes or entries.
        limit: u64,
    },
    /// No key at hand opens it.
    #[error("none of the keys at hand opens {what}")]
    WrongKey {
        /// Which part.
        what: &'static str,
    },
    /// A signature that does not hold.
    #[error("the signature of {what} does not hold: {why}")]
    Forged {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The format version is not ours.
    #[error("{what} has format version {found}; this program reads version {known}: use a newer fardel")]
    Version {
        /// Which part.
        what: &'static str,
        /// What it says.
        found: u64,
        /// What we read.
        known: u64,
    },
}

/// The result of reading or making a piece of the format.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn damaged(what: &'static str, why: impl ToString) -> Self {
        Self::Damaged { what, why: why.to_string() }
    }
}
