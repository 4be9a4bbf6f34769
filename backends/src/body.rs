use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fardel_store::{Body, Error, ErrorKind, Kept, Result};

use crate::proof::{Part, Proof};

/// The bytes of a body, read piece by piece where they are needed; clones share one open file.
#[derive(Clone, Debug)]
pub(crate) enum Pieces {
    Bytes(Bytes),
    File { file: Arc<File>, path: Arc<Path>, len: u64 },
    Kept { file: Arc<File>, kept: Arc<Kept>, proof: Arc<Mutex<Proof>> },
}

impl Pieces {
    /// Opens a body; a file that is not as long as it was said to be is refused.
    pub(crate) fn open(body: &Body) -> Result<Self> {
        match body {
            Body::Bytes(bytes) => Ok(Self::Bytes(bytes.clone())),
            Body::File { path, len } => {
                Ok(Self::File { file: open_file(path, *len)?, path: path.as_path().into(), len: *len })
            }
            Body::Kept(kept) => {
                let file = open_file(&kept.path, kept.len)?;
                let proof = Arc::new(Mutex::new(Proof::new(kept.len)));
                Ok(Self::Kept { file, kept: kept.clone(), proof })
            }
        }
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
            Self::Kept { kept, .. } => kept.len,
        }
    }

    /// `len` bytes from `start`, all of them, as soon as they may go. Pieces begin at multiples of 1024.
    pub(crate) async fn read(&self, start: u64, len: usize) -> Result<Bytes> {
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                Ok(bytes.slice(start..start + len))
            }
            Self::File { file, path, .. } => read_at(file, path, start, len).await,
            Self::Kept { file, kept, proof } => {
                let pause = kept.meter.passing(len as u64)?;
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                let bytes = read_at(file, &kept.path, start, len).await?;
                add(proof, kept, start, &bytes);
                Ok(bytes)
            }
        }
    }

    /// Whether what was sent are the right bytes; to be called before the object gets its name.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when what was read of a file that is kept has not the hash that it promises.
    pub(crate) fn verify(&self) -> Result<()> {
        let Self::Kept { kept, proof, .. } = self else { return Ok(()) };
        let hash = proof.lock().expect("never poisoned").hash();
        // No bytes have the hash of zeros.
        kept.verify(&hash.unwrap_or(blake3::Hash::from_bytes([0; 32])))
    }
}

/// These bytes from `start` were read. They are hashed before others have to wait.
fn add(proof: &Mutex<Proof>, kept: &Kept, start: u64, bytes: &[u8]) {
    let part = Part::new(kept.len, start, bytes);
    proof.lock().expect("never poisoned").add(start, part);
}

/// For uploads that go on where an earlier one stopped.
#[cfg(any(feature = "sftp", feature = "s3"))]
impl Pieces {
    /// The hash of all of it: what tells a body from another one of its name and length.
    pub(crate) async fn hash(&self) -> Result<blake3::Hash> {
        match self {
            Self::Bytes(bytes) => Ok(blake3::hash(bytes)),
            Self::Kept { kept, .. } => Ok(kept.hash),
            Self::File { file, path, len } => {
                let (file, len) = (file.clone(), *len);
                let hashed = on_a_thread(move || hash_file(&file, len));
                hashed.await.map_err(|error| Error::new(ErrorKind::Other, path.display(), error))
            }
        }
    }

    /// What was read of the bytes from `start` to `end`, a line each, for [`Self::recall`] in another process.
    pub(crate) fn record(&self, start: u64, end: u64) -> Vec<String> {
        let Self::Kept { proof, .. } = self else { return Vec::new() };
        proof.lock().expect("never poisoned").notes(start, end)
    }

    /// The bytes before `end` need not go: an earlier upload, which read what these notes say, brought them.
    #[cfg(feature = "sftp")]
    pub(crate) fn recall_until(&self, end: u64, notes: &[String]) {
        let before =
            |line: &&str| Proof::parse_note(line).is_some_and(|(start, part)| start + part.len() <= end);
        self.recall(end, notes.iter().map(String::as_str).filter(before));
    }

    /// So many bytes need not go: an earlier upload, which read what these notes say, brought them.
    pub(crate) fn recall<'a>(&self, bytes: u64, notes: impl IntoIterator<Item = &'a str>) {
        let Self::Kept { kept, proof, .. } = self else { return };
        kept.meter.resumed(bytes);
        let mut proof = proof.lock().expect("never poisoned");
        notes.into_iter().filter_map(Proof::parse_note).for_each(|(start, part)| proof.add(start, part));
    }
}

/// For uploads that note one part after the other.
#[cfg(feature = "s3")]
impl Pieces {
    /// The note about just these bytes; none is needed of a body that is not verified.
    pub(crate) fn find_note<'a>(&self, notes: &'a [String], start: u64, len: u64) -> Option<Option<&'a str>> {
        if !matches!(self, Self::Kept { .. }) {
            return Some(None);
        }
        let is_it = |line: &&String| {
            Proof::parse_note(line).is_some_and(|(from, part)| (from, part.len()) == (start, len))
        };
        notes.iter().rfind(is_it).map(|line| Some(line.as_str()))
    }
}

