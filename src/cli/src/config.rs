//! What a command works with: arguments before environment before configuration file, resolved once.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fardel_engine::forget::policy::Policy;
use jiff::civil::Weekday;

use crate::args::GlobalArgs;
use crate::config_file::{
    ConfigFile, Day, Job as FileJob, Limits, Rate, Retention, Store as FileStore, Text,
};
use crate::error::{Failure, Result};
use crate::human;
use crate::location::Location;
use crate::schedule::Schedule;
use crate::stores::Settings;
use crate::timetable::{self, Rates, Timetable};

const FILE: &str = "fardel.yaml";

/// Everything that was set, wherever.
#[derive(Clone, Debug)]
pub struct Config {
    repository: Option<Place>,
    /// Where the file says that the repository lies, whatever arguments say.
    own: Option<Place>,
    /// What must stand on the next command line to mean the same repository and key.
    again: Again,
    /// What the repository keeps.
    pub retention: Option<Policy>,
    /// Copies of the repository, by name.
    pub replicas: Vec<Replica>,
    /// The key file that was named.
    pub key_file: Option<PathBuf>,
    /// A file with a passphrase, named on the command line.
    pub passphrase_file: Option<PathBuf>,
    /// A shell command that prints the passphrase.
    pub passphrase_command: Option<String>,
    /// Where this user's key files are kept, one a repository.
    pub keys_dir: PathBuf,
    /// What can be rebuilt.
    pub cache: PathBuf,
    /// Stored size at which a pack is closed.
    pub pack_size: Option<u64>,
    /// Chunk size for volumes.
    pub chunk_size: Option<u32>,
    /// zstd level.
    pub level: Option<i32>,
    /// What may be used of memory, in bytes.
    pub memory: u64,
    /// What to back up.
    pub jobs: Vec<Job>,
    /// How stores on other machines are reached.
    pub stores: Vec<Settings>,
}

/// The memory that is used unless the configuration says otherwise, in bytes.
const MEMORY: u64 = 256 << 20;

/// A copy of the repository.
#[derive(Clone, Debug)]
pub struct Replica {
    /// How it is called.
    pub name: String,
    /// How fast it may be fed.
    pub limits: Timetable,
    /// What it keeps.
    pub retention: Option<Policy>,
    /// When it is to be brought up to date.
    pub schedule: Option<Schedule>,
    place: Place,
}

/// What came from the command line, and so has to be said again.
#[derive(Clone, Debug, Default)]
struct Again {
    config: Option<PathBuf>,
    repo: bool,
    key_file: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
}

/// A path or URL, and what it is relative to.
#[derive(Clone, Debug)]
struct Place {
    text: String,
    base: PathBuf,
}

/// Something to back up together, from the configuration.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// How it is called; empty for what stands on the command line.
    pub name: String,
    /// Folders, disk images, block devices.
    pub sources: Vec<PathBuf>,
    /// gitignore patterns to leave out.
    pub excludes: Vec<String>,
    /// Files of such patterns.
    pub exclude_files: Vec<PathBuf>,
    /// Leave out folders with a `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Leave out larger files.
    pub exclude_larger_than: Option<u64>,
    /// Do not enter other file systems.
    pub one_file_system: bool,
    /// Words to find the snapshots by.
    pub tags: Vec<String>,
}

/// The environment as this command reads it; a variable that is empty counts as not set.
pub trait Environment {
    /// The value of a variable.
    fn get(&self, name: &str) -> Option<OsString>;
    /// The user's home folder.
    fn home(&self) -> Option<PathBuf>;
    /// The current folder.
    fn here(&self) -> PathBuf;
}

/// The environment of this process.
pub struct Process;

impl Environment for Process {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name).filter(|value| !value.is_empty())
    }
    fn home(&self) -> Option<PathBuf> {
        std::env::home_dir().filter(|home| home.is_absolute())
    }
    fn here(&self) -> PathBuf {
        std::env::current_dir().unwrap_or_else(|_| "/".into())
    }
}

