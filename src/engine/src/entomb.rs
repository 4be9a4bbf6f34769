//! Signs and stores tombs.

use fardel_format::names::{Name, Numbered, PackName};
use fardel_format::signers::{Registry, Role};
use fardel_format::tomb::{self, MergedForget, Takes, Tomb};
use fardel_format::{ObjectHash, SnapshotId};

use crate::catalog::{Catalog, key_of};
use crate::commit::signer;
use crate::repository::Repository;
use crate::{Error, Result};

/// Ids or hashes in one tomb: readers refuse one of more than two MiB.
pub(crate) const ENTRIES: usize = 10_000;

/// Stores as many tombs as it takes; the names of all of them.
///
/// # Errors
/// When the store fails, or no host key is at hand.
pub fn entomb(repo: &Repository, catalog: &Catalog, takes: Takes) -> Result<Vec<ObjectHash>> {
    let key = &signer(repo)?.signing;
    let writer = key.public().writer();
    let mut hashes = Vec::new();
    for (seq, takes) in (repo.next_tomb(catalog, &writer)..).zip(in_parts(takes)) {
        repo.remember_tomb(&writer, seq);
        let tomb = Tomb {
            fardel: 1,
            repository: *repo.id(),
            writer: key.public().clone(),
            seq,
            created: crate::time::now(),
            takes,
        };
        let bytes = tomb.to_bytes();
        let name = Numbered { seq, hash: ObjectHash::of(&bytes) };
        let signature = tomb::sign(&bytes, repo.id(), &name, key).map_err(|e| Error::Key(e.to_string()))?;
        let fan_out = Catalog::fan_out(seq as usize);
        // The signature last: a tomb without it counts for nothing.
        repo.store().put_same(&key_of(&Name::Tomb(writer, name), fan_out), bytes)?;
        repo.store().put_same(&key_of(&Name::TombSig(writer, name), fan_out), signature.into_bytes())?;
        hashes.push(name.hash);
    }
    Ok(hashes)
}

fn in_parts(takes: Takes) -> Vec<Takes> {
    fn parts<T: Clone>(all: &[T], takes: impl Fn(Vec<T>) -> Takes) -> Vec<Takes> {
        all.chunks(ENTRIES).map(|part| takes(part.to_vec())).collect()
    }
    match takes {
        Takes::Forget { snapshots, everywhere } => {
            parts(&snapshots, |snapshots: Vec<SnapshotId>| Takes::Forget { snapshots, everywhere })
        }
        Takes::MergedForgets { everywhere, forgets } => {
            let mut tombs: Vec<(usize, Vec<MergedForget>)> = Vec::new();
            for forget in forgets {
                let weight = weight(&forget);
                match tombs.last_mut() {
                    Some((whole, forgets)) if *whole + weight <= ENTRIES => {
                        *whole += weight;
                        forgets.push(forget);
                    }
                    _ => tombs.push((weight, vec![forget])),
                }
            }
            let tomb = |(_, forgets)| Takes::MergedForgets { everywhere, forgets };
            tombs.into_iter().map(tomb).collect()
        }
        Takes::Condemn { packs, others } => {
            let packs = parts(&packs, |packs: Vec<PackName>| Takes::Condemn { packs, others: Vec::new() });
            let others =
                parts(&others, |others: Vec<ObjectHash>| Takes::Condemn { packs: Vec::new(), others });
            packs.into_iter().chain(others).collect()
        }
        Takes::Pin { snapshots } => parts(&snapshots, |snapshots| Takes::Pin { snapshots }),
        Takes::Unpin { pins } => parts(&pins, |pins| Takes::Unpin { pins }),
        Takes::Revoke { names } => parts(&names, |names| Takes::Revoke { names }),
    }
}

/// How many ids make a tomb as large as this forget does, in one that is merged from several.
pub(crate) fn weight(forget: &MergedForget) -> usize {
    forget.snapshots.len() + 4
}

/// What the key at hand may take away.
///
/// # Errors
/// [`Error::Key`] when that is nothing.
pub fn may_forget(repo: &Repository, registry: &Registry) -> Result<Rights> {
    let writer = signer(repo)?.signing.public().writer();
    match (registry.may(&writer, Role::Maintain), registry.may(&writer, Role::ForgetOwn)) {
        (true, _) => Ok(Rights { writer, maintains: true }),
        (false, true) => Ok(Rights { writer, maintains: false }),
        (false, false) => Err(Error::Key(
            "this host may not forget anything: it has neither the role forget-own nor maintain".into(),
        )),
    }
}

/// What a host may take away.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    /// Who.
    pub writer: fardel_format::WriterId,
    /// Not only its own snapshots.
    pub maintains: bool,
}

impl Rights {
    /// Whether it may decide about the snapshot of this manifest.
    pub fn reach(&self, manifest: &fardel_format::manifest::Manifest) -> bool {
        self.maintains || manifest.origin().writer == self.writer
    }

    /// That it may do what only a maintainer may.
    ///
    /// # Errors
    /// [`Error::Key`] when not.
    pub fn need_maintain(&self, to: &str) -> Result<()> {
        match self.maintains {
            true => Ok(()),
            false => Err(Error::Key(format!("{to} needs the role maintain, which this host has not"))),
        }
    }
}
