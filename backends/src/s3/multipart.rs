use std::collections::BTreeMap;

use fardel_store::{ErrorKind, Key, Result};
use md5::{Digest, Md5};
use object_store::PutPayload;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;

use super::put::Puts;
use super::requests::Part;
use crate::body::Pieces;
use crate::cloud::failure::Failure;
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
    /// The tag that the service gave for each part, from 0.
    parts: BTreeMap<u64, String>,
    journal: Option<Journal>,
}

/// What a journal says of an upload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) id: String,
    part_size: u64,
    parts: BTreeMap<u64, String>,
}

impl Noted {
    /// Lines: `upload SIZE ID` first, then `part NUMBER TAG` for each, before it what was read for it.
    pub(super) fn parse(notes: &[String]) -> Option<Self> {
        let (first, rest) = notes.split_first()?;
        let (part_size, id) = first.strip_prefix("upload ")?.split_once(' ')?;
        let parts = rest.iter().filter_map(|line| {
            let (number, tag) = line.strip_prefix("part ")?.split_once(' ')?;
            Some((number.parse().ok()?, tag.to_owned()))
        });
        let part_size = part_size.parse().ok().filter(|size| *size > 0)?;
        Some(Self { id: id.to_owned(), part_size, parts: parts.collect() })
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
        self.pieces.verify().map_err(|error| Failure::of_body(&error))?;
        self.complete(upload).await
    }

    /// A new upload, or the one that was interrupted.
    async fn begin(&self) -> Result<Upload> {
        let len = self.pieces.len();
        let mut journal = None;
        if let Some(journals) = &self.puts.journals
            && let Some((mut opened, notes)) = journals.open(self.key, len, &self.pieces.hash().await?)
        {
            if let Some(noted) = Noted::parse(&notes) {
                if let Some(parts) = self.take_up(&noted, &notes, &mut opened).await? {
                    let Noted { id, part_size, .. } = noted;
                    return Ok(Upload { id, part_size, parts, journal: Some(opened) });
                }
                opened.restart();
            }
            journal = Some(opened);
        }
        let id = self.puts.clients.writer.create_multipart(self.path).await;
        let id =
            id.map_err(|error| Failure::from(error).while_storing(self.key, "an upload could not be begun"))?;
        // Of equal length but the last, as some services want it.
        let least = len.div_ceil(MOST_PARTS).next_multiple_of(1 << 20);
        let part_size = self.puts.part_size.max(least);
        if let Some(journal) = &mut journal {
            journal.note(&format!("upload {part_size} {id}"));
        }
        Ok(Upload { id, part_size, parts: BTreeMap::new(), journal })
    }

    /// The parts of an earlier upload that are there, for sure with the bytes that they should have; `None` when the service knows
    /// no such upload any more.
    ///
    /// Sure is what it acknowledged before, and what has the MD5 of the bytes here for its tag: then only the answer, or the note
    /// of it, was lost. Anything else is sent again.
    async fn take_up(
        &self,
        noted: &Noted,
        notes: &[String],
        journal: &mut Journal,
    ) -> Result<Option<BTreeMap<u64, String>>> {
        let there = match self.puts.clients.requests.parts(self.path, &noted.id).await {
            Ok(there) => there,
            Err(failure) if failure.is_no_such_upload() => return Ok(None),
            Err(failure) if matches!(failure.kind(), ErrorKind::Transient) => {
                return Err(failure.while_storing(self.key, "its parts could not be asked for"));
            }
            // A service that does not tell, or not us: what it acknowledged has to do.
            Err(_) => {
                let part = |(number, tag): (&u64, &String)| {
                    let size = self.span(noted.part_size, *number).map_or(0, |(_, len)| len);
                    Part { number: number + 1, size, tag: tag.clone() }
                };
                noted.parts.iter().map(part).collect()
            }
        };
        let mut parts = BTreeMap::new();
        for Part { number, size, tag } in there {
            let Some((number, (start, len))) =
                number.checked_sub(1).and_then(|number| Some((number, self.span(noted.part_size, number)?)))
            else {
                continue;
            };
            if size != len || parts.contains_key(&number) {
                continue;
            }
            let is_acknowledged = noted.parts.get(&number).is_some_and(|known| bare(known) == bare(&tag));
            let read = self.pieces.find_note(notes, start, len);
            match read {
                Some(read) if is_acknowledged => self.pieces.recall(len, read),
                _ if self.has_digest(&tag, start, len).await? => {
                    note_part(journal, self.pieces, start, len, number, &tag)
                }
                _ => continue,
            }
            parts.insert(number, tag);
        }
        Ok(Some(parts))
    }

