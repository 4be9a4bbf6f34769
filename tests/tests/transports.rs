//! The transports against real servers on this machine.

#[path = "cli_commands/sandbox.rs"]
#[expect(dead_code, reason = "other suites need the rest of it")]
mod sandbox;

mod transports {
    mod canned;
    mod commands;
    mod probe;
    mod s3;
    mod samples;
    mod sftp;
    mod webdav;
}
