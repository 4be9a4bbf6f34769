//! Which `NAME.partial` stands for which file.
//!
//! A file is written as `NAME.partial`, and a snapshot may hold a file of that very name. So every such name that is
//! in use is kept here: a name of the snapshot makes an unfinished file move to another one, and an unfinished file
//! takes another one when the snapshot's is there already.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::SysResult;
use super::collision::fold;
use super::rel_path::NAME_MAX;
use super::rename::rename_new;

const SUFFIX: &[u8] = b".partial";
/// So many names are tried for one unfinished file.
const TRIES: u32 = 1000;

/// The names with the suffix that this restore uses, by their path beneath the target.
#[derive(Debug)]
pub(super) struct PartialNames {
    claims: Mutex<HashMap<Vec<u8>, Claim>>,
    ignores_case: bool,
}

#[derive(Clone, Debug)]
enum Claim {
    /// The snapshot has a file of this name. There are few of them.
    Snapshot,
    /// It is being written.
    Unfinished(Arc<Slot>),
    /// It is left for people.
    Left,
}

/// The present name of one unfinished file.
///
/// Locks are taken in one order: a slot's name, then the claims.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) folder: Arc<OwnedFd>,
    parent: Vec<u8>,
    /// The name that it is to have.
    goal: Vec<u8>,
    /// None once it has that name, or was given up.
    name: Mutex<Option<Vec<u8>>>,
}

impl Slot {
    pub(super) fn new(folder: Arc<OwnedFd>, parent: &[u8], goal: &[u8]) -> Arc<Self> {
        Arc::new(Self { folder, parent: parent.to_vec(), goal: goal.to_vec(), name: Mutex::new(None) })
    }

