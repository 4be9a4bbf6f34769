use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fardel_store::{Error, Result};

use super::session::{Lease, Session};

/// The pause before the second attempt in a row to connect; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// After so many failures in a row nobody waits for the next attempt: whoever asks before it is due gets the last failure.
const PATIENCE: u32 = 4;

/// When one more connection could not be had, those that are there must do for so long.
const CONTENT: Duration = Duration::from_secs(60);

/// The connections of one store, made when they are needed.
pub(super) struct Pool {
    command: Vec<String>,
    place: String,
    most: usize,
    stall: Duration,
    sessions: Mutex<Vec<Arc<Session>>>,
    connecting: tokio::sync::Mutex<History>,
}

/// How the last attempts to connect went.
#[derive(Default)]
struct History {
    failures: u32,
    failed: Option<(Instant, Error)>,
}

impl Pool {
    /// Up to `most` connections by `command` to what messages call `place`.
    pub(super) fn new(command: Vec<String>, place: String, most: usize, stall: Duration) -> Self {
        let (sessions, connecting) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { command, place, most: most.max(1), stall, sessions, connecting }
    }

    /// A connection for one operation: an idle one, a new one, or the one that does least. An attempt to make one serves all
    /// who wait for it, so that a server that is gone costs many uploads no more time than one.
    ///
    /// # Errors
    /// When there is none, and none can be made.
    pub(super) async fn lease(&self) -> Result<Lease> {
        let asked = Instant::now();
        if let Some(lease) = self.idle() {
            return Ok(lease);
        }
        let mut history = match self.connecting.try_lock() {
            Ok(history) => history,
            Err(_) => match self.least_busy() {
                Some(lease) => return Ok(lease),
                None => self.connecting.lock().await,
            },
        };
        // Somebody else may have made one meanwhile.
        if let Some(lease) = self.idle() {
            return Ok(lease);
        }
        if let Some((failed, error)) = &history.failed {
            match self.least_busy() {
                Some(lease) if failed.elapsed() < CONTENT => return Ok(lease),
                None if *failed > asked || history.is_given_up() => return Err(error.clone()),
                _ => {}
            }
        }
        tokio::time::sleep(history.pause()).await;
        match Session::connect(&self.command, &self.place, self.stall).await {
            Ok(session) => {
                *history = History::default();
                let session = Arc::new(session);
                let lease = Lease::new(session.clone());
                self.sessions.lock().expect("never poisoned").push(session);
                Ok(lease)
            }
            Err(error) => {
                history.failures += 1;
                history.failed = Some((Instant::now(), error.clone()));
                self.least_busy().ok_or(error)
            }
        }
    }

    /// One that nobody uses, or the least busy one when there may be no more.
    fn idle(&self) -> Option<Lease> {
        let mut sessions = self.sessions.lock().expect("never poisoned");
        sessions.retain(|session| !session.is_lost());
        let least = sessions.iter().min_by_key(|session| session.active.load(Ordering::Relaxed))?;
        let free = least.active.load(Ordering::Relaxed) == 0 || sessions.len() >= self.most;
        free.then(|| Lease::new(least.clone()))
    }

    fn least_busy(&self) -> Option<Lease> {
        let sessions = self.sessions.lock().expect("never poisoned");
        let usable = sessions.iter().filter(|session| !session.is_lost());
        usable.min_by_key(|session| session.active.load(Ordering::Relaxed)).map(|s| Lease::new(s.clone()))
    }
}

impl History {
    /// What is left of the pause that the failures so far ask for.
    fn pause(&self) -> Duration {
        let Some((failed, _)) = &self.failed else { return Duration::ZERO };
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        pause.saturating_sub(failed.elapsed())
    }

    /// Whether the next attempt is not due, and not worth waiting for.
    fn is_given_up(&self) -> bool {
        self.failures >= PATIENCE && !self.pause().is_zero()
    }
}
