//! `fardel.yaml`: what it may say, and where in it a mistake is. The only module that knows YAML.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::location::Location;

mod retention;
mod values;

pub use retention::Retention;
pub use values::{
    ChunkSize, Clock, FileSize, Level, Memory, PackSize, Rate, Schedule, Text, parse_chunk_size,
};

/// A configuration beyond this is none, in bytes.
const MAX_LEN: u64 = 1 << 20;

/// The file as it is written, with values expanded and nothing resolved.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Where the repository lies.
    pub repository: Option<Text>,
    /// This host's key file.
    pub key_file: Option<Text>,
    /// A shell command that prints the passphrase.
    pub passphrase_command: Option<Text>,
    /// Stored size at which a pack is closed.
    pub pack_size: Option<PackSize>,
    /// Chunk size for volumes.
    pub chunk_size: Option<ChunkSize>,
    /// zstd level.
    pub compression: Option<Level>,
    /// What may be used of memory.
    pub memory: Option<Memory>,
    /// What the repository keeps.
    pub retention: Option<Retention>,
    /// Copies of the repository.
    #[serde(default)]
    pub replicas: Vec<Replica>,
    /// What to back up.
    #[serde(default)]
    pub jobs: Vec<Job>,
    /// How stores on other machines are reached.
    #[serde(default)]
    pub stores: Vec<Store>,
}

/// The way to the stores whose URL begins with a text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// How their URLs begin.
    pub url: Text,
    /// A program and its arguments that carry SFTP there, instead of `ssh`.
    pub transport_command: Option<Vec<Text>>,
    /// A shell command that prints the password.
    pub password_command: Option<Text>,
    /// A shell command that prints a token.
    pub token_command: Option<Text>,
    /// Certificates that are trusted besides those of the system.
    pub ca_file: Option<Text>,
}

/// A copy of the repository.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// How it is called.
    pub name: Text,
    /// Where it lies.
    pub url: Text,
    /// How fast it may be fed.
    pub limits: Option<Limits>,
    /// What it keeps, whatever the repository keeps.
    pub retention: Option<Retention>,
    /// When it is to be brought up to date.
    pub schedule: Option<Schedule>,
}

/// How fast a copy may be fed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes a second that are sent to it.
    pub upload: Option<Rate>,
    /// Bytes a second that are read for it.
    pub download: Option<Rate>,
    /// Other rates for certain hours.
    #[serde(default)]
    pub timetable: Vec<Hours>,
}

/// Rates for certain hours.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// When they begin.
    pub from: Clock,
    /// When they end.
    pub to: Clock,
    /// The days on which they begin; all when absent.
    pub days: Option<Vec<Day>>,
    /// Instead of the usual one.
    pub upload: Option<Rate>,
    /// Instead of the usual one.
    pub download: Option<Rate>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Something to back up together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// How it is called.
    pub name: Text,
    /// Folders, disk images, block devices.
    pub sources: Vec<Text>,
    /// gitignore patterns to leave out.
    #[serde(default)]
    pub excludes: Vec<Text>,
    /// Files of such patterns.
    #[serde(default)]
    pub exclude_from: Vec<Text>,
    /// Leave out folders with a `CACHEDIR.TAG`.
    #[serde(default)]
    pub exclude_caches: bool,
    /// Leave out larger files.
    pub exclude_larger_than: Option<FileSize>,
    /// Do not enter other file systems.
    #[serde(default)]
    pub one_file_system: bool,
    /// Words to find the snapshots by.
    #[serde(default)]
    pub tags: Vec<Text>,
}

impl ConfigFile {
    /// Reads the file.
    ///
    /// # Errors
    /// With file, line and column, when it says something else than a configuration; when it holds a secret that others
    /// can read.
    pub fn load(path: &Path) -> Result<Self> {
        let refuse =
            |why: String, hint: &str| Failure::new(Exit::Usage, format!("{}: {why}", path.display()), hint);
        let meta = std::fs::metadata(path);
        let meta =
            meta.map_err(|e| refuse(e.to_string(), "name the configuration with --config or FARDEL_CONFIG"))?;
        if meta.len() > MAX_LEN {
            return Err(refuse(
                "this is too large for a configuration".into(),
                "name another file with --config",
            ));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|e| refuse(e.to_string(), "make it a readable text file"))?;
        let file = Self::parse(&text).map_err(|error| error.at(path))?;
        if let Some(secret) = file.secret()
            && let Err(error) = fardel_engine::keyring::check_private(path)
        {
            let (line, column) = place_of(secret, &text);
            let message = format!("{}:{line}:{column}: a password stands here: {error}", path.display());
            let hint = "or take the password out of it: ${NAME} is read from the environment";
            return Err(Failure::new(Exit::Usage, message, hint));
        }
        Ok(file)
    }

