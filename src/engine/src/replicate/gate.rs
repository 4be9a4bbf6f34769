//! Lets so many packs be under way to one target as its pace says, and measures how that goes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pace::Pace;

/// One measurement takes at least so long.
const WINDOW: Duration = Duration::from_secs(2);

/// And at least so many pieces for each pack under way: stores ask for pieces of very different length.
const PIECES: u32 = 4;

/// Where packs wait for their turn.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    under_way: usize,
    window: Option<Window>,
}

/// A time in which as many packs as may be were under way.
#[derive(Debug)]
struct Window {
    begun: Instant,
    bytes: u64,
    pieces: u32,
}

/// A pack under way; the next one may go when this is dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a Gate);

impl Gate {
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { state: Mutex::new(State { pace, under_way: 0, window: None }), freed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more may be under way.
    pub fn enter(&self) -> Turn<'_> {
        let mut state = self.state();
        while state.under_way >= state.pace.now() {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.under_way += 1;
        Turn(self)
    }

    /// So many bytes of the packs under way go now.
    pub fn passing(&self, bytes: u64, now: Instant) {
        let mut state = self.state();
        if state.under_way < state.pace.now() {
            state.window = None;
            return;
        }
        let enough = PIECES * u32::try_from(state.under_way).unwrap_or(u32::MAX / PIECES);
        let window = state.window.get_or_insert(Window { begun: now, bytes: 0, pieces: 0 });
        let time = now.saturating_duration_since(window.begun);
        if time >= WINDOW && window.pieces >= enough {
            let sent = window.bytes;
            // What goes from now on belongs to the next one.
            state.window = None;
            state.pace.measured(sent, time);
            self.freed.notify_all();
        }
        let window = state.window.get_or_insert(Window { begun: now, bytes: 0, pieces: 0 });
        window.bytes += bytes;
        window.pieces += 1;
    }

    /// What was sent had to be sent again.
    pub fn pushed_back(&self) {
        let mut state = self.state();
        state.window = None;
        state.pace.pushed_back();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
        self.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_windows_are_measured() {
        let gate = Gate::new(Pace::adaptive(6));
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut turns = vec![gate.enter(), gate.enter(), gate.enter()];
        (0..100).for_each(|n| gate.passing(1000, at(100 * n)));
        assert_eq!(gate.state().pace.now(), 4, "three of four are under way: nothing is known of four");
        turns.push(gate.enter());
        (0..30).for_each(|n| gate.passing(1000, at(20_000 + 100 * n)));
        assert_eq!(gate.state().pace.now(), 5);
        turns.push(gate.enter());
        turns.pop();
        (0..100).for_each(|n| gate.passing(1000, at(30_000 + 100 * n)));
        assert_eq!(gate.state().pace.now(), 5);
        gate.pushed_back();
        assert_eq!(gate.state().pace.now(), 2);
    }

    #[test]
    fn turns_are_given_as_the_pace_allows() {
        let gate = Gate::new(Pace::fixed(3));
        let most = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _turn = gate.enter();
                        most.fetch_max(gate.state().under_way, std::sync::atomic::Ordering::SeqCst);
                        std::thread::yield_now();
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(gate.state().under_way, 0);
    }
}
