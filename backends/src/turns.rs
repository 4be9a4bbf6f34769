use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use fardel_store::Key;
use tokio::sync::OwnedMutexGuard;

/// Lets one upload of a name run at a time, where the service cannot refuse the second of two.
///
/// That makes `put_new` of one store exact. Two programs that put different bytes under one name at the same moment remain:
/// names carry the hash of the bytes or a signer's own number, so these are the same bytes.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>);

/// One's turn; it ends when dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    key: Key,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until nobody else puts `key`.
    pub(crate) async fn take(&self, key: &Key) -> Turn<'_> {
        let mutex = self.0.lock().expect("never poisoned").entry(key.clone()).or_default().clone();
        let mut turn = Turn { turns: self, key: key.clone(), held: None };
        turn.held = Some(mutex.lock_owned().await);
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut turns = self.turns.0.lock().expect("never poisoned");
        // The map itself holds one; whoever waits holds another.
        if turns.get(&self.key).is_some_and(|mutex| Arc::strong_count(mutex) == 1) {
            turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_left() {
        let turns = Turns::default();
        let (one, two) = (Key::new("a").unwrap(), Key::new("b").unwrap());
        let turn = turns.take(&one).await;
        let _other = turns.take(&two).await;
        let waiting = turns.take(&one);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(turn);
        drop(waiting.await);
        assert_eq!(turns.0.lock().unwrap().keys().collect::<Vec<_>>(), [&two]);
    }
}
