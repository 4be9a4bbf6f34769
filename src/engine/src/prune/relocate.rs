//! Writes chunks anew, and tells of snapshots anew: a writer that seals superseding manifests.
//!
//! 1. Put packs with every wanted chunk of the packs that are to go. What those hold is read from their own tables, never
//!    believed of an index.
//! 2. For each snapshot that rests on one of them: put a manifest that rests on the new packs instead.
//! 3. List tombs, *then* packs; put the seals; list tombs: as for any other snapshot.
//!
//! A pack of which anything cannot be read stays as it is.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::mpsc::{self, Receiver, SyncSender};

use fardel_format::ObjectHash;
use fardel_format::frame::{self, Decompressor, Frame, Member};
use fardel_format::pack::PackKind;
use fardel_format::pack_list::PackEntry;
use fardel_format::root::Root;

use super::choose::Batch;
use super::survey::Survey;
use super::usage::Wants;
use crate::commit::{self, Outcome, Unpublished};
use crate::index::ChunkIndex;
use crate::monitor::Monitor;
use crate::packs::{PackReader, Packer, PackerOptions};
use crate::repository::Repository;
use crate::snapshots::Sealed;
use crate::{Error, Result};

/// Manifests that are published together: their packs are held meanwhile.
const TOGETHER: usize = 64;

/// So many frames are read ahead.
const AHEAD: usize = 4;

/// Where chunks lie now.
#[derive(Default)]
pub struct Moved {
    /// Of each pack that may go: in which of the batches its chunks lie now.
    from: HashMap<ObjectHash, usize>,
    batches: Vec<Vec<PackEntry>>,
    /// Packs that could not be read whole, and why.
    pub unreadable: Vec<(ObjectHash, String)>,
    /// Packs that were read.
    pub packs_read: u64,
    /// New packs.
    pub packs_written: u64,
    /// Bytes stored for them.
    pub bytes_stored: u64,
}

/// Writes every wanted chunk of these packs into new ones.
///
/// # Errors
/// When the store fails as a whole, or the user stops it.
pub fn rewrite(
    repo: &Repository,
    survey: &Survey,
    wants: &Wants,
    batches: &[Batch],
    reader: &PackReader,
    packer: PackerOptions,
    monitor: &dyn Monitor,
) -> Result<Moved> {
    let going: HashSet<_> = batches.iter().flatten().map(|pack| pack.hash).collect();
    let index = ChunkIndex::for_writing(repo, &survey.catalog, &survey.snapshots, &going, reader)?;
    let index = index.condensed(repo.cache())?;
    let mut packer = Packer::start(repo, &survey.catalog, index, packer, false)?;
    let mut moved = Moved::default();
    let counters = monitor.counters();
    counters.set_total(going.len() as u64, batches.iter().flatten().map(|pack| pack.size).sum());
    let source = PackSource { repo, wants, reader, monitor };
    std::thread::scope(|scope| {
        // What comes next is read while what was read is put.
        let (send, hear) = mpsc::sync_channel(AHEAD);
        scope.spawn(move || source.read_all(batches.iter().flatten(), &send));
        for batch in batches {
            let number = moved.batches.len();
            for pack in batch {
                match put_pack(&hear, &mut packer) {
                    Ok(Ok(())) => drop(moved.from.insert(pack.hash, number)),
                    Ok(Err(error)) if error.is_damage() => {
                        let why = format!("{}: {error}", reader.key(&pack.hash));
                        moved.unreadable.push((pack.hash, why));
                    }
                    Ok(Err(error)) | Err(error) => {
                        packer.keep_finished();
                        return Err(error);
                    }
                }
                moved.packs_read += 1;
                counters.done(1, pack.size);
            }
            let packed = packer.take()?;
            moved.packs_written += packed.packs.len() as u64;
            moved.bytes_stored += packed.bytes_stored;
            moved.batches.push(packed.packs.into_iter().chain(packed.reused).collect());
        }
        Ok(moved)
    })
}

