//! The deepest level: what all packs prove is compared with what all snapshots name.

use std::collections::BTreeMap;

use fardel_format::pack::PackKind;
use fardel_format::root::Root;
use fardel_format::{ChunkId, ObjectHash};

use super::Context;
use super::chains::{self, Chain};
use super::closures::Closures;
use super::findings::{Findings, class_of_read, format_error};
use super::frames::{LOST, Proven, SUSPECT, id_of, lost as lost_record, split_kind, word};
use super::needs::{Packs, manifest_key, pack_key};
use super::proof;
use super::report::Class;
use super::sorter::{Sorted, Sorter};
use super::structure::Walker;
use crate::index::ChunkIndex;
use crate::packs::{ChunkReader, PackReader};
use crate::snapshots::Sealed;
use crate::{Error, Result};

/// What of the content cannot be had.
pub struct Lost {
    /// Chunks that are named and in no pack: their ids.
    pub chunks: Sorted<SUSPECT>,
    /// Chunks that are named in a length that they do not have.
    pub misnamed: Vec<(ChunkId, u32)>,
    /// Snapshots that were walked to their end.
    pub snapshots: u64,
}

/// Walks all snapshots and proves what they name.
///
/// # Errors
/// When the store or a temporary file fails, or the user stops it.
pub fn prove(
    context: &Context<'_>,
    packs: &Packs,
    closures: &mut Closures<'_>,
    proven: &mut Proven,
    reader: &PackReader,
    findings: &mut Findings,
) -> Result<Lost> {
    let Context { repo, catalog, options, .. } = context;
    let mut index = ChunkIndex::for_reading(repo, catalog, reader)?;
    proven.add_runs(&mut index)?;
    let chunks = ChunkReader::new(repo, reader, &index)?;
    let mut lost = Sorter::new(&context.scratch, options.memory / 16);
    let (mut walked, mut misnamed) = (0, Vec::new());
    for snapshots in chains::sort(catalog, context.snapshots, closures, packs)? {
        let mut walker = Walker::new(&chunks, context.monitor, &context.scratch, options.memory / 4);
        let chain = Chain::new(catalog, snapshots, closures, packs)?;
        for (position, sealed) in chain.snapshots.iter().enumerate() {
            if let Some(root) = root(context, sealed, findings)? {
                let before = walker.nonsense.len();
                walker.walk(position as u32, root.sources.iter().map(|source| &source.node))?;
                walked += 1;
                for nonsense in &walker.nonsense[before..] {
                    let object = home(&index, catalog, sealed, nonsense.chunk.as_ref());
                    findings.mark_unmendable(&object);
                    findings.add(object, Class::Forged, &nonsense.why).costs.add_snapshot(sealed.id());
                }
            }
        }
        let (wants, _, nonsense) = walker.finish();
        if nonsense > 1000 {
            findings.note(format!(
                "{nonsense} parts of trees and maps are not well formed; the first 1000 are listed"
            ));
        }
        let unproven = proof::prove(&wants.finish()?, &proven.holdings, &chain, &mut lost)?;
        for (position, (count, pack)) in &unproven.outside {
            let sealed = chain.snapshots[*position as usize];
            let hash = packs.hash(*pack).map(ObjectHash::short).unwrap_or_default();
            let why = format!(
                "{count} chunks lie in packs that it does not name, such as {hash}: a collection could delete them"
            );
            findings.add(manifest_key(catalog, sealed), Class::Forged, why).costs.add_snapshot(sealed.id());
        }
        for (id, named, held) in &unproven.false_lengths {
            let why = format!("a map names it with {named} bytes, and it has {held}");
            findings.add(format!("chunk {id}"), Class::Forged, why);
            misnamed.push((*id, *named));
        }
        if unproven.false_length_count > unproven.false_lengths.len() as u64 {
            findings.note(format!(
                "{} chunks have another length than a map says; the first are listed",
                unproven.false_length_count
            ));
        }
    }
    Ok(Lost { chunks: lost.finish()?, misnamed, snapshots: walked })
}

