//! What must never be.

use crate::world::World;
use crate::{Revocation, Scope, Set};

/// A broken invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// I1: this snapshot was reported and not forgotten, and is not there whole.
    ReportedSnapshotLost(u8),
    /// I2: this manifest counts as a snapshot, and lacks something.
    SnapshotLacks(u8),
    /// I3: this name of a pack was given a second time.
    NameUsedAgain(u8),
    /// I5: this pack was deleted, though a standing intent named it before it was condemned.
    ClaimedPackDeleted(u8),
    /// This snapshot was pinned, and something of it was deleted.
    PinnedSnapshotLost(u8),
    /// This snapshot was forgotten, and exists.
    ForgottenSnapshotRose(u8),
}

impl World {
    /// What is wrong with this state.
    #[must_use]
    pub fn violation(&self, scope: &Scope) -> Option<Violation> {
        let existing = self.existing(scope);
        let whole = self.whole(scope);
        if let Some(manifest) = (existing - whole).next() {
            return Some(Violation::SnapshotLacks(manifest));
        }
        let snapshot = |m: u8| self.contents[m as usize].snapshot;
        let there: Set = match scope.revocation {
            Revocation::Announced => existing.map(snapshot).collect(),
            // Whoever is revoked as late as that has everything, and is only not seen.
            Revocation::AtOnce => (whole & self.store.seals).map(snapshot).collect(),
        };
        if let Some(snapshot) = (self.reported - self.unwanted - there).next() {
            return Some(Violation::ReportedSnapshotLost(snapshot));
        }
        let kept: Set = (whole & self.store.seals).map(snapshot).collect();
        if let Some(snapshot) = (self.pinned - kept).next() {
            return Some(Violation::PinnedSnapshotLost(snapshot));
        }
        let risen: Set = existing.map(snapshot).collect();
        (risen & (self.unwanted - self.wanted_again - self.store.tombs.pins))
            .next()
            .map(Violation::ForgottenSnapshotRose)
    }
}
