//! The folder store on the file system of this machine, and several processes at once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fardel_backends::folder::{FolderOptions, FolderStore, Reserve};
use fardel_store::{Body, ByteRange, ErrorKind, Key, Listing, Retrying, Store, conformance};
use futures::{StreamExt, TryStreamExt};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Tests run on whatever disk there is, full or not.
fn open(root: &Path) -> FolderStore {
    let options = FolderOptions { reserve: Reserve::NONE, listing: Some(Listing::Strong) };
    FolderStore::open_with(root, options).unwrap()
}

async fn names(store: &impl Store, prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = store.list(prefix).map_ok(|l| l.name).try_collect().await.unwrap();
    names.sort();
    names
}

fn children(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("repository"));
    conformance::run(&store).await;
    drop(store);
    assert_eq!(children(place.path()), ["repository"], "the staging folder goes when it is empty");
}

#[tokio::test]
async fn conforms_on_one_thread_and_wrapped() {
    let place = tempfile::tempdir().unwrap();
    conformance::run(&Retrying::new(open(&place.path().join("repository")))).await;
}

/// How large a store says that an object is.
async fn size(store: &impl Store, name: &str) -> u64 {
    let listed: Vec<_> = store.list("").try_collect().await.unwrap();
    listed.into_iter().find(|listed| listed.name == name).unwrap().size
}

/// A placeholder of another tool has the size and none of the bytes; what was cut off has some of them.
#[tokio::test]
async fn a_file_counts_up_to_its_first_hole() {
    use std::os::unix::fs::FileExt;
    const LEN: u64 = 3 << 20;
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let make = |name: &str| std::fs::File::create_new(place.path().join(name)).unwrap();
    let noise: Vec<u8> = (0..LEN).map(|i| ((i * 2_654_435_761) >> 13) as u8).collect();

    make("nothing").set_len(LEN).unwrap();
    assert_eq!(size(&store, "nothing").await, 0);
    let half = make("half");
    half.set_len(LEN).unwrap();
    half.write_all_at(&noise[..1 << 20], 0).unwrap();
    half.sync_all().unwrap();
    assert_eq!(size(&store, "half").await, 1 << 20);
    let hole = make("hole");
    hole.write_all_at(&noise[..1 << 20], 0).unwrap();
    hole.write_all_at(&noise[..1 << 20], 2 << 20).unwrap();
    assert_eq!(size(&store, "hole").await, 1 << 20);

    // What is all there counts in full, written through or not, odd or even; small files are never doubted.
    for len in [LEN, LEN - 1, (64 << 10) + 1, 65_535, 1] {
        let name = format!("whole-{len}");
        let file = make(&name);
        file.write_all_at(&noise[..len as usize], 0).unwrap();
        assert_eq!(size(&store, &name).await, len);
        file.sync_all().unwrap();
        assert_eq!(size(&store, &name).await, len);
    }
    make("small").set_len(60_000).unwrap();
    assert_eq!(size(&store, "small").await, 60_000);
    store.put_new(&key("object"), Body::from(noise)).await.unwrap();
    assert_eq!(size(&store, "object").await, LEN);
}

/// Without a runtime calls are simply made.
#[test]
fn works_without_a_runtime() {
    use futures::FutureExt;
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    store.put_new(&key("a"), Body::from(vec![1])).now_or_never().unwrap().unwrap();
    assert_eq!(store.get_range(&key("a"), ByteRange::All).now_or_never().unwrap().unwrap(), [1][..]);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_empty_and_stays_away() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("not/there");
    let store = open(&root);
    assert!(names(&store, "").await.is_empty());
    assert_eq!(store.get_range(&key("a"), ByteRange::All).await.unwrap_err().kind, ErrorKind::NotFound);
    drop(store);
    assert!(children(place.path()).is_empty());
}

#[tokio::test]
async fn strangers_are_shown_and_not_entered() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("repository");
    let store = open(&root);
    store.put_new(&key("packs/ab/one.age"), Body::from(vec![0; 100])).await.unwrap();
    let make = |name: &[u8]| {
        let path = root.join(OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    };
    for name in [
        &b".stignore"[..],
        b".stfolder/mark",
        b".stversions/packs/ab/old.age",
        b"packs/x (1)",
        b"packs/\xff.age",
    ] {
        make(name);
    }
    make(b".fardel-staging/put-1-00.tmp");
    std::fs::create_dir(root.join("lost+found")).unwrap();
    std::os::unix::fs::symlink(root.join("packs/ab/one.age"), root.join("packs/two.age")).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("lists")).unwrap();
    let want = [
        ".stfolder",
        ".stignore",
        ".stversions",
        "lists",
        "lost+found",
        "packs/ab/one.age",
        "packs/two.age",
        "packs/x (1)",
        "packs/\u{fffd}.age",
    ];
    assert_eq!(names(&store, "").await, want);
    assert!(names(&store, "lists/").await.is_empty(), "a link to a folder is not followed");
    let listed: Vec<_> = store.list("").try_collect().await.unwrap();
    let link = listed.iter().find(|listed| listed.name == "packs/two.age").unwrap();
    assert_ne!(link.size, 100, "a link does not pass for the object");
    assert!(store.get_range(&key("packs/two.age"), ByteRange::All).await.is_err(), "nor is it read");
}

/// Reading a pipe would block for ever.
#[tokio::test]
async fn what_is_not_a_file_is_not_an_object() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    std::fs::create_dir(place.path().join("packs")).unwrap();
    let made = Command::new("mkfifo").arg(place.path().join("pipe")).status();
    for name in ["packs", "pipe"] {
        let error = store.get_range(&key(name), ByteRange::All).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{name} ({made:?}): {error}");
    }
}

