use proptest::prelude::*;

/// Hosts. The first two may collect; the last may only save, and forget its own.
pub const HOSTS: usize = 3;
/// Stores: the primary one and two replicas.
pub const STORES: usize = 3;
/// Files of a host.
pub const SLOTS: usize = 3;
/// What may be in a file; 0 is none.
pub const CONTENTS: u8 = 7;

/// Something that a host or a user does.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// A file gets another content.
    Change {
        host: usize,
        slot: usize,
        content: u8,
    },
    Backup {
        host: usize,
    },
    /// By policy, of which so many of the newest are kept.
    Forget {
        host: usize,
        keep: u32,
        everywhere: bool,
    },
    /// One of the snapshots that exist.
    Pin {
        host: usize,
        which: usize,
    },
    Unpin {
        host: usize,
        which: usize,
    },
    /// One of the forgotten ones.
    Undo {
        host: usize,
        which: usize,
    },
    /// In any store. Grace and patience are days of the test's clock.
    Prune {
        host: usize,
        store: usize,
        grace: usize,
        unfinished: usize,
        repack: bool,
    },
    Sync {
        replica: usize,
    },
    Check {
        store: usize,
    },
    DropCache {
        host: usize,
    },
    PoisonCache {
        host: usize,
        which: usize,
        how: Poison,
    },
    /// The clock moves on by a day.
    Tomorrow,
}

/// What becomes of a file in a cache.
#[derive(Clone, Copy, Debug)]
pub enum Poison {
    Flipped {
        at: usize,
    },
    CutOff {
        at: usize,
    },
    /// It has what another host's cache has under some name.
    Another {
        which: usize,
    },
    /// The whole cache is as it was before an earlier act.
    OfBefore,
}

/// One step of a sequence.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// To its end.
    Whole(Act),
    /// The process dies at its changing call of this number, which is carried out or not.
    Cut { act: Act, at: u64, carried_out: bool },
    /// Another act comes before its call of this number.
    Around { act: Act, at: u64, other: Act },
}

/// Any step; those that are simpler are what a failure shrinks to.
pub fn any_step() -> impl Strategy<Value = Step> {
    let whole = any_act().prop_map(Step::Whole);
    let cut = (lasting(), 0..14_u64, any::<bool>()).prop_map(|(act, at, carried_out)| Step::Cut {
        act,
        at,
        carried_out,
    });
    let around =
        (lasting(), 0..60_u64, lasting()).prop_map(|(act, at, other)| Step::Around { act, at, other });
    prop_oneof![6 => whole, 2 => cut, 2 => around]
}

fn any_act() -> impl Strategy<Value = Act> {
    let (host, which) = (|| 0..HOSTS, || 0..8_usize);
    let poison = prop_oneof![
        (0..4096_usize).prop_map(|at| Poison::Flipped { at }),
        (0..4096_usize).prop_map(|at| Poison::CutOff { at }),
        which().prop_map(|which| Poison::Another { which }),
        Just(Poison::OfBefore),
    ];
    prop_oneof![
        4 => (host(), 0..SLOTS, 0..CONTENTS).prop_map(|(host, slot, content)| Act::Change { host, slot, content }),
        12 => lasting(),
        1 => host().prop_map(|host| Act::DropCache { host }),
        2 => (host(), which(), poison).prop_map(|(host, which, how)| Act::PoisonCache { host, which, how }),
        1 => Just(Act::Tomorrow),
    ]
}

/// What takes more than one call of a store.
fn lasting() -> impl Strategy<Value = Act> {
    let (host, which, days) = (|| 0..HOSTS, || 0..8_usize, || 0..3_usize);
    prop_oneof![
        9 => host().prop_map(|host| Act::Backup { host }),
        3 => (host(), 1..3_u32, any::<bool>()).prop_map(|(host, keep, everywhere)| Act::Forget { host, keep, everywhere }),
        1 => (host(), which()).prop_map(|(host, which)| Act::Pin { host, which }),
        1 => (0..2_usize, which()).prop_map(|(host, which)| Act::Unpin { host, which }),
        2 => (0..2_usize, which()).prop_map(|(host, which)| Act::Undo { host, which }),
        4 => (0..2_usize, prop_oneof![3 => Just(0), 1 => 1..STORES], days(), days(), any::<bool>()).prop_map(
            |(host, store, grace, unfinished, repack)| Act::Prune { host, store, grace, unfinished, repack }
        ),
        3 => (1..STORES).prop_map(|replica| Act::Sync { replica }),
        1 => (0..STORES).prop_map(|store| Act::Check { store }),
    ]
}

impl Act {
    /// Its name in counts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Change { .. } => "changes",
            Self::Backup { .. } => "backups",
            Self::Forget { .. } => "forgets",
            Self::Pin { .. } => "pins",
            Self::Unpin { .. } => "unpins",
            Self::Undo { .. } => "undos",
            Self::Prune { .. } => "prunes",
            Self::Sync { .. } => "syncs",
            Self::Check { .. } => "checks",
            Self::DropCache { .. } => "dropped caches",
            Self::PoisonCache { .. } => "poisoned caches",
            Self::Tomorrow => "days",
        }
    }

    /// The store that it may change, if it is one that does.
    pub fn changes(&self) -> Option<usize> {
        let stays = matches!(
            self,
            Self::Change { .. }
                | Self::Check { .. }
                | Self::DropCache { .. }
                | Self::PoisonCache { .. }
                | Self::Tomorrow
        );
        (!stays).then(|| self.store())
    }

    /// The store that it is about.
    pub fn store(&self) -> usize {
        match self {
            Self::Prune { store, .. } | Self::Check { store } => *store,
            Self::Sync { replica } => *replica,
            _ => 0,
        }
    }
}
