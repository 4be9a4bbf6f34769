use std::sync::atomic::{AtomicBool, Ordering};

use russh_sftp::protocol::{OpenFlags, StatusCode};

use super::failure::Failure;
use super::put::TEMPORARY;
use super::session::{Handle, Lease};
use crate::journal::Journals;
use crate::litter::{ABANDONED, FORGOTTEN};
use crate::made::Made;
use crate::staging::{STAGING, is_name};

/// Folders above one another, each asked for a few times.
const MOST_STEPS: usize = 512;

/// More names in the staging folder than this are not looked at.
const MOST_NAMES: usize = 100_000;

/// Where objects wait until they are whole.
#[derive(Debug)]
pub(super) struct Staging {
    /// Ends in `/`, unless it is empty.
    root: String,
    cleaned: AtomicBool,
    /// Folders that were made.
    pub(super) made: Made<String>,
}

/// A temporary at the server.
pub(super) struct Temporary {
    pub(super) file: Handle,
    pub(super) path: String,
}

impl Staging {
    pub(super) fn new(root: &str) -> Self {
        Self { root: root.to_owned(), cleaned: AtomicBool::new(false), made: Made::default() }
    }

    /// A path in the file system that holds the repository.
    pub(super) fn root(&self) -> &str {
        if self.root.is_empty() { "." } else { &self.root }
    }

    fn folder(&self) -> String {
        format!("{}{STAGING}", self.root)
    }

    /// The path of the temporary `name`.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder())
    }

    /// A new, empty temporary; the folders above it are made if need be.
    pub(super) async fn create(&self, session: &Lease, name: &str) -> Result<Temporary, Failure> {
        const NEW: OpenFlags = OpenFlags::WRITE.union(OpenFlags::CREATE).union(OpenFlags::EXCLUDE);
        let path = self.path(name);
        match session.open(&path, NEW).await {
            Err(failure) if failure.is_absent() => {
                self.make_folders(session, &self.folder()).await?;
                Ok(Temporary { file: session.open(&path, NEW).await?, path })
            }
            opened => Ok(Temporary { file: opened?, path }),
        }
    }

    /// An earlier temporary, to look what it holds and to go on with it.
    pub(super) async fn reopen(&self, session: &Lease, name: &str) -> Result<Temporary, Failure> {
        let path = self.path(name);
        Ok(Temporary { file: session.open(&path, OpenFlags::READ.union(OpenFlags::WRITE)).await?, path })
    }

    /// Removes what uploads left that never go on, once in the life of the store. `now` is the server's idea of the time, in seconds.
    /// Best effort: a temporary that stays is only litter.
    ///
    /// Temporaries of this machine go when their object is there by now, or nothing was added to their journal for 30 days; those
    /// of others when nobody has written to them for 7 days.
    pub(super) async fn clean(&self, session: &Lease, journals: Option<&Journals>, now: u32) {
        if self.cleaned.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut known = Vec::new();
        for left in journals.into_iter().flat_map(Journals::left) {
            known.extend(temporary_of(&left.notes).map(str::to_owned));
            let object = format!("{}{}", self.root, left.key);
            let is_over = left.age > FORGOTTEN || matches!(session.look(&object).await, Ok(Some(_)));
            if is_over && self.is_removed(session, temporary_of(&left.notes)).await {
                left.remove();
            }
        }
        for (name, attributes) in session.folder(&self.folder(), MOST_NAMES).await.unwrap_or_default() {
            let old = attributes.mtime.is_some_and(|mtime| u64::from(now.saturating_sub(mtime)) > ABANDONED);
            let is_litter = old && is_name(&name) && !known.contains(&name);
            if is_litter && session.remove(&self.path(&name)).await.is_err() {
                return;
            }
        }
    }

    /// Whether a temporary is gone, if it was not before.
    async fn is_removed(&self, session: &Lease, name: Option<&str>) -> bool {
        let Some(name) = name else { return true };
        session.remove(&self.path(name)).await.map_or_else(|failure| failure.is_absent(), |()| true)
    }

    /// Makes a folder and all above it; those that are there are fine.
    pub(super) async fn make_folders(&self, session: &Lease, path: &str) -> Result<(), Failure> {
        let mut missing = vec![path];
        for _ in 0..MOST_STEPS {
            let Some(folder) = missing.last().copied() else { return Ok(()) };
            match session.make_folder(folder).await {
                Ok(()) => {
                    self.made.note(folder.to_owned());
                    missing.pop();
                }
                Err(failure) if failure.is_absent() => match folder.rsplit_once('/') {
                    Some((above, _)) if !above.is_empty() => missing.push(above),
                    _ => return Err(failure),
                },
                // Most servers say no more than this of a folder that is there. Some deny it for one above that is ours to pass.
                Err(failure @ Failure::Status(StatusCode::Failure | StatusCode::PermissionDenied, _)) => {
                    if !session.is_folder(folder).await? {
                        return Err(failure);
                    }
                    missing.pop();
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Protocol(format!("the folder {path} cannot be made, nor does it say why")))
    }
}

/// The name of the temporary that a journal speaks of.
fn temporary_of(notes: &[String]) -> Option<&str> {
    notes.first()?.strip_prefix(TEMPORARY).filter(|name| is_name(name))
}