    fn parse(text: &str) -> Result<Self, Mistake> {
        // A file of comments alone is an empty configuration.
        let parsed: Option<Self> = serde_yaml::from_str(text).map_err(Mistake::from)?;
        Ok(parsed.unwrap_or_default())
    }

    /// The first URL with a password in it; one that came from the environment does not stand in the file.
    fn secret(&self) -> Option<&str> {
        let urls = self.repository.iter().chain(self.replicas.iter().map(|replica| &replica.url));
        let mut urls = urls.filter(|url| !url.from_environment).map(|url| &*url.value);
        urls.find(|url| Location::has_password(url))
    }
}

/// Line and column at which a value stands; the first ones for a value that is written in another way than it reads.
fn place_of(value: &str, text: &str) -> (usize, usize) {
    let before = text.find(value).map_or("", |at| &text[..at]);
    let line_begins = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_begins..].chars().count() + 1)
}

/// What is wrong in the text, and where.
#[derive(Debug)]
struct Mistake {
    line: usize,
    column: usize,
    message: String,
}

impl From<serde_yaml::Error> for Mistake {
    fn from(error: serde_yaml::Error) -> Self {
        let text = error.to_string();
        let Some(place) = error.location() else { return Self { line: 1, column: 1, message: text } };
        let suffix = format!(" at line {} column {}", place.line(), place.column());
        let message = text.replacen(&suffix, "", 1);
        Self { line: place.line(), column: place.column(), message }
    }
}

impl Mistake {
    fn at(self, path: &Path) -> Failure {
        let message = format!("{}:{}:{}: {}", path.display(), self.line, self.column, self.message);
        Failure::new(Exit::Usage, message, "correct the configuration; README.md lists what it may say")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        let error = ConfigFile::parse(text).expect_err(text);
        format!("{}:{}: {}", error.line, error.column, error.message)
    }

    #[test]
    fn reads_every_key() {
        let file = ConfigFile::parse(
            "repository: /r\nkey_file: k\npassphrase_command: pass fardel\npack_size: 32MiB\nchunk_size: 131072\n\
             compression: -1\nmemory: 128M\nreplicas:\n  - name: usb\n    url: /mnt/usb\n    \
             limits:\n      upload: 2MiB\n      download: off\n      timetable:\n        - from: 08:00\n          to: 24:00\n          \
             days: [mon, sun]\n          upload: 512K\n    schedule: 0 3 * * *\n  - name: nas\n    url: /n\n    schedule: {every: 12h}\njobs:\n  - name: home\n    \
             sources: [/home]\n    excludes: ['*.tmp']\n    exclude_from: [x]\n    tags: [a]\n    one_file_system: true\n    \
             exclude_caches: true\n    exclude_larger_than: 1G\nstores:\n  - url: sftp://nas\n    transport_command: [a, b c]\n    \
             password_command: p\n    token_command: t\n    ca_file: ca.pem\n",
        );
        let file = file.expect("it is right");
        let schedules: Vec<_> =
            file.replicas.iter().map(|r| r.schedule.as_ref().unwrap().0.to_string()).collect();
        assert_eq!(schedules, ["0 3 * * *", "every 12h"]);
        assert_eq!(file.pack_size, Some(PackSize(32 << 20)));
        assert_eq!(file.chunk_size, Some(ChunkSize(128 << 10)));
        assert_eq!(file.compression, Some(Level(-1)));
        assert_eq!(file.memory, Some(Memory(128 << 20)));
        let limits = file.replicas[0].limits.as_ref().unwrap();
        assert_eq!((limits.upload, limits.download), (Some(Rate(Some(2 << 20))), Some(Rate(None))));
        let hours = &limits.timetable[0];
        assert_eq!(
            (hours.from, hours.to, hours.upload),
            (Clock(480), Clock(1440), Some(Rate(Some(512 << 10))))
        );
        assert_eq!(hours.days, Some(vec![Day::Mon, Day::Sun]));
        assert_eq!(file.jobs[0].exclude_larger_than, Some(FileSize(1 << 30)));
        assert_eq!(file.jobs[0].sources[0].path(Path::new("/base")), Path::new("/home"));
        assert_eq!(file.key_file.unwrap().path(Path::new("/base")), Path::new("/base/k"));
        assert_eq!(file.stores[0].transport_command.as_ref().unwrap()[1].value, "b c");
    }

