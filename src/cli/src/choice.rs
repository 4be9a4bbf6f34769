//! The snapshot that a command is about.

use fardel_engine::snapshots::{Sealed, Snapshots};
use fardel_engine::status::{Latest, latest};
use fardel_format::names::Name;

use crate::error::Result;
use crate::human::{self, bytes, count};
use crate::open::Opened;
use crate::output::Output;

/// The snapshot that was asked for. `latest` is the newest one that is whole here, or with what other copies hold, as long as
/// there is one; and it is said what newer ones lack: they may still be on their way.
///
/// # Errors
/// When there is none.
pub fn choose<'s>(out: &Output, opened: &Opened, snapshots: &'s Snapshots, text: &str) -> Result<&'s Sealed> {
    let named = snapshots.find(text)?;
    if text != "latest" {
        return Ok(named);
    }
    let Some(Latest { complete, newer, lacks, forgotten }) =
        latest(&opened.repo, &opened.catalog, snapshots)?
    else {
        return Ok(named);
    };
    if let Some(newest) = newer.last() {
        let packs = lacks.objects.iter().filter(|(name, _)| matches!(name, Name::Pack(..))).count() as u64;
        let others = lacks.objects.len() as u64 - packs;
        let mut parts = Vec::new();
        parts.extend((packs > 0).then(|| count(packs, "pack", "packs")));
        parts.extend((others > 0).then(|| count(others, "other object", "other objects")));
        parts.push(bytes(lacks.objects.values().sum()));
        let though = if forgotten { ", though it was forgotten" } else { "" };
        let least = if lacks.at_least { "at least " } else { "" };
        out.warning(&format!(
            "{} newer and not whole here, the last {} of {}: {least}{} lacking; taking {} of {}, the newest that is whole{though}. \
             An id names any other",
            count(newer.len() as u64, "snapshot is", "snapshots are"),
            newest.id.short(),
            human::time(&newest.time),
            parts.join(", "),
            complete.id().short(),
            human::time(&complete.manifest.created),
        ));
    }
    Ok(complete)
}
