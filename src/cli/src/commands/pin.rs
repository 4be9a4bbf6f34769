//! `fardel pin` and `unpin`: snapshots that nobody may forget.

use fardel_engine::forget;
use serde::Serialize;

use crate::app::App;
use crate::args::PinArgs;
use crate::error::Result;
use crate::exit::Exit;
use crate::open::{self, Access};

#[derive(Serialize)]
struct Summary {
    snapshots: Vec<String>,
    pinned: bool,
}

/// Runs `pin`, or `unpin`.
///
/// # Errors
/// When there is no such snapshot, or the key does not allow it.
pub fn run(app: &App, args: &PinArgs, pinned: bool) -> Result<Exit> {
    let opened = open::open(&app.config, Access::Key)?;
    open::make_cache(&app.config.cache)?;
    let does = if pinned { forget::pin } else { forget::unpin };
    let changed = does(&opened.repo, &opened.catalog, &args.snapshots)?;
    for id in &changed {
        let now = if pinned { "is pinned: nobody can forget it" } else { "can be forgotten again" };
        app.out.say(format!("snapshot {} {now}", id.short()))?;
    }
    if changed.is_empty() {
        app.out.say(if pinned { "It was pinned before." } else { "It was not pinned." })?;
    }
    app.out.summary(&Summary { snapshots: changed.iter().map(ToString::to_string).collect(), pinned })?;
    Ok(Exit::Done)
}
