//! What is backed up: a folder with everything that folders hold, an image with holes, and a stream; in versions.
//!
//! A version is made once and never changed, so that many threads can read it. Each thread reaches its version through
//! a link of its own (`LINK/now`), so that a path stays the same while the content behind it changes; unchanged files
//! are one file in all versions, as they would be on a disk.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::{CWD, Mode, Timespec, Timestamps, XattrFlags};

use super::chance::Chance;
use super::model::{Item, Kind, Model};

/// How many versions a site has.
pub const VERSIONS: usize = 3;
/// Chunk size of the image, in bytes.
pub const CHUNK: usize = 16 << 10;
/// The name of the stream.
pub const STREAM: &str = "stream";

/// How much there is in a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// A few entries and 100 KB, so that many backups can be made of it.
    Tiny,
    /// Some more, and 300 KB.
    Small,
    /// Four times the entries and 6 MB, so that frames and packs fill.
    Large,
}

/// Versions of sources in a temporary folder.
#[derive(Debug)]
pub struct Site {
    folder: tempfile::TempDir,
    versions: Vec<Version>,
}

/// One version.
#[derive(Debug)]
pub struct Version {
    /// What a whole snapshot of it gives back: `tree`, `disk.img` and `stream`.
    pub model: Model,
    /// The bytes of the stream.
    pub stream: Vec<u8>,
}

/// A thread's own way to the versions of a site.
#[derive(Debug)]
pub struct View {
    folder: PathBuf,
    site: PathBuf,
    shown: Mutex<Option<usize>>,
}

impl Site {
    /// Makes the versions of a seed.
    ///
    /// # Errors
    /// When the temporary folder cannot be written.
    pub fn new(seed: u64, scale: Scale) -> io::Result<Self> {
        let folder = crate::disk_tree::temporary_folder("site");
        let mut versions = Vec::new();
        for number in 0..VERSIONS {
            let at = folder.path().join(format!("v{number}"));
            let before = number.checked_sub(1).map(|before| folder.path().join(format!("v{before}")));
            make(&at, before.as_deref(), &mut Chance::of(seed, "site", number as u64), scale)?;
            let stream = Chance::of(seed, "stream", number as u64).text(40_000 + number);
            versions.push(Version { model: Model::default(), stream });
        }
        // Files younger than this are read again by the next backup: their clock could have ticked meanwhile.
        std::thread::sleep(Duration::from_millis(60));
        let mut site = Self { folder, versions };
        for number in 0..VERSIONS {
            // Last, since every version that shares a file changes the number of its names.
            site.versions[number].model = site.model(number)?;
        }
        Ok(site)
    }

    fn model(&self, number: usize) -> io::Result<Model> {
        let at = self.folder.path().join(format!("v{number}"));
        let mut model = Model::of_disk(&at.join("tree"), "tree")?;
        model.merge(Model::of_disk(&at.join("disk.img"), "disk.img")?);
        let stream = Item {
            kind: Kind::File,
            mode: 0o600,
            owner: (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
            mtime: None,
            xattrs: Vec::new(),
            content: self.versions[number].stream.clone(),
            same_as: None,
            cut_off: false,
        };
        model.0.insert(STREAM.as_bytes().to_vec(), stream);
        Ok(model)
    }

    /// A version by its number.
    #[must_use]
    pub fn version(&self, number: usize) -> &Version {
        &self.versions[number]
    }

    /// The folder of a version.
    #[must_use]
    pub fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("v{number}"))
    }

    /// A new way to the versions, by the name of whoever goes it.
    ///
    /// # Errors
    /// When the temporary folder cannot be written.
    pub fn view(&self, name: &str) -> io::Result<View> {
        let folder = self.folder.path().join(format!("view-{name}"));
        fs::create_dir_all(&folder)?;
        Ok(View { folder, site: self.folder.path().to_owned(), shown: Mutex::new(None) })
    }

    /// The path in a model of what is at `path` in a snapshot, through whichever view it was saved.
    #[must_use]
    pub fn name_in_model(&self, path: &[u8]) -> Vec<u8> {
        let views = [self.folder.path().as_os_str().as_bytes(), b"/view-"].concat();
        let below = path.strip_prefix(&views[..]).and_then(|rest| {
            let end = rest.windows(5).position(|part| part == b"/now/")?;
            Some(&rest[end + 5..])
        });
        below.or(path.strip_prefix(b"/")).unwrap_or(path).to_vec()
    }
}

impl View {
    /// From now on `now` is this version.
    ///
    /// # Errors
    /// When the link cannot be made.
    ///
    /// # Panics
    /// Never.
    pub fn show(&self, version: usize) -> io::Result<()> {
        let mut shown = self.shown.lock().expect("nobody panics while linking");
        if *shown == Some(version) {
            return Ok(());
        }
        let next = self.folder.join("next");
        symlink(self.site.join(format!("v{version}")), &next)?;
        rustix::fs::renameat(CWD, &next, CWD, self.folder.join("now"))?;
        *shown = Some(version);
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.folder.join("now/tree")
    }

    /// The image.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder.join("now/disk.img")
    }
}

