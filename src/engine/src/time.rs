//! The clock, as text. No protocol rests on it.

use std::time::Duration;

/// Now, RFC 3339 in UTC with nanoseconds.
#[must_use]
pub fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

/// How long ago `moment` was by the clock of whoever wrote it. A clock may be a day off: then it was just now. What lies further
/// ahead, or is no time at all, was long ago: nothing waits for a clock that is wrong.
#[must_use]
pub fn since(moment: &str, now: jiff::Timestamp) -> Duration {
    let Ok(moment) = moment.parse::<jiff::Timestamp>() else { return Duration::MAX };
    let passed = now.duration_since(moment);
    match Duration::try_from(passed) {
        Ok(passed) => passed,
        Err(_) if passed.abs() <= AHEAD => Duration::ZERO,
        Err(_) => Duration::MAX,
    }
}

/// How much a clock may be ahead of this one.
const AHEAD: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// Whether `moment` lies further ahead than clocks may differ.
#[must_use]
pub fn is_ahead(moment: jiff::Timestamp, now: jiff::Timestamp) -> bool {
    moment.duration_since(now) > AHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_waits_for_a_clock_that_is_wrong() {
        let now: jiff::Timestamp = "2026-11-23T14:00:00Z".parse().unwrap();
        for (moment, passed) in [
            ("2026-11-23T13:00:00Z", Duration::from_secs(3600)),
            ("2026-11-23T14:00:00.000000001Z", Duration::ZERO),
            ("2026-11-24T13:59:00Z", Duration::ZERO),
            ("2026-11-24T14:00:01Z", Duration::MAX),
            ("2099-01-01T00:00:00Z", Duration::MAX),
            ("yesterday", Duration::MAX),
        ] {
            assert_eq!(since(moment, now), passed, "{moment}");
        }
        assert!(is_ahead("2099-01-01T00:00:00Z".parse().unwrap(), now));
        assert!(!is_ahead("2026-11-24T13:59:00Z".parse().unwrap(), now));
    }
}
