//! That the command starts at all. Having this suite also makes `cargo test --workspace` build the command itself, which
//! the suites in `tests/` run.

use std::process::Command;

#[test]
fn says_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_fardel")).arg("--version").output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        concat!("fardel ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
