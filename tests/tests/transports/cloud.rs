//! Google's and Azure's stores, against servers that answer as these services are documented to: neither can be had on this machine.

use std::time::Duration;

use fardel_backends::Secret;
use fardel_backends::cloud::{AzureOptions, CloudOptions, CloudStore, GcsOptions};
use fardel_store::{Body, ByteRange, ErrorKind, Level, Prefix, Retrying, Store, conformance};

use super::canned::{Answer, Asked, Canned, read_all};
use super::samples::{MIB, key, names, noise};

fn google(server: &Canned) -> CloudStore {
    let endpoint = Some(server.url());
    CloudStore::google(&GcsOptions { endpoint, anonymous: true, ..GcsOptions::new("bucket", "r") }).unwrap()
}

fn azure(server: &Canned) -> CloudStore {
    let key = Some(Secret::from("aHVudGVyMg==".to_owned()));
    let (account, endpoint) = (Some("account".to_owned()), Some(server.url()));
    CloudStore::azure(&AzureOptions { account, endpoint, key, ..AzureOptions::new("container", "r") })
        .unwrap()
}

fn status(line: &str) -> Answer {
    Some((line.to_owned(), Vec::new()))
}

fn error(line: &str, code: &str) -> Answer {
    Some((line.to_owned(), format!("<Error><Code>{code}</Code><Message>why</Message></Error>").into_bytes()))
}

fn found(len: usize) -> Answer {
    let head =
        "200 OK\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"x\"\r\nx-goog-generation: 1";
    Some((head.to_owned(), vec![0; len]))
}

fn stored() -> Answer {
    status(
        "201 Created\r\nETag: \"x\"\r\nx-goog-generation: 1\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
    )
}

fn puts(server: &Canned) -> Vec<Asked> {
    server.asked().into_iter().filter(|asked| asked.method == "PUT").collect()
}

