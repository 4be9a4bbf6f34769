use std::sync::Arc;

use fardel_store::{Error, ErrorKind, Result};
use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};

use super::store::{CloudOptions, CloudStore, Pair};

/// A bucket of Google Cloud Storage, and how it is reached. Credentials are those of the environment (`GOOGLE_APPLICATION_CREDENTIALS`,
/// `GOOGLE_SERVICE_ACCOUNT`), of `gcloud auth application-default login`, then of the virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcsOptions {
    /// The bucket; it has to be there.
    pub bucket: String,
    /// What all names begin with, `/` between parts; empty for the whole bucket.
    pub prefix: String,
    /// `http://…` or `https://…` of the service; `None` for Google's own.
    pub endpoint: Option<String>,
    /// Whether nothing is signed: public buckets, and services that play Google's.
    pub anonymous: bool,
    /// What is the same for all services.
    pub common: CloudOptions,
}

impl GcsOptions {
    /// A bucket, and the usual for the rest.
    #[must_use]
    pub fn new(bucket: &str, prefix: &str) -> Self {
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        Self { bucket, prefix, endpoint: None, anonymous: false, common: CloudOptions::default() }
    }
}

impl CloudStore {
    /// The store of these options. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when they cannot be used.
    pub fn google(options: &GcsOptions) -> Result<Self> {
        let place = format!("gs://{}/{}", options.bucket, options.prefix);
        let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(&options.bucket);
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        if options.anonymous {
            // What says that nothing is signed counts for reading alone.
            let nobody = StaticCredentialProvider::new(GcpCredential { bearer: String::new() });
            builder = builder.with_credentials(Arc::new(nobody));
        }
        let pair = Pair::new(&options.common, |connector, client, retry| {
            let builder = builder.clone().with_client_options(client).with_retry(retry);
            let built = builder.with_http_connector(connector).build();
            Ok(Arc::new(built.map_err(|error| Error::new(ErrorKind::Invalid, &place, error))?))
        })?;
        Self::of(pair, place.clone(), &options.prefix, &options.common, "x-goog-if-generation-match: 0")
    }
}
