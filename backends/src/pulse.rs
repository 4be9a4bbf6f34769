use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// What is known of a transfer from what went through it: when it last moved, and whether it has ended.
///
/// Timeouts count from the last byte, never for a whole body: a pack takes as long as its line needs.
#[derive(Debug)]
pub(crate) struct Pulse {
    begun: Instant,
    /// Milliseconds from `begun` to the last byte that went either way.
    moved: AtomicU64,
    ended: watch::Sender<bool>,
}

/// Why nothing more is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The transfer has ended.
    Ended,
    /// Nothing has moved for too long.
    Still(Duration),
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        let (ended, _) = watch::channel(false);
        Arc::new(Self { begun: Instant::now(), moved: AtomicU64::new(0), ended })
    }

    /// Something moved.
    pub(crate) fn beat(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    /// The transfer is over, or given up.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    #[cfg(feature = "sftp")]
    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// The outcome of `future`, unless the transfer ends before, or stands still for `stall`.
    pub(crate) async fn watch<T>(
        &self,
        future: impl Future<Output = T>,
        stall: Duration,
    ) -> Result<T, Stopped> {
        let asked = Instant::now();
        let mut ended = self.ended.subscribe();
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                outcome = &mut future => return Ok(outcome),
                // The sender lives as long as this does.
                _ = ended.wait_for(|ended| *ended) => return Err(Stopped::Ended),
                () = tokio::time::sleep(stall / 4) => {
                    let moved = self.begun + Duration::from_millis(self.moved.load(Ordering::Relaxed));
                    if moved.max(asked).elapsed() >= stall {
                        self.end();
                        return Err(Stopped::Still(stall));
                    }
                }
            }
        }
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended => f.write_str("the other side ended it"),
            Self::Still(stall) => write!(f, "nothing moved for {} s", stall.as_secs_f32()),
        }
    }
}
