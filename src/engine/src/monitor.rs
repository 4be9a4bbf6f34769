//! What a long operation tells while it runs. The library reports, the command draws.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How far an operation is; totals are zero while unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Files (or objects) done.
    pub files_done: u64,
    /// Files (or objects) in all.
    pub files_total: u64,
    /// How many bytes will be done when something of use is complete, such as the next snapshot; 0 when there is nothing such.
    pub milestone: u64,
}

/// The counters that a monitor reads whenever it likes; the only copy of these counts.
#[derive(Debug, Default)]
pub struct Counters {
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    files_done: AtomicU64,
    files_total: AtomicU64,
    milestone: AtomicU64,
}

impl Counters {
    /// A moment's values.
    #[must_use]
    pub fn get(&self) -> Progress {
        Progress {
            bytes_done: self.bytes_done.load(Relaxed),
            bytes_total: self.bytes_total.load(Relaxed),
            files_done: self.files_done.load(Relaxed),
            files_total: self.files_total.load(Relaxed),
            milestone: self.milestone.load(Relaxed),
        }
    }

    /// More is done.
    pub fn done(&self, files: u64, bytes: u64) {
        self.files_done.fetch_add(files, Relaxed);
        self.bytes_done.fetch_add(bytes, Relaxed);
    }

    /// More is known to be ahead.
    pub fn ahead(&self, files: u64, bytes: u64) {
        self.files_total.fetch_add(files, Relaxed);
        self.bytes_total.fetch_add(bytes, Relaxed);
    }

    /// Something of use is complete when so many bytes are done.
    pub fn set_milestone(&self, bytes: u64) {
        self.milestone.store(bytes, Relaxed);
    }

    /// The totals are these.
    pub fn set_total(&self, files: u64, bytes: u64) {
        self.files_total.store(files, Relaxed);
        self.bytes_total.store(bytes, Relaxed);
    }
}

/// Whoever watches an operation.
pub trait Monitor: Send + Sync {
    /// Counters that the operation moves.
    fn counters(&self) -> &Counters;
    /// Something was skipped or is not as it should be; it is in the report as well.
    fn warning(&self, message: &str);
    /// A detail, for those who asked for many.
    fn detail(&self, message: &str);
    /// Whether the user wants it to stop.
    fn interrupted(&self) -> bool;
}

/// A monitor that shows nothing; the flag stops the operation.
#[derive(Debug, Default)]
pub struct Silent {
    counters: Counters,
    /// Set to stop.
    pub stop: AtomicBool,
}

impl Monitor for Silent {
    fn counters(&self) -> &Counters {
        &self.counters
    }
    fn warning(&self, _: &str) {}
    fn detail(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        self.stop.load(Relaxed)
    }
}
