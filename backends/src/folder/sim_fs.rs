use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;

use super::fs::{DirEntry, Entries, Fs, FsFile, Kind, Medium, Space, Stat};
use super::real_fs::RealFs;
use super::sim_loss::Loss;
use super::sim_node::{DirNode, FileNode, Ino, Node, Tree, errno};
use super::sim_record::Moment;

/// A file system in memory that tells what is durable from what merely looks stored; for tests.
///
/// Contents are durable after a sync of the file, names after a sync of their folder, as POSIX promises and no more. It
/// counts changing calls, fails at any of them, and gives what a loss of power would leave. After a failed sync the
/// data counts as clean, as on Linux: a second sync succeeds and stores nothing.
///
/// It lies below `/sim`; files elsewhere are those of this machine, so that bodies can come from there. Clones share
/// the same files.
#[derive(Clone, Debug)]
pub struct SimFs {
    sim: Arc<Mutex<Sim>>,
}

#[derive(Clone, Debug)]
pub(super) struct Sim {
    pub(super) tree: Tree,
    calls: u64,
    fault: Option<SimFault>,
    failing: Option<Errno>,
    dead: bool,
    read_error: Option<Errno>,
    most_written: usize,
    capacity: (u64, u64),
    /// Bytes that may be used in fact, however many [`Fs::space`] says are free.
    quota: u64,
    refusals: Refusals,
    /// The file system before each changing call, where that is wanted.
    pub(super) moments: Option<Vec<Moment>>,
}

/// A planned fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimFault {
    /// Which changing call it strikes, from 0.
    pub at: u64,
    /// What happens.
    pub how: SimFaultKind,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimFaultKind {
    /// The process dies before the call is carried out.
    CrashBefore,
    /// The process dies after the call was carried out.
    CrashAfter,
    /// The process dies in the middle: half of a write lands. Other calls are not carried out.
    CrashTorn,
    /// The call fails with EIO and is not carried out; later ones go well.
    FailOnce,
    /// The call is carried out but fails with EIO; later ones go well.
    AnswerLost,
    /// The call and all later changing calls fail with EIO.
    FailForever,
}

/// What the file system cannot do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// `RENAME_NOREPLACE` answers EINVAL.
    pub rename_noreplace: bool,
    /// Hard links answer EPERM.
    pub link: bool,
    /// Syncing a folder answers EINVAL.
    pub sync_dir: bool,
}

/// What is to become of a changing call.
enum Verdict {
    Fine,
    /// Fail without having done anything, or after half of it.
    Refuse(io::Error, bool),
    /// Do it, then fail.
    Lose(io::Error),
}

impl Default for SimFs {
    fn default() -> Self {
        Self::new()
    }
}

impl SimFs {
    /// An empty file system with room for 1 TiB and a million files.
    #[must_use]
    pub fn new() -> Self {
        let mut tree = Tree::new();
        tree.make(Path::new("/sim"), Node::Dir(DirNode::default())).expect("the first folder");
        tree.sync_all();
        Self::of_tree(tree)
    }

    /// These files with the usual room, without faults.
    pub(super) fn of_tree(tree: Tree) -> Self {
        Self::with_tree(tree, (1 << 40, 1_000_000), Refusals::default())
    }

    fn with_tree(tree: Tree, capacity: (u64, u64), refusals: Refusals) -> Self {
        let sim = Sim {
            tree,
            calls: 0,
            fault: None,
            failing: None,
            dead: false,
            read_error: None,
            most_written: usize::MAX,
            capacity,
            quota: u64::MAX,
            refusals,
            moments: None,
        };
        Self { sim: Arc::new(Mutex::new(sim)) }
    }

