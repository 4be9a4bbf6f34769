//! What the loss of one object would cost, told before it is lost.

use std::collections::{BTreeSet, HashSet};

use fardel_format::names::{FanOut, Name, Numbered};
use fardel_format::signers::{Record, Registry};
use fardel_format::tomb::{Takes, Tomb};
use fardel_format::{ObjectHash, SnapshotId};

use super::closures::Closures;
use super::costs::CostWalk;
use super::damage::walk_all;
use super::findings::Findings;
use super::frames::{LOST, SUSPECT, id_of, lost, split_kind, suspect, word};
use super::needs::{self, manifest_key};
use super::report::{Costs, Impact};
use super::sorter::{Scratch, Sorted, Sorter};
use super::{CheckOptions, Context, segments};
use crate::catalog::{Catalog, key_of};
use crate::index::ChunkIndex;
use crate::monitor::Monitor;
use crate::packs::{ChunkReader, PackReader};
use crate::repository::Repository;
use crate::snapshots::{Sealed, Snapshots};
use crate::{Error, Result};

/// What the loss of this object would cost: a key, a hash, or an unambiguous beginning of a hash.
///
/// # Errors
/// [`Error::NotFound`] when there is no such object; when the store fails.
pub fn impact(repo: &Repository, catalog: &Catalog, object: &str, monitor: &dyn Monitor) -> Result<Impact> {
    let snapshots = Snapshots::load_for_reading(repo, catalog)?;
    let options = CheckOptions::default();
    let scratch = Scratch::new(repo.cache());
    let context = Context { repo, catalog, options: &options, monitor, snapshots: &snapshots, scratch };
    let mut closures = Closures::new(repo, catalog, options.memory / 8);
    let packs = needs::gather(catalog, &snapshots, &mut closures, &HashSet::new(), &mut Findings::default())?;
    let (name, key) = find(catalog, packs.gone(), object)?;
    let mut impact = Impact { object: key, ..Impact::default() };
    let all = || costs(snapshots.sealed.iter());
    match name {
        Name::Pack(hash, _) => pack(&context, &mut closures, &hash, &mut impact)?,
        Name::Root(hash) => {
            impact.costs = costs(snapshots.sealed.iter().filter(|s| s.manifest.root.hash == hash));
            impact.meaning = "a snapshot's root: without it nobody knows what the snapshot holds".into();
        }
        Name::List(hash) => {
            impact.costs = costs(
                snapshots.sealed.iter().filter(|s| s.manifest.lists.iter().any(|list| list.hash == hash)),
            );
            impact.meaning = "a list of packs: its snapshots can still be restored, but not proved to be whole, nor copied".into();
        }
        Name::Manifest(writer, n) | Name::Seal(writer, n) => {
            impact.costs = costs(snapshots.sealed.iter().filter(|s| (s.writer, s.name) == (writer, n)));
            impact.meaning = "a snapshot is its manifest and its seal: without either there is none".into();
        }
        Name::Signers(n) | Name::SignersSig(n) => {
            let registry = registry_without(repo, catalog, &n)?;
            impact.costs =
                costs(snapshots.sealed.iter().filter(|s| registry.get_even_removed(&s.writer).is_none()));
            impact.meaning =
                "a record of signers: snapshots of signers that only it names count no more".into();
        }
        Name::Tomb(writer, n) | Name::TombSig(writer, n) => {
            impact.meaning = tomb(&context, &writer, &n)?;
        }
        Name::Card => {
            impact.costs = all();
            impact.meaning =
                "the card: without it this is no repository; every copy holds the same bytes".into();
        }
        Name::Keys(_) => keys(catalog, &mut impact, all),
        Name::Index(_) => impact.meaning = "an index segment: nothing, it is made again from packs".into(),
        Name::Intent(_) => {
            impact.meaning =
                "an intent of a replication that runs or was interrupted: no snapshot needs it".into()
        }
        Name::Ack(..) => impact.meaning = "an acknowledgement of a copy: no snapshot needs it".into(),
    }
    Ok(impact)
}

fn costs<'a>(snapshots: impl Iterator<Item = &'a Sealed>) -> Costs {
    let mut costs = Costs::default();
    snapshots.for_each(|sealed| costs.add_snapshot(sealed.id()));
    costs
}

