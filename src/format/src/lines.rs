//! Numbers, times and names as text that a shell script can use.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serializer, de};

/// The number that these digits say in the one way that we write it: no sign, no zeros in front.
pub(crate) fn parse_u64(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// The largest integer that every JSON reader keeps exactly: above it, numbers are written as strings.
pub const SAFE_INTEGER: u64 = 1 << 53;

/// `serde(with)`: a `u64` as a number, or as a string above 2^53.
pub mod big {
    use super::*;

    /// Writes a number, or a string above 2^53.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        if *value <= SAFE_INTEGER { serializer.serialize_u64(*value) } else { serializer.collect_str(value) }
    }

    /// Reads either form.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = u64;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, or a string of digits")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
                Ok(value)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
                parse_u64(text).ok_or_else(|| E::custom("not a number"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A moment as `seconds.nanoseconds` since 1970, the nanoseconds always nine digits and counted forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:09}", self.secs, self.nanos)
    }
}

impl std::str::FromStr for Moment {
    type Err = crate::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || crate::Error::damaged("a time", text);
        let (secs, nanos) = text.split_once('.').ok_or_else(bad)?;
        let digits = secs.strip_prefix('-').unwrap_or(secs);
        let spelt = parse_u64(digits).is_some() && secs != "-0";
        if !spelt || nanos.len() != 9 || !nanos.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        Ok(Self { secs: secs.parse().map_err(|_| bad())?, nanos: nanos.parse().map_err(|_| bad())? })
    }
}

impl serde::Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Bytes as standard base64.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// The bytes of standard base64.
///
/// # Errors
/// When it is not base64.
pub fn from_base64(what: &'static str, text: &str) -> crate::Result<Vec<u8>> {
    BASE64_STANDARD.decode(text).map_err(|e| crate::Error::damaged(what, e))
}

/// `serde(with)`: bytes as base64 text.
pub mod base64_bytes {
    use super::*;

    /// Writes base64.
    pub fn serialize<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&super::base64(value))
    }

    /// Reads base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text.as_bytes()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
