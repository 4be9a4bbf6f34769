//! Gathers what is found, one finding an object.

use std::collections::{BTreeMap, HashSet};

use fardel_format::names::Name;
use fardel_format::{Error as FormatError, SnapshotId};
use fardel_store::ErrorKind;

use super::report::{Class, Costs, Finding, MAX_SNAPSHOTS};
use crate::Error;

/// Findings by key. The first thing that is found about an object stands; what follows is usually its consequence.
#[derive(Default)]
pub struct Findings {
    by_key: BTreeMap<String, Finding>,
    /// Those that cost their snapshots something even if every chunk can be had.
    unmendable: HashSet<String>,
    /// Those that were here once.
    arrived: HashSet<String>,
    /// What is worth knowing and no damage.
    pub notes: Vec<String>,
}

impl Findings {
    /// Adds a finding, unless the object has one.
    pub fn add(&mut self, object: impl ToString, class: Class, why: impl ToString) -> &mut Finding {
        let object = object.to_string();
        self.by_key.entry(object).or_insert_with_key(|object| Finding {
            object: object.clone(),
            class,
            why: why.to_string(),
            harmless: false,
            costs: Costs::default(),
        })
    }

    /// Adds a finding in the place of any other: what the object's own bytes say counts more than what was told of them.
    pub fn put(&mut self, object: impl ToString, class: Class, why: impl ToString) -> &mut Finding {
        let object = object.to_string();
        self.by_key.remove(&object);
        self.unmendable.remove(&object);
        self.add(object, class, why)
    }

    /// The object costs its snapshots something even if every chunk can be had: somebody wrote what is not so.
    pub fn mark_unmendable(&mut self, object: &str) {
        self.unmendable.insert(object.to_owned());
    }

    /// Whether [`Self::mark_unmendable`] was told of it.
    pub fn is_unmendable(&self, object: &str) -> bool {
        self.unmendable.contains(object)
    }

    /// The object was here once: what is wrong with it is no delay.
    pub fn mark_arrived(&mut self, object: &str) {
        self.arrived.insert(object.to_owned());
    }

    /// In a copy that a foreign tool makes, what is absent or too short is on its way, unless it was here once; and of what no
    /// snapshot needs, a part may have come under the final name.
    pub fn tell_what_is_on_its_way(&mut self) {
        for finding in self.by_key.values_mut() {
            let has_hash = || Name::parse(&finding.object).is_some_and(|name| name.content_hash().is_some());
            let is_late = match finding.class {
                Class::Missing | Class::Truncated => true,
                Class::Corrupt => finding.costs.snapshots.is_empty() && has_hash(),
                Class::Forged | Class::NotYetArrived => false,
            };
            // A chunk that no pack has is none that a tool copies.
            let is_chunk = finding.object.starts_with("chunk ");
            if is_late && !is_chunk && !self.arrived.contains(&finding.object) {
                finding.class = Class::NotYetArrived;
            }
        }
    }

    /// Whether the object has a finding.
    pub fn has(&self, object: &str) -> bool {
        self.by_key.contains_key(object)
    }

    /// The finding about an object.
    pub fn get(&self, object: &str) -> Option<&Finding> {
        self.by_key.get(object)
    }

    /// The finding about an object, to be changed.
    pub fn get_mut(&mut self, object: &str) -> Option<&mut Finding> {
        self.by_key.get_mut(object)
    }

    /// Calls `f` with every finding.
    pub fn for_each(&mut self, f: impl FnMut(&mut Finding)) {
        self.by_key.values_mut().for_each(f);
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Everything that is worth knowing and no damage.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The findings, sorted by key, and the notes.
    pub fn finish(self) -> (Vec<Finding>, Vec<String>) {
        (self.by_key.into_values().collect(), self.notes)
    }
}

impl Costs {
    /// Counts a snapshot in; the same one twice in a row counts once.
    pub(super) fn add_snapshot(&mut self, id: SnapshotId) {
        if self.snapshots.contains(&id) {
            return;
        }
        match self.snapshots.len() < MAX_SNAPSHOTS {
            true => self.snapshots.push(id),
            false => self.more_snapshots += 1,
        }
    }
}

/// The class of a small text object whose bytes are wrong: all of them end with a line's end.
pub fn class_of_text(bytes: &[u8]) -> Class {
    match bytes.last() {
        None => Class::Truncated,
        Some(b' '..=b'~') => Class::Truncated,
        Some(_) => Class::Corrupt,
    }
}

/// What a failed read says about one object; `None` when it says more about the store.
pub fn class_of_read(error: &fardel_store::Error) -> Option<Class> {
    match error.kind {
        ErrorKind::NotFound => Some(Class::Missing),
        ErrorKind::Truncated => Some(Class::Truncated),
        // A disk that cannot read one file, or a file that is not ours to read.
        ErrorKind::Other | ErrorKind::Denied => Some(Class::Corrupt),
        ErrorKind::Transient
        | ErrorKind::Exists
        | ErrorKind::NoSpace
        | ErrorKind::Invalid
        | ErrorKind::Stopped
        | ErrorKind::Locked
        | ErrorKind::Damaged => None,
    }
}

/// The format's error in an operation's error, if that is what it is.
pub fn format_error(error: &Error) -> Option<&FormatError> {
    match error {
        Error::Object { error, .. } => Some(error),
        _ => None,
    }
}
