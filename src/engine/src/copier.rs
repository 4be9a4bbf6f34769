//! Tools that copy folders are known by what they leave in them.

/// The tool that leaves files of this name in the folders that it copies; `None` when it can be anything.
///
/// The name is a path below the root of the store, as a listing shows it.
#[must_use]
pub fn copier_of(name: &str) -> Option<&'static str> {
    let (first, file) = (name.split('/').next()?, name.rsplit('/').next()?);
    let temporary = |begin: &str, end: &str| file.starts_with(begin) && file.ends_with(end);
    let is_syncthing = matches!(first, ".stfolder" | ".stignore" | ".stversions")
        || temporary(".syncthing.", ".tmp")
        || temporary("~syncthing~", ".tmp")
        || file.contains(".sync-conflict-");
    let is_nextcloud = temporary(".sync_", ".db")
        || temporary("._sync_", ".db")
        || matches!(file, ".nextcloudsync.log" | ".owncloudsync.log")
        || file.ends_with(".nextcloud")
        || file.ends_with(".owncloud");
    let is_dropbox = matches!(first, ".dropbox" | ".dropbox.cache") || file == ".dropbox.attr";
    let known = [
        (is_syncthing, "Syncthing"),
        (is_nextcloud, "Nextcloud"),
        (is_dropbox, "Dropbox"),
        (file.contains("conflicted copy"), "a cloud folder"),
        (file.ends_with(".partial"), "rclone"),
    ];
    known.into_iter().find(|(is, _)| *is).map(|(_, tool)| tool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_known_by_what_they_leave() {
        let table = [
            (".stfolder", Some("Syncthing")),
            (".stfolder/syncthing-folder-1234.txt", Some("Syncthing")),
            ("packs/.syncthing.0123.tar.zst.age.tmp", Some("Syncthing")),
            ("seals/x.sync-conflict-20261125-120000-ABCDEFG.minisig", Some("Syncthing")),
            (".sync_0123abcd.db", Some("Nextcloud")),
            ("packs/0123.tar.zst.age.nextcloud", Some("Nextcloud")),
            ("packs/0123 (Ann's conflicted copy 2026-11-25).age", Some("a cloud folder")),
            ("packs/0123.tar.zst.age.1f2e.partial", Some("rclone")),
            ("packs/desktop.ini", None),
            ("packs/x (1)", None),
            ("", None),
        ];
        for (name, tool) in table {
            assert_eq!(copier_of(name), tool, "{name}");
        }
    }
}
