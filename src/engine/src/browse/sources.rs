//! Where the sources of a snapshot lie: a tree of the names above them.

use std::collections::BTreeMap;

use fardel_format::root::Root;
use fardel_format::tree::{self, Node};
use fardel_format::{Error as FormatError, Result};

/// Longest path of a source, in bytes: no system takes longer ones.
const MAX_PATH: usize = 4096;
/// Names above all sources together; a reader holds them in memory.
const MAX_STEMS: usize = 1 << 18;

/// A place at or above a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StemId(usize);

#[derive(Default)]
struct Stem {
    source: Option<Node>,
    below: BTreeMap<Vec<u8>, StemId>,
}

/// The sources of a snapshot by their paths.
pub struct Sources(Vec<Stem>);

impl Sources {
    /// The root folder, above everything.
    pub const TOP: StemId = StemId(0);

    /// Those of `root`. When two lie at one path, the last one counts.
    ///
    /// # Errors
    /// When a path is none, or there are too many.
    pub fn of(root: &mut Root) -> Result<Self> {
        let mut sources = Self(vec![Stem::default()]);
        for source in std::mem::take(&mut root.sources) {
            let stem = sources.stem_of(&source.path_bytes()?)?;
            sources.0[stem.0].source = Some(source.node);
        }
        Ok(sources)
    }

    fn stem_of(&mut self, path: &[u8]) -> Result<StemId> {
        let what = "a source's path";
        if path.len() > MAX_PATH {
            return Err(FormatError::TooLarge { what, limit: MAX_PATH as u64 });
        }
        let mut at = Self::TOP;
        for name in super::path::names(path) {
            tree::check_name(name)?;
            let next = StemId(self.0.len());
            let found = *self.0[at.0].below.entry(name.to_vec()).or_insert(next);
            if found == next {
                if self.0.len() == MAX_STEMS {
                    return Err(FormatError::TooLarge { what, limit: MAX_STEMS as u64 });
                }
                self.0.push(Stem::default());
            }
            at = found;
        }
        Ok(at)
    }

    /// The source that lies exactly here.
    pub fn at(&self, stem: StemId) -> Option<&Node> {
        self.0[stem.0].source.as_ref()
    }

    /// What lies below by its names, sorted.
    pub fn below(&self, stem: StemId) -> &BTreeMap<Vec<u8>, StemId> {
        &self.0[stem.0].below
    }

    /// The path and node of every source, sorted by path.
    pub fn all(&self) -> Vec<(Vec<u8>, &Node)> {
        let mut found = Vec::new();
        let mut left = vec![(b"/".to_vec(), Self::TOP)];
        while let Some((path, stem)) = left.pop() {
            left.extend(
                self.below(stem).iter().rev().map(|(name, below)| (super::path::join(&path, name), *below)),
            );
            if let Some(node) = self.at(stem) {
                found.push((path, node));
            }
        }
        found
    }
}
