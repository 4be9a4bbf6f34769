//! Forgets snapshots, by name or by policy; pins them; brings them back.
//!
//! 1. Read what is known of each snapshot that may be forgotten.
//! 2. Decide: those that were named, or those that a policy does not keep. A pinned one is never forgotten.
//! 3. Put a tomb. From then on the snapshot does not exist; what it needs stays until a collector sweeps it.

mod pin;
pub mod policy;
mod undo;

pub use pin::{pin, unpin};
pub use undo::{UndoOptions, UndoReport, undo};

use std::collections::HashSet;

use fardel_format::ObjectHash;
use fardel_format::root::Root;
use fardel_format::tomb::Takes;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::catalog::Catalog;
use crate::entomb::{self, Rights};
use crate::repository::Repository;
use crate::snapshots::{Sealed, Snapshots};
use crate::tombs::Tombs;
use crate::{Error, Result};

use policy::{Candidate, Decision, Policy, Reason};

/// What to forget.
pub enum Selection<'a> {
    /// These snapshots: ids, beginnings of ids, or `latest`.
    Named(&'a [String]),
    /// What the policy does not keep of those that fit.
    Policy(&'a Policy, &'a dyn Fn(&Root) -> bool),
}

/// What is to become of a snapshot.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The snapshot.
    pub sealed: Sealed,
    /// What it is, if it can be read.
    pub root: Option<Root>,
    /// What was decided.
    pub decision: Decision,
}

/// What would be forgotten.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Every snapshot that was looked at, oldest first.
    pub choices: Vec<Choice>,
}

/// Decides what to forget.
///
/// # Errors
/// When the key allows nothing of it, a name fits no snapshot or one that is pinned, or the store fails.
pub fn plan(repo: &Repository, catalog: &Catalog, selection: &Selection<'_>) -> Result<Plan> {
    let (catalog, snapshots) = Snapshots::load_lasting(repo, catalog)?;
    let rights = entomb::may_forget(repo, &snapshots.registry)?;
    all_tombs_are_known(&snapshots.tombs)?;
    match selection {
        Selection::Named(names) => named(repo, &catalog, &snapshots, rights, names),
        Selection::Policy(policy, fits) => by_policy(repo, &catalog, &snapshots, rights, policy, fits),
    }
}

/// A tomb that cannot be read may be a pin.
///
/// # Errors
/// When there is one.
pub(crate) fn all_tombs_are_known(tombs: &Tombs) -> Result<()> {
    match tombs.problems.first() {
        None => Ok(()),
        Some(problem) => Err(Error::Damaged(format!(
            "{}: {}: nothing is forgotten or deleted while it is not known what a tomb says; a newer fardel may know it, \
             `fardel check` tells whether it is damaged or forged",
            problem.object, problem.error
        ))),
    }
}

fn named(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &Snapshots,
    rights: Rights,
    names: &[String],
) -> Result<Plan> {
    let (mut choices, mut ids) = (Vec::new(), HashSet::new());
    for name in names {
        let sealed = snapshots.find(name)?;
        let short = sealed.id().short();
        if !rights.reach(&sealed.manifest) {
            return Err(Error::Key(format!(
                "snapshot {short} is of another host: forgetting it needs the role maintain"
            )));
        }
        if snapshots.tombs.pins(&sealed.manifest) {
            return Err(Error::Refused(format!(
                "snapshot {short} is pinned: `fardel unpin {short}` lets it be forgotten"
            )));
        }
        if ids.insert(sealed.id()) {
            let root = repo.keys().can_read.then(|| repo.root(catalog, sealed).ok()).flatten();
            let decision = Decision { keep: false, reasons: vec![Reason::Named], group: 0 };
            choices.push(Choice { sealed: sealed.clone(), root, decision });
        }
    }
    Ok(Plan { choices })
}

fn by_policy(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &Snapshots,
    rights: Rights,
    policy: &Policy,
    fits: &dyn Fn(&Root) -> bool,
) -> Result<Plan> {
    if policy.is_empty() {
        return Err(Error::Invalid("the policy keeps nothing: say what to keep".into()));
    }
    repo.need_reader()?;
    let (mut known, mut candidates, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    let mut ids = HashSet::new();
    for sealed in snapshots.sealed.iter().filter(|sealed| rights.reach(&sealed.manifest)) {
        if !ids.insert(sealed.id()) {
            continue;
        }
        match repo.root(catalog, sealed) {
            Ok(root) if !fits(&root) => {}
            Ok(root) => {
                match candidate(sealed, &root, &snapshots.tombs) {
                    Some(candidate) => {
                        candidates.push(candidate);
                        known.push((sealed.clone(), Some(root)));
                    }
                    None => unreadable.push((sealed.clone(), Some(root))),
                };
            }
            Err(error) if error.is_damage() => unreadable.push((sealed.clone(), None)),
            Err(error) => return Err(error),
        }
    }
    let decisions = policy::decide(policy, &candidates, Timestamp::now(), &TimeZone::system());
    let groups = decisions.iter().map(|decision| decision.group + 1).max().unwrap_or(0);
    let kept = Decision { keep: true, reasons: vec![Reason::Unreadable], group: groups };
    let unreadable = unreadable.into_iter().map(|snapshot| (snapshot, kept.clone()));
    let choices = known.into_iter().zip(decisions).chain(unreadable);
    let choice = |((sealed, root), decision)| Choice { sealed, root, decision };
    Ok(Plan { choices: choices.map(choice).collect() })
}

/// `None` when the time is none.
fn candidate(sealed: &Sealed, root: &Root, tombs: &Tombs) -> Option<Candidate> {
    let origin = sealed.manifest.origin();
    Some(Candidate {
        id: sealed.id(),
        writer: origin.writer,
        seq: origin.seq,
        time: root.time.parse().ok()?,
        host: root.host.clone(),
        sources: root.sources.iter().map(|s| s.path_bytes().unwrap_or_default().into_owned()).collect(),
        tags: root.tags.clone(),
        partial: root.partial,
        run: root.run,
        pinned: tombs.pins(&sealed.manifest),
    })
}

impl Plan {
    /// Those that are to be forgotten.
    pub fn forgotten(&self) -> impl Iterator<Item = &Choice> {
        self.choices.iter().filter(|choice| !choice.decision.keep)
    }

    /// Forgets them: in this store, or `everywhere`, which is told to each replica by the next sync. The tombs' names.
    ///
    /// # Errors
    /// When the store fails: some may be forgotten then.
    pub fn run(&self, repo: &Repository, catalog: &Catalog, everywhere: bool) -> Result<Vec<ObjectHash>> {
        let snapshots: Vec<_> = self.forgotten().map(|choice| choice.sealed.id()).collect();
        entomb::entomb(repo, catalog, Takes::Forget { snapshots, everywhere })
    }
}

#[cfg(test)]
mod tests;
