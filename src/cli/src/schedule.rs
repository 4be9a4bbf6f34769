//! How often a copy is to be brought up to date: a cron expression such as `0 3 * * *`, or `every 12h`.

use std::cmp::Ordering;
use std::fmt;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::CronParser;
use croner::time::{CivilDateTime, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, ZonedDateTime};

use crate::span;

/// The least and the most that a run may be late.
const SLACK: (SignedDuration, SignedDuration) =
    (SignedDuration::from_mins(1), SignedDuration::from_hours(12));

/// When a copy is to be brought up to date.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    times: Times,
}

#[derive(Clone, Debug)]
enum Times {
    Every(SignedDuration),
    At(Box<Cron>),
}

/// What a schedule asks for at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// A run that began then should be done by now, with half of the time between two runs to spare (a minute at least, half
    /// a day at most).
    pub run: Timestamp,
    /// The run before it. No snapshot of a healthy copy need be younger than this, since the runs that make snapshots come
    /// at other times than those that carry them.
    pub before: Timestamp,
}

impl Schedule {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none, or never comes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: String| format!("`{text}` is no schedule: {why}; write `0 3 * * *` or `every 12h`");
        let text = text.trim();
        let times = match text.strip_prefix("every ") {
            Some(length) => {
                let length = span::parse(length.trim()).map_err(bad)?;
                let length = SignedDuration::try_from(length).map_err(|e| bad(e.to_string()))?;
                if length.is_zero() {
                    return Err(bad("it would never rest".into()));
                }
                Times::Every(length)
            }
            None => {
                let cron = CronParser::new().parse(text).map_err(|e| bad(e.to_string()))?;
                let next = cron.find_next_occurrence(&Local(ZonedDateTime::now().datetime()), false);
                next.map_err(|e| bad(format!("it never comes ({e})")))?;
                Times::At(Box::new(cron))
            }
        };
        Ok(Self { text: text.to_owned(), times })
    }

    /// What should be done at this moment; `None` when nothing was due yet.
    #[must_use]
    pub fn due(&self, now: &ZonedDateTime) -> Option<Due> {
        let slack = |between: SignedDuration| (between / 2).clamp(SLACK.0, SLACK.1);
        match &self.times {
            Times::Every(length) => {
                let run = now.timestamp().checked_sub(slack(*length)).ok()?.checked_sub(*length).ok()?;
                Some(Due { run, before: run.checked_sub(*length).ok()? })
            }
            Times::At(cron) => {
                let previous = |moment: DateTime, even: bool| {
                    cron.find_previous_occurrence(&Local(moment), even).ok().map(|Local(moment)| moment)
                };
                let moment = |local: DateTime| {
                    local.to_zoned_datetime(now.time_zone().clone()).ok().map(|zoned| zoned.timestamp())
                };
                let last = previous(now.datetime(), true)?;
                let between = moment(last)?.duration_since(moment(previous(last, false)?)?);
                let run = previous(now.checked_sub(slack(between)).ok()?.datetime(), true)?;
                Some(Due { run: moment(run)?, before: moment(previous(run, false)?)? })
            }
        }
    }
}

/// A moment on the clock of the place. What the end of summer time shows twice counts the first time; what its beginning
/// leaves out comes as much later.
#[derive(Clone, Copy, Debug)]
struct Local(DateTime);

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        let Self(at) = self;
        let [month, day, hour, minute, second] = [at.month(), at.day(), at.hour(), at.minute(), at.second()]
            .map(|part| part.unsigned_abs().into());
        CivilDateTime::from_ymd_hms_opt(at.year().into(), month, day, hour, minute, second)
            .expect("jiff keeps every part within its bounds")
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.0.weekday().to_sunday_zero_offset().unsigned_abs().into())
    }

    fn resolve_civil(&self, at: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |part: u32| i8::try_from(part).map_err(|_| CronError::InvalidDate);
        let year = i16::try_from(at.year()).map_err(|_| CronError::InvalidDate)?;
        let (month, day) = (part(at.month())?, part(at.day())?);
        let (hour, minute, second) = (part(at.hour())?, part(at.minute())?, part(at.second())?);
        let at = DateTime::new(year, month, day, hour, minute, second, 0);
        Ok(Resolution::Single(Self(at.map_err(|_| CronError::InvalidDate)?)))
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(schedule: &str, now: &str) -> (String, String) {
        let now: ZonedDateTime = now.parse().unwrap();
        let due = Schedule::parse(schedule).unwrap().due(&now).unwrap();
        let shown = |moment: Timestamp| {
            moment.to_zoned_datetime(now.time_zone().clone()).strftime("%m-%d %H:%M").to_string()
        };
        (shown(due.run), shown(due.before))
    }

    #[test]
    fn a_run_has_half_of_its_time_to_spare() {
        let table = [
            ("every 1d", "2026-11-25T16:00[UTC]", "11-24 04:00", "11-23 04:00"),
            ("every 2h", "2026-11-25T16:00[UTC]", "11-25 13:00", "11-25 11:00"),
            ("0 3 * * *", "2026-11-25T16:00[UTC]", "11-25 03:00", "11-24 03:00"),
            ("0 3 * * *", "2026-11-25T14:00[UTC]", "11-24 03:00", "11-23 03:00"),
            ("*/10 * * * *", "2026-11-25T14:04[UTC]", "11-25 13:50", "11-25 13:40"),
            // Fridays: half a day at most.
            ("0 18 * * FRI", "2026-11-28T05:00[UTC]", "11-20 18:00", "11-13 18:00"),
            ("0 18 * * FRI", "2026-11-28T07:00[UTC]", "11-27 18:00", "11-20 18:00"),
            ("@daily", "2026-11-25T14:00[UTC]", "11-25 00:00", "11-24 00:00"),
            // On the clock of the place, across the end of summer time.
            ("0 3 * * *", "2026-10-25T16:00[Europe/Berlin]", "10-25 03:00", "10-24 03:00"),
        ];
        for (schedule, now, run, before) in table {
            assert_eq!(due(schedule, now), (run.to_owned(), before.to_owned()), "{schedule} {now}");
        }
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for text in ["", "every", "every 0s", "every x", "daily", "60 * * * *", "0 0 30 2 *", "every 5y"] {
            let why = Schedule::parse(text).expect_err(text);
            assert!(why.contains("every 12h"), "{why}");
        }
    }
}
