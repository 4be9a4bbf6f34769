//! One test for each attack under "Restore as an attack" in THREATS.md.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, RenameFlags};

use super::tests::{Folder, plain, rel, write};
use super::*;

/// A folder outside the target that nobody may touch.
struct Victim {
    path: PathBuf,
    before: Vec<String>,
}

impl Victim {
    fn new(dir: &Path) -> Self {
        let path = dir.join("victim");
        fs::create_dir(&path).unwrap();
        fs::create_dir(path.join("sub")).unwrap();
        fs::write(path.join("secret"), "secret").unwrap();
        fs::write(path.join("f"), "victim").unwrap();
        let before = Self::state(&path);
        Victim { path, before }
    }

    /// Everything that could have changed: names, kinds, modes, owners, times, links, content.
    fn state(path: &Path) -> Vec<String> {
        let describe = |path: &Path| {
            let m = fs::symlink_metadata(path).unwrap();
            let content = fs::read(path).unwrap_or_default();
            let (owner, time, link) = ((m.uid(), m.gid()), (m.mtime(), m.mtime_nsec()), m.nlink());
            format!(
                "{} {:o} {owner:?} {time:?} {link} {} {content:?}",
                path.display(),
                m.mode(),
                m.ctime_nsec()
            )
        };
        let mut all: Vec<_> = fs::read_dir(path).unwrap().map(|e| describe(&e.unwrap().path())).collect();
        all.sort();
        all.push(describe(path));
        all
    }

    fn assert_untouched(&self) {
        assert_eq!(Self::state(&self.path), self.before);
    }
}

/// Everything a restore can do at and beneath a path that may be a trap. All of it may fail.
fn restore_everything(target: &Target, dir: &RelPath) -> (u32, u32) {
    let mut results = Vec::new();
    let name = |name: &str| dir.join(name.as_bytes()).unwrap();
    results.push(target.make_dir(&name("sub"), true).is_ok());
    if let Ok(file) = target.begin_file(&name("f")) {
        file.write_at(0, b"restored").unwrap();
        results.push(file.finish(&plain(0o666), true).is_ok());
    }
    if let Ok(Some(file)) = target.open_in_place(&name("secret"), 3) {
        file.write_at(0, b"new").unwrap();
        results.push(file.finish(&plain(0o666)).is_ok());
    }
    results.push(target.symlink(&name("link"), b"/etc", &plain(0o777), true).is_ok());
    results.push(target.fifo(&name("fifo"), &plain(0o666), true).is_ok());
    results.push(target.hard_link(&name("f"), &name("f2"), true).is_ok());
    results.push(target.remove(&name("secret")).is_ok());
    results.push(target.set_dir_attributes(&name("sub"), &plain(0o777)).is_ok());
    results.push(target.set_dir_attributes(dir, &plain(0o777)).is_ok());
    results.push(target.list_dir(dir).is_ok());
    results.push(target.remove_tree(&name("sub")).is_ok());
    let done = results.iter().filter(|ok| **ok).count();
    (done as u32, (results.len() - done) as u32)
}

#[test]
fn dots_absolute_names_and_nul_never_become_a_path() {
    for bad in [&b".."[..], b".", b"", b"/", b"/etc/passwd", b"../x", b"x/../y", b"x\0y"] {
        assert!(matches!(RelPath::new([bad]), Err(Error::Invalid(_))));
    }
    for folder in Folder::both_ways() {
        let root = RelPath::root();
        assert!(matches!(folder.target.begin_file(&root), Err(Error::Invalid(_))));
        assert!(matches!(folder.target.remove_tree(&root), Err(Error::Invalid(_))));
        // A link may hold a path with NUL as little as a name; any other target is just bytes.
        assert!(folder.target.symlink(&rel("l"), b"a\0b", &plain(0o777), false).is_err());
        assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 0);
    }
}

