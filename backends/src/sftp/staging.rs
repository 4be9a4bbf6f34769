use std::sync::atomic::{AtomicBool, Ordering};

use russh_sftp::protocol::{OpenFlags, StatusCode};

use super::failure::Failure;
use super::session::{Handle, Lease};
use crate::made::Made;
use crate::staging::{ABANDONED, STAGING, is_name};

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

    /// An earlier temporary, to go on with it.
    pub(super) async fn reopen(&self, session: &Lease, name: &str) -> Result<Temporary, Failure> {
        let path = self.path(name);
        Ok(Temporary { file: session.open(&path, OpenFlags::WRITE).await?, path })
    }

    /// Removes abandoned temporaries, once in the life of the store. `now` is the server's idea of the time, in seconds.
    /// Best effort: a temporary that stays is only litter.
    pub(super) async fn clean(&self, session: &Lease, now: u32) {
        if self.cleaned.swap(true, Ordering::Relaxed) {
            return;
        }
        let folder = self.folder();
        for (name, attributes) in session.folder(&folder, MOST_NAMES).await.unwrap_or_default() {
            let old = attributes.mtime.is_some_and(|mtime| u64::from(now.saturating_sub(mtime)) > ABANDONED);
            if old && is_name(&name) && session.remove(&self.path(&name)).await.is_err() {
                return;
            }
        }
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
