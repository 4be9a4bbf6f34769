//! Trees: a folder is lines of JSON, one an entry, sorted by the bytes of the name.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::lines::{self, Moment};
use crate::rope::Rope;
use crate::{Error, Result};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket: noted, never restored.
    Socket,
    /// A block device node.
    Block,
    /// A character device node.
    Char,
    /// A disk image or block device, saved by its content in fixed chunks.
    Volume,
}

/// An extended attribute; ACLs are such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xattr {
    /// Its name; attributes whose name is not UTF-8 do not occur on Linux.
    pub name: String,
    /// Its value, as base64.
    #[serde(with = "lines::base64_bytes")]
    pub value: Vec<u8>,
}

/// One entry of a folder, or the top of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The name when it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name as base64 when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_b64: Option<String>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: NodeKind,
    /// Permission bits, as octal digits.
    #[serde(with = "octal")]
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name, where the machine knew one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Group's name, where the machine knew one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Length in bytes, of files and volumes.
    #[serde(default, with = "lines::big")]
    pub size: u64,
    /// Last change of the content.
    pub mtime: Moment,
    /// Last change of content or metadata; tells an unchanged file.
    pub ctime: Moment,
    /// With `dev`: tells hard links of one file, and an unchanged file.
    #[serde(default, with = "lines::big")]
    pub inode: u64,
    /// The file system it lay on.
    #[serde(default, with = "lines::big")]
    pub dev: u64,
    /// Hard links to it.
    #[serde(default, with = "lines::big")]
    pub links: u64,
    /// Where a symbolic link points, when that is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Where a symbolic link points, as base64, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_b64: Option<String>,
    /// Major and minor number of a device node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Extended attributes, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<Xattr>,
    /// The bytes of a file or volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Rope>,
    /// The entries of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Rope>,
    /// Why the bytes may be of different moments: it changed while it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconsistent: Option<String>,
}

impl Node {
    /// A bare entry of this kind, everything else empty.
    #[must_use]
    pub fn new(name: &[u8], kind: NodeKind) -> Self {
        let (name, name_b64) = text_or_base64(name);
        Self {
            name,
            name_b64,
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            size: 0,
            mtime: Moment::default(),
            ctime: Moment::default(),
            inode: 0,
            dev: 0,
            links: 1,
            target: None,
            target_b64: None,
            device: None,
            xattrs: Vec::new(),
            content: None,
            entries: None,
            inconsistent: None,
        }
    }

    /// The bytes of the name.
    ///
    /// # Errors
    /// When it has none, or one that could leave its folder (`..`, a slash, a NUL).
    pub fn name_bytes(&self) -> Result<Cow<'_, [u8]>> {
        let name = bytes_of("a name", self.name.as_deref(), self.name_b64.as_deref())?;
        check_name(&name)?;
        Ok(name)
    }

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// When it says nothing, or holds a NUL.
    pub fn target_bytes(&self) -> Result<Cow<'_, [u8]>> {
        let target = bytes_of("a link's target", self.target.as_deref(), self.target_b64.as_deref())?;
        if target.is_empty() || target.contains(&0) {
            return Err(Error::damaged("a link's target", "it is empty or holds a NUL"));
        }
        Ok(target)
    }

    /// Sets where a symbolic link points.
    pub fn set_target(&mut self, target: &[u8]) {
        (self.target, self.target_b64) = text_or_base64(target);
    }

    /// The entry as one line, its end included.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("an entry is plain data");
        line.push(b'\n');
        line
    }

    /// Reads one line.
    ///
    /// # Errors
    /// When it is no entry.
    pub fn from_line(line: &[u8]) -> Result<Self> {
        serde_json::from_slice(line).map_err(|e| Error::damaged("a tree", e))
    }
}

/// Whether this can stand in a folder.
///
/// # Errors
/// When not.
pub fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty()
        || name == b"."
        || name == b".."
        || name.len() > 255
        || name.iter().any(|b| matches!(b, 0 | b'/'))
    {
        return Err(Error::damaged(
            "a name",
            format!("{:?} cannot stand in a folder", String::from_utf8_lossy(name)),
        ));
    }
    Ok(())
}

/// Text when the bytes are UTF-8, else base64.
#[must_use]
pub fn text_or_base64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(lines::base64(bytes))),
    }
}

/// What [`text_or_base64`] was given.
///
/// # Errors
/// When neither or both are there.
pub fn bytes_of<'a>(
    what: &'static str,
    text: Option<&'a str>,
    base64: Option<&str>,
) -> Result<Cow<'a, [u8]>> {
    match (text, base64) {
        (Some(text), None) => Ok(Cow::Borrowed(text.as_bytes())),
        (None, Some(base64)) => lines::from_base64(what, base64).map(Cow::Owned),
        _ => Err(Error::damaged(what, "exactly one spelling must be there")),
    }
}

/// Bytes at which a leaf of a folder is closed at the latest.
const MAX_LEAF: usize = 256 << 10;
/// Bytes before which no leaf is closed.
const MIN_LEAF: usize = 8 << 10;

/// Decides where the lines of a folder are split into chunks: by names alone, so that a folder of a million entries changes
/// locally.
#[derive(Clone)]
pub struct LeafSplitter {
    key: [u8; 32],
}

impl LeafSplitter {
    /// For a repository's chunker key.
    #[must_use]
    pub fn new(chunker_key: &[u8; 32]) -> Self {
        Self { key: *chunker_key }
    }

    /// Whether the leaf of `len` bytes so far ends after the entry of this name.
    #[must_use]
    pub fn ends_after(&self, name: &[u8], len: usize) -> bool {
        if len < MIN_LEAF {
            return false;
        }
        // One line in 128 is a border: leaves of about 48 KiB.
        len >= MAX_LEAF || blake3::keyed_hash(&self.key, name).as_bytes()[0] & 0x7f == 0
    }
}

/// The lines of a leaf, without their ends.
///
/// # Errors
/// When the leaf does not end at a line's end.
pub fn leaf_lines(bytes: &[u8]) -> Result<impl Iterator<Item = &[u8]>> {
    let body = bytes.strip_suffix(b"\n").ok_or(Error::Truncated { what: "a tree" })?;
    Ok(body.split(|&b| b == b'\n'))
}

mod octal {
    use super::*;

    pub fn serialize<S: Serializer>(value: &u32, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        // What stands beside the permissions in `st_mode` is left out: no reader would take it.
        serializer.collect_str(&format_args!("{:o}", value & 0o7777))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<u32, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        let mode = u32::from_str_radix(&text, 8).map_err(de::Error::custom)?;
        if mode > 0o7777 { Err(de::Error::custom("permission bits beyond 7777")) } else { Ok(mode) }
    }
}

#[cfg(test)]
mod tests;
