//! Sorts more fixed records than memory holds: sorted runs in nameless temporary files, merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fardel_format::ids::Nonce;
use fardel_format::search::{first_not_before, head};

use crate::{Error, Result};

/// Runs that are merged at once.
const FAN_IN: usize = 32;
/// Records between two keys that are kept in memory.
const FENCE: usize = 128;
/// Bytes that a sequential reader holds.
const READ: usize = 128 << 10;
/// Bytes of a record that are its key.
pub const KEY: usize = 32;

/// Where temporary files are made.
#[derive(Clone)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// In the local cache.
    pub fn new(cache: &Path) -> Self {
        Self(cache.join("scratch"))
    }

    /// A failure here.
    pub fn failed(&self, error: std::io::Error) -> Error {
        Error::io(&self.0, error)
    }

    /// A new empty file that goes when it is closed.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn file(&self) -> Result<File> {
        std::fs::create_dir_all(&self.0).map_err(|e| self.failed(e))?;
        let path = self.path();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|e| self.failed(e))?;
        std::fs::remove_file(&path).map_err(|e| self.failed(e))?;
        Ok(file)
    }

    /// A free name in it.
    pub fn path(&self) -> PathBuf {
        self.0.join(Nonce::random().to_string())
    }
}

/// Takes records in any order.
pub struct Sorter<const N: usize> {
    scratch: Scratch,
    buffer: Vec<[u8; N]>,
    capacity: usize,
    runs: Vec<OnDisk<N>>,
}

impl<const N: usize> Sorter<N> {
    /// Holds about so many bytes.
    pub fn new(scratch: &Scratch, memory: u64) -> Self {
        let capacity = (memory as usize / N).max(4 * FENCE);
        Self { scratch: scratch.clone(), buffer: Vec::new(), capacity, runs: Vec::new() }
    }

    /// Takes a record.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn push(&mut self, record: [u8; N]) -> Result<()> {
        if self.buffer.len() >= self.capacity {
            self.spill()?;
        }
        self.buffer.push(record);
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        sort(&mut self.buffer);
        let mut writer = RunWriter::create(&self.scratch)?;
        for record in &self.buffer {
            writer.push(record)?;
        }
        self.buffer.clear();
        self.runs.push(writer.finish()?);
        if self.runs.len() >= FAN_IN {
            let merged = merge(&self.scratch, &self.runs)?;
            self.runs = vec![merged];
        }
        Ok(())
    }

    /// All records in order, each once.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn finish(mut self) -> Result<Sorted<N>> {
        if self.runs.is_empty() {
            sort(&mut self.buffer);
            self.buffer.dedup();
            self.buffer.shrink_to_fit();
            return Ok(Sorted::Memory(self.buffer));
        }
        self.spill()?;
        match self.runs.len() {
            1 => Ok(Sorted::Disk(self.runs.remove(0))),
            _ => Ok(Sorted::Disk(merge(&self.scratch, &self.runs)?)),
        }
    }
}

fn key_of(record: &[u8]) -> &[u8; KEY] {
    record.first_chunk().expect("a record is longer than a key")
}

/// The first of these sorted records that does not come before those of this key.
fn first<const N: usize>(records: &[[u8; N]], key: &[u8; KEY]) -> usize {
    first_not_before(records.len() as u64, key, |i| key_of(&records[i as usize])) as usize
}

fn sort<const N: usize>(records: &mut [[u8; N]]) {
    records.sort_unstable_by(|a, b| head(key_of(a)).cmp(&head(key_of(b))).then_with(|| a.cmp(b)));
}

/// Records in order, each once.
pub enum Sorted<const N: usize> {
    /// They fit.
    Memory(Vec<[u8; N]>),
    /// They did not.
    Disk(OnDisk<N>),
}

impl<const N: usize> Sorted<N> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Memory(records) => records.is_empty(),
            Self::Disk(run) => run.len == 0,
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> Records<'_, N> {
        match self {
            Self::Memory(records) => Records::Memory(records.iter()),
            Self::Disk(run) => Records::Disk(run.iter()),
        }
    }

    /// Those whose first 32 bytes are `key`.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn find(&self, key: &[u8; KEY]) -> Result<Vec<[u8; N]>> {
        match self {
            Self::Memory(records) => Ok(records[first(records, key)..]
                .iter()
                .take_while(|record| record[..KEY] == key[..])
                .copied()
                .collect()),
            Self::Disk(run) => run.find(key),
        }
    }
}

/// A sorted run in a file.
pub struct OnDisk<const N: usize> {
    file: File,
    len: u64,
    fences: Vec<[u8; KEY]>,
    path: PathBuf,
}

impl<const N: usize> OnDisk<N> {
    /// Reads `count` records from number `at` into `bytes`.
    fn read(&self, at: u64, count: usize, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.resize(count * N, 0);
        self.file.read_exact_at(bytes, at * N as u64).map_err(|e| Error::io(&self.path, e))
    }

