use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fardel_tests::fardel_binary;
use serde_json::Value;
use tempfile::TempDir;

/// A user's machine: a home folder, something to back up, a place for repositories.
pub struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    /// With the repository `repo` made, and nothing in it.
    pub fn with_repository() -> Self {
        let sandbox = Self::empty();
        sandbox.run(["init", "--recovery-file", "recovery"]).exits(0);
        sandbox
    }

    /// With a small tree `src`, and without a repository.
    pub fn empty() -> Self {
        let sandbox = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(sandbox.path("home")).unwrap();
        sandbox.write("src/one", "1\n");
        sandbox.write("src/sub/two", "22\n");
        sandbox.write("src/sub/large", noise(300_000));
        sandbox.settle();
        sandbox
    }

    /// A path in the sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Returns once the file system's clock has left the tick in which the last file was written: what a backup finds written
    /// in the tick in which it begins, the next one reads again.
    pub fn settle(&self) {
        let stamp = || {
            let probe = self.write("probe of the clock", b"");
            let stamp = fs::metadata(&probe).unwrap().modified().unwrap();
            fs::remove_file(probe).unwrap();
            stamp
        };
        let begun = stamp();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while stamp().duration_since(begun).unwrap_or_default().as_millis() < 60 {
            assert!(std::time::Instant::now() < deadline, "the clock of the file system stands still");
        }
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a file that only its owner can read.
    pub fn write_secret(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The command, in the sandbox and with an environment of its own; the repository is `repo` unless arguments say else.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(fardel_binary());
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.args(arguments).current_dir(self.path("")).env_clear().env("PATH", path).env("TZ", "UTC");
        command.env("HOME", self.path("home")).env("FARDEL_REPOSITORY", "repo").stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Backs up, and returns the id of the snapshot.
    pub fn backup(&self, sources: &[&str]) -> String {
        let ran = self.run(["backup", "--json"].iter().chain(sources)).exits(0);
        ran.summary()["snapshot_id"].as_str().unwrap().to_owned()
    }

    /// The files of a folder, by name.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Every file of the repository below a folder of it.
    pub fn objects(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("repo").join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }

    /// This host's own key file.
    pub fn host_key(&self) -> PathBuf {
        let keys = self.path("home/.config/fardel/keys");
        let mut found = fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().path());
        found.find(|path| path.extension().is_some_and(|extension| extension == "key")).unwrap()
    }
}

/// Bytes that do not compress, the same each time.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    next.take(len).collect()
}

/// How a run ended.
pub struct Ran {
    code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// The exit code; none when a signal ended it.
    pub fn exits_with(&self) -> Option<i32> {
        self.code
    }

    /// Asserts that standard output says this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no {text:?} in:\n{}{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that standard error says this.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in:\n{}{}", self.stderr, self.stdout);
        self
    }

    /// The objects of `--json`; each line must be one.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The objects of a type.
    #[track_caller]
    pub fn of_type(&self, kind: &str) -> Vec<Value> {
        let mut objects = self.objects();
        objects.retain(|object| object["type"] == kind);
        objects
    }

    /// The last object, which must be the summary.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let last = self.objects().pop().unwrap_or_else(|| panic!("nothing was said; {}", self.stderr));
        assert_eq!(last["type"], "summary", "{}", self.stdout);
        last
    }
}

/// Asserts that an object has these fields.
#[track_caller]
pub fn has_fields(object: &Value, fields: &[&str]) {
    for field in fields {
        assert!(object.get(field).is_some(), "no {field} in {object}");
    }
}

/// The content of a file.
pub fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
