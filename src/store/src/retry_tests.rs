use super::*;
use crate::{Aftermath, Fault, FaultKind, FaultyStore, MemoryStore, ReadFault, ReadFaultKind};

fn quick() -> RetryPolicy {
    RetryPolicy { attempts: 5, first_pause: Duration::ZERO, longest_pause: Duration::ZERO }
}

fn failing(how: FaultKind, then: Aftermath) -> Retrying<FaultyStore<MemoryStore>> {
    let faulty = FaultyStore::new(MemoryStore::new()).with_fault(Fault { at: 0, how, then });
    Retrying::with_policy(faulty, quick())
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// A body of more than one comparing step, in a file of its own.
fn file_body(name: &str) -> (std::path::PathBuf, Body, Vec<u8>) {
    let path = std::env::temp_dir().join(format!("fardel-retry-{}-{name}", std::process::id()));
    let bytes: Vec<u8> = (0..COMPARE_STEP as u32 + 5).map(|i| (i / 7) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    (path.clone(), Body::File { path, len: bytes.len() as u64 }, bytes)
}

#[tokio::test]
async fn conforms() {
    crate::conformance::run(&Retrying::new(MemoryStore::new())).await;
}

#[test]
fn pauses_double_within_bounds() {
    let policy = RetryPolicy::default();
    for (failure, nominal) in [(0, 200), (1, 400), (2, 800), (5, 6400), (6, 10_000), (99, 10_000)] {
        let pause = policy.pause(failure).as_millis();
        assert!(pause >= nominal / 2 && pause <= nominal, "pause {failure} took {pause} ms");
    }
}

#[tokio::test]
async fn an_object_whose_answer_was_lost_is_recognised() {
    for how in [FaultKind::Before, FaultKind::AnswerLost] {
        let store = failing(how, Aftermath::Once(ErrorKind::Transient));
        store.put_new(&key("a"), Body::from(b"body".to_vec())).await.unwrap();
        store.put_new(&key("empty"), Body::from(Vec::new())).await.unwrap();

        // The memory store removes the file once it is stored: the second attempt finds none.
        let store = failing(how, Aftermath::Once(ErrorKind::Transient));
        let (path, body, bytes) = file_body(&format!("recognised-{how:?}"));
        store.put_new(&key("a"), body).await.unwrap();
        assert_eq!(store.inner().inner().get_raw("a").unwrap(), bytes);
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn an_empty_object_whose_answer_was_lost_is_recognised() {
    let store = failing(FaultKind::AnswerLost, Aftermath::Once(ErrorKind::Transient));
    store.put_new(&key("empty"), Body::from(Vec::new())).await.unwrap();
}

#[tokio::test]
async fn a_torn_object_is_not_taken_for_ours() {
    let store = failing(FaultKind::Torn, Aftermath::Once(ErrorKind::Transient));
    let (path, body, _) = file_body("torn");
    assert_eq!(store.put_new(&key("a"), body).await.unwrap_err().kind, ErrorKind::Exists);
    assert!(path.exists(), "the body of a failed put stays");
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn other_bytes_longer_bytes_and_a_first_exists_are_not_ours() {
    for there in ["bodY", "body and more", "bod"] {
        let store = failing(FaultKind::Before, Aftermath::Once(ErrorKind::Transient));
        store.inner().inner().insert_raw("a", there.as_bytes());
        let error = store.put_new(&key("a"), Body::from(b"body".to_vec())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exists, "{there}");
    }
    let store = Retrying::with_policy(MemoryStore::new(), quick());
    store.inner().insert_raw("a", &b"body"[..]);
    let error = store.put_new(&key("a"), Body::from(b"body".to_vec())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exists, "nothing was ambiguous");
}

#[tokio::test]
async fn attempts_are_bounded_and_other_kinds_are_not_repeated() {
    let store = failing(FaultKind::Before, Aftermath::Forever(ErrorKind::Transient));
    assert_eq!(store.delete(&key("a")).await.unwrap_err().kind, ErrorKind::Transient);
    assert_eq!(store.inner().mutations(), 5);
    let store = failing(FaultKind::Before, Aftermath::Forever(ErrorKind::NoSpace));
    let error = store.put_new(&key("a"), Body::from(vec![1])).await.unwrap_err();
    assert_eq!((error.kind, store.inner().mutations()), (ErrorKind::NoSpace, 1));
}

#[tokio::test]
async fn reads_are_repeated() {
    let store = Retrying::with_policy(FaultyStore::new(MemoryStore::new()), quick());
    store.inner().inner().insert_raw("a", &b"body"[..]);
    let kind = ReadFaultKind::Fail(ErrorKind::Transient);
    store.inner().set_read_fault(&key("a"), Some(ReadFault { kind, once: true }));
    assert_eq!(store.get_range(&key("a"), ByteRange::All).await.unwrap(), "body");
}

/// A store whose listing has to be left alone once it has ended, as streams may ask for.
#[derive(Debug)]
struct Unfolding;

#[async_trait]
impl Store for Unfolding {
    async fn put_new(&self, key: &Key, _: Body) -> Result<()> {
        Err(Error::new(ErrorKind::Denied, key, "it is empty for ever"))
    }

    async fn get_range(&self, key: &Key, _: ByteRange) -> Result<Bytes> {
        Err(Error::new(ErrorKind::NotFound, key, "it is empty for ever"))
    }

    fn list<'a>(&'a self, _: &'a str) -> BoxStream<'a, Result<Listed>> {
        stream::unfold((), |()| std::future::ready(None)).boxed()
    }

    async fn delete(&self, _: &Key) -> Result<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        MemoryStore::new().capabilities()
    }
}

#[tokio::test]
async fn an_empty_listing_is_not_asked_twice_for_its_end() {
    assert_eq!(Retrying::new(Unfolding).list("").count().await, 0);
}