/// Finds the object, also among packs that are gone.
fn find(catalog: &Catalog, gone: &[ObjectHash], text: &str) -> Result<(Name, String)> {
    let none =
        || Error::NotFound(format!("there is no object {text}: give a key, or the beginning of a hash"));
    let is_hash = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let gone = gone
        .iter()
        .map(|hash| Name::Pack(*hash, None))
        .map(|name| (key_of(&name, FanOut::FLAT).to_string(), name));
    let here = catalog.objects().map(|(name, stored)| (stored.key.to_string(), name));
    let mut found: Option<(Name, String)> = None;
    let mut hashes = BTreeSet::new();
    for (key, name) in here.chain(gone) {
        if key == text {
            return Ok((name, key));
        }
        let hash = match &name {
            Name::Seal(_, n) | Name::SignersSig(n) | Name::TombSig(_, n) => Some(n.hash),
            other => other.content_hash(),
        };
        let Some(hash) = hash.filter(|hash| is_hash && hash.to_string().starts_with(text)) else { continue };
        hashes.insert(hash);
        // Of a signed object and its signature the object itself.
        if found.is_none() || name.content_hash().is_some() {
            found = Some((name, key));
        }
    }
    if hashes.len() > 1 {
        return Err(Error::NotFound(format!("{text} is the beginning of several objects: give more digits")));
    }
    // A pack that was asked for under another generation or fan-out.
    if found.is_none()
        && let Some(Name::Pack(hash, _)) = Name::parse(text)
    {
        return if catalog.packs.contains_key(&hash) {
            find(catalog, &[], &hash.to_string())
        } else {
            Err(none())
        };
    }
    found.ok_or_else(none)
}

fn pack(
    context: &Context<'_>,
    closures: &mut Closures<'_>,
    hash: &ObjectHash,
    impact: &mut Impact,
) -> Result<()> {
    let Context { repo, catalog, snapshots, .. } = context;
    for sealed in &snapshots.sealed {
        let closure = closures.of(&manifest_key(catalog, sealed), &sealed.manifest)?;
        if closure.packs.iter().any(|pack| pack.hash == *hash) {
            impact.costs.add_snapshot(sealed.id());
        }
    }
    if impact.costs.snapshots.is_empty() {
        impact.meaning = "a pack that no snapshot needs".into();
        return Ok(());
    }
    impact.meaning = "a pack of chunks; the snapshots named rest on it".into();
    if !repo.keys().can_read {
        impact.notes.push("with a key that reads, this names the files and byte ranges too".into());
        return Ok(());
    }
    let reader = PackReader::new(repo, catalog);
    let index = ChunkIndex::for_reading(repo, catalog, &reader)?;
    let chunks = ChunkReader::new(repo, &reader, &index)?;
    let (members, known) = members(context, &reader, hash)?;
    if !known {
        impact.notes.push("neither the pack nor an index segment tells what lay in it: chunks that are nowhere count as its own".into());
    }
    let lost = nowhere_else(context, &reader, hash, &members)?;
    let opaque = if known { Vec::new() } else { vec![0] };
    let memory = context.options.memory / 8;
    let mut walk =
        CostWalk::new(&chunks, context.monitor, &lost, (opaque, &index), 1, &context.scratch, memory);
    walk_all(context, closures, &mut walk, |pack| pack == hash)?;
    let cut = walk.cut;
    let walked = walk.finish().pop().unwrap_or_default();
    if cut {
        impact.notes.push("there is more than can be listed".into());
        (impact.costs.paths, impact.costs.more_paths) = (walked.paths, walked.more_paths);
        return Ok(());
    }
    if walked.paths.is_empty() {
        impact.meaning = "a pack of chunks that are all in other packs too, or that no snapshot names: nothing is lost with it".into();
    } else if walked.paths.iter().any(|cost| cost.folder) {
        impact.meaning = "a pack of trees and maps: without it the folders named cannot be read".into();
    }
    impact.costs = walked;
    Ok(())
}