#[tokio::test]
async fn a_large_folder_is_listed_in_parts() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("packs/ab");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..3000 {
        std::fs::write(folder.join(format!("{number}.age")), "x").unwrap();
    }
    let store = open(place.path());
    assert_eq!(names(&store, "packs/").await.len(), 3000);
    let first: Vec<_> = store.list("").take(5).try_collect().await.unwrap();
    assert_eq!(first.len(), 5);
}

#[tokio::test]
async fn an_open_folder_may_be_taken_away() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("repository");
    let store = open(&root);
    store.put_new(&key("packs/ab/one.age"), Body::from(vec![1])).await.unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    store.put_new(&key("packs/ab/two.age"), Body::from(vec![2])).await.unwrap();
    assert_eq!(names(&store, "").await, ["packs/ab/two.age"]);
}

/// The process that this test program starts again with one test only.
fn start(test: &str, root: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env("FARDEL_TEST_ROOT", root)
        .env("FARDEL_TEST_ROLE", role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn given() -> Option<(PathBuf, String)> {
    Some((std::env::var_os("FARDEL_TEST_ROOT")?.into(), std::env::var("FARDEL_TEST_ROLE").ok()?))
}

const CONTESTED: usize = 300;

fn body_of(role: &str, number: usize) -> Vec<u8> {
    format!("{role} {number} ").repeat(500 + number).into_bytes()
}

#[tokio::test]
#[ignore = "one of the processes of processes_race_for_names"]
async fn racing_process() {
    let Some((root, role)) = given() else { return };
    while !root.join("go").exists() {
        std::thread::yield_now();
    }
    let mut won = Vec::new();
    for number in 0..CONTESTED {
        // Opened anew now and then, so that staging folders come and go and are cleaned under the other's feet.
        let store = open(&root.join("repository"));
        match store
            .put_new(&key(&format!("seals/w/{number}.minisig")), Body::from(body_of(&role, number)))
            .await
        {
            Ok(()) => won.push(number.to_string()),
            Err(error) => assert_eq!(error.kind, ErrorKind::Exists, "{error}"),
        }
    }
    println!("\nwon: {}", won.join(" "));
}

#[tokio::test]
async fn processes_race_for_names() {
    let place = tempfile::tempdir().unwrap();
    let mut racers: Vec<_> =
        ["a", "b", "c"].map(|role| (role, start("racing_process", place.path(), role))).into();
    std::fs::write(place.path().join("go"), "").unwrap();
    let mut winners = BTreeMap::new();
    for (role, child) in &mut racers {
        let mut output = String::new();
        child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        assert!(child.wait().unwrap().success(), "{role}: {output}");
        let line = output.lines().find_map(|line| line.strip_prefix("won: ")).unwrap_or_default();
        for number in line.split_whitespace() {
            let before = winners.insert(number.parse::<usize>().unwrap(), *role);
            assert_eq!(before, None, "two processes won {number}");
        }
    }
    assert_eq!(winners.len(), CONTESTED, "each name has a winner");
    let store = open(&place.path().join("repository"));
    for (number, role) in winners {
        let name = key(&format!("seals/w/{number}.minisig"));
        let stored = store.get_range(&name, ByteRange::All).await.unwrap();
        assert!(stored == body_of(role, number), "{number} is not what {role} put");
    }
    drop(store);
    let mut left = children(place.path());
    left.sort();
    assert_eq!(left, ["go", "repository"], "no temporaries are left");
}

const KILLED_LEN: usize = 8 << 20;

#[tokio::test]
#[ignore = "the process of a_killed_process_leaves_whole_objects_and_no_litter"]
async fn killed_process() {
    let Some((root, _)) = given() else { return };
    let store = open(&root);
    for number in 0..10_000 {
        let body = Body::from(vec![number as u8; KILLED_LEN]);
        store.put_new(&key(&format!("packs/{number}.age")), body).await.unwrap();
        if number >= 3 {
            store.delete(&key(&format!("packs/{}.age", number - 3))).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_killed_process_leaves_whole_objects_and_no_litter() {
    let mut litter = 0;
    for round in 0..8 {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("repository");
        let staging = place.path().join(".repository.staging");
        let mut child = start("killed_process", &root, "");
        let began = Instant::now();
        while children(&staging).is_empty() && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1 + round * 2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        litter += children(&staging).len();
        let store = open(&root);
        assert!(children(&staging).is_empty(), "the litter of a dead process is cleaned");
        for listed in store.list("").try_collect::<Vec<_>>().await.unwrap() {
            assert_eq!(listed.size, KILLED_LEN as u64, "{} is torn", listed.name);
        }
    }
    assert!(litter > 0, "no process was killed at work");
}

/// For any mount: `FARDEL_TEST_ROOT=/mnt/x FARDEL_TEST_ROLE= cargo test … -- --ignored conforms_at_a_given_place`.
#[tokio::test]
#[ignore = "needs a folder: FARDEL_TEST_ROOT"]
async fn conforms_at_a_given_place() {
    let Some((root, _)) = given() else { return };
    let store = open(&root);
    let before = children(&root);
    conformance::run(&store).await;
    println!("{:?}, durability unproven: {}", store.capabilities(), store.durability_unproven());
    drop(store);
    assert!(!children(&root).contains(&".fardel-staging".into()), "before: {before:?}");
}
