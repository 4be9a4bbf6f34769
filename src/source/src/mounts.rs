//! What is mounted, from `/proc/self/mountinfo`.

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Major and minor number of the file system's device; 0:n where it has none of its own (btrfs).
    pub device: (u32, u32),
    /// Where it is mounted.
    pub point: Vec<u8>,
    /// What is mounted, mostly a device node.
    pub source: Vec<u8>,
    /// Whether the file system itself may be written, even when this mount of it is read-only.
    pub writable: bool,
}

/// The mounts in the text of a mountinfo file; lines it does not understand are left out.
pub(crate) fn parse(text: &[u8]) -> impl Iterator<Item = Mount> + '_ {
    text.split(|&b| b == b'\n').filter_map(parse_line)
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue` (proc_pid_mountinfo(5)).
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let device = parse_numbers(fields.nth(2)?)?;
    let point = unescape(fields.nth(1)?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(2);
    let source = unescape(rest.next()?);
    let writable = rest.next()?.split(|&b| b == b',').any(|option| option == b"rw");
    Some(Mount { device, point, source, writable })
}

/// `major:minor`, as in mountinfo and in the `dev` files of sysfs.
pub(crate) fn parse_numbers(text: &[u8]) -> Option<(u32, u32)> {
    let (major, minor) = std::str::from_utf8(text).ok()?.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Space, tab, newline and backslash stand as `\ooo`.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|d| first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        match octal {
            Some(digits) => {
                out.push(digits.iter().fold(0_u8, |n, d| n.wrapping_mul(8).wrapping_add(d - b'0')));
                rest = &tail[3..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_manuals_example_and_odd_lines() {
        let text = b"36 35 98:0 /mnt1 /mnt\\0402 ro,noatime master:1 shared:2 - ext3 /dev/a\\134b rw,errors=continue\n\
            40 35 0:44 / /b rw - btrfs /dev/sdb ro\nnonsense\n\n41 35 7:1 / /x rw -\n";
        let mounts: Vec<_> = parse(text).collect();
        assert_eq!(mounts.len(), 2);
        assert_eq!(
            mounts[0],
            Mount { device: (98, 0), point: b"/mnt 2".into(), source: b"/dev/a\\b".into(), writable: true }
        );
        assert_eq!((mounts[1].device, mounts[1].writable), ((0, 44), false));
    }

    #[test]
    fn finds_the_root_of_this_machine() {
        let text = std::fs::read("/proc/self/mountinfo").unwrap();
        assert!(parse(&text).any(|mount| mount.point == b"/"));
    }
}
