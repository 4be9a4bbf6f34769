//! Buckets that keep objects by themselves.

use std::time::Duration;

use fardel_store::{Body, ByteRange, Store};
use fardel_tests::servers::Ceph;

use super::canned::{Canned, read_all};
use super::commands::User;
use super::s3::{open, options};
use super::samples::{key, names};

const DAY: u64 = 24 * 3600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_tells_how_long_it_keeps_what_is_put_there() {
    let Some(ceph) = Ceph::shared() else { return };
    for (bucket, keeps, expected) in [
        ("keeps-for-days", Some("<Days>3</Days>"), 3 * DAY),
        ("keeps-for-years", Some("<Years>2</Years>"), 732 * DAY),
        ("keeps-what-is-locked", None, 0),
    ] {
        let store = open(&options(&ceph.url(), ceph.make_locked_bucket(bucket, keeps), "r"));
        assert_eq!(store.retention().await.unwrap(), Duration::from_secs(expected), "{bucket}");
        // What is deleted there is out of sight, and its name is free.
        let name = key("packs/ab/one.age");
        for bytes in [vec![1], vec![2, 2]] {
            store.put_new(&name, Body::from(bytes.clone())).await.unwrap();
            assert_eq!(store.get_range(&name, ByteRange::All).await.unwrap(), bytes);
            store.delete(&name).await.unwrap();
            assert!(names(&store).await.is_empty(), "{bucket}");
        }
    }
    let usual = open(&options(&ceph.url(), ceph.make_bucket("keeps-nothing"), "r"));
    assert_eq!(usual.retention().await.unwrap(), Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_tells_nothing_of_it_keeps_nothing() {
    for (status, body) in [
        ("404 Not Found", "<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>"),
        ("501 Not Implemented", "<Error><Code>NotImplemented</Code></Error>"),
        ("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>"),
        ("200 OK", "<ListBucketResult><Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>"),
        ("200 OK", "no answer at all"),
    ] {
        let server = Canned::start(read_all, move |_, _| Some((status.to_owned(), body.as_bytes().to_vec())));
        let store = open(&options(&server.url(), "bucket", ""));
        for _ in 0..2 {
            assert_eq!(store.retention().await.unwrap(), Duration::ZERO, "{body}");
        }
        assert_eq!(server.asked().len(), 1, "it is asked once");
    }
}

#[test]
fn a_prune_leaves_what_the_bucket_keeps() {
    let Some(ceph) = Ceph::shared() else { return };
    let user = |bucket: &str| {
        User::new(format!("s3://{bucket}/r?endpoint={}", ceph.url()))
            .with("AWS_ACCESS_KEY_ID", Ceph::KEY)
            .with("AWS_SECRET_ACCESS_KEY", Ceph::SECRET)
    };
    let with_garbage = |user: &User| {
        user.run(&["init", "--recovery-file", "recovery"]).exits(0);
        user.sandbox.write("other/file", "nobody else has that\n");
        let other = user.run(&["backup", "other", "--json"]).exits(0);
        user.run(&["backup", "src"]).exits(0);
        user.run(&["forget", other.summary()["snapshot_id"].as_str().unwrap()]).exits(0);
        user.run(&["prune", "--grace", "0", "--json"]).exits(0)
    };
    let keeps = user(ceph.make_locked_bucket("pruned-and-kept", Some("<Days>30</Days>")));
    let report = with_garbage(&keeps);
    assert_eq!(report.summary()["packs_condemned"], 0, "{}", report.stdout);
    assert_eq!(report.summary()["objects_deleted"], 0, "{}", report.stdout);
    keeps.run(&["prune", "--dry-run"]).exits(0).says("minimum age of 30");
    keeps.run(&["check", "--level", "data"]).exits(0);
    keeps.run(&["forget", "--undo"]).exits(0).says("is back");

    let free = user(ceph.make_locked_bucket("pruned-and-not-kept", None));
    let report = with_garbage(&free);
    assert!(report.summary()["packs_deleted"].as_u64() > Some(0), "{}", report.stdout);
    free.run(&["check", "--level", "data"]).exits(0);
}