    /// Its present name, which cannot change while the guard is held.
    pub(super) fn name(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialNames {
    pub(super) fn new(ignores_case: bool) -> Self {
        Self { claims: Mutex::default(), ignores_case }
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Claim>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, parent: &[u8], name: &[u8]) -> Vec<u8> {
        let path = [parent, b"/", name].concat();
        if self.ignores_case { fold(&path) } else { path }
    }

    /// Finds a name for an unfinished file that no other uses and that `make` can have: it returns none when something
    /// that is not to be touched has it.
    pub(super) fn begin<T>(
        &self,
        slot: &Arc<Slot>,
        make: impl FnMut(&[u8]) -> SysResult<Option<T>>,
    ) -> SysResult<T> {
        self.choose(slot, &mut slot.name(), make)
    }

    /// As [`PartialNames::begin`], with the lock on the slot's `present` name held all the time.
    fn choose<T>(
        &self,
        slot: &Arc<Slot>,
        present: &mut Option<Vec<u8>>,
        mut make: impl FnMut(&[u8]) -> SysResult<Option<T>>,
    ) -> SysResult<T> {
        for name in candidates(&slot.goal) {
            let key = self.key(&slot.parent, &name);
            {
                let mut claims = self.claims();
                if claims.contains_key(&key) {
                    continue;
                }
                claims.insert(key.clone(), Claim::Unfinished(Arc::clone(slot)));
            }
            // Until it is made, whoever wants the name waits for the slot.
            match make(&name) {
                Ok(Some(made)) => {
                    *present = Some(name);
                    return Ok(made);
                }
                Ok(None) => self.drop_claim(&key, slot),
                Err(errno) => {
                    self.drop_claim(&key, slot);
                    return Err(errno);
                }
            }
        }
        Err(Errno::EXIST)
    }

    fn drop_claim(&self, key: &[u8], slot: &Arc<Slot>) {
        let mut claims = self.claims();
        if matches!(claims.get(key), Some(Claim::Unfinished(other)) if Arc::ptr_eq(other, slot)) {
            claims.remove(key);
        }
    }

    /// The file has its final name, or is given up: its partial name is free.
    pub(super) fn end(&self, slot: &Arc<Slot>, name: &[u8]) {
        self.drop_claim(&self.key(&slot.parent, name), slot);
    }

    /// The unfinished file stays for people under its present name.
    pub(super) fn leave(&self, slot: &Arc<Slot>, name: &[u8]) {
        self.claims().insert(self.key(&slot.parent, name), Claim::Left);
    }

    /// Whether the name stands for an unfinished file, now or for good.
    pub(super) fn is_unfinished(&self, parent: &[u8], name: &[u8]) -> bool {
        has_suffix(name)
            && matches!(self.claims().get(&self.key(parent, name)), Some(Claim::Unfinished(_) | Claim::Left))
    }

    /// Keeps a name for the snapshot: an unfinished file that has it is renamed. EEXIST when what could be restored of
    /// another file is left there.
    pub(super) fn reserve(&self, parent: &[u8], name: &[u8]) -> SysResult<()> {
        if !has_suffix(name) {
            return Ok(());
        }
        let key = self.key(parent, name);
        let slot = {
            let mut claims = self.claims();
            let slot = match claims.get(&key) {
                Some(Claim::Left) => return Err(Errno::EXIST),
                Some(Claim::Unfinished(slot)) => Some(Arc::clone(slot)),
                Some(Claim::Snapshot) | None => None,
            };
            claims.insert(key.clone(), Claim::Snapshot);
            slot
        };
        // Without the guard's name it was finished meanwhile.
        let Some(slot) = slot else { return Ok(()) };
        let mut present = slot.name();
        let Some(old) = present.clone() else { return Ok(()) };
        let moved = self.choose(&slot, &mut present, |new| match rename_new(&slot.folder, &old, new) {
            Ok(()) => Ok(Some(())),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(errno),
        });
        if moved.is_err() {
            self.claims().insert(key, Claim::Unfinished(Arc::clone(&slot)));
        }
        moved
    }
}

fn has_suffix(name: &[u8]) -> bool {
    name.len() >= SUFFIX.len() && name[name.len() - SUFFIX.len()..].eq_ignore_ascii_case(SUFFIX)
}

/// `NAME.partial`, `NAME.2.partial`, … A name that is too long is cut, and gets a hash of the whole.
fn candidates(name: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (1..=TRIES).map(move |n| {
        let number = if n == 1 { String::new() } else { format!(".{n}") };
        let suffix = [number.as_bytes(), SUFFIX].concat();
        if name.len() + suffix.len() <= NAME_MAX {
            return [name, &suffix].concat();
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(name);
        let hash = format!("~{:016x}", hasher.finish());
        let mut end = NAME_MAX - suffix.len() - hash.len();
        // Some file systems take only UTF-8: not within a character.
        while std::str::from_utf8(name).is_ok() && name[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        [&name[..end], hash.as_bytes(), &suffix].concat()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::RelPath;
    use super::super::tests::{Folder, plain, rel, write};

    #[test]
    fn a_snapshot_may_hold_files_with_partial_names() {
        let folder = Folder::new();
        let target = &folder.target;
        let text = |name: &str| fs::read_to_string(folder.root().join(name)).unwrap();
        // The partial name of an unfinished file is asked for by the snapshot.
        let x = target.begin_file(&rel("x")).unwrap();
        x.write_at(0, b"x").unwrap();
        let partial = target.begin_file(&rel("x.partial")).unwrap();
        partial.write_at(0, b"partial").unwrap();
        assert_eq!(target.list_dir(&RelPath::root()).unwrap(), Vec::<Vec<u8>>::new());
        assert!(target.open_in_place(&rel("x.partial"), 0).unwrap().is_none());
        partial.finish(&plain(0o600), false).unwrap();
        x.finish(&plain(0o644), false).unwrap();
        assert_eq!((text("x"), text("x.partial")), ("x".into(), "partial".into()));
        // The snapshot's file is there first, and looks as an earlier restore would have left it.
        write(target, "y.partial", b"partial", &plain(0o600), false);
        write(target, "y", b"y", &plain(0o644), false);
        assert_eq!((text("y"), text("y.partial")), ("y".into(), "partial".into()));
        target.make_dir(&rel("z.partial"), false).unwrap();
        let z = target.begin_file(&rel("z")).unwrap();
        assert_eq!(z.fail(), folder.root().join("z.2.partial"));
        // What is left for people is not replaced by the snapshot's file.
        let w = target.begin_file(&rel("w")).unwrap();
        w.write_at(0, b"w").unwrap();
        let left = w.fail();
        assert!(target.begin_file(&rel("w.partial")).is_err());
        assert!(target.symlink(&rel("w.partial"), b"x", &plain(0o777), true).is_err());
        assert_eq!(fs::read(left).unwrap(), b"w");
        let names = target.list_dir(&RelPath::root()).unwrap();
        assert_eq!(names, [&b"x"[..], b"x.partial", b"y", b"y.partial", b"z.partial"]);
    }

    #[test]
    fn many_threads_restore_names_and_partial_names_at_once() {
        let folder = Folder::new();
        let names = ["a", "a.partial", "a.partial.partial", "a.2.partial"];
        for round in 0..200u32 {
            std::thread::scope(|scope| {
                for name in names {
                    let folder = &folder;
                    scope.spawn(move || {
                        let path = format!("{round}-{name}");
                        write(&folder.target, &path, path.as_bytes(), &plain(0o600), false);
                    });
                }
            });
            for name in names {
                let path = format!("{round}-{name}");
                assert_eq!(fs::read_to_string(folder.root().join(&path)).unwrap(), path);
            }
        }
        assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 800);
    }

    #[test]
    fn long_names_have_a_partial_name_too() {
        let folder = Folder::new();
        for name in ["n".repeat(255), "n".repeat(248), "é".repeat(127), "日".repeat(85)] {
            let file = folder.target.begin_file(&rel(&name)).unwrap();
            let entry = fs::read_dir(folder.root())
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .file_name()
                .into_string()
                .unwrap();
            assert!(entry.ends_with(".partial") && entry.len() <= 255, "{entry}");
            file.write_at(0, b"x").unwrap();
            file.finish(&plain(0o644), false).unwrap();
            fs::remove_file(folder.root().join(&name)).unwrap();
        }
    }
}
