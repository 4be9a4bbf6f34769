//! Uploads in parts that go on, whatever became of the journal and of the upload; and those that never go on.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fardel_backends::s3::S3Store;
use fardel_store::{Body, ByteRange, ErrorKind, Store};
use fardel_tests::proxy::{End, Proxy, Strike, Way};
use fardel_tests::servers::Ceph;

use super::canned::{Answer, Asked, Canned, read_all};
use super::s3::{behind, open, options};
use super::samples::{MIB, files_below, key, noise};

const LEN: usize = 40 * MIB;

/// An upload of which three parts of 8 MiB are there, and noted.
struct Interrupted {
    line: Proxy,
    place: tempfile::TempDir,
    bucket: &'static str,
    body: Vec<u8>,
}

impl Interrupted {
    async fn at(ceph: &Ceph, bucket: &'static str) -> Self {
        let (line, place) = (Proxy::before(ceph.port()), tempfile::tempdir().unwrap());
        let this = Self { line, place, bucket: ceph.make_bucket(bucket), body: noise(1, LEN) };
        this.line.arm(Way::Up, 27 * MIB as u64, Strike::CutAll(End::Fin));
        let error = this.put().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Transient, "{error}");
        let (lines, parts) =
            (this.lines(), this.lines().iter().filter(|line| line.contains(" part ")).count());
        assert_eq!(parts, 3, "{lines:?}");
        this.line.mend();
        this
    }

    fn store(&self) -> S3Store {
        behind(&self.line, self.bucket, self.place.path())
    }

    async fn put(&self) -> fardel_store::Result<()> {
        self.store().put_new(&key("packs/ab/one.age"), Body::from(self.body.clone())).await
    }

    /// The next process sends so many parts, and the object is what it should be.
    async fn goes_on_with(&self, parts: u64) {
        self.line.forget();
        self.put().await.unwrap();
        let (sent, expected) = (self.line.counts().up, parts * 8 * MIB as u64);
        assert!((expected..expected + MIB as u64).contains(&sent), "{sent} bytes were sent");
        let stored = self.store().get_range(&key("packs/ab/one.age"), ByteRange::All).await.unwrap();
        assert!(stored == self.body, "the bytes are those of the body");
        assert_eq!(files_below(&self.place.path().join("journal")), 0);
    }

    fn journal(&self) -> PathBuf {
        only_file_below(&self.place.path().join("journal"))
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(self.journal()).unwrap().lines().map(str::to_owned).collect()
    }

    /// The id of the upload.
    fn id(&self) -> String {
        let lines = self.lines();
        lines[1].rsplit_once(' ').unwrap().1.to_owned()
    }

    fn query(&self) -> String {
        format!("{}/r/packs/ab/one.age?uploadId={}", self.bucket, self.id())
    }
}

