//! A stack that may outgrow memory: its lower part lies in a file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::sorter::Scratch;
use crate::Result;

/// A stack that may outgrow memory.
pub struct Stack<const N: usize> {
    scratch: Scratch,
    top: Vec<[u8; N]>,
    capacity: usize,
    below: Option<(File, u64)>,
}

impl<const N: usize> Stack<N> {
    /// Holds about so many bytes.
    pub fn new(scratch: &Scratch, memory: u64) -> Self {
        let capacity = (memory as usize / N).max(256);
        Self { scratch: scratch.clone(), top: Vec::new(), capacity, below: None }
    }

    /// Puts a record on top.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn push(&mut self, record: [u8; N]) -> Result<()> {
        if self.top.len() >= self.capacity {
            let (file, len) = match self.below.take() {
                Some(below) => below,
                None => (self.scratch.file()?, 0),
            };
            let lower = self.capacity / 2;
            let bytes = self.top[..lower].as_flattened();
            file.write_all_at(bytes, len).map_err(|e| self.scratch.failed(e))?;
            self.below = Some((file, len + bytes.len() as u64));
            self.top.drain(..lower);
        }
        self.top.push(record);
        Ok(())
    }

    /// Takes the record on top.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn pop(&mut self) -> Result<Option<[u8; N]>> {
        if self.top.is_empty()
            && let Some((file, len)) = &mut self.below
        {
            let count = (*len as usize / N).min(self.capacity / 2);
            self.top.resize(count, [0; N]);
            *len -= (count * N) as u64;
            file.read_exact_at(self.top.as_flattened_mut(), *len).map_err(|e| self.scratch.failed(e))?;
        }
        Ok(self.top.pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outgrows_memory() {
        let temp = tempfile::tempdir().unwrap();
        let mut stack = Stack::<8>::new(&Scratch::new(temp.path()), 0);
        for n in 0..20_000u64 {
            stack.push(n.to_le_bytes()).unwrap();
            if n % 5 == 0 {
                assert_eq!(stack.pop().unwrap(), Some(n.to_le_bytes()));
            }
        }
        for n in (0..20_000u64).rev().filter(|n| n % 5 != 0) {
            assert_eq!(stack.pop().unwrap(), Some(n.to_le_bytes()));
        }
        assert_eq!(stack.pop().unwrap(), None);
    }
}