impl Config {
    /// Resolves everything.
    ///
    /// # Errors
    /// When the configuration is wrong, or there is no home folder.
    pub fn resolve(args: &GlobalArgs, env: &dyn Environment) -> Result<Self> {
        let here = env.here();
        let config_dir = user_dir(env, "XDG_CONFIG_HOME", ".config", "FARDEL_CONFIG and XDG_CONFIG_HOME")?;
        let path = find_file(args, env, &config_dir)?;
        let file = path.as_deref().map(ConfigFile::load).transpose()?.unwrap_or_default();
        let base =
            path.as_deref().and_then(Path::parent).map_or_else(|| here.clone(), |folder| here.join(folder));

        let replicas = file.replicas.iter().map(|replica| Replica {
            name: replica.name.value.clone(),
            limits: replica.limits.as_ref().map(timetable).unwrap_or_default(),
            retention: replica.retention.as_ref().map(Retention::policy),
            schedule: replica.schedule.as_ref().map(|schedule| schedule.0.clone()),
            place: Place { text: replica.url.path_or_url(), base: base.clone() },
        });
        let own = file.repository.as_ref().map(|text| Place { text: text.path_or_url(), base: base.clone() });
        let repository = match (&args.repo, env.get("FARDEL_REPOSITORY")) {
            (Some(text), _) => Some(Place { text: text.clone(), base: here.clone() }),
            (None, Some(text)) => {
                Some(Place { text: text_of("FARDEL_REPOSITORY", text)?, base: here.clone() })
            }
            (None, None) => own.clone(),
        };
        let key_file = args.key_file.clone().or_else(|| env.get("FARDEL_KEY_FILE").map(PathBuf::from));
        let command = env
            .get("FARDEL_PASSPHRASE_COMMAND")
            .map(|text| text_of("FARDEL_PASSPHRASE_COMMAND", text))
            .transpose()?;
        let cache = match env.get("FARDEL_CACHE_DIR") {
            Some(dir) => here.join(dir),
            None => user_dir(env, "XDG_CACHE_HOME", ".cache", "FARDEL_CACHE_DIR")?,
        };
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(|path| here.join(path));
        let again = Again {
            config: absolute(&args.config),
            repo: args.repo.is_some(),
            key_file: absolute(&args.key_file),
            passphrase_file: absolute(&args.passphrase_file),
        };
        Ok(Self {
            again,
            repository,
            own,
            retention: file.retention.as_ref().map(Retention::policy),
            replicas: replicas.collect(),
            key_file: key_file
                .map(|path| here.join(path))
                .or_else(|| file.key_file.as_ref().map(|text| text.path(&base))),
            passphrase_file: args.passphrase_file.clone(),
            passphrase_command: command
                .or_else(|| file.passphrase_command.as_ref().map(|text| text.value.clone())),
            keys_dir: config_dir.join("keys"),
            cache,
            pack_size: file.pack_size.map(|size| size.0),
            chunk_size: file.chunk_size.map(|size| size.0),
            level: file.compression.map(|level| level.0),
            memory: file.memory.map_or(MEMORY, |size| size.0),
            jobs: file.jobs.iter().map(|job| Job::resolve(job, &base)).collect(),
            stores: file.stores.iter().map(|store| store_settings(store, &base)).collect(),
        })
    }

    /// Where the repository lies.
    ///
    /// # Errors
    /// When none was named, or this build has no such store.
    pub fn location(&self) -> Result<Location> {
        let place = self.repository.as_ref().ok_or_else(|| {
            Failure::usage(
                "no repository was named",
                "give --repo PATH, set FARDEL_REPOSITORY, or write `repository:` into fardel.yaml",
            )
        })?;
        self.by_name(place)
    }

    /// Where a copy lies: a replica's name, or a path or URL.
    ///
    /// # Errors
    /// When this build has no such store.
    pub fn copy(&self, name_or_url: &str, env: &dyn Environment) -> Result<Location> {
        self.by_name(&Place { text: name_or_url.to_owned(), base: env.here() })
    }