    fn iter(&self) -> DiskRecords<'_, N> {
        DiskRecords { run: self, next: 0, block: Vec::new(), at: 0 }
    }

    /// Those whose first 32 bytes are `key`.
    ///
    /// # Errors
    /// When the file fails.
    pub fn find(&self, key: &[u8; KEY]) -> Result<Vec<[u8; N]>> {
        let mut found = Vec::new();
        // The block before the first fence that is not smaller may end with the key.
        let block = first(&self.fences, key).saturating_sub(1);
        let mut at = (block * FENCE) as u64;
        let mut bytes = Vec::new();
        while at < self.len {
            let count = ((self.len - at) as usize).min(FENCE);
            self.read(at, count, &mut bytes)?;
            let records = bytes.as_chunks::<N>().0;
            let first = first(records, key);
            let before = found.len();
            found.extend(records[first..].iter().take_while(|record| record[..KEY] == key[..]));
            if first + found.len() - before < count {
                break;
            }
            at += count as u64;
        }
        Ok(found)
    }
}

/// Reads a run from its start.
pub struct DiskRecords<'a, const N: usize> {
    run: &'a OnDisk<N>,
    next: u64,
    block: Vec<u8>,
    at: usize,
}

impl<const N: usize> Iterator for DiskRecords<'_, N> {
    type Item = Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.block.len() {
            let count = ((self.run.len - self.next).min((READ / N) as u64)) as usize;
            if count == 0 {
                return None;
            }
            if let Err(error) = self.run.read(self.next, count, &mut self.block) {
                self.next = self.run.len;
                self.block.clear();
                return Some(Err(error));
            }
            self.next += count as u64;
            self.at = 0;
        }
        let record = *self.block[self.at..].first_chunk::<N>().expect("whole records are read");
        self.at += N;
        Some(Ok(record))
    }
}

/// See [`Sorted::iter`].
pub enum Records<'a, const N: usize> {
    /// From memory.
    Memory(std::slice::Iter<'a, [u8; N]>),
    /// From a file.
    Disk(DiskRecords<'a, N>),
}

impl<const N: usize> Iterator for Records<'_, N> {
    type Item = Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Memory(records) => records.next().map(|record| Ok(*record)),
            Self::Disk(records) => records.next(),
        }
    }
}

/// Writes a run that is already in order.
pub struct RunWriter<const N: usize> {
    out: BufWriter<File>,
    len: u64,
    fences: Vec<[u8; KEY]>,
    path: PathBuf,
    last: Option<[u8; N]>,
}

impl<const N: usize> RunWriter<N> {
    /// A run in a new file.
    pub fn create(scratch: &Scratch) -> Result<Self> {
        let out = BufWriter::with_capacity(READ, scratch.file()?);
        Ok(Self { out, len: 0, fences: Vec::new(), path: scratch.0.clone(), last: None })
    }

    /// Appends a record that is not smaller than the last; the same one again is left out.
    pub fn push(&mut self, record: &[u8; N]) -> Result<()> {
        if self.last.as_ref() == Some(record) {
            return Ok(());
        }
        if self.len.is_multiple_of(FENCE as u64) {
            self.fences.push(*key_of(record));
        }
        self.len += 1;
        self.last = Some(*record);
        self.out.write_all(record).map_err(|e| Error::io(&self.path, e))
    }

    /// Closes it.
    pub fn finish(self) -> Result<OnDisk<N>> {
        let Self { out, len, fences, path, .. } = self;
        let file = out.into_inner().map_err(|e| Error::io(&path, e.into_error()))?;
        Ok(OnDisk { file, len, fences, path })
    }
}

/// Merges runs into one.
///
/// # Errors
/// When a temporary file fails.
pub fn merge<const N: usize>(scratch: &Scratch, runs: &[OnDisk<N>]) -> Result<OnDisk<N>> {
    let mut writer = RunWriter::create(scratch)?;
    let mut readers: Vec<_> = runs.iter().map(OnDisk::iter).collect();
    let mut heap = BinaryHeap::new();
    for (i, reader) in readers.iter_mut().enumerate() {
        heap.extend(reader.next().transpose()?.map(|record| Reverse((record, i))));
    }
    while let Some(Reverse((record, i))) = heap.pop() {
        writer.push(&record)?;
        heap.extend(readers[i].next().transpose()?.map(|record| Reverse((record, i))));
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u64) -> [u8; 40] {
        let mut record = [0; 40];
        record[..32].copy_from_slice(blake3::hash(&(n / 2).to_le_bytes()).as_bytes());
        record[32..].copy_from_slice(&n.to_be_bytes());
        record
    }

    #[test]
    fn sorts_the_same_in_memory_and_on_disk() {
        let temp = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(temp.path());
        for (count, memory) in [(0, 1 << 20), (1, 0), (10_000, 1 << 20), (100_000, 0)] {
            let mut sorter = Sorter::<40>::new(&scratch, memory);
            for n in (0..count).rev().chain(0..count / 3) {
                sorter.push(record(n)).unwrap();
            }
            let sorted = sorter.finish().unwrap();
            let mut expected: Vec<_> = (0..count).map(record).collect();
            expected.sort_unstable();
            assert_eq!(sorted.iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
            assert_eq!(sorted.is_empty(), count == 0);
            for n in (0..count).step_by(97) {
                let n = n / 2 * 2;
                let pair: Vec<_> =
                    [record(n), record(n + 1)].into_iter().filter(|r| expected.contains(r)).collect();
                assert_eq!(sorted.find(record(n).first_chunk().unwrap()).unwrap(), pair, "{n}");
            }
            assert!(sorted.find(&[0; 32]).unwrap().is_empty());
            assert!(sorted.find(&[255; 32]).unwrap().is_empty());
        }
        assert_eq!(
            std::fs::read_dir(temp.path().join("scratch")).unwrap().count(),
            0,
            "nothing is left behind"
        );
    }
}
