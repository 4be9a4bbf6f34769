//! Listings of stores that show one folder at a time.

use std::collections::VecDeque;
use std::future::Future;

use fardel_store::{Error, ErrorKind, Key, Listed, Prefix, Result};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::task::JoinSet;

use crate::staging::STAGING;

/// So many folders are read at once.
const AT_ONCE: usize = 16;

/// No folder of ours comes near; a server that goes on for ever is stopped here.
pub(crate) const MOST_NAMES: usize = 1_000_000;

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name in the folder.
    pub(crate) name: String,
    /// Length in bytes.
    pub(crate) size: u64,
    pub(crate) is_folder: bool,
}

/// A store whose folders are read one by one.
pub(crate) trait Folders: Clone + Send + Sync + 'static {
    /// What lies in `folder`: empty for the root, else with a `/` at the end. One that is not there holds nothing.
    fn read(&self, folder: &str) -> impl Future<Output = Result<Vec<Entry>>> + Send;
}

/// Everything below `prefix`. Folders that cannot hold objects are shown and not entered; the staging folder is not shown.
pub(crate) fn walk<F: Folders>(folders: F, prefix: &str) -> BoxStream<'static, Result<Listed>> {
    let prefix = match Prefix::new(prefix) {
        Ok(prefix) => prefix,
        Err(error) => return stream::iter([Err(error)]).boxed(),
    };
    let waiting = VecDeque::from([prefix.as_str().to_owned()]);
    let walk = Walk { folders, waiting, reading: JoinSet::new() };
    let batches = stream::unfold(Some(walk), |walk| async move {
        let mut walk = walk?;
        match walk.next().await? {
            Ok(names) => Some((names, Some(walk))),
            Err(error) => Some((vec![Err(error)], None)),
        }
    });
    batches.flat_map(stream::iter).boxed()
}

/// Folders that are still to be read, and folders that are being read. These go on when nobody asks for the next name.
struct Walk<F> {
    folders: F,
    waiting: VecDeque<String>,
    reading: JoinSet<(String, Result<Vec<Entry>>)>,
}

impl<F: Folders> Walk<F> {
    /// The names in the next folder.
    async fn next(&mut self) -> Option<Result<Vec<Result<Listed>>>> {
        while self.reading.len() < AT_ONCE
            && let Some(folder) = self.waiting.pop_front()
        {
            let folders = self.folders.clone();
            self.reading.spawn(async move {
                let read = folders.read(&folder).await;
                (folder, read)
            });
        }
        match self.reading.join_next().await? {
            Ok((folder, read)) => Some(read.map(|entries| self.sort_out(&folder, entries))),
            Err(error) => Some(Err(Error::new(ErrorKind::Other, "a listing", error))),
        }
    }

    fn sort_out(&mut self, folder: &str, entries: Vec<Entry>) -> Vec<Result<Listed>> {
        let mut names = Vec::with_capacity(entries.len());
        for Entry { name, size, is_folder } in entries {
            let name = format!("{folder}{name}");
            if is_folder && name == STAGING {
                continue;
            }
            if is_folder && Key::new(name.as_str()).is_ok() {
                self.waiting.push_back(name + "/");
            } else {
                names.push(Ok(Listed { name, size }));
            }
        }
        names
    }
}
