//! The configured copies of a repository, for whoever reads one of them and cannot have all from there.

use std::sync::Arc;

use fardel_engine::Repository;
use fardel_engine::copies::{Fallback, Other};
use serde::Serialize;

use crate::app::App;
use crate::config::Config;
use crate::error::Result;
use crate::human::{self, count};
use crate::location::Location;
use crate::open;

/// So many objects are told one by one; programs are told all.
const SHOWN: usize = 10;

#[derive(Serialize)]
struct FallbackLine<'a> {
    object: &'a str,
    message: &'a str,
    copy: &'a str,
}

#[derive(Serialize)]
struct CopyUnusable<'a> {
    copy: &'a str,
    message: &'a str,
}

/// Every configured place but the one that is read. None of them is touched yet.
pub fn others(config: &Config, read: &Location) -> Vec<Other> {
    let config = Arc::new(config.clone());
    let places = config.places().into_iter().filter(|(_, location)| location != read);
    let other = |(name, location): (String, Location)| {
        let config = config.clone();
        Other::new(name, move || open::store(&config, &location).map_err(|failure| failure.message))
    };
    places.map(other).collect()
}

/// Says what was not to be had from the place that was read, and which copy gave it.
///
/// # Errors
/// When standard output fails.
pub fn tell(app: &App, repo: &Repository) -> Result<()> {
    let (out, fallbacks) = (&app.out, repo.copies().fallbacks());
    for Fallback { object, why, copy } in &fallbacks.objects {
        out.json_item("fallback", &FallbackLine { object, message: why, copy })?;
    }
    for (copy, why) in &fallbacks.unusable {
        out.json_item("copy-unusable", &CopyUnusable { copy, message: why })?;
    }
    if out.is_json() {
        return Ok(());
    }
    for Fallback { object, why, copy } in fallbacks.objects.iter().take(SHOWN) {
        out.warning(&human::shown(format!("{object}: {why}; it was read from the copy {copy}").as_bytes()));
    }
    let more = fallbacks.objects.len().saturating_sub(SHOWN) as u64;
    if more > 0 {
        let least = if fallbacks.more { "at least " } else { "" };
        out.remark(&format!("  and {least}{} from other copies", count(more, "more object", "more objects")));
    }
    if !fallbacks.objects.is_empty() {
        out.remark("  `fardel check` says what is damaged here");
    }
    for (copy, why) in &fallbacks.unusable {
        out.warning(&human::shown(format!("the copy {copy} could not be asked: {why}").as_bytes()));
    }
    Ok(())
}
