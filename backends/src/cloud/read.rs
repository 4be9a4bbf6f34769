use bytes::{Bytes, BytesMut};
use fardel_store::{ByteRange, Error, ErrorKind, Key, Result};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

use super::failure::Failure;
use crate::body::in_memory;

/// Reads the bytes of `range`, all of them and no others, of the object at `path`.
///
/// # Errors
/// As [`fardel_store::Store::get_range`].
pub(crate) async fn read(
    client: &(impl ObjectStore + ?Sized),
    key: &Key,
    path: &Path,
    range: ByteRange,
) -> Result<Bytes> {
    let size = async || {
        let meta = client.head(path).await.map_err(|error| Failure::from(error).about(key))?;
        Ok::<_, Error>(meta.size)
    };
    let truncated = |size: u64| {
        let message = format!("holds {size} bytes; more was asked for: {range:?}");
        Error::new(ErrorKind::Truncated, key, message)
    };
    let mut options = GetOptions::default();
    if let ByteRange::Span { start, len } = range {
        match start.checked_add(len).filter(|_| len > 0) {
            Some(end) => options.range = Some(GetRange::Bounded(start..end)),
            // What cannot be asked for: whether it is there at all still matters.
            None => {
                let size = size().await?;
                let fits = start.checked_add(len).is_some_and(|end| end <= size);
                return if fits { Ok(Bytes::new()) } else { Err(truncated(size)) };
            }
        }
    }
    let answer = match client.get_opts(path, options).await.map_err(Failure::from) {
        Ok(answer) => answer,
        Err(failure) if failure.kind() == ErrorKind::Truncated => return Err(truncated(size().await?)),
        Err(failure) => return Err(failure.about(key)),
    };
    let size = answer.meta.size;
    let wanted = match range {
        ByteRange::All => 0..size,
        ByteRange::Span { start, len } if start + len <= size => start..start + len,
        ByteRange::Span { .. } => return Err(truncated(size)),
    };
    if answer.range != wanted {
        return Err(Error::new(ErrorKind::Other, key, "another part came than was asked for"));
    }
    let len = in_memory(key, wanted.end - wanted.start)?;
    let mut bytes = BytesMut::with_capacity(len.min(1 << 20));
    let mut stream = answer.into_stream();
    while let Some(part) = stream.next().await {
        bytes.extend_from_slice(&part.map_err(|error| Failure::from(error).about(key))?);
        if bytes.len() > len {
            return Err(Error::new(ErrorKind::Other, key, "more bytes came than were told"));
        }
    }
    match bytes.len() == len {
        true => Ok(bytes.freeze()),
        false => Err(Error::new(ErrorKind::Transient, key, "fewer bytes came than were told")),
    }
}
