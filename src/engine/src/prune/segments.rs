//! Merges index segments: hints that can be made again at any time.
//!
//! Only what this host signed itself can be signed anew; segments of others go when all their packs are gone.

use std::collections::HashSet;

use fardel_format::names::Name;
use fardel_format::segment::{self, View};
use fardel_format::{Error as FormatError, ObjectHash, age_file};
use fardel_store::ErrorKind;

use crate::catalog::{Catalog, Stored, key_of};
use crate::commit::signer;
use crate::index::MAX_SEGMENT;
use crate::index::merge::merge;
use crate::repository::Repository;
use crate::{Error, Result};

/// As long as there are no more, nothing is done.
const MANY: usize = 32;
/// Stored bytes that are merged into one at most.
const TOGETHER: u64 = MAX_SEGMENT / 2;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Segments that were deleted.
    pub deleted: u64,
    /// Segments that were put.
    pub put: u64,
    /// Bytes of those.
    pub bytes: u64,
}

/// Merges the segments, if they are many. What they know of packs that are gone is left out.
///
/// # Errors
/// When the store fails.
pub fn merge_all(repo: &Repository) -> Result<Merged> {
    let mut merged = Merged::default();
    let index = Catalog::load_prefix(repo.store(), "index/")?.index;
    if index.len() <= MANY {
        return Ok(merged);
    }
    let packs = Catalog::load_prefix(repo.store(), "packs/")?;
    let catalog = &Catalog { index, ..packs };
    let mut segments: Vec<_> = catalog.index.iter().filter(|(_, stored)| stored.size <= TOGETHER).collect();
    segments.sort_by_key(|(_, stored)| stored.size);
    let mut segments = segments.into_iter().peekable();
    while segments.peek().is_some() {
        let (mut group, mut bytes) = (Vec::new(), 0);
        while let Some((_, stored)) = segments.peek()
            && (group.is_empty() || bytes + stored.size <= TOGETHER)
        {
            bytes += stored.size;
            group.extend(segments.next());
        }
        merge_group(repo, catalog, &group, &mut merged)?;
    }
    Ok(merged)
}

fn merge_group(
    repo: &Repository,
    catalog: &Catalog,
    group: &[(&ObjectHash, &Stored)],
    merged: &mut Merged,
) -> Result<()> {
    let is_here = |pack: &segment::SegmentPack| catalog.whole_pack(&pack.hash, pack.size).is_some();
    let own_key = signer(repo)?.signing.public();
    let (mut own, mut old, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    let read = |(hash, stored): &(&ObjectHash, &_)| open(repo, hash, stored);
    repo.store().for_many(group, read, |(_, stored), plain| {
        let Some(plain) = plain? else { return Ok(()) };
        let Ok((key, plain)) = segment::open_signed(&plain, repo.id()) else { return Ok(()) };
        let Ok(view) = View::new(plain) else { return Ok(()) };
        if key == *own_key {
            own.push(plain.to_vec());
            old.push(*stored);
        } else if (0..view.counts().packs).all(|i| view.pack(i).is_ok_and(|pack| !is_here(&pack))) {
            gone.push(*stored);
        }
        Ok::<_, Error>(())
    })?;
    delete_all(repo, &gone, merged)?;
    if old.len() < 2 {
        return Ok(());
    }
    let damaged = |e| Error::object("an index segment", e);
    let views = own.iter().map(|plain| View::new(plain)).collect::<Result<Vec<_>, _>>().map_err(damaged)?;
    let (mut seen, mut plain) = (HashSet::new(), Vec::new());
    merge(&views, |pack| is_here(pack) && seen.insert(pack.hash), &mut plain)
        .map_err(|e| Error::Damaged(format!("index: {e}")))?;
    if !seen.is_empty() {
        put(repo, catalog, &plain, merged)?;
    }
    delete_all(repo, &old, merged)
}

/// What the store keeps on purpose is there twice: no harm.
fn delete_all(repo: &Repository, segments: &[&Stored], merged: &mut Merged) -> Result<()> {
    let delete = |stored: &&Stored| repo.store().delete(&stored.key);
    repo.store().for_many(segments, delete, |_, deleted| match deleted {
        Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Locked) => Ok(()),
        other => {
            merged.deleted += 1;
            Ok(other?)
        }
    })
}

/// The plain bytes; `None` for what this host cannot use, or what is gone.
fn open(repo: &Repository, hash: &ObjectHash, stored: &Stored) -> Result<Option<Vec<u8>>> {
    let bytes = match repo.store().get(&stored.key) {
        Ok(bytes) => bytes,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if ObjectHash::of(&bytes) != *hash {
        return Ok(None);
    }
    match age_file::decrypt("an index segment", &bytes, &repo.keys().index_readers, MAX_SEGMENT) {
        Ok(plain) => Ok(Some(plain)),
        Err(FormatError::WrongKey { .. } | FormatError::Damaged { .. }) => Ok(None),
        Err(error) => Err(Error::object(&stored.key, error)),
    }
}

fn put(repo: &Repository, catalog: &Catalog, plain: &[u8], merged: &mut Merged) -> Result<()> {
    let host = signer(repo)?;
    let damaged = |e| Error::object("an index segment", e);
    let own = age_file::recipient_of(&host.own).map_err(damaged)?;
    let mut readers = age_file::Recipients::x25519(&host.epoch).map_err(damaged)?;
    readers.push_x25519(&own).map_err(damaged)?;
    let signed = segment::sign(plain, repo.id(), &host.signing).map_err(damaged)?;
    let stored = age_file::encrypt(&signed, &readers).map_err(damaged)?;
    let name = Name::Index(ObjectHash::of(&stored));
    merged.put += 1;
    merged.bytes += stored.len() as u64;
    repo.store().put_same(&key_of(&name, Catalog::fan_out(catalog.index.len())), stored)?;
    Ok(())
}
