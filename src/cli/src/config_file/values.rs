//! Values as the configuration writes them: texts with `${NAME}`, sizes, rates, times.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::expand::expand;
use crate::schedule;
use crate::size::Size;

/// A value that is written as a number or as text with a unit, within bounds.
macro_rules! scalar {
    ($(#[$doc:meta])* $name:ident($inner:ty), $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(Scalar($parse as fn(&str) -> Result<$inner, String>)).map(Self)
            }
        }
    };
}
pub(super) use scalar;

/// A value with its `${NAME}` expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub value: String,
    /// Whether any of it came from the environment.
    pub(super) from_environment: bool,
}

impl Text {
    /// The value as a path: `~/` is the home folder, and what is relative lies beside the configuration.
    #[must_use]
    pub fn path(&self, base: &Path) -> PathBuf {
        match (self.value.strip_prefix("~/"), std::env::home_dir()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => base.join(&self.value),
        }
    }

    /// The value as a path or URL; `~/` is the home folder.
    #[must_use]
    pub fn path_or_url(&self) -> String {
        let home = self.value.strip_prefix("~/").zip(std::env::home_dir());
        match home.and_then(|(rest, home)| home.join(rest).into_os_string().into_string().ok()) {
            Some(path) => path,
            None => self.value.clone(),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Expand;
        impl Visitor<'_> for Expand {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                let value = expand(text, |name| std::env::var(name).ok()).map_err(E::custom)?;
                if value.is_empty() || value.contains('\0') {
                    return Err(E::custom("this must not be empty"));
                }
                Ok(Text { from_environment: value != text, value })
            }
        }
        from.deserialize_str(Expand)
    }
}

scalar!(
    /// 16 to 100 MiB.
    PackSize(u64),
    |text| within(text, 16 << 20, 100 << 20, "16MiB to 100MiB")
);
scalar!(
    /// A power of two from 16 KiB to 4 MiB.
    ChunkSize(u32),
    parse_chunk_size
);
scalar!(
    /// 64 MiB or more.
    Memory(u64),
    |text| within(text, 64 << 20, 1 << 50, "64MiB or more")
);
scalar!(
    /// Any size.
    FileSize(u64),
    |text| text.parse().map(|Size(bytes)| bytes)
);
scalar!(
    /// Bytes a second; none is no limit.
    Rate(Option<u64>),
    parse_rate
);
scalar!(
    /// Minute of the day, up to 1440.
    Clock(u16),
    parse_clock
);
scalar!(
    /// -7 to 22.
    Level(i32),
    |text| match text.trim().parse() {
        Ok(level @ -7..=22) => Ok(level),
        _ => Err(format!("`{text}` is no compression level: a zstd level from -7 to 22, 3 when absent")),
    }
);

/// A chunk size that the format allows.
///
/// # Errors
/// When it is none.
pub fn parse_chunk_size(text: &str) -> Result<u32, String> {
    let bytes = text.parse::<Size>()?.0;
    match u32::try_from(bytes) {
        Ok(size) if fardel_format::card::check_volume_chunk_size(size).is_ok() => Ok(size),
        _ => Err(format!("`{text}` is no chunk size: a power of two from 16KiB to 4MiB, 64KiB when absent")),
    }
}

fn parse_rate(text: &str) -> Result<Option<u64>, String> {
    match text.trim() {
        "off" => Ok(None),
        text => match text.parse::<Size>()?.0 {
            0 => {
                Err(format!("`{text}` lets nothing through: write a rate such as 2MiB, or off for no limit"))
            }
            rate => Ok(Some(rate)),
        },
    }
}

fn parse_clock(text: &str) -> Result<u16, String> {
    let digits =
        |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok());
    let parts =
        text.trim().split_once(':').and_then(|(hour, minute)| Some((digits(hour)??, digits(minute)??)));
    match parts {
        Some((hour @ 0..=23, minute @ 0..=59)) => Ok(hour * 60 + minute),
        Some((24, 0)) => Ok(24 * 60),
        _ => Err(format!(
            "`{text}` is no time of day: write for example 08:00, or 24:00 for the end of the day"
        )),
    }
}

fn within(text: &str, least: u64, most: u64, allowed: &str) -> Result<u64, String> {
    match text.parse::<Size>()?.0 {
        bytes if (least..=most).contains(&bytes) => Ok(bytes),
        _ => Err(format!("`{text}` is out of bounds: {allowed}")),
    }
}

/// When something is to be done: a cron expression, `every 12h`, or `{every: 12h}`.
#[derive(Clone, Debug)]
pub struct Schedule(pub schedule::Schedule);

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Times;
        impl<'de> Visitor<'de> for Times {
            type Value = Schedule;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a schedule such as `0 3 * * *` or `every 12h`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Schedule, E> {
                let text = expand(text, |name| std::env::var(name).ok()).map_err(E::custom)?;
                schedule::Schedule::parse(&text).map(Schedule).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Schedule, A::Error> {
                let Some((key, Text { value, .. })) = map.next_entry::<String, Text>()? else {
                    return Err(de::Error::missing_field("every"));
                };
                if key != "every" {
                    return Err(de::Error::unknown_field(&key, &["every"]));
                }
                if let Some(more) = map.next_key::<String>()? {
                    return Err(de::Error::unknown_field(&more, &["every"]));
                }
                self.visit_str(&format!("every {value}"))
            }
        }
        from.deserialize_any(Times)
    }
}

/// Parses within the visitor: only what fails there is told with its line and column.
pub(super) struct Scalar<T>(pub(super) fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for Scalar<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or text such as 64MiB")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let text = expand(text, |name| std::env::var(name).ok()).map_err(E::custom)?;
        (self.0)(&text).map_err(E::custom)
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        (self.0)(&number.to_string()).map_err(E::custom)
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        (self.0)(&number.to_string()).map_err(E::custom)
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        (self.0)(&number.to_string()).map_err(E::custom)
    }
}