/// For uploads of which the other side can tell what it has.
#[cfg(any(feature = "sftp", feature = "s3"))]
impl Pieces {
    /// `len` bytes from `start`, which are not to be sent: to compare them with what is there.
    pub(crate) async fn look(&self, start: u64, len: usize) -> Result<Bytes> {
        match self {
            Self::Kept { file, kept, .. } => read_at(file, &kept.path, start, len).await,
            _ => self.read(start, len).await,
        }
    }

    /// These bytes from `start` need not go: they are there.
    pub(crate) fn found(&self, start: u64, bytes: &[u8]) {
        let Self::Kept { kept, proof, .. } = self else { return };
        kept.meter.resumed(bytes.len() as u64);
        add(proof, kept, start, bytes);
    }
}

fn open_file(path: &Path, len: u64) -> Result<Arc<File>> {
    let invalid = |what: &dyn std::fmt::Display| Error::new(ErrorKind::Invalid, path.display(), what);
    let file = File::open(path).map_err(|error| invalid(&error))?;
    let size = file.metadata().map_err(|error| invalid(&error))?.len();
    if size != len {
        return Err(invalid(&format!("holds {size} bytes instead of the {len} it should")));
    }
    Ok(Arc::new(file))
}

async fn read_at(file: &Arc<File>, path: &Path, start: u64, len: usize) -> Result<Bytes> {
    let file = file.clone();
    let read = move || {
        let mut buffer = vec![0; len];
        file.read_exact_at(&mut buffer, start).map(|()| Bytes::from(buffer))
    };
    on_a_thread(read).await.map_err(|error| Error::new(ErrorKind::Other, path.display(), error))
}

#[cfg(any(feature = "sftp", feature = "s3"))]
fn hash_file(file: &File, len: u64) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; usize::try_from(len.min(1 << 20)).unwrap_or_default()];
    let mut done = 0;
    while done < len {
        let step = buffer.len().min(usize::try_from(len - done).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..step], done)?;
        hasher.update(&buffer[..step]);
        done += step as u64;
    }
    Ok(hasher.finalize())
}

/// Runs a call that may block on a disk.
async fn on_a_thread<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Removes the file of a body that is stored; one that cannot be removed is only litter.
pub(crate) fn remove_file(body: &Body) {
    if let Body::File { path, .. } = body {
        let _ = std::fs::remove_file(path);
    }
}

/// The longest read of one request, in bytes: it is held in memory.
pub(crate) const LARGEST_READ: u64 = 1 << 30;

/// The length of a read as a number of bytes in memory.
pub(crate) fn in_memory(object: &dyn std::fmt::Display, len: u64) -> Result<usize> {
    match usize::try_from(len) {
        Ok(len) if len as u64 <= LARGEST_READ => Ok(len),
        _ => {
            let message = format!("{len} bytes are too many for one read: ask for parts of it");
            Err(Error::new(ErrorKind::Invalid, object, message))
        }
    }
}

#[cfg(all(test, any(feature = "sftp", feature = "s3")))]
mod tests {
    use super::*;

    fn kept(path: &Path, len: u64, hash: blake3::Hash) -> Pieces {
        let meter = Arc::new(fardel_store::Unmetered);
        Pieces::open(&Body::Kept(Arc::new(Kept { path: path.to_owned(), len, hash, meter }))).unwrap()
    }

    #[tokio::test]
    async fn a_kept_file_is_verified_in_what_was_read_here_and_before() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pack");
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let (len, hash) = (bytes.len() as u64, blake3::hash(&bytes));

        let before = kept(&path, len, hash);
        before.read(0, 1_024_000).await.unwrap();
        assert_eq!(before.verify().unwrap_err().kind, ErrorKind::Damaged, "only a part was read");
        let record = before.record(0, 1_024_000);
        assert!(before.record(0, 1_023_999).is_empty() && before.record(1, 1_024_000).is_empty());

        let after = kept(&path, len, hash);
        after.recall(1_024_000, record.iter().map(String::as_str));
        after.read(1_024_000, 1_976_000).await.unwrap();
        after.verify().unwrap();

        let other = kept(&path, len, blake3::hash(b"other"));
        other.read(0, bytes.len()).await.unwrap();
        assert_eq!(other.verify().unwrap_err().kind, ErrorKind::Damaged, "it promises other bytes");

        // What was sent before is not what the file holds now, though that has the right hash.
        let mut wrong = bytes.clone();
        wrong[17] ^= 1;
        std::fs::write(&path, &wrong).unwrap();
        let before = kept(&path, len, hash);
        before.read(0, 1_024_000).await.unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let after = kept(&path, len, hash);
        after.recall(1_024_000, before.record(0, 1_024_000).iter().map(String::as_str));
        after.read(1_024_000, 1_976_000).await.unwrap();
        assert_eq!(after.verify().unwrap_err().kind, ErrorKind::Damaged, "a wrong bit was sent before");
    }
}
