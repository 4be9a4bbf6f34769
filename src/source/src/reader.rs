//! Reading one regular file.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, SeekFrom};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::stability::Stability;
use crate::xattr::{self, Xattr};

/// From this size on the kernel is told that the file is read from front to back.
const ADVISE: u64 = 256 << 10;

/// What [`FileReader::next`] came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// At least one byte was appended to the buffer.
    Data,
    /// So many bytes are a hole: they read as zeros and take no space. Nothing was appended.
    Hole(u64),
    /// The end.
    End,
}

/// An open regular file, read once from front to back up to the size it had when it was opened.
#[derive(Debug)]
pub struct FileReader {
    fd: OwnedFd,
    path: PathBuf,
    /// As it was opened.
    meta: Meta,
    at: u64,
    /// Up to here it is known to be data.
    data_until: u64,
    /// It ended before its size.
    short: bool,
}

impl FileReader {
    pub(crate) fn new(fd: OwnedFd, path: PathBuf, meta: Meta) -> Self {
        if meta.size >= ADVISE {
            let _ = rustix::fs::fadvise(&fd, 0, None, Advice::Sequential);
        }
        // Only a file with fewer blocks than bytes can have holes (or is compressed).
        let data_until = if meta.blocks.saturating_mul(512) < meta.size { 0 } else { meta.size };
        FileReader { fd, path, meta, at: 0, data_until, short: false }
    }

    /// The metadata as it was opened: what belongs to the bytes that are read. It may be newer than the walk's.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The path with the root in front, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The extended attributes, sorted by name.
    pub fn xattrs(&self) -> Result<Vec<Xattr>> {
        xattr::of_fd(&self.fd).map_err(|e| Error::seen(&self.path, "cannot read its extended attributes", e))
    }

    /// Appends up to `max` bytes to `buf`, or reports a hole or the end.
    ///
    /// A small file takes one call to the kernel. Give `buf` a capacity of `max` once and reuse it.
    pub fn next(&mut self, buf: &mut Vec<u8>, max: usize) -> Result<Run> {
        if self.short || self.at >= self.meta.size {
            return Ok(Run::End);
        }
        if self.at >= self.data_until
            && let Some(hole) = self.probe()?
        {
            self.at += hole;
            return Ok(Run::Hole(hole));
        }
        let most = (self.data_until - self.at).min(max.max(1) as u64) as usize;
        let got = self.read(buf, most).map_err(|e| {
            Error::os(&self.path, format!("cannot read it at offset {} of {}", self.at, self.meta.size), e)
        })?;
        self.at += got as u64;
        self.short = got == 0;
        Ok(if got == 0 { Run::End } else { Run::Data })
    }

    /// Looks for the next data: a hole up to it, or else `data_until` moves on.
    fn probe(&mut self) -> Result<Option<u64>> {
        let size = self.meta.size;
        let seek = |from| match rustix::fs::seek(&self.fd, from) {
            Ok(at) => Ok(Some(at.min(size))),
            // No data after this point.
            Err(Errno::NXIO) => Ok(None),
            // The file system does not know of holes: all is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                Ok(Some(if let SeekFrom::Data(at) = from { at } else { size }))
            }
            Err(errno) => {
                Err(Error::os(&self.path, format!("cannot look for holes at offset {}", self.at), errno))
            }
        };
        let data = seek(SeekFrom::Data(self.at))?.unwrap_or(size);
        if data > self.at {
            return Ok(Some(data - self.at));
        }
        let hole = seek(SeekFrom::Hole(self.at))?.unwrap_or(size);
        // A hole punched between the two calls must not stop us.
        self.data_until = if hole > self.at { hole } else { size };
        Ok(None)
    }

    /// Appends up to `most` bytes from where it stands; 0 at the end of the file.
    fn read(&self, buf: &mut Vec<u8>, most: usize) -> Result<usize, Errno> {
        let before = buf.len();
        buf.reserve_exact(most);
        // At the end of the file a longer read costs nothing, and the buffer need not be zeroed first.
        let last = self.at + most as u64 == self.meta.size;
        let fits = last || buf.capacity() - before == most;
        if !fits {
            buf.resize(before + most, 0);
        }
        let result = loop {
            let result = match fits {
                true => rustix::io::pread(&self.fd, spare_capacity(buf), self.at),
                false => rustix::io::pread(&self.fd, &mut buf[before..], self.at),
            };
            if result != Err(Errno::INTR) {
                break result.map(|got| got.min(most));
            }
        };
        buf.truncate(before + result.unwrap_or(0));
        result
    }

    /// Says whether the file kept its size and its times from opening to now.
    pub fn finish(self) -> Result<Stability> {
        let now = Meta::of_fd(&self.fd).map_err(|e| Error::seen(&self.path, "cannot look at it again", e))?;
        let stability = Stability::between(&self.meta, &now);
        Ok(match stability {
            Stability::Stable if self.short => {
                Stability::Changed(format!("it ended at {} of {} bytes", self.at, self.meta.size))
            }
            other => other,
        })
    }
}
