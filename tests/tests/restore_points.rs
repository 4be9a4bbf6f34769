//! A restore that is interrupted: into nothing, and over older content.
//!
//! 1. The built command is killed on entering each of its changing calls ([`kills`]).
//! 2. The machine loses power ([`losses`]). A restore makes everything durable once, at its end, so that until then each
//!    entry can be left at any stage, with any part of its content.
//!
//! After either, `restore --in-place` makes everything as it was saved.

#[path = "restore_points/kills.rs"]
mod kills;
#[path = "restore_points/losses.rs"]
mod losses;
#[path = "restore_points/stage.rs"]
mod stage;

use fardel_tests::crash::model::Model;

/// Takes out of `found` every `NAME.partial` that is whole: killed between the last attribute and the renaming, a copy
/// stays that cannot be told from a user's own file. Returns how many there were.
fn remove_whole_copies(found: &mut Model, wanted: &Model) -> u64 {
    let before = found.0.len();
    found.0.retain(|path, item| {
        let name = path.strip_suffix(b".partial").filter(|_| !wanted.0.contains_key(path));
        name.and_then(|name| wanted.0.get(name)).is_none_or(|whole| whole.content != item.content)
    });
    (before - found.0.len()) as u64
}