#[test]
fn a_link_at_a_parent_is_named_and_not_followed() {
    for folder in Folder::both_ways() {
        let victim = Victim::new(folder.dir());
        for (name, to) in [("abs", victim.path.to_str().unwrap()), ("up", "../victim"), ("self", ".")] {
            symlink(to, folder.root().join(name)).unwrap();
            let (dir, inner) = (rel(name), rel(&format!("{name}/sub")));
            let (done, _) = restore_everything(&folder.target, &dir);
            assert_eq!(done, 0, "{name}");
            restore_everything(&folder.target, &inner);
            let error = folder.target.begin_file(&rel(&format!("{name}/sub/f"))).unwrap_err().to_string();
            assert!(
                error.contains("symbolic link")
                    && error.contains(&*folder.root().join(name).to_string_lossy())
            );
            assert!(!error.contains("/sub"), "the link itself is named: {error}");
            assert!(folder.target.make_dir(&dir, false).is_err());
        }
        victim.assert_untouched();
        // A link of the snapshot's own is no way through either.
        folder.target.symlink(&rel("own"), b"../victim", &plain(0o777), false).unwrap();
        assert_eq!(restore_everything(&folder.target, &rel("own")).0, 0);
        victim.assert_untouched();
        // With `replace` the link goes, and not what it points to.
        assert_eq!(folder.target.make_dir(&rel("abs"), true).unwrap(), Made::New);
        assert!(restore_everything(&folder.target, &rel("abs")).0 > 5);
        victim.assert_untouched();
    }
}

#[test]
fn a_link_swapped_in_while_restoring_leads_nowhere() {
    for folder in Folder::both_ways() {
        let victim = Victim::new(folder.dir());
        let (dir, trap) = (folder.root().join("d"), folder.root().join("trap"));
        fs::create_dir(&dir).unwrap();
        symlink(&victim.path, &trap).unwrap();
        let stop = AtomicBool::new(false);
        let (mut done, mut failed, mut swaps) = (0, 0, 0);
        std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                let mut swaps = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    rustix::fs::renameat_with(CWD, &dir, CWD, &trap, RenameFlags::EXCHANGE).unwrap();
                    swaps += 1;
                }
                swaps
            });
            for i in 0..3_000 {
                if i % 2 == 0 {
                    // Resolve again, instead of working in the folder that was opened once.
                    folder.target.shared.beneath.forget(&rel("d"));
                }
                let (ok, bad) = restore_everything(&folder.target, &rel("d"));
                (done, failed) = (done + ok, failed + bad);
            }
            stop.store(true, Ordering::Relaxed);
            swaps = swapper.join().unwrap();
        });
        println!("{done} calls done, {failed} refused, {swaps} swaps");
        victim.assert_untouched();
        assert!(done > 0 && failed > 0 && swaps > 0, "nothing was raced: {done} {failed} {swaps}");
    }
}

#[test]
fn a_file_that_is_swapped_for_a_link_while_it_is_written_stays_a_file() {
    for folder in Folder::both_ways() {
        let victim = Victim::new(folder.dir());
        let file = folder.target.begin_file(&rel("f")).unwrap();
        file.write_at(0, b"half").unwrap();
        let partial = folder.root().join("f.partial");
        fs::remove_file(&partial).unwrap();
        symlink(victim.path.join("f"), &partial).unwrap();
        file.write_at(4, b"more").unwrap();
        // What was put there takes the name; attributes and content went to the file that we had opened.
        file.finish(&plain(0o666), true).unwrap();
        victim.assert_untouched();

        fs::write(folder.root().join("g"), "old").unwrap();
        let file = folder.target.open_in_place(&rel("g"), 3).unwrap().unwrap();
        fs::remove_file(folder.root().join("g")).unwrap();
        symlink(victim.path.join("f"), folder.root().join("g")).unwrap();
        file.write_at(0, b"new").unwrap();
        assert_eq!(file.fail(), folder.root().join("g"));
        victim.assert_untouched();
    }
}

