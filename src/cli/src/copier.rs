//! Prepares the folder of a repository for a tool that copies it, and says how that is to be set.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use fardel_engine::replicas::COPIED_MARK;

use crate::app::App;
use crate::args::Copier;
use crate::error::{Failure, Result};
use crate::human;

const MARK: &str = "\
Another tool copies this folder. `fardel prune` keeps here what a copy may still need: until the machine at the other side
acknowledges something newer with `fardel replica acknowledge`, or for 30 days.
";
const STIGNORE: &str = "\
// Written by `fardel init --for syncthing`. Syncthing does not copy this file: each side has its own.
// Fardel's own temporary files; everything else is to be copied.
/.fardel-staging
";

/// Does what can be done, and says the rest.
///
/// # Errors
/// When the folder cannot be written.
pub fn prepare(app: &App, folder: &Path, copier: Copier) -> Result<()> {
    write_mark(folder)?;
    if copier == Copier::Syncthing {
        write_stignore(app, folder)?;
    }
    app.out.say("")?;
    for line in advice(copier) {
        app.out.say(line.replace("FOLDER", &human::quoted(&human::path(folder))))?;
    }
    app.out.say(
        "A snapshot counts in a copy when all of it has arrived: `fardel status --repo COPY` says so there.",
    )?;
    app.out.say(
        "What is forgotten stays here for 30 days, since a copy may be behind. `fardel replica acknowledge` at the other side lets \
         prune go by what has arrived instead: README.md, \"Folders that other tools copy\".",
    )
}

/// Whoever prunes here has to know; it is copied like the rest.
fn write_mark(folder: &Path) -> Result<()> {
    let path = folder.join(COPIED_MARK);
    let failed = |e| Failure::io(&path, &e, "the repository itself is made; write this file by hand");
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => file.write_all(MARK.as_bytes()).and_then(|()| file.sync_all()).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn advice(copier: Copier) -> &'static [&'static str] {
    match copier {
        Copier::Syncthing => &[
            "For Syncthing, in the settings of this folder:",
            "  - here: Folder Type \"Send Only\" if no other machine backs up into it;",
            "  - on every receiver: File Pull Order \"Oldest First\", so that whole snapshots arrive one after the other;",
            "  - on every receiver: Folder Type \"Receive Only\" unless that machine backs up too;",
            "  - \"Send & Receive\" on both sides if receivers are to acknowledge what they got: else that does not come back.",
        ],
        Copier::Nextcloud => &[
            "For the client of Nextcloud, on every machine:",
            "  - \"Make always available locally\" for this folder: a virtual file holds nothing that could be restored;",
            "  - it copies by name, so that packs come before what needs them. Its own ignore list touches no name of Fardel's.",
        ],
        Copier::Dropbox => &[
            "For Dropbox and the like, on every machine:",
            "  - \"Available offline\" for this folder: a file that is online only holds nothing that could be restored;",
            "  - about 300,000 files are advised at most: packs of 64 MiB make that 18 TiB.",
        ],
        Copier::Rclone => &[
            "With rclone, as often as you like:",
            "  rclone copy --immutable --order-by modtime --exclude '/.fardel-staging/**' FOLDER REMOTE:PATH",
            "  - `copy` rather than `sync`: nothing is deleted there that a half-copied snapshot still needs;",
            "  - to a folder it writes under final names: what was cut off is seen by its size, and copied anew.",
        ],
        Copier::Rsync => &[
            "With rsync, as often as you like:",
            "  rsync -rt --exclude /.fardel-staging FOLDER/ TARGET/",
            "  - with `--delete`, also `--delete-delay`: else it deletes before it copies;",
            "  - without `--inplace` and `--sparse`, which leave halves under final names.",
        ],
    }
}

fn write_stignore(app: &App, folder: &Path) -> Result<()> {
    let path = folder.join(".stignore");
    let failed = |e| Failure::io(&path, &e, "the repository itself is made; write this file by hand");
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => file.write_all(STIGNORE.as_bytes()).and_then(|()| file.sync_all()).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            app.out.warning(&format!(
                "{}: it was there already; it should have the line /.fardel-staging",
                human::path(&path)
            ));
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}
