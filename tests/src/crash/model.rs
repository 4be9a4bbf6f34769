//! What is in a source, all of it: to compare with what a snapshot or a restore gives back.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file, an image or a stream.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// Anything else.
    Other,
}

/// One entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Last change: seconds and nanoseconds; `None` where it follows from the moment of the backup.
    pub mtime: Option<(i64, u32)>,
    /// Extended attributes, sorted.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The bytes of a file, or where a link points.
    pub content: Vec<u8>,
    /// The first path of the same file, when it has several.
    pub same_as: Option<Vec<u8>>,
    /// Only the beginning is there: a checkpoint in the middle of an image.
    pub cut_off: bool,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, mode, owner, mtime, xattrs, content, same_as, cut_off } = self;
        let hash = blake3::hash(content).to_hex();
        write!(f, "{kind:?} {mode:o} {owner:?} {mtime:?} {} attributes", xattrs.len())?;
        write!(f, " {} bytes {} {cut_off}", content.len(), &hash[..8])?;
        same_as.as_ref().map_or(Ok(()), |path| write!(f, " = {}", path.escape_ascii()))
    }
}

/// Every entry by its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model(pub BTreeMap<Vec<u8>, Item>);

impl Model {
    /// Reads what lies at `path`, under the name `name`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_disk(path: &Path, name: &str) -> std::io::Result<Self> {
        let mut model = Self::default();
        let mut files = BTreeMap::new();
        model.add(path, name.as_bytes().to_vec(), &mut files)?;
        Ok(model)
    }

    fn add(
        &mut self,
        path: &Path,
        name: Vec<u8>,
        files: &mut BTreeMap<(u64, u64), Vec<u8>>,
    ) -> std::io::Result<()> {
        let meta = std::fs::symlink_metadata(path)?;
        let mut item = Item::of(path, &meta)?;
        if item.kind == Kind::File && meta.nlink() > 1 {
            item.same_as = first(files, (meta.dev(), meta.ino()), &name);
        }
        self.0.insert(name.clone(), item);
        if meta.is_dir() {
            // By name, as everybody walks: the first name of a file with several is the same everywhere.
            let mut entries: Vec<_> = std::fs::read_dir(path)?.collect::<Result<_, _>>()?;
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                let below = [&name[..], b"/", entry.file_name().as_bytes()].concat();
                self.add(&entry.path(), below, files)?;
            }
        }
        Ok(())
    }

    /// Adds everything of another one.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// What is in one and not in the other, or differs; at most some lines. Empty when they are the same.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let lost = self.0.iter().filter(|(path, _)| !found.0.contains_key(*path));
        let lost = lost.map(|(path, _)| format!("{} is missing", path.escape_ascii()));
        let unlike = found.0.iter().filter_map(|(path, item)| {
            let shown = path.escape_ascii();
            match self.0.get(path) {
                None => Some(format!("{shown} was never there: {item:?}")),
                Some(wanted) if !wanted.is_like(item) => {
                    Some(format!("{shown}: {item:?} instead of {wanted:?}"))
                }
                Some(_) => None,
            }
        });
        lost.chain(unlike).take(5).collect()
    }

    /// What `part` has that is not so here. A part may lack entries, and end in the middle of an image.
    #[must_use]
    pub fn contradictions(&self, part: &Self) -> Vec<String> {
        let wrong = part.0.iter().filter_map(|(path, item)| {
            let wanted = self.0.get(path);
            if wanted.is_some_and(|wanted| wanted.begins_like(item)) {
                return None;
            }
            Some(format!("{}: {item:?} instead of {wanted:?}", path.escape_ascii()))
        });
        wrong.take(5).collect()
    }
}

impl Item {
    fn of(path: &Path, meta: &Metadata) -> std::io::Result<Self> {
        let kind = match meta.file_type() {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_dir() => Kind::Dir,
            kind if kind.is_symlink() => Kind::Symlink,
            kind if kind.is_fifo() => Kind::Fifo,
            _ => Kind::Other,
        };
        Ok(Self {
            kind,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            mtime: Some((meta.mtime(), meta.mtime_nsec() as u32)),
            xattrs: xattrs(path, kind)?,
            content: match kind {
                Kind::File => std::fs::read(path)?,
                Kind::Symlink => std::fs::read_link(path)?.into_os_string().into_encoded_bytes(),
                _ => Vec::new(),
            },
            same_as: None,
            cut_off: false,
        })
    }

    fn is_like(&self, found: &Self) -> bool {
        let mut found = found.clone();
        if self.mtime.is_none() {
            found.mtime = None;
        }
        *self == found
    }

    fn begins_like(&self, found: &Self) -> bool {
        if !found.cut_off {
            return self.is_like(found);
        }
        let begin = self.content.get(..found.content.len());
        let whole = Self { content: self.content.clone(), cut_off: false, ..found.clone() };
        begin == Some(&found.content) && self.is_like(&whole)
    }
}

/// Notes a path of a file with several, and returns the first one that was noted, unless it is this.
pub(crate) fn first(
    files: &mut BTreeMap<(u64, u64), Vec<u8>>,
    id: (u64, u64),
    path: &[u8],
) -> Option<Vec<u8>> {
    let first = files.entry(id).or_insert_with(|| path.to_vec());
    (first != path).then(|| first.clone())
}

fn xattrs(path: &Path, kind: Kind) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    if kind == Kind::Symlink {
        return Ok(Vec::new());
    }
    let mut names = vec![0; 4096];
    let len = match rustix::fs::llistxattr(path, &mut names) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        len => len?,
    };
    let mut xattrs = Vec::new();
    for name in names[..len].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 4096];
        let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value)?;
        xattrs.push((name.to_vec(), value[..len].to_vec()));
    }
    xattrs.sort();
    Ok(xattrs)
}
