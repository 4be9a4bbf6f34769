use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fardel_engine::Error;
use fardel_engine::replicate::TargetReport;
use fardel_store::ErrorKind;
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::{Result, seed};
use fardel_tests::proxy::{Counts, End, Strike, Way};

use crate::replica::{Carried, PATIENT, Replica};
use crate::server::{Server, Width};
use crate::site::Site;
use crate::toll::{Effort, Toll, campaign};

/// What CI does.
const EFFORT: Effort = Effort { each: 62, longest: Duration::from_secs(25 * 60) };
/// One life of a replica is cut so often at most.
const CUTS_IN_A_LIFE: u64 = 4;
/// What is not acknowledged as durable when a line is cut, at most, in bytes: a part for each connection.
const PART: u64 = 8 << 20;
/// A line on which nothing moves is given up after this time, where that is what happens to it.
const STALL: Duration = Duration::from_secs(2);

#[test]
fn lines_that_are_cut_cost_nothing_that_was_sealed() {
    cut(EFFORT);
}

#[test]
#[ignore = "soak: ten times as many cuts"]
fn soak_lines_that_are_cut() {
    cut(EFFORT.of_a_soak());
}

fn cut(effort: Effort) {
    let whole = Mutex::new(HashMap::new());
    campaign("cuts", effort, Server::start, |site, server, number, toll| {
        let width = if number % 2 == 0 { Width::One } else { Width::Usual };
        let key = (server.name(), width == Width::One);
        let known = whole.lock().unwrap().get(&key).copied();
        let counts = match known {
            Some(counts) => counts,
            None => uncut(site, server, width)?,
        };
        whole.lock().unwrap().insert(key, counts);
        Life { site, server, width, whole: counts, toll, chance: Chance::of(seed(), server.name(), number) }
            .run(number)
    });
}

/// Carries everything without a cut; what went over the line for it.
fn uncut(site: &Site, server: &Server, width: Width) -> Result<Counts> {
    let replica = Replica::new(site, format!("uncut-{width:?}"), width);
    server.line.forget();
    ended(replica.sync(replica.over_the_line(server, PATIENT))?)?;
    let counts = server.line.counts();
    replica.is_whole(server)?;
    replica.remove(server)?;
    Ok(counts)
}

/// A sync that has to have come to its end.
fn ended(result: Carried) -> Result<TargetReport> {
    match result {
        Ok(report) if report.behind == 0 && report.problems.is_empty() => Ok(report),
        Ok(report) => Err(format!("it ended, and is not complete: {report:?}")),
        Err(error) => Err(format!("it did not go on by itself: {error}")),
    }
}

/// The life of one replica.
struct Life<'a> {
    site: &'a Site,
    server: &'a Server,
    width: Width,
    /// What goes over the line when it is not cut.
    whole: Counts,
    toll: &'a Toll,
    chance: Chance,
}

