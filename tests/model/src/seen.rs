//! What follows from the listings of a collector.

use crate::store::{Tombs, superseded};
use crate::world::World;
use crate::{Mutant, Scope, Set};

/// What a collector saw.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Manifests.
    pub manifests: Set,
    /// Intents.
    pub intents: Set,
    /// Seals.
    pub seals: Set,
    /// Tombs.
    pub tombs: Tombs,
}

impl Seen {
    /// Manifests that count.
    pub fn roots(&self, world: &World, scope: &Scope) -> Set {
        let contents = &world.contents;
        let superseded = superseded(contents, self.manifests, |m| {
            let sealed = self.seals.has(m) || scope.is(Mutant::SupersededBeforeSeal);
            let revoked = self.tombs.revoked.has(m) && !scope.is(Mutant::RevokedSupersedes);
            let condemned = self.tombs.condemned_manifests.has(m)
                && !scope.is(Mutant::CondemnedSupersedes)
                && !scope.is(Mutant::RevokedSupersedes);
            sealed && !revoked && !condemned
        });
        let revoked = self.tombs.revoked.filter(|m| scope.revoked_is_dead(self.seals.has(*m))).collect();
        self.manifests - superseded - revoked - self.forgotten(world)
    }

    /// Manifests of snapshots that are forgotten, and not pinned.
    pub fn forgotten(&self, world: &World) -> Set {
        let pinned = self.tombs.pins - self.tombs.unpins;
        let forgets = |m: &u8| {
            let needs = &world.contents[*m as usize];
            !pinned.has(needs.snapshot) && self.tombs.forgets(&world.forgets, needs)
        };
        self.manifests.filter(forgets).collect()
    }

    /// Names of packs that something needs.
    pub fn live(&self, world: &World, scope: &Scope) -> Set {
        let roots = self.roots(world, scope);
        let hashes = roots.fold(Set::EMPTY, |all, m| all | world.contents[m as usize].closure);
        let named = (self.intents - self.tombs.revoked_intents)
            .fold(Set::EMPTY, |all, intent| all | world.intents[intent as usize]);
        scope.all_names(hashes) | named
    }
}
