//! One sorted run of the index: a segment in a local file, mapped, with its hash behind it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use fardel_format::segment::{Location, SegmentPack, View};
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
        if blake3::hash(&mapped[..len]).as_bytes() != &mapped[len..] {
            return None;
        }
        Self::new(Backing::Mapped(mapped, len), own).ok()
    }

    /// Keeps a segment at `path` and maps it; where that is not possible it stays in memory.
    ///
    /// # Errors
    /// When the bytes are no segment.
    pub fn save(path: &Path, segment: Vec<u8>, own: bool) -> Result<Self> {
        match Self::write(path, own, |out| out.write_all(&segment)) {
            Some(run) => Ok(run),
            None => Self::new(Backing::Owned(segment), own).map_err(|e| Error::object(path.display(), e)),
        }
    }

    /// Keeps what `fill` writes at `path` and maps it; `None` when that is not possible.
    pub fn write(
        path: &Path,
        own: bool,
        fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Option<Self> {
        write_whole(path, fill).ok()?;
        Self::open(path, own)
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
    pub fn mark_usable(&mut self, mut usable: impl FnMut(&SegmentPack) -> bool) -> Result<(), FormatError> {
        let view = self.view()?;
        let marks = (0..view.counts().packs)
            .map(|i| view.pack(i).map(|pack| usable(&pack)))
            .collect::<Result<_, _>>()?;
        self.usable = marks;
        Ok(())
    }

    /// The packs that may be relied on.
    pub fn usable(&self) -> impl Iterator<Item = SegmentPack> + '_ {
        let view = self.view().ok();
        let rows = (0..).zip(&self.usable).filter(|(_, usable)| **usable);
        rows.filter_map(move |(row, _)| view?.pack(row).ok())
    }

    /// Every place in a usable pack where this chunk lies.
    pub fn locate(&self, id: &ChunkId) -> impl Iterator<Item = Location> + '_ {
        let id = *id;
        let found = self.view().ok().and_then(|view| Some((view, view.find(&id)?)));
        found.into_iter().flat_map(move |(view, first)| self.places(view, first, id))
    }

    /// The same, of the records from number `first` on.
    fn places<'a>(
        &'a self,
        view: View<'a>,
        first: u64,
        id: ChunkId,
    ) -> impl Iterator<Item = Location> + use<'a> {
        view.records_of(first, &id).map_while(Result::ok).filter_map(move |record| {
            let (pack, _) = view.frame(record.frame).ok()?;
            let usable = self.usable.get(pack as usize) == Some(&true);
            usable.then(|| view.location(&record).ok()).flatten()
        })
    }
}

/// A place in a run that only goes forward.
pub struct Forward<'a> {
    /// The run.
    pub run: &'a Run,
    view: View<'a>,
    at: u64,
}

impl<'a> Forward<'a> {
    /// Before its first record.
    ///
    /// # Errors
    /// When the run is damaged.
    pub fn new(run: &'a Run) -> Result<Self, FormatError> {
        Ok(Self { run, view: run.view()?, at: 0 })
    }

    /// Every place in a usable pack where this chunk lies, which does not come before one that was asked for.
    pub fn locate(&mut self, id: &ChunkId) -> impl Iterator<Item = Location> + use<'a> {
        self.at = self.view.advance(self.at, id);
        self.run.places(self.view, self.at, *id)
    }
}

/// Writes a segment and its hash under a temporary name, then renames: a torn write is never opened.
fn write_whole(path: &Path, fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let temporary = folder.join(format!("tmp-{}", fardel_format::ids::Nonce::random()));
    let written = (|| {
        let mut out =
            BufWriter::new(Hashing { out: File::create_new(&temporary)?, hasher: blake3::Hasher::new() });
        fill(&mut out)?;
        let Hashing { mut out, hasher } = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        out.write_all(hasher.finalize().as_bytes())?;
        replace(&temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[expect(
    clippy::disallowed_methods,
    reason = "a run of one name always has the same bytes, so replacing it loses nothing"
)]
fn replace(temporary: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::rename(temporary, path)
}

struct Hashing {
    out: File,
    hasher: blake3::Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
