use super::*;
use crate::MemoryStore;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn body() -> Body {
    Body::from(b"0123456789".to_vec())
}

fn faulty(at: u64, how: FaultKind, then: Aftermath) -> FaultyStore<MemoryStore> {
    FaultyStore::new(MemoryStore::new()).with_fault(Fault { at, how, then })
}

async fn names(store: &impl Store) -> Vec<String> {
    store.list("").map_ok(|listed| listed.name).try_collect().await.unwrap()
}

#[tokio::test]
async fn conforms_while_nothing_fails() {
    crate::conformance::run(&FaultyStore::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn a_crash_ends_everything() {
    for (how, left) in [
        (FaultKind::Before, None),
        (FaultKind::AnswerLost, Some("0123456789")),
        (FaultKind::Torn, Some("01234")),
    ] {
        let store = faulty(1, how, Aftermath::Crash);
        store.put_new(&key("a"), body()).await.unwrap();
        assert_eq!(store.put_new(&key("b"), body()).await.unwrap_err().message, "crashed");
        assert!(store.get_range(&key("a"), ByteRange::All).await.is_err());
        assert!(store.delete(&key("a")).await.is_err());
        assert!(store.list("").next().await.unwrap().is_err());
        assert_eq!(store.inner().get_raw("b").as_deref(), left.map(str::as_bytes), "{how:?}");
        assert_eq!(store.mutations(), 2);
    }
}

#[tokio::test]
async fn once_and_for_ever() {
    let store = faulty(0, FaultKind::Before, Aftermath::Once(ErrorKind::Transient));
    assert_eq!(store.put_new(&key("a"), body()).await.unwrap_err().kind, ErrorKind::Transient);
    store.put_new(&key("a"), body()).await.unwrap();

    let store = faulty(1, FaultKind::AnswerLost, Aftermath::Forever(ErrorKind::NoSpace));
    store.put_new(&key("a"), body()).await.unwrap();
    assert_eq!(store.delete(&key("a")).await.unwrap_err().kind, ErrorKind::NoSpace);
    assert_eq!(store.put_new(&key("b"), body()).await.unwrap_err().kind, ErrorKind::NoSpace);
    assert!(names(&store).await.is_empty());
}

#[tokio::test]
async fn reads_go_wrong_as_told() {
    let store = FaultyStore::new(MemoryStore::new());
    let a = key("a");
    store.put_new(&a, body()).await.unwrap();
    let set = |kind, once| store.set_read_fault(&a, Some(ReadFault { kind, once }));

    set(ReadFaultKind::Fail(ErrorKind::Denied), true);
    assert_eq!(store.get_range(&a, ByteRange::All).await.unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(store.get_range(&a, ByteRange::All).await.unwrap(), "0123456789");

    set(ReadFaultKind::Truncate(4), false);
    assert_eq!(store.get_range(&a, ByteRange::All).await.unwrap(), "0123");
    let kind = store.get_range(&a, ByteRange::between(2, 5)).await.unwrap_err().kind;
    assert_eq!(kind, ErrorKind::Truncated);

    set(ReadFaultKind::FlipBit(8 * 3), false);
    assert_eq!(store.get_range(&a, ByteRange::All).await.unwrap(), "0122456789");
    assert_eq!(store.get_range(&a, ByteRange::between(2, 5)).await.unwrap(), "224");
    assert_eq!(store.get_range(&a, ByteRange::between(4, 6)).await.unwrap(), "45");
    store.set_read_fault(&a, None);
    assert_eq!(store.get_range(&a, ByteRange::All).await.unwrap(), "0123456789");
}

#[tokio::test]
async fn a_stale_listing_lags_behind() {
    let store = FaultyStore::new(MemoryStore::new());
    store.put_new(&key("p/a"), body()).await.unwrap();
    store.set_stale_listing(Some(2));
    store.put_new(&key("p/b"), body()).await.unwrap();
    store.delete(&key("p/a")).await.unwrap();
    assert_eq!(names(&store).await, ["p/a"]);
    store.put_new(&key("q/c"), body()).await.unwrap();
    assert_eq!(names(&store).await, ["p/a", "p/b"]);
    assert!(store.get_range(&key("p/a"), ByteRange::All).await.is_err());
    store.set_stale_listing(None);
    assert_eq!(names(&store).await, ["p/b", "q/c"]);
}
