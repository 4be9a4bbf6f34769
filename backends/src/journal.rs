//! What an interrupted upload left at the other side, so that the next `put_new` of the same body goes on with it.
//!
//! One small file an upload, named by the object. It counts only for a body with the same hash, and it is locked while its
//! upload runs, so two processes never write to one temporary. It is written after the other side has acknowledged what it
//! says; an old one, or none, only means that more is sent again.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fardel_store::Key;

/// A file beyond this is no journal, in bytes.
const MAX_LEN: u64 = 4 << 20;

/// The first line; another one is another program's, or another version's.
const MAGIC: &str = "fardel upload 1";

/// The journals of one store.
#[derive(Clone, Debug)]
pub(crate) struct Journals {
    folder: PathBuf,
}

/// The journal of one upload, locked; a journal that cannot be kept is merely not there.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    /// The lines that tell this upload from others: its object and its body.
    head: String,
}

impl Journals {
    /// Those below `folder` for the store at `place`, so that two stores never share one.
    pub(crate) fn new(folder: &Path, place: &str) -> Self {
        let place = blake3::hash(place.as_bytes()).to_hex();
        Self { folder: folder.join(&place[..16]) }
    }

    /// The journal for a body under `key`, and what an earlier upload of just this body wrote into it.
    ///
    /// `None` when another process has it, or there is no room for it: then the upload begins anew and cannot be resumed.
    pub(crate) fn open(&self, key: &Key, len: u64, hash: &blake3::Hash) -> Option<(Journal, Option<String>)> {
        std::fs::create_dir_all(&self.folder).ok()?;
        let path = self.folder.join(key.as_str().replace('/', "_"));
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = open.ok()?;
        file.try_lock().ok()?;
        // Whoever held it before may have removed it: then the lock is that of no name.
        if !is_named(&file, &path) {
            return None;
        }
        let head = format!("{MAGIC}\n{key}\n{len} {hash}\n");
        let mut text = String::new();
        let read = (&mut file).take(MAX_LEN).read_to_string(&mut text);
        let notes = read.ok().and_then(|_| text.strip_prefix(head.as_str())).and_then(|rest| {
            // The last line tells that all of it was written.
            rest.strip_suffix("end\n").map(str::to_owned)
        });
        Some((Journal { file, path, head }, notes))
    }
}

impl Journal {
    /// Replaces what the journal says. A failure only costs the resumption: then the journal says nothing.
    pub(crate) fn write(&mut self, notes: &str) {
        let text = format!("{}{notes}end\n", self.head);
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(text.as_bytes())
        };
        if write(&mut self.file).is_err() {
            let _ = self.file.set_len(0);
        }
    }

    /// The upload is done, or what it left is worth nothing.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_named(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_only_of_the_same_body_at_the_same_place() {
        let place = tempfile::tempdir().unwrap();
        let journals = Journals::new(place.path(), "sftp://a/x");
        let key = Key::new("packs/ab/one.age").unwrap();
        let hash = blake3::hash(b"body");
        let (mut journal, notes) = journals.open(&key, 4, &hash).unwrap();
        assert_eq!(notes, None);
        journal.write("temporary 17\n");
        assert!(journals.open(&key, 4, &hash).is_none(), "it is in use");
        drop(journal);

        let notes = |journals: &Journals, len, hash: &blake3::Hash| journals.open(&key, len, hash).unwrap().1;
        assert_eq!(notes(&journals, 4, &hash).as_deref(), Some("temporary 17\n"));
        assert_eq!(notes(&journals, 5, &hash), None, "another length");
        assert_eq!(notes(&journals, 4, &blake3::hash(b"ydob")), None, "another body");
        assert_eq!(notes(&Journals::new(place.path(), "sftp://b/x"), 4, &hash), None, "another place");
    }

    #[test]
    fn half_of_one_says_nothing() {
        let place = tempfile::tempdir().unwrap();
        let journals = Journals::new(place.path(), "x");
        let (key, hash) = (Key::new("a").unwrap(), blake3::hash(b""));
        let (mut journal, _) = journals.open(&key, 0, &hash).unwrap();
        journal.write("offset 123456\n");
        let path = journal.path.clone();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert_eq!(journals.open(&key, 0, &hash).unwrap().1, None, "the first {len} bytes");
        }
        let (journal, notes) = journals.open(&key, 0, &hash).unwrap();
        assert_eq!(notes, None);
        journal.remove();
        assert!(!path.exists());
    }
}
