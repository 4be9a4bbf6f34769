//! Tries out what a store can do and how fast, and takes away again all that it put there.
//!
//! Everything lies below one folder of a random name, `probe-<16 hex>`, that no object of a repository can have: readers pass over
//! it. In this order, each trial only if those before it did not show that the store is of no use:
//!
//! 1. a small object: put, read, listed; its name taken; removed, and then neither listed nor readable;
//! 2. a large object: put, parts of it read, and more than there is;
//! 3. an upload that is given up halfway: nothing may be visible;
//! 4. long names, deep folders, many names in one folder;
//! 5. two uploads of one name at the same moment, as two programs make them;
//! 6. what the store itself knows and tries ([`Store::examine`]);
//! 7. how fast it is: the small objects, and 1, 2, 4, 8 large ones at once.
//!
//! At last, however it ended, everything below the folder is removed, and the folders that were made.

mod scratch;
mod speed;
mod trials;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{Error, ErrorKind, Finding, Level, Result, Store};
use scratch::Scratch;

pub use speed::{Rate, recommended};

/// How thoroughly a store is tried.
#[derive(Clone, Debug)]
pub struct ProbeOptions {
    /// Length of a large object in bytes.
    pub large: u64,
    /// How often two uploads of one name race each other.
    pub races: u32,
    /// How many names one folder is given.
    pub names: usize,
    /// How many large objects go at once, one measurement each.
    pub parallel: Vec<usize>,
    /// About how long one measurement may take: large objects become shorter where the way is slow.
    pub round: Duration,
    /// Where the bytes lie on this machine meanwhile.
    pub files: PathBuf,
}

impl ProbeOptions {
    /// Objects of 8 MiB, up to 8 at once, some seconds for each measurement.
    #[must_use]
    pub fn new(files: PathBuf) -> Self {
        let parallel = vec![1, 2, 4, 8];
        Self { large: 8 << 20, races: 16, names: 100, parallel, round: Duration::from_secs(4), files }
    }
}

/// Whoever watches a probe.
pub trait Watch: Send + Sync + Debug {
    /// This is tried now.
    fn step(&self, what: &str);
    /// Whether it shall stop, and clean up.
    fn stopped(&self) -> bool;
}

/// What was found out.
#[derive(Clone, Debug, Default)]
pub struct ProbeReport {
    /// One after the other, as they were tried.
    pub findings: Vec<Finding>,
    /// Whether a repository can lie there.
    pub is_usable: bool,
    /// Whether it was stopped before everything was tried.
    pub was_stopped: bool,
    /// How long a small object takes to be stored; the median of several.
    pub small_put: Option<Duration>,
    /// How long a small object takes to be read; the median of several.
    pub small_get: Option<Duration>,
    /// Throughput by the number of objects at once.
    pub rates: Vec<Rate>,
    /// How many objects at once pay off; none when that was not measured.
    pub parallelism: Option<usize>,
    /// What could not be removed again.
    pub left: Vec<String>,
}

impl ProbeReport {
    /// How many findings have this level.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// Why the trials ended before the last one.
enum Ended {
    /// Somebody wants it.
    Stopped,
    /// The store is of no use; the findings say why.
    Useless,
    /// The trial itself is not possible here.
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match error.kind {
            ErrorKind::Stopped => Self::Stopped,
            _ => Self::Failed(error),
        }
    }
}

/// Tries out a place. `store` and `other` are two openings of it, which know nothing of each other.
///
/// # Errors
/// When this machine cannot do its part: files in [`ProbeOptions::files`], random numbers. What the store cannot do is in the report.
pub async fn probe(
    store: Arc<dyn Store>,
    other: Arc<dyn Store>,
    options: &ProbeOptions,
    watch: Arc<dyn Watch>,
) -> Result<ProbeReport> {
    let scratch = Scratch::new(&options.files)?;
    let report = ProbeReport { is_usable: true, ..ProbeReport::default() };
    let mut prober = Prober { store, other, options, watch, scratch, report };
    let ended = prober.all().await;
    let Prober { store, other, watch, scratch, mut report, .. } = prober;
    watch.step("removing what was put there");
    report.left = scratch.remove(&[&*store, &*other]).await;
    match ended {
        Ok(()) => {}
        Err(Ended::Stopped) => report.was_stopped = true,
        Err(Ended::Useless) => report.is_usable = false,
        Err(Ended::Failed(error)) => return Err(error),
    }
    Ok(report)
}

struct Prober<'a> {
    store: Arc<dyn Store>,
    other: Arc<dyn Store>,
    options: &'a ProbeOptions,
    watch: Arc<dyn Watch>,
    scratch: Scratch,
    report: ProbeReport,
}

impl Prober<'_> {
    async fn all(&mut self) -> Result<(), Ended> {
        self.room().await?;
        self.small_object().await?;
        self.taken_name().await?;
        self.removal().await?;
        self.large_object().await?;
        self.given_up().await?;
        self.shapes().await?;
        self.many_names().await?;
        self.races().await?;
        self.examination().await?;
        self.speed().await
    }

    /// Says what comes next, unless it shall not.
    fn step(&self, what: &str) -> Result<(), Ended> {
        self.watch.step(what);
        if self.watch.stopped() { Err(Ended::Stopped) } else { Ok(()) }
    }

    fn ok(&mut self, what: impl Into<String>) {
        self.report.findings.push(Finding::ok(what, ""));
    }

    fn note(&mut self, what: impl Into<String>, means: impl Into<String>) {
        self.report.findings.push(Finding::note(what, means));
    }

    fn not_safe(&mut self, what: impl Into<String>, means: impl Into<String>) {
        self.report.findings.push(Finding::not_safe(what, means));
    }

    fn useless(&mut self, what: impl Into<String>, means: impl Into<String>) -> Ended {
        self.not_safe(what, means);
        Ended::Useless
    }

    /// An answer without which nothing else makes sense.
    fn needed<T>(&mut self, what: &str, answer: Result<T>) -> Result<T, Ended> {
        answer.map_err(|error| match error.kind {
            ErrorKind::Stopped => Ended::Stopped,
            _ => {
                self.useless(format!("{what}: {error}"), "no repository can lie there as long as this is so")
            }
        })
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
