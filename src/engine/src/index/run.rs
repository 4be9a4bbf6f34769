//! One sorted run of the index: a segment in a local file, mapped, with its hash behind it.

use std::fs::File;
use std::io::{BufWriter, Write};
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
    pub fn mark_usable(
        &mut self,
        mut usable: impl FnMut(&fardel_format::segment::SegmentPack) -> bool,
    ) -> Result<(), FormatError> {
        let view = self.view()?;
        let marks = (0..view.counts().packs)
            .map(|i| view.pack(i).map(|pack| usable(&pack)))
            .collect::<Result<_, _>>()?;
        self.usable = marks;
        Ok(())
    }

    /// Every place in a usable pack where this chunk lies.
    pub fn locate(&self, id: &ChunkId) -> impl Iterator<Item = Location> + '_ {
        let id = *id;
        let found = self.view().ok().and_then(|view| Some((view, view.find(&id)?)));
        found.into_iter().flat_map(move |(view, first)| {
            (first..view.counts().records)
                .map_while(move |i| view.record(i).ok().filter(|record| record.id == id))
                .filter(move |record| {
                    let usable = |pack: u32| self.usable.get(pack as usize) == Some(&true);
                    view.frame(record.frame).is_ok_and(|(pack, _)| usable(pack))
                })
                .filter_map(move |record| view.location(&record).ok())
        })
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
