//! Arguments of the commands that forget, pin and delete.

use std::time::Duration;

use clap::Args;
use jiff::Span;

use super::Selection;
use crate::size::Size;

/// `forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// These snapshots: ids, the first digits of ids, or `latest` [default: what the --keep options do not keep,
    /// or without these what the configured `retention:` of this place does not]
    #[arg(value_name = "SNAPSHOT", conflicts_with = "policy")]
    pub snapshots: Vec<String>,
    /// What is kept.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Which snapshots the policy is for.
    #[command(flatten)]
    pub select: Selection,
    /// What makes a group besides the signer: any of host, sources, tags; '' for nothing [default: host,sources]
    #[arg(long, value_name = "WHAT", value_parser = parse_group_by)]
    pub group_by: Option<fardel_engine::forget::policy::GroupBy>,
    /// Forget them in this store alone [default for a policy]
    #[arg(long, conflicts_with = "everywhere")]
    pub here: bool,
    /// Forget them in every copy: the next sync tells the replicas [default for named snapshots]
    #[arg(long)]
    pub everywhere: bool,
    /// Bring them back, or all that can be: until a prune has swept them
    #[arg(long, conflicts_with_all = ["policy", "here", "everywhere", "prune"])]
    pub undo: bool,
    /// Prune afterwards
    #[arg(long)]
    pub prune: bool,
    /// Say what would be forgotten, and forget nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// What is kept.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "policy", multiple = true)]
pub struct PolicyArgs {
    /// Keep so many of the newest
    #[arg(short = 'l', long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each hour, for so many hours that have one
    #[arg(short = 'H', long, value_name = "N")]
    pub keep_hourly: Option<u32>,
    /// The same for days
    #[arg(short = 'd', long, value_name = "N")]
    pub keep_daily: Option<u32>,
    /// The same for weeks
    #[arg(short = 'w', long, value_name = "N")]
    pub keep_weekly: Option<u32>,
    /// The same for months
    #[arg(short = 'm', long, value_name = "N")]
    pub keep_monthly: Option<u32>,
    /// The same for years
    #[arg(short = 'y', long, value_name = "N")]
    pub keep_yearly: Option<u32>,
    /// Keep all that are at most so much older than the newest: 1y5m7d2h is years, months, days, hours
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub keep_within: Option<Span>,
    /// Keep the newest of each hour that is as recent
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub keep_within_hourly: Option<Span>,
    /// The same for days
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub keep_within_daily: Option<Span>,
    /// The same for weeks
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub keep_within_weekly: Option<Span>,
    /// The same for months
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub keep_within_monthly: Option<Span>,
    /// The same for years
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub keep_within_yearly: Option<Span>,
    /// Keep those that have this tag, or all of several: a,b
    #[arg(long = "keep-tag", value_name = "T")]
    pub keep_tags: Vec<String>,
}

/// `pin` and `unpin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Which
    #[arg(value_name = "SNAPSHOT", required = true)]
    pub snapshots: Vec<String>,
}

/// `prune`.
#[derive(Clone, Debug, Default, Args)]
pub struct PruneArgs {
    /// Prune this copy
    #[arg(long, value_name = "NAME|URL")]
    pub replica: Option<String>,
    /// How long what is condemned or forgotten stays before it is deleted [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = parse_wait)]
    pub grace: Option<Duration>,
    /// How long what no backup or sync finished stays [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = parse_wait)]
    pub unfinished: Option<Duration>,
    /// Write anew at most so much of the packs
    #[arg(long, value_name = "SIZE", conflicts_with = "no_repack")]
    pub max_repack: Option<Size>,
    /// How much of all packs may be unused bytes within packs that are needed [default: 5%]
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, conflicts_with = "no_repack")]
    pub max_unused: Option<f64>,
    /// Write nothing anew: delete whole packs only
    #[arg(long)]
    pub no_repack: bool,
    /// How long the store charges for an object at least: younger packs stay [default: what a bucket keeps objects for]
    #[arg(long, value_name = "TIME", value_parser = parse_wait)]
    pub min_age: Option<Duration>,
    /// In a folder that another tool copies: prune though another machine did so last; only one side may
    #[arg(long)]
    pub take_over: bool,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// A wait: a length of time, or 0.
fn parse_wait(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { crate::span::parse(text) }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("write a percentage from 0% to 100%".into()),
    }
}

/// What makes a group: any of host, sources, tags.
///
/// # Errors
/// When it is something else.
pub fn parse_group_by(text: &str) -> Result<fardel_engine::forget::policy::GroupBy, String> {
    let mut by = fardel_engine::forget::policy::GroupBy { host: false, sources: false, tags: false };
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "host" => by.host = true,
            "sources" | "paths" => by.sources = true,
            "tags" => by.tags = true,
            _ => return Err(format!("`{word}` makes no group: write any of host, sources, tags")),
        }
    }
    Ok(by)
}

/// `1y5m7d2h`: years, months, days, hours; each at most once, in this order.
///
/// # Errors
/// When it is none.
pub fn parse_span(text: &str) -> Result<Span, String> {
    let bad = || format!("`{text}` is no such time: write for example 14d, 6m or 1y5m7d2h");
    let (mut span, mut rest, mut units) = (Span::new(), text, "ymdh");
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: i64 = rest[..end].parse().map_err(|_| bad())?;
        let unit = rest[end..].chars().next().ok_or_else(bad)?;
        let at = units.find(unit).ok_or_else(bad)?;
        units = &units[at + 1..];
        let with = match unit {
            'y' => span.try_years(number),
            'm' => span.try_months(number),
            'd' => span.try_days(number),
            _ => span.try_hours(number),
        };
        span = with.map_err(|_| bad())?;
        rest = &rest[end + 1..];
    }
    if text.is_empty() { Err(bad()) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lengths_of_the_calendar() {
        for (text, span) in [
            ("14d", Span::new().days(14)),
            ("1y5m7d2h", Span::new().years(1).months(5).days(7).hours(2)),
            ("36h", Span::new().hours(36)),
        ] {
            assert_eq!(parse_span(text).map(|span| span.to_string()), Ok(span.to_string()), "{text}");
        }
        for text in ["", "d", "5", "5x", "7d1y", "1d1d", "-1d", "99999999999999999999d", "9999999y"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_waits_percentages_and_groups() {
        assert_eq!(parse_wait("0"), Ok(Duration::ZERO));
        assert_eq!(parse_wait("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_percent("5%"), Ok(0.05));
        assert_eq!(parse_percent("0"), Ok(0.0));
        assert!(parse_percent("101%").is_err() && parse_percent("x").is_err());
        let by = parse_group_by("tags,host").unwrap();
        assert!(by.tags && by.host && !by.sources);
        assert!(parse_group_by("").is_ok() && parse_group_by("owner").is_err());
    }
}