#[test]
fn hard_links_reach_nothing_outside_and_are_not_written_through() {
    for folder in Folder::both_ways() {
        let victim = Victim::new(folder.dir());
        symlink(victim.path.join("f"), folder.root().join("link")).unwrap();
        symlink(&victim.path, folder.root().join("way")).unwrap();
        // A hard link to a link is a link, not a name of what it points to.
        folder.target.hard_link(&rel("link"), &rel("second"), false).unwrap();
        assert!(fs::symlink_metadata(folder.root().join("second")).unwrap().is_symlink());
        assert!(folder.target.hard_link(&rel("way/f"), &rel("third"), false).is_err());
        assert!(folder.target.hard_link(&rel("third"), &rel("way/new"), false).is_err());
        victim.assert_untouched();

        // A name of an outside file that was there before the restore is replaced, and the file is left alone.
        fs::hard_link(victim.path.join("f"), folder.root().join("f")).unwrap();
        fs::hard_link(victim.path.join("f"), folder.root().join("f.partial")).unwrap();
        assert!(folder.target.open_in_place(&rel("f"), 1).unwrap().is_none());
        write(&folder.target, "f", b"restored", &plain(0o666), true);
        assert_eq!(fs::read(folder.root().join("f")).unwrap(), b"restored");
        fs::remove_file(folder.root().join("f.partial")).unwrap();
        assert_eq!(fs::read(victim.path.join("f")).unwrap(), b"victim");
        assert_eq!(fs::metadata(victim.path.join("f")).unwrap().permissions().mode() & 0o777, 0o644);
    }
}

#[test]
fn devices_are_made_on_request_only() {
    let options = |devices| TargetOptions { devices, ..TargetOptions::default() };
    for folder in Folder::both_ways_with(options(false)) {
        let placed = folder.target.device(&rel("null"), false, (1, 3), &plain(0o666), true).unwrap();
        assert!(matches!(placed, Placed::Skipped(Skipped::Device)));
        let placed = folder.target.device(&rel("disk"), true, (8, 0), &plain(0o666), true).unwrap();
        assert!(matches!(placed, Placed::Skipped(Skipped::Device)));
        assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 0);
    }
    for folder in Folder::both_ways_with(options(true)) {
        match folder.target.device(&rel("null"), false, (1, 3), &plain(0o640), false).unwrap() {
            Placed::Made(warnings) => {
                assert!(warnings.is_empty(), "{warnings:?}");
                let meta = fs::metadata(folder.root().join("null")).unwrap();
                assert!(meta.file_type().is_char_device());
                assert_eq!((meta.mode() & 0o7777, meta.rdev()), (0o640, rustix::fs::makedev(1, 3)));
                assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 123_456_789));
            }
            // Not as an ordinary user.
            Placed::Skipped(Skipped::Unsupported(_)) => assert!(!rustix::process::geteuid().is_root()),
            Placed::Skipped(skipped) => panic!("{skipped}"),
        }
    }
}

