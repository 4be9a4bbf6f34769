//! Listings of stores that show one folder at a time.

use std::collections::VecDeque;
use std::future::Future;

use fardel_store::{Error, ErrorKind, Key, Listed, Prefix, Result, RetryPolicy};
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
///
/// A folder that fails for a moment is read again, the first one excepted: as long as nothing was shown, whoever asked for the
/// listing may begin it anew, and afterwards cannot.
pub(crate) fn walk<F: Folders>(folders: F, prefix: &str) -> BoxStream<'static, Result<Listed>> {
    let prefix = match Prefix::new(prefix) {
        Ok(prefix) => prefix,
        Err(error) => return stream::iter([Err(error)]).boxed(),
    };
    let waiting = VecDeque::from([prefix.as_str().to_owned()]);
    let walk = Walk {
        folders,
        waiting,
        reading: JoinSet::new(),
        policy: RetryPolicy { attempts: 1, ..RetryPolicy::default() },
    };
    let batches = stream::unfold(Some(walk), |walk| async move {
        let mut walk = walk?;
        match walk.next().await? {
            Ok(names) => Some((names, Some(walk))),
            Err(error) => Some((vec![Err(error)], None)),
        }
    });
    batches.flat_map(stream::iter).boxed()
}

/// Reads a folder, again when that fails for a moment: reading changes nothing.
async fn read<F: Folders>(folders: &F, folder: &str, policy: RetryPolicy) -> Result<Vec<Entry>> {
    for failure in 0.. {
        match folders.read(folder).await {
            Err(error) if error.kind == ErrorKind::Transient && failure + 1 < policy.attempts => {
                tokio::time::sleep(policy.pause(failure)).await;
            }
            read => return read,
        }
    }
    unreachable!("attempts are counted")
}

/// Folders that are still to be read, and folders that are being read. These go on when nobody asks for the next name.
struct Walk<F> {
    folders: F,
    waiting: VecDeque<String>,
    reading: JoinSet<(String, Result<Vec<Entry>>)>,
    /// For the folders that are read from now on.
    policy: RetryPolicy,
}

impl<F: Folders> Walk<F> {
    /// The names in the next folder.
    async fn next(&mut self) -> Option<Result<Vec<Result<Listed>>>> {
        while self.reading.len() < AT_ONCE
            && let Some(folder) = self.waiting.pop_front()
        {
            let (folders, policy) = (self.folders.clone(), self.policy);
            self.reading.spawn(async move {
                let read = read(&folders, &folder, policy).await;
                (folder, read)
            });
        }
        self.policy = RetryPolicy::default();
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use futures::TryStreamExt;

    use super::*;

    /// Three folders, of which some fail so often before they can be read.
    #[derive(Clone)]
    struct Failing(Arc<Mutex<HashMap<&'static str, u32>>>);

    impl Failing {
        fn first(failures: &[(&'static str, u32)]) -> Self {
            Self(Arc::new(Mutex::new(failures.iter().copied().collect())))
        }

        async fn names(&self) -> Result<Vec<String>> {
            let mut names: Vec<_> = walk(self.clone(), "").map_ok(|listed| listed.name).try_collect().await?;
            names.sort();
            Ok(names)
        }
    }

    impl Folders for Failing {
        async fn read(&self, folder: &str) -> Result<Vec<Entry>> {
            let mut failures = self.0.lock().unwrap();
            if let Some(left) = failures.get_mut(folder).filter(|left| **left > 0) {
                *left -= 1;
                return Err(Error::new(ErrorKind::Transient, folder, "the line was cut"));
            }
            let entry = |name: &str, is_folder| Entry { name: name.into(), size: 1, is_folder };
            Ok(match folder {
                "" => vec![entry("a", true), entry("b", true), entry("one", false)],
                _ => vec![entry("two", false)],
            })
        }
    }

    #[tokio::test]
    async fn a_cut_within_a_listing_does_not_end_it() {
        let folders = Failing::first(&[("a/", 1), ("b/", 2)]);
        assert_eq!(folders.names().await.unwrap(), ["a/two", "b/two", "one"]);
    }

    #[tokio::test]
    async fn a_folder_that_fails_for_ever_ends_it_and_the_first_one_at_once() {
        let first = Failing::first(&[("", 1)]);
        assert_eq!(first.names().await.unwrap_err().kind, ErrorKind::Transient);
        assert_eq!(first.0.lock().unwrap()[""], 0);
        let later = Failing::first(&[("b/", 5)]);
        assert_eq!(later.names().await.unwrap_err().kind, ErrorKind::Transient);
        assert_eq!(later.0.lock().unwrap()["b/"], 0, "every attempt was made");
    }
}
