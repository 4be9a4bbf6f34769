//! Names of users and groups.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// More than this of `/etc/passwd` or `/etc/group` is not read.
const MOST: u64 = 16 << 20;

/// The users and groups of `/etc/passwd` and `/etc/group`, read once.
///
/// Users that come from elsewhere (LDAP, systemd-userdb) have no name here; their numbers are kept all the same.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    users: Names,
    groups: Names,
}

impl Owners {
    /// Reads both files; one that is missing or unreadable counts as empty.
    pub fn load() -> Self {
        Self::load_from(Path::new("/etc"))
    }

    fn load_from(folder: &Path) -> Self {
        Owners { users: Names::load(&folder.join("passwd")), groups: Names::load(&folder.join("group")) }
    }

    /// The name of a user.
    pub fn user(&self, uid: u32) -> Option<&str> {
        self.users.by_id.get(&uid).map(AsRef::as_ref)
    }

    /// The name of a group.
    pub fn group(&self, gid: u32) -> Option<&str> {
        self.groups.by_id.get(&gid).map(AsRef::as_ref)
    }

    /// The number of a user.
    pub fn uid_of(&self, name: &str) -> Option<u32> {
        self.users.by_name.get(name).copied()
    }

    /// The number of a group.
    pub fn gid_of(&self, name: &str) -> Option<u32> {
        self.groups.by_name.get(name).copied()
    }
}

#[derive(Clone, Debug, Default)]
struct Names {
    by_id: HashMap<u32, Box<str>>,
    by_name: HashMap<Box<str>, u32>,
}

impl Names {
    fn load(path: &Path) -> Names {
        let mut bytes = Vec::new();
        if let Ok(file) = File::open(path) {
            let _ = file.take(MOST).read_to_end(&mut bytes);
        }
        Names::parse(&bytes)
    }

    /// Both files are lines `name:password:number:...`. The first of equal numbers or names counts, as in libc.
    fn parse(bytes: &[u8]) -> Names {
        let mut names = Names::default();
        for line in bytes.split(|&b| b == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
            let mut fields = line.split(':');
            let (Some(name), Some(_), Some(id)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let Ok(id) = id.parse() else { continue };
            if name.is_empty() || name.starts_with(['#', '+', '-']) {
                continue;
            }
            names.by_id.entry(id).or_insert_with(|| name.into());
            names.by_name.entry(name.into()).or_insert(id);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_libc_parses() {
        let names = Names::parse(
            b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n# c:x:3:\n+nis::9:\nbad\nx:x:zz:\n\
              \xff:x:8:\nnew:x:4294967294:1::/:",
        );
        assert_eq!(names.by_id.get(&0).map(AsRef::as_ref), Some("root"));
        assert_eq!(names.by_name.get("toor"), Some(&0));
        assert_eq!(names.by_name.get("new"), Some(&4_294_967_294));
        assert_eq!(names.by_name.len(), 3);
    }

    #[test]
    fn this_machine_has_root() {
        let owners = Owners::load();
        assert_eq!(owners.user(0), Some("root"));
        assert_eq!(owners.uid_of("root"), Some(0));
        assert_eq!(owners.group(0), Some("root"));
        assert_eq!(owners.gid_of("root"), Some(0));
        assert_eq!(owners.user(u32::MAX), None);
        assert!(Owners::load_from(Path::new("/nonexistent")).user(0).is_none());
    }
}