fn only_file_below(folder: &Path) -> PathBuf {
    let folder = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_were_never_noted_are_found_at_the_service() {
    let Some(ceph) = Ceph::shared() else { return };
    for noted in [0, 2] {
        let upload = Interrupted::at(&ceph, if noted == 0 { "tags-lost" } else { "note-behind" }).await;
        let lines = upload.lines();
        let kept = lines.iter().filter(|line| line.contains(" part ")).take(noted).count();
        std::fs::write(upload.journal(), lines[..2 + kept].join("\n") + "\n").unwrap();
        upload.goes_on_with(2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_the_service_no_longer_knows_begins_anew() {
    let Some(ceph) = Ceph::shared() else { return };
    let upload = Interrupted::at(&ceph, "no-longer-known").await;
    let _ = ceph.ask("DELETE", &upload.query(), None);
    upload.goes_on_with(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_with_other_bytes_is_sent_again() {
    let Some(ceph) = Ceph::shared() else { return };
    let upload = Interrupted::at(&ceph, "another-part").await;
    let other = upload.place.path().join("other");
    std::fs::write(&other, noise(2, 8 * MIB)).unwrap();
    let (path, query) = (upload.query(), upload.id());
    let path = path.replace(&format!("uploadId={query}"), &format!("partNumber=2&uploadId={query}"));
    let _ = ceph.ask("PUT", &path, Some(&other));
    upload.goes_on_with(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_never_go_on_are_given_up_and_young_ones_are_not() {
    let Some(ceph) = Ceph::shared() else { return };
    // Nothing was added to this journal for 31 days.
    let upload = Interrupted::at(&ceph, "forgotten").await;
    let uploads = || ceph.ask("GET", &format!("{}/?uploads=", upload.bucket), None);
    let ours = format!("{}/r/packs/ab/{}.tar.zst.age", upload.bucket, "0123456789abcdef".repeat(4));
    let _ = ceph.ask("POST", &format!("{ours}?uploads="), None);
    let month = Duration::from_secs(31 * 24 * 3600);
    let journal = std::fs::File::options().write(true).open(upload.journal()).unwrap();
    journal.set_modified(SystemTime::now() - month).unwrap();
    assert_eq!(uploads().matches("<UploadId>").count(), 2);
    upload.store().put_new(&key("small"), Body::from(vec![1])).await.unwrap();
    let left = uploads();
    assert_eq!(left.matches("<UploadId>").count(), 1, "{left}");
    assert!(left.contains("0123456789abcdef"), "it may be another machine's: {left}");
    assert_eq!(files_below(&upload.place.path().join("journal")), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_is_removed_when_its_object_is_there() {
    let Some(ceph) = Ceph::shared() else { return };
    let upload = Interrupted::at(&ceph, "there-by-now").await;
    let other = open(&options(&ceph.url(), upload.bucket, "r"));
    other.put_new(&key("packs/ab/one.age"), Body::from(upload.body.clone())).await.unwrap();
    upload.store().put_new(&key("small"), Body::from(vec![1])).await.unwrap();
    assert_eq!(files_below(&upload.place.path().join("journal")), 0);
    let left = ceph.ask("GET", &format!("{}/?uploads=", upload.bucket), None);
    assert!(!left.contains("<UploadId>"), "{left}");
}

fn ok(body: &str) -> Answer {
    Some((
        "200 OK\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\nETag: \"x\"".to_owned(),
        body.as_bytes().to_vec(),
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_old_uploads_of_ours_are_given_up() {
    let hash = "0123456789abcdef".repeat(4);
    let one = move |name: &str, id: &str, day: &str| {
        let key = name.replace("HASH", &hash);
        format!(
            "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>2026-11-{day}T12:00:00.000Z</Initiated></Upload>"
        )
    };
    let answer = move |asked: &Asked, number: usize| match &*asked.method {
        "HEAD" if number == 1 => Some(("404 Not Found".to_owned(), Vec::new())),
        "HEAD" => {
            Some(("200 OK\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"x\"".into(), vec![0]))
        }
        "GET" if asked.path.contains("key-marker=") => {
            ok(&format!("<R><IsTruncated>false</IsTruncated>{}</R>", one("r/lists/HASH.txt", "old-2", "10")))
        }
        "GET" if asked.path.contains("uploads=") => ok(&format!(
            "<R><IsTruncated>true</IsTruncated><NextKeyMarker>r/x</NextKeyMarker><NextUploadIdMarker>i</NextUploadIdMarker>\
             {}{}{}{}</R>",
            one("r/packs/ab/HASH.tar.zst.age", "old", "15"),
            one("r/packs/ab/HASH.tar.zst.age", "young", "17"),
            one("r/video.mp4", "stranger", "01"),
            one("other/packs/HASH.tar.zst.age", "elsewhere", "01"),
        )),
        _ => ok(""),
    };
    let server = Canned::start(read_all, answer);
    let store = open(&options(&server.url(), "bucket", "r"));
    store.put_new(&key("a"), Body::from(vec![0])).await.unwrap();
    let gone: Vec<_> = server.asked().into_iter().filter(|asked| asked.method == "DELETE").collect();
    let ids: Vec<_> = gone.iter().map(|asked| asked.path.split_once("uploadId=").unwrap().1).collect();
    assert_eq!(ids, ["old", "old-2"], "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_does_not_tell_parts_is_believed_what_it_acknowledged() {
    let (place, body) = (tempfile::tempdir().unwrap(), noise(1, 20 * MIB));
    let answer = |lost: bool| {
        move |asked: &Asked, number: usize| match &*asked.method {
            "HEAD" if number == 1 => Some(("404 Not Found".to_owned(), Vec::new())),
            "HEAD" => {
                let head = "200 OK\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"x\"";
                Some((head.to_owned(), vec![0; 20 * MIB]))
            }
            "GET" => {
                Some(("501 Not Implemented".into(), b"<Error><Code>NotImplemented</Code></Error>".to_vec()))
            }
            "PUT" if lost && asked.path.contains("partNumber=3") => None,
            "POST" if asked.path.contains("uploadId") => ok("<R><ETag>\"x\"</ETag></R>"),
            "POST" => {
                ok("<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>")
            }
            _ => ok(""),
        }
    };
    let port = {
        let server = Canned::start(read_all, answer(true));
        let store = S3StoreAt { url: server.url(), place: place.path() };
        let error = store.open().put_new(&key("a"), Body::from(body.clone())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Transient, "{error}");
        server.port()
    };
    let server = Canned::start_at(port, read_all, answer(false));
    let store = S3StoreAt { url: server.url(), place: place.path() };
    store.open().put_new(&key("a"), Body::from(body)).await.unwrap();
    let sent: Vec<_> = server.asked().into_iter().filter(|asked| asked.method == "PUT").collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].path.contains("partNumber=3") && sent[0].body == 4 * MIB as u64);
}

struct S3StoreAt<'a> {
    url: String,
    place: &'a Path,
}

impl S3StoreAt<'_> {
    fn open(&self) -> S3Store {
        let journal = Some(self.place.join("journal"));
        open(&fardel_backends::s3::S3Options { journal, ..options(&self.url, "bucket", "") })
    }
}
