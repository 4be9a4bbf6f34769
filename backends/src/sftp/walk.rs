use std::sync::Arc;

use fardel_store::Result;

use super::pool::Pool;
use crate::walk::{Entry, Folders, MOST_NAMES};

/// The folders of a repository at the server.
#[derive(Clone)]
pub(super) struct RemoteFolders {
    pub(super) pool: Arc<Pool>,
    /// Ends in `/`, unless it is empty.
    pub(super) root: Arc<str>,
}

impl Folders for RemoteFolders {
    async fn read(&self, folder: &str) -> Result<Vec<Entry>> {
        let path = format!("{}{folder}", self.root);
        let path = match path.strip_suffix('/') {
            Some("") => "/",
            Some(path) => path,
            None => ".",
        };
        let session = self.pool.lease().await?;
        let names = match session.folder(path, MOST_NAMES).await {
            Ok(names) => names,
            Err(failure) if failure.is_absent() => return Ok(Vec::new()),
            Err(failure) => {
                // OpenSSH says no more than "Failure" of what is no folder.
                let there = session.look(path).await.map_err(|failure| failure.about(path))?;
                let is_other = |attributes: &russh_sftp::protocol::FileAttributes| {
                    attributes.permissions.is_some() && !attributes.is_dir()
                };
                return if there.as_ref().is_none_or(is_other) {
                    Ok(Vec::new())
                } else {
                    Err(failure.about(path))
                };
            }
        };
        let entries = names.into_iter().map(|(name, attributes)| {
            let is_folder = attributes.is_dir();
            Entry { name, size: attributes.size.unwrap_or_default(), is_folder }
        });
        Ok(entries.collect())
    }
}