/// A service at which the object is not there until something was stored, of `len` bytes.
fn empty_until_stored(len: usize) -> impl Fn(&Asked, usize) -> Answer + Send + Sync {
    move |asked, number| match &*asked.method {
        "HEAD" if number == 1 => status("404 Not Found"),
        "HEAD" => found(len),
        "POST" if asked.path.ends_with("uploads") || asked.path.ends_with("uploads=") => Some((
            "200 OK".into(),
            b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>".to_vec(),
        )),
        "POST" => Some((
            "200 OK\r\nETag: \"x\"".into(),
            b"<CompleteMultipartUploadResult><ETag>\"x\"</ETag></CompleteMultipartUploadResult>".to_vec(),
        )),
        _ => stored(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_object_is_stored_only_where_the_name_is_free() {
    for (open, header, value) in [
        (google as fn(&Canned) -> CloudStore, "x-goog-if-generation-match", "0"),
        (azure, "if-none-match", "*"),
    ] {
        let server = Canned::start(read_all, empty_until_stored(300));
        open(&server).put_new(&key("a"), Body::from(vec![0; 300])).await.unwrap();
        let puts = puts(&server);
        assert_eq!(puts.len(), 1, "{puts:?}");
        assert_eq!((puts[0].header(header), puts[0].body), (Some(value), 300), "{puts:?}");

        // Somebody else was first, after we looked.
        let server = Canned::start(read_all, |asked, number| match &*asked.method {
            "HEAD" if number == 1 => status("404 Not Found"),
            "HEAD" => found(300),
            _ => error("412 Precondition Failed", "ConditionNotMet"),
        });
        let failure = open(&server).put_new(&key("a"), Body::from(vec![0; 300])).await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Exists, "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_goes_in_equal_parts_and_then_gets_its_name() {
    for open in [google as fn(&Canned) -> CloudStore, azure] {
        let server = Canned::start(read_all, empty_until_stored(20 * MIB));
        open(&server).put_new(&key("a"), Body::from(noise(1, 20 * MIB))).await.unwrap();
        let sent: Vec<u64> = puts(&server).iter().map(|put| put.body).filter(|len| *len >= 1 << 20).collect();
        assert_eq!(sent, [8 << 20, 8 << 20, 4 << 20], "{:?}", server.asked());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_came_out_short_is_not_reported_as_stored() {
    for open in [google as fn(&Canned) -> CloudStore, azure] {
        let server = Canned::start(read_all, empty_until_stored(299));
        let failure = open(&server).put_new(&key("a"), Body::from(vec![0; 300])).await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Other, "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_told_by_their_kind() {
    let table = [
        ("404 Not Found", "BlobNotFound", ErrorKind::NotFound),
        ("403 Forbidden", "AuthenticationFailed", ErrorKind::Denied),
        ("400 Bad Request", "InvalidArgument", ErrorKind::Invalid),
    ];
    for open in [google as fn(&Canned) -> CloudStore, azure] {
        for (line, code, kind) in table {
            let server = Canned::start(read_all, move |_, _| error(line, code));
            let store = open(&server);
            let failure = store.get_range(&key("a"), ByteRange::All).await.unwrap_err();
            assert_eq!(failure.kind, kind, "{failure}");
            assert!(!format!("{failure:?} {store:?}").contains("aHVudGVyMg"), "{failure:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_is_asked_for_is_kept() {
    for open in [google as fn(&Canned) -> CloudStore, azure] {
        let server = Canned::start(read_all, |asked, number| match &*asked.method {
            "HEAD" if number <= 3 => status("404 Not Found"),
            "HEAD" => found(3),
            "PUT" if number == 2 => status("503 Slow\r\nRetry-After: 1"),
            _ => stored(),
        });
        Retrying::new(open(&server)).put_new(&key("a"), Body::from(vec![0; 3])).await.unwrap();
        let puts = puts(&server);
        assert_eq!(puts.len(), 2, "{puts:?}");
        assert!(puts[1].at - puts[0].at >= Duration::from_secs(1), "{puts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_makes_of_a_condition_is_told() {
    let scratch = Prefix::new("scratch/").unwrap();
    for (open, condition) in
        [(google as fn(&Canned) -> CloudStore, "x-goog-if-generation-match: 0"), (azure, "If-None-Match: *")]
    {
        for (heeds, level, says) in
            [(true, Level::Ok, "keeps what is there"), (false, Level::Unsafe, "the precondition is ignored")]
        {
            let server = Canned::start(read_all, move |_, number| {
                if heeds && number > 1 {
                    error("412 Precondition Failed", "ConditionNotMet")
                } else {
                    stored()
                }
            });
            let found = open(&server).examine(&scratch).await.unwrap();
            assert_eq!(found[0].level, level, "{found:?}");
            assert!(found[0].what.contains(condition) && found[0].what.ends_with(says), "{found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_below_the_prefix_is_listed() {
    let time = "2026-11-25T12:00:00.000Z";
    let contents = |name: &str| {
        format!(
            "<Contents><Key>{name}</Key><Size>7</Size><LastModified>{time}</LastModified><ETag>x</ETag></Contents>"
        )
    };
    let body = format!("<ListBucketResult>{}{}</ListBucketResult>", contents("r/a"), contents("r/packs/b"));
    let server = Canned::start(read_all, move |_, _| Some(("200 OK".into(), body.clone().into_bytes())));
    assert_eq!(names(&google(&server)).await, ["a", "packs/b"]);
    assert!(server.asked()[0].path.contains("prefix=r%2F"), "{:?}", server.asked());

    let blob = |name: &str| {
        format!(
            "<Blob><Name>{name}</Name><Properties><Last-Modified>Sun, 06 Nov 1994 08:49:37 GMT</Last-Modified>\
             <Content-Length>7</Content-Length><Content-Type>x</Content-Type><Etag>x</Etag></Properties></Blob>"
        )
    };
    let blobs = format!("{}{}", blob("r/a"), blob("r/packs/b"));
    let body = format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>");
    let server = Canned::start(read_all, move |_, _| Some(("200 OK".into(), body.clone().into_bytes())));
    assert_eq!(names(&azure(&server)).await, ["a", "packs/b"]);
}

/// For a server such as npm's azurite, with a container `fardel`:
/// `FARDEL_AZURE=http://127.0.0.1:10000/devstoreaccount1 FARDEL_AZURE_KEY=… cargo test … -- --ignored conforms_at_an_azure`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a server: FARDEL_AZURE, FARDEL_AZURE_KEY"]
async fn conforms_at_an_azure() {
    let given = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let endpoint = given("FARDEL_AZURE");
    let account = endpoint.rsplit('/').next().map(str::to_owned);
    let options = AzureOptions {
        account,
        endpoint: Some(endpoint.clone()),
        key: Some(Secret::from(given("FARDEL_AZURE_KEY"))),
        common: CloudOptions { part_size: 5 << 20, ..CloudOptions::default() },
        ..AzureOptions::new("fardel", "deep/in/a container")
    };
    conformance::run(&CloudStore::azure(&options).unwrap()).await;
    let (store, body) = (CloudStore::azure(&options).unwrap(), noise(1, 12 * MIB));
    store.put_new(&key("packs/large"), Body::from(body.clone())).await.unwrap();
    assert!(store.get_range(&key("packs/large"), ByteRange::All).await.unwrap() == body);
}
