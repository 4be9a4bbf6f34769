//! How far an entry of a restore had come when the power went.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::model::{Item, Kind};
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, XattrFlags};

/// Contents change in units of this many bytes: a page.
const PAGE: usize = 4096;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// As before the restore: absent, or the older one.
    Before,
    /// A file under `NAME.partial`, for its owner alone; what was there before is there still.
    Partial(Torn),
    /// A file under `NAME.partial` with all its attributes.
    PartialFinished,
    /// Under its name, which became durable before its content or its attributes.
    Named(Torn, Attributes),
    /// A file that is taken over: pages of the older one and of the new one, of any length between theirs.
    TakenOver(u64),
    /// As it was saved.
    Done,
}

/// What is left of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Torn {
    /// So many bytes of the beginning.
    len: usize,
    /// Then zeros, up to the full length.
    zeros: bool,
}

/// What is left of the attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attributes {
    /// None: the mode of a new file, the time of its making.
    None,
    /// Owner and extended attributes, not yet mode and time.
    Some,
    /// All.
    All,
}

impl Stage {
    /// A stage by chance that this entry can be at.
    pub fn any(item: &Item, before: Option<&Item>, chance: &mut Chance) -> Self {
        let attributes = *chance.pick(&[Attributes::None, Attributes::Some, Attributes::All]);
        let replaces = before.is_some_and(|before| before.kind == Kind::File);
        // A further name of a file is linked when the file is whole.
        let linked = item.same_as.is_some();
        match (item.kind, chance.below(8)) {
            (_, 0) => Self::Before,
            (_, 1) => Self::Done,
            (Kind::File, _) if linked => Self::Done,
            (Kind::File, 2 | 3) if replaces => Self::TakenOver(chance.next()),
            (Kind::File, 2 | 3) => Self::Partial(Torn::any(item, chance)),
            (Kind::File, 4) => Self::PartialFinished,
            (Kind::File, _) => Self::Named(Torn::any(item, chance), attributes),
            _ => Self::Named(Torn { len: 0, zeros: false }, attributes),
        }
    }
}

impl Torn {
    fn any(item: &Item, chance: &mut Chance) -> Self {
        let whole = item.content.len();
        let page = chance.below((whole / PAGE) as u64 + 1) as usize * PAGE;
        let len = *chance.pick(&[0, 1, page, whole.saturating_sub(1), whole]);
        Self { len: len.min(whole), zeros: chance.one_in(2) }
    }

    fn of(self, content: &[u8]) -> Vec<u8> {
        let mut bytes = content[..self.len].to_vec();
        if self.zeros {
            bytes.resize(content.len(), 0);
        }
        bytes
    }
}

/// Leaves an entry at its path as the power left it; its folder is there. `first` is the file that it is another name of.
///
/// # Errors
/// When the file system refuses.
pub fn leave(
    path: &Path,
    item: &Item,
    before: Option<&Item>,
    first: Option<&Path>,
    stage: Stage,
) -> io::Result<()> {
    match stage {
        Stage::Before => before.map_or(Ok(()), |before| make(path, before, &before.content, Attributes::All)),
        Stage::Done => match first.filter(|first| first.exists()) {
            Some(first) => fs::hard_link(first, path),
            None => make(path, item, &item.content, Attributes::All),
        },
        Stage::Partial(torn) => {
            leave(path, item, before, None, Stage::Before)?;
            make(&partial(path), item, &torn.of(&item.content), Attributes::None)
        }
        Stage::PartialFinished => {
            leave(path, item, before, None, Stage::Before)?;
            make(&partial(path), item, &item.content, Attributes::All)
        }
        Stage::Named(torn, attributes) => {
            let is_file = item.kind == Kind::File;
            let content = if is_file { torn.of(&item.content) } else { item.content.clone() };
            make(path, item, &content, attributes)
        }
        Stage::TakenOver(seed) => {
            let older = before.map_or(&[][..], |before| &before.content);
            make(path, item, &mixed(older, &item.content, seed), Attributes::None)
        }
    }
}

fn mixed(older: &[u8], newer: &[u8], seed: u64) -> Vec<u8> {
    let mut chance = Chance::new(seed);
    let len = *chance.pick(&[older.len(), newer.len()]);
    let mut bytes = older.to_vec();
    bytes.resize(len, 0);
    for start in (0..len.min(newer.len())).step_by(PAGE) {
        let end = (start + PAGE).min(len).min(newer.len());
        match chance.below(4) {
            0 => bytes[start..end].fill(0),
            1 | 2 => bytes[start..end].copy_from_slice(&newer[start..end]),
            _ => {}
        }
    }
    bytes
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

fn make(path: &Path, item: &Item, content: &[u8], attributes: Attributes) -> io::Result<()> {
    match item.kind {
        Kind::File => {
            let file = File::create_new(path)?;
            file.write_all_at(content, 0)?;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        Kind::Dir => {
            fs::create_dir(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        }
        Kind::Symlink => symlink(std::ffi::OsStr::from_bytes(content), path)?,
        Kind::Fifo => rustix::fs::mkfifoat(CWD, path, Mode::from_raw_mode(0o600))?,
        Kind::Other => return Err(io::Error::other("no site has such an entry")),
    }
    if attributes == Attributes::None {
        return Ok(());
    }
    let (user, group) = item.owner;
    lchown(path, Some(user), Some(group))?;
    for (name, value) in &item.xattrs {
        rustix::fs::lsetxattr(path, std::ffi::OsStr::from_bytes(name), value, XattrFlags::empty())?;
    }
    if attributes == Attributes::Some {
        return Ok(());
    }
    if item.kind != Kind::Symlink {
        fs::set_permissions(path, fs::Permissions::from_mode(item.mode))?;
    }
    let (seconds, nanos) = item.mtime.unwrap_or_default();
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
