//! `retention:`: what a store keeps, in the words of `fardel forget`.

use fardel_engine::forget::policy::{GroupBy, Policy};
use jiff::Span;
use serde::Deserialize;
use serde::de::Deserializer;

use super::Text;
use super::values::{Scalar, scalar};
use crate::args::{parse_group_by, parse_span};

/// What is kept; `keep_daily` is `--keep-daily`, and so on.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// So many of the newest.
    pub keep_last: Option<Count>,
    /// The newest of each hour, for so many that have one.
    pub keep_hourly: Option<Count>,
    /// The same for days.
    pub keep_daily: Option<Count>,
    /// The same for weeks.
    pub keep_weekly: Option<Count>,
    /// The same for months.
    pub keep_monthly: Option<Count>,
    /// The same for years.
    pub keep_yearly: Option<Count>,
    /// All that are as recent.
    pub keep_within: Option<Within>,
    /// The newest of each hour that is as recent.
    pub keep_within_hourly: Option<Within>,
    /// The same for days.
    pub keep_within_daily: Option<Within>,
    /// The same for weeks.
    pub keep_within_weekly: Option<Within>,
    /// The same for months.
    pub keep_within_monthly: Option<Within>,
    /// The same for years.
    pub keep_within_yearly: Option<Within>,
    /// Those that have this tag, or all of several: `a,b`.
    #[serde(default)]
    pub keep_tags: Vec<Text>,
    /// What makes a group besides the signer.
    pub group_by: Option<Groups>,
}

impl Retention {
    /// The same as a policy.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let count = |count: Option<Count>| count.map_or(0, |Count(count)| count);
        let within = |within: Option<Within>| within.map(|Within(span)| span);
        let tags = self.keep_tags.iter().map(|tags| tags.value.split(',').map(str::to_owned).collect());
        Policy {
            last: count(self.keep_last),
            counts: [
                self.keep_hourly,
                self.keep_daily,
                self.keep_weekly,
                self.keep_monthly,
                self.keep_yearly,
            ]
            .map(count),
            within: within(self.keep_within),
            within_each: [
                self.keep_within_hourly,
                self.keep_within_daily,
                self.keep_within_weekly,
                self.keep_within_monthly,
                self.keep_within_yearly,
            ]
            .map(within),
            tags: tags.collect(),
            group_by: self.group_by.map(|Groups(by)| by).unwrap_or_default(),
        }
    }
}

scalar!(
    /// How many are kept.
    Count(u32),
    |text| text.trim().parse().map_err(|_| format!("`{text}` is no count: write how many are kept"))
);
scalar!(
    /// Any of host, sources, tags.
    Groups(GroupBy),
    parse_group_by
);

/// A length of the calendar: `14d`, `1y5m7d2h`.
#[derive(Clone, Copy, Debug)]
pub struct Within(pub Span);

impl<'de> Deserialize<'de> for Within {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Scalar(parse_span as fn(&str) -> Result<Span, String>)).map(Self)
    }
}