fn root(context: &Context<'_>, sealed: &Sealed, findings: &mut Findings) -> Result<Option<Root>> {
    match context.repo.root(context.catalog, sealed) {
        Ok(root) => Ok(Some(root)),
        Err(Error::Store(error)) if class_of_read(&error).is_none() => Err(error.into()),
        Err(error) => {
            let key = root_key(context, sealed);
            let class = match (&error, format_error(&error)) {
                (Error::Store(error), _) => class_of_read(error).unwrap_or(Class::Corrupt),
                // Its hash was right, or it was found before.
                (_, Some(_)) => Class::Forged,
                _ => Class::Missing,
            };
            findings.add(key, class, error).costs.add_snapshot(sealed.id());
            Ok(None)
        }
    }
}

/// The key of a snapshot's root.
pub fn root_key(context: &Context<'_>, sealed: &Sealed) -> String {
    use fardel_format::names::{FanOut, Name};
    let hash = sealed.manifest.root.hash;
    let plain = || crate::catalog::key_of(&Name::Root(hash), FanOut::FLAT);
    context.catalog.roots.get(&hash).map_or_else(plain, |stored| stored.key.clone()).to_string()
}

/// The object that a part of a tree lies in.
fn home(
    index: &ChunkIndex,
    catalog: &crate::catalog::Catalog,
    sealed: &Sealed,
    chunk: Option<&ChunkId>,
) -> String {
    let location = chunk.and_then(|id| index.locate(id, PackKind::Meta));
    match location {
        Some(location) => pack_key(catalog, &location.pack.hash).to_string(),
        None => manifest_key(catalog, sealed),
    }
}

/// Finds out to which objects lost chunks belong: those that should hold them, else those of which nobody knows what they
/// hold, else a finding of their own. The result names findings by their place in `objects`.
///
/// # Errors
/// When a temporary file fails.
pub fn attribute(
    context: &Context<'_>,
    packs: &Packs,
    lost: &Lost,
    suspects: &Sorted<SUSPECT>,
    opaque: &[String],
    findings: &mut Findings,
    objects: &mut Vec<String>,
) -> Result<Sorted<LOST>> {
    let known = objects.iter().enumerate().map(|(number, object)| (object.clone(), number as u32));
    let mut numbers: BTreeMap<String, u32> = known.collect();
    let mut number_of = |object: String, objects: &mut Vec<String>| {
        *numbers.entry(object.clone()).or_insert_with(|| {
            objects.push(object);
            objects.len() as u32 - 1
        })
    };
    let mut sorter = Sorter::new(&context.scratch, context.options.memory / 16);
    let mut homeless: Option<(ChunkId, u64)> = None;
    for record in lost.chunks.iter() {
        let record = record?;
        let id = id_of(&record);
        let (kind, _) = split_kind(word(&record, 0));
        let mut homes = Vec::new();
        for suspected in suspects.find(&id.0)? {
            let (of, number) = split_kind(word(&suspected, 0));
            let key = packs.hash(number).map(|hash| pack_key(context.catalog, hash).to_string());
            homes.extend(key.filter(|_| of == kind));
        }
        if homes.is_empty() {
            homes.extend_from_slice(opaque);
        }
        if homes.is_empty() {
            let (first, count) = homeless.get_or_insert((id, 0));
            *count += 1;
            homes.push(format!("chunk {first}"));
        }
        for home in homes {
            sorter.push(lost_record(&id, kind, number_of(home, objects), 0))?;
        }
    }
    for (id, len) in &lost.misnamed {
        sorter.push(lost_record(id, PackKind::Data, number_of(format!("chunk {id}"), objects), *len))?;
    }
    if let Some((first, count)) = homeless {
        let others = if count > 1 { format!(" (and {} other chunks)", count - 1) } else { String::new() };
        findings.add(
            format!("chunk {first}"),
            Class::Missing,
            format!("it is in no pack that is here{others}"),
        );
    }
    sorter.finish()
}
