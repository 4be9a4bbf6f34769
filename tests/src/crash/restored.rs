//! What the built command gives back of a [`Site`], to compare with what was saved.

use std::path::Path;
use std::process::Command;

use super::Result;
use super::machine::{Ended, Machine};
use super::model::Model;
use super::program::Reported;
use super::site::{STREAM, Site, View};
use crate::disk_tree::temporary_folder;

/// What a version has in its folder and its image; not every snapshot has the stream.
#[must_use]
pub fn saved(site: &Site, version: usize) -> Model {
    let mut model = site.version(version).model.clone();
    model.0.remove(STREAM.as_bytes());
    model
}

/// What was restored of them.
///
/// # Errors
/// When it cannot be read.
pub fn restored(target: &Path) -> Result<Model> {
    let read = |name| Model::of_disk(&target.join(name), name).map_err(|e| format!("{name}: {e}"));
    let mut model = read("tree")?;
    model.merge(read("disk.img")?);
    Ok(model)
}

/// The command that restores them from a snapshot that was made through this view.
#[must_use]
pub fn restore(machine: &Machine, view: &View, id: &str, target: &Path) -> Command {
    let sources = view.tree().parent().map(Path::to_owned).unwrap_or_default();
    let mut command = machine.command(&["restore", &format!("{id}:{}", sources.display()), "--setid"]);
    command.arg("--target").arg(target);
    command
}

/// That a snapshot restores as it was saved, from the machine's repository or another place.
///
/// # Errors
/// When it does not.
pub fn restores(
    machine: &Machine,
    site: &Site,
    view: &View,
    reported: &Reported,
    from: Option<&str>,
) -> Result {
    let folder = temporary_folder("target");
    let target = folder.path().join("t");
    let mut command = restore(machine, view, &reported.id, &target);
    if let Some(place) = from {
        command.args(["--repo", place]);
    }
    let ended = Ended::of(command.output().map_err(|e| e.to_string())?);
    if ended.code != Some(0) {
        return Err(format!("the restore of {} ended with {:?}: {}", reported.id, ended.code, ended.told()));
    }
    let wrong = saved(site, reported.version).differences(&restored(&target)?);
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{} restores otherwise: {}", reported.id, wrong.join("; ")))
    }
}
