//! Raw images and block devices.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use fardel_source::{DataRange, ErrorKind, Image, Stability};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::{Mounted, works};

const MIB: u64 = 1 << 20;

fn sparse(path: &Path, size: u64) -> File {
    let file = OpenOptions::new().create_new(true).read(true).write(true).open(path).unwrap();
    file.set_len(size).unwrap();
    file
}

fn why(image: &Image) -> String {
    match image.stability().unwrap() {
        Stability::Stable => String::new(),
        Stability::Changed(why) => why,
    }
}

#[test]
fn ranges_cover_an_image_without_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    let file = sparse(&path, 10 * MIB + 5);
    let ranges = |expected: &[(u64, u64, bool)]| {
        let image = Image::open(&path).unwrap();
        let got: Vec<_> = image.runs().map(Result::unwrap).collect();
        let expected: Vec<_> =
            expected.iter().map(|&(start, end, data)| DataRange { start, end, data }).collect();
        assert_eq!(got, expected);
    };
    ranges(&[(0, 10 * MIB + 5, false)]);
    file.write_all_at(&[1; 4096], 3 * MIB).unwrap();
    ranges(&[(0, 3 * MIB, false), (3 * MIB, 3 * MIB + 4096, true), (3 * MIB + 4096, 10 * MIB + 5, false)]);
    file.write_all_at(&[2; 5], 10 * MIB).unwrap();
    file.write_all_at(&[3; 4096], 0).unwrap();
    ranges(&[
        (0, 4096, true),
        (4096, 3 * MIB, false),
        (3 * MIB, 3 * MIB + 4096, true),
        (3 * MIB + 4096, 10 * MIB, false),
        (10 * MIB, 10 * MIB + 5, true),
    ]);
    file.set_len(0).unwrap();
    ranges(&[]);
}

#[test]
fn reads_are_full_up_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(&path, &content).unwrap();
    let image = Image::open(&path).unwrap();
    assert_eq!((image.size(), image.is_device(), image.meta().size), (3_000_000, false, 3_000_000));
    let mut buf = vec![0; 2_000_000];
    assert_eq!(image.read_at(0, &mut buf).unwrap(), 2_000_000);
    assert!(buf == content[..2_000_000]);
    assert_eq!(image.read_at(2_000_000, &mut buf).unwrap(), 1_000_000);
    assert!(buf[..1_000_000] == content[2_000_000..]);
    assert_eq!(image.read_at(3_000_000, &mut buf).unwrap(), 0);
    assert_eq!(image.read_at(u64::MAX, &mut buf).unwrap(), 0);
    assert_eq!(image.stability().unwrap(), Stability::Stable);
}

#[test]
fn an_image_that_is_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    let file = sparse(&path, MIB);
    // Dirty when it is opened: writing that out is no change.
    file.write_all_at(&[1; 65536], 0).unwrap();
    let image = Image::open(&path).unwrap();
    assert_eq!(why(&image), "");
    file.sync_all().unwrap();
    assert_eq!(why(&image), "");
    std::thread::sleep(std::time::Duration::from_millis(20));
    file.write_all_at(&[2; 512], 0).unwrap();
    let text = why(&image);
    assert!(text.starts_with(&format!("{} is being written: ", path.display())), "{text}");
    let image = Image::open(&path).unwrap();
    file.set_len(2 * MIB).unwrap();
    assert!(why(&image).contains("from 1048576 to 2097152"), "{}", why(&image));
}

#[test]
fn only_files_and_block_devices_are_images() {
    let dir = tempfile::tempdir().unwrap();
    let kind = |path: &Path| Image::open(path).map(drop).map_err(|e| e.kind());
    let fifo = dir.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    assert_eq!(kind(&fifo), Err(ErrorKind::NotAnImage));
    assert_eq!(kind(dir.path()), Err(ErrorKind::NotAnImage));
    assert_eq!(kind(Path::new("/dev/zero")), Err(ErrorKind::NotAnImage));
    assert_eq!(kind(&dir.path().join("none")), Err(ErrorKind::NotFound));
}

/// A loop device, taken down on drop.
struct Loop(String);

impl Loop {
    fn attach(image: &Path, options: &[&str]) -> Option<Loop> {
        let output = Command::new("losetup").args(options).args(["-f", "--show"]).arg(image).output().ok()?;
        let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        if !output.status.success() {
            eprintln!("SKIPPED: losetup: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(Loop(name))
    }

    fn path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        works("losetup", &["-d", &self.0]);
    }
}

#[test]
fn a_file_behind_a_writable_loop_device_is_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk with space.raw");
    sparse(&path, 8 * MIB);
    let image = Image::open(&path).unwrap();
    {
        let Some(_read_only) = Loop::attach(&path, &["-r"]) else { return };
        assert_eq!(why(&image), "");
    }
    let Some(writable) = Loop::attach(&path, &[]) else { return };
    let text = why(&image);
    assert!(text.contains(&format!("writable loop device {}", writable.0)), "{text}");
    drop(writable);
    assert_eq!(why(&image), "");
}

#[test]
fn a_device_that_is_mounted_or_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    let file = sparse(&path, 16 * MIB);
    file.write_all_at(b"hello", 4096).unwrap();
    let Some(device) = Loop::attach(&path, &[]) else { return };
    let image = Image::open(device.path()).unwrap();
    assert_eq!((image.size(), image.is_device()), (16 * MIB, true));
    let whole = [DataRange { start: 0, end: 16 * MIB, data: true }];
    assert_eq!(image.runs().map(Result::unwrap).collect::<Vec<_>>(), whole);
    let mut buf = [0; 5];
    assert_eq!((image.read_at(4096, &mut buf).unwrap(), &buf), (5, b"hello"));
    assert_eq!(why(&image), "");

    let mut writer = OpenOptions::new().write(true).open(device.path()).unwrap();
    writer.write_all(&[1; 4096]).unwrap();
    writer.sync_all().unwrap();
    assert!(why(&image).contains("sectors were written"), "{}", why(&image));
    drop(writer);

    let point = dir.path().join("mnt").to_str().unwrap().to_owned();
    fs::create_dir(&point).unwrap();
    if !works("mkfs.ext4", &["-q", "-F", &device.0]) || !works("mount", &[&device.0, &point]) {
        return eprintln!("SKIPPED in part: no ext4 can be made and mounted here");
    }
    let mounted = Mounted(point.clone());
    let image = Image::open(device.path()).unwrap();
    assert!(why(&image).contains(&format!("mounted read-write at {point}")), "{}", why(&image));
    drop(mounted);
    let image = Image::open(device.path()).unwrap();
    assert_eq!(why(&image), "");
    if works("mount", &["-o", "ro", &device.0, &point]) {
        let _mounted = Mounted(point);
        let image = Image::open(device.path()).unwrap();
        assert_eq!(why(&image), "");
    }
}
