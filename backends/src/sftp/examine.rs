use fardel_store::{Finding, Prefix, Result};
use russh_sftp::protocol::OpenFlags;

use super::failure::Failure;
use super::session::Lease;
use super::store::SftpStore;
use crate::room;

impl SftpStore {
    /// What the server offers, and whether its rename keeps what is there.
    pub(super) async fn look_around(&self, scratch: &Prefix) -> Result<Vec<Finding>> {
        let session = self.pool.lease().await?;
        let mut found = vec![durability(&session), extensions(&session)];
        let folder = format!("{}{}", self.root, scratch.as_str());
        let kept = self.rename_keeps(&session, &folder).await;
        found.push(match kept.map_err(|failure| failure.while_storing(scratch.as_str(), "trying a rename"))? {
            true => Finding::ok("a rename refuses to replace what is there", ""),
            false => Finding::not_safe(
                "names can race: a rename replaces what is there",
                "Fardel looks before and after; two programs that store under one name at the same moment both succeed. Names carry \
                 the hash of their bytes or a writer's own number, so that those are the same bytes",
            ),
        });
        found.extend(match session.room(self.staging.root()).await {
            Some(room) => room::findings(room.total, room.free, room.files),
            None => vec![Finding::note(
                "the server does not tell how much room is left",
                "a backup or a sync stops when it is full; what was saved stays",
            )],
        });
        Ok(found)
    }

    /// Renames a file to the name of another one. Returns whether the server refused.
    async fn rename_keeps(&self, session: &Lease, folder: &str) -> Result<bool, Failure> {
        const NEW: OpenFlags = OpenFlags::WRITE.union(OpenFlags::CREATE).union(OpenFlags::EXCLUDE);
        self.staging.make_folders(session, folder.trim_end_matches('/')).await?;
        let [one, two, name] = ["rename-one", "rename-two", "renamed"].map(|name| format!("{folder}{name}"));
        for path in [&one, &two] {
            session.open(path, NEW).await?.close().await?;
        }
        session.rename(&one, &name).await?;
        match session.rename(&two, &name).await {
            Ok(()) => Ok(false),
            Err(Failure::Status(..)) => Ok(true),
            Err(failure) => Err(failure),
        }
    }
}

fn durability(session: &Lease) -> Finding {
    match session.can_sync {
        true => Finding::note(
            "files are synced before they get their names; SFTP has no way to sync a folder",
            "a name is as durable as the server's file system makes it: journalling ones take some seconds",
        ),
        false => Finding::not_safe(
            "durability is unproven: the server has no fsync@openssh.com",
            "after a loss of power there, what was reported as saved may be gone; run `fardel check` after one",
        ),
    }
}

fn extensions(session: &Lease) -> Finding {
    match session.extensions.is_empty() {
        true => Finding::note(
            "the server offers no extensions",
            "no room, no sync: only what the protocol itself has",
        ),
        false => Finding::ok(format!("the server offers {}", session.extensions.join(", ")), ""),
    }
}
