use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fardel_store::{Body, Error, ErrorKind, Kept, Result};

/// The bytes of a body, read piece by piece where they are needed; clones share one open file.
#[derive(Clone, Debug)]
pub(crate) enum Pieces {
    Bytes(Bytes),
    File { file: Arc<File>, path: Arc<Path>, len: u64 },
    Kept { file: Arc<File>, kept: Arc<Kept>, proof: Arc<Mutex<Proof>> },
}

/// What was read for sending, by where it began: its length and its hash. All of it is compared before the object gets its name.
type Proof = BTreeMap<u64, (u64, blake3::Hash)>;

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
                Ok(Self::Kept { file, kept: kept.clone(), proof: Arc::default() })
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

    /// `len` bytes from `start`, all of them, as soon as they may go.
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
                let record = (len as u64, blake3::hash(&bytes));
                proof.lock().expect("never poisoned").insert(start, record);
                Ok(bytes)
            }
        }
    }

    /// Whether what was sent are the right bytes; to be called before the object gets its name.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when a file that is kept does not hold what its hash promises, or did not when it was read.
    pub(crate) async fn verify(&self) -> Result<()> {
        let Self::Kept { file, kept, proof } = self else { return Ok(()) };
        let (file, len, proof) = (file.clone(), kept.len, proof.lock().expect("never poisoned").clone());
        let compared = on_a_thread(move || compare(&file, len, &proof)).await;
        let compared = compared.map_err(|error| Error::new(ErrorKind::Other, kept.path.display(), error))?;
        // No bytes have the hash of zeros.
        kept.verify(&compared.unwrap_or(blake3::Hash::from_bytes([0; 32])))
    }
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
                let hashed = on_a_thread(move || hash_range(&file, 0, len, &mut blake3::Hasher::new()));
                hashed.await.map_err(|error| Error::new(ErrorKind::Other, path.display(), error))
            }
        }
    }

    /// What was read of the bytes from `start` to `end`, a line each, for [`Self::recall`] in another process.
    pub(crate) fn record(&self, start: u64, end: u64) -> Vec<String> {
        let Self::Kept { proof, .. } = self else { return Vec::new() };
        let proof = proof.lock().expect("never poisoned");
        let within = proof.range(start..end).filter(|(from, (len, _))| *from + len <= end);
        within.map(|(from, (len, hash))| format!("{READ} {from} {len} {hash}")).collect()
    }

    /// The bytes before `end` need not go: an earlier upload, which read what these notes say, brought them.
    #[cfg(feature = "sftp")]
    pub(crate) fn recall_until(&self, end: u64, notes: &[String]) {
        let before = |line: &&str| parse_record(line).is_some_and(|(start, (len, _))| start + len <= end);
        self.recall(end, notes.iter().map(String::as_str).filter(before));
    }

    /// So many bytes need not go: an earlier upload, which read what these notes say, brought them.
    pub(crate) fn recall<'a>(&self, bytes: u64, notes: impl IntoIterator<Item = &'a str>) {
        let Self::Kept { kept, proof, .. } = self else { return };
        kept.meter.resumed(bytes);
        proof.lock().expect("never poisoned").extend(notes.into_iter().filter_map(parse_record));
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
        let is_it =
            |line: &&String| parse_record(line).is_some_and(|(from, (long, _))| (from, long) == (start, len));
        notes.iter().rfind(is_it).map(|line| Some(line.as_str()))
    }
}

/// For uploads of which the other side can tell what it has.
#[cfg(feature = "s3")]
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
        let record = (bytes.len() as u64, blake3::hash(bytes));
        proof.lock().expect("never poisoned").insert(start, record);
    }
}

/// How a note about bytes that were read begins.
#[cfg(any(feature = "sftp", feature = "s3"))]
const READ: &str = "read";

#[cfg(any(feature = "sftp", feature = "s3"))]
fn parse_record(line: &str) -> Option<(u64, (u64, blake3::Hash))> {
    let mut words = line.strip_prefix(READ)?.split_whitespace();
    let (start, len) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((start, (len, blake3::Hash::from_hex(words.next()?).ok()?)))
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

/// Reads all of a file again. Returns its hash when each part has the hash that it had before, and together they are all of it.
fn compare(file: &File, len: u64, proof: &Proof) -> io::Result<Option<blake3::Hash>> {
    let mut whole = blake3::Hasher::new();
    let mut at = 0;
    for (start, (part_len, hash)) in proof {
        let fits = *start == at && *part_len <= len - at;
        if !fits || hash_range(file, at, *part_len, &mut whole)? != *hash {
            return Ok(None);
        }
        at += part_len;
    }
    Ok((at == len).then(|| whole.finalize()))
}

/// The hash of a part of a file; `whole` is told of its bytes too.
fn hash_range(file: &File, start: u64, len: u64, whole: &mut blake3::Hasher) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; usize::try_from(len.min(1 << 20)).unwrap_or_default()];
    let mut done = 0;
    while done < len {
        let step = buffer.len().min(usize::try_from(len - done).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..step], start + done)?;
        hasher.update(&buffer[..step]);
        whole.update(&buffer[..step]);
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
        before.read(0, 1_000_000).await.unwrap();
        assert_eq!(before.verify().await.unwrap_err().kind, ErrorKind::Damaged, "only a part was read");
        let record = before.record(0, 1_000_000);
        assert!(before.record(0, 999_999).is_empty() && before.record(1, 1_000_000).is_empty());

        let after = kept(&path, len, hash);
        after.recall(1_000_000, record.iter().map(String::as_str));
        after.read(1_000_000, 2_000_000).await.unwrap();
        after.verify().await.unwrap();

        let other = kept(&path, len, blake3::hash(b"other"));
        other.read(0, bytes.len()).await.unwrap();
        assert_eq!(other.verify().await.unwrap_err().kind, ErrorKind::Damaged, "it promises other bytes");

        // What was sent before is not what the file holds now, though that has the right hash.
        let mut wrong = bytes.clone();
        wrong[17] ^= 1;
        std::fs::write(&path, &wrong).unwrap();
        let before = kept(&path, len, hash);
        before.read(0, 1_000_000).await.unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let after = kept(&path, len, hash);
        after.recall(1_000_000, before.record(0, 1_000_000).iter().map(String::as_str));
        after.read(1_000_000, 2_000_000).await.unwrap();
        assert_eq!(after.verify().await.unwrap_err().kind, ErrorKind::Damaged, "a wrong bit was sent before");
    }
}
