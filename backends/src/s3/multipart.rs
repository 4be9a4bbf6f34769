use std::collections::BTreeMap;

use fardel_store::{ErrorKind, Key, Result};
use futures::StreamExt;
use futures::stream;
use object_store::PutPayload;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;

use super::failure::Failure;
use super::put::Puts;
use crate::body::Pieces;
use crate::journal::Journal;

/// So many parts an object has at most, everywhere.
pub(super) const MOST_PARTS: u64 = 10_000;

/// A large object that is to be stored in parts.
pub(super) struct Multipart<'a> {
    pub(super) puts: &'a Puts,
    pub(super) key: &'a Key,
    pub(super) path: &'a Path,
    pub(super) pieces: &'a Pieces,
}

/// An upload at the service, and which parts of it are there.
struct Upload {
    id: String,
    part_size: u64,
    /// The tag that the service gave for each part.
    parts: BTreeMap<u64, String>,
    journal: Option<Journal>,
}

impl Upload {
    /// One line for the upload, one for each part; after an empty one what was read for them.
    fn note(&mut self, pieces: &Pieces) {
        let Some(journal) = &mut self.journal else { return };
        let parts: String = self.parts.iter().map(|(number, tag)| format!("{number} {tag}\n")).collect();
        journal.write(&format!("{} {}\n{parts}\n{}", self.part_size, self.id, pieces.record(pieces.len())));
    }

    fn from_notes(notes: &str) -> Option<(String, u64, BTreeMap<u64, String>)> {
        let mut lines = notes.lines();
        let (part_size, id) = lines.next()?.split_once(' ')?;
        let parts = lines.map(|line| {
            let (number, tag) = line.split_once(' ')?;
            Some((number.parse().ok()?, tag.to_owned()))
        });
        Some((id.to_owned(), part_size.parse().ok().filter(|size| *size > 0)?, parts.collect::<Option<_>>()?))
    }
}

impl Multipart<'_> {
    /// Sends what is not there yet, and makes an object of it.
    ///
    /// # Errors
    /// [`ErrorKind::Transient`] when the same call again would go on.
    pub(super) async fn run(&self) -> Result<()> {
        let mut upload = self.begin().await?;
        let Err(failure) = self.finish(&mut upload).await else {
            if let Some(journal) = upload.journal {
                journal.remove();
            }
            return Ok(());
        };
        let goes_on = matches!(failure.kind(), ErrorKind::Transient | ErrorKind::Stopped);
        let resumable = goes_on && upload.journal.is_some();
        if !resumable {
            // Parts cost money until they are given up.
            let _ = self.puts.clients.writer.abort_multipart(self.path, &upload.id).await;
            if let Some(journal) = upload.journal {
                journal.remove();
            }
        }
        if failure.is_no_such_upload() {
            // Somebody cleaned it away, or a completion of which no answer came did its work: the next attempt finds out.
            let again = Failure::new(ErrorKind::Transient, "the upload is no longer there; it begins anew");
            return Err(again.while_storing(self.key, "it could not be sent"));
        }
        Err(failure.while_storing(self.key, "it could not be sent"))
    }

    async fn finish(&self, upload: &mut Upload) -> Result<(), Failure> {
        self.send(upload).await?;
        self.pieces.verify().await.map_err(|error| Failure::of_body(&error))?;
        self.complete(upload).await
    }

    /// A new upload, or the one that was interrupted.
    async fn begin(&self) -> Result<Upload> {
        let len = self.pieces.len();
        let mut journal = None;
        if let Some(journals) = &self.puts.journals
            && let Some((opened, notes)) = journals.open(self.key, len, &self.pieces.hash().await?)
        {
            if let Some((parts, record)) = notes.as_deref().and_then(|notes| notes.split_once("\n\n"))
                && let Some((id, part_size, parts)) = Upload::from_notes(parts)
            {
                let last = len.div_ceil(part_size).saturating_sub(1);
                let length = |number: &u64| if *number == last { len - last * part_size } else { part_size };
                self.pieces.recall(parts.keys().map(length).sum(), record);
                return Ok(Upload { id, part_size, parts, journal: Some(opened) });
            }
            journal = Some(opened);
        }
        let id = self.puts.clients.writer.create_multipart(self.path).await;
        let id =
            id.map_err(|error| Failure::from(error).while_storing(self.key, "an upload could not be begun"))?;
        // Of equal length but the last, as some services want it.
        let least = len.div_ceil(MOST_PARTS).next_multiple_of(1 << 20);
        let part_size = self.puts.part_size.max(least);
        let mut upload = Upload { id, part_size, parts: BTreeMap::new(), journal };
        upload.note(self.pieces);
        Ok(upload)
    }

    /// Sends the parts that are missing, several at once; each is written down as soon as it is there.
    async fn send(&self, upload: &mut Upload) -> Result<(), Failure> {
        let count = self.pieces.len().div_ceil(upload.part_size);
        let missing: Vec<u64> = (0..count).filter(|number| !upload.parts.contains_key(number)).collect();
        let (id, part_size) = (upload.id.clone(), upload.part_size);
        let sends = stream::iter(missing).map(|number| self.send_part(&id, part_size, number));
        let mut sends = std::pin::pin!(sends.buffer_unordered(self.puts.parts_at_once));
        // A failure ends what is under way with it: no more than one part a connection goes again.
        while let Some(sent) = sends.next().await {
            let (number, tag) = sent?;
            upload.parts.insert(number, tag);
            upload.note(self.pieces);
        }
        Ok(())
    }

    async fn send_part(&self, id: &String, part_size: u64, number: u64) -> Result<(u64, String), Failure> {
        let _admitted = self.puts.memory.acquire().await;
        let start = number * part_size;
        let len = part_size.min(self.pieces.len() - start);
        let bytes = self.pieces.read(start, usize::try_from(len).unwrap_or(usize::MAX)).await;
        let bytes = bytes.map_err(|error| Failure::of_body(&error))?;
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let sent =
            self.puts.clients.writer.put_part(self.path, id, index, PutPayload::from_bytes(bytes)).await;
        Ok((number, sent?.content_id))
    }

    async fn complete(&self, upload: &Upload) -> Result<(), Failure> {
        let parts = upload.parts.values().map(|tag| PartId { content_id: tag.clone() }).collect();
        self.puts.clients.writer.complete_multipart(self.path, &upload.id, parts).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        let (id, part_size, parts) = Upload::from_notes("8388608 2~ab c\n0 \"x\"\n3 \"y z\"").unwrap();
        assert_eq!((id.as_str(), part_size), ("2~ab c", 8 << 20));
        assert_eq!(parts, BTreeMap::from([(0, "\"x\"".to_owned()), (3, "\"y z\"".to_owned())]));
        for bad in ["", "x", "0 id\n", "8 id\nx y\n", "8 id\n1\n"] {
            assert!(Upload::from_notes(bad).is_none(), "{bad:?}");
        }
    }
}
