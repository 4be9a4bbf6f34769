//! Counts what the loss of chunks costs, object by object.

use std::collections::{BTreeMap, HashMap};

use fardel_format::SnapshotId;

use super::report::{Cost, Costs, MAX_PATHS, MAX_RANGES};

/// Ranges of one file that are lost with one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ranges {
    ranges: Vec<(u64, u64)>,
    more: u64,
    bytes: u64,
    end: u64,
}

impl Ranges {
    /// Adds a range behind those that are there.
    pub fn add(&mut self, start: u64, len: u64) {
        self.bytes = self.bytes.saturating_add(len);
        let goes_on = self.end == start && self.bytes > len;
        let room = self.ranges.len() < MAX_RANGES;
        match self.ranges.last_mut() {
            Some((_, before)) if goes_on && self.more == 0 => *before += len,
            // The last range that is not kept goes on.
            Some(_) if goes_on => {}
            _ if room => self.ranges.push((start, len)),
            _ => self.more += 1,
        }
        self.end = start.saturating_add(len);
    }
}

/// What is lost of one file or folder, by object.
#[derive(Default)]
pub struct FileLoss {
    by_object: BTreeMap<u32, Ranges>,
    /// How many lost chunks were counted.
    pub chunks: u64,
}

impl FileLoss {
    /// These bytes are lost with this object.
    pub fn add(&mut self, object: u32, start: u64, len: u64) {
        self.chunks += 1;
        self.by_object.entry(object).or_default().add(start, len);
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.by_object.is_empty()
    }
}

#[derive(Default)]
struct Tally {
    costs: Costs,
    /// Where each (path, ranges) stands in `costs.paths`.
    known: HashMap<(String, Ranges), usize>,
}

/// The tallies of all objects.
pub struct Tallies {
    tallies: Vec<Tally>,
    /// Costs that were counted.
    pub count: u64,
}

impl Tallies {
    /// For so many objects.
    pub fn new(objects: usize) -> Self {
        Self { tallies: (0..objects).map(|_| Tally::default()).collect(), count: 0 }
    }

    /// A file that is not whole.
    pub fn file(&mut self, snapshot: SnapshotId, path: &str, loss: FileLoss) {
        for (object, ranges) in loss.by_object {
            self.add(object, snapshot, path, ranges, false);
        }
    }

    /// A folder of which entries cannot be read.
    pub fn folder(&mut self, snapshot: SnapshotId, path: &str, object: u32) {
        self.add(object, snapshot, path, Ranges::default(), true);
    }

    fn add(&mut self, object: u32, snapshot: SnapshotId, path: &str, ranges: Ranges, folder: bool) {
        let Some(tally) = self.tallies.get_mut(object as usize) else { return };
        self.count += 1;
        let fresh = tally.costs.snapshots.last() != Some(&snapshot);
        tally.costs.add_snapshot(snapshot);
        let known = (path.to_owned(), ranges);
        if let Some(at) = tally.known.get(&known) {
            let cost = &mut tally.costs.paths[*at];
            // A folder with several lost parts counts once a snapshot.
            cost.snapshots += u64::from(!folder || fresh);
            return;
        }
        if tally.costs.paths.len() >= MAX_PATHS {
            tally.costs.more_paths += 1;
            return;
        }
        let Ranges { ranges, more, bytes, .. } = known.1.clone();
        tally.known.insert(known, tally.costs.paths.len());
        let path = path.to_owned();
        tally.costs.paths.push(Cost { path, folder, ranges, more_ranges: more, bytes, snapshots: 1 });
    }

    /// The costs of each object.
    pub fn finish(self) -> Vec<Costs> {
        self.tallies.into_iter().map(|tally| tally.costs).collect()
    }
}
