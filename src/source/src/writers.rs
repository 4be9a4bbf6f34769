//! Who may be writing an image right now, from what the kernel tells in sysfs and procfs.
//!
//! It finds loop devices, mounts, swap, and devices stacked on top. What another process writes through an open
//! descriptor, or what is mounted in another mount namespace, shows only in the times and the write counter.
//! Where /sys or /proc is missing, it finds nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::meta::FileId;
use crate::mounts;

type Numbers = (u32, u32);

/// Where sysfs and procfs are.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    sys: PathBuf,
    proc: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Kernel { sys: "/sys".into(), proc: "/proc".into() }
    }
}

impl Kernel {
    /// Who may write a regular file behind its back: a writable loop device, or swap.
    pub(crate) fn writer_of_file(&self, file: FileId) -> Option<String> {
        self.looped(|path| FileId::of(path).is_ok_and(|id| id == file))
            .or_else(|| self.swapped(|path| FileId::of(path).is_ok_and(|id| id == file)))
    }

    /// Who may write a block device: what is mounted from it, stacked on it, looped over it or swaps on it,
    /// or on a partition of it.
    pub(crate) fn writer_of_device(&self, device: Numbers) -> Option<String> {
        let folder = self.device_folder(device);
        if is_read_only(&folder) {
            return None;
        }
        let mut devices = vec![device];
        let parts = entries(&folder).into_iter().map(|name| folder.join(name));
        devices
            .extend(parts.filter(|part| part.join("partition").exists()).filter_map(|part| numbers(&part)));
        devices
            .iter()
            .find_map(|&device| self.held(device))
            .or_else(|| self.mounted(&devices))
            .or_else(|| self.looped(|path| node(path).is_some_and(|device| devices.contains(&device))))
            .or_else(|| self.swapped(|path| node(path).is_some_and(|device| devices.contains(&device))))
    }

    /// Sectors written to a block device since it appeared; it stands still while nobody writes.
    pub(crate) fn written(&self, device: Numbers) -> Option<u64> {
        let text = fs::read_to_string(self.device_folder(device).join("stat")).ok()?;
        // Documentation/block/stat.rst: the seventh number.
        text.split_ascii_whitespace().nth(6)?.parse().ok()
    }

    fn device_folder(&self, (major, minor): Numbers) -> PathBuf {
        self.sys.join(format!("dev/block/{major}:{minor}"))
    }

    /// A device on top that may be written: LVM, dm-crypt, RAID, bcache.
    fn held(&self, device: Numbers) -> Option<String> {
        let holders = self.device_folder(device).join("holders");
        entries(&holders).into_iter().find_map(|name| {
            let folder = self.sys.join("block").join(&name);
            let shown = fs::read_to_string(folder.join("dm/name")).unwrap_or_default();
            let name = PathBuf::from(name).display().to_string();
            let shown = if shown.trim().is_empty() { name } else { format!("{name}, {}", shown.trim()) };
            (!is_read_only(&folder)).then(|| format!("a writable device lies on it ({shown})"))
        })
    }

    fn mounted(&self, devices: &[Numbers]) -> Option<String> {
        let text = fs::read(self.proc.join("self/mountinfo")).ok()?;
        let on = |mount: &mounts::Mount| {
            devices.contains(&mount.device)
                // btrfs has a device number of its own, and names one of its devices.
                || mount.device.0 == 0
                    && mount.source.starts_with(b"/")
                    && node(Path::new(OsStr::from_bytes(&mount.source))).is_some_and(|d| devices.contains(&d))
        };
        let mount = mounts::parse(&text).find(|mount| mount.writable && on(mount))?;
        Some(format!("it is mounted read-write at {}", String::from_utf8_lossy(&mount.point)))
    }

    fn looped(&self, is_it: impl Fn(&Path) -> bool) -> Option<String> {
        let block = self.sys.join("block");
        entries(&block).into_iter().filter(|name| name.as_encoded_bytes().starts_with(b"loop")).find_map(
            |name| {
                let folder = block.join(&name);
                let mut backing = fs::read(folder.join("loop/backing_file")).ok()?;
                if backing.last() == Some(&b'\n') {
                    backing.pop();
                }
                (!is_read_only(&folder) && is_it(Path::new(OsStr::from_bytes(&backing))))
                    .then(|| format!("it is attached to the writable loop device /dev/{}", name.display()))
            },
        )
    }

