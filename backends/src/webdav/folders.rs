use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use fardel_store::{ErrorKind, Result};
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};

use super::client::Client;
use super::failure::Failure;
use super::multistatus::{self, Item};
use crate::made::Made;
use crate::walk::{Entry, Folders, MOST_NAMES};

/// The folders of a repository at a server: makes them, and shows what is in them.
#[derive(Clone, Debug)]
pub(super) struct RemoteFolders {
    pub(super) client: Arc<Client>,
    /// Those that were seen or made; a name ends in `/`, the root is empty.
    known: Arc<Mutex<HashSet<String>>>,
    /// Those that were made.
    made: Arc<Made<Url>>,
    /// Temporaries that were removed while the server may still have had their uploads in its hands.
    pub(super) discarded: Arc<Made<String>>,
}

impl RemoteFolders {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client, known: Arc::default(), made: Arc::default(), discarded: Arc::default() }
    }

    /// Makes the folder above `path` and all above that, unless they are known.
    pub(super) async fn make_above(&self, path: &str) -> Result<(), Failure> {
        let folder = path.rfind('/').map_or("", |at| &path[..=at]);
        if self.known.lock().expect("never poisoned").contains(folder) {
            return Ok(());
        }
        self.make(self.client.url(folder)).await?;
        self.known.lock().expect("never poisoned").insert(folder.to_owned());
        Ok(())
    }

    /// Forgets what is known: a folder was found missing.
    pub(super) fn forget(&self) {
        self.known.lock().expect("never poisoned").clear();
    }

    /// Makes a folder. It is asked for first: rclone takes MKCOL of what is there, and nobody likes it for the server's own root.
    async fn make(&self, folder: Url) -> Result<(), Failure> {
        let mut missing = vec![folder];
        while let Some(folder) = missing.last() {
            match self.client.propfind(folder, "0").await {
                Ok(Some(_)) => {
                    missing.pop();
                    break;
                }
                // Above what is ours to see there may be folders all the same.
                Err(failure) if failure.kind() == ErrorKind::Denied && missing.len() > 1 => {
                    missing.pop();
                    break;
                }
                Ok(None) => {}
                // Apache says so of a folder whose parent is a file, nginx of one in a missing parent.
                Err(failure) if failure.is(StatusCode::CONFLICT) => {}
                Err(failure) => return Err(failure),
            }
            match above(folder) {
                Some(above) => missing.push(above),
                None => break,
            }
        }
        while let Some(folder) = missing.pop() {
            match self.client.tell("MKCOL", &folder, HeaderMap::new()).await {
                // Somebody else was first; servers have several ways to say so.
                Err(failure) if matches!(failure, Failure::Status(..)) => {
                    match self.client.propfind(&folder, "0").await? {
                        Some(_) => {}
                        None => return Err(failure),
                    }
                }
                made => {
                    made?;
                    self.made.note(folder);
                }
            }
        }
        Ok(())
    }

    /// Removes the folders that were made here and hold nothing. Returns those that would have to be removed with whatever somebody
    /// may put there at this very moment, for that is what DELETE of a folder does: the root, and those above it.
    pub(super) async fn remove_made(&self) -> Result<Vec<String>> {
        self.forget();
        for temporary in self.discarded.take() {
            // Once more: rclone publishes what came of a broken upload when it sees its end.
            let _ = self.client.tell("DELETE", &self.client.url(&temporary), HeaderMap::new()).await;
        }
        let (root, mut stay) = (self.client.url(""), Vec::new());
        for folder in self.made.take() {
            let failed = |failure: Failure| failure.about(&folder);
            let below = folder.path().strip_prefix(root.path()).is_some_and(|below| !below.is_empty());
            match self.client.propfind(&folder, "1").await.map_err(failed)? {
                None => {}
                Some(items) if items.len() > 1 => {}
                Some(_) if !below => stay.push(folder.to_string()),
                Some(_) => match self.client.tell("DELETE", &folder, HeaderMap::new()).await {
                    Err(failure) if failure.kind() != ErrorKind::NotFound => return Err(failed(failure)),
                    _ => {}
                },
            }
        }
        Ok(stay)
    }
}

/// The folder above.
fn above(folder: &Url) -> Option<Url> {
    let path = folder.path().trim_end_matches('/');
    let mut above = folder.clone();
    above.set_path(&path[..=path.rfind('/')?]);
    Some(above)
}

impl Folders for RemoteFolders {
    async fn read(&self, folder: &str) -> Result<Vec<Entry>> {
        let url = self.client.url(folder);
        let failed = |failure: Failure| failure.about(&url);
        let Some(items) = self.client.propfind(&url, "1").await.map_err(failed)? else {
            return Ok(Vec::new());
        };
        entries(url.path(), items).map_err(|what| failed(Failure::Protocol(what)))
    }
}

/// The names in the folder at `path` (as in its URL), from what was answered.
///
/// # Errors
/// When the answer is about another place: to show nothing would be to say that nothing is there.
fn entries(path: &str, items: Vec<Item>) -> Result<Vec<Entry>, String> {
    let own = multistatus::path(path)?;
    if items.len() > MOST_NAMES {
        return Err(format!("more than {MOST_NAMES} names in one folder"));
    }
    let Some(itself) = items.iter().find(|item| item.path == own) else {
        return Err(format!("the list does not hold {own:?} itself, which was asked for"));
    };
    if !itself.is_folder {
        return Ok(Vec::new());
    }
    let below = format!("{own}/");
    let entries = items.into_iter().filter_map(|item| {
        let name = item.path.strip_prefix(&below)?;
        let fits = !name.is_empty() && !name.contains('/') && !matches!(name, "." | "..");
        let (size, is_folder) = (item.size.unwrap_or_default(), item.is_folder);
        fits.then(|| Entry { name: name.to_owned(), size, is_folder })
    });
    Ok(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(path: &str, size: Option<u64>) -> Item {
        Item { path: path.into(), size, is_folder: size.is_none(), modified: None }
    }

    #[test]
    fn only_what_lies_in_the_folder_is_shown() {
        let items = ["/dav/r", "/dav/r/packs", "/dav/other", "/dav/r/a/b", "/dav/r/..", "/", "/etc/passwd"];
        let mut items: Vec<Item> = items.iter().map(|path| item(path, None)).collect();
        items.push(item("/dav/r/x y", Some(7)));
        let expected = [
            Entry { name: "packs".into(), size: 0, is_folder: true },
            Entry { name: "x y".into(), size: 7, is_folder: false },
        ];
        assert_eq!(entries("/dav/r/", items).unwrap(), expected);
    }

    #[test]
    fn an_answer_about_another_place_is_not_an_empty_folder() {
        assert!(entries("/dav/r/", vec![item("/r", None), item("/r/packs", None)]).is_err());
        assert!(entries("/dav/r/", Vec::new()).is_err());
    }

    #[test]
    fn a_file_holds_nothing() {
        assert_eq!(entries("/dav/r/", vec![item("/dav/r", Some(3))]).unwrap(), []);
    }
}
