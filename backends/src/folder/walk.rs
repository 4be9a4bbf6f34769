use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fardel_store::{Error, Key, Listed, Prefix, Result};

use super::dirs::Dirs;
use super::fs::{DirEntry, Entries, Fs, Kind};
use super::staging;

/// A listing in progress: one open folder for each level, nothing else in memory.
///
/// Every name is shown, strangers too; but a folder whose name no object can have (`.stversions`, `lost+found`,
/// `packs (1)`) is shown as one name and not entered. What is neither file nor folder is shown with its own size, so
/// that a symbolic link never passes for the object it points to.
pub(super) struct Walk {
    fs: Arc<dyn Fs>,
    dirs: Arc<Dirs>,
    levels: Vec<Level>,
}

struct Level {
    path: PathBuf,
    /// Name below the root with a `/` at the end; empty for the root.
    name: String,
    entries: Entries,
}

impl Walk {
    /// Begins below `prefix`; a folder that is not there is an empty listing.
    pub(super) fn new(fs: Arc<dyn Fs>, dirs: Arc<Dirs>, root: &Path, prefix: &Prefix) -> Result<Self> {
        // Without the `/` at the end, with which a link to a folder would be followed.
        let path = prefix
            .as_str()
            .split('/')
            .filter(|part| !part.is_empty())
            .fold(root.to_owned(), |p, part| p.join(part));
        let mut walk = Self { fs, dirs, levels: Vec::new() };
        let is_dir =
            prefix.as_str().is_empty() || walk.fs.stat(&path).is_ok_and(|stat| stat.kind == Kind::Dir);
        if is_dir && let Some(entries) = walk.read(&path)? {
            walk.levels.push(Level { path, name: prefix.as_str().to_owned(), entries });
        }
        Ok(walk)
    }

    /// Up to `most` further names; none at the end. An error ends the listing.
    pub(super) fn next(&mut self, most: usize) -> Vec<Result<Listed>> {
        let mut batch = Vec::new();
        while batch.len() < most
            && let Some(level) = self.levels.last_mut()
        {
            match level.entries.next() {
                None => {
                    // Again: a put may have made durable what it showed at first, but not what came later.
                    self.dirs.saw(&level.path);
                    self.levels.pop();
                }
                Some(Ok(entry)) => match self.enter_or_show(entry) {
                    Ok(listed) => batch.extend(listed.map(Ok)),
                    Err(error) => self.fail(error, &mut batch),
                },
                Some(Err(error)) => {
                    let error = Error::io(level.path.display(), &error);
                    self.fail(error, &mut batch);
                }
            }
        }
        batch
    }

    /// Ends the listing.
    fn fail(&mut self, error: Error, batch: &mut Vec<Result<Listed>>) {
        for level in self.levels.drain(..) {
            self.dirs.saw(&level.path);
        }
        batch.push(Err(error));
    }

    fn enter_or_show(&mut self, entry: DirEntry) -> Result<Option<Listed>> {
        let Some(level) = self.levels.last() else { return Ok(None) };
        let name = format!("{}{}", level.name, entry.name.to_string_lossy());
        if entry.kind != Kind::Dir || Key::new(name.as_str()).is_err() {
            let hidden = entry.kind == Kind::Dir && name == staging::INSIDE;
            return Ok(if hidden { None } else { Some(Listed { name, size: entry.size }) });
        }
        let path = level.path.join(&entry.name);
        if let Some(entries) = self.read(&path)? {
            self.levels.push(Level { path, name: name + "/", entries });
        }
        Ok(None)
    }

    fn read(&self, path: &Path) -> Result<Option<Entries>> {
        self.dirs.saw(path);
        match self.fs.read_dir(path) {
            Ok(entries) => Ok(Some(entries)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(Error::io(path.display(), &error)),
        }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        for level in &self.levels {
            self.dirs.saw(&level.path);
        }
    }
}