    /// The configured replica that lies at this place.
    #[must_use]
    pub fn replica_at(&self, location: &Location) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.location().is_ok_and(|place| place == *location))
    }

    /// What is kept at this place: a replica's own retention, or the repository's.
    #[must_use]
    pub fn retention_at(&self, location: &Location) -> Option<&Policy> {
        if let Some(replica) = self.replica_at(location) {
            return replica.retention.as_ref();
        }
        let own = self.own.as_ref().and_then(|place| self.by_name(place).ok());
        self.retention.as_ref().filter(|_| own.is_none_or(|own| own == *location))
    }

    /// Every place that the file names: the repository and its copies, by name. One that this build cannot reach is left out.
    #[must_use]
    pub fn places(&self) -> Vec<(String, Location)> {
        let own = self.own.iter().map(|place| ("repository".to_owned(), self.by_name(place)));
        let replicas = self.replicas.iter().map(|replica| (replica.name.clone(), replica.location()));
        own.chain(replicas).filter_map(|(name, location)| Some((name, location.ok()?))).collect()
    }

    /// The global options that a command needs to mean the same repository and key; each with a blank before it.
    #[must_use]
    pub fn again(&self, location: &Location) -> String {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let repo = self.again.repo.then(|| location.to_string());
        let options = [
            ("config", path(&self.again.config)),
            ("repo", repo),
            ("key-file", path(&self.again.key_file)),
            ("passphrase-file", path(&self.again.passphrase_file)),
        ];
        let said = options.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
        said.map(|(name, value)| format!(" --{name} {}", human::quoted(&value))).collect()
    }

    fn by_name(&self, place: &Place) -> Result<Location> {
        match self.replicas.iter().find(|replica| replica.name == place.text) {
            Some(replica) => replica.location(),
            None => Location::parse(&place.text, &place.base),
        }
    }
}

impl Replica {
    /// Where it lies.
    ///
    /// # Errors
    /// When this build has no such store.
    pub fn location(&self) -> Result<Location> {
        Location::parse(&self.place.text, &self.place.base)
    }
}

impl Job {
    fn resolve(job: &FileJob, base: &Path) -> Self {
        Self {
            name: job.name.value.clone(),
            sources: job.sources.iter().map(|text| text.path(base)).collect(),
            excludes: job.excludes.iter().map(|text| text.value.clone()).collect(),
            exclude_files: job.exclude_from.iter().map(|text| text.path(base)).collect(),
            exclude_caches: job.exclude_caches,
            exclude_larger_than: job.exclude_larger_than.map(|size| size.0),
            one_file_system: job.one_file_system,
            tags: job.tags.iter().map(|text| text.value.clone()).collect(),
        }
    }
}

fn timetable(limits: &Limits) -> Timetable {
    let rate = |rate: Option<Rate>, usual| rate.map_or(usual, |Rate(rate)| rate);
    let usual = Rates { upload: rate(limits.upload, None), download: rate(limits.download, None) };
    let hours = limits.timetable.iter().map(|hours| timetable::Hours {
        from: hours.from.0,
        to: hours.to.0,
        days: hours.days.iter().flatten().map(weekday).collect(),
        rates: Rates {
            upload: rate(hours.upload, usual.upload),
            download: rate(hours.download, usual.download),
        },
    });
    Timetable { usual, hours: hours.collect() }
}

fn weekday(day: &Day) -> Weekday {
    match day {
        Day::Mon => Weekday::Monday,
        Day::Tue => Weekday::Tuesday,
        Day::Wed => Weekday::Wednesday,
        Day::Thu => Weekday::Thursday,
        Day::Fri => Weekday::Friday,
        Day::Sat => Weekday::Saturday,
        Day::Sun => Weekday::Sunday,
    }
}

fn store_settings(store: &FileStore, base: &Path) -> Settings {
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.value.clone());
    let command = store.transport_command.as_ref();
    Settings {
        url: store.url.value.clone(),
        transport_command: command.map(|words| words.iter().map(|word| word.value.clone()).collect()),
        password_command: text(&store.password_command),
        token_command: text(&store.token_command),
        ca_file: store.ca_file.as_ref().map(|path| path.path(base)),
    }
}

