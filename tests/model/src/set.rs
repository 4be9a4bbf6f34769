//! Small sets of numbered things.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub, SubAssign};

/// A set of numbers below 32: packs, manifests, snapshots or intents.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Set(u32);

impl Set {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// Every number.
    pub const ALL: Self = Self(u32::MAX);
    /// The even numbers.
    pub const EVEN: Self = Self(0x5555_5555);
    /// The odd numbers.
    pub const ODD: Self = Self(0xaaaa_aaaa);

    /// This one alone.
    #[must_use]
    pub const fn of(id: u8) -> Self {
        Self(1 << id)
    }

    /// The numbers below `end`.
    #[must_use]
    pub const fn below(end: u8) -> Self {
        Self((1 << end) - 1)
    }

    /// Whether it is among them.
    #[must_use]
    pub const fn has(self, id: u8) -> bool {
        self.0 & (1 << id) != 0
    }

    /// Adds one.
    pub fn add(&mut self, id: u8) {
        self.0 |= 1 << id;
    }

    /// Takes one out.
    pub fn remove(&mut self, id: u8) {
        self.0 &= !(1 << id);
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether both have one in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all are in the other.
    #[must_use]
    pub const fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

impl Iterator for Set {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let first = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (first < 32).then_some(first as u8)
    }
}

impl FromIterator<u8> for Set {
    fn from_iter<I: IntoIterator<Item = u8>>(ids: I) -> Self {
        ids.into_iter().fold(Self::EMPTY, |set, id| set | Self::of(id))
    }
}

impl BitOr for Set {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Set {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Set {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Set {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl SubAssign for Set {
    fn sub_assign(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(*self).finish()
    }
}
