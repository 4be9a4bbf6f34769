//! Orders snapshots so that each rests on all packs of the one before it: what was proved of the earlier one holds for
//! the later one too, and is not proved again.

use super::closures::{Closure, Closures};
use super::needs::{Packs, manifest_key};
use crate::Result;
use crate::catalog::Catalog;
use crate::snapshots::{Sealed, Snapshots};

/// Chains that may still grow.
const OPEN: usize = 32;

/// Snapshots, oldest first, each with all packs of the one before it and maybe more.
pub struct Chain<'a> {
    /// The snapshots.
    pub snapshots: Vec<&'a Sealed>,
    /// For each pack the first snapshot here that rests on it.
    pub since: Vec<u32>,
}

/// A pack that no snapshot of the chain rests on.
pub const NEVER: u32 = u32::MAX;

/// Sorts all snapshots into chains.
///
/// # Errors
/// When the store fails.
pub fn sort<'a>(
    catalog: &Catalog,
    snapshots: &'a Snapshots,
    closures: &mut Closures<'_>,
    packs: &Packs,
) -> Result<Vec<Vec<&'a Sealed>>> {
    let mut chains: Vec<(Vec<&Sealed>, Vec<u64>)> = Vec::new();
    for sealed in &snapshots.sealed {
        let bits = bits(&closures.of(&manifest_key(catalog, sealed), &sealed.manifest)?, packs);
        let open = chains.len().saturating_sub(OPEN);
        let fits = |last: &[u64]| last.iter().zip(&bits).all(|(last, bits)| last & !bits == 0);
        match chains[open..].iter().rposition(|(_, last)| fits(last)) {
            Some(at) => {
                let (mut chain, _) = chains.remove(open + at);
                chain.push(sealed);
                chains.push((chain, bits));
            }
            None => {
                chains.push((vec![sealed], bits));
                // A closed chain is not compared any more.
                if let Some(closed) = chains.len().checked_sub(OPEN + 1) {
                    chains[closed].1 = Vec::new();
                }
            }
        }
    }
    Ok(chains.into_iter().map(|(chain, _)| chain).collect())
}

fn bits(closure: &Closure, packs: &Packs) -> Vec<u64> {
    let mut bits = vec![0; packs.len().div_ceil(64)];
    for number in closure.packs.iter().filter_map(|pack| packs.number(&pack.hash)) {
        bits[number as usize / 64] |= 1 << (number % 64);
    }
    bits
}

impl<'a> Chain<'a> {
    /// Finds out since when each pack is there.
    ///
    /// # Errors
    /// When the store fails.
    pub fn new(
        catalog: &Catalog,
        snapshots: Vec<&'a Sealed>,
        closures: &mut Closures<'_>,
        packs: &Packs,
    ) -> Result<Self> {
        let mut since = vec![NEVER; packs.len()];
        for (position, sealed) in snapshots.iter().enumerate() {
            let closure = closures.of(&manifest_key(catalog, sealed), &sealed.manifest)?;
            for number in closure.packs.iter().filter_map(|pack| packs.number(&pack.hash)) {
                let first = &mut since[number as usize];
                *first = (*first).min(position as u32);
            }
        }
        Ok(Self { snapshots, since })
    }
}