    pub(super) fn sim(&self) -> MutexGuard<'_, Sim> {
        self.sim.lock().expect("no code panics while it holds this lock")
    }

    /// An independent copy, faults and counts included.
    #[must_use]
    pub fn deep_clone(&self) -> Self {
        Self { sim: Arc::new(Mutex::new(self.sim().clone())) }
    }

    /// What the next process finds when this one died and the machine went on; an independent copy without faults.
    #[must_use]
    pub fn after_process_death(&self) -> Self {
        let sim = self.sim();
        Self::with_tree(sim.tree.after_process_death(), sim.capacity, sim.refusals)
    }

    /// What is found when the machine lost power; an independent copy without faults.
    #[must_use]
    pub fn after_power_loss(&self, loss: Loss) -> Self {
        let sim = self.sim();
        Self::with_tree(sim.tree.after_power_loss(loss), sim.capacity, sim.refusals)
    }

    /// In how many ways a loss of power can leave this file system: the numbers of [`Loss::Nth`] lie below it.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.sim().tree.losses()
    }

    /// How many changing calls were made so far, failed ones included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.sim().calls
    }

    /// Plans a fault, or none.
    pub fn set_fault(&self, fault: Option<SimFault>) {
        let mut sim = self.sim();
        sim.fault = fault;
        sim.failing = None;
    }

    /// Whether a planned crash has happened.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.sim().dead
    }

    /// Lets every read of contents fail with EIO, or none.
    pub fn set_read_error(&self, fails: bool) {
        self.sim().read_error = fails.then_some(Errno::IO);
    }

    /// No write takes more than so many bytes at once.
    pub fn set_most_written(&self, bytes: usize) {
        self.sim().most_written = bytes;
    }

    /// Sets the size of the file system in bytes and in files.
    pub fn set_capacity(&self, bytes: u64, inodes: u64) {
        self.sim().capacity = (bytes, inodes);
    }

    /// Sets how many bytes may be used in fact, however many are said to be free.
    pub fn set_quota(&self, bytes: u64) {
        self.sim().quota = bytes;
    }

    /// Sets what the file system cannot do.
    pub fn set_refusals(&self, refusals: Refusals) {
        self.sim().refusals = refusals;
    }

    /// Paths of all files as a running program sees them, below `folder`, with their contents.
    #[must_use]
    pub fn files(&self, folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut sim = self.sim();
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let Ok(ino) = sim.tree.find(&folder) else { continue };
            let names = sim.tree.dir(ino).map(|dir| dir.now.clone()).unwrap_or_default();
            for (name, ino) in names {
                match sim.tree.node(ino) {
                    Node::Dir(_) => folders.push(folder.join(name)),
                    Node::File(file) => found.push((folder.join(name), file.now.to_vec())),
                }
            }
        }
        found
    }
}

