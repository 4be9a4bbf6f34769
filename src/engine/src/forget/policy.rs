//! Which snapshots a policy keeps. Pure: what is known of the snapshots goes in, a decision for each comes out.
//!
//! 1. Snapshots are grouped by their signer, always, and by what else is asked for: a flood of snapshots by one signer must
//!    not push another's out.
//! 2. Within a group the order is that of the signer's own numbers, not of clocks.
//! 3. A checkpoint that a finished backup replaces is forgotten. A pinned snapshot is kept. So is one whose clock was ahead,
//!    and a checkpoint that nothing replaces; neither takes the place of another.
//! 4. The others are kept as far as a rule wants them; the newest finished one of a group always is.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use fardel_format::ids::Nonce;
use fardel_format::{SnapshotId, WriterId};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};

/// What is to be kept.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// So many of the newest.
    pub last: u32,
    /// The newest of each hour, day, week, month and year, for so many of them that have one.
    pub counts: [u32; 5],
    /// All that are at most so much older than the newest.
    pub within: Option<Span>,
    /// The newest of each hour, day, week, month and year that are at most so much older than the newest.
    pub within_each: [Option<Span>; 5],
    /// All that have every tag of one of these.
    pub tags: Vec<Vec<String>>,
    /// What makes a group besides the signer.
    pub group_by: GroupBy,
}

/// What snapshots of one group have in common besides their signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBy {
    /// The machine's name.
    pub host: bool,
    /// What was backed up.
    pub sources: bool,
    /// All tags.
    pub tags: bool,
}

impl Default for GroupBy {
    fn default() -> Self {
        Self { host: true, sources: true, tags: false }
    }
}

impl Policy {
    /// Whether it asks for nothing to be kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last == 0
            && self.counts == [0; 5]
            && self.within.is_none()
            && self.within_each.iter().all(Option::is_none)
            && self.tags.is_empty()
    }
}

/// What is known of a snapshot.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its id.
    pub id: SnapshotId,
    /// Who sealed it first.
    pub writer: WriterId,
    /// Under which number.
    pub seq: u32,
    /// When its backup began.
    pub time: Timestamp,
    /// The machine.
    pub host: String,
    /// What was backed up.
    pub sources: Vec<Vec<u8>>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it is a checkpoint.
    pub partial: bool,
    /// Which backup made it.
    pub run: Nonce,
    /// Whether nobody may forget it.
    pub pinned: bool,
}

/// Why a snapshot is kept or forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is pinned.
    Pinned,
    /// Its clock was ahead when it was made: nothing can be said of its age.
    ClockAhead,
    /// It is a checkpoint, and nothing finished replaces it.
    Unfinished,
    /// It is among the last ones.
    Last,
    /// It is the newest of a period that counts.
    Period(Period),
    /// It is recent.
    Within,
    /// It is the newest of a period, and recent enough.
    PeriodWithin(Period),
    /// It has the tags.
    Tagged,
    /// Nothing else of its group would be left.
    Only,
    /// What it is cannot be read.
    Unreadable,
    /// It is a checkpoint that a finished backup replaces.
    Replaced,
    /// The user named it.
    Named,
    /// No rule wants it.
    Unwanted,
}

/// A stretch of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week, from Monday on.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    /// In the order of [`Policy::counts`].
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// What all moments of one such stretch share.
    fn of(self, time: &ZonedDateTime) -> [i32; 4] {
        let (year, month, day) = (i32::from(time.year()), i32::from(time.month()), i32::from(time.day()));
        match self {
            Self::Hour => [year, month, day, i32::from(time.hour())],
            Self::Day => [year, month, day, 0],
            Self::Week => {
                let week = time.date().iso_week_date();
                [i32::from(week.year()), i32::from(week.week()), 0, 0]
            }
            Self::Month => [year, month, 0, 0],
            Self::Year => [year, 0, 0, 0],
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("pinned"),
            Self::ClockAhead => f.write_str("its clock was ahead"),
            Self::Unfinished => f.write_str("unfinished, and nothing replaces it"),
            Self::Last => f.write_str("last"),
            Self::Period(period) => f.write_str(period.word()),
            Self::Within => f.write_str("within"),
            Self::PeriodWithin(period) => write!(f, "{} within", period.word()),
            Self::Tagged => f.write_str("tag"),
            Self::Only => f.write_str("the newest of its group"),
            Self::Unreadable => f.write_str("cannot be read"),
            Self::Replaced => f.write_str("a finished backup replaces it"),
            Self::Named => f.write_str("named"),
            Self::Unwanted => f.write_str("no rule keeps it"),
        }
    }
}

/// What becomes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is kept.
    pub keep: bool,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Which group it is in: groups are numbered in the order of their first snapshots.
    pub group: usize,
}

/// What makes a group.
type GroupKey<'a> = (WriterId, Option<&'a str>, Option<Vec<&'a [u8]>>, Option<Vec<&'a str>>);