    /// Whether a tag is the MD5 of these bytes. Where services encrypt, it is something else.
    async fn has_digest(&self, tag: &str, start: u64, len: u64) -> Result<bool> {
        let Ok(expected) = u128::from_str_radix(bare(tag), 16) else { return Ok(false) };
        if bare(tag).len() != 32 {
            return Ok(false);
        }
        let _admitted = self.puts.memory.acquire().await;
        let bytes = self.pieces.look(start, usize::try_from(len).unwrap_or(usize::MAX)).await?;
        let has = u128::from_be_bytes(Md5::digest(&bytes).into()) == expected;
        if has {
            self.pieces.found(start, &bytes);
        }
        Ok(has)
    }

    /// Where a part begins, and how long it is; `None` when the object has no such part.
    fn span(&self, part_size: u64, number: u64) -> Option<(u64, u64)> {
        let start = number.checked_mul(part_size)?;
        let rest = self.pieces.len().checked_sub(start).filter(|rest| *rest > 0)?;
        Some((start, rest.min(part_size)))
    }

    /// Sends the parts that are missing, one after the other: an interruption costs the one under way. Several objects go at once
    /// instead.
    async fn send(&self, upload: &mut Upload) -> Result<(), Failure> {
        for number in 0..self.pieces.len().div_ceil(upload.part_size) {
            if upload.parts.contains_key(&number) {
                continue;
            }
            let Some((start, len)) = self.span(upload.part_size, number) else { break };
            let tag = self.send_part(&upload.id, number, start, len).await?;
            if let Some(journal) = &mut upload.journal {
                note_part(journal, self.pieces, start, len, number, &tag);
            }
            upload.parts.insert(number, tag);
        }
        Ok(())
    }

    async fn send_part(&self, id: &String, number: u64, start: u64, len: u64) -> Result<String, Failure> {
        let _admitted = self.puts.memory.acquire().await;
        let bytes = self.pieces.read(start, usize::try_from(len).unwrap_or(usize::MAX)).await;
        let bytes = bytes.map_err(|error| Failure::of_body(&error))?;
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let sent =
            self.puts.clients.writer.put_part(self.path, id, index, PutPayload::from_bytes(bytes)).await;
        Ok(sent?.content_id)
    }

    async fn complete(&self, upload: &Upload) -> Result<(), Failure> {
        let parts = upload.parts.values().map(|tag| PartId { content_id: tag.clone() }).collect();
        self.puts.clients.writer.complete_multipart(self.path, &upload.id, parts).await?;
        Ok(())
    }
}

/// Notes that a part is there, after what was read for it.
fn note_part(journal: &mut Journal, pieces: &Pieces, start: u64, len: u64, number: u64, tag: &str) {
    pieces.record(start, start + len).iter().for_each(|line| journal.note(line));
    journal.note(&format!("part {number} {tag}"));
}

/// A tag without quotation marks: services give it with and without.
fn bare(tag: &str) -> &str {
    tag.trim().trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let text = "upload 8388608 2~ab c\nread 0 8388608 00\npart 0 \"x\"\npart 3 \"y z\"";
        let noted = Noted::parse(&lines(text)).unwrap();
        assert_eq!((noted.id.as_str(), noted.part_size), ("2~ab c", 8 << 20));
        assert_eq!(noted.parts, BTreeMap::from([(0, "\"x\"".to_owned()), (3, "\"y z\"".to_owned())]));
        for bad in ["", "x", "upload 0 id", "upload id", "part 0 x\nupload 8 id"] {
            assert!(Noted::parse(&lines(bad)).is_none(), "{bad:?}");
        }
        let without_parts = Noted::parse(&lines("upload 8 id\npart x\npart 1")).unwrap();
        assert!(without_parts.parts.is_empty());
    }
}
