use fardel_store::Key;
use object_store::ObjectStoreExt;
use object_store::multipart::MultipartStore;
use object_store::path::Path;

use super::multipart::Noted;
use super::put::Puts;
use crate::cloud::failure::Failure;
use crate::litter::{ABANDONED, FORGOTTEN};

/// Digits of a hash in the names of our objects.
const HASH: usize = 64;

impl Puts {
    /// Gives up uploads that never go on: parts cost money until somebody does. Best effort.
    ///
    /// Those of this machine go when their object is there by now, or nothing was added to their journal for 30 days; those of
    /// others when they were begun more than 7 days ago. Only names below `prefix` that carry a hash, as ours do, are touched:
    /// strangers in a bucket that we share are left alone.
    pub(super) async fn give_up_orphans(&self, prefix: &str) {
        let mut known = Vec::new();
        for left in self.journals.iter().flat_map(|journals| journals.left()) {
            let Ok(path) = Path::parse(format!("{prefix}{}", left.key)) else { continue };
            let noted = Noted::parse(&left.notes);
            known.extend(noted.as_ref().map(|noted| noted.id.clone()));
            let is_over = left.age > FORGOTTEN || self.clients.reader.head(&path).await.is_ok();
            if is_over && self.give_up(&path, noted).await {
                left.remove();
            }
        }
        let Ok((uploads, now)) = self.clients.requests.uploads(prefix).await else { return };
        for begun in uploads {
            let is_ours = begun.name.strip_prefix(prefix).is_some_and(carries_a_hash);
            let age = u64::try_from(now - begun.at).unwrap_or_default();
            if is_ours
                && age > ABANDONED
                && !known.contains(&begun.id)
                && let Ok(path) = Path::parse(&begun.name)
                && self.clients.writer.abort_multipart(&path, &begun.id).await.is_err()
            {
                return;
            }
        }
    }

    /// Whether nothing is left of an upload at the service.
    async fn give_up(&self, path: &Path, noted: Option<Noted>) -> bool {
        let Some(noted) = noted else { return true };
        let given_up = self.clients.writer.abort_multipart(path, &noted.id).await.map_err(Failure::from);
        given_up.map_or_else(|failure| failure.is_no_such_upload(), |()| true)
    }
}

/// Whether this is a name of an object of ours that could be large.
fn carries_a_hash(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    Key::new(name).is_ok() && file.as_bytes().windows(HASH).any(|window| window.iter().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_like_ours_are_ours() {
        let hash = "0123456789abcdef".repeat(4);
        assert!(carries_a_hash(&format!("packs/ab/{hash}.tar.zst.age")));
        assert!(carries_a_hash(&format!("packs/ab/{hash}-0a1b2c3d.tar.zst.age")));
        for name in ["", "video.mp4", "packs/x", &hash[1..], &format!("{hash}/x"), &format!("X/{hash}")] {
            assert!(!carries_a_hash(name), "{name}");
        }
    }
}
