use std::path::Path;

use fardel_backends::Secret;
use fardel_backends::s3::{S3Options, S3Store};
use fardel_store::{Body, ByteRange, ErrorKind, Retrying, Store, conformance};
use fardel_tests::proxy::{End, Proxy, Strike, Way};
use fardel_tests::servers::Ceph;
use futures::StreamExt;

use super::canned::{Answer, Asked, Canned, read_all};
use super::samples::{MIB, files_below, key, names, noise};

pub fn options(url: &str, bucket: &str, prefix: &str) -> S3Options {
    S3Options {
        endpoint: Some(url.to_owned()),
        region: Some("us-east-1".into()),
        keys: Some((Ceph::KEY.into(), Secret::from(Ceph::SECRET.to_owned()))),
        ..S3Options::new(bucket, prefix)
    }
}

pub fn open(options: &S3Options) -> S3Store {
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
pub fn behind(line: &Proxy, bucket: &str, place: &Path) -> S3Store {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_of_any_name_are_shown() {
    let Some(ceph) = Ceph::shared() else { return };
    let bucket = ceph.make_bucket("strangers");
    let store = open(&options(&ceph.url(), bucket, "r"));
    store.put_new(&key("packs/ab/one.age"), Body::from(vec![0; 7])).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("stranger");
    std::fs::write(&file, "stranger").unwrap();
    for name in ["a//b", "/c", "d/../e", "packs/ab/", "f%20%2B%26%3Cg", "h%01", "i%25j", "k/."] {
        let _ = ceph.ask("PUT", &format!("{bucket}/r/{name}"), Some(&file));
    }
    let expected =
        ["/c", "a//b", "d/../e", "f +&<g", "h\u{1}", "i%j", "k/.", "packs/ab/", "packs/ab/one.age"];
    assert_eq!(names(&store).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_goes_from_page_to_page() {
    let page = |from: u32, to: u32, next: &str| {
        let entry = |n| format!("<Contents><Key>r/a%2F%2F{n}</Key><Size>{n}</Size></Contents>");
        let entries: String = (from..to).map(entry).collect();
        let body = format!("<R><EncodingType>url</EncodingType>{next}{entries}</R>");
        Some(("200 OK".to_owned(), body.into_bytes()))
    };
    let server = Canned::start(read_all, move |asked, number| match number {
        2 => error("503 Service Unavailable", "SlowDown"),
        _ if asked.path.contains("continuation-token=t%2F1") => {
            page(3, 5, "<IsTruncated>false</IsTruncated>")
        }
        _ => page(0, 3, "<IsTruncated>true</IsTruncated><NextContinuationToken>t/1</NextContinuationToken>"),
    });
    let store = open(&options(&server.url(), "bucket", "r"));
    assert_eq!(names(&store).await, ["a//0", "a//1", "a//2", "a//3", "a//4"]);
    assert!(server.asked().iter().all(|asked| asked.path.contains("prefix=r%2F")), "{:?}", server.asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_cannot_be_read_is_an_error_and_not_an_end() {
    let truncated = "<R><IsTruncated>true</IsTruncated></R>";
    for answer in [
        "",
        "<R>",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><R>&b;</R>",
        truncated,
        "<R><Contents><Size>1</Size></Contents></R>",
    ] {
        let server =
            Canned::start(read_all, move |_, _| Some(("200 OK".to_owned(), answer.as_bytes().to_vec())));
        let store = open(&options(&server.url(), "bucket", ""));
        let listed: Vec<_> = store.list("").collect().await;
        assert!(listed.last().is_some_and(Result::is_err), "{answer}: {listed:?}");
    }
}

/// Waits as the service asks, before the same request comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_asks_for_a_pause_gets_it() {
    let slow = || {
        let body = b"<Error><Code>SlowDown</Code><Message>why</Message></Error>".to_vec();
        Some(("503 Slow\r\nRetry-After: 1".to_owned(), body))
    };
    // The first of each kind is sent away.
    let seen = std::sync::Mutex::new(std::collections::HashSet::new());
    let server = Canned::start(read_all, move |asked, number| {
        let is_listing = asked.path.contains("list-type");
        match &*asked.method {
            "HEAD" if number <= 3 => error("404 Not Found", "NoSuchKey"),
            "HEAD" => found(300),
            "GET" if asked.path.contains("uploads") => error("403 Forbidden", "AccessDenied"),
            method if seen.lock().unwrap().insert((method.to_owned(), is_listing)) => slow(),
            _ if is_listing => Some(("200 OK".to_owned(), b"<R></R>".to_vec())),
            _ => found(300),
        }
    });
    let store = Retrying::new(open(&options(&server.url(), "bucket", "")));
    store.put_new(&key("a"), Body::from(vec![0; 300])).await.unwrap();
    store.get_range(&key("a"), ByteRange::All).await.unwrap();
    assert!(names(&store).await.is_empty());
    let asked = server.asked();
    for (method, what) in [("PUT", "/a"), ("GET", "/a"), ("GET", "list-type")] {
        let of_it = asked.iter().filter(|asked| asked.method == method && asked.path.contains(what));
        let at: Vec<_> = of_it.map(|asked| asked.at).collect();
        assert_eq!(at.len(), 2, "{method} {what}: {asked:?}");
        assert!(at[1] - at[0] >= std::time::Duration::from_secs(1), "{method} {what}: {asked:?}");
    }
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