    #[test]
    fn nothing_is_a_configuration_too() {
        assert!(ConfigFile::parse("").is_ok());
        assert!(ConfigFile::parse("# nothing yet\n").is_ok());
    }

    #[test]
    fn mistakes_have_a_line_and_a_column() {
        let unknown = mistake("repository: /r\nkeyfile: x\n");
        assert!(
            unknown.starts_with("2:1: unknown field `keyfile`, expected one of `repository`, `key_file`"),
            "{unknown}"
        );
        let nested = mistake("jobs:\n  - name: home\n    sources: [/home]\n    shedule: daily\n");
        assert!(nested.starts_with("4:5: ") && nested.contains("unknown field `shedule`"), "{nested}");
        let size = mistake("repository: /r\npack_size: 1TB\n");
        assert!(size.starts_with("2:12: ") && size.contains("16MiB to 100MiB"), "{size}");
        let often = mistake("replicas:\n  - name: a\n    url: /a\n    schedule: hourly\n");
        assert!(often.starts_with("4:15: ") && often.contains("every 12h"), "{often}");
        let often = mistake("replicas:\n  - name: a\n    url: /a\n    schedule: {evry: 1h}\n");
        assert!(often.starts_with("4:15: ") && often.contains("unknown field `evry`"), "{often}");
        let unset = mistake("repository: ${FARDEL_TEST_SURELY_UNSET}/x\n");
        assert!(
            unset.starts_with("1:13: ") && unset.contains("FARDEL_TEST_SURELY_UNSET is not set"),
            "{unset}"
        );
        let yaml = mistake("jobs: [\n");
        assert!(yaml.starts_with("2:1: "), "{yaml}");
        let replica = "replicas:\n  - name: a\n    url: /a\n    limits:\n";
        let rate = mistake(&format!("{replica}      upload: fast\n"));
        assert!(rate.starts_with("5:15: ") && rate.contains("`fast` is no size"), "{rate}");
        let none = mistake(&format!("{replica}      upload: 0\n"));
        assert!(none.starts_with("5:15: ") && none.contains("off for no limit"), "{none}");
        let key = mistake(&format!("{replica}      uplaod: 1M\n"));
        assert!(key.starts_with("5:7: ") && key.contains("unknown field `uplaod`"), "{key}");
        let clock =
            mistake(&format!("{replica}      timetable:\n        - from: 8 am\n          to: 18:00\n"));
        assert!(clock.starts_with("6:17: ") && clock.contains("08:00"), "{clock}");
        let day = mistake(&format!(
            "{replica}      timetable:\n        - from: 08:00\n          to: 18:00\n          days: [monday]\n"
        ));
        assert!(day.starts_with("8:18: ") && day.contains("unknown variant `monday`"), "{day}");
        let keep = mistake("retention:\n  keep_dayly: 7\n");
        assert!(keep.starts_with("2:3: ") && keep.contains("unknown field `keep_dayly`"), "{keep}");
        let keep = mistake(&format!(
            "{}    retention:\n      keep_daily: many\n",
            "replicas:\n  - name: a\n    url: /a\n"
        ));
        assert!(keep.starts_with("5:19: ") && keep.contains("`many` is no count"), "{keep}");
        let keep = mistake("retention:\n  keep_daily: -1\n");
        assert!(keep.starts_with("2:15: ") && keep.contains("`-1` is no count"), "{keep}");
        let within = mistake("retention:\n  keep_within: 2 weeks\n");
        assert!(within.starts_with("2:16: ") && within.contains("14d"), "{within}");
        let group = mistake("retention:\n  keep_last: 1\n  group_by: owner\n");
        assert!(group.starts_with("3:13: ") && group.contains("host, sources, tags"), "{group}");
        let kind = mistake("repository: {}\n");
        assert!(kind.starts_with("1:13: ") && kind.contains("expected a text"), "{kind}");
    }

    #[test]
    fn a_password_in_a_url_is_a_secret_of_the_file() {
        let holds = |text: &str| ConfigFile::parse(text).ok().unwrap().secret().is_some();
        assert!(holds("repository: webdav+https://ann:secret@host/x\n"));
        assert!(holds("replicas:\n  - name: a\n    url: sftp://ann:secret@host/x\n"));
        assert!(!holds("repository: sftp://ann@host/x\n"));
        assert!(!holds("repository: /srv/a:b@c\n"));
    }
}
