//! Shows how far a long operation is: a bar on a terminal, a line every few seconds in a pipe, objects for programs.

use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fardel_engine::monitor::{Counters, Monitor, Progress as Count};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
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
    /// What stands before: the verb, or which target it is.
    label: String,
    /// Which target it is, for programs.
    target: Option<String>,
    noun: &'static str,
    counters: Counters,
    view: View,
    begun: Instant,
    ended: Mutex<bool>,
    end: Condvar,
}

enum View {
    Bar(ProgressBar),
    /// One of several.
    Row(ProgressBar, MultiProgress),
    Lines,
    Json,
    Nothing,
}

#[derive(Serialize)]
struct ProgressLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    bytes_done: u64,
    bytes_total: u64,
    files_done: u64,
    files_total: u64,
    bytes_per_second: u64,
    eta_seconds: Option<u64>,
    /// Until the next snapshot is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_eta_seconds: Option<u64>,
}

impl Progress {
    /// Begins to show `verb` and how many of `noun` are done, and to watch for Ctrl-C.
    #[must_use]
    pub fn begin(out: &Arc<Output>, verb: &'static str, noun: &'static str) -> Self {
        Self::start(out, verb.to_owned(), None, noun, View::of(out, View::Bar))
    }

    /// The same for several targets at once, with a line for each.
    #[must_use]
    pub fn begin_all(out: &Arc<Output>, targets: &[String], noun: &'static str) -> Vec<Arc<Self>> {
        let rows = MultiProgress::new();
        let width = targets.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let begin = |name: &String| {
            let row = |bar| View::Row(rows.add(bar), rows.clone());
            let label = format!("{:width$}", human::shown(name.as_bytes()));
            Arc::new(Self::start(out, label, Some(name.clone()), noun, View::of(out, row)))
        };
        targets.iter().map(begin).collect()
    }

    fn start(
        out: &Arc<Output>,
        label: String,
        target: Option<String>,
        noun: &'static str,
        view: View,
    ) -> Self {
        interrupt::watch();
        let every = match view {
            View::Bar(_) | View::Row(..) => Some(BAR_EVERY),
            View::Json => Some(JSON_EVERY),
            View::Lines => Some(LINE_EVERY),
            View::Nothing => None,
        };
        let inner = Inner {
            out: out.clone(),
            label,
            target,
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
        if let View::Bar(bar) | View::Row(bar, _) = &self.inner.view {
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
            View::Row(_, rows) => rows.suspend(write),
            _ => write(),
        }
    }

    fn tick(&self, every: Duration) {
        let mut meter = Meter::default();
        if let View::Bar(_) | View::Row(..) = self.view {
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
            View::Bar(bar) | View::Row(bar, _) => {
                // What is more than was expected has no known end.
                let known = now.bytes_total > 0 && now.bytes_done <= now.bytes_total;
                bar.set_length(now.bytes_total.max(1));
                bar.set_position(if known { now.bytes_done } else { 0 });
                bar.set_prefix(self.label.clone());
                bar.set_message(describe(now, self.noun, meter));
                bar.tick();
            }
            View::Lines => eprintln_quietly(&format!("{} {}", self.label, describe(now, self.noun, meter))),
            View::Json => {
                let line = ProgressLine {
                    target: self.target.as_deref(),
                    bytes_done: now.bytes_done,
                    bytes_total: now.bytes_total,
                    files_done: now.files_done,
                    files_total: now.files_total,
                    bytes_per_second: meter.rate().unwrap_or(0.0) as u64,
                    eta_seconds: time_left(now, meter).map(|left| left.as_secs()),
                    snapshot_eta_seconds: time_to_milestone(now, meter).map(|left| left.as_secs()),
                };
                // That nobody reads it any more is no reason to stop the work.
                let _ = self.out.json("progress", &line);
            }
            View::Nothing => {}
        }
    }
}

impl View {
    /// How progress is shown here; a bar where somebody sees it.
    fn of(out: &Output, as_bar: impl FnOnce(ProgressBar) -> Self) -> Self {
        match () {
            () if !out.progress => Self::Nothing,
            () if out.is_json() => Self::Json,
            () if stderr().is_terminal() => as_bar(bar()),
            () => Self::Lines,
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

fn time_to_milestone(now: Count, meter: &Meter) -> Option<Duration> {
    if now.milestone > now.bytes_done { meter.time_left(now.milestone) } else { None }
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
    let whole_seconds = |left: Duration| human::duration(Duration::from_secs(left.as_secs()));
    if let Some(left) = time_to_milestone(now, meter).filter(|_| now.milestone < now.bytes_total) {
        parts.push(format!("next snapshot in {}", whole_seconds(left)));
    }
    if let Some(left) = time_left(now, meter) {
        parts.push(format!("{} left", whole_seconds(left)));
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
        now.milestone = 2 << 20;
        assert!(describe(now, "files", &meter).ends_with("1.0 MiB/s, next snapshot in 1.0 s, 3.0 s left"));
    }
}
