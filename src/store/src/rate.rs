//! How fast bytes may go.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Result;

/// Whoever watches bytes on their way to or from a store.
pub trait Meter: Send + Sync + Debug {
    /// So many bytes are about to go. Returns how long they have to wait first.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Stopped`] when they shall not go at all: the request ends with this error.
    fn passing(&self, bytes: u64) -> Result<Duration>;

    /// So many bytes need not go: an earlier attempt brought them.
    fn resumed(&self, bytes: u64);
}

/// Watches nothing and holds up nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unmetered;

impl Meter for Unmetered {
    fn passing(&self, _: u64) -> Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn resumed(&self, _: u64) {}
}

/// Lets so many bytes a second pass, over all that share it; a pause is not saved up for later.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes a second; none is no limit.
    rate: Option<u64>,
    /// When what was let through until now has passed.
    free_at: Option<Instant>,
}

impl Throttle {
    /// Lets `rate` bytes a second pass; all of them without a rate.
    #[must_use]
    pub fn new(rate: Option<u64>) -> Self {
        Self { state: Mutex::new(State { rate, free_at: None }) }
    }

    /// From now on lets so many bytes a second pass.
    pub fn set(&self, rate: Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.rate != rate {
            *state = State { rate, free_at: None };
        }
    }

    /// So many bytes want to pass at `now`. Returns how long they have to wait first.
    pub fn pass(&self, bytes: u64, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = state.rate else { return Duration::ZERO };
        let begin = state.free_at.map_or(now, |at| at.max(now));
        state.free_at = Some(begin + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64));
        begin - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_takes_its_time_and_pauses_are_not_saved_up() {
        let throttle = Throttle::new(Some(1000));
        let begin = Instant::now();
        let at = |secs| begin + Duration::from_secs(secs);
        assert_eq!(throttle.pass(2000, at(0)), Duration::ZERO);
        assert_eq!(throttle.pass(500, at(0)), Duration::from_secs(2));
        assert_eq!(throttle.pass(500, at(1)), Duration::from_millis(1500));
        assert_eq!(throttle.pass(1000, at(100)), Duration::ZERO);
        assert_eq!(throttle.pass(1, at(100)), Duration::from_secs(1));
        throttle.set(None);
        assert_eq!(throttle.pass(u64::MAX, at(100)), Duration::ZERO);
        assert_eq!(throttle.pass(1, at(100)), Duration::ZERO);
    }
}