impl Sim {
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("crashed")) } else { Ok(()) }
    }

    fn judge(&mut self) -> io::Result<Verdict> {
        self.alive()?;
        self.note_moment();
        let number = self.calls;
        self.calls += 1;
        if let Some(error) = self.failing {
            return Ok(Verdict::Refuse(errno(error), false));
        }
        let Some(fault) = self.fault.filter(|fault| fault.at == number) else { return Ok(Verdict::Fine) };
        let crash = || io::Error::other("crashed");
        Ok(match fault.how {
            SimFaultKind::CrashBefore | SimFaultKind::CrashAfter | SimFaultKind::CrashTorn => {
                self.dead = true;
                match fault.how {
                    SimFaultKind::CrashAfter => Verdict::Lose(crash()),
                    how => Verdict::Refuse(crash(), how == SimFaultKind::CrashTorn),
                }
            }
            SimFaultKind::FailOnce => Verdict::Refuse(errno(Errno::IO), false),
            SimFaultKind::AnswerLost => Verdict::Lose(errno(Errno::IO)),
            SimFaultKind::FailForever => {
                self.failing = Some(Errno::IO);
                Verdict::Refuse(errno(Errno::IO), false)
            }
        })
    }

    /// Carries a changing call out as the planned fault lets it.
    fn change<T>(&mut self, call: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        match self.judge()? {
            Verdict::Fine => call(self),
            Verdict::Refuse(error, _) => Err(error),
            Verdict::Lose(error) => call(self).and(Err(error)),
        }
    }

    fn write(&mut self, ino: Ino, bytes: &[u8]) -> io::Result<usize> {
        let verdict = self.judge()?;
        self.note_write(ino, bytes);
        let room = self.capacity.0.min(self.quota).saturating_sub(self.tree.used_bytes);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let taken = bytes.len().min(room).min(self.most_written);
        match verdict {
            Verdict::Refuse(error, torn) => {
                self.tree.append(ino, &bytes[..if torn { taken / 2 } else { 0 }])?;
                Err(error)
            }
            _ if taken == 0 && !bytes.is_empty() => Err(errno(Errno::NOSPC)),
            Verdict::Fine => self.tree.append(ino, &bytes[..taken]).map(|()| taken),
            Verdict::Lose(error) => self.tree.append(ino, &bytes[..taken]).and(Err(error)),
        }
    }

    fn sync_file(&mut self, ino: Ino) -> io::Result<()> {
        let verdict = self.judge()?;
        let file = self.tree.file(ino)?;
        match verdict {
            Verdict::Refuse(error, _) => {
                // What was stored before stays stored.
                file.spoilt |= !self.dead && file.now != file.durable;
                return Err(error);
            }
            _ if file.spoilt => {}
            _ => file.durable = file.now.clone(),
        }
        if let Verdict::Lose(error) = verdict { Err(error) } else { Ok(()) }
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let verdict = self.judge()?;
        let ino = self.tree.find(path)?;
        self.tree.dir(ino)?;
        if self.refusals.sync_dir {
            return Err(errno(Errno::INVAL));
        }
        match verdict {
            Verdict::Fine => self.tree.sync_dir(ino),
            Verdict::Refuse(error, _) if self.dead => Err(error),
            Verdict::Refuse(error, _) => self.tree.spoil_dir(ino).and(Err(error)),
            Verdict::Lose(error) => self.tree.sync_dir(ino).and(Err(error)),
        }
    }

    fn make(&mut self, path: &Path, node: Node) -> io::Result<Ino> {
        if self.tree.used_inodes >= self.capacity.1 {
            return Err(errno(Errno::NOSPC));
        }
        self.tree.make(path, node)
    }

    fn stat(&self, ino: Ino) -> Stat {
        let (kind, size, links) = match self.tree.node(ino) {
            Node::File(file) => (Kind::File, file.now.len() as u64, u64::from(file.links)),
            Node::Dir(_) => (Kind::Dir, 0, 1),
        };
        Stat { kind, size, dev: 1, ino, owner: 0, links, modified: None }
    }
}

/// An open file of the simulation.
#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    ino: Ino,
    holds_lock: AtomicBool,
}

impl SimFs {
    fn handle(&self, ino: Ino) -> SimFile {
        SimFile { fs: self.clone(), ino, holds_lock: AtomicBool::new(false) }
    }

