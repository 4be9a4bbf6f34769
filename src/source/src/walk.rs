//! Listing a tree on a thread of its own.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::beneath::Beneath;
use crate::error::Error;
use crate::event::Event;
use crate::excludes::Excludes;
use crate::meta::FileId;
use crate::walker::Walker;

/// Batches that may wait between the walking thread and the consumer.
const WAITING: usize = 4;
/// Events in a batch.
const BATCH: usize = 256;
/// Bytes of paths in a batch: very deep trees have paths of megabytes.
const BATCH_BYTES: usize = 256 << 10;

/// What a walk leaves out. The default leaves out nothing.
#[derive(Clone, Debug, Default)]
pub struct WalkOptions {
    /// Patterns.
    pub excludes: Excludes,
    /// Do not go into folders on another file system than the root. (Folders only: a file of another device, as
    /// overlayfs shows them, is kept.)
    pub one_file_system: bool,
    /// Of a folder with a valid `CACHEDIR.TAG`, keep only the folder and the tag. The root itself is never treated
    /// so: who names a cache as a source wants it saved.
    pub exclude_caches: bool,
    /// Leave out regular files of more bytes than this.
    pub exclude_larger_than: Option<u64>,
    /// Folders to skip wherever they turn up, such as the repository itself.
    pub never: Vec<FileId>,
}

/// The events of a walk, in order. The walking thread runs at most a thousand or so events ahead.
///
/// Dropping it stops the thread and waits for it, so that no folder stays open. When the thread panicked, `next`
/// panics too: a walk cut short never looks like a whole one.
#[derive(Debug)]
pub struct Walk {
    batch: std::vec::IntoIter<Event>,
    batches: Option<Receiver<Vec<Event>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Walk {
    pub(crate) fn start(root: Arc<Beneath>, options: WalkOptions) -> Walk {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = bounded(WAITING);
        let outbox = Outbox { sender, batch: Vec::new(), bytes: 0, stop: Arc::clone(&stop) };
        let path = root.path().to_path_buf();
        let thread = std::thread::Builder::new()
            .name("fardel-walk".into())
            .spawn(move || Walker::new(root, options, outbox).run());
        let (first, thread) = match thread {
            Ok(thread) => (Vec::new(), Some(thread)),
            Err(e) => {
                let error = Error::io(path, "cannot start a thread to list the tree", e);
                (vec![Event::Failed { path: Vec::new(), error }], None)
            }
        };
        Walk { batch: first.into_iter(), batches: Some(receiver), stop, thread }
    }
}

impl Iterator for Walk {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.batch.next() {
                return Some(event);
            }
            match self.batches.as_ref()?.recv() {
                Ok(batch) => self.batch = batch.into_iter(),
                Err(_) => {
                    self.batches = None;
                    if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                        resume_unwind(panic);
                    }
                }
            }
        }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Nobody listens any more.
#[derive(Debug)]
pub(crate) struct Stopped;

/// Where the walking thread puts its events.
#[derive(Debug)]
pub(crate) struct Outbox {
    sender: Sender<Vec<Event>>,
    batch: Vec<Event>,
    bytes: usize,
    stop: Arc<AtomicBool>,
}

impl Outbox {
    pub(crate) fn put(&mut self, event: Event) -> Result<(), Stopped> {
        self.bytes += match &event {
            Event::Enter(e) | Event::Entry(e) => e.path.len(),
            Event::Excluded { path, .. } | Event::Failed { path, .. } => path.len(),
            Event::Leave => 0,
        };
        if self.batch.capacity() == 0 {
            self.batch.reserve_exact(BATCH);
        }
        self.batch.push(event);
        if self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Stopped> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() { Ok(()) } else { self.sender.send(batch).map_err(|_| Stopped) }
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
