use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::scratch::Sample;
use super::{Ended, Prober};
use crate::{Body, ByteRange, Error, ErrorKind, Key, Result};

/// Length of a small object in bytes.
const SMALL: usize = 1 << 10;

/// How many small objects are measured.
const SMALL_OBJECTS: usize = 7;

/// Large objects are never shorter, in bytes.
const SHORTEST: u64 = 128 << 10;

/// Bytes of one read.
const READ: u64 = 2 << 20;

/// A number of objects at once is worth it when it brings so much of what the best number brings.
const ENOUGH: f64 = 0.9;

/// How fast it is with so many large objects at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// How many at once.
    pub parallel: usize,
    /// Bytes a second that were stored.
    pub upload: f64,
    /// Bytes a second that were read.
    pub download: f64,
}

/// The smallest number of objects at once that brings nine tenths of the best throughput, both ways.
#[must_use]
pub fn recommended(rates: &[Rate]) -> Option<usize> {
    let least = |of: fn(&Rate) -> f64| {
        let best = rates.iter().map(of).fold(0.0, f64::max);
        rates.iter().filter(|rate| of(rate) >= ENOUGH * best).map(|rate| rate.parallel).min()
    };
    Some(least(|rate| rate.upload)?.max(least(|rate| rate.download)?))
}

impl Prober<'_> {
    pub(super) async fn speed(&mut self) -> Result<(), Ended> {
        self.latency().await?;
        let mut len = self.options.large;
        for parallel in self.options.parallel.clone() {
            self.step(&format!("how fast it is with {parallel} at once"))?;
            match self.measure(parallel, len).await {
                Ok(rate) => {
                    self.report.rates.push(rate);
                    len = self.fitting(rate, parallel * 2);
                }
                Err(Ended::Failed(error)) => {
                    let means = "fewer at once: `fardel sync --parallel 1` for a start";
                    self.note(format!("{parallel} uploads at once fail: {error}"), means);
                    break;
                }
                Err(ended) => return Err(ended),
            }
        }
        self.report.parallelism = recommended(&self.report.rates);
        Ok(())
    }

    /// How long small objects take.
    async fn latency(&mut self) -> Result<(), Ended> {
        self.step("how fast small objects are")?;
        let (mut puts, mut gets) = (Vec::new(), Vec::new());
        for n in 0..SMALL_OBJECTS {
            let (key, bytes) =
                (self.scratch.key(&format!("latency-{n}"))?, self.scratch.bytes(5000 + n as u64, SMALL));
            let begun = Instant::now();
            let put = self.store.put_new(&key, Body::Bytes(bytes)).await;
            self.needed("a small object cannot be stored", put)?;
            puts.push(begun.elapsed());
            let begun = Instant::now();
            let got = self.store.get_range(&key, ByteRange::All).await;
            self.needed("a small object cannot be read", got)?;
            gets.push(begun.elapsed());
        }
        self.report.small_put = Some(median(puts));
        self.report.small_get = Some(median(gets));
        Ok(())
    }

    async fn measure(&mut self, parallel: usize, len: u64) -> Result<Rate, Ended> {
        let sample = self.scratch.sample(len)?;
        let keys = (0..parallel).map(|n| self.scratch.key(&format!("speed-{parallel}-{n}")));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let bytes = (len * parallel as u64) as f64;
        let begun = Instant::now();
        self.all_at_once(&keys, &sample, Way::Up).await?;
        let upload = bytes / begun.elapsed().as_secs_f64().max(1e-6);
        let begun = Instant::now();
        self.all_at_once(&keys, &sample, Way::Down).await?;
        let download = bytes / begun.elapsed().as_secs_f64().max(1e-6);
        self.scratch.remove_some(&*self.store, keys).await;
        Ok(Rate { parallel, upload, download })
    }

    async fn all_at_once(&self, keys: &[Key], sample: &Sample, way: Way) -> Result<(), Ended> {
        let mut going = JoinSet::new();
        for key in keys {
            let (store, watch, key, sample) =
                (self.store.clone(), self.watch.clone(), key.clone(), sample.clone());
            going.spawn(async move {
                if way == Way::Up {
                    return store.put_new(&key, sample.body(&watch)).await;
                }
                let len = sample.bytes.len() as u64;
                for start in (0..len).step_by(READ as usize) {
                    if watch.stopped() {
                        return Err(Error::new(ErrorKind::Stopped, &key, "stopped"));
                    }
                    let end = len.min(start + READ);
                    let got = store.get_range(&key, ByteRange::between(start, end)).await?;
                    if got != sample.bytes.slice(start as usize..end as usize) {
                        return Err(Error::new(
                            ErrorKind::Damaged,
                            &key,
                            "other bytes came than were stored",
                        ));
                    }
                }
                Ok(())
            });
        }
        // All of them end before anything is removed.
        let mut result = Ok(());
        while let Some(ended) = going.join_next().await {
            let ended = ended.unwrap_or_else(|error| Err(Error::new(ErrorKind::Other, "an upload", error)));
            result = result.and(ended);
        }
        result.map_err(Ended::from)
    }

    /// The length of objects with which the next measurement takes about as long as it may.
    fn fitting(&self, rate: Rate, parallel: usize) -> u64 {
        let slower = rate.upload.min(rate.download);
        let bytes = slower * self.options.round.as_secs_f64() / 2.0 / parallel as f64;
        (bytes as u64).clamp(SHORTEST.min(self.options.large), self.options.large)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(parallel: usize, upload: f64, download: f64) -> Rate {
        Rate { parallel, upload, download }
    }

    #[test]
    fn the_smallest_number_that_is_nearly_the_best_is_recommended() {
        assert_eq!(recommended(&[]), None);
        assert_eq!(recommended(&[rate(1, 5.0, 5.0)]), Some(1));
        let grows = [rate(1, 10.0, 10.0), rate(2, 19.0, 20.0), rate(4, 38.0, 21.0), rate(8, 40.0, 21.0)];
        assert_eq!(recommended(&grows), Some(4));
        let flat = [rate(1, 100.0, 99.0), rate(2, 101.0, 100.0), rate(4, 80.0, 70.0)];
        assert_eq!(recommended(&flat), Some(1));
    }
}
