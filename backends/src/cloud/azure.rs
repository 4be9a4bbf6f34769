use std::sync::Arc;

use fardel_store::{Error, ErrorKind, Result};
use object_store::azure::MicrosoftAzureBuilder;

use super::store::{CloudOptions, CloudStore, Pair};
use crate::Secret;

/// A container of Azure's Blob Storage, and how it is reached. Credentials are those of the environment (`AZURE_STORAGE_ACCOUNT_KEY`,
/// `AZURE_STORAGE_SAS_TOKEN`, `AZURE_CLIENT_ID` and so on), then of the virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureOptions {
    /// The container; it has to be there.
    pub container: String,
    /// What all names begin with, `/` between parts; empty for the whole container.
    pub prefix: String,
    /// The storage account; `None` for the one in `AZURE_STORAGE_ACCOUNT_NAME`.
    pub account: Option<String>,
    /// `http://…` or `https://…` of the account; `None` for Azure's own.
    pub endpoint: Option<String>,
    /// The account's key; `None` for the credentials of the environment.
    pub key: Option<Secret>,
    /// What is the same for all services.
    pub common: CloudOptions,
}

impl AzureOptions {
    /// A container, and the usual for the rest.
    #[must_use]
    pub fn new(container: &str, prefix: &str) -> Self {
        let (container, prefix) = (container.to_owned(), prefix.to_owned());
        let common = CloudOptions::default();
        Self { container, prefix, account: None, endpoint: None, key: None, common }
    }
}

impl CloudStore {
    /// The store of these options. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when they cannot be used.
    pub fn azure(options: &AzureOptions) -> Result<Self> {
        let place = format!("az://{}/{}", options.container, options.prefix);
        let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(&options.container);
        if let Some(account) = &options.account {
            builder = builder.with_account(account);
        }
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        if let Some(key) = &options.key {
            builder = builder.with_access_key(key.reveal());
        }
        let pair = Pair::new(&options.common, |connector, client, retry| {
            let builder = builder.clone().with_client_options(client).with_retry(retry);
            let built = builder.with_http_connector(connector).build();
            Ok(Arc::new(built.map_err(|error| Error::new(ErrorKind::Invalid, &place, error))?))
        })?;
        Self::of(pair, place.clone(), &options.prefix, &options.common, "If-None-Match: *")
    }
}
