//! Memory: anonymous pages of the built command, sampled while it runs, and a control group that allows no more.
//!
//! The sources are larger than what is allowed: an image of 1 GiB, a folder of 10,000 files (a million in a soak). What the
//! command writes lies on a disk, for files in memory would count. Where control groups cannot be made (they need root, and a cgroup file
//! system that can be written) the samples alone must do, and the test says so.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::machine::Ended;
use fardel_tests::crash::seed;
use fardel_tests::crash::tally::tell;
use fardel_tests::disk_tree::temporary_folder;
use fardel_tests::fardel_binary;
use fardel_tests::servers::{Ceph, Sshd};

const MIB: u64 = 1 << 20;
/// What every command may use: the `memory` setting.
const MEMORY: u64 = 256 * MIB;
/// What a backup may use that finds nothing changed.
const UNCHANGED: u64 = 200 * MIB;
/// A smaller `memory` setting, and what may be used with it: the setting is for data, the rest is the program's own.
const SMALL: (&str, u64) = ("memory: 64MiB\n", 128 * MIB);
/// What carrying to one copy, and looking at copies, may use on a small machine.
const NAS: u64 = 64 * MIB;
/// Length of the image; every second MiB is random, the others are a hole.
const IMAGE: u64 = 1024 * MIB;
/// Files in CI.
const FILES: u64 = 10_000;
/// Files in a soak.
const SOAK_FILES: u64 = 1_000_000;
/// Files in one folder, at most.
const IN_A_FOLDER: u64 = 2_000;
/// Pause between two samples.
const PAUSE: Duration = Duration::from_millis(2);

#[test]
fn memory_is_bounded() {
    measure(FILES);
}

#[test]
#[ignore = "soak: a million files"]
fn soak_memory_is_bounded() {
    measure(SOAK_FILES);
}

fn measure(files: u64) {
    let began = Instant::now();
    let lab = Lab::new().expect("a folder on a disk");
    lab.image().expect("an image");
    lab.many_files(files).expect("many files");
    let (image, tree, small) = (lab.path("disk.img"), lab.sources.path(), lab.path("small.yaml"));
    let mut runs = Vec::new();
    let mut run = |what: &str, limit: u64, arguments: &[&Path]| runs.push(lab.run(what, limit, arguments));
    let word = Path::new;

    run("init", MEMORY, &[word("init"), word("--recovery-file"), &lab.path("recovery")]);
    run("backup of an image of 1 GiB", MEMORY, &[word("backup"), &image]);
    run(
        "restore of the image",
        MEMORY,
        &[word("restore"), word("latest"), word("--target"), &lab.path("out-image")],
    );
    run(
        "restore of the image in place",
        MEMORY,
        &[word("restore"), word("latest"), word("--in-place"), word("--target"), &lab.path("out-image")],
    );
    run(&format!("backup of {files} files"), MEMORY, &[word("backup"), tree]);
    run(&format!("backup of {files} unchanged files"), UNCHANGED, &[word("backup"), tree]);
    run(
        &format!("restore of {files} files"),
        MEMORY,
        &[word("restore"), word("latest"), word("--target"), &lab.path("out-tree")],
    );
    run("check with all data", MEMORY, &[word("check"), word("--level"), word("data")]);
    lab.copies(&mut runs);
    let mut run = |what: &str, limit: u64, arguments: &[&Path]| runs.push(lab.run(what, limit, arguments));
    let other = lab.path("other");
    let with = [word("--config"), &small, word("--repo"), &other];
    let mut small = |what: &str, command: &[&Path]| {
        run(&format!("{what}, memory: 64MiB"), SMALL.1, &[command, &with].concat())
    };
    let recovery = lab.path("other-recovery");
    small(
        "backup of all of it",
        &[word("backup"), word("--init"), word("--recovery-file"), &recovery, &image, tree],
    );
    small("check with all data", &[word("check"), word("--level"), word("data")]);
    small("restore of all of it", &[word("restore"), word("latest"), word("--target"), &lab.path("out")]);

    println!("memory of the built command ({}), seed {}", lab.limits(), seed());
    println!(
        "{:<36} {:>16} {:>14} {:>12} {:>8}",
        "command", "anonymous, MiB", "resident, MiB", "allowed, MiB", "s"
    );
    for Run { what, anonymous, resident, limit, seconds, .. } in &runs {
        println!(
            "{what:<36} {:>16} {:>14} {:>12} {seconds:>8.1}",
            anonymous.div_ceil(MIB),
            resident.div_ceil(MIB),
            limit / MIB
        );
    }
    let most = runs.iter().map(|run| run.anonymous).max().unwrap_or_default().div_ceil(MIB);
    let seconds = began.elapsed().as_secs_f64();
    tell(&format!(
        "memory: at most {most} MiB anonymous in {} commands, {}; {seconds:.0} s",
        runs.len(),
        lab.limits()
    ));
    for run in &runs {
        assert!(run.failure.is_none(), "{}: {}", run.what, run.failure.as_deref().unwrap_or_default());
        assert!(run.anonymous <= run.limit, "{}: {} MiB", run.what, run.anonymous.div_ceil(MIB));
    }
}

