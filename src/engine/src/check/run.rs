//! A check from its first level to the one that was asked for.

use std::collections::{BTreeMap, HashSet};

use fardel_format::ObjectHash;
use fardel_format::names::Name;

use super::closures::Closures;
use super::damage::{self, Evidence};
use super::findings::Findings;
use super::frames::{Bad, Ledger, Proven};
use super::needs::{self, Packs};
use super::report::{CheckReport, Class, Costs, Sampled};
use super::scan::{Depth, Scan, THREAD_COST, Task};
use super::sorter::{Scratch, Sorter};
use super::{CheckOptions, Context, Level, content, sample, seals, segments, signed};
use crate::Result;
use crate::catalog::Catalog;
use crate::monitor::Monitor;
use crate::packs::PackReader;
use crate::repository::Repository;
use crate::snapshots::Snapshots;

/// Looks at the repository as it was listed.
///
/// # Errors
/// As [`check`](super::check).
pub fn once(
    repo: &Repository,
    catalog: &Catalog,
    options: &CheckOptions,
    monitor: &dyn Monitor,
) -> Result<CheckReport> {
    if options.level == Level::Data {
        repo.need_reader()?;
    }
    let snapshots = Snapshots::load_for_reading(repo, catalog)?;
    let scratch = Scratch::new(repo.cache());
    let context = Context { repo, catalog, options, monitor, snapshots: &snapshots, scratch };
    let mut findings = Findings::default();
    let mut report = CheckReport {
        objects_checked: catalog.objects().count() as u64,
        snapshots_checked: snapshots.sealed.len() as u64,
        ..CheckReport::default()
    };
    let mut closures = Closures::new(repo, catalog, options.memory / 8);
    let packs = needs::gather(catalog, &snapshots, &mut closures, &options.arrived, &mut findings)?;
    needs::strangers(catalog, &mut findings);
    needs::keys(catalog, &mut findings);
    let registry_whole = signed::signers(repo, catalog, &mut findings)?;
    seals::check(repo, catalog, &snapshots, options.level, registry_whole, &mut findings)?;
    if options.level >= Level::Seals {
        signed::tombs(repo, catalog, &snapshots.registry, &mut findings)?;
        signed::acks(repo, catalog, &snapshots, &mut findings)?;
    }
    let reader = PackReader::new(repo, catalog);
    let mut evidence =
        Evidence { suspects: Sorter::new(&context.scratch, 0), opaque: Vec::new(), lost: None };
    if options.level >= Level::Hashes {
        let mut proven = read_all(&context, &packs, &mut findings, &mut report)?;
        if options.level == Level::Data {
            segments::compare(repo, catalog, &snapshots, &packs, &proven.digests, &mut findings)?;
            let lost = content::prove(&context, &packs, &mut closures, &mut proven, &reader, &mut findings)?;
            report.snapshots_checked = lost.snapshots;
            evidence.lost = Some(lost);
        }
        evidence.opaque =
            proven.bad.iter().filter(|(_, bad)| bad.opaque).map(|(key, _)| key.clone()).collect();
        evidence.suspects = proven.suspects;
    }
    damage::blame_snapshots(&context, &packs, &mut closures, &mut findings)?;
    if options.impact && repo.keys().can_read {
        damage::examine(&context, &packs, &reader, &mut evidence, &mut findings)?;
        damage::name_costs(&context, &packs, &mut closures, &reader, evidence, &mut findings)?;
    }
    if options.copy {
        findings.tell_what_is_on_its_way();
    }
    (report.errors, report.notes) = findings.finish();
    Ok(report)
}

/// Reads every object once.
fn read_all(
    context: &Context<'_>,
    packs: &Packs,
    findings: &mut Findings,
    report: &mut CheckReport,
) -> Result<Proven> {
    let Context { repo, catalog, options, monitor, .. } = context;
    let chosen = sample::choose(catalog, options.sample);
    let tasks = tasks(context, packs, findings, chosen.as_ref());
    if let Some(chosen) = &chosen {
        report.sampled = Some(sampled(catalog, chosen));
    }
    let bytes =
        tasks.iter().filter(|task| !matches!(task.depth, Depth::Table(_))).map(|task| task.stored.size).sum();
    monitor.counters().set_total(tasks.len() as u64, bytes);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let ledger = Ledger::new(&context.scratch, packs.len(), options.memory / 4);
    let scan = Scan {
        store: repo.store(),
        identities: &repo.keys().readers,
        chunk_key: repo.keys().chunk_keys.as_ref().map(|keys| &keys.chunk),
        ledger: &ledger,
        monitor: *monitor,
        threads: cores.min((options.memory / 2 / THREAD_COST) as usize).max(1),
    };
    let scanned = scan.run(&tasks)?;
    drop(tasks);
    report.bytes_checked = scanned.bytes;
    for wrong in scanned.wrong {
        let name = Name::parse(wrong.object.as_str());
        let is_disputed = matches!(name, Some(Name::Pack(hash, _)) if packs.is_disputed(&hash));
        let finding = match is_disputed {
            true => findings.put(&wrong.object, wrong.class, wrong.why),
            false => findings.add(&wrong.object, wrong.class, wrong.why),
        };
        if let Some(Name::Index(_) | Name::Ack(..)) = name {
            finding.harmless = true;
        }
    }
    let proven = ledger.finish()?;
    for (key, bad) in &proven.bad {
        tell(key, bad, findings);
    }
    Ok(proven)
}

fn tell(key: &str, bad: &Bad, findings: &mut Findings) {
    let lost = match bad.frames {
        0 => String::new(),
        frames => format!("; {} chunks in {frames} frames cannot be had from it", bad.chunks),
    };
    let why = format!("{}{lost}", bad.why);
    match findings.get_mut(key) {
        Some(finding) => {
            finding.why = format!("{}; {why}", finding.why);
            finding.costs = Costs::default();
        }
        None => drop(findings.add(key, Class::Forged, why)),
    }
}

/// The largest first, so that all threads end together.
fn tasks<'a>(
    context: &Context<'a>,
    packs: &Packs,
    findings: &Findings,
    chosen: Option<&HashSet<ObjectHash>>,
) -> Vec<Task<'a>> {
    let proves = context.options.level == Level::Data;
    let mut tasks = Vec::new();
    for (name, stored) in context.catalog.objects() {
        let Some(hash) = name.content_hash() else { continue };
        let depth = match name {
            // What its size gave away needs no reading, unless the size is what lists disagree about.
            Name::Pack(..) if findings.has(stored.key.as_str()) && !packs.is_disputed(&hash) => continue,
            Name::Pack(..) => {
                let read = chosen.is_none_or(|chosen| chosen.contains(&hash));
                match (packs.number(&hash), proves, read) {
                    (Some(number), true, true) => Depth::Chunks(number),
                    (Some(number), true, false) => Depth::Table(number),
                    (_, _, false) => continue,
                    _ => Depth::Hash,
                }
            }
            _ => Depth::Hash,
        };
        tasks.push(Task { stored, hash, depth });
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.stored.size));
    tasks
}

fn sampled(catalog: &Catalog, chosen: &HashSet<ObjectHash>) -> Sampled {
    let sizes: BTreeMap<_, _> = catalog
        .packs
        .iter()
        .map(|(hash, copies)| (hash, copies.iter().map(|c| c.stored.size).sum::<u64>()))
        .collect();
    Sampled {
        packs: chosen.len() as u64,
        of_packs: sizes.len() as u64,
        bytes: sizes.iter().filter(|(hash, _)| chosen.contains(hash)).map(|(_, size)| size).sum(),
        of_bytes: sizes.values().sum(),
    }
}
