//! The programs that suites run: the built `fardel`, the second reader, stock tools.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// The built command.
///
/// # Panics
/// When it is not built, or was built from other sources: cargo builds no binary of another package for a test.
#[must_use]
pub fn fardel_binary() -> PathBuf {
    static FOUND: LazyLock<PathBuf> = LazyLock::new(find_fardel);
    FOUND.clone()
}

fn find_fardel() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    // target/PROFILE/deps/SUITE-HASH; the command lies in target/PROFILE.
    let profile = test.parent().and_then(Path::parent).expect("a suite lies in deps");
    let binary = profile.join("fardel");
    assert!(
        binary.is_file(),
        "{} is not there: run `cargo build -p fardel` first, for the same profile",
        binary.display()
    );
    let changed = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    // `cargo build` writes beside the command what it was built from; sources of tests alone are not among it.
    // `cargo test --workspace` writes no such list, and has just built the command.
    let sources = std::fs::read_to_string(binary.with_extension("d")).unwrap_or_default();
    let built = changed(&binary);
    for source in sources.split_whitespace().skip(1).map(Path::new) {
        if changed(source) > built {
            let (binary, source) = (binary.display(), source.display());
            panic!(
                "{binary} is older than {source}: run `cargo build -p fardel` first, for the same profile"
            );
        }
    }
    binary
}

/// The second reader: a script that shares no code with Fardel.
#[must_use]
pub fn second_reader() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("second-reader/fardel-read")
}

/// Whether all these programs are installed; says which one is not.
///
/// # Panics
/// When one is missing and `CI` is set: there nothing is passed over.
#[must_use]
pub fn are_installed(programs: &[&str]) -> bool {
    let found = |program: &str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|folder| folder.join(program).is_file())
    };
    let Some(missing) = programs.iter().find(|program| !found(program)) else { return true };
    assert!(std::env::var_os("CI").is_none(), "{missing} is not installed; CI needs it");
    eprintln!("passed over: {missing} is not installed");
    false
}

/// Runs a program, and waits for it.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run(program: impl AsRef<OsStr>, arguments: &[&OsStr], environment: &[(&str, &OsStr)]) -> Output {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).envs(environment.iter().copied());
    command.output().unwrap_or_else(|e| panic!("{}: {e}", program.as_ref().display()))
}

/// What a program said, for messages.
#[must_use]
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}