impl Life<'_> {
    fn run(mut self, number: u64) -> Result {
        let replica = Replica::new(self.site, format!("life-{number}"), self.width);
        self.server.line.mend();
        self.server.line.forget();
        let (mut strikes, mut connections) = (0, 0);
        for _ in 0..1 + self.chance.below(CUTS_IN_A_LIFE) {
            let strike = self.strike();
            let (way, bytes) = self.moment();
            let at = |why: String| format!("{strike:?} after {bytes} bytes {way:?}, {:?}: {why}", self.width);
            self.server.line.arm(way, bytes, strike);
            let (result, open) = self.sync(&replica, strike)?;
            let has_struck = self.server.line.has_struck();
            self.server.line.mend();
            if has_struck {
                self.toll.count(self.server, kind(strike));
                strikes += 1;
                connections = connections.max(open);
            }
            judge(result, has_struck.then_some(strike)).map_err(at)?;
            replica.look(self.server).map_err(at)?;
            if !has_struck {
                break;
            }
        }
        ended(replica.sync(replica.over_the_line(self.server, PATIENT))?)
            .map_err(|why| format!("then: {why}"))?;
        replica.is_whole(self.server)?;
        self.stayed_within_the_bound(strikes, connections)?;
        if self.chance.one_in(4) {
            let report = ended(replica.sync(replica.over_the_line(self.server, PATIENT))?)?;
            if report.bytes_sent > 0 {
                return Err(format!("a whole copy was sent {} bytes", report.bytes_sent));
            }
        }
        if self.chance.one_in(4) {
            let rank = 1 + self.chance.below(self.site.snapshots() as u64) as usize;
            self.site.restore(self.server, &replica.name, rank)?;
        }
        replica.remove(self.server)
    }

    fn strike(&mut self) -> Strike {
        let end = *self.chance.pick(&[End::Fin, End::Rst]);
        match self.chance.below(16) {
            // An upload to S3 has its own, long time for an answer.
            0 if self.server.ceph().is_none() => Strike::Stall,
            0..=7 => Strike::CutOne(end),
            _ => Strike::CutAll(end),
        }
    }

    /// Packs are many bytes to the server in few requests, all the rest is few bytes in many: half of the cuts go by the answers.
    fn moment(&mut self) -> (Way, u64) {
        let gone = self.server.line.counts();
        if self.chance.one_in(2) {
            (Way::Up, self.chance.below(self.whole.up.saturating_sub(gone.up).max(4_000)))
        } else {
            (Way::Down, self.chance.below(self.whole.down.saturating_sub(gone.down).max(4_000)))
        }
    }

    /// Carries, and mends a stalled line once a connection was given up; how many connections there were when it was struck.
    fn sync(&self, replica: &Replica<'_>, strike: Strike) -> Result<(Carried, u64)> {
        let line = &self.server.line;
        let store = replica.over_the_line(self.server, if strike == Strike::Stall { STALL } else { PATIENT });
        std::thread::scope(|scope| {
            let ended = Arc::new(());
            let still_runs = Arc::downgrade(&ended);
            let watching = scope.spawn(move || {
                let mut open = 0;
                while still_runs.strong_count() > 0 {
                    open = open.max(line.open());
                    if line.wait_for_strike(Duration::from_millis(5)) {
                        break;
                    }
                }
                let connections = line.counts().connections;
                while strike == Strike::Stall && still_runs.strong_count() > 0 {
                    if line.counts().connections > connections || line.open() < open {
                        line.mend();
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                open as u64
            });
            let result = replica.sync(store);
            drop(ended);
            let open = watching.join().map_err(|_| "the watcher failed".to_owned())?;
            Ok((result?, open))
        })
    }

    /// What went twice is not more than what was under way when the line was cut.
    fn stayed_within_the_bound(&self, strikes: u64, connections: u64) -> Result {
        let under_way = if self.server.resumes() { PART } else { self.site.largest() };
        let connections = if self.width == Width::One { 1 } else { connections };
        // Each further sync lists and asks again, and each packet has its wrapping.
        let bound = self.whole.up + (1 + strikes) * (256 << 10) + strikes * connections * under_way;
        let up = self.server.line.counts().up;
        if up <= bound {
            return Ok(());
        }
        let (all, width) = (self.site.bytes(), self.width);
        Err(format!("{up} bytes were sent for {all}, {bound} at most with {strikes} cuts and {width:?}"))
    }
}

/// Whether the sync ended as it should.
fn judge(result: Carried, strike: Option<Strike>) -> Result {
    match (result, strike) {
        (Err(Error::Store(error)), Some(Strike::CutAll(_))) if error.kind == ErrorKind::Transient => Ok(()),
        (result, _) => ended(result).map(drop),
    }
}

fn kind(strike: Strike) -> &'static str {
    match strike {
        Strike::Tell => "told",
        Strike::CutOne(End::Fin) => "closed connections",
        Strike::CutOne(End::Rst) => "reset connections",
        Strike::CutAll(End::Fin) => "closed lines",
        Strike::CutAll(End::Rst) => "reset lines",
        Strike::Stall => "stalls",
    }
}