/// What is read of the packs, one pack after the other.
enum Read {
    /// Wanted chunks of a frame, each verified against its id.
    Chunks { kind: PackKind, plain: Vec<u8>, wanted: Vec<Member> },
    /// The same of a frame that is full and of which all is wanted, with the frame as it is stored.
    Frame { kind: PackKind, plain: Vec<u8>, stored: Frame },
    /// A pack ends, whole or not.
    End(Result<()>),
}

/// Puts what is read of a pack, and tells how its reading ended.
///
/// # Errors
/// When something cannot be stored: whatever came next could not, either.
fn put_pack(hear: &Receiver<Read>, packer: &mut Packer) -> Result<Result<()>> {
    loop {
        match hear.recv().map_err(|_| Error::Interrupted)? {
            Read::End(ended) => return Ok(ended),
            Read::Chunks { kind, plain, wanted } => put_chunks(packer, kind, &plain, &wanted)?,
            Read::Frame { kind, plain, stored } => {
                let members = stored.members.clone();
                if !packer.put_frame(kind, stored)? {
                    put_chunks(packer, kind, &plain, &members)?;
                }
            }
        }
    }
}

fn put_chunks(packer: &mut Packer, kind: PackKind, plain: &[u8], wanted: &[Member]) -> Result<()> {
    wanted.iter().try_for_each(|member| {
        let chunk = frame::chunk(plain, member).map_err(|e| Error::object("a frame", e))?;
        packer.put_verified(kind, member.id, chunk)
    })
}

/// Where packs are read, and what is wanted of them.
struct PackSource<'a> {
    repo: &'a Repository,
    wants: &'a Wants,
    reader: &'a PackReader,
    monitor: &'a dyn Monitor,
}

impl PackSource<'_> {
    /// Reads them until nobody wants to hear more.
    fn read_all<'p>(&self, packs: impl Iterator<Item = &'p PackEntry>, send: &SyncSender<Read>) {
        for pack in packs {
            let ended = self.read(pack, send);
            if send.send(Read::End(ended)).is_err() {
                return;
            }
        }
    }

    fn read(&self, pack: &PackEntry, send: &SyncSender<Read>) -> Result<()> {
        let toc = self.reader.toc(&pack.hash, pack.size)?;
        let chunk_key = &self.repo.chunk_keys()?.chunk;
        let damaged = |e| Error::object(self.reader.key(&pack.hash), e);
        let mut decompressor = Decompressor::new().map_err(damaged)?;
        for (span, members) in &toc.frames {
            if self.monitor.interrupted() {
                return Err(Error::Interrupted);
            }
            let mut wanted = Vec::new();
            for member in members {
                if self.wants.want(&member.id, toc.kind)? {
                    wanted.push(*member);
                }
            }
            if wanted.is_empty() {
                continue;
            }
            let stored = self.reader.read(&pack.hash, pack.size, &span.range())?;
            let mut plain = Vec::new();
            decompressor.frame(&stored, span.plain, &mut plain).map_err(damaged)?;
            for member in &wanted {
                let chunk = frame::chunk(&plain, member).map_err(damaged)?;
                if chunk_key.id(chunk) != member.id {
                    let id = member.id.short();
                    return Err(Error::Damaged(format!("chunk {id} is not what its id says")));
                }
            }
            let kind = toc.kind;
            let is_whole = wanted.len() == members.len()
                && plain.len() >= frame::TARGET / 2
                && frame::check_members(&plain, members).is_ok();
            let read = match is_whole {
                true => {
                    let stored = Frame { bytes: stored, plain_len: span.plain, members: wanted };
                    Read::Frame { kind, plain, stored }
                }
                false => Read::Chunks { kind, plain, wanted },
            };
            send.send(read).map_err(|_| Error::Interrupted)?;
        }
        Ok(())
    }
}

impl Moved {
    /// Whether every wanted chunk of this pack lies elsewhere now.
    pub fn has(&self, pack: &ObjectHash) -> bool {
        self.from.contains_key(pack)
    }

