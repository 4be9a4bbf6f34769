use fardel_source::ErrorKind as SourceErrorKind;

use super::*;
use crate::monitor::{Counters, Silent};
use crate::testing::{Fixture, fixture, noise};

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
