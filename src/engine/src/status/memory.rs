//! What was seen in a copy before: so that one which shows an older state is known for it.
//!
//! The newest snapshot of each writer is remembered, and when that is gone and no tomb takes it away, the copy was rolled
//! back or lost it. It stays remembered until it is there again. Losing the file costs only what it would have told.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use fardel_format::ids::Nonce;
use fardel_format::names::Numbered;
use fardel_format::{ObjectHash, SnapshotId, WriterId};
use serde::{Deserialize, Serialize};

use super::{Gone, Status};
use crate::catalog::Catalog;
use crate::snapshots::Snapshots;
use crate::{Error, Result};

/// What was seen in one copy.
#[derive(Debug)]
pub struct Remembered {
    path: PathBuf,
    state: State,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// Which copy this is about, for people.
    copy: String,
    /// The newest snapshot of each writer.
    #[serde(default)]
    heads: BTreeMap<WriterId, Head>,
    /// The newest snapshot that was whole, and when this was first seen.
    #[serde(default)]
    complete: Option<Complete>,
    /// When a replication last left nothing to be done.
    #[serde(default)]
    synced: Option<String>,
}

/// A snapshot under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The writer's number for it.
    pub seq: u32,
    /// Its manifest.
    pub manifest: ObjectHash,
    /// Its id.
    pub snapshot: SnapshotId,
}

#[derive(Debug, Serialize, Deserialize)]
struct Complete {
    snapshot: SnapshotId,
    since: String,
}

impl Remembered {
    /// What is known of the copy at a place; nothing at the first time, or when the file cannot be read.
    #[must_use]
    pub fn load(cache: &Path, copy: &str) -> Self {
        let name = format!("{}.json", &blake3::hash(copy.as_bytes()).to_hex()[..16]);
        let path = cache.join("copies").join(name);
        let read = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let state = read.unwrap_or_else(|| State { copy: copy.to_owned(), ..State::default() });
        Self { path, state }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When a replication last left nothing to be done, RFC 3339.
    #[must_use]
    pub fn synced(&self) -> Option<&str> {
        self.state.synced.as_deref()
    }

    /// Since when the newest complete snapshot has been this one, as the clock of this machine told, RFC 3339.
    #[must_use]
    pub fn complete_since(&self, snapshot: &SnapshotId) -> Option<&str> {
        self.complete().filter(|complete| *complete == snapshot)?;
        self.state.complete.as_ref().map(|complete| &*complete.since)
    }

    /// The newest snapshot that was seen whole; it stays when it is whole no more.
    #[must_use]
    pub fn complete(&self) -> Option<&SnapshotId> {
        self.state.complete.as_ref().map(|complete| &complete.snapshot)
    }

    /// Remembers that a replication left nothing to be done.
    pub fn note_sync(&mut self) {
        self.state.synced = Some(crate::time::now());
    }

    /// Remembers what is there now. What is gone without a tomb stays remembered.
    pub fn note(&mut self, status: &Status) {
        let is_gone = |writer: &WriterId| status.rolled_back.iter().any(|gone| gone.writer == *writer);
        self.state.heads.retain(|writer, _| is_gone(writer));
        for (writer, head) in &status.heads {
            self.state.heads.entry(*writer).or_insert(*head);
        }
        let was_whole = self.complete().is_some_and(|complete| status.incomplete.contains(complete));
        if let Some(complete) = status.complete.as_ref().filter(|_| !was_whole) {
            self.note_complete(&complete.id);
        }
    }

    /// Remembers that this is the newest snapshot, and that all of it is there.
    pub fn note_complete(&mut self, snapshot: &SnapshotId) {
        if self.complete() != Some(snapshot) {
            self.state.complete = Some(Complete { snapshot: *snapshot, since: crate::time::now() });
        }
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn save(&self) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let mut text = serde_json::to_vec_pretty(&self.state).expect("it is plain data");
        text.push(b'\n');
        let temporary = folder.join(format!(".{}", Nonce::random()));
        let written = fs::File::create_new(&temporary).and_then(|mut file| file.write_all(&text));
        #[expect(clippy::disallowed_methods, reason = "what was seen last replaces what was seen before")]
        let saved = written.and_then(|()| fs::rename(&temporary, &self.path));
        saved.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            Error::io(&self.path, error)
        })
    }

    /// Remembered snapshots that are gone, and that no tomb takes away.
    pub(super) fn gone(&self, catalog: &Catalog, snapshots: &Snapshots) -> Vec<Gone> {
        let is_there = |writer: &WriterId, head: &Head| {
            let name = Numbered { seq: head.seq, hash: head.manifest };
            catalog.seals.contains_key(&(*writer, name))
        };
        let is_taken = |writer: &WriterId, head: &Head| {
            snapshots.tombs.names_forgotten(&head.snapshot, writer)
                || snapshots.tombs.revoked.contains(&head.manifest.to_string())
        };
        let gone = self.state.heads.iter().filter(|(w, head)| !is_there(w, head) && !is_taken(w, head));
        gone.map(|(writer, head)| Gone { writer: *writer, seq: head.seq, snapshot: head.snapshot }).collect()
    }
}
