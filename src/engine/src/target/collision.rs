//! Names that a foreign file system takes for one and the same, or does not take at all.
//!
//! A folder of the snapshot may hold `readme` and `README`. On a target that ignores case the second would fall onto
//! the first. Three things stand against it, and none of them overwrites:
//! 1. [`collisions`] finds such names in a folder's list beforehand, by Unicode case (not by normalisation: `é` as one
//!    code point and as two are different here), so that a plan can name them.
//! 2. Nothing is placed over what exists unless the call says `replace`; the kernel checks that by its own tables.
//! 3. With `replace`, or for a folder that exists, the target looks whether the name is really listed with these
//!    bytes. When it is not, another spelling is there, and that is an error. It lists the folder for it, so such a
//!    restore over existing files is slow in large folders; only targets that ignore case pay for it.
//!
//! Names that Windows reserves (`NUL`, `COM1.txt`, `a.`) mean something else only there. On a target that tells case
//! apart they are names as any other, so [`Target::foreign_name`](super::Target::foreign_name) speaks up only on one
//! that does not; nothing is renamed or left out for it.

use std::collections::HashMap;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::{SysResult, listing};

/// Two names of one folder that a case-insensitive target takes for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The one that comes first in the list.
    pub first: Vec<u8>,
    /// The one that would fall onto it.
    pub second: Vec<u8>,
}

/// The names of one folder that collide where case is ignored, each with the first of its kind.
pub fn collisions<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Vec<Collision> {
    let mut seen = HashMap::<Vec<u8>, &[u8]>::new();
    let mut found = Vec::new();
    for name in names {
        let first = *seen.entry(fold(name)).or_insert(name);
        if first != name {
            found.push(Collision { first: first.to_vec(), second: name.to_vec() });
        }
    }
    found
}

/// The name without its case. Bytes that are not UTF-8 are folded as ASCII.
pub(super) fn fold(name: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(name) {
        // Up and down again: the final sigma, the long s and the Kelvin sign meet their common forms.
        Ok(name) if !name.is_ascii() => name.to_uppercase().to_lowercase().into_bytes(),
        _ => name.to_ascii_lowercase(),
    }
}

/// Why Windows would not take the name, or would take it for something else.
pub fn reserved(name: &[u8]) -> Option<&'static str> {
    const DEVICES: [&str; 7] = ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"];
    if name.iter().any(|&b| b < 0x20 || b"<>:\"|?*\\".contains(&b)) {
        return Some("it holds a character that Windows does not allow");
    }
    if matches!(name.last(), Some(b'.' | b' ')) {
        return Some("Windows drops the dot or space at its end");
    }
    // `NUL.txt` and `nul .txt` are the device too.
    let stem = name.split(|&b| b == b'.').next().unwrap_or_default().trim_ascii_end().to_ascii_lowercase();
    let stem = String::from_utf8_lossy(&stem);
    let port = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    let port = port.is_some_and(|n| {
        matches!(n, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
    });
    (port || DEVICES.contains(&&*stem)).then_some("Windows takes it for a device")
}

/// Whether the folder's file system ignores case: makes a file and looks for it in the other case. Where nothing can
/// be made, a name that exists already answers; where none does, case is taken to matter.
pub(super) fn ignores_case(folder: impl AsFd) -> bool {
    let folder = folder.as_fd();
    let name = format!(".fardel-case-probe-{:x}-{:x}", std::process::id(), probe_number());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if rustix::fs::openat(folder, name.as_str(), flags, Mode::from_raw_mode(0o600)).is_ok() {
        let found = found_in_other_case(name.as_bytes(), |other| exists(folder, other));
        let _ = rustix::fs::unlinkat(folder, name.as_str(), AtFlags::empty());
        return found == Some(true);
    }
    let Ok(names) = listing::names(folder) else { return false };
    // Both spellings may be real files; a swapped name that is not listed itself but found is the answer.
    names
        .iter()
        .find_map(|name| {
            found_in_other_case(name, |other| exists(folder, other) && !names.iter().any(|n| n == other))
        })
        .unwrap_or(false)
}

/// Numbers the probes of this process: two targets may be opened at once.
fn probe_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// What `exists` says of the name in swapped case; none when it has no ASCII letters.
fn found_in_other_case(name: &[u8], exists: impl Fn(&[u8]) -> bool) -> Option<bool> {
    let swap = |&b: &u8| if b.is_ascii_lowercase() { b.to_ascii_uppercase() } else { b.to_ascii_lowercase() };
    let other: Vec<u8> = name.iter().map(swap).collect();
    (other != name).then(|| exists(&other))
}

fn exists(folder: impl AsFd, name: &[u8]) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Whether the folder lists the name with exactly these bytes.
pub(super) fn is_spelled_so(folder: impl AsFd, name: &[u8]) -> SysResult<bool> {
    let mut found = false;
    listing::each(listing::open(folder)?, |entry| {
        found |= entry == name;
        !found
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(names: &[&str]) -> Vec<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let found = collisions(names.iter().map(|name| name.as_bytes()));
        found.into_iter().map(|c| (text(c.first), text(c.second))).collect()
    }

    #[test]
    fn names_that_differ_in_case_alone_collide() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            pairs(&["readme", "README", "other", "ReadMe"]),
            [pair("readme", "README"), pair("readme", "ReadMe")]
        );
        assert_eq!(pairs(&["Ärger", "ärger"]), [pair("Ärger", "ärger")]);
        assert_eq!(pairs(&["ΣΑΣ", "σας"]), [pair("ΣΑΣ", "σας")]);
        assert_eq!(pairs(&["a", "b", "a.txt", "a"]), []);
        assert_eq!(collisions([&b"\xffA"[..], b"\xffa"]).len(), 1);
    }

    #[test]
    fn reserved_names_are_known_with_any_extension() {
        for bad in [
            "NUL", "nul.txt", "Con", "com1", "LPT9.x.y", "a:b", "a.", "a ", "aux .c", "x\u{1}", "a\\b",
            "com²",
        ] {
            assert!(reserved(bad.as_bytes()).is_some(), "{bad}");
        }
        for good in ["null", "console", "com", "com10", "lpta", ".nul", "a.con", "a b", "$mft"] {
            assert_eq!(reserved(good.as_bytes()), None, "{good}");
        }
    }

    #[test]
    fn the_probe_asks_for_the_other_case() {
        let folding = |there: &'static [u8]| move |name: &[u8]| fold(name) == fold(there);
        let exact = |there: &'static [u8]| move |name: &[u8]| name == there;
        assert_eq!(found_in_other_case(b"aB1", folding(b"aB1")), Some(true));
        assert_eq!(found_in_other_case(b"aB1", exact(b"aB1")), Some(false));
        assert_eq!(found_in_other_case(b"123", folding(b"123")), None);
    }

    #[test]
    fn the_probe_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        assert!(!ignores_case(&fd), "the test's own folder tells case apart");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(!is_spelled_so(&fd, b"x").unwrap());
        std::fs::write(dir.path().join("x"), "").unwrap();
        assert!(is_spelled_so(&fd, b"x").unwrap());
        assert!(!is_spelled_so(&fd, b"X").unwrap());
    }
}
