//! What this crate promises, tried on real files. What needs root or a loop device says so when it is skipped.

mod image;
mod read;
mod walk;

use std::process::Command;

/// Runs a command of the system and says whether it worked.
fn works(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// Unmounts on drop.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        works("umount", &[&self.0]);
    }
}
