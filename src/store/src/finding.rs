use std::fmt;

/// How good or bad something is that was found out about a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It is as it should be.
    Ok,
    /// Good to know.
    Note,
    /// Something that other programs rely on, or Fardel itself, does not hold there.
    Unsafe,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unsafe => "unsafe",
        })
    }
}

/// Something that was found out about a store, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How good or bad it is.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What that means for a repository there, and what Fardel does about it.
    pub means: String,
}

impl Finding {
    /// Something that is as it should be.
    pub fn ok(what: impl Into<String>, means: impl Into<String>) -> Self {
        Self { level: Level::Ok, what: what.into(), means: means.into() }
    }

    /// Something good to know.
    pub fn note(what: impl Into<String>, means: impl Into<String>) -> Self {
        Self { level: Level::Note, what: what.into(), means: means.into() }
    }

    /// Something that is not as it should be.
    pub fn not_safe(what: impl Into<String>, means: impl Into<String>) -> Self {
        Self { level: Level::Unsafe, what: what.into(), means: means.into() }
    }
}
