//! Extended attributes.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs;
use rustix::io::Errno;

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// Full name with its namespace, such as `user.note`.
    pub name: Vec<u8>,
    /// Value; may be empty.
    pub value: Vec<u8>,
}

/// Enough for nearly every list and value; the kernel allows 64 KiB of each.
const FIRST: usize = 1024;

/// The attributes of an open file.
pub(crate) fn of_fd(fd: &OwnedFd) -> Result<Vec<Xattr>, Errno> {
    let fd = fd.as_fd();
    read(
        |buf| match buf {
            Some(buf) => fs::flistxattr(fd, spare_capacity(buf)),
            None => fs::flistxattr_query(fd),
        },
        |name, buf| match buf {
            Some(buf) => fs::fgetxattr(fd, name, spare_capacity(buf)),
            None => fs::fgetxattr_query(fd, name),
        },
    )
}

/// The attributes of what an `O_PATH` descriptor stands for, a symbolic link included. It goes through /proc, which
/// must be mounted.
pub(crate) fn of_path_fd(fd: &OwnedFd) -> Result<Vec<Xattr>, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let path = path.as_str();
    read(
        |buf| match buf {
            Some(buf) => fs::listxattr(path, spare_capacity(buf)),
            None => fs::listxattr_query(path),
        },
        |name, buf| match buf {
            Some(buf) => fs::getxattr(path, name, spare_capacity(buf)),
            None => fs::getxattr_query(path, name),
        },
    )
}

fn read(
    list: impl Fn(Option<&mut Vec<u8>>) -> Result<usize, Errno>,
    get: impl Fn(&CStr, Option<&mut Vec<u8>>) -> Result<usize, Errno>,
) -> Result<Vec<Xattr>, Errno> {
    let names = match fill(&list) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        names => names?,
    };
    let mut found = Vec::new();
    for name in names.split_inclusive(|&b| b == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok()) {
        match fill(|buf| get(name, buf)) {
            Ok(value) => found.push(Xattr { name: name.to_bytes().to_vec(), value }),
            // Removed meanwhile, or listed by a file system that does not serve it.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Calls with a buffer, and with a larger one while the kernel says that it is too small.
fn fill(call: impl Fn(Option<&mut Vec<u8>>) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buf = Vec::with_capacity(FIRST);
    for _ in 0..16 {
        match call(Some(&mut buf)) {
            Err(Errno::RANGE) => {
                let need = call(None)?;
                buf.reserve_exact(need.max(FIRST) + 64);
            }
            Err(errno) => return Err(errno),
            Ok(_) => {
                buf.shrink_to_fit();
                return Ok(buf);
            }
        }
    }
    Err(Errno::RANGE)
}
