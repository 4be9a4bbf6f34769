//! Data and holes of an open file, one after the other.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::error::{Error, Result};

/// A stretch of bytes, `start` to before `end`, that is all data or all hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRange {
    /// First byte.
    pub start: u64,
    /// The byte after the last; above `start`.
    pub end: u64,
    /// Whether it may hold anything but zeros.
    pub data: bool,
}

/// The ranges of an image in order, without gaps, from 0 to its size.
///
/// They are looked up one at a time, so memory does not grow with the fragments. After an error it ends.
#[derive(Debug)]
pub struct DataRanges<'a> {
    fd: BorrowedFd<'a>,
    path: &'a Path,
    at: u64,
    size: u64,
    /// Where the data begins that ended the hole given last.
    data_at: Option<u64>,
}

impl<'a> DataRanges<'a> {
    pub(crate) fn new(fd: BorrowedFd<'a>, path: &'a Path, size: u64) -> Self {
        DataRanges { fd, path, at: 0, size, data_at: None }
    }

    fn seek(&self, from: SeekFrom, otherwise: u64) -> Result<u64> {
        match rustix::fs::seek(self.fd, from) {
            Ok(at) => Ok(at.min(self.size)),
            // No data any more, up to the end.
            Err(Errno::NXIO) => Ok(self.size),
            // No knowledge of holes: all is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(otherwise),
            Err(errno) => {
                Err(Error::os(self.path, format!("cannot look for holes at offset {}", self.at), errno))
            }
        }
    }

    fn range(&mut self) -> Result<DataRange> {
        let start = self.at;
        let data = match self.data_at.take() {
            Some(data) => data,
            None => self.seek(SeekFrom::Data(start), start)?,
        };
        if data > start {
            self.data_at = (data < self.size).then_some(data);
            return Ok(DataRange { start, end: data, data: false });
        }
        let hole = self.seek(SeekFrom::Hole(start), self.size)?;
        // A hole punched between the two calls must not stop us.
        let end = if hole > start { hole } else { self.size };
        Ok(DataRange { start, end, data: true })
    }
}

impl Iterator for DataRanges<'_> {
    type Item = Result<DataRange>;

    fn next(&mut self) -> Option<Result<DataRange>> {
        if self.at >= self.size {
            return None;
        }
        let range = self.range();
        self.at = range.as_ref().map_or(self.size, |range| range.end);
        Some(range)
    }
}
