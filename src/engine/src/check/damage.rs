//! Finds out what damaged objects cost: first the snapshots, from what they need; then, with a key, the files and ranges.

use std::collections::HashMap;

use fardel_format::ObjectHash;
use fardel_format::names::Name;

use super::Context;
use super::closures::Closures;
use super::content::{self, Lost, root_key};
use super::costs::CostWalk;
use super::findings::Findings;
use super::frames::{SUSPECT, id_of, split_kind, suspect, word};
use super::needs::{Packs, manifest_key};
use super::proof::NOWHERE;
use super::report::Costs;
use super::segments;
use super::sorter::{Sorted, Sorter};
use crate::index::ChunkIndex;
use crate::packs::{ChunkReader, PackReader};
use crate::snapshots::Sealed;
use crate::{Error, Result};

/// Adds to every finding the snapshots that need its object. Whatever no snapshot needs is harmless.
///
/// # Errors
/// When the store fails.
pub fn blame_snapshots(
    context: &Context<'_>,
    packs: &Packs,
    closures: &mut Closures<'_>,
    findings: &mut Findings,
) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let mut damaged = damaged_packs(findings);
    // Of a pack that is sound only those are to blame who tell a false size.
    damaged.retain(|hash, keys| {
        let is_told = |key: &String| findings.get(key).is_some_and(|f| !f.costs.snapshots.is_empty());
        !packs.is_disputed(hash) || !keys.iter().any(is_told)
    });
    for sealed in &context.snapshots.sealed {
        for key in keys_of(context, sealed) {
            if let Some(finding) = findings.get_mut(&key) {
                finding.costs.add_snapshot(sealed.id());
            }
        }
        if damaged.is_empty() {
            continue;
        }
        for pack in closures.of(&manifest_key(context.catalog, sealed), &sealed.manifest)?.packs {
            for key in damaged.get(&pack.hash).into_iter().flatten() {
                findings.get_mut(key).into_iter().for_each(|finding| finding.costs.add_snapshot(sealed.id()));
            }
        }
    }
    findings.for_each(|finding| {
        let kind = Name::parse(&finding.object);
        if matches!(kind, Some(Name::Pack(..) | Name::List(_) | Name::Root(_)))
            && finding.costs.snapshots.is_empty()
        {
            finding.harmless = true;
            finding.why.push_str("; no snapshot needs it");
        }
    });
    Ok(())
}

/// The keys of a snapshot's own small objects.
fn keys_of(context: &Context<'_>, sealed: &Sealed) -> Vec<String> {
    let catalog = context.catalog;
    let lists = sealed.manifest.lists.iter().filter_map(|list| catalog.lists.get(&list.hash));
    let seal = catalog.seals.get(&(sealed.writer, sealed.name));
    let mut keys: Vec<_> = lists.chain(seal).map(|stored| stored.key.to_string()).collect();
    keys.extend([root_key(context, sealed), manifest_key(catalog, sealed)]);
    keys
}

fn damaged_packs(findings: &mut Findings) -> HashMap<ObjectHash, Vec<String>> {
    let mut damaged: HashMap<_, Vec<_>> = HashMap::new();
    findings.for_each(|finding| {
        if let Some(Name::Pack(hash, _)) = Name::parse(&finding.object) {
            damaged.entry(hash).or_default().push(finding.object.clone());
        }
    });
    damaged
}

/// What a level found out about chunks.
pub struct Evidence {
    /// Chunks of packs that are damaged, with the numbers of those packs.
    pub suspects: Sorter<SUSPECT>,
    /// Keys of packs of which nobody knows what they hold.
    pub opaque: Vec<String>,
    /// What is known to be lost; else it is found out by trying.
    pub lost: Option<Lost>,
}

/// Below [`super::Level::Data`] nobody has looked into the packs that are damaged: this does, as far as their tables can be
/// read.
///
/// # Errors
/// When a temporary file fails.
pub fn examine(
    context: &Context<'_>,
    packs: &Packs,
    reader: &PackReader,
    evidence: &mut Evidence,
    findings: &mut Findings,
) -> Result<()> {
    for (hash, keys) in damaged_packs(findings) {
        let (Some(number), Some(copies)) = (packs.number(&hash), context.catalog.packs.get(&hash)) else {
            evidence.opaque.extend(keys);
            continue;
        };
        let tables = copies.iter().map(|copy| reader.toc(&hash, copy.stored.size));
        match tables.into_iter().find_map(Result::ok) {
            Some(toc) if evidence.lost.is_none() => {
                for member in toc.frames.iter().flat_map(|(_, members)| members) {
                    evidence.suspects.push(suspect(&member.id, toc.kind, number))?;
                }
            }
            Some(_) => {}
            None => evidence.opaque.extend(keys),
        }
    }
    evidence.opaque.sort_unstable();
    evidence.opaque.dedup();
    Ok(())
}

