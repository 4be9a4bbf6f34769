use std::collections::{BTreeMap, BTreeSet};

use fardel_engine::Error;
use fardel_format::SnapshotId;
use fardel_tests::crash::Result;

use crate::site::{Done, Ended, Files};
use crate::step::{Act, STORES};

/// Whether a snapshot must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exists {
    Yes,
    No,
    /// Something that would have changed it was interrupted.
    Perhaps,
}

/// A snapshot that was reported.
#[derive(Clone, Debug)]
pub struct Known {
    pub files: Files,
    pub exists: Exists,
    /// `None` when a pin or its end was interrupted.
    pub pinned: Option<bool>,
    /// A forget lies there that the pin holds off.
    pub threatened: bool,
    /// On which day it was forgotten last.
    pub forgotten: usize,
    /// A collector may have swept it since.
    pub swept: bool,
    /// It was once forgotten in every copy.
    pub everywhere: bool,
}

/// What must be in the stores.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub known: BTreeMap<SnapshotId, Known>,
    /// What interrupted backups may have sealed without telling.
    pub untold: Vec<Files>,
    /// What complete replications have brought to each store.
    pub carried: [BTreeSet<SnapshotId>; STORES],
}

impl Model {
    /// Takes in what one act said, or two of which one went on during the other; the inner one comes first.
    ///
    /// # Errors
    /// When one of them failed that must not, or said what cannot be.
    pub fn take_in(&mut self, ends: &[(Act, Ended)], cut: bool, day: usize) -> Result {
        let together = ends.len() > 1;
        for (act, ended) in ends {
            if let Act::Prune { store: 0, grace, .. } = act {
                self.pruned(*grace, day);
            }
            match &ended.done {
                Err(_) if cut => self.interrupted(act, ended),
                // No replication has brought its registration there yet.
                Err(Error::Key(_)) if act.store() > 0 && self.carried[act.store()].is_empty() => {}
                Err(error) if together && may_be_overtaken(error) => self.interrupted(act, ended),
                Err(error) => return Err(format!("{act:?} failed: {error}")),
                Ok(done) => self.done(act, done, together, day)?,
            }
        }
        Ok(())
    }

    /// What is forgotten may be swept from now on, when its grace is over.
    fn pruned(&mut self, grace: usize, day: usize) {
        for known in self.known.values_mut().filter(|known| known.exists != Exists::Yes) {
            known.swept |= known.forgotten + grace <= day + 1;
        }
    }

    fn interrupted(&mut self, act: &Act, ended: &Ended) {
        self.untold.extend(ended.saving);
        for id in &ended.touched {
            let Some(known) = self.known.get_mut(id) else { continue };
            match act {
                Act::Pin { .. } | Act::Unpin { .. } => {
                    known.pinned = None;
                    if known.threatened {
                        known.exists = Exists::Perhaps;
                    }
                }
                Act::Forget { everywhere, .. } => {
                    known.everywhere |= everywhere;
                    known.exists = Exists::Perhaps;
                }
                _ => known.exists = Exists::Perhaps,
            }
        }
    }

    fn done(&mut self, act: &Act, done: &Done, together: bool, day: usize) -> Result {
        match done {
            Done::Nothing | Done::Pruned { .. } => {}
            Done::Saved(id, files) => {
                let new = Known {
                    files: *files,
                    exists: Exists::Yes,
                    pinned: Some(false),
                    threatened: false,
                    forgotten: day,
                    swept: false,
                    everywhere: false,
                };
                if self.known.insert(*id, new).is_some() {
                    return Err(format!("{act:?}: snapshot {} was saved before", id.short()));
                }
            }
            Done::Forgot { ids, everywhere } => {
                for id in ids {
                    let Some(known) = self.known.get_mut(id) else { continue };
                    if known.pinned == Some(true) && !together {
                        return Err(format!("{act:?}: a pinned snapshot is forgotten"));
                    }
                    known.exists = match known.pinned {
                        // Pinned after it was decided, and before the tomb was put.
                        Some(true) => Exists::Yes,
                        Some(false) => Exists::No,
                        None => Exists::Perhaps,
                    };
                    known.threatened |= known.pinned != Some(false);
                    (known.forgotten, known.swept) = (day, false);
                    known.everywhere |= everywhere;
                }
            }
            Done::Pinned(ids) => {
                for id in ids {
                    let Some(known) = self.known.get_mut(id) else { continue };
                    known.pinned = Some(true);
                    known.exists = Exists::Yes;
                }
            }
            Done::Unpinned(ids) => {
                for id in ids {
                    let Some(known) = self.known.get_mut(id) else { continue };
                    known.pinned = Some(false);
                    if known.threatened || together {
                        known.exists = Exists::Perhaps;
                    }
                }
            }
            Done::Undone { back, gone } => {
                for id in back {
                    let Some(known) = self.known.get_mut(id) else { continue };
                    known.exists = Exists::Yes;
                }
                for id in gone {
                    let known = self.known.get_mut(id);
                    match known {
                        Some(known) if !known.swept && !together => {
                            return Err(format!("{act:?}: {} is gone before its time", id.short()));
                        }
                        Some(known) if together => known.exists = Exists::Perhaps,
                        _ => {}
                    }
                }
            }
            Done::Carried(report) => {
                let Act::Sync { replica } = act else { unreachable!() };
                if report.behind > 0 || !report.problems.is_empty() {
                    return match together {
                        true => Ok(()),
                        false => Err(format!("{act:?}: {report:?}")),
                    };
                }
                if !together {
                    let alive = self.known.iter().filter(|(_, known)| known.exists == Exists::Yes);
                    self.carried[*replica].extend(alive.map(|(id, _)| *id));
                }
            }
            Done::Checked { wrong } => self.finds_nothing(act.store(), wrong)?,
        }
        Ok(())
    }
}

impl Model {
    /// That a check found nothing in a store. Where no replication came to its end, key files and records of signers may be
    /// lacking, and that is told.
    ///
    /// # Errors
    /// What it found.
    pub fn finds_nothing(&self, store: usize, found: &[String]) -> Result {
        let is_new = store > 0 && self.carried[store].is_empty();
        let comes = |found: &str| is_new && (found.starts_with("keys/") || found.starts_with("signers/"));
        match found.iter().find(|found| !comes(found)) {
            Some(found) => Err(format!("check finds {found}")),
            None => Ok(()),
        }
    }
}

/// Whether somebody else may have been quicker: then the user is told to try again, and nothing was promised.
fn may_be_overtaken(error: &Error) -> bool {
    match error {
        Error::NotFound(_) | Error::Refused(_) => true,
        Error::Damaged(why) => why.contains("run it again") || why.contains("meanwhile"),
        _ => false,
    }
}
