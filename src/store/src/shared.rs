use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::{Body, ByteRange, Capabilities, Finding, Key, Listed, Prefix, Result, Store};

/// A shared store is a store, so that wrappers can be put around an `Arc<dyn Store>`.
#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Store + ?Sized> Store for Arc<S> {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        (**self).put_new(key, body).await
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        (**self).get_range(key, range).await
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        (**self).list(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        (**self).delete(key).await
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    async fn check_room(&self) -> Result<()> {
        (**self).check_room().await
    }

    async fn retention(&self) -> Result<Duration> {
        (**self).retention().await
    }

    fn put_requests(&self, len: u64) -> u64 {
        (**self).put_requests(len)
    }

    async fn examine(&self, scratch: &Prefix) -> Result<Vec<Finding>> {
        (**self).examine(scratch).await
    }

    async fn remove_made_folders(&self) -> Result<Vec<String>> {
        (**self).remove_made_folders().await
    }
}