/// Names the files and ranges that damaged packs cost.
///
/// # Errors
/// When the store or a temporary file fails, or the user stops it.
pub fn name_costs(
    context: &Context<'_>,
    packs: &Packs,
    closures: &mut Closures<'_>,
    reader: &PackReader,
    mut evidence: Evidence,
    findings: &mut Findings,
) -> Result<()> {
    let damaged = damaged_packs(findings);
    let is_nothing = |lost: &Lost| lost.chunks.is_empty() && lost.misnamed.is_empty();
    if damaged.is_empty() && evidence.lost.as_ref().is_none_or(is_nothing) {
        return Ok(());
    }
    let Context { repo, catalog, .. } = context;
    segments::suspects(
        repo,
        catalog,
        |hash| damaged.get(hash).and_then(|_| packs.number(hash)),
        &mut evidence.suspects,
    )?;
    let suspects = evidence.suspects.finish()?;
    let index = ChunkIndex::for_reading(repo, catalog, reader)?;
    let chunks = ChunkReader::new(repo, reader, &index)?;
    let candidates = evidence.lost.as_ref().map_or(&suspects, |lost| &lost.chunks);
    let unavailable = cannot_be_had(context, &index, &chunks, candidates)?;
    let misnamed = evidence.lost.map_or_else(Vec::new, |lost| lost.misnamed);
    let lost = Lost { chunks: unavailable, misnamed, snapshots: 0 };
    let mut objects: Vec<String> = damaged.values().flatten().cloned().collect();
    let own = objects.len();
    let lost =
        content::attribute(context, packs, &lost, &suspects, &evidence.opaque, findings, &mut objects)?;
    let opaque = objects
        .iter()
        .enumerate()
        .filter(|(_, o)| evidence.opaque.contains(o))
        .map(|(i, _)| i as u32)
        .collect();

    let memory = context.options.memory / 8;
    let scratch = &context.scratch;
    let mut walk =
        CostWalk::new(&chunks, context.monitor, &lost, (opaque, &index), objects.len(), scratch, memory);
    let everywhere = objects.len() > own;
    walk_all(context, closures, &mut walk, |pack| everywhere || damaged.contains_key(pack))?;
    let cut = walk.cut;
    if cut {
        findings.note("there is more that damage costs than can be listed");
    }
    fill_in(findings, objects.into_iter().zip(walk.finish()), cut);
    Ok(())
}

/// Walks every snapshot that rests on a pack of interest.
///
/// # Errors
/// When the store or a temporary file fails, or the user stops it.
pub fn walk_all(
    context: &Context<'_>,
    closures: &mut Closures<'_>,
    walk: &mut CostWalk<'_>,
    of_interest: impl Fn(&ObjectHash) -> bool,
) -> Result<()> {
    for sealed in &context.snapshots.sealed {
        let closure = closures.of(&manifest_key(context.catalog, sealed), &sealed.manifest)?;
        if !closure.packs.iter().any(|pack| of_interest(&pack.hash)) {
            continue;
        }
        match context.repo.root(context.catalog, sealed) {
            Ok(root) => {
                for source in &root.sources {
                    let path = source.path_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
                    walk.source(sealed.id(), &path, &source.node)?;
                }
            }
            Err(Error::Store(error)) if super::findings::class_of_read(&error).is_none() => {
                return Err(error.into());
            }
            // That is a finding of its own.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Those chunks that no pack gives back: what a restore would miss. They are tried in the order in which they lie in packs.
fn cannot_be_had(
    context: &Context<'_>,
    index: &ChunkIndex,
    chunks: &ChunkReader<'_>,
    candidates: &Sorted<SUSPECT>,
) -> Result<Sorted<SUSPECT>> {
    let memory = context.options.memory / 16;
    let (mut lost, mut placed) =
        (Sorter::new(&context.scratch, memory), Sorter::<76>::new(&context.scratch, memory));
    for record in candidates.iter() {
        let record = record?;
        let (id, (kind, _)) = (id_of(&record), split_kind(word(&record, 0)));
        let mut place = [0; 76];
        if let Some(location) = index.locate(&id, kind) {
            place[..32].copy_from_slice(&location.pack.hash.0);
            place[32..40].copy_from_slice(&location.frame.offset.to_be_bytes());
        }
        place[40..].copy_from_slice(&suspect(&id, kind, NOWHERE));
        placed.push(place)?;
    }
    for place in placed.finish()?.iter() {
        if context.monitor.interrupted() {
            return Err(Error::Interrupted);
        }
        let record = *place?.last_chunk::<SUSPECT>().expect("a place ends with a record");
        let (id, (kind, _)) = (id_of(&record), split_kind(word(&record, 0)));
        match chunks.get(&id, kind) {
            Ok(_) => {}
            Err(Error::Store(error)) if super::findings::class_of_read(&error).is_none() => {
                return Err(error.into());
            }
            Err(_) => lost.push(record)?,
        }
    }
    lost.finish()
}

fn fill_in(findings: &mut Findings, costs: impl Iterator<Item = (String, Costs)>, cut: bool) {
    for (object, costs) in costs {
        let mends = !findings.is_unmendable(&object);
        let Some(finding) = findings.get_mut(&object) else { continue };
        // The walk saw only a part of the snapshots, or looked only for what is lost.
        if cut || !mends {
            costs.snapshots.into_iter().for_each(|id| finding.costs.add_snapshot(id));
            (finding.costs.paths, finding.costs.more_paths) = (costs.paths, costs.more_paths);
            continue;
        }
        if costs.paths.is_empty() && !finding.harmless {
            finding.why.push_str("; every file can still be had");
        }
        finding.costs = costs;
    }
}
