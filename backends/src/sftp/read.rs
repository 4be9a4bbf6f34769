use bytes::{Bytes, BytesMut};
use fardel_store::{ByteRange, Error, ErrorKind, Key, Result};
use futures::StreamExt;
use futures::stream;
use russh_sftp::protocol::OpenFlags;

use super::session::{Handle, Lease};
use crate::body::in_memory;

/// Before more bytes than this are asked for, the size of the file is.
const PROBED: u64 = 16 << 20;

/// The bytes of `range` of the file `path`, which messages call `key`.
///
/// # Errors
/// As [`fardel_store::Store::get_range`].
pub(super) async fn read(session: &Lease, key: &Key, path: &str, range: ByteRange) -> Result<Bytes> {
    let file = match session.open(path, OpenFlags::READ).await {
        Ok(file) => file,
        // Some servers answer with a mere "Failure" for what is no file; so does OpenSSH for a folder, when it is read.
        Err(failure) => return Err(failure.about(key)),
    };
    let (start, len) = match range {
        ByteRange::Span { start, len } => (start, len),
        ByteRange::All => {
            let attributes = file.attributes().await.map_err(|failure| failure.about(key))?;
            if attributes.is_dir() {
                return Err(Error::new(ErrorKind::NotFound, key, "no such object: a folder has this name"));
            }
            let size = attributes.size.ok_or_else(|| {
                Error::new(ErrorKind::Other, key, "the server does not tell the size of this file")
            })?;
            (0, size)
        }
    };
    // An answer tells where the file ends, but only for what may be asked: a few bytes below 2^63.
    if len == 0 || len > PROBED || start.saturating_add(len) > i64::MAX.unsigned_abs() {
        let attributes = file.attributes().await.map_err(|failure| failure.about(key))?;
        let size = attributes.size.unwrap_or_default();
        if start.saturating_add(len) > size {
            return Err(truncated(key, size));
        }
    }
    read_span(&file, key, start, in_memory(key, len)?, session).await
}

/// `len` bytes of an open file from `start`, all of them.
///
/// # Errors
/// [`fardel_store::ErrorKind::Truncated`] when there are fewer; as the connection fails.
pub(super) async fn read_span(
    file: &Handle,
    key: &Key,
    start: u64,
    len: usize,
    session: &Lease,
) -> Result<Bytes> {
    let packet = session.packet;
    let mut bytes = BytesMut::zeroed(len);
    let starts = (0..).map(|n| start.saturating_add(n * packet as u64));
    let reads: Vec<_> =
        starts.zip(bytes.chunks_mut(packet)).map(|(from, part)| fill(file, key, from, part)).collect();
    let mut reads = stream::iter(reads).buffer_unordered(session.at_once());
    while let Some(done) = reads.next().await {
        done?;
    }
    drop(reads);
    Ok(bytes.freeze())
}

/// Reads until `part` is full: an answer may hold less than was asked for.
async fn fill(file: &Handle, key: &Key, from: u64, part: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < part.len() {
        let at = from.saturating_add(done as u64);
        let read = file.read(at, part.len() - done).await.map_err(|failure| failure.about(key))?;
        let read = read.ok_or_else(|| truncated(key, at))?;
        part[done..done + read.len()].copy_from_slice(&read);
        done += read.len();
    }
    Ok(())
}

fn truncated(key: &Key, end: u64) -> Error {
    Error::new(ErrorKind::Truncated, key, format!("ends at byte {end} or before; more was asked for"))
}
