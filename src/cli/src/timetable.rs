//! How fast a copy may be fed, by the clock on the wall.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fardel_store::Throttle;
use jiff::ZonedDateTime;
use jiff::civil::{DateTime, Weekday};

/// How often the clock is looked at: hours begin on the minute.
const EVERY: Duration = Duration::from_secs(1);

/// Bytes a second; none is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes that may be sent.
    pub upload: Option<u64>,
    /// Bytes that may be read.
    pub download: Option<u64>,
}

/// The usual rates, and those of certain hours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timetable {
    /// What holds at all other times.
    pub usual: Rates,
    /// The first that fits counts.
    pub hours: Vec<Hours>,
}

/// Rates from one minute of the day until before another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Minute of the day.
    pub from: u16,
    /// Minute of the day; one that is not after `from` belongs to the next day.
    pub to: u16,
    /// The days on which they begin; all when there are none.
    pub days: Vec<Weekday>,
    /// What holds then.
    pub rates: Rates,
}

impl Hours {
    fn hold(&self, now: DateTime) -> bool {
        let minute = now.hour() as u16 * 60 + now.minute() as u16;
        let begins_on = |day| self.days.is_empty() || self.days.contains(&day);
        let (today, yesterday) = (begins_on(now.weekday()), begins_on(now.weekday().previous()));
        if self.from < self.to {
            today && (self.from..self.to).contains(&minute)
        } else {
            today && minute >= self.from || yesterday && minute < self.to
        }
    }
}

impl Timetable {
    /// What holds at a moment of local time.
    #[must_use]
    pub fn at(&self, now: DateTime) -> Rates {
        self.hours.iter().find(|hours| hours.hold(now)).map_or(self.usual, |hours| hours.rates)
    }
}

/// The throttles of one copy, and what they follow.
pub struct Governed {
    /// What holds when.
    pub timetable: Timetable,
    /// Bytes that are sent.
    pub upload: Arc<Throttle>,
    /// Bytes that are read.
    pub download: Arc<Throttle>,
}

impl Governed {
    fn set(&self, now: DateTime) {
        let rates = self.timetable.at(now);
        self.upload.set(rates.upload);
        self.download.set(rates.download);
    }
}

/// Keeps throttles at what their timetables say, as long as it lives.
pub struct Governor {
    ended: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Governor {
    /// Sets them all, and from now on follows the clock of this place.
    #[must_use]
    pub fn start(governed: Vec<Governed>) -> Self {
        Self::start_with(governed, || ZonedDateTime::now().datetime())
    }

    fn start_with(governed: Vec<Governed>, clock: impl Fn() -> DateTime + Send + 'static) -> Self {
        let now = clock();
        governed.iter().for_each(|governed| governed.set(now));
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let heard = ended.clone();
        let follow = move || {
            let (ended, end) = &*heard;
            let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            while !*ended {
                ended = end.wait_timeout(ended, EVERY).unwrap_or_else(PoisonError::into_inner).0;
                let now = clock();
                governed.iter().for_each(|governed| governed.set(now));
            }
        };
        // Without a thread to spare the rates stay what they are now.
        let thread = std::thread::Builder::new().name("timetable".into()).spawn(follow).ok();
        Self { ended, thread }
    }
}

impl Drop for Governor {
    fn drop(&mut self) {
        *self.ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ended.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use jiff::civil::date;

    use super::*;

    fn upload(rate: u64) -> Rates {
        Rates { upload: Some(rate), download: None }
    }

    fn hours(from: u16, to: u16, days: &[Weekday], rate: u64) -> Hours {
        Hours { from: from * 60, to: to * 60, days: days.to_vec(), rates: upload(rate) }
    }

    #[test]
    fn the_first_hours_that_fit_count() {
        let office =
            [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];
        let table = Timetable {
            usual: upload(1),
            hours: vec![hours(12, 13, &[], 2), hours(8, 18, &office, 3), hours(22, 6, &[Weekday::Friday], 4)],
        };
        // 27 November 2026 is a Friday.
        let at = |day: i8, hour: i8, minute: i8| table.at(date(2026, 11, day).at(hour, minute, 0, 0)).upload;
        let expected = [
            ((27, 7, 59), 1),
            ((27, 8, 0), 3),
            ((27, 12, 0), 2),
            ((27, 12, 59), 2),
            ((27, 13, 0), 3),
            ((27, 17, 59), 3),
            ((27, 18, 0), 1),
            ((27, 22, 0), 4),
            ((28, 5, 59), 4),
            ((28, 6, 0), 1),
            ((28, 12, 30), 2),
            ((28, 23, 0), 1),
            ((27, 5, 0), 1),
        ];
        for ((day, hour, minute), rate) in expected {
            assert_eq!(at(day, hour, minute), Some(rate), "{day} {hour}:{minute}");
        }
    }

    #[test]
    fn a_whole_day_and_the_end_of_a_day() {
        let whole = Timetable { usual: upload(1), hours: vec![hours(0, 24, &[Weekday::Sunday], 2)] };
        let at = |day: i8, hour: i8| whole.at(date(2026, 11, day).at(hour, 59, 59, 0)).upload;
        assert_eq!([at(28, 23), at(29, 0), at(29, 23), at(30, 0)], [Some(1), Some(2), Some(2), Some(1)]);
        let same = Timetable { usual: upload(1), hours: vec![hours(7, 7, &[Weekday::Saturday], 2)] };
        let at = |day: i8, hour: i8| same.at(date(2026, 11, day).at(hour, 0, 0, 0)).upload;
        assert_eq!([at(28, 6), at(28, 7), at(29, 6), at(29, 7)], [Some(1), Some(2), Some(2), Some(1)]);
    }

    #[test]
    fn throttles_follow_the_clock_while_they_are_used() {
        let minute = Arc::new(AtomicU64::new(0));
        let clock = minute.clone();
        let noon = date(2026, 11, 27).at(12, 0, 0, 0);
        let clock = move || noon + jiff::Span::new().minutes(clock.load(Ordering::SeqCst) as i64);
        let (upload_rate, download) = (Arc::new(Throttle::default()), Arc::new(Throttle::default()));
        let timetable = Timetable {
            usual: Rates { upload: None, download: Some(50) },
            hours: vec![hours(11, 13, &[], 1000)],
        };
        let governed = Governed { timetable, upload: upload_rate.clone(), download: download.clone() };
        let governor = Governor::start_with(vec![governed], clock);
        let waits = |throttle: &Throttle| {
            let now = Instant::now();
            throttle.pass(1000, now);
            throttle.pass(1, now)
        };
        assert!(waits(&upload_rate) >= Duration::from_millis(900));
        assert_eq!(waits(&download), Duration::ZERO);
        minute.store(60, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(60);
        while waits(&download) == Duration::ZERO {
            assert!(Instant::now() < deadline, "it does not follow the clock");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(waits(&upload_rate), Duration::ZERO);
        drop(governor);
    }
}
