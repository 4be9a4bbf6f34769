//! How many packs go to one target at once, where nobody said so.
//!
//! Four at first, as other tools do (a service such as Ceph takes a fifth more of them than of two); one more as long as that brings noticeably more bytes a second, one fewer where it brought nothing; half as many
//! when the store has no time for us (what was sent had to be sent again). After each step back it stays for a while, then tries
//! one more again: lines change.

use std::time::Duration;

/// How many at first.
const FIRST: usize = 4;

/// One more was worth it when it brought at least so many times the bytes.
const WORTH: f64 = 1.1;

/// For so many measurements it stays where it is after a step back.
const REST: u32 = 8;

/// The number of packs at once; pure, so that it does the same for the same measurements.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    now: usize,
    most: usize,
    /// Whether it may change.
    adapts: bool,
    /// Bytes a second before the last step up.
    before: Option<f64>,
    rest: u32,
}

impl Pace {
    /// Always so many.
    #[must_use]
    pub fn fixed(number: usize) -> Self {
        Self { now: number.max(1), most: number.max(1), adapts: false, before: None, rest: 0 }
    }

    /// Between one and `most`, as it suits the line.
    #[must_use]
    pub fn adaptive(most: usize) -> Self {
        let most = most.max(1);
        Self { now: FIRST.min(most), most, adapts: true, before: None, rest: 0 }
    }

    /// How many may be under way now.
    #[must_use]
    pub fn now(&self) -> usize {
        self.now
    }

    /// How many may ever be under way.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// So many bytes went in this time, while as many packs as may be were under way.
    pub fn measured(&mut self, bytes: u64, time: Duration) {
        if !self.adapts {
            return;
        }
        let rate = bytes as f64 / time.as_secs_f64().max(1e-3);
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        if let Some(before) = self.before.take()
            && rate < before * WORTH
        {
            self.now = (self.now - 1).max(1);
            self.rest = REST;
            return;
        }
        if self.now < self.most {
            self.before = Some(rate);
            self.now += 1;
        }
    }

    /// The store had no time for us.
    pub fn pushed_back(&mut self) {
        if self.adapts {
            self.now = (self.now / 2).max(1);
            self.before = None;
            self.rest = REST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line on which `throughput(n)` bytes a second go with `n` packs at once, for so many measurements.
    fn run(pace: &mut Pace, steps: u32, throughput: impl Fn(usize) -> u64) -> Vec<usize> {
        let mut seen = Vec::new();
        for _ in 0..steps {
            pace.measured(2 * throughput(pace.now()), Duration::from_secs(2));
            seen.push(pace.now());
        }
        seen
    }

    #[test]
    fn it_grows_as_long_as_that_brings_something() {
        let mut pace = Pace::adaptive(8);
        assert_eq!(pace.now(), 4);
        // Each brings 1 MB/s, up to 5 MB/s in all.
        let seen = run(&mut pace, 3, |n| 1_000_000 * n.min(5) as u64);
        assert_eq!(seen, [5, 6, 5]);
        assert!(run(&mut pace, REST, |n| 1_000_000 * n.min(5) as u64).iter().all(|now| *now == 5));
        // Later the line is a better one.
        assert_eq!(run(&mut pace, 4, |n| 2_000_000 * n as u64), [6, 7, 8, 8]);
    }

    #[test]
    fn a_line_that_one_pack_fills_keeps_to_a_few() {
        let mut pace = Pace::adaptive(8);
        let seen = run(&mut pace, 200, |_| 500_000);
        assert!(seen.iter().all(|now| *now <= 5), "{seen:?}");
    }

    #[test]
    fn it_halves_when_it_is_pushed_back_and_comes_again() {
        let mut pace = Pace::adaptive(8);
        run(&mut pace, 10, |n| 1_000_000 * n as u64);
        assert_eq!(pace.now(), 8);
        pace.pushed_back();
        assert_eq!(pace.now(), 4);
        pace.pushed_back();
        pace.pushed_back();
        pace.pushed_back();
        assert_eq!(pace.now(), 1);
        assert_eq!(run(&mut pace, REST + 2, |n| 1_000_000 * n as u64).last(), Some(&3));
    }

    #[test]
    fn it_never_leaves_its_bounds() {
        for most in 0..4 {
            let mut pace = Pace::adaptive(most);
            for step in 0..100_u64 {
                match step % 7 {
                    0 => pace.pushed_back(),
                    _ => pace.measured(step * step * 1000, Duration::from_millis(step)),
                }
                assert!((1..=most.max(1)).contains(&pace.now()), "{pace:?}");
            }
        }
    }

    #[test]
    fn what_was_said_stays() {
        let mut pace = Pace::fixed(5);
        run(&mut pace, 10, |n| n as u64);
        pace.pushed_back();
        assert_eq!((pace.now(), pace.most()), (5, 5));
    }
}
