//! Repositories in Google Cloud Storage and in Azure's Blob Storage; and what the clients of all such services need.
//!
//! How `put_new` stores an object:
//! 1. the name is asked for; what is there is left alone;
//! 2. small bodies go in one PUT, on condition that the name is free (Google: `x-goog-if-generation-match: 0`, Azure:
//!    `If-None-Match: *`); large ones in parts of 8 MiB, one after the other;
//! 3. the length is asked for and compared.
//!
//! An object appears whole or not at all. Uploads are not resumed: an interrupted object begins anew. Azure drops parts that nobody
//! put together after a week; Google keeps them until a lifecycle rule of the bucket (`AbortIncompleteMultipartUpload`) gives them up.

#[cfg(feature = "azure")]
mod azure;
pub(crate) mod connector;
pub(crate) mod examine;
pub(crate) mod failure;
#[cfg(feature = "gcs")]
mod gcs;
pub(crate) mod read;
#[cfg(any(feature = "gcs", feature = "azure"))]
mod store;

#[cfg(feature = "azure")]
pub use azure::AzureOptions;
#[cfg(feature = "gcs")]
pub use gcs::GcsOptions;
#[cfg(any(feature = "gcs", feature = "azure"))]
pub use store::{CloudOptions, CloudStore};
