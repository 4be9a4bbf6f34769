//! Proves that every chunk that a snapshot names lies in a pack of its own closure, and is as long as it says: sorted wants
//! are merged with sorted holdings.

use fardel_format::ChunkId;
use fardel_format::pack::PackKind;

use super::chains::{Chain, NEVER};
use super::frames::{HOLDING, SUSPECT, id_of, split_kind, suspect, word};
use super::look::{UNREADABLE, WANT};
use super::sorter::{Sorted, Sorter};
use crate::Result;

/// A pack number that means: nobody knows in which pack it should lie.
pub const NOWHERE: u32 = (1 << 31) - 1;

/// What the packs do not hold as it is named.
#[derive(Default)]
pub struct Unproven {
    /// By position in the chain: how many chunks lie in packs that the manifest does not name, and one such pack.
    pub outside: std::collections::BTreeMap<u32, (u64, u32)>,
    /// Chunks that are named in another length than they have: the length that was named, and the true one.
    pub false_lengths: Vec<(ChunkId, u32, u32)>,
    /// How many there are.
    pub false_length_count: u64,
}

/// False lengths that are named at most.
const MAX_NAMED: usize = 1000;

/// Merges; chunks that cannot be had go to `lost`.
///
/// # Errors
/// When a temporary file fails.
pub fn prove(
    wants: &Sorted<WANT>,
    holdings: &Sorted<HOLDING>,
    chain: &Chain<'_>,
    lost: &mut Sorter<SUSPECT>,
) -> Result<Unproven> {
    let mut unproven = Unproven::default();
    let mut held = holdings.iter().peekable();
    let mut last: Option<[u8; 36]> = None;
    let mut group: Vec<[u8; HOLDING]> = Vec::new();
    for want in wants.iter() {
        let want = want?;
        // Of one chunk in one length the earliest snapshot comes first; later ones rest on the same packs and more.
        let what = *want.first_chunk::<36>().expect("a want is longer");
        if last == Some(what) {
            continue;
        }
        let new_id = last.is_none_or(|last| last[..32] != what[..32]);
        last = Some(what);
        if new_id {
            group.clear();
            while let Some(holding) =
                held.next_if(|holding| holding.as_ref().map_or(true, |holding| holding[..32] <= want[..32]))
            {
                let holding = holding?;
                if holding[..32] == want[..32] {
                    group.push(holding);
                }
            }
        }
        one(&want, &group, chain, &mut unproven, lost)?;
    }
    Ok(unproven)
}

fn one(
    want: &[u8; WANT],
    group: &[[u8; HOLDING]],
    chain: &Chain<'_>,
    unproven: &mut Unproven,
    lost: &mut Sorter<SUSPECT>,
) -> Result<()> {
    let (kind, len) = split_kind(word(want, 0));
    let position = word(want, 1);
    let of_kind = || {
        group
            .iter()
            .map(|holding| (split_kind(word(holding, 0)), word(holding, 1)))
            .filter(|((k, _), _)| *k == kind)
    };
    let fits = |held: u32| held == len;
    if len == UNREADABLE && kind == PackKind::Meta {
        return lost.push(suspect(&id_of(want), kind, NOWHERE));
    }
    if of_kind().any(|((_, held), pack)| fits(held) && chain.since[pack as usize] <= position) {
        return Ok(());
    }
    if let Some((_, pack)) = of_kind().find(|((_, held), _)| fits(*held)) {
        let since = chain.since[pack as usize];
        debug_assert!(since == NEVER || since > position);
        let (count, first) = unproven.outside.entry(position).or_insert((0, pack));
        *count += 1;
        *first = (*first).min(pack);
        return Ok(());
    }
    if let Some(((_, held), _)) = of_kind().next() {
        unproven.false_length_count += 1;
        if unproven.false_lengths.len() < MAX_NAMED {
            unproven.false_lengths.push((id_of(want), len, held));
        }
        return Ok(());
    }
    lost.push(suspect(&id_of(want), kind, NOWHERE))
}