#[test]
fn setuid_and_capabilities_are_kept_on_request_only() {
    let cap = (b"security.capability".to_vec(), b"\x01\0\0\x02\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec());
    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o7777;
    for setid in [false, true] {
        let options = TargetOptions { setid, ..TargetOptions::default() };
        for folder in Folder::both_ways_with(options) {
            let me = plain(0o6755);
            let wanted = Attributes { xattrs: std::slice::from_ref(&cap), ..me };
            let warnings = write(&folder.target, "prog", b"#!", &wanted, false);
            folder.target.make_dir(&rel("dir"), false).unwrap();
            let dir_warnings = folder.target.set_dir_attributes(&rel("dir"), &plain(0o3777)).unwrap();
            let has_cap =
                rustix::fs::getxattr(folder.root().join("prog"), "security.capability", &mut [0; 64]).is_ok();
            if setid {
                assert_eq!(mode(folder.root().join("prog")), 0o6755);
                assert_eq!(mode(folder.root().join("dir")), 0o3777);
                assert_eq!(has_cap, rustix::process::geteuid().is_root());
            } else {
                assert_eq!(mode(folder.root().join("prog")), 0o755);
                assert_eq!(mode(folder.root().join("dir")), 0o1777);
                assert!(!has_cap);
                assert!(matches!(warnings[..], [Warning::Capabilities, Warning::SetId { dropped: 0o6000 }]));
                assert!(matches!(dir_warnings[..], [Warning::SetId { dropped: 0o2000 }]));
            }
            // An old set-user-id program does not keep its bit under new content.
            fs::set_permissions(folder.root().join("prog"), fs::Permissions::from_mode(0o4755)).unwrap();
            let file = folder.target.open_in_place(&rel("prog"), 4).unwrap().unwrap();
            assert_eq!(mode(folder.root().join("prog")), 0o600);
            file.write_at(0, b"evil").unwrap();
            file.finish(&plain(0o755)).unwrap();
            assert_eq!(mode(folder.root().join("prog")), 0o755);
        }
    }
}

#[test]
fn a_setuid_file_that_did_not_get_its_owner_is_not_setuid() {
    let options = TargetOptions { owners: false, setid: true, ..TargetOptions::default() };
    let folder = Folder::with(options);
    let other = Attributes { uid: 54_321, gid: 54_321, ..plain(0o6755) };
    let warnings = write(&folder.target, "prog", b"#!", &other, false);
    assert!(matches!(warnings[..], [Warning::SetId { dropped: 0o6000 }]));
    assert_eq!(fs::metadata(folder.root().join("prog")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn what_lies_at_the_partial_name_is_not_followed() {
    for folder in Folder::both_ways() {
        let victim = Victim::new(folder.dir());
        let at = |name: &str| folder.root().join(name);
        symlink(victim.path.join("f"), at("a.partial")).unwrap();
        symlink(victim.path.join("new"), at("b.partial")).unwrap();
        fs::create_dir(at("c.partial")).unwrap();
        rustix::fs::mknodat(CWD, at("d.partial"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        fs::write(at("e.partial"), "somebody's download").unwrap();
        fs::write(at("g.partial"), "left by an earlier restore").unwrap();
        fs::set_permissions(at("g.partial"), fs::Permissions::from_mode(0o600)).unwrap();
        for name in ["a", "b", "c", "d", "e", "g"] {
            write(&folder.target, name, b"restored", &plain(0o644), false);
            assert_eq!(fs::read(at(name)).unwrap(), b"restored");
        }
        assert_eq!(fs::read(at("e.partial")).unwrap(), b"somebody's download");
        assert!(!at("g.partial").exists());
        assert!(!at("a.2.partial").exists());
        victim.assert_untouched();
    }
}

#[test]
fn what_lies_at_the_name_is_replaced_and_not_followed() {
    for folder in Folder::both_ways() {
        let victim = Victim::new(folder.dir());
        let at = |name: &str| folder.root().join(name);
        for name in ["file", "file2"] {
            symlink(victim.path.join("f"), at(name)).unwrap();
        }
        // Not without being told.
        let file = folder.target.begin_file(&rel("file")).unwrap();
        let error = file.finish(&plain(0o666), false).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
        assert!(fs::symlink_metadata(at("file")).unwrap().is_symlink() && at("file.partial").is_file());
        assert!(folder.target.open_in_place(&rel("file2"), 0).unwrap().is_none());

        write(&folder.target, "file2", b"restored", &plain(0o666), true);
        assert!(fs::symlink_metadata(at("file2")).unwrap().is_file());
        for (i, name) in ["l", "p", "h"].into_iter().enumerate() {
            symlink(victim.path.join("f"), at(name)).unwrap();
            let place = |replace| match i {
                0 => folder.target.symlink(&rel(name), b"x", &plain(0o777), replace),
                1 => folder.target.fifo(&rel(name), &plain(0o666), replace),
                _ => folder.target.hard_link(&rel("file2"), &rel(name), replace),
            };
            assert!(place(false).is_err());
            assert!(matches!(place(true), Ok(Placed::Made(_))));
        }
        victim.assert_untouched();
    }
}

#[test]
fn a_folder_is_never_replaced() {
    for folder in Folder::both_ways() {
        fs::create_dir(folder.root().join("d")).unwrap();
        fs::write(folder.root().join("d/mine"), "mine").unwrap();
        let file = folder.target.begin_file(&rel("d")).unwrap();
        let error = file.finish(&plain(0o644), true).unwrap_err().to_string();
        assert!(error.contains("a folder is in the way"), "{error}");
        assert!(folder.target.open_in_place(&rel("d"), 0).unwrap().is_none());
        assert!(folder.target.symlink(&rel("d"), b"x", &plain(0o777), true).is_err());
        assert!(folder.target.fifo(&rel("d"), &plain(0o644), true).is_err());
        assert!(folder.target.hard_link(&rel("d.partial"), &rel("d"), true).is_err());
        assert!(folder.target.remove(&rel("d")).is_err());
        assert_eq!(fs::read(folder.root().join("d/mine")).unwrap(), b"mine");
    }
}

#[test]
fn deleting_follows_nothing() {
    for folder in Folder::both_ways() {
        let victim = Victim::new(folder.dir());
        folder.target.make_dir(&rel("d"), false).unwrap();
        folder.target.make_dir(&rel("d/e"), false).unwrap();
        symlink(&victim.path, folder.root().join("d/link")).unwrap();
        symlink(&victim.path, folder.root().join("d/e/link")).unwrap();
        symlink(&victim.path, folder.root().join("top")).unwrap();
        assert!(folder.target.remove_tree(&rel("top/sub")).is_err());
        assert!(folder.target.remove(&rel("top/f")).is_err());
        assert!(folder.target.list_dir(&rel("top")).is_err());
        assert!(folder.target.remove_tree(&rel("top")).unwrap());
        assert!(folder.target.remove_tree(&rel("d")).unwrap());
        assert!(!folder.target.remove_tree(&rel("d")).unwrap());
        assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 0);
        victim.assert_untouched();
    }
}

#[test]
fn names_that_differ_in_case_are_reported_and_not_merged() {
    // As if the target ignored case: an entry is found under a name that its folder does not list.
    let folder = Folder::ignoring_case();
    let target = &folder.target;
    let found = target.collisions([&b"a"[..], b"A", b"b"]);
    assert_eq!(found, [Collision { first: b"a".to_vec(), second: b"A".to_vec() }]);
    assert_eq!(Folder::new().target.collisions([&b"a"[..], b"A"]), []);
    let (path, shared) = (rel("README"), &*target.shared);
    let place = shared.beneath.place(&path).unwrap();
    fs::write(folder.root().join("readme"), "first").unwrap();
    let error = shared.check_spelling(&place).unwrap_err().to_string();
    assert!(error.contains("another spelling"), "{error}");
    fs::write(folder.root().join("README"), "same").unwrap();
    shared.check_spelling(&place).unwrap();
}

#[test]
fn reserved_names_are_told_where_they_matter() {
    assert!(Folder::ignoring_case().target.foreign_name(b"NUL.txt").is_some());
    let folder = Folder::new();
    assert_eq!(folder.target.foreign_name(b"NUL.txt"), None);
    for name in ["NUL.txt", "COM1", "a:b", "a. ", "c\\d"] {
        write(&folder.target, name, b"x", &plain(0o644), false);
        assert_eq!(fs::read(folder.root().join(name)).unwrap(), b"x");
    }
}
