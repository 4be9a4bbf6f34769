use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fardel_format::keys::HostKey;
use fardel_source::ErrorKind as SourceErrorKind;

use super::*;
use crate::keyring::Material;
use crate::monitor::{Counters, Silent};
use crate::restore::{RestoreOptions, restore};
use crate::testing::{Fixture, fixture, noise};

mod apart;

/// The user stops it after so many bytes.
struct Impatient {
    silent: Silent,
    bytes: u64,
}

impl Monitor for Impatient {
    fn counters(&self) -> &Counters {
        self.silent.counters()
    }
    fn warning(&self, _: &str) {}
    fn detail(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        self.counters().get().bytes_done >= self.bytes
    }
}

fn run(fixture: &Fixture, options: &BackupOptions, monitor: &dyn Monitor) -> Result<BackupReport> {
    let (repo, catalog) = fixture.open();
    backup(&repo, &catalog, options, monitor)
}

/// Nobody knows what was to be left out: nothing is saved as if it were all.
#[test]
fn a_pattern_that_means_nothing_ends_the_backup() {
    let fixture = fixture();
    fixture.write("file", "content");
    let whole = fixture.source().display().to_string();
    for pattern in ["[z-a]", &whole] {
        let mut options = fixture.options(vec![SourceSpec::Path(fixture.source())]);
        options.excludes = vec![pattern.to_owned()];
        match run(&fixture, &options, &Silent::default()) {
            Err(Error::Source(error)) => {
                assert_eq!(error.kind(), SourceErrorKind::Pattern);
                assert!(error.to_string().contains(pattern), "{error}");
            }
            other => panic!("{pattern}: {other:?}"),
        }
    }
    let (repo, catalog) = fixture.open();
    assert!(Snapshots::load(&repo, &catalog).unwrap().sealed.is_empty());
}

#[test]
fn a_rerun_after_an_interruption_knows_how_much_is_ahead() {
    let fixture = fixture();
    let size = 24 << 20;
    let image = fixture.write("disk.img", noise(1, size));
    let options = || fixture.options(vec![SourceSpec::Path(image.clone())]);
    let impatient = Impatient { silent: Silent::default(), bytes: 4 << 20 };
    let report = run(&fixture, &options(), &impatient).unwrap();
    assert!(report.partial && report.bytes_read < size as u64, "{report:?}");
    let (repo, catalog) = fixture.open();
    assert_eq!(Snapshots::load(&repo, &catalog).unwrap().sealed.len(), 1, "what was finished is sealed");
    // With only that as a parent, and then with a finished one.
    for _ in 0..2 {
        let monitor = Silent::default();
        run(&fixture, &options(), &monitor).unwrap();
        let progress = monitor.counters().get();
        assert_eq!((progress.bytes_total, progress.bytes_done), (size as u64, size as u64));
    }
}

/// A host that may not read saves as the fixture's own host, from a key file without an identity.
fn write_only(fixture: &Fixture) -> BackupReport {
    let host = HostKey { identities: Vec::new(), ..fixture.host.clone() };
    let (repo, catalog) = fixture.open_with(Some(Material::Host(Box::new(host)))).unwrap();
    assert!(!repo.keys().can_read);
    let options = fixture.options(vec![SourceSpec::Path(fixture.source())]);
    backup(&repo, &catalog, &options, &Silent::default()).unwrap()
}

/// The newest snapshot holds just what lies in the source.
fn assert_saved(fixture: &Fixture) {
    let (repo, catalog) = fixture.open_with(Some(fixture.recovery())).unwrap();
    let sealed = Snapshots::load(&repo, &catalog).unwrap().sealed.pop().unwrap();
    let target = tempfile::tempdir().unwrap();
    let source = fixture.source().into_os_string().into_encoded_bytes();
    let options = RestoreOptions::new(target.path());
    let report = restore(&repo, &catalog, &sealed, Some(&source), &options, &Silent::default()).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(contents(target.path()), contents(&fixture.source()));
}

fn contents(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let bytes = path.is_file().then(|| std::fs::read(&path).unwrap());
            found.push((path.strip_prefix(folder).unwrap().to_owned(), bytes));
            folders.extend(path.is_dir().then_some(path));
        }
    }
    found.sort();
    found
}

/// Files whose change times are older than the clock's tick, so that they can be told to be unchanged.
fn settled(fixture: &Fixture) {
    let newest = || {
        let times = contents(&fixture.source()).into_iter().map(|(path, _)| {
            let meta = std::fs::metadata(fixture.source().join(path)).unwrap();
            meta.ctime() * 1_000_000_000 + meta.ctime_nsec()
        });
        times.max().unwrap()
    };
    let tick = 20_000_000;
    while i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap() <= newest() + tick {
        std::thread::yield_now();
    }
}

#[test]
fn a_host_that_may_not_read_reads_only_what_changed() {
    let fixture = fixture();
    for number in 0..50 {
        fixture.write(&format!("folder{}/file{number}", number % 3), noise(number, 10_000));
    }
    fixture.write("large", noise(99, 5 << 20));
    settled(&fixture);
    let first = write_only(&fixture);
    assert_eq!((first.files_new, first.files_unmodified), (51, 0));
    assert_saved(&fixture);

    let second = write_only(&fixture);
    assert_eq!((second.files_unmodified, second.bytes_read, second.bytes_added), (51, 0, 0));
    assert_saved(&fixture);

    fixture.write("folder1/file1", "other");
    fixture.write("folder2/new", "new");
    std::fs::remove_file(fixture.source().join("folder0/file0")).unwrap();
    settled(&fixture);
    let third = write_only(&fixture);
    assert_eq!((third.files_new, third.files_changed, third.files_unmodified), (1, 1, 49));
    assert_eq!(third.bytes_read, 8);
    assert_saved(&fixture);
}

/// What is remembered is a cache: whatever becomes of it, snapshots are right.
#[test]
fn a_damaged_memory_costs_time_and_nothing_else() {
    let fixture = fixture();
    for number in 0..5 {
        fixture.write(&format!("folder/file{number}"), noise(number, 1000));
    }
    settled(&fixture);
    write_only(&fixture);
    let folder = fixture.temp().join("cache");
    let memories = || {
        let folders = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path().join("listings"));
        let files = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
        files.map(|file| file.unwrap().path()).collect::<Vec<_>>()
    };
    let [memory] = &memories()[..] else { panic!("{:?}", memories()) };
    let whole = std::fs::read(memory).unwrap();
    let (mut used, mut unused) = (0, 0);
    for at in (0..whole.len()).step_by(1 + whole.len() / 60) {
        for cut in [true, false] {
            let mut bad = whole.clone();
            if cut {
                bad.truncate(at);
            } else {
                bad[at] ^= 0x10;
            }
            std::fs::write(memory, bad).unwrap();
            let report = write_only(&fixture);
            assert_eq!(report.files_new + report.files_unmodified, 5, "{report:?}");
            *(if report.files_unmodified == 5 { &mut used } else { &mut unused }) += 1;
            assert_saved(&fixture);
            std::fs::write(memory, &whole).unwrap();
        }
    }
    println!("{unused} damaged memories were not used, {used} were damaged where nothing is read");
    assert!(unused > used);
    // One of a snapshot that is gone.
    fixture.lose("seals/");
    assert_eq!(write_only(&fixture).files_new, 5);
    assert_saved(&fixture);
    assert_eq!(memories().len(), 1, "no temporary is left");
}
