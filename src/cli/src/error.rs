//! Failures as the user sees them: what happened, to which object, and what to do next.

use fardel_engine::Error as EngineError;
use fardel_store::ErrorKind as StoreKind;

use crate::exit::Exit;

/// What a command returns.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command ended early.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, and to which object.
    pub message: String,
    /// What to do next; empty where the message says it.
    pub hint: String,
    /// Whether to end without a word: whoever read the output has gone.
    pub silent: bool,
}

impl Failure {
    /// A failure with a hint.
    pub fn new(exit: Exit, message: impl ToString, hint: impl ToString) -> Self {
        Self { exit, message: message.to_string(), hint: hint.to_string(), silent: false }
    }

    /// Wrong arguments or configuration.
    pub fn usage(message: impl ToString, hint: impl ToString) -> Self {
        Self::new(Exit::Usage, message, hint)
    }

    /// The key at hand does not do.
    pub fn key(message: impl ToString, hint: impl ToString) -> Self {
        Self::new(Exit::Key, message, hint)
    }

    /// A local file or folder failed.
    pub fn io(path: &std::path::Path, error: &std::io::Error, hint: impl ToString) -> Self {
        Self::new(Exit::Failed, format!("{}: {error}", crate::human::path(path)), hint)
    }

    /// Standard output failed; a pipe that was closed ends the command without a word.
    pub fn stdout(error: &std::io::Error) -> Self {
        let silent = error.kind() == std::io::ErrorKind::BrokenPipe;
        let exit = if silent { Exit::Done } else { Exit::Failed };
        let hint = "look for room where the output goes, and run it again";
        Self { silent, ..Self::new(exit, format!("standard output: {error}"), hint) }
    }

    /// With another hint.
    #[must_use]
    pub fn with_hint(self, hint: impl ToString) -> Self {
        Self { hint: hint.to_string(), ..self }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let (exit, hint) = advice(&error);
        Self::new(exit, crate::human::shown(error.to_string().as_bytes()), hint)
    }
}

impl From<fardel_store::Error> for Failure {
    fn from(error: fardel_store::Error) -> Self {
        EngineError::Store(error).into()
    }
}

/// The exit code and the next step for each kind of error; the one place that says so.
fn advice(error: &EngineError) -> (Exit, &'static str) {
    match error {
        EngineError::Store(error) => (Exit::Failed, store_advice(error.kind)),
        EngineError::Object { .. } | EngineError::Damaged(_) => (
            Exit::Damaged,
            "`fardel check --level data` says what else is damaged and what it costs; another copy may be whole",
        ),
        EngineError::Source(error) => source_advice(error.kind()),
        EngineError::Io { error, .. } => (Exit::Failed, io_advice(error.kind())),
        EngineError::NoRepository(_) => {
            (Exit::NoRepository, "make one with `fardel init`, or name another place with --repo")
        }
        EngineError::Exists(_) => (Exit::Failed, "use it as it is, or choose another place for a new one"),
        EngineError::OtherRepository { .. } => {
            (Exit::Failed, "look whether --repo names the right place, and whether somebody replaced it")
        }
        EngineError::Key(_) => (
            Exit::Key,
            "give a key with --key-file, --passphrase-file or FARDEL_PASSPHRASE_COMMAND; the recovery key opens everything",
        ),
        EngineError::NotFound(_) => {
            (Exit::Failed, "`fardel snapshots` and `fardel ls SNAPSHOT` show what there is")
        }
        EngineError::Invalid(_) => (Exit::Usage, "`fardel help COMMAND` says what is allowed"),
        EngineError::Refused(_) => (Exit::Failed, "nothing was changed"),
        EngineError::Interrupted => (Exit::Interrupted, "what was finished is kept; run it again to go on"),
    }
}

fn store_advice(kind: StoreKind) -> &'static str {
    match kind {
        // What a listing does not have is told as damage: this was listed.
        StoreKind::NotFound => {
            "a prune may have deleted it meanwhile: run it again; if it happens again, `fardel check` says what is missing"
        }
        StoreKind::Truncated => {
            "`fardel check` says what is missing and what that costs; another copy may be whole"
        }
        StoreKind::Exists => "run it again; if it happens again, run `fardel check`",
        StoreKind::NoSpace => {
            "free some room there and run it again: what was stored so far is kept and found again"
        }
        StoreKind::Denied => {
            "look at the permissions there, at the password or the keys that were used, and who runs this"
        }
        StoreKind::Locked => "a lock or a retention period keeps it: run it again when that is over",
        StoreKind::Transient | StoreKind::Stopped => {
            "run it again: what was stored so far is kept and found again"
        }
        StoreKind::Damaged => "run `fardel check` here: the copy that was to be carried is damaged",
        StoreKind::Invalid | StoreKind::Other => {
            "look whether the place is right, and the disk or the server there well; then run `fardel check`"
        }
    }
}

fn source_advice(kind: fardel_source::ErrorKind) -> (Exit, &'static str) {
    use fardel_source::ErrorKind as Kind;
    match kind {
        Kind::Pattern => (Exit::Usage, "correct the pattern: it has the form of a line of .gitignore"),
        Kind::NotAFolder | Kind::NotAnImage | Kind::BadPath => {
            (Exit::Usage, "name a folder, a disk image or a block device")
        }
        Kind::NotFound => (Exit::Failed, "look whether the path is right and mounted"),
        Kind::Denied => (Exit::Failed, "run it as a user who may read it"),
        Kind::Vanished | Kind::Changed => (Exit::Failed, "run it again"),
        Kind::Io => (Exit::Failed, "look at the kernel log for the health of the disk"),
    }
}

fn io_advice(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind as Kind;
    match kind {
        Kind::NotFound => "look whether the path is right and mounted",
        Kind::PermissionDenied => "look at its permissions, and who runs this",
        Kind::StorageFull | Kind::QuotaExceeded => "free some room there and run it again",
        Kind::AlreadyExists => "nothing is replaced: choose another name, or move the old one away",
        Kind::ReadOnlyFilesystem => "choose a place that can be written",
        _ => "look whether the disk is well and still mounted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_and_a_hint() {
        let table = [
            (EngineError::NoRepository("x".into()), 10),
            (EngineError::Key("x".into()), 12),
            (EngineError::Invalid("x".into()), 2),
            (EngineError::Refused("x".into()), 1),
            (EngineError::NotFound("x".into()), 1),
            (EngineError::Damaged("x".into()), 4),
            (EngineError::Interrupted, 130),
            (EngineError::Store(fardel_store::Error::new(StoreKind::NoSpace, "packs/x", "full")), 1),
        ];
        for (error, code) in table {
            let failure = Failure::from(error);
            assert_eq!(failure.exit.code(), code, "{failure:?}");
            assert!(!failure.hint.is_empty() && !failure.message.is_empty(), "{failure:?}");
        }
    }

    #[test]
    fn messages_cannot_steer_a_terminal() {
        let failure = Failure::from(EngineError::NotFound("no \u{1b}[2J".into()));
        assert_eq!(failure.message, "no \\u{1b}[2J");
    }
}
