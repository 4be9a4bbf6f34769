//! The names in one folder, sorted, in little memory.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::RawDir;
use rustix::io::Errno;

/// Low bits of a packed position that hold the length of the name.
const LENGTH_BITS: u32 = 16;

/// The names of a folder by their bytes, without `.` and `..`: all in one buffer, plus 9 bytes for each.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Every name with its NUL.
    bytes: Vec<u8>,
    /// `start << 16 | length`, sorted by the names.
    at: Vec<u64>,
}

impl Names {
    /// Lists an open folder from where its descriptor stands. With an error in the middle, what was read before it
    /// is there too. Stops early, without an error, once `stop` says so.
    pub(crate) fn read(
        folder: impl AsFd,
        scratch: &mut Vec<u8>,
        stop: impl Fn() -> bool,
    ) -> (Names, Option<Errno>) {
        let mut names = Names::default();
        scratch.clear();
        let mut list = RawDir::new(folder.as_fd(), scratch.spare_capacity_mut());
        let error = loop {
            match list.next() {
                None => break None,
                Some(Ok(entry)) => {
                    names.push(entry.file_name());
                    if stop() {
                        break None;
                    }
                }
                Some(Err(Errno::INTR)) => {}
                Some(Err(errno)) => break Some(errno),
            }
        };
        let Names { bytes, at } = &mut names;
        at.sort_unstable_by(|&a, &b| name(bytes, a).cmp(name(bytes, b)));
        // A folder that changes while it is listed may give a name twice.
        at.dedup_by(|a, b| name(bytes, *a) == name(bytes, *b));
        (names, error)
    }

    fn push(&mut self, name: &CStr) {
        let bytes = name.to_bytes_with_nul();
        let length = bytes.len() - 1;
        if matches!(name.to_bytes(), b"." | b".." | b"") || length >= 1 << LENGTH_BITS {
            return;
        }
        self.at.push((self.bytes.len() as u64) << LENGTH_BITS | length as u64);
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    /// The name at a place in the order.
    pub(crate) fn get(&self, place: usize) -> &CStr {
        let (start, length) = span(self.at[place]);
        CStr::from_bytes_with_nul(&self.bytes[start..=start + length]).expect("pushed from a CStr")
    }

    /// Leaves only one name, or none when it is not among them.
    pub(crate) fn keep_only(&mut self, wanted: &[u8]) {
        let at = self.find(wanted).map(|place| self.at[place]);
        self.at = at.into_iter().collect();
    }

    /// The place of a name in the order.
    pub(crate) fn find(&self, wanted: &[u8]) -> Option<usize> {
        self.at.binary_search_by(|&at| name(&self.bytes, at).cmp(wanted)).ok()
    }
}

fn span(at: u64) -> (usize, usize) {
    ((at >> LENGTH_BITS) as usize, (at & ((1 << LENGTH_BITS) - 1)) as usize)
}

fn name(bytes: &[u8], at: u64) -> &[u8] {
    let (start, length) = span(at);
    &bytes[start..start + length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_by_bytes_and_finds() {
        let mut names = Names::default();
        for name in [c"b", c".", c"a\xff", c"a", c"..", c"a.b", c"B", c"CACHEDIR.TAG"] {
            names.push(name);
        }
        let Names { bytes, at } = &mut names;
        at.sort_unstable_by(|&a, &b| name(bytes, a).cmp(name(bytes, b)));
        let all: Vec<_> = (0..names.len()).map(|i| names.get(i)).collect();
        assert_eq!(all, [c"B", c"CACHEDIR.TAG", c"a", c"a.b", c"a\xff", c"b"]);
        assert_eq!(names.find(b"a.b"), Some(3));
        assert_eq!(names.find(b"zz"), None);
        names.keep_only(b"CACHEDIR.TAG");
        assert_eq!((names.len(), names.get(0)), (1, c"CACHEDIR.TAG"));
    }
}