/// The configuration that was named, or else the first that is there.
fn find_file(args: &GlobalArgs, env: &dyn Environment, config_dir: &Path) -> Result<Option<PathBuf>> {
    if let Some(path) = args.config.clone().or_else(|| env.get("FARDEL_CONFIG").map(PathBuf::from)) {
        return Ok(Some(path));
    }
    let here = env.here().join(FILE);
    if let Ok(meta) = std::fs::metadata(&here) {
        // A configuration can name a command: one that a stranger left in a folder must not run by being there.
        let me = rustix::process::geteuid().as_raw();
        if meta.uid() != me && meta.uid() != 0 {
            let message = format!("{}: this configuration belongs to another user", human::path(&here));
            return Err(Failure::usage(message, "read it, then name it with --config if it may be used"));
        }
        return Ok(Some(here));
    }
    Ok(Some(config_dir.join(FILE)).filter(|path| path.exists()))
}

/// `$VARIABLE/fardel`, or `fardel` in a folder of the home folder.
fn user_dir(env: &dyn Environment, variable: &str, fallback: &str, instead: &str) -> Result<PathBuf> {
    // A relative one is to be ignored, says the XDG specification.
    let named = env.get(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    match named.or_else(|| env.home().map(|home| home.join(fallback))) {
        Some(folder) => Ok(folder.join("fardel")),
        None => {
            Err(Failure::usage("there is no home folder: HOME is not set", format!("set HOME, or {instead}")))
        }
    }
}

fn text_of(name: &str, value: OsString) -> Result<String> {
    value.into_string().map_err(|_| Failure::usage(format!("{name} is not UTF-8"), "set it to plain text"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct Fake {
        here: PathBuf,
        set: HashMap<&'static str, &'static str>,
    }

    impl Environment for Fake {
        fn get(&self, name: &str) -> Option<OsString> {
            self.set.get(name).map(OsString::from)
        }
        fn home(&self) -> Option<PathBuf> {
            Some("/home/ann".into())
        }
        fn here(&self) -> PathBuf {
            self.here.clone()
        }
    }

    fn folder_with(config: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), config).unwrap();
        folder
    }

    #[test]
    fn arguments_come_before_environment_before_file() {
        let folder =
            folder_with("repository: from-file\nkey_file: k\nreplicas:\n  - name: usb\n    url: /mnt/usb\n");
        let mut env = Fake { here: folder.path().into(), set: HashMap::new() };
        let mut args = GlobalArgs::default();
        let location = |args: &GlobalArgs, env: &Fake| {
            Config::resolve(args, env).unwrap().location().unwrap().to_string()
        };
        let here = folder.path().display();
        assert_eq!(location(&args, &env), format!("{here}/from-file"));
        env.set.insert("FARDEL_REPOSITORY", "/from/env");
        assert_eq!(location(&args, &env), "/from/env");
        args.repo = Some("from-args".into());
        assert_eq!(location(&args, &env), format!("{here}/from-args"));
        args.repo = Some("usb".into());
        assert_eq!(location(&args, &env), "/mnt/usb");
        let config = Config::resolve(&args, &env).unwrap();
        assert_eq!(config.key_file, Some(folder.path().join("k")));
        assert_eq!(config.keys_dir, Path::new("/home/ann/.config/fardel/keys"));
        assert_eq!(config.cache, Path::new("/home/ann/.cache/fardel"));
    }

    #[test]
    fn without_a_repository_the_failure_says_how_to_name_one() {
        let folder = tempfile::tempdir().unwrap();
        let env = Fake { here: folder.path().into(), set: HashMap::from([("XDG_CONFIG_HOME", "/nowhere")]) };
        let config = Config::resolve(&GlobalArgs::default(), &env).unwrap();
        assert!(config.location().unwrap_err().hint.contains("FARDEL_REPOSITORY"));
    }
}
