//! The transports against real servers on this machine.

mod transports {
    mod canned;
    mod cutter;
    mod s3;
    mod samples;
    mod sftp;
    mod webdav;
}
