//! The folders that are open above one another, with limits on their number and on what they hold.

use fardel_format::Error as FormatError;
use fardel_format::tree::Node;

use crate::{Error, Result};

/// Folders in one another at most.
pub const MAX_DEPTH: usize = 100_000;
/// Folders that are held open; the ones above are read again when it is their turn.
const MAX_OPEN: usize = 64;
/// Bytes of entries that open folders hold, about.
const MAX_HELD: usize = 8 << 20;
/// Bytes of the entries of all folders above the current one; only a tree made to exhaust memory has more.
const MAX_ABOVE: usize = 64 << 20;

/// A folder that is being read.
pub trait Level {
    /// Bytes that it would let go of.
    fn held(&self) -> usize;
    /// Lets go of everything that can be read again.
    fn put_aside(&mut self);
    /// Bytes that it keeps in any case, about.
    fn weight(&self) -> usize;
}

/// Open folders, the innermost last.
pub struct Stack<T> {
    levels: Vec<T>,
    /// Levels before this are put aside.
    open_from: usize,
    above: usize,
}

impl<T: Level> Stack<T> {
    /// With the outermost folder.
    pub fn new(top: T) -> Self {
        Self { above: top.weight(), levels: vec![top], open_from: 0 }
    }

    /// Goes into a folder.
    ///
    /// # Errors
    /// When there are too many above one another.
    pub fn push(&mut self, level: T) -> Result<()> {
        let too_large = |what, limit| Err(Error::object("a tree", FormatError::TooLarge { what, limit }));
        if self.levels.len() == MAX_DEPTH {
            return too_large("the depth of a tree", MAX_DEPTH as u64);
        }
        if self.above + level.weight() > MAX_ABOVE {
            return too_large("the entries of the folders above", MAX_ABOVE as u64);
        }
        self.above += level.weight();
        self.levels.push(level);
        while self.is_heavy() {
            self.levels[self.open_from].put_aside();
            self.open_from += 1;
        }
        Ok(())
    }

    fn is_heavy(&self) -> bool {
        let open = &self.levels[self.open_from..];
        open.len() > MAX_OPEN || (open.len() > 1 && open.iter().map(Level::held).sum::<usize>() > MAX_HELD)
    }

    /// Leaves the innermost folder.
    pub fn pop(&mut self) -> Option<T> {
        let level = self.levels.pop()?;
        self.above -= level.weight();
        self.open_from = self.open_from.min(self.levels.len().saturating_sub(1));
        Some(level)
    }

    /// The innermost folder.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.levels.last_mut()
    }

    /// Whether no folder is open.
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }
}

/// Bytes that a folder's node and its open listing keep, about.
pub fn weight(node: &Node) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let rope: usize =
        node.entries.as_ref().map_or(0, |rope| rope.lines.iter().map(|line| line.len() + 24).sum());
    let xattrs: usize = node.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len() + 48).sum();
    let words = [&node.user, &node.group, &node.target, &node.target_b64, &node.inconsistent];
    // Its lines stand in the node and in the listing.
    size_of::<Node>() + 2 * rope + xattrs + words.into_iter().map(text).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    struct Fake {
        held: usize,
        weight: usize,
        total: Rc<Cell<usize>>,
    }

    impl Level for Fake {
        fn held(&self) -> usize {
            self.held
        }
        fn put_aside(&mut self) {
            self.total.set(self.total.get() - self.held);
            self.held = 0;
        }
        fn weight(&self) -> usize {
            self.weight
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        for (held, most) in [(1, MAX_OPEN), (1 << 20, MAX_HELD), (100 << 20, 100 << 20)] {
            let total = Rc::new(Cell::new(held));
            let fake = |held| Fake { held, weight: 10, total: total.clone() };
            let mut stack = Stack::new(fake(held));
            for _ in 1..1000 {
                total.set(total.get() + held);
                stack.push(fake(held)).unwrap();
                assert!(total.get() <= most, "{held}: {}", total.get());
            }
            // Back up and down again: what was put aside counts for what it holds then.
            for _ in 0..500 {
                let left = stack.pop().unwrap();
                total.set(total.get() - left.held);
            }
            for _ in 0..200 {
                total.set(total.get() + held);
                stack.push(fake(held)).unwrap();
                assert!(total.get() <= most, "{held}: {}", total.get());
            }
            while stack.pop().is_some() {}
            assert_eq!(stack.above, 0);
        }
    }

    #[test]
    fn depth_and_weight_have_limits() {
        let fake = |weight| Fake { held: 0, weight, total: Rc::default() };
        let mut stack = Stack::new(fake(0));
        (1..MAX_DEPTH).for_each(|_| stack.push(fake(0)).unwrap());
        assert!(stack.push(fake(0)).unwrap_err().to_string().contains("depth"));
        let mut stack = Stack::new(fake(MAX_ABOVE - 5));
        assert!(stack.push(fake(6)).is_err());
        stack.push(fake(5)).unwrap();
        stack.pop();
        stack.push(fake(5)).unwrap();
    }
}
