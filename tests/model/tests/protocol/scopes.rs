//! Who takes part, and how often.

use fardel_model::Role::{self, Collector, Compactor, Merger, Pinner, Replicator, Undo, Writer};
use fardel_model::{Paging, Scope, Sweeping};

/// Packs, manifests, seals and tombs alone.
pub fn base(roles: &[Role], chunks: u8) -> Scope {
    Scope::new(roles, chunks, 3).with(|scope| scope.forgets = chunks)
}

/// Lists, roots and an index, too. Where replicators come, lists stay.
pub fn whole(roles: &[Role], chunks: u8, attempts: u8) -> Scope {
    Scope::new(roles, chunks, attempts).with(|scope| {
        scope.inventory = true;
        if roles.contains(&Replicator) {
            scope.sweeping = Sweeping::WithSnapshot;
        }
    })
}

/// The scopes of the random schedules: everybody, several times, with late requests and listings in pages.
pub fn large() -> Vec<(&'static str, Scope)> {
    let sized = |chunks, paging: Paging, roles: &[Role]| {
        whole(roles, chunks, 4).with(|scope| {
            (scope.cycles, scope.forgets, scope.late) = (2, 3, 2);
            (scope.forget_any, scope.paging) = (true, paging);
        })
    };
    let large = |paging, roles: &[Role]| sized(2, paging, roles);
    let with_snapshot = |scope: Scope| scope.with(|scope| scope.sweeping = Sweeping::WithSnapshot);
    let (even, odd) = (Paging::EvenFirst, Paging::OddFirst);
    vec![
        ("writers and collectors", large(odd, &[Writer, Writer, Compactor, Collector, Collector, Collector])),
        ("compactions", large(even, &[Compactor, Compactor, Writer, Collector, Collector, Merger])),
        ("forget and undo", large(odd, &[Writer, Undo, Compactor, Collector, Collector, Merger])),
        ("undos, merges and pins", large(even, &[Undo, Undo, Compactor, Collector, Merger, Pinner])),
        ("a replica", large(even, &[Replicator, Replicator, Writer, Collector, Collector, Merger])),
        ("a replica, pinned", large(odd, &[Replicator, Replicator, Compactor, Collector, Collector, Pinner])),
        (
            "swept with snapshots",
            with_snapshot(large(even, &[Writer, Undo, Compactor, Collector, Collector, Collector])),
        ),
        ("a replica of the same packs", sized(1, odd, &[Replicator, Replicator, Collector, Collector])),
    ]
}
