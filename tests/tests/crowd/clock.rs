use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::machine::{Ended, Machine};
use jiff::Timestamp;

/// How far clocks are off where nobody asks for the time.
const OFF: [&str; 10] = ["-400d", "-40d", "-3d", "-25h", "-2h", "+2h", "+25h", "+3d", "+9d", "+400d"];
/// How far they are off where a service refuses more than a quarter of an hour.
const A_LITTLE_OFF: [&str; 4] = ["-13m", "-2m", "+2m", "+13m"];

/// The library that lets a program see another time. `faketime` itself would stand between us and the process that is struck.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists()).expect("libfaketime of Debian is installed (package faketime)")
});

/// How far the clock of a process is off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock(Option<&'static str>);

impl Clock {
    /// Right in two of three cases.
    pub fn any(chance: &mut Chance, is_asked: bool) -> Self {
        let off = if is_asked { &A_LITTLE_OFF[..] } else { &OFF[..] };
        Self(chance.one_in(3).then(|| *chance.pick(off)))
    }

    /// Off by so much.
    pub fn off(by: &'static str) -> Self {
        Self(Some(by))
    }

    /// Whether it is wrong.
    pub fn is_off(self) -> bool {
        self.0.is_some()
    }

    /// Lets a command see it. Files keep their times, and what is measured its length.
    pub fn show(self, command: &mut Command) {
        if let Some(off) = self.0 {
            command.env("LD_PRELOAD", &*LIBRARY).env("FAKETIME", off);
            command.env("NO_FAKE_STAT", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
    }
}

/// Removes what the library keeps for a process that was killed; the next one of its number would not start.
pub fn tidy(process: u32) {
    for name in [format!("faketime_shm_{process}"), format!("sem.faketime_sem_{process}")] {
        let _ = std::fs::remove_file(std::path::Path::new("/dev/shm").join(name));
    }
}

/// That what this suite is about comes about: a backup on such a machine bears its time.
pub fn the_command_goes_by_a_clock_that_is_off() {
    let machine = Machine::new("clock", "").expect("a machine");
    machine.succeed(&["init", "--recovery-file", "recovery"]).expect("a repository");
    std::fs::write(machine.path("file"), "x").expect("it can be written");
    let mut command = machine.command(&["backup", "file"]);
    Clock::off("+3d").show(&mut command);
    let ended = Ended::of(command.output().expect("it runs"));
    assert_eq!(ended.code, Some(0), "{}", ended.told());
    let listed = machine.run(&["snapshots"]).expect("it runs");
    let time = listed.lines[0]["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let ahead = time.expect("a time").duration_since(Timestamp::now()).as_hours();
    assert!((71..=72).contains(&ahead), "{ahead} hours ahead");
}