    /// What a snapshot rests on now, if it rested on anything that moved.
    fn closure(&self, before: &[PackEntry]) -> Option<Vec<PackEntry>> {
        let (gone, stay): (Vec<_>, Vec<_>) =
            before.iter().copied().partition(|pack| self.from.contains_key(&pack.hash));
        if gone.is_empty() {
            return None;
        }
        let batches: BTreeSet<_> = gone.iter().map(|pack| self.from[&pack.hash]).collect();
        let mut closure: BTreeSet<_> = stay.into_iter().collect();
        closure.extend(batches.into_iter().flat_map(|batch| &self.batches[batch]));
        Some(closure.into_iter().collect())
    }
}

/// A snapshot of which is told anew.
pub struct Retold<'a> {
    /// As it is told now.
    pub sealed: &'a Sealed,
    /// The root, when it is to be stored anew.
    pub root: Option<Root>,
    /// Tombs despite which it stands.
    pub despite: Vec<ObjectHash>,
    /// Whether it is told anew even when nothing of it moved.
    pub always: bool,
}

impl<'a> Retold<'a> {
    /// Only where its packs lie is told anew.
    #[must_use]
    pub fn moved(sealed: &'a Sealed) -> Self {
        Self { sealed, root: None, despite: Vec::new(), always: false }
    }
}

/// What came of it.
#[derive(Default)]
pub struct Told {
    /// What exists now.
    pub published: Vec<Sealed>,
    /// Snapshots of which collectors took something away meanwhile: they are as they were.
    pub left: Vec<Sealed>,
}

/// Seals manifests that tell what snapshots need now.
///
/// # Errors
/// When the store fails: then each of them is told of in the old or the new way.
pub fn tell<'a>(
    repo: &Repository,
    survey: &Survey,
    moved: &Moved,
    snapshots: impl IntoIterator<Item = Retold<'a>>,
    monitor: &dyn Monitor,
) -> Result<Told> {
    let mut told = Told::default();
    let mut waiting = Vec::new();
    for one in snapshots {
        if monitor.interrupted() {
            break;
        }
        let sealed = one.sealed;
        match put_anew(repo, survey, moved, one) {
            Ok(unpublished) => waiting.extend(unpublished.map(|new| (sealed, new))),
            // It was forgotten and swept meanwhile.
            Err(error) if error.is_gone() => told.left.push(sealed.clone()),
            Err(error) => return Err(error),
        }
        if waiting.len() >= TOGETHER {
            told.publish(repo, std::mem::take(&mut waiting))?;
        }
    }
    told.publish(repo, waiting)?;
    if monitor.interrupted() { Err(Error::Interrupted) } else { Ok(told) }
}

impl Told {
    fn publish(&mut self, repo: &Repository, waiting: Vec<(&Sealed, Unpublished<'_>)>) -> Result<()> {
        let (old, new): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        for (sealed, outcome) in old.into_iter().zip(commit::publish_all(repo, new)?) {
            match outcome {
                Outcome::Published(new) => self.published.push(*new),
                Outcome::Lost(_) | Outcome::Revoked => self.left.push(sealed.clone()),
            }
        }
        Ok(())
    }
}

/// Puts the manifest that tells of this snapshot anew, unless nothing of it moved.
fn put_anew<'a>(
    repo: &'a Repository,
    survey: &'a Survey,
    moved: &Moved,
    one: Retold<'_>,
) -> Result<Option<Unpublished<'a>>> {
    let Retold { sealed, root, despite, always } = one;
    let tombs = &survey.snapshots.tombs;
    let before = repo.closure(&survey.catalog, &sealed.manifest)?;
    let closure = match moved.closure(&before) {
        Some(closure) => closure,
        None if always => before,
        None => return Ok(None),
    };
    let root = match root {
        None if tombs.condemns_other(&sealed.manifest.root.hash) => Some(repo.root(&survey.catalog, sealed)?),
        root => root,
    };
    commit::supersede(repo, &survey.catalog, tombs, sealed, closure, root.as_ref(), &despite).map(Some)
}
