//! Others are at work while a check runs: what a collector swept or merged meanwhile is no damage.

use std::borrow::Cow;
use std::collections::HashSet;

use fardel_format::names::Name;

use super::report::{CheckReport, Finding};
use super::{CheckOptions, Level, run};
use crate::Result;
use crate::catalog::Catalog;
use crate::monitor::Monitor;
use crate::repository::Repository;

/// How often it is begun anew when snapshots move while they are looked at.
const ATTEMPTS: u32 = 3;

/// Checks the repository.
///
/// What is gone that was listed is looked for again, in a new listing: when no snapshot of that needs it, a collector took it
/// away, and it is no finding. When more than that changed, everything is looked at anew.
///
/// # Errors
/// When the store fails as a whole, no key is at hand for [`Level::Data`], or the user stops it. Damage is in the report.
pub fn check(
    repo: &Repository,
    catalog: &Catalog,
    options: &CheckOptions,
    monitor: &dyn Monitor,
) -> Result<CheckReport> {
    let mut catalog = Cow::Borrowed(catalog);
    for _ in 1..ATTEMPTS {
        let mut report = run::once(repo, &catalog, options, monitor)?;
        if report.is_clean() {
            return Ok(report);
        }
        let now = Catalog::load(repo.store())?;
        let changes = Changes { before: &catalog, now: &now };
        if !report.errors.iter().any(|finding| changes.concern(finding)) {
            return Ok(report);
        }
        let needed = needed(repo, &now, options, monitor)?;
        report.errors.retain(|finding| !changes.took_away(finding) || needed.contains(&finding.object));
        if !report.errors.iter().any(|finding| changes.concern(finding)) {
            return Ok(report);
        }
        catalog = Cow::Owned(now);
    }
    run::once(repo, &catalog, options, monitor)
}

/// What is needed, and not here: what can be told of that without reading packs.
fn needed(
    repo: &Repository,
    catalog: &Catalog,
    options: &CheckOptions,
    monitor: &dyn Monitor,
) -> Result<HashSet<String>> {
    let level = options.level.min(Level::Seals);
    let options = CheckOptions { level, sample: None, impact: false, ..options.clone() };
    let report = run::once(repo, catalog, &options, monitor)?;
    Ok(report.errors.into_iter().map(|finding| finding.object).collect())
}

/// Two listings.
struct Changes<'a> {
    before: &'a Catalog,
    now: &'a Catalog,
}

impl Changes<'_> {
    /// Whether what others did may be why it was found: of a chunk, whatever they did to packs.
    fn concern(&self, finding: &Finding) -> bool {
        match Name::parse(&finding.object) {
            Some(name) => is_listed(self.before, &name) != is_listed(self.now, &name),
            None => {
                let (before, now) = (&self.before.packs, &self.now.packs);
                before.len() != now.len() || before.keys().any(|hash| !now.contains_key(hash))
            }
        }
    }

    fn took_away(&self, finding: &Finding) -> bool {
        let gone = |name| is_listed(self.before, &name) && !is_listed(self.now, &name);
        Name::parse(&finding.object).is_some_and(gone)
    }
}

/// A pack that is not here has no generation.
fn is_listed(catalog: &Catalog, name: &Name) -> bool {
    match name {
        Name::Pack(hash, None) => catalog.packs.contains_key(hash),
        _ => catalog.get(name).is_some(),
    }
}
