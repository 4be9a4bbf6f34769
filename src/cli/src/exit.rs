//! The exit codes that other programs may rely on; restic's where the meaning is the same.

use std::process::ExitCode;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The arguments or the configuration are wrong.
    Usage = 2,
    /// Done, but some source could not be read.
    SourceUnreadable = 3,
    /// Damage was found.
    Damaged = 4,
    /// A copy is incomplete or behind.
    Incomplete = 5,
    /// There is no repository.
    NoRepository = 10,
    /// The key does not open it.
    Key = 12,
    /// The user stopped it.
    Interrupted = 130,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