/// Decides about each candidate, in their order.
#[must_use]
pub fn decide(policy: &Policy, candidates: &[Candidate], now: Timestamp, zone: &TimeZone) -> Vec<Decision> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut numbers: BTreeMap<GroupKey<'_>, usize> = BTreeMap::new();
    for (i, candidate) in candidates.iter().enumerate() {
        let number = *numbers.entry(group_key(policy.group_by, candidate)).or_insert(groups.len());
        if number == groups.len() {
            groups.push(Vec::new());
        }
        groups[number].push(i);
    }
    let replaced = replaced(candidates);
    let undecided = Decision { keep: false, reasons: Vec::new(), group: 0 };
    let mut decisions = vec![undecided; candidates.len()];
    for (number, mut group) in groups.into_iter().enumerate() {
        group.sort_by_key(|&i| std::cmp::Reverse((candidates[i].seq, candidates[i].time)));
        decide_group(policy, candidates, &group, &replaced, (now, zone), &mut decisions);
        group.iter().for_each(|&i| decisions[i].group = number);
    }
    decisions
}

fn group_key(by: GroupBy, candidate: &Candidate) -> GroupKey<'_> {
    let mut sources: Vec<_> = candidate.sources.iter().map(Vec::as_slice).collect();
    sources.sort_unstable();
    let mut tags: Vec<_> = candidate.tags.iter().map(String::as_str).collect();
    tags.sort_unstable();
    (
        candidate.writer,
        by.host.then_some(&*candidate.host),
        by.sources.then_some(sources),
        by.tags.then_some(tags),
    )
}

/// Checkpoints that a later snapshot of their signer replaces: any of the same run, or a finished one of the same machine that
/// holds all their sources.
fn replaced(candidates: &[Candidate]) -> HashSet<usize> {
    let mut order: Vec<_> = (0..candidates.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse((candidates[i].writer, candidates[i].seq, candidates[i].time)));
    let (mut runs, mut finished) = (HashSet::new(), HashSet::new());
    let mut replaced = HashSet::new();
    for i in order {
        let candidate = &candidates[i];
        let place = |source: &Vec<u8>| (candidate.writer, candidate.host.clone(), source.clone());
        let is_followed = !runs.insert((candidate.writer, candidate.run.0));
        if !candidate.partial {
            finished.extend(candidate.sources.iter().map(place));
        } else if is_followed || candidate.sources.iter().all(|source| finished.contains(&place(source))) {
            replaced.insert(i);
        }
    }
    replaced
}

fn decide_group(
    policy: &Policy,
    candidates: &[Candidate],
    newest_first: &[usize],
    replaced: &HashSet<usize>,
    (now, zone): (Timestamp, &TimeZone),
    decisions: &mut [Decision],
) {
    let counts = |i: &usize| !candidates[*i].partial && !crate::time::is_ahead(candidates[*i].time, now);
    let newest = newest_first.iter().filter(|i| counts(i)).map(|&i| candidates[i].time).max();
    let newest = newest.map(|time| time.to_zoned_datetime(zone.clone()));
    let limit = |span: &Option<Span>| {
        let limit = newest.as_ref().and_then(|newest| span.map(|span| newest.checked_sub(span)));
        // So long ago that there is no such time: then all are recent.
        limit.map(|limit| limit.map_or(Timestamp::MIN, |zoned| zoned.timestamp()))
    };
    let within = limit(&policy.within);
    let within_each = policy.within_each.each_ref().map(limit);
    let mut last = 0;
    let mut seen: [HashSet<[i32; 4]>; 5] = Default::default();
    let mut seen_within: [HashSet<[i32; 4]>; 5] = Default::default();
    for &i in newest_first {
        let (candidate, mut reasons) = (&candidates[i], Vec::new());
        if candidate.pinned {
            reasons.push(Reason::Pinned);
        }
        if policy.tags.iter().any(|tags| tags.iter().all(|tag| candidate.tags.contains(tag))) {
            reasons.push(Reason::Tagged);
        }
        if counts(&i) {
            if last < policy.last {
                last += 1;
                reasons.push(Reason::Last);
            }
            let time = candidate.time.to_zoned_datetime(zone.clone());
            for (slot, period) in Period::ALL.into_iter().enumerate() {
                let key = period.of(&time);
                let room = seen[slot].len() < policy.counts[slot] as usize;
                if room && seen[slot].insert(key) {
                    reasons.push(Reason::Period(period));
                }
                let recent = within_each[slot].is_some_and(|limit| candidate.time >= limit);
                if recent && seen_within[slot].insert(key) {
                    reasons.push(Reason::PeriodWithin(period));
                }
            }
            if within.is_some_and(|limit| candidate.time >= limit) {
                reasons.push(Reason::Within);
            }
        } else if !candidate.partial {
            reasons.push(Reason::ClockAhead);
        } else if !replaced.contains(&i) {
            reasons.push(Reason::Unfinished);
        }
        decisions[i].reasons = reasons;
    }
    let finished = |i: &&usize| !candidates[**i].partial;
    let any_kept = newest_first.iter().filter(finished).any(|&i| !decisions[i].reasons.is_empty());
    if let Some(&newest) = newest_first.iter().find(finished).filter(|_| !any_kept) {
        decisions[newest].reasons.push(Reason::Only);
    }
    for &i in newest_first {
        decisions[i].keep = !decisions[i].reasons.is_empty();
        if !decisions[i].keep {
            let why = if replaced.contains(&i) { Reason::Replaced } else { Reason::Unwanted };
            decisions[i].reasons.push(why);
        }
    }
}

#[cfg(test)]
mod tests;
