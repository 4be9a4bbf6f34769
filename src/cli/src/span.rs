//! Lengths of time as they stand on the command line: `90s`, `5m`, `1h`.

use std::time::Duration;

/// A length of time: a whole number and `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// When it is none.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no length of time: write for example 90s, 5m or 1h");
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lengths_of_time() {
        let seconds = Duration::from_secs;
        let table = [
            ("20ms", Duration::from_millis(20)),
            ("0s", seconds(0)),
            ("90s", seconds(90)),
            ("5m", seconds(300)),
            ("1h", seconds(3600)),
            ("2d", seconds(172_800)),
        ];
        for (text, span) in table {
            assert_eq!(parse(text), Ok(span), "{text}");
        }
        for text in ["", "5", "m", "-5m", "1.5h", "5 m", "5y", "18446744073709551615d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
