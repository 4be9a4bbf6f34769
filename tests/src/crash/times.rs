//! How long operations take when nobody disturbs them, so that moments can be chosen within them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::chance::Chance;

/// Times by the name of an operation; the newer ones weigh more.
#[derive(Debug, Default)]
pub struct Times(Mutex<BTreeMap<&'static str, Duration>>);

impl Times {
    /// It took so long.
    pub fn note(&self, operation: &'static str, time: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = times.entry(operation).or_insert(time);
        *known = (*known * 3 + time) / 4;
    }

    /// A moment in the run of the operation; none as long as nobody knows how long that is.
    #[must_use]
    pub fn moment(&self, operation: &'static str, chance: &mut Chance) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(operation).copied()?;
        Some(known.mul_f64(chance.below(1_000) as f64 / 1_000.0))
    }
}
