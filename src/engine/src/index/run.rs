//! One sorted run of the index: a segment in a local file, mapped, with its hash behind it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use fardel_format::segment::{Location, View};
use fardel_format::{ChunkId, Error as FormatError};
use memmap2::Mmap;

use super::map;
use crate::{Error, Result};

enum Backing {
    Mapped(Mmap, usize),
    Owned(Vec<u8>),
}

/// A segment that can be searched.
pub struct Run {
    backing: Backing,
    usable: Vec<bool>,
    /// Whether this host wrote it: only then new snapshots may rest on what it says.
    pub own: bool,
}

impl Run {
    /// Opens a run that [`Self::save`] wrote; `None` when it is absent or damaged: it can be made again.
    #[must_use]
    pub fn open(path: &Path, own: bool) -> Option<Self> {
        let mapped = map::map(&File::open(path).ok()?).ok()?;
        let len = mapped.len().checked_sub(32)?;
        if fardel_format::ObjectHash::of(&mapped[..len]).0 != mapped[len..] {
            return None;
        }
        Self::new(Backing::Mapped(mapped, len), own).ok()
    }

    /// Keeps a segment at `path` and maps it; where that is not possible it stays in memory.
    ///
    /// # Errors
    /// When the bytes are no segment.
    pub fn save(path: &Path, segment: Vec<u8>, own: bool) -> Result<Self> {
        let saved = write_whole(path, &segment).ok().and_then(|()| Self::open(path, own));
        match saved {
            Some(run) => Ok(run),
            None => Self::new(Backing::Owned(segment), own).map_err(|e| Error::object(path.display(), e)),
        }
    }

    fn new(backing: Backing, own: bool) -> Result<Self, FormatError> {
        let mut run = Self { backing, usable: Vec::new(), own };
        run.usable = vec![false; run.view()?.counts().packs as usize];
        Ok(run)
    }

    /// The segment.
    ///
    /// # Errors
    /// When it is none.
    pub fn view(&self) -> Result<View<'_>, FormatError> {
        View::new(match &self.backing {
            Backing::Mapped(mapped, len) => &mapped[..*len],
            Backing::Owned(bytes) => bytes,
        })
    }

    /// Marks the packs that may be relied on.
    ///
    /// # Errors
    /// When the pack table is damaged.
    pub fn mark_usable(&mut self, mut usable: impl FnMut(&fardel_format::segment::SegmentPack) -> bool) -> Result<(), FormatError> {
        let view = self.view()?;
        let marks = (0..view.counts().packs).map(|i| view.pack(i).map(|pack| usable(&pack))).collect::<Result<_, _>>()?;
        self.usable = marks;
        Ok(())
    }

    /// Where this chunk lies in a usable pack, first hit that `fits`.
    pub fn locate(&self, id: &ChunkId, mut fits: impl FnMut(&Location) -> bool) -> Option<Location> {
        let view = self.view().ok()?;
        let first = view.find(id)?;
        (first..view.counts().records)
            .map_while(|i| view.record(i).ok().filter(|record| record.id == *id))
            .filter(|record| view.frame(record.frame).is_ok_and(|(pack, _)| self.usable.get(pack as usize) == Some(&true)))
            .filter_map(|record| view.location(&record).ok())
            .find(|location| fits(location))
    }
}

/// Writes a segment and its hash under a temporary name, then renames: a torn write is never opened.
fn write_whole(path: &Path, segment: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let temporary = folder.join(format!("tmp-{}", fardel_format::ids::Nonce::random()));
    let written = (|| {
        let mut file = File::create_new(&temporary)?;
        file.write_all(segment)?;
        file.write_all(&fardel_format::ObjectHash::of(segment).0)?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
