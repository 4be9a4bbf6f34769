//! The transports against real servers on this machine.

#[path = "cli_commands/sandbox.rs"]
#[expect(dead_code, reason = "other suites need the rest of it")]
mod sandbox;

mod transports {
    mod canned;
    mod cloud;
    mod commands;
    mod credentials;
    mod killed;
    mod probe;
    mod retention;
    mod s3;
    mod s3_resumed;
    mod samples;
    mod sftp;
    mod webdav;
}
