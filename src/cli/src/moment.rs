//! Moments as they stand on the command line.

use fardel_format::lines::Moment;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A moment: `2026-11-23`, `2026-11-23T14:00` on the clock of this place, RFC 3339 with a zone, or an age such as `7d`.
///
/// # Errors
/// When it is none of these.
pub fn parse(text: &str) -> Result<Moment, String> {
    let bad = || {
        format!("`{text}` is no time: write 2026-11-23, 2026-11-23T14:00, or an age such as 7d, 12h or 30m")
    };
    let moment = match (text.parse::<Timestamp>(), text.parse::<DateTime>(), age(text)) {
        (Ok(moment), ..) => moment,
        (_, Ok(civil), _) => civil.to_zoned_datetime(TimeZone::system()).map_err(|_| bad())?.timestamp(),
        (.., Some(age)) => Timestamp::now().checked_sub(age).map_err(|_| bad())?,
        _ => return Err(bad()),
    };
    let nanos = moment.as_nanosecond();
    let (secs, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    Ok(Moment { secs: i64::try_from(secs).map_err(|_| bad())?, nanos: nanos as u32 })
}

fn age(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().last()?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|number| *number >= 0)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    number.checked_mul(seconds).map(SignedDuration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_moments_and_ages() {
        assert_eq!(parse("1970-01-01T00:00:01.5Z"), Ok(Moment { secs: 1, nanos: 500_000_000 }));
        assert_eq!(parse("1969-12-31T23:59:59.5Z"), Ok(Moment { secs: -1, nanos: 500_000_000 }));
        assert!(
            parse("2026-11-23").is_ok()
                && parse("2026-11-23T14:00").is_ok()
                && parse("2026-11-23 14:00").is_ok()
        );
        assert!(parse("2d").unwrap() < parse("1h").unwrap());
        for text in ["", "x", "-1d", "1y", "9223372036854775807w", "2026-13-01"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
