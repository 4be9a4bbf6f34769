//! What is said of the room on a file system.

use fardel_store::Finding;

const GIB: u64 = 1 << 30;

/// Less room than this is little, in bytes.
const LITTLE: u64 = GIB;

/// Fewer files than this are few: a repository of a terabyte has 16,000.
const FEW: u64 = 10_000;

/// What `free` of `total` bytes and so many files mean; no number of files where the file system tells none.
pub(crate) fn findings(total: u64, free: u64, files: Option<u64>) -> Vec<Finding> {
    let gib = |bytes: u64| bytes as f64 / GIB as f64;
    let room = format!("{:.1} of {:.1} GiB are free", gib(free), gib(total));
    let advice =
        "Fardel stops before everything is full, and what was saved stays; make room before the first backup";
    let room = match free < LITTLE {
        true => Finding::not_safe(format!("little room: {room}"), advice),
        false => Finding::ok(room, ""),
    };
    let files = match files {
        Some(files) if files < FEW => {
            let what = format!("few files: no more than {files} fit, whatever room there is");
            Finding::not_safe(
                what,
                "a terabyte needs about 16,000 files; Fardel stops before there are none left",
            )
        }
        Some(_) => Finding::ok("there are enough inodes", ""),
        None => Finding::ok("the number of files has no known bound", ""),
    };
    vec![room, files]
}

#[cfg(test)]
mod tests {
    use fardel_store::Level;

    use super::*;

    #[test]
    fn little_room_and_few_files_are_not_safe() {
        let levels =
            |free, files| findings(100 * GIB, free, files).iter().map(|f| f.level).collect::<Vec<_>>();
        assert_eq!(levels(50 * GIB, Some(1_000_000)), [Level::Ok, Level::Ok]);
        assert_eq!(levels(50 * GIB, None), [Level::Ok, Level::Ok]);
        assert_eq!(levels(363 << 20, Some(0)), [Level::Unsafe, Level::Unsafe]);
    }
}
