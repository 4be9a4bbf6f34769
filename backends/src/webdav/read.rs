use bytes::{Buf, Bytes, BytesMut};
use fardel_store::{ByteRange, Error, ErrorKind, Key, Result};
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode};

use super::client::Client;
use super::failure::Failure;
use crate::body::{LARGEST_READ, in_memory};

/// The bytes of `range` of the object `key`.
///
/// # Errors
/// As [`fardel_store::Store::get_range`].
pub(super) async fn read(client: &Client, key: &Key, range: ByteRange) -> Result<Bytes> {
    match range {
        ByteRange::All => {
            let answer = get(client, key, None).await.map_err(|failure| failure.about(key))?;
            let told = answer.content_length();
            let body = client.body(answer, LARGEST_READ).await.map_err(|failure| failure.about(key))?;
            // The library fails when fewer bytes come than were told; without a number the end of the connection is the end.
            match told {
                Some(_) => Ok(body),
                None => whole(client, key, body).await,
            }
        }
        ByteRange::Span { start, len } => {
            let wanted = in_memory(key, len);
            match start.checked_add(len).filter(|_| len > 0 && wanted.is_ok()) {
                Some(end) => span(client, key, start, end).await,
                // What cannot be asked for: whether it is there at all still matters.
                None => {
                    let size = size(client, key).await?;
                    if start.checked_add(len).is_none_or(|end| end > size) {
                        return Err(truncated(key, size));
                    }
                    wanted.map(|_| Bytes::new())
                }
            }
        }
    }
}

/// A body that came without its length, if it is as long as the object.
async fn whole(client: &Client, key: &Key, body: Bytes) -> Result<Bytes> {
    let size = size(client, key).await?;
    if body.len() as u64 == size {
        return Ok(body);
    }
    let message = format!("{} bytes came of {size}", body.len());
    Err(Error::new(ErrorKind::Transient, key, message))
}

async fn size(client: &Client, key: &Key) -> Result<u64> {
    let item = client.look(key.as_str()).await.map_err(|failure| failure.about(key))?;
    let item = item.filter(|item| !item.is_folder);
    item.and_then(|item| item.size).ok_or_else(|| Error::new(ErrorKind::NotFound, key, "no such object"))
}

async fn get(client: &Client, key: &Key, range: Option<(u64, u64)>) -> Result<Response, Failure> {
    let mut headers = HeaderMap::new();
    if let Some((start, end)) = range {
        let value = HeaderValue::from_str(&format!("bytes={start}-{}", end - 1));
        headers.insert(RANGE, value.map_err(|error| Failure::Protocol(error.to_string()))?);
    }
    client.ask("GET", &client.url(key.as_str()), headers, "").await
}

async fn span(client: &Client, key: &Key, start: u64, end: u64) -> Result<Bytes> {
    let answer = match get(client, key, Some((start, end))).await {
        Ok(answer) => answer,
        Err(failure) if failure.is(StatusCode::RANGE_NOT_SATISFIABLE) => {
            return Err(truncated(key, size(client, key).await?));
        }
        Err(failure) => return Err(failure.about(key)),
    };
    match answer.status() {
        StatusCode::PARTIAL_CONTENT => {
            let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            let (from, to) =
                range.and_then(content_range).ok_or_else(|| unusable(key, "a part without its place"))?;
            if from != start || to > end {
                return Err(unusable(key, "another part than was asked for"));
            }
            if to < end {
                return Err(truncated(key, to));
            }
            let body = client.body(answer, end - start).await.map_err(|failure| failure.about(key))?;
            match body.len() as u64 == end - start {
                true => Ok(body),
                false => Err(Error::new(ErrorKind::Transient, key, "fewer bytes came than were told")),
            }
        }
        // The whole of it, from a server that knows no ranges.
        StatusCode::OK => {
            let told = answer.content_length();
            let part = take_part(client, answer, start, end).await.map_err(|failure| failure.about(key))?;
            match (part.len() as u64 == end - start, told) {
                (true, _) => Ok(part),
                (false, Some(size)) => Err(truncated(key, size)),
                (false, None) => Err(truncated(key, size(client, key).await?)),
            }
        }
        _ => Err(unusable(key, "an answer that is neither the whole nor a part")),
    }
}

/// The bytes from `start` to `end` of a whole body; what comes after is not waited for.
async fn take_part(client: &Client, mut answer: Response, start: u64, end: u64) -> Result<Bytes, Failure> {
    let mut part = BytesMut::new();
    let mut at = 0;
    while at < end
        && let Some(mut bytes) = client.chunk(&mut answer).await?
    {
        let len = bytes.len() as u64;
        bytes.advance(usize::try_from(start.saturating_sub(at).min(len)).unwrap_or_default());
        let surplus = (at + len).saturating_sub(end).min(bytes.len() as u64);
        bytes.truncate(bytes.len() - usize::try_from(surplus).unwrap_or_default());
        part.extend_from_slice(&bytes);
        at += len;
    }
    Ok(part.freeze())
}

/// First byte and end of `bytes FIRST-LAST/SIZE`.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, _) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last.checked_add(1)?))
}

fn truncated(key: &Key, size: u64) -> Error {
    Error::new(ErrorKind::Truncated, key, format!("ends at byte {size} or before; more was asked for"))
}

fn unusable(key: &Key, what: &str) -> Error {
    Failure::Protocol(what.to_owned()).about(key)
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn parts_say_where_they_lie() {
        assert_eq!(content_range("bytes 0-0/10"), Some((0, 1)));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, 10)));
        for bad in
            ["", "bytes */10", "bytes 9-5/10", "items 0-1/2", "bytes 0-18446744073709551615/1", "bytes a-b/c"]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