    fn open_sim(&self, path: &Path) -> io::Result<SimFile> {
        let mut sim = self.sim();
        sim.alive()?;
        let ino = sim.tree.find(path)?;
        match sim.tree.node(ino) {
            Node::File(_) => Ok(self.handle(ino)),
            Node::Dir(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }
}

fn is_simulated(path: &Path) -> bool {
    path.starts_with("/sim")
}

impl Fs for SimFs {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let ino = self.sim().change(|sim| sim.make(path, Node::File(FileNode::default())))?;
        Ok(Box::new(self.handle(ino)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        if !is_simulated(path) {
            return RealFs.open(path);
        }
        Ok(Box::new(self.open_sim(path)?))
    }

    fn open_locked(&self, path: &Path) -> io::Result<Option<Box<dyn FsFile>>> {
        let file = self.open_sim(path)?;
        Ok(if file.try_lock()? { Some(Box::new(file)) } else { None })
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sim().change(|sim| {
            if sim.refusals.rename_noreplace {
                Err(errno(Errno::INVAL))
            } else {
                sim.tree.rename(from, to, false)
            }
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sim().change(|sim| sim.tree.rename(from, to, true))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sim().change(
            |sim| {
                if sim.refusals.link { Err(errno(Errno::PERM)) } else { sim.tree.link(from, to) }
            },
        )
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        if !is_simulated(path) {
            return RealFs.unlink(path);
        }
        self.sim().change(|sim| sim.tree.unlink(path))
    }

    fn mkdir(&self, path: &Path, _private: bool) -> io::Result<()> {
        self.sim().change(|sim| sim.make(path, Node::Dir(DirNode::default()))).map(drop)
    }

    fn rmdir(&self, path: &Path) -> io::Result<()> {
        self.sim().change(|sim| sim.tree.rmdir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sim().sync_dir(path)
    }

    fn sync_all(&self, _path: &Path) -> io::Result<()> {
        self.sim().change(|sim| {
            sim.tree.sync_all();
            Ok(())
        })
    }

    fn read_dir(&self, path: &Path) -> io::Result<Entries> {
        let mut sim = self.sim();
        sim.alive()?;
        let ino = sim.tree.find(path)?;
        let names: Vec<_> = sim.tree.dir(ino)?.now.iter().map(|(name, ino)| (name.clone(), *ino)).collect();
        let entries: Vec<_> = names
            .into_iter()
            .map(|(name, ino)| {
                let stat = sim.stat(ino);
                Ok(DirEntry { name, kind: stat.kind, size: stat.size })
            })
            .collect();
        Ok(Box::new(entries.into_iter()))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let mut sim = self.sim();
        sim.alive()?;
        let ino = sim.tree.find(path)?;
        Ok(sim.stat(ino))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let sim = self.sim();
        sim.alive()?;
        let (bytes, inodes) = sim.capacity;
        Ok(Space {
            total_bytes: bytes,
            free_bytes: bytes.saturating_sub(sim.tree.used_bytes),
            free_inodes: (inodes > 0).then(|| inodes.saturating_sub(sim.tree.used_inodes)),
        })
    }

    fn medium(&self, _path: &Path) -> io::Result<Medium> {
        Ok(Medium::Local)
    }

    fn may_write(&self, _path: &Path) -> bool {
        true
    }

    fn user(&self) -> u32 {
        0
    }

    fn is_real(&self) -> bool {
        false
    }
}

impl FsFile for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.fs.sim().write(self.ino, bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        let ino = self.ino;
        self.fs.sim().change(|sim| sim.tree.cut(ino, usize::try_from(len).unwrap_or(usize::MAX)))
    }

    fn sync_all(&self) -> io::Result<()> {
        self.fs.sim().sync_file(self.ino)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut sim = self.fs.sim();
        sim.alive()?;
        if let Some(error) = sim.read_error {
            return Err(errno(error));
        }
        let bytes = &sim.tree.file(self.ino)?.now;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let len = buffer.len().min(bytes.len() - start);
        buffer[..len].copy_from_slice(&bytes[start..start + len]);
        Ok(len)
    }

    fn stat(&self) -> io::Result<Stat> {
        let sim = self.fs.sim();
        sim.alive()?;
        Ok(sim.stat(self.ino))
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut sim = self.fs.sim();
        sim.alive()?;
        let locked = &mut sim.tree.file(self.ino)?.locked;
        let free = !*locked || self.holds_lock.load(Ordering::Relaxed);
        if free {
            *locked = true;
            self.holds_lock.store(true, Ordering::Relaxed);
        }
        Ok(free)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if *self.holds_lock.get_mut()
            && let Ok(file) = self.fs.sim().tree.file(self.ino)
        {
            file.locked = false;
        }
    }
}
