//! A machine with the built command on it: a home, a repository, a place to restore to.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fardel_format::keys::{HostKey, KeyText};
use serde_json::Value;

use super::Result;

/// A folder with everything that the command needs, and nothing of the real home.
#[derive(Debug)]
pub struct Machine {
    folder: tempfile::TempDir,
    more: Vec<(&'static str, OsString)>,
}

/// How a run of the command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// The lines of JSON that it wrote whole.
    pub lines: Vec<Value>,
    /// What it wrote besides.
    pub stderr: String,
}

impl Machine {
    /// An empty one; `configuration` is YAML.
    ///
    /// # Errors
    /// When the temporary folder cannot be written.
    pub fn new(name: &str, configuration: &str) -> std::io::Result<Self> {
        let machine = Self { folder: crate::disk_tree::temporary_folder(name), more: Vec::new() };
        std::fs::create_dir(machine.path("home"))?;
        std::fs::write(machine.path("fardel.yaml"), configuration)?;
        Ok(machine)
    }

    /// Sets a variable of its environment, in the place of what it would be.
    pub fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.more.push((name, value.into()));
    }

    /// The host's key in one of its files.
    ///
    /// # Errors
    /// When it holds none.
    pub fn host_key(&self, name: &str) -> Result<HostKey> {
        let text = std::fs::read_to_string(self.path(name)).map_err(|e| e.to_string())?;
        match KeyText::parse(&text) {
            Ok(KeyText::Host(host)) => Ok(*host),
            Ok(_) => Err("the key file is none of a host".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A path on it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its environment for the command, as `NAME=VALUE`.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("HOME", self.path("home")),
            ("FARDEL_CONFIG", self.path("fardel.yaml")),
            ("FARDEL_REPOSITORY", self.path("repo")),
            ("FARDEL_KEY_FILE", self.path("host.key")),
            ("FARDEL_CACHE_DIR", self.path("cache")),
        ]
    }

    /// A program in that environment.
    #[must_use]
    pub fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).envs(self.environment()).current_dir(self.folder.path());
        command.envs(self.more.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The command with these arguments and `--json`.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = self.program(&crate::fardel_binary());
        command.args(arguments).arg("--json");
        command
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Ended> {
        self.command(arguments).output().map(Ended::of).map_err(|e| e.to_string())
    }

    /// Runs the command, which must succeed, and returns its summary.
    ///
    /// # Errors
    /// When it does not.
    pub fn succeed<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Value> {
        let ended = self.run(arguments)?;
        let shown: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
        match (ended.code, ended.summary()) {
            (Some(0), Some(summary)) => Ok(summary.clone()),
            _ => Err(format!("`{}` ended with {:?}: {}", shown.join(" "), ended.code, ended.told())),
        }
    }
}

impl Ended {
    /// What a program wrote.
    #[must_use]
    pub fn of(output: Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // A line that is not ended was not written whole.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Self {
            code: output.status.code(),
            lines,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The last line: it says that the operation is done.
    #[must_use]
    pub fn summary(&self) -> Option<&Value> {
        self.lines.iter().rfind(|line| line["type"] == "summary")
    }

    /// Everything but progress, for messages.
    #[must_use]
    pub fn told(&self) -> String {
        let lines = self.lines.iter().filter(|line| line["type"] != "progress").map(Value::to_string);
        format!("{}\n{}", lines.collect::<Vec<_>>().join("\n"), self.stderr)
    }
}
