//! Format versions of documents: told before anything else is read, so that a newer document is never called damaged.

use serde::Deserialize;

use crate::{Error, Result};

#[derive(Deserialize)]
struct Versioned {
    fardel: u64,
}

/// Whether a JSON document says that it is of version `known`.
pub(crate) fn check(what: &'static str, document: &[u8], known: u64) -> Result<()> {
    let found: Versioned = serde_json::from_slice(document).map_err(|e| Error::damaged(what, e))?;
    match found.fardel == known {
        true => Ok(()),
        false => Err(Error::Version { what, found: found.fardel, known }),
    }
}

#[cfg(test)]
mod tests;
