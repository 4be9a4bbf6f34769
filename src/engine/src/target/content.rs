//! Reading and writing at offsets of an open file, from several threads.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::{Error, Result};

/// So many parts the kernel takes at once.
const IOV_MAX: usize = 1024;

/// An open file of the target, with its path for messages.
#[derive(Debug)]
pub(super) struct Content {
    fd: OwnedFd,
    path: PathBuf,
}

impl Content {
    pub(super) fn new(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Fills `buf` from `offset` on, and returns how much there was before the end of the file.
    pub(super) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match rustix::io::pread(&self.fd, &mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io(&self.path, errno)),
            }
        }
        Ok(done)
    }

    /// Writes all of `data` at `offset`.
    pub(super) fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.write_all_at(offset, &mut [IoSlice::new(data)])
    }

    /// Writes all of `parts` at `offset`, one after the other.
    pub(super) fn write_all_at(&self, mut offset: u64, mut parts: &mut [IoSlice<'_>]) -> Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match rustix::io::pwritev(&self.fd, &parts[..parts.len().min(IOV_MAX)], offset) {
                Ok(0) => return Err(Error::io(&self.path, std::io::ErrorKind::WriteZero)),
                Ok(n) => {
                    offset += n as u64;
                    IoSlice::advance_slices(&mut parts, n);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io(&self.path, errno)),
            }
        }
        Ok(())
    }

    /// Cuts or extends the file; what is added reads as zeros.
    pub(super) fn set_len(&self, size: u64) -> Result<()> {
        rustix::io::retry_on_intr(|| rustix::fs::ftruncate(&self.fd, size))
            .map_err(|errno| Error::io(&self.path, errno))
    }

    /// Makes a range read as zeros, without room on the disk where the file system can.
    pub(super) fn punch_hole(&self, offset: u64, len: u64) -> Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.fd, flags, offset, len)) {
            _ if len == 0 => Ok(()),
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(offset, len),
            Err(errno) => Err(Error::io(&self.path, errno)),
        }
    }

    /// Writes zeros up to the end of the range or of the file, whichever comes first.
    fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let size = rustix::fs::fstat(&self.fd).map_err(|errno| Error::io(&self.path, errno))?.st_size as u64;
        let end = offset.saturating_add(len).min(size);
        let mut at = offset;
        while at < end {
            let n = (end - at).min(ZEROS.len() as u64);
            self.write_at(at, &ZEROS[..n as usize])?;
            at += n;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn holes_are_zeros_either_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let content = Content::new(file.into(), path.clone());
        for write in [false, true] {
            content.set_len(0).unwrap();
            content.write_at(0, &[7; 300_000]).unwrap();
            if write {
                content.write_zeros(100_000, 100_000).unwrap();
                content.write_zeros(290_000, u64::MAX).unwrap();
            } else {
                content.punch_hole(100_000, 100_000).unwrap();
                content.punch_hole(290_000, 1 << 40).unwrap();
                content.punch_hole(5, 0).unwrap();
            }
            let mut back = vec![1; 400_000];
            assert_eq!(content.read_at(0, &mut back).unwrap(), 300_000);
            let zero = |i: usize| (100_000..200_000).contains(&i) || i >= 290_000;
            assert!((0..300_000).all(|i| back[i] == if zero(i) { 0 } else { 7 }));
            assert_eq!(std::fs::metadata(&path).unwrap().size(), 300_000);
        }
    }
}
