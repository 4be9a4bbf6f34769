//! For how long a server that is overloaded asks to be left alone.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// A server that asks for a longer pause gets this one.
const LONGEST: Duration = Duration::from_secs(120);

/// What `Retry-After` of such an answer says: seconds, or a date by the server's own clock.
pub(crate) fn asked_for(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let asked = text(headers, &RETRY_AFTER)?.trim();
    let seconds = asked.parse().ok().or_else(|| u64::try_from(seconds(asked)? - date(headers)?).ok())?;
    Some(Duration::from_secs(seconds).min(LONGEST))
}

/// The server's time, in seconds since 1970.
pub(crate) fn date(headers: &HeaderMap) -> Option<i64> {
    seconds(text(headers, &DATE)?)
}

/// The time of an HTTP header, in seconds since 1970.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp().as_second())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
