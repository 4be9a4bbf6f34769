//! Where the file system keeps the blocks of a file: the FIEMAP ioctl, the only `unsafe` of this crate.
//!
//! Layout and numbers are those of `linux/fiemap.h`.
#![expect(unsafe_code, reason = "FIEMAP is an ioctl that rustix does not have")]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{self, Opcode, Updater};

/// Extents asked for at once.
const BATCH: usize = 256;
/// `FIEMAP_FLAG_SYNC`: write what is dirty first, so that the map does not move under us.
const SYNC: u32 = 1;
/// `FIEMAP_EXTENT_LAST`.
const LAST: u32 = 1;
/// `FS_IOC_FIEMAP` is `_IOWR('f', 11, struct fiemap)`, the header without the extents that follow it.
const FIEMAP: Opcode = ioctl::opcode::read_write::<Header>(b'f', 11);

/// One stretch of a file and where it lies on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file.
    pub logical: u64,
    /// Offset on the device; without meaning for some flags.
    pub physical: u64,
    /// Bytes.
    pub length: u64,
    /// `FIEMAP_EXTENT_*`.
    pub flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct RawExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
#[derive(Debug)]
struct Request {
    header: Header,
    extents: [RawExtent; BATCH],
}

/// The extents of an open file in order, fetched in batches, so that memory does not grow with the fragments.
/// After an error it ends. `EOPNOTSUPP` and the like mean that the file system has no such map.
#[derive(Debug)]
pub struct Extents<'a> {
    fd: BorrowedFd<'a>,
    request: Box<Request>,
    next: usize,
    from: u64,
    done: bool,
}

impl<'a> Extents<'a> {
    /// Starts at the beginning of the file, after writing out what is dirty of it.
    pub fn of(fd: BorrowedFd<'a>) -> Self {
        let request = Request { header: Header::default(), extents: [RawExtent::default(); BATCH] };
        Extents { fd, request: Box::new(request), next: 0, from: 0, done: false }
    }

    fn fetch(&mut self) -> Result<(), Errno> {
        self.next = 0;
        self.request.header = Header {
            start: self.from,
            length: u64::MAX - self.from,
            flags: if self.from == 0 { SYNC } else { 0 },
            count: BATCH as u32,
            ..Header::default()
        };
        loop {
            // SAFETY: FIEMAP takes a `struct fiemap` followed by room for `count` extents, and `Request` is exactly
            // that, `repr(C)`, valid for every bit pattern, and borrowed for the call.
            let result = unsafe {
                let call = Updater::<FIEMAP, Request>::new(&mut *self.request);
                ioctl::ioctl(self.fd, call)
            };
            if result != Err(Errno::INTR) {
                return result;
            }
        }
    }

    fn mapped(&self) -> usize {
        (self.request.header.mapped as usize).min(BATCH)
    }
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.next >= self.mapped() {
            if let Err(errno) = self.fetch() {
                self.done = true;
                return Some(Err(errno));
            }
            if self.mapped() == 0 {
                self.done = true;
                return None;
            }
        }
        let RawExtent { logical, physical, length, flags, .. } = self.request.extents[self.next];
        self.next += 1;
        let end = logical.saturating_add(length);
        // A map that does not move forward would never end.
        self.done = flags & LAST != 0 || end <= self.from;
        self.from = end;
        Some(Ok(Extent { logical, physical, length, flags: flags & !LAST }))
    }
}

/// A digest of the whole map, equal when the same bytes of the file lie in the same places, however the file system
/// cuts them into extents; `None` where there is no such map.
pub(crate) fn digest(fd: impl AsFd) -> Result<Option<u64>, Errno> {
    let mut hasher = DefaultHasher::new();
    let mut interval = None::<Extent>;
    for extent in Extents::of(fd.as_fd()) {
        let extent = match extent {
            Ok(extent) => extent,
            Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::NOSYS | Errno::BADR) => {
                return Ok(None);
            }
            Err(errno) => return Err(errno),
        };
        match &mut interval {
            Some(last) if follows(last, &extent) => last.length += extent.length,
            last => {
                if let Some(whole) = last.replace(extent) {
                    add(&mut hasher, &whole);
                }
            }
        }
    }
    if let Some(whole) = interval {
        add(&mut hasher, &whole);
    }
    Ok(Some(hasher.finish()))
}

fn follows(last: &Extent, next: &Extent) -> bool {
    last.flags == next.flags
        && last.logical.checked_add(last.length) == Some(next.logical)
        && last.physical.checked_add(last.length) == Some(next.physical)
}

fn add(hasher: &mut DefaultHasher, extent: &Extent) {
    (extent.logical, extent.physical, extent.length, extent.flags).hash(hasher);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(size_of::<Header>(), 32);
        assert_eq!(size_of::<RawExtent>(), 56);
        assert_eq!(size_of::<Request>(), 32 + 56 * BATCH);
        assert_eq!(FIEMAP as u64 & 0xffff_ffff, 0xc020_660b);
    }

    #[test]
    fn extents_cover_the_data_and_move_when_it_does() {
        let mut file = tempfile::tempfile().unwrap();
        // More than one batch: every other block is a hole.
        for n in 0..600_u64 {
            file.seek(SeekFrom::Start(n * 8192)).unwrap();
            file.write_all(&[7; 4096]).unwrap();
        }
        let Some(before) = digest(&file).unwrap() else {
            return eprintln!("SKIPPED: the file system of the temporary folder has no FIEMAP");
        };
        let extents: Vec<_> = Extents::of(file.as_fd()).map(Result::unwrap).collect();
        assert!(extents.len() >= 600, "{}", extents.len());
        assert!(extents.windows(2).all(|w| w[0].logical + w[0].length <= w[1].logical));
        for n in 0..600_u64 {
            let at = n * 8192;
            assert!(extents.iter().any(|e| e.logical <= at && at < e.logical + e.length), "{at}");
        }
        assert_eq!(digest(&file).unwrap(), Some(before));
        file.seek(SeekFrom::Start(4096)).unwrap();
        file.write_all(&[8; 4096]).unwrap();
        assert_ne!(digest(&file).unwrap(), Some(before));
        file.set_len(0).unwrap();
        assert_eq!(Extents::of(file.as_fd()).count(), 0);
    }
}
