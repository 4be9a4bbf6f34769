use std::path::Path;

use fardel_backends::Secret;
use fardel_backends::s3::{S3Options, S3Store};
use fardel_store::{Body, ByteRange, ErrorKind, Retrying, Store, conformance};
use fardel_tests::proxy::{End, Proxy, Strike, Way};
use fardel_tests::servers::Ceph;

use super::canned::{Answer, Asked, Canned, read_all};
use super::samples::{MIB, files_below, key, names, noise};

fn options(url: &str, bucket: &str, prefix: &str) -> S3Options {
    S3Options {
        endpoint: Some(url.to_owned()),
        region: Some("us-east-1".into()),
        keys: Some((Ceph::KEY.into(), Secret::from(Ceph::SECRET.to_owned()))),
        ..S3Options::new(bucket, prefix)
    }
}

fn open(options: &S3Options) -> S3Store {
    S3Store::open(options).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_at_ceph() {
    let Some(ceph) = Ceph::shared() else { return };
    let place = tempfile::tempdir().unwrap();
    let bucket = ceph.make_bucket("conformance");
    for (prefix, journal) in [("", None), ("deep/in/a bucket", Some(place.path().join("journal")))] {
        conformance::run(&open(&S3Options { journal, ..options(&ceph.url(), bucket, prefix) })).await;
    }
    assert_eq!(files_below(&place.path().join("journal")), 0, "a finished upload leaves no journal");
}

/// A store whose uploads can be cut, with one part at a time.
fn behind(line: &Proxy, bucket: &str, place: &Path) -> S3Store {
    let journal = Some(place.join("journal"));
    open(&S3Options { journal, parts_at_once: 1, ..options(&line.url(), bucket, "r") })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_cut_goes_on_in_the_next_process() {
    let Some(ceph) = Ceph::shared() else { return };
    let (line, place) = (Proxy::before(ceph.port()), tempfile::tempdir().unwrap());
    let bucket = ceph.make_bucket("resumed");
    let (name, body) = (key("packs/ab/one.age"), noise(1, 40 * MIB));
    line.arm(Way::Up, 27 * MIB as u64, Strike::CutAll(End::Fin));
    let error =
        behind(&line, bucket, place.path()).put_new(&name, Body::from(body.clone())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    line.mend();
    let store = behind(&line, bucket, place.path());
    assert!(names(&store).await.is_empty(), "nothing of it is shown");
    assert_eq!(files_below(&place.path().join("journal")), 1);

    line.forget();
    store.put_new(&name, Body::from(body.clone())).await.unwrap();
    let sent = line.counts().up;
    assert!(sent < 17 * MIB as u64, "of 40 MiB, 24 were there; {sent} bytes went again");
    assert!(store.get_range(&name, ByteRange::All).await.unwrap() == body, "the bytes are those of the body");
    assert_eq!(files_below(&place.path().join("journal")), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_upload_left_is_not_taken_for_another_body() {
    let Some(ceph) = Ceph::shared() else { return };
    let (line, place) = (Proxy::before(ceph.port()), tempfile::tempdir().unwrap());
    let bucket = ceph.make_bucket("other-body");
    let name = key("packs/ab/one.age");
    line.arm(Way::Up, 27 * MIB as u64, Strike::CutAll(End::Fin));
    let store = behind(&line, bucket, place.path());
    store.put_new(&name, Body::from(noise(1, 40 * MIB))).await.unwrap_err();
    line.mend();
    let other = noise(2, 40 * MIB);
    store.put_new(&name, Body::from(other.clone())).await.unwrap();
    assert!(
        store.get_range(&name, ByteRange::All).await.unwrap() == other,
        "none of the first body is in it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_are_survived_by_trying_again() {
    let Some(ceph) = Ceph::shared() else { return };
    let (line, place) = (Proxy::before(ceph.port()), tempfile::tempdir().unwrap());
    let bucket = ceph.make_bucket("retried");
    let store = Retrying::new(behind(&line, bucket, place.path()));
    for (n, len) in [100, 3 * MIB, 20 * MIB].into_iter().enumerate() {
        let (name, body) = (key(&format!("packs/{n}.age")), noise(n as u64 + 9, len));
        line.arm(Way::Up, len as u64 / 2, Strike::CutAll(End::Rst));
        let put = store.put_new(&name, Body::from(body.clone()));
        let mend = async {
            // Mended as soon as it was cut.
            while !line.has_struck() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            line.mend();
        };
        let (put, ()) = tokio::join!(put, mend);
        put.unwrap();
        assert!(store.get_range(&name, ByteRange::All).await.unwrap() == body, "{len} bytes");
    }
    assert_eq!(names(&store).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_told_by_their_kind() {
    let Some(ceph) = Ceph::shared() else { return };
    let bucket = ceph.make_bucket("failures");
    let wrong = Some((Ceph::KEY.to_owned(), Secret::from("hunter2".to_owned())));
    let store = open(&S3Options { keys: wrong, ..options(&ceph.url(), bucket, "") });
    for error in [
        store.put_new(&key("a"), Body::from(vec![1])).await.unwrap_err(),
        store.get_range(&key("a"), ByteRange::All).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        assert!(!format!("{error:?} {store:?}").contains("hunter2"), "{error:?}");
    }
    let nowhere = open(&options(&ceph.url(), "no-such-bucket", ""));
    let error = nowhere.get_range(&key("a"), ByteRange::All).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "a missing bucket is not an empty one: {error}");
    assert!(error.to_string().contains("bucket"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_shows_only_what_is_below_its_prefix() {
    let Some(ceph) = Ceph::shared() else { return };
    let bucket = ceph.make_bucket("prefixes");
    let (one, two) = (open(&options(&ceph.url(), bucket, "r")), open(&options(&ceph.url(), bucket, "r2")));
    let all = open(&options(&ceph.url(), bucket, ""));
    one.put_new(&key("a"), Body::from(vec![1])).await.unwrap();
    two.put_new(&key("b"), Body::from(vec![2])).await.unwrap();
    assert_eq!(names(&one).await, ["a"]);
    assert_eq!(names(&two).await, ["b"]);
    assert_eq!(names(&all).await, ["r/a", "r2/b"]);
}

fn canned(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> (Canned, S3Store) {
    let server = Canned::start(read_all, answer);
    let store = open(&options(&server.url(), "bucket", ""));
    (server, store)
}

fn error(status: &str, code: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    Some((status.to_owned(), body.into_bytes()))
}

fn found(len: usize) -> Answer {
    let head = "200 OK\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"x\"";
    Some((head.to_owned(), vec![0; len]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_preconditions_is_used_without() {
    let (server, store) = canned(|asked, number| match (&*asked.method, asked.header("if-none-match")) {
        ("HEAD", _) if number == 1 => error("404 Not Found", "NoSuchKey"),
        ("HEAD", _) => found(300),
        ("PUT", Some(_)) => error("501 Not Implemented", "NotImplemented"),
        _ => Some(("200 OK\r\nETag: \"x\"".to_owned(), Vec::new())),
    });
    store.put_new(&key("a"), Body::from(vec![0; 300])).await.unwrap();
    let puts = server.asked().iter().filter(|asked| asked.method == "PUT").count();
    assert_eq!(puts, 2, "once with the precondition, once without");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_is_not_repeated_after_a_doubtful_answer() {
    let (server, store) = canned(|asked, _| match &*asked.method {
        "HEAD" => error("404 Not Found", "NoSuchKey"),
        _ => error("500 Internal Server Error", "InternalError"),
    });
    let failure = store.put_new(&key("a"), Body::from(vec![0; 300])).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Transient, "{failure}");
    assert_eq!(server.asked().iter().filter(|asked| asked.method == "PUT").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_came_out_short_is_not_reported_as_stored() {
    let (_server, store) = canned(|asked, number| match &*asked.method {
        "HEAD" if number == 1 => error("404 Not Found", "NoSuchKey"),
        "HEAD" => found(299),
        _ => Some(("200 OK\r\nETag: \"x\"".to_owned(), Vec::new())),
    });
    let failure = store.put_new(&key("a"), Body::from(vec![0; 300])).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Other, "{failure}");
    assert!(failure.to_string().contains("299"), "{failure}");
}
