use std::sync::Mutex;

/// No more folders than this are remembered: who makes many fills them, too.
const MOST: usize = 1000;

/// Folders that a store made, so that they can be taken away again as long as they are empty.
#[derive(Debug)]
pub(crate) struct Made<T>(Mutex<Vec<T>>);

impl<T> Default for Made<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Made<T> {
    /// This one was made now.
    pub(crate) fn note(&self, folder: T) {
        let mut made = self.0.lock().expect("never poisoned");
        if made.len() < MOST {
            made.push(folder);
        }
    }

    /// All of them, the latest first; from now on they are not remembered.
    pub(crate) fn take(&self) -> Vec<T> {
        let mut made = std::mem::take(&mut *self.0.lock().expect("never poisoned"));
        made.reverse();
        made
    }
}
