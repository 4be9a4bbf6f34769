//! A raw disk image or a block device as a source.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result, Shown};
use crate::fiemap;
use crate::meta::{Kind, Meta};
use crate::ranges::DataRanges;
use crate::stability::Stability;
use crate::writers::Kernel;

/// An open raw image, of the size it had when it was opened. It can be read from several threads at once.
#[derive(Debug)]
pub struct Image {
    fd: OwnedFd,
    path: PathBuf,
    meta: Meta,
    size: u64,
    /// Sectors written to the device until it was opened.
    written: Option<u64>,
    /// Digest of the map of a file's blocks when it was opened.
    map: Option<u64>,
    kernel: Kernel,
}

impl Image {
    /// Opens a regular file or a block device, symbolic links followed; anything else is
    /// [`ErrorKind::NotAnImage`]. What is dirty of a file is written to its disk first, so that its map holds still.
    pub fn open(path: &Path) -> Result<Image> {
        let fail = |errno| Error::os(path, "cannot open the image", errno);
        // Look before opening: to open a tape or a pipe does something.
        let stat = rustix::fs::stat(path).map_err(fail)?;
        require_image(path, &Meta::from_stat(&stat, || Ok(Vec::new())).map_err(fail)?)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
            result => result,
        };
        let fd = fd.map_err(fail)?;
        let kernel = Kernel::default();
        let map = match fiemap::digest(&fd) {
            Ok(map) => map,
            Err(errno) => return Err(Error::os(path, "cannot read the map of its blocks", errno)),
        };
        let meta = Meta::of_fd(&fd).map_err(fail)?;
        require_image(path, &meta)?;
        let size = size_of(&fd, &meta).map_err(|e| Error::os(path, "cannot tell its size", e))?;
        let written = device(&meta).and_then(|device| kernel.written(device));
        let _ = rustix::fs::fadvise(&fd, 0, None, Advice::Sequential);
        Ok(Image { fd, path: path.into(), meta, size, written, map, kernel })
    }

    /// The metadata of the file or device node when it was opened.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in it when it was opened, of a device too.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it is a block device.
    pub fn is_device(&self) -> bool {
        device(&self.meta).is_some()
    }

    /// The ranges of data and holes in order, without gaps, up to the size. A device is one range of data.
    pub fn runs(&self) -> DataRanges<'_> {
        DataRanges::new(self.fd.as_fd(), &self.path, self.size)
    }

    /// The map of a file's blocks on its device; ends in an error where the file system has none.
    pub fn extents(&self) -> fiemap::Extents<'_> {
        fiemap::Extents::of(self.fd.as_fd())
    }

    /// Fills `buf` from `offset` on and returns its length; less only at the end of the image.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let mut done = 0;
        while done < most {
            let at = offset + done as u64;
            match rustix::io::pread(&self.fd, &mut buf[done..most], at) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let what = format!("cannot read it at offset {at} of {}", self.size);
                    return Err(Error::os(&self.path, what, errno));
                }
            }
        }
        Ok(done)
    }

    /// Says whether anything shows that it was written since it was opened, or that something is about to write it.
    ///
    /// Ask right after opening, to tell early, and again after reading. A file: size and times, the map of its
    /// blocks (which a defragmenter moves too), a writable loop device, swap. A device: its size and its
    /// counter of written sectors, a mount that may write, a writable device on top of it, swap; the same for its
    /// partitions.
    pub fn stability(&self) -> Result<Stability> {
        let fail = |errno| Error::os(&self.path, "cannot look at it again", errno);
        let now = Meta::of_fd(&self.fd).map_err(fail)?;
        let why = match device(&self.meta) {
            Some(device) => self.device_change(device, &now).map_err(fail)?,
            None => self.file_change(&now).map_err(fail)?,
        };
        Ok(match why {
            None => Stability::Stable,
            Some(why) => Stability::Changed(format!("{} is being written: {why}", Shown(&self.path))),
        })
    }

    fn device_change(&self, device: (u32, u32), now: &Meta) -> Result<Option<String>, Errno> {
        if let Some(writer) = self.kernel.writer_of_device(device) {
            return Ok(Some(writer));
        }
        let size = size_of(&self.fd, now)?;
        if size != self.size {
            return Ok(Some(format!("its size went from {} to {size} bytes", self.size)));
        }
        let written = self.kernel.written(device);
        Ok((written != self.written).then(|| "sectors were written since it was opened".into()))
    }

    fn file_change(&self, now: &Meta) -> Result<Option<String>, Errno> {
        if let Some(writer) = self.kernel.writer_of_file(self.meta.id()) {
            return Ok(Some(writer));
        }
        if let Stability::Changed(why) = Stability::between(&self.meta, now) {
            return Ok(Some(why));
        }
        let map = fiemap::digest(&self.fd)?;
        Ok((map != self.map).then(|| "its blocks moved on the disk".into()))
    }
}

fn require_image(path: &Path, meta: &Meta) -> Result<()> {
    match meta.kind {
        Kind::File | Kind::BlockDevice { .. } => Ok(()),
        _ => Err(Error::new(ErrorKind::NotAnImage, path, "it is neither a regular file nor a block device")),
    }
}

fn device(meta: &Meta) -> Option<(u32, u32)> {
    match meta.kind {
        Kind::BlockDevice { major, minor } => Some((major, minor)),
        _ => None,
    }
}

fn size_of(fd: &OwnedFd, meta: &Meta) -> Result<u64, Errno> {
    match meta.kind {
        Kind::BlockDevice { .. } => rustix::fs::seek(fd, SeekFrom::End(0)),
        _ => Ok(meta.size),
    }
}
