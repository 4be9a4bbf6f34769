//! Strikes a replica off, so that it holds up no collection.

use fardel_format::tomb::Takes;

use crate::catalog::Catalog;
use crate::commit::load_tombs;
use crate::entomb;
use crate::repository::Repository;
use crate::snapshots::Snapshots;
use crate::{Error, Result};

/// Revokes everything that a replica acknowledged until now; how many acknowledgements that were. One that is put later counts
/// again: the replica lives, then.
///
/// # Errors
/// When nobody of that name acknowledged anything, the key may not, or the store fails.
pub fn strike(repo: &Repository, catalog: &Catalog, replica: &str) -> Result<u64> {
    let snapshots = Snapshots::load(repo, catalog)?;
    entomb::may_forget(repo, &snapshots.registry)?.need_maintain("striking a replica off")?;
    let tombs = load_tombs(repo)?;
    let all = || catalog.acks.keys().filter(|(name, _)| name == replica).map(|(_, name)| name.hash);
    if all().next().is_none() {
        return Err(Error::NotFound(format!("no replica `{replica}` ever acknowledged anything here")));
    }
    let names: Vec<_> = all().filter(|hash| !tombs.revokes(hash)).map(|hash| hash.to_string()).collect();
    let count = names.len() as u64;
    entomb::entomb(repo, catalog, Takes::Revoke { names })?;
    Ok(count)
}