/// The chunks of a pack, by its own table or by what index segments say; whether anything is known of them.
fn members(context: &Context<'_>, reader: &PackReader, hash: &ObjectHash) -> Result<(Sorted<SUSPECT>, bool)> {
    let mut sorter = Sorter::new(&context.scratch, context.options.memory / 16);
    let copies = context.catalog.packs.get(hash).into_iter().flatten();
    match copies.map(|copy| reader.toc(hash, copy.stored.size)).find_map(Result::ok) {
        Some(toc) => {
            for member in toc.frames.iter().flat_map(|(_, members)| members) {
                sorter.push(suspect(&member.id, toc.kind, 0))?;
            }
        }
        None => segments::suspects(
            context.repo,
            context.catalog,
            |found| (found == hash).then_some(0),
            &mut sorter,
        )?,
    }
    let members = sorter.finish()?;
    let known = !members.is_empty();
    Ok((members, known))
}

/// Those that no other pack says it holds; what index segments say of others could be false comfort.
fn nowhere_else(
    context: &Context<'_>,
    reader: &PackReader,
    hash: &ObjectHash,
    members: &Sorted<SUSPECT>,
) -> Result<Sorted<LOST>> {
    let mut sorter = Sorter::new(&context.scratch, context.options.memory / 16);
    for record in members.iter() {
        let record = record?;
        let (id, (kind, _)) = (id_of(&record), split_kind(word(&record, 0)));
        if reader.search(&id, kind)?.iter().all(|place| place.pack.hash == *hash) {
            sorter.push(lost(&id, kind, 0, 0))?;
        }
    }
    sorter.finish()
}

fn registry_without(repo: &Repository, catalog: &Catalog, without: &Numbered) -> Result<Registry> {
    let mut records = Vec::new();
    for (name, stored) in catalog.signers.iter().filter(|(name, _)| *name != without) {
        let Some(signature) = catalog.signer_sigs.get(name) else { continue };
        let (bytes, signature) = (repo.small(stored)?, repo.small_text(signature)?);
        let root = &repo.card().root_public_key;
        records.extend(
            Record::from_bytes(&bytes, &signature, repo.id(), name, root).ok().map(|record| (*name, record)),
        );
    }
    Ok(Registry::from_records(records))
}

fn tomb(context: &Context<'_>, writer: &fardel_format::WriterId, name: &Numbered) -> Result<String> {
    let Context { repo, catalog, snapshots, .. } = context;
    let id = (*writer, *name);
    let (Some(stored), Some(signature)) = (catalog.tombs.get(&id), catalog.tomb_sigs.get(&id)) else {
        return Ok("one half of a tomb: without the other it takes nothing away".into());
    };
    let Some(signer) = snapshots.registry.get(writer) else {
        return Ok("a tomb of no known signer: it takes nothing away".into());
    };
    let (bytes, signature) = (repo.small(stored)?, repo.small_text(signature)?);
    let Ok(tomb) = Tomb::from_bytes(&bytes, &signature, repo.id(), name, &signer.public_key) else {
        return Ok("a tomb that does not verify: it takes nothing away".into());
    };
    Ok(match tomb.takes {
        Takes::Forget { snapshots, .. } => forgotten(&snapshots),
        Takes::MergedForgets { forgets, .. } => {
            forgotten(&forgets.into_iter().flat_map(|forget| forget.snapshots).collect::<Vec<_>>())
        }
        Takes::Condemn { packs, .. } => {
            format!("a tomb: {} condemned packs would be trusted again", packs.len())
        }
        Takes::Pin { snapshots } => format!("a pin: {} snapshots could be forgotten", snapshots.len()),
        Takes::Unpin { pins } => format!("a tomb: {} pins would hold again", pins.len()),
        Takes::Revoke { names } => {
            format!("a tomb: {} revoked manifests or intents would count again", names.len())
        }
    })
}

fn forgotten(snapshots: &[SnapshotId]) -> String {
    let short: Vec<_> = snapshots.iter().take(5).map(SnapshotId::short).collect();
    format!("a tomb: {} forgotten snapshots could come back ({}…)", snapshots.len(), short.join(", "))
}

fn keys(catalog: &Catalog, impact: &mut Impact, all: impl Fn() -> Costs) {
    let others = catalog.keys.len().saturating_sub(1);
    impact.meaning = match others {
        0 => "the last key file: only hosts that keep the keys themselves could read on".into(),
        _ => format!(
            "a key file: whoever opens the repository through it opens nothing any more; {others} others remain"
        ),
    };
    if others == 0 {
        impact.costs = all();
    }
}
