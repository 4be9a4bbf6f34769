//! The clock, as text. No protocol rests on it.

/// Now, RFC 3339 in UTC with nanoseconds.
#[must_use]
pub fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}
