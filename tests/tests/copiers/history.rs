//! A repository as it was at one moment after the other.

use std::collections::BTreeMap;

use bytes::Bytes;
use fardel_format::SnapshotId;
use fardel_format::signers::Role;
use fardel_tests::disk_tree::bytes;
use fardel_tests::vault::{Content, Vault, contents, forge};

/// Every object of a store.
pub type Objects = BTreeMap<String, Bytes>;

/// What a copier copies.
pub struct History {
    pub vault: Vault,
    /// The repository at one moment after the other.
    pub states: Vec<Objects>,
    /// Every object that there ever was.
    pub all: Objects,
    /// Names in the order in which they were written.
    pub age: BTreeMap<String, usize>,
    /// What snapshots give back.
    pub contents: BTreeMap<SnapshotId, Content>,
}

impl History {
    pub fn new() -> Self {
        let vault = Vault::new("copiers");
        let second = vault.add_host("second", &[Role::Write, Role::ForgetOwn]);
        let mut history = Self {
            vault,
            states: Vec::new(),
            all: Objects::new(),
            age: BTreeMap::new(),
            contents: BTreeMap::new(),
        };
        history.stage();
        let first = history.backup(None, 1);
        history.backup(None, 2);
        history.backup(Some(&second), 3);
        history.backup(None, 4);
        // Forgotten, and then collected: whatever no other snapshot's time knew.
        forge::put_forget(&history.vault, &history.vault.host, &[first]);
        history.stage();
        let needed = super::oracle::needed_by_others(history.states.last().unwrap(), &first);
        for name in history.states[1].keys().filter(|name| !needed.contains(*name)) {
            history.vault.store.remove_raw(name);
        }
        history.stage();
        history.backup(None, 5);
        history.backup(Some(&second), 6);
        history
    }

    fn backup(&mut self, host: Option<&fardel_format::keys::HostKey>, number: u64) -> SnapshotId {
        let vault = &self.vault;
        let of = if host.is_some() { "second" } else { "first" };
        vault.write(
            &format!("{of}/file {number}"),
            &bytes(&format!("copiers {number}"), 90_000 + 7_000 * number as usize),
        );
        vault.write(&format!("{of}/changes"), &bytes(&format!("changes {number}"), 3000));
        let tree = vault.folder(of);
        let id = vault.backup_as(host.unwrap_or(&vault.host), &[&tree]);
        let content = contents(&[&tree]);
        self.contents.insert(id, content);
        self.stage();
        id
    }

    fn stage(&mut self) {
        let store = &self.vault.store;
        let objects: Objects =
            store.names().into_iter().map(|name| (name.clone(), store.get_raw(&name).unwrap())).collect();
        for name in objects.keys() {
            let next = self.age.len();
            self.age.entry(name.clone()).or_insert(next);
        }
        self.all.extend(objects.iter().map(|(name, bytes)| (name.clone(), bytes.clone())));
        self.states.push(objects);
    }
}
