//! Files with secrets: written once, for their owner alone, and on the disk before anything relies on them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fardel_format::RepositoryId;

use crate::config::Config;
use crate::error::{Failure, Result};
use crate::human;

/// Where this user's key for a repository is kept, unless another file is named.
#[must_use]
pub fn default_path(config: &Config, id: &RepositoryId) -> PathBuf {
    config.keys_dir.join(format!("{id}.key"))
}

/// Writes a secret into a new file (mode 0600) and syncs it and its folder.
///
/// # Errors
/// When there is such a file already: it is left alone. When anything fails: then there is none.
pub fn save_new(path: &Path, secret: &str) -> Result<()> {
    refuse_existing(path)?;
    write(path, secret).map_err(|e| Failure::io(path, &e, "choose a place for it that can be written"))
}

/// Whether a file may be made at `path`.
///
/// # Errors
/// When something is there already.
pub fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        let message = format!("{}: there is a file already, and keys are never replaced", human::path(path));
        return Err(Failure::usage(
            message,
            "name another file, or move this one away if it is of no use any more",
        ));
    }
    Ok(())
}

fn write(path: &Path, secret: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(folder)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written =
        file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| sync_folder(folder));
    if written.is_err() {
        // Half a key must not be taken for one.
        let _ = fs::remove_file(path);
    }
    written
}

/// Makes the folder and those above it, each for the owner alone, and syncs the one above each.
///
/// # Errors
/// When one of them cannot be made.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(above)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(above),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems cannot sync a folder: then there is nothing more to be had.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_for_its_owner_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/key");
        save_new(&path, "one").unwrap();
        assert!(save_new(&path, "two").unwrap_err().message.contains("never replaced"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}
