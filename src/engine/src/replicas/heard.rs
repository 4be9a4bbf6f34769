//! Reads acknowledgements.

use std::collections::{BTreeMap, BTreeSet};

use fardel_format::ack::{self, Ack};
use fardel_format::names::Numbered;
use fardel_format::signers::{Registry, Role};
use fardel_format::{Error as FormatError, WriterId};

use crate::Result;
use crate::catalog::{Catalog, Stored};
use crate::repository::{Problem, Repository};
use crate::tombs::Tombs;

/// An acknowledgement that verifies, by somebody who may.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Its name.
    pub name: Numbered,
    /// Where it lies, and its size.
    pub stored: Stored,
    /// What it says.
    pub ack: Ack,
}

/// What one signer said of one replica. Another signer's word replaces none of it: a key that is stolen can let go only what
/// it held itself.
#[derive(Clone, Debug)]
pub struct Line {
    /// The replica.
    pub replica: String,
    /// The signer.
    pub writer: WriterId,
    /// What was said, the newest first.
    pub acks: Vec<Heard>,
}

/// All acknowledgements of a store.
#[derive(Clone, Debug, Default)]
pub struct Acks {
    /// Those that count, in the order of their replicas.
    pub lines: Vec<Line>,
    /// Replicas of which something lies here that cannot be read or that nobody known signed: they may hold anything.
    pub unclear: BTreeSet<String>,
    /// Replicas of which every acknowledgement was struck off.
    pub struck: BTreeSet<String>,
    /// What is wrong with which object.
    pub problems: Vec<Problem>,
}

impl Acks {
    /// Reads every acknowledgement of the catalog. One that is torn, or not understood, is among the problems and hinders no other:
    /// it can only let go what earlier ones hold.
    ///
    /// # Errors
    /// When the store fails.
    pub fn load(repo: &Repository, catalog: &Catalog, registry: &Registry, tombs: &Tombs) -> Result<Self> {
        let mut acks = Self::default();
        let mut lines: BTreeMap<(String, WriterId), Vec<Heard>> = BTreeMap::new();
        let mut struck = BTreeSet::new();
        for ((replica, name), stored) in &catalog.acks {
            if tombs.revokes(&name.hash) {
                struck.insert(replica.clone());
                continue;
            }
            let ack = match read(repo, replica, name, stored)? {
                Some(Ok(ack)) => ack,
                // Another collector tidied it up: a newer one is here.
                None => continue,
                Some(Err(problem)) => {
                    acks.unclear.insert(replica.clone());
                    acks.problems.push(problem);
                    continue;
                }
            };
            let writer = ack.writer.writer();
            if registry.may(&writer, Role::Acknowledge) {
                let heard = Heard { name: *name, stored: stored.clone(), ack };
                lines.entry((replica.clone(), writer)).or_default().push(heard);
            } else if registry.get(&writer).is_some() || registry.get_even_removed(&writer).is_none() {
                // Whoever was removed says nothing any more. Others may have become signers where we cannot see it yet.
                let why = format!("{writer} may not acknowledge anything");
                let error = FormatError::Forged { what: "an acknowledgement", why };
                acks.unclear.insert(replica.clone());
                acks.problems.push(Problem { object: stored.key.clone(), error });
            }
        }
        for ((replica, writer), mut heard) in lines {
            heard.sort_by_key(|heard| std::cmp::Reverse(heard.name));
            acks.lines.push(Line { replica, writer, acks: heard });
        }
        let speaks = |replica: &String| {
            acks.unclear.contains(replica) || acks.lines.iter().any(|line| line.replica == *replica)
        };
        acks.struck = struck.into_iter().filter(|replica| !speaks(replica)).collect();
        Ok(acks)
    }
}

/// The acknowledgement; nothing when it is gone.
fn read(
    repo: &Repository,
    replica: &str,
    name: &Numbered,
    stored: &Stored,
) -> Result<Option<Result<Ack, Problem>>> {
    let problem = |error| Some(Err(Problem { object: stored.key.clone(), error }));
    if stored.size > ack::MAX_SIZE as u64 {
        return Ok(problem(FormatError::TooLarge {
            what: "an acknowledgement",
            limit: ack::MAX_SIZE as u64,
        }));
    }
    match repo.small(stored) {
        Ok(bytes) => match Ack::from_bytes(&bytes, repo.id(), replica, name) {
            Ok(ack) => Ok(Some(Ok(ack))),
            Err(error) => Ok(problem(error)),
        },
        Err(error) if error.is_gone() => Ok(None),
        Err(error) if error.is_damage() => Ok(Some(Err(Problem::new(stored.key.clone(), error)))),
        Err(error) => Err(error),
    }
}