    fn swapped(&self, is_it: impl Fn(&Path) -> bool) -> Option<String> {
        let text = fs::read(self.proc.join("swaps")).ok()?;
        text.split(|&b| b == b'\n').skip(1).find_map(|line| {
            let path = mounts::unescape(line.split(|&b| b == b' ' || b == b'\t').next()?);
            (path.starts_with(b"/") && is_it(Path::new(OsStr::from_bytes(&path))))
                .then(|| "it is used as swap space".to_owned())
        })
    }
}

fn is_read_only(folder: &Path) -> bool {
    fs::read(folder.join("ro")).is_ok_and(|text| text.trim_ascii() == b"1")
}

fn numbers(folder: &Path) -> Option<Numbers> {
    mounts::parse_numbers(&fs::read(folder.join("dev")).ok()?)
}

/// The numbers of a block device node.
fn node(path: &Path) -> Option<Numbers> {
    let meta = fs::metadata(path).ok()?;
    let rdev = meta.rdev();
    std::os::unix::fs::FileTypeExt::is_block_device(&meta.file_type())
        .then(|| (rustix::fs::major(rdev), rustix::fs::minor(rdev)))
}

/// The names in a folder, sorted; none where it cannot be listed.
fn entries(folder: &Path) -> Vec<std::ffi::OsString> {
    let Ok(list) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = list.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort_by_key(|name| name.clone().into_vec());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(files: &[(&str, &str)]) -> (tempfile::TempDir, Kernel) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let kernel = Kernel { sys: dir.path().join("sys"), proc: dir.path().join("proc") };
        (dir, kernel)
    }

    #[test]
    fn holders_and_partitions_count() {
        let (_dir, kernel) = kernel(&[
            ("sys/dev/block/8:0/ro", "0\n"),
            ("sys/dev/block/8:0/stat", "  1 2 3 4 5 6 7777 8 9 10 11\n"),
            ("sys/dev/block/8:0/sda1/partition", "1\n"),
            ("sys/dev/block/8:0/sda1/dev", "8:1\n"),
            ("sys/dev/block/8:1/holders/dm-3/x", ""),
            ("sys/block/dm-3/ro", "0\n"),
            ("sys/block/dm-3/dm/name", "crypt-home\n"),
            ("sys/dev/block/8:16/ro", "0\n"),
            ("sys/dev/block/8:16/sdb1/partition", "1\n"),
            ("sys/dev/block/8:16/sdb1/dev", "8:17\n"),
            ("sys/dev/block/8:32/ro", "1\n"),
            (
                "proc/self/mountinfo",
                "36 35 8:17 / /data rw - ext4 /dev/sdb1 rw\n37 35 8:32 / /r rw - ext4 x rw\n",
            ),
        ]);
        assert!(kernel.writer_of_device((8, 0)).unwrap().contains("dm-3, crypt-home"));
        assert!(kernel.writer_of_device((8, 16)).unwrap().contains("mounted read-write at /data"));
        assert_eq!(kernel.writer_of_device((8, 32)), None);
        assert_eq!(kernel.writer_of_device((8, 48)), None);
        assert_eq!(kernel.written((8, 0)), Some(7777));
        assert_eq!(kernel.written((8, 16)), None);
    }

    #[test]
    fn loops_and_swap_count() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let id = FileId::of(image.path()).unwrap();
        let backing = format!("{}\n", image.path().display());
        let files = |ro| [("sys/block/loop3/loop/backing_file", &*backing), ("sys/block/loop3/ro", ro)];
        let (_dir, writable) = kernel(&files("0\n"));
        assert!(writable.writer_of_file(id).unwrap().contains("/dev/loop3"));
        let (_dir, read_only) = kernel(&files("1\n"));
        assert_eq!(read_only.writer_of_file(id), None);
        let swaps = format!("Filename Type Size Used Priority\n{} file 1 0 -2\n", image.path().display());
        let (_dir, swap) = kernel(&[("proc/swaps", &swaps)]);
        assert!(swap.writer_of_file(id).unwrap().contains("swap"));
    }
}
