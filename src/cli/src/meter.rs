//! How fast something goes, and how long it will take.

use std::collections::VecDeque;
use std::time::Duration;

/// The rate is that of the last so many seconds.
const WINDOW: Duration = Duration::from_secs(15);
/// Before that no rate can be told.
const LEAST: Duration = Duration::from_millis(500);

/// Samples of a count over the last seconds.
#[derive(Debug, Default)]
pub struct Meter {
    samples: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// At `time` since the beginning the count is `count`.
    pub fn add(&mut self, time: Duration, count: u64) {
        self.samples.push_back((time, count));
        // One sample older than the window stays, so that the rate covers all of it.
        while self.samples.get(1).is_some_and(|(old, _)| time.saturating_sub(*old) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// The rate a second.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let ((first, before), (last, now)) = (self.samples.front()?, self.samples.back()?);
        let time = last.saturating_sub(*first);
        (time >= LEAST).then(|| now.saturating_sub(*before) as f64 / time.as_secs_f64())
    }

    /// How long the rest takes at this rate.
    #[must_use]
    pub fn time_left(&self, total: u64) -> Option<Duration> {
        let (_, now) = self.samples.back()?;
        let rate = self.rate().filter(|rate| *rate > 0.0)?;
        let seconds = total.checked_sub(*now)? as f64 / rate;
        // Beyond a year it is no estimate any more.
        (seconds < 3.2e7).then(|| Duration::from_secs_f64(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_follow_the_last_seconds() {
        let mut meter = Meter::default();
        assert_eq!((meter.rate(), meter.time_left(100)), (None, None));
        for second in 0..100 {
            // 10 a second at first, 20 later.
            let count = if second < 50 { 10 * second } else { 500 + 20 * (second - 50) };
            meter.add(Duration::from_secs(second), count);
        }
        assert_eq!(meter.rate(), Some(20.0));
        assert_eq!(meter.time_left(1680), Some(Duration::from_secs(10)));
        assert_eq!(meter.time_left(3), None);
        assert!(meter.samples.len() < 20);
    }

    #[test]
    fn nothing_happening_has_no_end() {
        let mut meter = Meter::default();
        (0..5).for_each(|second| meter.add(Duration::from_secs(second), 7));
        assert_eq!(meter.rate(), Some(0.0));
        assert_eq!(meter.time_left(100), None);
    }
}
