//! What the operating system is asked for before anything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets a crash write no memory image, since keys are in memory; and lets as many files be open as may be.
pub fn set() {
    // Each is a second line of defence: where it is refused, the command works all the same.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
}
