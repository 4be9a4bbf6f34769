//! What an interrupted upload left at the other side, so that the next `put_new` of the same body goes on with it.
//!
//! One small file an upload, named by the object. It counts only for a body with the same hash, and it is locked while its
//! upload runs, so two processes never write to one temporary. Lines are only ever appended, each after the other side has
//! acknowledged what it says, and each with a checksum: of a line that was written half, nothing is believed, and those
//! before it stand. An old journal, or none, only means that more is sent again.
//!
//! Journals of uploads that never go on are removed with what they left at the other side ([`Journals::left`]): their
//! object is there by now, or nothing was added for 30 days.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fardel_store::Key;

use crate::litter::FORGOTTEN;

/// A file beyond this is no journal, in bytes.
const MAX_LEN: u64 = 4 << 20;

/// So many journals of one store are looked at.
const MOST: usize = 10_000;

/// How the first line begins; another one is another program's, or another version's.
const MAGIC: &str = "fardel upload 2";

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
    /// The line that tells this upload from others: its object and its body.
    head: String,
    /// Lines in it; none when it cannot be written.
    lines: usize,
}

/// What the journal of some upload says; it may be in use.
#[derive(Debug)]
pub(crate) struct Left {
    path: PathBuf,
    pub(crate) key: Key,
    pub(crate) notes: Vec<String>,
    /// Since the last line was added, by the clock of this machine.
    pub(crate) age: Duration,
}

impl Journals {
    /// Those below `folder` for the store at `place`, so that two stores never share one.
    pub(crate) fn new(folder: &Path, place: &str) -> Self {
        let place = blake3::hash(place.as_bytes()).to_hex();
        Self { folder: folder.join(&place[..16]) }
    }

    /// The journal for a body under `key`, and what an earlier upload of just this body noted; nothing is noted otherwise.
    ///
    /// `None` when another process has it, or there is no room for it: then the upload begins anew and cannot be resumed.
    pub(crate) fn open(&self, key: &Key, len: u64, hash: &blake3::Hash) -> Option<(Journal, Vec<String>)> {
        std::fs::create_dir_all(&self.folder).ok()?;
        let path = self.folder.join(key.as_str().replace('/', "_"));
        let (file, lines, end) = open_locked(&path, true)?;
        let head = format!("{MAGIC} {key} {len} {hash}");
        let mut journal = Journal { file, path, head, lines: lines.len() };
        if lines.first() == Some(&journal.head) && journal.file.set_len(end).is_ok() {
            return Some((journal, lines.into_iter().skip(1).collect()));
        }
        journal.restart();
        Some((journal, Vec::new()))
    }

    /// Every journal, as far as it can be read.
    pub(crate) fn left(&self) -> Vec<Left> {
        let open = |path: PathBuf| {
            let age = std::fs::metadata(&path).ok()?.modified().ok()?.elapsed().unwrap_or_default();
            let (mut lines, _) = read_lines(&mut File::open(&path).ok()?)?;
            let Some(key) = lines.first().and_then(|head| key_of(head)) else {
                // Nothing that it says can be used by anybody.
                return (age > FORGOTTEN).then(|| std::fs::remove_file(path)).and(None);
            };
            Some(Left { path, key, notes: lines.split_off(1), age })
        };
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).take(MOST).filter_map(open).collect()
    }
}

