use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fardel_backends::Secret;
use fardel_backends::webdav::{Credentials, WebDavOptions, WebDavStore};
use fardel_store::{Body, ByteRange, ErrorKind, Retrying, Store, conformance};
use fardel_tests::servers::Dav;

use super::canned::{Answer, Asked, Canned, read_all};
use super::samples::{MIB, key, names, noise};

fn options(server: &Dav, folder: &str, password: &str) -> WebDavOptions {
    let password = Secret::from(password.to_owned());
    WebDavOptions {
        credentials: Credentials::Basic { user: Dav::USER.into(), password },
        ..WebDavOptions::new(&format!("{}{folder}", server.url()))
    }
}

fn open(server: &Dav, folder: &str) -> WebDavStore {
    WebDavStore::open(&options(server, folder, Dav::PASSWORD)).unwrap()
}

async fn conforms(server: Option<Dav>) {
    let Some(server) = server else { return };
    for folder in ["/", "/deep/in/a folder"] {
        conformance::run(&open(&server, folder)).await;
    }
    let staging = server.files().join("deep/in/a folder/.fardel-staging");
    assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0, "no temporary is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_at_nginx() {
    conforms(Dav::nginx()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_at_apache() {
    conforms(Dav::apache()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_at_rclone() {
    conforms(Dav::rclone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_denied_and_not_shown() {
    let Some(server) = Dav::nginx() else { return };
    let store = WebDavStore::open(&options(&server, "/x", "hunter2")).unwrap();
    let error = store.put_new(&key("a"), Body::from(vec![1])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("401"), "{error}");
    assert!(!format!("{error:?} {store:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_never_deleted() {
    for server in [Dav::nginx(), Dav::apache(), Dav::rclone()].into_iter().flatten() {
        let store = open(&server, "/r");
        store.put_new(&key("packs/one.age"), Body::from(vec![1])).await.unwrap();
        store.delete(&key("packs")).await.unwrap_err();
        assert_eq!(names(&store).await, ["packs/one.age"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_shown_and_not_entered() {
    for server in [Dav::nginx(), Dav::apache(), Dav::rclone()].into_iter().flatten() {
        for name in ["desktop.ini", "packs/one (1).age", "packs/a&b<c>%41.age", "X/inside"] {
            let path = server.files().join("r").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"stranger").unwrap();
        }
        server.own_everything();
        let expected = ["X", "desktop.ini", "packs/a&b<c>%41.age", "packs/one (1).age", "packs/one.age"];
        let store = open(&server, "/r");
        store.put_new(&key("packs/one.age"), Body::from(vec![1])).await.unwrap();
        assert_eq!(names(&store).await, expected, "{}", server.url());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_asked_for_and_own_ones_believed() {
    let Some(server) = Dav::nginx_with_tls() else { return };
    let store = open(&server, "/x");
    let error = store.put_new(&key("a"), Body::from(vec![1])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");

    let trusting =
        WebDavOptions { certificates: Some(server.authority()), ..options(&server, "/x", Dav::PASSWORD) };
    let store = WebDavStore::open(&trusting).unwrap();
    store.put_new(&key("a"), Body::from(vec![7; 100])).await.unwrap();
    assert_eq!(store.get_range(&key("a"), ByteRange::All).await.unwrap(), vec![7; 100]);
}

#[test]
fn urls_that_hold_a_password_are_refused_without_repeating_it() {
    for url in ["http://ann:hunter2@host/x", "ftp://host/hunter2", "host/hunter2", "http://host/x?hunter2"] {
        let error = WebDavStore::open(&WebDavOptions::new(url)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(!format!("{error:?}").contains("hunter2"), "{error}");
    }
}

/// A listing of one file, or of nothing at all.
fn resource(path: &str, size: u64) -> Answer {
    let xml = format!(
        "<multistatus xmlns=\"DAV:\"><response><href>{path}</href><propstat><prop><resourcetype/>\
         <getcontentlength>{size}</getcontentlength></prop><status>HTTP/1.1 200 OK</status></propstat></response>\
         </multistatus>"
    );
    Some(("207 Multi-Status".into(), xml.into_bytes()))
}

fn status(line: &str) -> Answer {
    Some((line.into(), Vec::new()))
}

fn canned(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> (Canned, WebDavStore) {
    canned_that_reads(read_all, answer)
}

fn canned_that_reads(
    read: fn(&mut dyn Read) -> u64,
    answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
) -> (Canned, WebDavStore) {
    let server = Canned::start(read, answer);
    let options = WebDavOptions { stall: SILENCE, ..WebDavOptions::new(&server.url()) };
    let store = WebDavStore::open(&options).unwrap();
    (server, store)
}

/// The longest silence that is borne; far above what a busy machine needs for a turn.
const SILENCE: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_part_is_taken_of_a_server_that_knows_no_ranges() {
    let (_server, store) = canned(|_, _| Some(("200 OK".into(), (0..100).collect())));
    let span = |start, len| ByteRange::Span { start, len };
    assert_eq!(store.get_range(&key("a"), span(40, 5)).await.unwrap(), [40, 41, 42, 43, 44][..]);
    assert_eq!(store.get_range(&key("a"), span(0, 100)).await.unwrap().len(), 100);
    let error = store.get_range(&key("a"), span(99, 2)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Truncated, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_from_another_place_are_not_taken() {
    let (_server, store) = canned(|_, _| {
        Some(("206 Partial Content\r\nContent-Range: bytes 0-4/100".into(), vec![0, 1, 2, 3, 4]))
    });
    let error = store.get_range(&key("a"), ByteRange::Span { start: 40, len: 5 }).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Other, "{error}");
    let error = store.get_range(&key("a"), ByteRange::Span { start: 0, len: 9 }).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Truncated, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_not_followed() {
    let (elsewhere, _) = canned(|_, _| status("200 OK"));
    let location = format!("301 Moved\r\nLocation: {}/a", elsewhere.url());
    let (_server, store) = canned(move |_, _| status(&location));
    let error = store.get_range(&key("a"), ByteRange::All).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_to_wait_is_waited_for() {
    let (server, store) = canned(|_, number| match number {
        1 => status("503 Busy\r\nRetry-After: 1"),
        2 => status(
            "429 Slow\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:38 GMT",
        ),
        _ => Some(("200 OK".into(), vec![1, 2, 3])),
    });
    let begun = Instant::now();
    assert_eq!(store.get_range(&key("a"), ByteRange::All).await.unwrap(), [1, 2, 3][..]);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_is_asked_for_is_kept_whoever_tries_again() {
    let puts = AtomicUsize::new(0);
    let (server, store) = canned(move |asked, number| match asked.method.as_str() {
        "PROPFIND" if asked.path == "/dav/a" && number < 8 => status("404 Not Found"),
        "PROPFIND" => resource(&asked.path, 300),
        // The store itself tries four times, and whoever stands around it once more.
        "PUT" if puts.fetch_add(1, Ordering::Relaxed) < 4 => status("503 Busy\r\nRetry-After: 1"),
        _ => status("201 Created"),
    });
    Retrying::new(store).put_new(&key("a"), Body::from(vec![0; 300])).await.unwrap();
    let asked = server.asked();
    let at: Vec<_> = asked.iter().filter(|asked| asked.method == "PUT").map(|asked| asked.at).collect();
    assert_eq!(at.len(), 5, "{asked:?}");
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_was_refused_for_now_goes_to_another_name() {
    let (server, store) = canned(|asked, number| match asked.method.as_str() {
        "PROPFIND" if asked.path == "/dav/a" && number == 1 => status("404 Not Found"),
        "PROPFIND" => resource(&asked.path, 300),
        "PUT" if number <= 3 => status("503 Busy\r\nRetry-After: 0"),
        _ => status("201 Created"),
    });
    store.put_new(&key("a"), Body::from(vec![0; 300])).await.unwrap();
    let puts: Vec<_> = server.asked().into_iter().filter(|asked| asked.method == "PUT").collect();
    assert_eq!(puts.len(), 2);
    assert_ne!(puts[0].path, puts[1].path);
    assert!(
        puts.iter().all(|put| put.body == 300 && put.path.starts_with("/dav/.fardel-staging/")),
        "{puts:?}"
    );
    let moves: Vec<_> = server.asked().into_iter().filter(|asked| asked.method == "MOVE").collect();
    assert_eq!(moves.len(), 1);
    assert_eq!((moves[0].path.as_str(), moves[0].header("overwrite")), (puts[1].path.as_str(), Some("F")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_arrived_short_gets_no_name() {
    let (server, store) = canned(|asked, number| match asked.method.as_str() {
        "PROPFIND" if number == 1 => status("404 Not Found"),
        "PROPFIND" => resource(&asked.path, 299),
        _ => status("201 Created"),
    });
    let error = store.put_new(&key("a"), Body::from(vec![0; 300])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    let methods: Vec<_> = server.asked().into_iter().map(|asked| asked.method).collect();
    assert!(!methods.contains(&"MOVE".to_owned()), "{methods:?}");
    assert_eq!(methods.last().unwrap(), "DELETE", "the stump is removed: {methods:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_told_by_their_kind() {
    let table = [
        ("403 Forbidden", ErrorKind::Denied),
        ("404 Not Found", ErrorKind::NotFound),
        ("416 Range", ErrorKind::Other),
        ("423 Locked", ErrorKind::Transient),
        ("500 Oops", ErrorKind::Transient),
        ("502 Bad Gateway", ErrorKind::Transient),
        ("507 Full", ErrorKind::NoSpace),
    ];
    for (line, kind) in table {
        let (_server, store) = canned(move |_, _| status(line));
        let error = store.get_range(&key("a"), ByteRange::All).await.unwrap_err();
        if kind != ErrorKind::Other {
            assert_eq!(error.kind, kind, "{line}: {error}");
        }
        let error = store.put_new(&key("a"), Body::from(vec![1])).await.unwrap_err();
        assert!(!matches!(error.kind, ErrorKind::Exists | ErrorKind::Truncated), "{line}: {error}");
    }
    let (_server, store) = canned(|asked, _| match asked.method.as_str() {
        "PUT" => status("507 Full"),
        "PROPFIND" if asked.path == "/dav/a" => status("404 Not Found"),
        _ => resource(&asked.path, 0),
    });
    let error = store.put_new(&key("a"), Body::from(vec![1])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_still_is_given_up_and_what_is_slow_is_not() {
    fn never(_: &mut dyn Read) -> u64 {
        std::thread::sleep(10 * SILENCE);
        0
    }
    let (_server, store) = canned_that_reads(never, |_, _| None);
    let begun = Instant::now();
    let error = store.get_range(&key("a"), ByteRange::All).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    assert!(begun.elapsed() < 9 * SILENCE, "{:?}", begun.elapsed());

    /// Longer in all than the longest silence that is borne, and never long silent.
    fn slowly(body: &mut dyn Read) -> u64 {
        let mut buffer = vec![0; 2 * MIB];
        let mut all = 0;
        while let Ok(read @ 1..) = body.read(&mut buffer) {
            all += read as u64;
            if all / (2 * MIB as u64) > (all - read as u64) / (2 * MIB as u64) {
                std::thread::sleep(SILENCE / 16);
            }
        }
        all
    }
    let (server, store) = canned_that_reads(slowly, |asked, number| match asked.method.as_str() {
        "PROPFIND" if number == 1 => status("404 Not Found"),
        "PROPFIND" => resource(&asked.path, 40 * MIB as u64),
        _ => status("201 Created"),
    });
    let begun = Instant::now();
    store.put_new(&key("a"), Body::from(noise(5, 40 * MIB))).await.unwrap();
    assert!(begun.elapsed() > SILENCE, "{:?}", begun.elapsed());
    assert_eq!(server.asked().iter().find(|asked| asked.method == "PUT").unwrap().body, 40 * MIB as u64);
}

/// Apache lets two MOVEs to one name win now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_puts_of_one_name_one_wins() {
    let Some(server) = Dav::apache() else { return };
    let store = open(&server, "/r");
    for round in 0..60 {
        let name = key(&format!("tombs/{round}.json"));
        let puts = (0..4).map(|n| store.put_new(&name, Body::from(vec![n; 10 + usize::from(n)])));
        let won: Vec<_> = futures::future::join_all(puts).await.into_iter().map(|put| put.is_ok()).collect();
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "{round}: {won:?}");
        let stored = store.get_range(&name, ByteRange::All).await.unwrap();
        assert!(won[usize::from(stored[0])], "{round}: what is stored is of another one than the winner");
    }
}
