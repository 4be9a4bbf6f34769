//! Owner, permissions, extended attributes and times, set through a descriptor.
//!
//! The order matters: a change of owner clears set-user-id and file capabilities, so it comes first; an access list
//! changes the mode, so it comes before it; the time comes last. What cannot be set is a [`Warning`], not an error.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::warning::Warning;
use super::{SysResult, TargetOptions};

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
/// Makes a program as mighty as set-user-id root does.
const CAPABILITIES: &[u8] = b"security.capability";

/// What a file should be beside its content.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Permissions, at most `0o7777`; other bits are ignored.
    pub mode: u32,
    /// Owner on this machine.
    pub uid: u32,
    /// Group on this machine.
    pub gid: u32,
    /// Seconds since 1970, and nanoseconds after.
    pub mtime: (i64, u32),
    /// Extended attributes, access lists among them: full name and value.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// A file whose attributes are to be set.
#[derive(Debug)]
pub(super) enum Handle<'a> {
    /// A regular file or folder, open for reading.
    Open(BorrowedFd<'a>),
    /// A descriptor of anything else (`O_PATH`), which the kernel takes for some calls only through /proc.
    Node { fd: BorrowedFd<'a>, proc: String, symlink: bool },
}

impl<'a> Handle<'a> {
    pub(super) fn node(fd: BorrowedFd<'a>, symlink: bool) -> Self {
        Self::Node { fd, proc: format!("/proc/self/fd/{}", fd.as_raw_fd()), symlink }
    }

    fn stat(&self) -> SysResult<Stat> {
        match self {
            Self::Open(fd) | Self::Node { fd, .. } => rustix::fs::fstat(fd),
        }
    }

    fn chown(&self, uid: Option<Uid>, gid: Option<Gid>) -> SysResult<()> {
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            Self::Node { fd, .. } => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    fn chmod(&self, mode: u32) -> SysResult<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Node { symlink: true, .. } => Ok(()),
            Self::Node { proc, .. } => rustix::fs::chmodat(CWD, proc.as_str(), mode, AtFlags::empty()),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> SysResult<()> {
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Node { proc, .. } => rustix::fs::setxattr(proc.as_str(), name, value, XattrFlags::empty()),
        }
    }

    fn set_times(&self, times: &Timestamps) -> SysResult<()> {
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, times),
            Self::Node { fd, proc, .. } => {
                match rustix::fs::utimensat(fd, c"", times, AtFlags::EMPTY_PATH) {
                    // Before Linux 5.8.
                    Err(Errno::INVAL | Errno::NOENT) => {
                        rustix::fs::utimensat(CWD, proc.as_str(), times, AtFlags::empty())
                    }
                    result => result,
                }
            }
        }
    }

    /// The names of its extended attributes; none where the file system has none. New nodes have none to remove.
    fn xattrs(&self) -> SysResult<Vec<Vec<u8>>> {
        let Self::Open(fd) = self else { return Ok(Vec::new()) };
        let mut few = [0; 512];
        let mut many = Vec::new();
        let names = match rustix::fs::flistxattr(fd, &mut few) {
            Ok(len) => &few[..len],
            Err(Errno::RANGE) => {
                // The kernel's own limit.
                many.resize(64 << 10, 0);
                let len = rustix::fs::flistxattr(fd, &mut many)?;
                &many[..len]
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => &[],
            Err(errno) => return Err(errno),
        };
        Ok(names.split(|&b| b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// Sets everything that the options ask for.
    pub(super) fn apply(&self, wanted: &Attributes<'_>, options: &TargetOptions) -> SysResult<Vec<Warning>> {
        let mut warnings = Vec::new();
        let found = self.stat()?;
        // Either of them may have changed the mode.
        let owned = options.owners && self.apply_owner(&found, wanted, &mut warnings);
        let listed = options.xattrs && self.apply_xattrs(wanted, options, &mut warnings);
        let mode = self.permitted(wanted, options, &mut warnings)?;
        if (owned || listed || found.st_mode & 0o7777 != mode)
            && let Err(errno) = self.chmod(mode)
        {
            warnings.push(Warning::Mode { mode, error: errno.into() });
        }
        if let Err(errno) = self.apply_time(wanted.mtime) {
            warnings.push(Warning::Time(errno.into()));
        }
        Ok(warnings)
    }

    /// Returns whether there was anything to do.
    fn apply_owner(&self, found: &Stat, wanted: &Attributes<'_>, warnings: &mut Vec<Warning>) -> bool {
        let &Attributes { uid, gid, .. } = wanted;
        // To the kernel, the largest number means "leave it": nobody has it.
        let result = if uid == u32::MAX || gid == u32::MAX {
            Err(Errno::INVAL)
        } else {
            let new_uid = (found.st_uid != uid).then(|| Uid::from_raw(uid));
            let new_gid = (found.st_gid != gid).then(|| Gid::from_raw(gid));
            match (new_uid, new_gid) {
                (None, None) => return false,
                _ => self.chown(new_uid, new_gid).inspect_err(|_| {
                    // Not only root may hand a file to another group.
                    if new_uid.is_some() && new_gid.is_some() {
                        let _ = self.chown(None, new_gid);
                    }
                }),
            }
        };
        if let Err(errno) = result {
            warnings.push(Warning::Owner { uid, gid, error: errno.into() });
        }
        true
    }

    /// Makes the extended attributes those of the snapshot, and returns whether there was anything to do. Removed are
    /// the user's own and access lists (a folder's default list hands one to every new file), not what belongs to a
    /// security module.
    fn apply_xattrs(
        &self,
        wanted: &Attributes<'_>,
        options: &TargetOptions,
        warnings: &mut Vec<Warning>,
    ) -> bool {
        let ours = |name: &[u8]| {
            name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") || name == CAPABILITIES
        };
        let warn = |name: &[u8], errno: Errno| Warning::Xattr { name: name.to_vec(), error: errno.into() };
        let mut changed = !wanted.xattrs.is_empty();
        for name in self.xattrs().unwrap_or_default() {
            let kept = wanted.xattrs.iter().any(|(wanted, _)| *wanted == name);
            if ours(&name)
                && (!kept || name == CAPABILITIES)
                && let Self::Open(fd) = self
            {
                changed = true;
                if let Err(errno) = rustix::fs::fremovexattr(fd, name.as_slice()) {
                    warnings.push(warn(&name, errno));
                }
            }
        }
        for (name, value) in wanted.xattrs {
            if name == CAPABILITIES && !options.setid {
                warnings.push(Warning::Capabilities);
            } else if let Err(errno) = self.set_xattr(name, value) {
                warnings.push(warn(name, errno));
            }
        }
        changed
    }

    /// The mode without the bits that were not asked for, or that would lend the rights of somebody else than in the
    /// snapshot: a file of a user's that ended up with root must not be set-user-id root.
    fn permitted(
        &self,
        wanted: &Attributes<'_>,
        options: &TargetOptions,
        warnings: &mut Vec<Warning>,
    ) -> SysResult<u32> {
        let mode = wanted.mode & 0o7777;
        if mode & (SETUID | SETGID) == 0 || matches!(self, Self::Node { symlink: true, .. }) {
            return Ok(mode);
        }
        let mut allowed = 0;
        if options.setid {
            let now = self.stat()?;
            allowed |= if now.st_uid == wanted.uid { SETUID } else { 0 };
            allowed |= if now.st_gid == wanted.gid { SETGID } else { 0 };
        }
        let dropped = mode & (SETUID | SETGID) & !allowed;
        if dropped != 0 {
            warnings.push(Warning::SetId { dropped });
        }
        Ok(mode & !dropped)
    }

    fn apply_time(&self, (secs, nanos): (i64, u32)) -> SysResult<()> {
        // Larger numbers are commands to the kernel: now, or not at all.
        if nanos >= 1_000_000_000 {
            return Err(Errno::INVAL);
        }
        self.set_times(&Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: secs, tv_nsec: nanos.into() },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    use std::path::Path;

    use super::super::tests::{Folder, as_user, meta, plain, rel, write};
    use super::super::{Placed, RelPath, Skipped, Target};
    use super::*;

    #[test]
    fn files_get_mode_time_and_attributes() {
        let xattrs = [(b"user.note".to_vec(), b"\0\xff".to_vec()), (b"user.empty".to_vec(), Vec::new())];
        for folder in Folder::both_ways() {
            folder.target.make_dir(&rel("d"), false).unwrap();
            for (i, mode) in [0o644, 0o400, 0o000, 0o600, 0o1777].into_iter().enumerate() {
                let mtime = [(0, 1), (-1, 999_999_999), (4_000_000_000, 5), (1_234_567_890, 0), (1, 2)][i];
                let attributes = Attributes { mtime, xattrs: &xattrs, ..plain(mode) };
                let warnings = write(&folder.target, &format!("d/{i}"), b"content", &attributes, false);
                assert!(warnings.is_empty(), "{warnings:?}");
                let path = folder.root().join(format!("d/{i}"));
                let found = meta(&path);
                assert_eq!(
                    (found.mode() & 0o7777, found.mtime(), found.mtime_nsec()),
                    (mode, mtime.0, mtime.1.into())
                );
                if mode == 0 && !rustix::process::geteuid().is_root() {
                    continue; // Its attributes cannot be read either.
                }
                let mut value = [0; 8];
                assert_eq!(rustix::fs::getxattr(&path, "user.note", &mut value).unwrap(), 2);
                assert_eq!(&value[..2], b"\0\xff");
                assert_eq!(rustix::fs::getxattr(&path, "user.empty", &mut value).unwrap(), 0);
            }
            let attributes = Attributes { xattrs: &xattrs, ..plain(0o550) };
            assert!(folder.target.set_dir_attributes(&rel("d"), &attributes).unwrap().is_empty());
            let found = meta(folder.root().join("d"));
            assert_eq!(
                (found.mode() & 0o7777, found.mtime(), found.mtime_nsec()),
                (0o550, 1_000_000_000, 123_456_789)
            );
            folder.target.set_dir_attributes(&RelPath::root(), &plain(0o750)).unwrap();
            assert_eq!(meta(folder.root()).mode() & 0o7777, 0o750);
            folder.target.sync().unwrap();
        }
    }

    #[test]
    fn owners_are_set_as_root() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for folder in Folder::both_ways() {
            let target = &folder.target;
            let attributes = Attributes { uid: 1234, gid: 5678, ..plain(0o640) };
            assert!(write(target, "f", b"x", &attributes, false).is_empty());
            target.make_dir(&rel("d"), false).unwrap();
            assert!(target.set_dir_attributes(&rel("d"), &attributes).unwrap().is_empty());
            assert!(
                matches!(target.symlink(&rel("l"), b"f", &attributes, false), Ok(Placed::Made(w)) if w.is_empty())
            );
            assert!(
                matches!(target.fifo(&rel("p"), &attributes, false), Ok(Placed::Made(w)) if w.is_empty())
            );
            for name in ["f", "d", "l", "p"] {
                let found = meta(folder.root().join(name));
                assert_eq!((found.uid(), found.gid()), (1234, 5678), "{name}");
                assert_eq!((found.mtime(), found.mtime_nsec()), (1_000_000_000, 123_456_789), "{name}");
            }
            assert_eq!(meta(folder.root().join("p")).mode() & 0o7777, 0o640);
            assert!(meta(folder.root().join("p")).file_type().is_fifo());
            // Nobody's number: the kernel would take it for "leave it as it is".
            let nobody = Attributes { uid: u32::MAX, ..plain(0o4755) };
            assert!(matches!(
                write(target, "g", b"x", &nobody, false)[..],
                [Warning::Owner { .. }, Warning::SetId { .. }]
            ));
        }
    }

    #[test]
    fn what_cannot_be_set_is_a_warning() {
        as_user(|folder| {
            let (uid, gid) = (plain(0).uid, plain(0).gid);
            let xattrs = [(b"trusted.x".to_vec(), b"1".to_vec()), (b"user.x".to_vec(), b"1".to_vec())];
            let attributes =
                Attributes { mtime: (1, 1_073_741_823), xattrs: &xattrs, uid: 1, ..plain(0o644) };
            let warnings = write(&folder.target, "f", b"x", &attributes, false);
            assert!(
                matches!(&warnings[..], [Warning::Xattr { name, .. }, Warning::Time(_)] if name == b"trusted.x")
            );
            let text = warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(text.contains("trusted.x") && text.contains("modification time"), "{text}");
            assert_eq!(meta(folder.root().join("f")).mode() & 0o7777, 0o644);

            let options = TargetOptions { owners: true, setid: true, ..TargetOptions::default() };
            let target = Target::create(&folder.root(), options).unwrap();
            let attributes = Attributes { uid: 1, gid, ..plain(0o6755) };
            let warnings = write(&target, "g", b"x", &attributes, false);
            assert!(matches!(
                warnings[..],
                [Warning::Owner { uid: 1, .. }, Warning::SetId { dropped: 0o4000 }]
            ));
            let found = meta(folder.root().join("g"));
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (uid, gid, 0o2755));
            let placed = target.device(&rel("n"), false, (1, 3), &plain(0o644), false).unwrap();
            assert!(matches!(placed, Placed::Skipped(Skipped::Device)));
        });
    }

    #[test]
    fn inherited_and_old_attributes_go() {
        let folder = Folder::new();
        // user::rw-, user:12345:rw-, group::r--, mask::rw-, other::---
        let entry = |tag: u16, perm: u16, id: u32| {
            [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let none = u32::MAX;
        let acl = [
            vec![2, 0, 0, 0],
            entry(1, 6, none),
            entry(2, 6, 12_345),
            entry(4, 4, none),
            entry(0x10, 6, none),
            entry(0x20, 0, none),
        ]
        .concat();
        folder.target.make_dir(&rel("d"), false).unwrap();
        let default = [(b"system.posix_acl_default".to_vec(), acl.clone())];
        let attributes = Attributes { xattrs: &default, ..plain(0o750) };
        let warnings = folder.target.set_dir_attributes(&rel("d"), &attributes).unwrap();
        if !warnings.is_empty() {
            println!("no access lists here: {warnings:?}");
            return;
        }
        let list = |path: &Path| {
            let mut names = [0; 256];
            let len = rustix::fs::listxattr(path, &mut names).unwrap();
            String::from_utf8(names[..len].to_vec()).unwrap()
        };
        write(&folder.target, "d/f", b"x", &plain(0o640), false);
        assert_eq!(list(&folder.root().join("d/f")), "");
        let access = [(b"system.posix_acl_access".to_vec(), acl)];
        write(&folder.target, "d/g", b"x", &Attributes { xattrs: &access, ..plain(0o660) }, false);
        assert_eq!(list(&folder.root().join("d/g")), "system.posix_acl_access\0");
        assert_eq!(meta(folder.root().join("d/g")).mode() & 0o7777, 0o660);

        rustix::fs::setxattr(folder.root().join("d/g"), "user.old", b"1", rustix::fs::XattrFlags::empty())
            .unwrap();
        folder.target.open_in_place(&rel("d/g"), 1).unwrap().unwrap().finish(&plain(0o640)).unwrap();
        assert_eq!(list(&folder.root().join("d/g")), "");
        let options = TargetOptions { xattrs: false, ..TargetOptions::default() };
        let target = Target::create(&folder.root(), options).unwrap();
        rustix::fs::setxattr(folder.root().join("d/g"), "user.old", b"1", rustix::fs::XattrFlags::empty())
            .unwrap();
        target.open_in_place(&rel("d/g"), 1).unwrap().unwrap().finish(&plain(0o640)).unwrap();
        assert_eq!(list(&folder.root().join("d/g")), "user.old\0");
    }
}
