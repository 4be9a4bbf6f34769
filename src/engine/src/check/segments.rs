//! Index segments: signed hints, compared with what the packs themselves say.

use fardel_format::frame::Member;
use fardel_format::segment::{self, Record, View};
use fardel_format::sign::PublicKey;
use fardel_format::{Error as FormatError, ObjectHash, age_file};

use super::findings::Findings;
use super::frames::{SUSPECT, digest, suspect};
use super::needs::Packs;
use super::report::Class;
use super::seals::small;
use super::sorter::Sorter;
use crate::Result;
use crate::catalog::{Catalog, Stored};
use crate::index::MAX_SEGMENT;
use crate::repository::Repository;
use crate::snapshots::Snapshots;

/// Calls `each` with every segment that can be opened, one in memory at a time; `failed` learns of the others.
///
/// # Errors
/// When the store fails, or `each` does.
pub fn for_each(
    repo: &Repository,
    catalog: &Catalog,
    mut each: impl FnMut(&Stored, &PublicKey, View<'_>) -> Result<()>,
    mut failed: impl FnMut(&Stored, Failed),
) -> Result<()> {
    for (hash, stored) in &catalog.index {
        if stored.size > segment::MAX_SIZE {
            failed(stored, Failed::Wrong(Class::Corrupt, "it is larger than any segment".into()));
            continue;
        }
        if stored.size > MAX_SEGMENT {
            failed(stored, Failed::Large);
            continue;
        }
        let bytes = match read(repo, stored)? {
            Ok(bytes) => bytes,
            Err((class, why)) => {
                failed(stored, Failed::Wrong(class, why));
                continue;
            }
        };
        if ObjectHash::of(&bytes) != *hash {
            failed(stored, Failed::Wrong(Class::Corrupt, "its hash differs from its name".into()));
            continue;
        }
        let plain = age_file::decrypt("an index segment", &bytes, &repo.keys().index_readers, MAX_SEGMENT);
        drop(bytes);
        let plain = match plain {
            Ok(plain) => plain,
            Err(FormatError::WrongKey { .. }) => {
                failed(stored, Failed::Shut);
                continue;
            }
            Err(error) => {
                failed(stored, Failed::Wrong(Class::Forged, error.to_string()));
                continue;
            }
        };
        match segment::open_signed(&plain, repo.id())
            .and_then(|(key, segment)| Ok((key, View::new(segment)?)))
        {
            Ok((key, view)) => each(stored, &key, view)?,
            Err(error) => failed(stored, Failed::Wrong(Class::Forged, error.to_string())),
        }
    }
    Ok(())
}

/// Why a segment says nothing.
pub enum Failed {
    /// No key at hand opens it.
    Shut,
    /// It is larger than readers take, so that nobody uses it.
    Large,
    /// It is damaged.
    Wrong(Class, String),
}

fn read(repo: &Repository, stored: &Stored) -> Result<Result<Vec<u8>, (Class, String)>> {
    if stored.size <= 4 << 20 {
        return small(repo, stored);
    }
    match repo.store().get(&stored.key) {
        Ok(bytes) => Ok(Ok(bytes.into())),
        Err(error) => match super::findings::class_of_read(&error) {
            Some(class) => Ok(Err((class, error.to_string()))),
            None => Err(error.into()),
        },
    }
}

/// What became of a segment costs nothing: readers and writers do without it.
const HINT: &str = "; an index segment is a hint, nothing is lost with it";

/// Compares every segment with the tables of the packs that it speaks of.
///
/// # Errors
/// When the store fails.
pub fn compare(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &Snapshots,
    packs: &Packs,
    digests: &[Option<[u8; 32]>],
    findings: &mut Findings,
) -> Result<()> {
    let (mut shut, mut large) = (0u64, 0u64);
    let mut found: Vec<(String, Class, String)> = Vec::new();
    let mut wrong = Vec::new();
    for_each(
        repo,
        catalog,
        |stored, key, view| {
            if snapshots.registry.get_even_removed(&key.writer()).is_none() {
                found.push((
                    stored.key.to_string(),
                    Class::Forged,
                    format!("{} is no known signer", key.writer()),
                ));
            }
            match lies(&view, catalog, packs, digests) {
                Ok(None) => {}
                Ok(Some(why)) => found.push((stored.key.to_string(), Class::Forged, why)),
                Err(error) => found.push((stored.key.to_string(), Class::Forged, error.to_string())),
            }
            Ok(())
        },
        |stored, failed| match failed {
            Failed::Shut => shut += 1,
            Failed::Large => large += 1,
            Failed::Wrong(class, why) => wrong.push((stored.key.to_string(), class, why)),
        },
    )?;
    for (object, class, why) in found.into_iter().chain(wrong) {
        findings.add(object, class, why + HINT).harmless = true;
    }
    if large > 0 {
        findings.note(format!("{large} index segments are larger than anybody reads, and were not compared"));
    }
    if shut > 0 {
        findings.note(format!(
            "{shut} index segments are shut for the keys at hand, and were not compared with their packs"
        ));
    }
    Ok(())
}

/// The first thing that a segment says and its packs do not.
fn lies(
    view: &View<'_>,
    catalog: &Catalog,
    packs: &Packs,
    digests: &[Option<[u8; 32]>],
) -> Result<Option<String>, FormatError> {
    let counts = view.counts();
    // Which frames belong to which pack, then which records to which frame: 8 bytes for each.
    let mut order = Vec::with_capacity(counts.records as usize);
    for i in 0..counts.records {
        let record = view.record(i)?;
        let (pack, _) = view.frame(record.frame)?;
        view.location(&record)?;
        order.push((pack, i as u32));
    }
    order.sort_unstable();
    let mut rest = &order[..];
    for row in 0..counts.packs {
        let pack = view.pack(row)?;
        let mine = rest.partition_point(|(pack, _)| *pack <= row);
        let (mine, others) = rest.split_at(mine);
        rest = others;
        let Some(Some(expected)) = packs.number(&pack.hash).map(|number| digests[number as usize]) else {
            continue;
        };
        let rows = mine.iter().map(|(_, i)| {
            let Record { id, frame, offset, len } = view.record(u64::from(*i))?;
            Ok((view.frame(frame)?.1, Member { id, offset, len }))
        });
        let rows = rows.collect::<Result<Vec<_>, FormatError>>()?;
        if digest(pack.kind, rows.into_iter()) != expected
            || catalog.whole_pack(&pack.hash, pack.size).is_none()
        {
            return Ok(Some(format!("what it says of pack {} is not so", pack.hash.short())));
        }
    }
    Ok(None)
}

/// Whatever segments say lies in packs of which `of_interest` gives a number.
///
/// # Errors
/// When the store fails, or a temporary file.
pub fn suspects(
    repo: &Repository,
    catalog: &Catalog,
    of_interest: impl Fn(&ObjectHash) -> Option<u32>,
    sorter: &mut Sorter<SUSPECT>,
) -> Result<()> {
    let each = |_: &Stored, _: &PublicKey, view: View<'_>| -> Result<()> {
        let counts = view.counts();
        let wanted = |i| view.pack(i).ok().and_then(|pack| Some((of_interest(&pack.hash)?, pack.kind)));
        let packs: Vec<_> = (0..counts.packs).map(wanted).collect();
        if packs.iter().all(Option::is_none) {
            return Ok(());
        }
        for i in 0..counts.records {
            let Ok(record) = view.record(i) else { break };
            let Ok((pack, _)) = view.frame(record.frame) else { continue };
            if let Some(Some((number, kind))) = packs.get(pack as usize) {
                sorter.push(suspect(&record.id, *kind, *number))?;
            }
        }
        Ok(())
    };
    for_each(repo, catalog, each, |_, _| {})
}