/// What was measured of one command.
struct Run {
    what: String,
    limit: u64,
    /// Most anonymous memory that was seen, in bytes.
    anonymous: u64,
    /// Most resident memory there was, mapped files included, in bytes.
    resident: u64,
    seconds: f64,
    failure: Option<String>,
}

/// A folder on a disk, and a control group if there can be one.
struct Lab {
    folder: tempfile::TempDir,
    /// In memory, not the command's own, so that it does not count: many small files.
    sources: tempfile::TempDir,
    group: Option<Group>,
}

impl Lab {
    fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("memory-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        fs::create_dir(folder.path().join("home"))?;
        fs::write(folder.path().join("small.yaml"), SMALL.0)?;
        let sources = temporary_folder("memory");
        let group = Group::new(MEMORY);
        if let Err(why) = &group {
            tell(&format!(
                "memory: NO control group of {} MiB could be made ({why}): left out",
                MEMORY / MIB
            ));
        }
        Ok(Self { folder, sources, group: group.ok() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn limits(&self) -> String {
        match &self.group {
            Some(group) => {
                format!("inside a control group of {} MiB (cgroup {})", MEMORY / MIB, group.version)
            }
            None => "without a control group".into(),
        }
    }

    fn image(&self) -> io::Result<()> {
        let mut chance = Chance::of(seed(), "image", 0);
        let file = File::create_new(self.path("disk.img"))?;
        file.set_len(IMAGE)?;
        for at in (0..IMAGE).step_by(2 * MIB as usize) {
            file.write_all_at(&chance.bytes(MIB as usize), at)?;
        }
        Ok(())
    }

    fn many_files(&self, files: u64) -> io::Result<()> {
        let mut chance = Chance::of(seed(), "files", 0);
        for first in (0..files).step_by(IN_A_FOLDER as usize) {
            let folder = self.sources.path().join(format!("{:03}/{first:07}", first / (IN_A_FOLDER * 20)));
            fs::create_dir_all(&folder)?;
            for number in first..(first + IN_A_FOLDER).min(files) {
                let len = chance.below(300) as usize;
                fs::write(folder.join(format!("a file with the number {number:07}.txt")), chance.text(len))?;
            }
        }
        Ok(())
    }

    /// Carries everything to four copies at once, then to one on a small machine, and looks at them.
    fn copies(&self, runs: &mut Vec<Run>) {
        let word = Path::new;
        let server = Sshd::SFTP_SERVER;
        let mut four = format!("stores:\n  - url: sftp://\n    transport_command: [{server}]\nreplicas:\n");
        for name in ["one", "two", "three", "four"] {
            let place = self.path(name).display().to_string();
            // Where there is a server for it, half of them lie behind SFTP.
            let is_remote = ["two", "four"].contains(&name) && Path::new(server).exists();
            let scheme = if is_remote { "sftp://nas" } else { "" };
            four.push_str(&format!("  - name: {name}\n    url: {scheme}{place}\n"));
        }
        let (all, nas) = (self.path("four.yaml"), self.path("nas.yaml"));
        fs::write(&all, &four).expect("it can be written");
        fs::write(&nas, format!("{}{four}", SMALL.0)).expect("it can be written");
        let sync = [word("sync"), word("--config"), &all];
        runs.push(self.run("sync to four copies", MEMORY, &sync));
        let small = [word("--config"), &nas];
        runs.push(self.run("status, memory: 64MiB", NAS, &[&[word("status")], &small[..]].concat()));
        let (five, six) = (self.path("five"), self.path("six"));
        let url = format!("sftp://nas{}", five.display());
        let fifth = if Path::new(server).exists() { Path::new(&url) } else { &five };
        let sync = [&[word("sync"), word("--to"), fifth], &small[..]].concat();
        runs.push(self.run("sync to one copy, memory: 64MiB", NAS, &sync));
        // From a copy on another machine: what is carried on lies on the disk meanwhile.
        let sync = [&[word("sync"), word("--repo"), fifth, word("--to"), &six], &small[..]].concat();
        runs.push(self.run("sync from a copy, memory: 64MiB", NAS, &sync));
        if let Some(ceph) = Ceph::shared() {
            let url = format!("s3://{}/r?endpoint={}", ceph.make_bucket("memory"), ceph.url());
            let sync = [&[word("sync"), word("--to"), word(&url)], &small[..]].concat();
            runs.push(self.run("sync to S3, memory: 64MiB", NAS, &sync));
        }
    }

    fn run(&self, what: &str, limit: u64, arguments: &[&Path]) -> Run {
        let began = Instant::now();
        let mut run =
            Run { what: what.into(), limit, anonymous: 0, resident: 0, seconds: 0.0, failure: None };
        let ended = self.command(arguments).spawn().and_then(|child| sample(child, &mut run));
        run.seconds = began.elapsed().as_secs_f64();
        run.failure = match ended {
            Ok(ended) if ended.code == Some(0) => None,
            Ok(ended) => Some(format!("it ended with {:?}: {}", ended.code, ended.told())),
            Err(error) => Some(error.to_string()),
        };
        run
    }

    /// The command, in the control group from its first page on.
    fn command(&self, arguments: &[&Path]) -> Command {
        let mut line: Vec<OsString> = vec![fardel_binary().into(), "--json".into(), "--no-progress".into()];
        line.extend(arguments.iter().map(|argument| argument.as_os_str().to_owned()));
        let mut command = match &self.group {
            Some(group) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.path.join("cgroup.procs"));
                shell
            }
            None => Command::new("env"),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.args(line).env_clear().env("PATH", path).env("HOME", self.path("home"));
        command.env("AWS_ACCESS_KEY_ID", Ceph::KEY).env("AWS_SECRET_ACCESS_KEY", Ceph::SECRET);
        command.env("FARDEL_REPOSITORY", self.path("repo")).env("FARDEL_CACHE_DIR", self.path("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Looks at a process until it ends.
fn sample(mut child: Child, run: &mut Run) -> io::Result<Ended> {
    let status = format!("/proc/{}/status", child.id());
    while child.try_wait()?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        run.anonymous = run.anonymous.max(kib(&text, "RssAnon:") * 1024);
        run.resident = run.resident.max(kib(&text, "VmHWM:") * 1024);
        std::thread::sleep(PAUSE);
    }
    child.wait_with_output().map(Ended::of)
}

fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// A control group whose processes together may have so much memory; the cache of files is taken from them first.
struct Group {
    path: PathBuf,
    version: u8,
}

impl Group {
    fn new(bytes: u64) -> io::Result<Self> {
        let name = format!("fardel-memory-{}", std::process::id());
        let unified = Path::new("/sys/fs/cgroup");
        if unified.join("cgroup.controllers").exists() {
            // Fails where it is on already, or where it is not ours to say: the limit below tells.
            let _ = fs::write(unified.join("cgroup.subtree_control"), "+memory");
            let group = Self::make(unified.join(name), 2)?;
            fs::write(group.path.join("memory.max"), bytes.to_string())?;
            // Absent without swap.
            let _ = fs::write(group.path.join("memory.swap.max"), "0");
            return Ok(group);
        }
        let group = Self::make(unified.join("memory").join(name), 1)?;
        fs::write(group.path.join("memory.limit_in_bytes"), bytes.to_string())?;
        let _ = fs::write(group.path.join("memory.memsw.limit_in_bytes"), bytes.to_string());
        Ok(group)
    }

    fn make(path: PathBuf, version: u8) -> io::Result<Self> {
        fs::create_dir(&path)?;
        Ok(Self { path, version })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}
