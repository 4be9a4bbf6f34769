//! What the target does when nobody attacks it, and the folder that all its tests use.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Gid, Uid};

use super::*;

/// A temporary folder with a target in it.
pub(super) struct Folder {
    dir: tempfile::TempDir,
    pub(super) target: Target,
}

impl Folder {
    pub(super) fn new() -> Self {
        Self::with(TargetOptions::default())
    }

    pub(super) fn with(options: TargetOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::create(&dir.path().join("target"), options).unwrap();
        Folder { dir, target }
    }

    /// One with openat2, one as on an old kernel.
    pub(super) fn both_ways() -> [Self; 2] {
        Self::both_ways_with(TargetOptions::default())
    }

    pub(super) fn both_ways_with(options: TargetOptions) -> [Self; 2] {
        let old = Self::with(options);
        old.target.shared.beneath.forget_openat2();
        [Self::with(options), old]
    }

    pub(super) fn ignoring_case() -> Self {
        let mut folder = Self::new();
        let shared = Arc::get_mut(&mut folder.target.shared).unwrap();
        shared.ignores_case = true;
        shared.names = PartialNames::new(true);
        folder
    }

    /// Where the target lies.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("target")
    }
}

pub(super) fn rel(path: &str) -> RelPath {
    RelPath::new(path.split('/').map(str::as_bytes)).unwrap()
}

/// Our own file.
pub(super) fn plain(mode: u32) -> Attributes<'static> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    Attributes { mode, uid, gid, mtime: (1_000_000_000, 123_456_789), xattrs: &[] }
}

pub(super) fn write(
    target: &Target,
    path: &str,
    content: &[u8],
    attributes: &Attributes<'_>,
    replace: bool,
) -> Vec<Warning> {
    let file = target.begin_file(&rel(path)).unwrap();
    file.write_at(0, content).unwrap();
    file.finish(attributes, replace).unwrap()
}

/// Runs it as an ordinary user, in a thread of its own, with a folder that is theirs.
pub(super) fn as_user(run: impl FnOnce(Folder) + Send) {
    let dir = tempfile::tempdir().unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(dir.path(), Some(12_345), Some(12_345)).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if root {
                let (uid, gid) = (Uid::from_raw(12_345), Gid::from_raw(12_345));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
                rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            }
            let target = Target::create(&dir.path().join("target"), TargetOptions::default()).unwrap();
            run(Folder { dir, target });
        });
    });
}

pub(super) fn meta(path: impl AsRef<Path>) -> fs::Metadata {
    fs::symlink_metadata(path).unwrap()
}

#[test]
fn it_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<(Target, PartialFile, InPlaceFile, RelPath)>();
}

#[test]
fn an_ordinary_user_restores_over_read_only_files_and_folders() {
    as_user(|folder| {
        let target = &folder.target;
        for round in 0..2 {
            let made = target.make_dir(&rel("d"), true).unwrap();
            assert_eq!(made, if round == 0 { Made::New } else { Made::Existed });
            // It cannot be opened for writing, so a new one takes its place.
            assert!(target.open_in_place(&rel("d/f"), 1).unwrap().is_none());
            assert!(write(target, "d/f", &[b'0' + round], &plain(0o444), true).is_empty());
            assert!(target.set_dir_attributes(&rel("d"), &plain(0o555)).unwrap().is_empty());
        }
        assert_eq!(fs::read(folder.root().join("d/f")).unwrap(), b"1");
        assert_eq!(meta(folder.root().join("d")).mode() & 0o7777, 0o555);
        assert_eq!(meta(folder.root().join("d/f")).mode() & 0o7777, 0o444);
        target.make_dir(&rel("d"), true).unwrap();
        assert!(target.remove_tree(&rel("d")).unwrap());
    });
}

#[test]
fn what_is_in_the_way_can_be_asked() {
    let folder = Folder::new();
    let target = &folder.target;
    target.make_dir(&rel("d"), false).unwrap();
    write(target, "d/f", b"x", &plain(0o644), false);
    target.symlink(&rel("d/l"), b"..", &plain(0o777), false).unwrap();
    target.fifo(&rel("d/p"), &plain(0o600), false).unwrap();
    let found = ["d", "d/f", "d/l", "d/p", "d/n"].map(|path| target.obstacle(&rel(path)).unwrap());
    use Obstacle::{Dir, File, Special, Symlink};
    assert_eq!(found, [Some(Dir), Some(File), Some(Symlink), Some(Special), None]);
    assert!(target.make_dir(&rel("d/f"), false).is_err());
    assert!(target.begin_file(&rel("d/f/x")).unwrap_err().to_string().contains("a file is in the way"));
    let error = target.begin_file(&rel("d/none/x/y")).unwrap_err().to_string();
    assert!(error.starts_with(&*folder.root().join("d/none").to_string_lossy()), "{error}");
    // The same name again for the same file.
    assert!(matches!(target.hard_link(&rel("d/f"), &rel("d/f2"), false), Ok(Placed::Made(_))));
    assert!(matches!(target.hard_link(&rel("d/f"), &rel("d/f2"), false), Ok(Placed::Made(_))));
    assert_eq!(meta(folder.root().join("d/f")).nlink(), 2);
}

#[test]
fn trees_may_be_thousands_deep() {
    for folder in Folder::both_ways() {
        let target = &folder.target;
        let start = Instant::now();
        let mut path = RelPath::root();
        for level in 0..3_000 {
            path = path.join(format!("level-{level}").as_bytes()).unwrap();
            target.make_dir(&path, false).unwrap();
        }
        assert!(path.as_bytes().len() > 4 * 4096);
        let file = target.begin_file(&path.join(b"f").unwrap()).unwrap();
        file.write_at(0, b"deep").unwrap();
        file.finish(&plain(0o644), false).unwrap();
        target.symlink(&path.join(b"l").unwrap(), b"f", &plain(0o777), false).unwrap();
        let made = start.elapsed();
        // From the bottom up, when the folders are no longer at hand.
        let mut up = Some(path);
        while let Some(path) = up {
            target.set_dir_attributes(&path, &plain(0o755)).unwrap();
            up = path.parent();
        }
        let set = start.elapsed() - made;
        assert!(target.remove_tree(&rel("level-0")).unwrap());
        println!("3,000 levels: made {made:?}, attributes {set:?}, all {:?}", start.elapsed());
        assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 0);
    }
}

#[test]
fn many_small_files_take_few_calls() {
    let folder = Folder::new();
    let start = Instant::now();
    for dir in 0..200 {
        folder.target.make_dir(&rel(&format!("d{dir}")), false).unwrap();
        for file in 0..100 {
            write(&folder.target, &format!("d{dir}/f{file}"), &[7; 500], &plain(0o644), false);
        }
        folder.target.set_dir_attributes(&rel(&format!("d{dir}")), &plain(0o755)).unwrap();
    }
    println!("20,000 small files: {:?}", start.elapsed());
}