impl Left {
    /// Removes the journal, unless somebody has it in use or wrote more into it.
    pub(crate) fn remove(self) {
        if let Some((_locked, lines, _)) = open_locked(&self.path, false)
            && lines.get(1..) == Some(&self.notes[..])
        {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Journal {
    /// Adds a line. A failure only costs the resumption: then nothing more is noted.
    pub(crate) fn note(&mut self, line: &str) {
        if self.lines == 0 || line.contains('\n') {
            return;
        }
        if self.append(line).is_err() {
            let _ = self.file.set_len(0);
            self.lines = 0;
        }
    }

    /// Forgets what was noted: the upload begins anew.
    pub(crate) fn restart(&mut self) {
        self.lines = 0;
        let head = self.head.clone();
        if self.file.set_len(0).is_ok() && self.append(&head).is_err() {
            self.lines = 0;
        }
    }

    fn append(&mut self, line: &str) -> std::io::Result<()> {
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(format!("{} {line}\n", checksum(self.lines, line)).as_bytes())?;
        self.lines += 1;
        Ok(())
    }

    /// The upload is done, or what it left is worth nothing.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Opens and locks a journal. Returns the lines that are whole, and where they end.
fn open_locked(path: &Path, create: bool) -> Option<(File, Vec<String>, u64)> {
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(create).truncate(false).mode(0o600).open(path).ok()?;
    file.try_lock().ok()?;
    // Whoever held it before may have removed it: then the lock is that of no name.
    if !is_named(&file, path) {
        return None;
    }
    let (lines, end) = read_lines(&mut file)?;
    Some((file, lines, end))
}

/// The lines up to the first that is not whole, and where they end.
fn read_lines(file: &mut File) -> Option<(Vec<String>, u64)> {
    let mut bytes = Vec::new();
    file.take(MAX_LEN).read_to_end(&mut bytes).ok()?;
    let (mut lines, mut end) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
        let Some((sum, text)) = text.and_then(|text| text.split_once(' ')) else { break };
        if sum != checksum(lines.len(), text) {
            break;
        }
        end += line.len() as u64;
        lines.push(text.to_owned());
    }
    Some((lines, end))
}

/// Tells a line that was written whole, as the `number`th, from any other.
fn checksum(number: usize, line: &str) -> String {
    blake3::hash(format!("{number} {line}").as_bytes()).to_hex()[..16].to_owned()
}

fn key_of(head: &str) -> Option<Key> {
    let (key, _) = head.strip_prefix(MAGIC)?.strip_prefix(' ')?.split_once(' ')?;
    Key::new(key).ok()
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
        assert!(notes.is_empty());
        journal.note("temporary");
        journal.note("durable 17");
        assert!(journals.open(&key, 4, &hash).is_none(), "it is in use");
        let left = journals.left().remove(0);
        assert_eq!((&left.key, left.age < FORGOTTEN), (&key, true));
        assert_eq!(left.notes, ["temporary", "durable 17"]);
        left.remove();
        let left = journals.left().remove(0);
        drop(journal);
        let notes = |journals: &Journals, len, hash: &blake3::Hash| journals.open(&key, len, hash).unwrap().1;
        assert_eq!(notes(&journals, 4, &hash), ["temporary", "durable 17"]);
        assert!(notes(&Journals::new(place.path(), "sftp://b/x"), 4, &hash).is_empty(), "another place");
        assert!(notes(&journals, 5, &hash).is_empty(), "another length");
        assert!(notes(&journals, 4, &hash).is_empty(), "that one has forgotten it");
        assert!(notes(&journals, 4, &blake3::hash(b"ydob")).is_empty(), "another body");
        left.remove();
        assert_eq!(journals.left().len(), 1, "it says something else by now");
        journals.left().remove(0).remove();
        assert!(journals.left().is_empty());
    }

    #[test]
    fn lines_that_are_whole_stand_whatever_was_written_behind_them() {
        let place = tempfile::tempdir().unwrap();
        let journals = Journals::new(place.path(), "x");
        let (key, hash) = (Key::new("a").unwrap(), blake3::hash(b""));
        let (mut journal, _) = journals.open(&key, 0, &hash).unwrap();
        let path = journal.path.clone();
        let mut ends = vec![std::fs::metadata(&path).unwrap().len()];
        let lines: Vec<String> = (0..4).map(|n| format!("part {n}")).collect();
        for line in &lines {
            journal.note(line);
            ends.push(std::fs::metadata(&path).unwrap().len());
        }
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..=whole.len() {
            let kept = ends.iter().filter(|end| **end <= len as u64).count();
            for torn in [whole[..len].to_vec(), [&whole[..len], &vec![0; whole.len() - len][..]].concat()] {
                std::fs::write(&path, torn).unwrap();
                let (mut journal, notes) = journals.open(&key, 0, &hash).unwrap();
                assert_eq!(notes, lines[..kept.saturating_sub(1)], "of the first {len} bytes");
                journal.note("and on");
                drop(journal);
                assert_eq!(journals.open(&key, 0, &hash).unwrap().1.last().unwrap(), "and on");
            }
        }
        let (journal, _) = journals.open(&key, 0, &hash).unwrap();
        journal.remove();
        assert!(!path.exists());
    }
}
