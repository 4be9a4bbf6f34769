//! Shows how far a long operation is: a bar on a terminal, a line every few seconds in a pipe, objects for programs.

use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fardel_engine::monitor::{Counters, Monitor, Progress as Count};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::human;
use crate::interrupt;
use crate::meter::Meter;
use crate::output::{Output, eprintln_quietly};

const BAR_EVERY: Duration = Duration::from_millis(100);
const JSON_EVERY: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Watches one operation; what it shows ends when this is dropped.
pub struct Progress {
    inner: Arc<Inner>,
    ticker: Option<JoinHandle<()>>,
}

struct Inner {
    out: Arc<Output>,
    verb: &'static str,
    noun: &'static str,
    counters: Counters,
    view: View,
    begun: Instant,
    ended: Mutex<bool>,
    end: Condvar,
}

enum View {
    Bar(ProgressBar),
    Lines,
    Json,
    Nothing,
}

#[derive(Serialize)]
struct ProgressLine {
    bytes_done: u64,
    bytes_total: u64,
    files_done: u64,
    files_total: u64,
    bytes_per_second: u64,
    eta_seconds: Option<u64>,
}

impl Progress {
    /// Begins to show `verb` and how many of `noun` are done, and to watch for Ctrl-C.
    #[must_use]
    pub fn begin(out: &Arc<Output>, verb: &'static str, noun: &'static str) -> Self {
        interrupt::watch();
        let view = match () {
            () if !out.progress => View::Nothing,
            () if out.is_json() => View::Json,
            () if stderr().is_terminal() => View::Bar(bar()),
            () => View::Lines,
        };
        let every = match view {
            View::Bar(_) => Some(BAR_EVERY),
            View::Json => Some(JSON_EVERY),
            View::Lines => Some(LINE_EVERY),
            View::Nothing => None,
        };
        let inner = Inner {
            out: out.clone(),
            verb,
            noun,
            counters: Counters::default(),
            view,
            begun: Instant::now(),
            ended: Mutex::new(false),
            end: Condvar::new(),
        };
        let inner = Arc::new(inner);
        let ticker = every.and_then(|every| {
            let inner = inner.clone();
            // Without a thread to spare there is no progress to see, and everything else works.
            std::thread::Builder::new().name("progress".into()).spawn(move || inner.tick(every)).ok()
        });
        Self { inner, ticker }
    }

    /// Writes something without mixing it with the bar.
    pub fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        self.inner.above(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.inner.end.notify_all();
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
        if let View::Bar(bar) = &self.inner.view {
            bar.finish_and_clear();
        }
    }
}

impl Monitor for Progress {
    fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    fn warning(&self, message: &str) {
        let message = human::shown(message.as_bytes());
        self.inner.above(|| self.inner.out.warning(&message));
    }

    fn detail(&self, message: &str) {
        if self.inner.out.is_verbose() {
            let message = human::shown(message.as_bytes());
            self.inner.above(|| self.inner.out.detail(&message));
        }
    }

    fn interrupted(&self) -> bool {
        interrupt::wanted()
    }
}

impl Inner {
    /// Writes something without mixing it with the bar.
    fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.view {
            View::Bar(bar) => bar.suspend(write),
            _ => write(),
        }
    }

    fn tick(&self, every: Duration) {
        let mut meter = Meter::default();
        if let View::Bar(_) = self.view {
            self.show(self.counters.get(), &meter);
        }
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended {
            ended = self.end.wait_timeout(ended, every).unwrap_or_else(PoisonError::into_inner).0;
            let now = self.counters.get();
            meter.add(self.begun.elapsed(), now.bytes_done);
            // A pipe is told nothing about what takes no time; programs get at least one object.
            if !*ended || matches!(self.view, View::Json) {
                self.show(now, &meter);
            }
        }
    }

    fn show(&self, now: Count, meter: &Meter) {
        match &self.view {
            View::Bar(bar) => {
                // What is more than was expected has no known end.
                let known = now.bytes_total > 0 && now.bytes_done <= now.bytes_total;
                bar.set_length(now.bytes_total.max(1));
                bar.set_position(if known { now.bytes_done } else { 0 });
                bar.set_prefix(self.verb);
                bar.set_message(describe(now, self.noun, meter));
                bar.tick();
            }
            View::Lines => eprintln_quietly(&format!("{} {}", self.verb, describe(now, self.noun, meter))),
            View::Json => {
                let line = ProgressLine {
                    bytes_done: now.bytes_done,
                    bytes_total: now.bytes_total,
                    files_done: now.files_done,
                    files_total: now.files_total,
                    bytes_per_second: meter.rate().unwrap_or(0.0) as u64,
                    eta_seconds: time_left(now, meter).map(|left| left.as_secs()),
                };
                // That nobody reads it any more is no reason to stop the work.
                let _ = self.out.json("progress", &line);
            }
            View::Nothing => {}
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:24}] {wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn time_left(now: Count, meter: &Meter) -> Option<Duration> {
    if now.bytes_total == 0 { None } else { meter.time_left(now.bytes_total) }
}

/// `12.0 GiB of 40.1 GiB, 1,200 of 5,000 files, 211.0 MiB/s, 2 min 14 s left`; what is not known is left out.
fn describe(now: Count, noun: &str, meter: &Meter) -> String {
    let of = |done: u64, total: u64, text: &dyn Fn(u64) -> String| match total > 0 && total >= done {
        true => format!("{} of {}", text(done), text(total)),
        false => text(done),
    };
    let mut parts = Vec::new();
    if now.bytes_done > 0 || now.bytes_total > 0 {
        parts.push(of(now.bytes_done, now.bytes_total, &human::bytes));
    }
    if now.files_done > 0 || now.files_total > 0 {
        parts.push(format!("{} {noun}", of(now.files_done, now.files_total, &human::thousands)));
    }
    if let Some(rate) = meter.rate().filter(|_| now.bytes_done > 0) {
        parts.push(format!("{}/s", human::bytes(rate as u64)));
    }
    if let Some(left) = time_left(now, meter) {
        parts.push(format!("{} left", human::duration(Duration::from_secs(left.as_secs()))));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_known_and_no_more() {
        let mut meter = Meter::default();
        let mut now = Count { bytes_done: 1 << 20, ..Count::default() };
        assert_eq!(describe(now, "files", &meter), "1.0 MiB");
        assert_eq!(describe(Count::default(), "files", &meter), "");
        (now.bytes_total, now.files_done, now.files_total) = (4 << 20, 1200, 5000);
        meter.add(Duration::ZERO, 0);
        meter.add(Duration::from_secs(1), 1 << 20);
        assert_eq!(
            describe(now, "files", &meter),
            "1.0 MiB of 4.0 MiB, 1,200 of 5,000 files, 1.0 MiB/s, 3.0 s left"
        );
    }
}