/// Makes a version. Files that `before` has too are links to them, unless chance changes them.
fn make(at: &Path, before: Option<&Path>, chance: &mut Chance, scale: Scale) -> io::Result<()> {
    let folders: &[&str] = match scale {
        Scale::Tiny => &["tree", "tree/a", "tree/z"],
        Scale::Small | Scale::Large => &["tree", "tree/a", "tree/a/b", "tree/empty", "tree/z"],
    };
    for folder in folders {
        fs::create_dir_all(at.join(folder))?;
    }
    let lengths: &[usize] = match scale {
        Scale::Tiny => &[300, 20_000],
        Scale::Small => &[0, 1, 300, 4096, 20_000, 9_000],
        Scale::Large => &[0, 1, 300, 4096, 20_000, 700_000],
    };
    let files = if scale == Scale::Large { 24 } else { lengths.len() };
    for number in 0..files {
        let folder = ["tree/a", "tree/z", "tree", "tree/a/b"][number % 4];
        let name = format!("{folder}/file-{number:02}");
        let len = lengths[number % lengths.len()];
        match before.map(|before| before.join(&name)).filter(|before| before.exists()) {
            // Goes.
            Some(_) if chance.one_in(6) => continue,
            Some(old) if !chance.one_in(3) => fs::hard_link(old, at.join(&name))?,
            _ => file(&at.join(&name), &content(chance, len), chance)?,
        }
    }
    let only_here = format!("tree/a/new-{:x}", chance.below(1 << 16));
    file(&at.join(only_here), &content(chance, 1000), chance)?;
    if scale != Scale::Tiny {
        sparse(&at.join("tree/z/sparse"), chance)?;
    }
    special(at, chance)?;
    for (i, folder) in folders.iter().enumerate().rev() {
        fs::set_permissions(at.join(folder), fs::Permissions::from_mode([0o755, 0o700, 0o2775][i % 3]))?;
        stamp(&at.join(folder), chance)?;
    }
    image(&at.join("disk.img"), before.map(|before| before.join("disk.img")).as_deref(), chance, scale)
}

/// What is neither a plain file nor a folder, and names and attributes that are not usual.
fn special(at: &Path, chance: &mut Chance) -> io::Result<()> {
    let tree = at.join("tree");
    let odd = tree.join(std::ffi::OsStr::from_bytes(b"caf\xe9 \xff\n"));
    file(&odd, b"a name that is no text", chance)?;
    fs::hard_link(&odd, tree.join("a/same"))?;
    fs::hard_link(&odd, tree.join("z/same"))?;
    // Where the file system has no attributes there are none to save either.
    let _ = rustix::fs::lsetxattr(&odd, "user.fardel", b"\0attribute\xff", XattrFlags::empty());
    symlink(format!("nowhere/{:x}", chance.below(1 << 30)), tree.join("link"))?;
    rustix::fs::mkfifoat(CWD, tree.join("pipe"), Mode::from_raw_mode(0o640))?;
    stamp(&tree.join("link"), chance)?;
    stamp(&tree.join("pipe"), chance)
}

fn content(chance: &mut Chance, len: usize) -> Vec<u8> {
    if chance.one_in(2) { chance.bytes(len) } else { chance.text(len) }
}

fn file(path: &Path, bytes: &[u8], chance: &mut Chance) -> io::Result<()> {
    fs::write(path, bytes)?;
    let is_root = rustix::process::geteuid().is_root();
    // Only root can read a file that nobody may read.
    let mode = *chance.pick(&[0o644, 0o600, 0o400, 0o755, 0o4711, if is_root { 0 } else { 0o440 }]);
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if is_root {
        let (user, group) = (chance.below(3) as u32 * 1000, chance.below(3) as u32 * 1000);
        std::os::unix::fs::chown(path, Some(user), Some(group))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    stamp(path, chance)
}

fn sparse(path: &Path, chance: &mut Chance) -> io::Result<()> {
    let file = File::create_new(path)?;
    file.write_all_at(&chance.bytes(5000), 128 << 10)?;
    file.set_len(300 << 10)?;
    stamp(path, chance)
}

fn image(path: &Path, before: Option<&Path>, chance: &mut Chance, scale: Scale) -> io::Result<()> {
    let chunks = match scale {
        Scale::Tiny => 6,
        Scale::Small => 16,
        Scale::Large => 300,
    };
    let file = match before {
        Some(before) => {
            fs::copy(before, path)?;
            File::options().write(true).open(path)?
        }
        None => File::create_new(path)?,
    };
    let (share, end) = if before.is_some() { (8, chunks - chance.below(2) as usize) } else { (2, chunks) };
    file.set_len((end * CHUNK) as u64 - chance.below(CHUNK as u64 - 1))?;
    for chunk in 0..end - 1 {
        if chance.one_in(share) {
            let bytes = if chance.one_in(8) { vec![0; CHUNK] } else { content(chance, CHUNK) };
            file.write_all_at(&bytes, (chunk * CHUNK) as u64)?;
        }
    }
    stamp(path, chance)
}

fn stamp(path: &Path, chance: &mut Chance) -> io::Result<()> {
    let time = Timespec {
        tv_sec: 1_500_000_000 + chance.below(200_000_000) as i64,
        tv_nsec: chance.below(1_000_000_000) as i64,
    };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}
