use fardel_store::Finding;

use super::fs::Medium;
use super::object::Objects;
use super::publish::Way;
use crate::room;

impl Objects {
    /// What is known of the file system, above all once something was stored there.
    pub(super) fn examine(&self) -> Vec<Finding> {
        let mut found = vec![self.durability(), self.names()];
        let place = self.existing_part(&self.root);
        match self.fs.space(place) {
            Ok(space) if space.total_bytes > 0 => {
                found.extend(room::findings(space.total_bytes, space.free_bytes, space.free_inodes));
            }
            _ => found.push(Finding::note(
                "the file system does not tell how much room is left",
                "a backup stops when it is full",
            )),
        }
        found
    }

    fn durability(&self) -> Finding {
        let unproven = "after a loss of power there, what was reported as saved may be gone; run `fardel check` after one";
        match self.medium {
            Medium::Memory => Finding::not_safe(
                "it lies in the memory of this machine",
                "everything there is gone with the next start",
            ),
            Medium::Fuse => Finding::not_safe(
                "durability is unproven: a program plays file system here, and may say that it has synced what it has not",
                unproven,
            ),
            _ if self.dirs.is_unproven() => Finding::not_safe(
                "durability is unproven: the file system refuses to sync a folder",
                unproven,
            ),
            Medium::Network => Finding::note(
                "files and folders are synced, as far as the other machine keeps its word",
                "the other end of a network mount decides what is durable",
            ),
            Medium::Local => Finding::ok(
                "files and folders are synced",
                "what was reported as saved survives a loss of power",
            ),
        }
    }

    fn names(&self) -> Finding {
        match self.publisher.way() {
            Way::NoReplace => Finding::ok("a rename can refuse to replace what is there", ""),
            Way::Link => Finding::ok("a second name for a file refuses to replace what is there", ""),
            Way::Look => Finding::not_safe(
                "names can race: the file system has no rename that refuses to replace what is there",
                "Fardel looks first; two programs that store under one name at the same moment both succeed. Names carry the hash of \
                 their bytes or a writer's own number, so that those are the same bytes",
            ),
        }
    }
}
