//! Ctrl-C: the first one asks for a clean stop, the second one stops at once.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::exit::Exit;
use crate::output::eprintln_quietly;

static STOP: AtomicBool = AtomicBool::new(false);

/// Watches for Ctrl-C, SIGTERM and SIGHUP from now on; before, they end the process as usual.
pub fn watch() {
    watch_saying("stopping: what is finished is kept (Ctrl-C again stops at once)");
}

/// The same for an operation that has something else to say when it is to stop.
pub fn watch_saying(what: &'static str) {
    // Fails only when it is watched already, or never can be: then a signal ends the process, which loses nothing.
    let _ = ctrlc::set_handler(move || {
        if STOP.swap(true, SeqCst) {
            stop_at_once();
        }
        eprintln_quietly(&format!("\n{what}"));
    });
}

/// Whether the user wants it to stop.
#[must_use]
pub fn wanted() -> bool {
    STOP.load(SeqCst)
}

#[expect(clippy::disallowed_methods, reason = "the user insists: no destructor may delay this")]
fn stop_at_once() -> ! {
    std::process::exit(i32::from(Exit::Interrupted.code()))
}
