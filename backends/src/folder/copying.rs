use std::io;
use std::path::Path;

use fardel_store::{Error, ErrorKind, Result};

use super::fs::{Fs, FsFile};
use super::object::Failed;
use super::staging::Temporary;

/// Files are copied in steps of this many bytes.
const COPY_STEP: usize = 1 << 20;

/// A file of the caller that is copied, and how far.
pub(super) struct Copying {
    source: Box<dyn FsFile>,
    object: String,
    len: u64,
    /// So many bytes of it are in the temporary.
    pub(super) done: u64,
    buffer: Vec<u8>,
}

impl Copying {
    pub(super) fn of(fs: &dyn Fs, path: &Path, len: u64) -> std::result::Result<Self, Failed> {
        let source = open_body(fs, path, len).map_err(Failed::Final)?;
        let buffer = vec![0; COPY_STEP.min(usize::try_from(len).unwrap_or(COPY_STEP))];
        Ok(Self { source, object: path.display().to_string(), len, done: 0, buffer })
    }

    /// The next bytes of the source; empty at its end.
    fn next(&mut self) -> std::result::Result<&[u8], Failed> {
        let step = self.buffer.len().min(usize::try_from(self.len - self.done).unwrap_or(COPY_STEP));
        read_exact(&*self.source, &mut self.buffer[..step], self.done)
            .map_err(|error| Failed::Final(Error::new(ErrorKind::Other, &self.object, error)))?;
        Ok(&self.buffer[..step])
    }

    /// Passes over what `earlier` holds of it already, and cuts off what is something else; `each` is shown what is right.
    pub(super) fn compare(
        &mut self,
        earlier: &mut dyn FsFile,
        failed: impl Fn(&io::Error) -> Failed,
        mut each: impl FnMut(&[u8]),
    ) -> std::result::Result<(), Failed> {
        let mut there = vec![0; self.buffer.len()];
        while self.done < self.len {
            let done = self.done;
            let right = self.next()?;
            let there = &mut there[..right.len()];
            if read_exact(earlier, there, done).is_err() || there != right {
                break;
            }
            each(right);
            self.done += right.len() as u64;
        }
        earlier.cut(self.done).map_err(|error| failed(&error))
    }

    /// Appends what is not done yet to `temporary`, and shows its bytes to `each` before they are written.
    pub(super) fn rest(
        &mut self,
        temporary: &mut Temporary,
        failed: impl Fn(&io::Error) -> Failed,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> std::result::Result<(), Failed> {
        while self.done < self.len {
            let bytes = self.next()?;
            each(bytes).map_err(Failed::Final)?;
            temporary.write_all(bytes).map_err(|error| failed(&error))?;
            let step = bytes.len() as u64;
            self.done += step;
        }
        Ok(())
    }
}

/// A file of the caller, if it is as long as it should be.
pub(super) fn open_body(fs: &dyn Fs, path: &Path, len: u64) -> Result<Box<dyn FsFile>> {
    let in_words = |error: &io::Error| Error::new(ErrorKind::Invalid, path.display(), error);
    let file = fs.open(path).map_err(|error| in_words(&error))?;
    let size = file.stat().map_err(|error| in_words(&error))?.size;
    if size != len {
        let message = format!("holds {size} bytes instead of the {len} it should");
        return Err(Error::new(ErrorKind::Invalid, path.display(), message));
    }
    Ok(file)
}

/// Fills `buffer` from `offset` on.
pub(super) fn read_exact(file: &dyn FsFile, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
