use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fardel_store::{Error, ErrorKind, Result};

use super::fs::{Fs, Space};

const MIB: u64 = 1 << 20;

/// Bodies up to this length may use most of the reserve.
pub(super) const SMALL: u64 = MIB;

/// How much of a file system is left free.
///
/// Bodies up to 1 MiB need only an eighth of it left: when packs no longer fit, what was stored can still be sealed, and
/// the tombs can still be written that collection needs to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Bytes; `None` for 1 % of the file system, but at least 64 MiB and at most 1 GiB.
    pub bytes: Option<u64>,
    /// Files.
    pub inodes: u64,
}

impl Default for Reserve {
    fn default() -> Self {
        Self { bytes: None, inodes: 64 }
    }
}

impl Reserve {
    /// Nothing is kept free.
    pub const NONE: Self = Self { bytes: Some(0), inodes: 0 };
}

/// Refuses bodies that would fill the file system up.
#[derive(Debug)]
pub(super) struct Guard {
    reserve: Reserve,
    /// Bytes of admitted bodies that may not be written yet.
    in_flight: AtomicU64,
}

/// The room of an admitted body, given back when dropped.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    guard: &'a Guard,
    bytes: u64,
}

impl Guard {
    pub(super) fn new(reserve: Reserve) -> Self {
        Self { reserve, in_flight: AtomicU64::new(0) }
    }

    /// Admits a body that takes `bytes` and `inodes` more than what is there, if the reserve stays free. `len` is the
    /// length of the body of `object`. A file system that does not tell its space admits everything.
    pub(super) fn admit(
        &self,
        fs: &dyn Fs,
        place: &Path,
        object: &dyn Display,
        len: u64,
        (bytes, inodes): (u64, u64),
    ) -> Result<Admitted<'_>> {
        let others = self.in_flight.fetch_add(bytes, Ordering::Relaxed);
        let admitted = Admitted { guard: self, bytes };
        let Ok(space) = fs.space(place) else { return Ok(admitted) };
        let share = if len > SMALL { 1 } else { 8 };
        let keep_bytes = self.reserve_bytes(space) / share;
        let keep_inodes = self.reserve.inodes / share;
        let wanted = bytes.saturating_add(others).saturating_add(keep_bytes);
        if space.total_bytes > 0 && space.free_bytes < wanted {
            let (free, need, keep) = (in_mib(space.free_bytes), in_mib(bytes + others), in_mib(keep_bytes));
            let what = format!("{free} MiB are free, {need} MiB are needed and {keep} MiB must stay free");
            return Err(refusal(object, place, &what));
        }
        if let Some(free) = space.free_inodes.filter(|free| *free < inodes.saturating_add(keep_inodes)) {
            let what = format!(
                "no more files fit: {free} inodes are free, {inodes} are needed and {keep_inodes} must stay free \
                 (though {} MiB are free)",
                in_mib(space.free_bytes)
            );
            return Err(refusal(object, place, &what));
        }
        Ok(admitted)
    }

    fn reserve_bytes(&self, space: Space) -> u64 {
        self.reserve.bytes.unwrap_or_else(|| (space.total_bytes / 100).clamp(64 * MIB, 1024 * MIB))
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.guard.in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Rounded up, so that a need is never shown as 0.
fn in_mib(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}

fn refusal(object: &dyn Display, place: &Path, what: &str) -> Error {
    let place = place.display();
    let advice = "remove other files there, forget and collect old snapshots, or lower the reserve";
    Error::new(ErrorKind::NoSpace, object, format!("{place}: {what}; {advice}"))
}
