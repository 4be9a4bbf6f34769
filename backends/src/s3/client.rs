use std::sync::Arc;
use std::time::Duration;

use fardel_store::{Error, ErrorKind, Result};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector};
use object_store::{ClientConfigKey, ClientOptions, RetryConfig};
use reqwest::{Certificate, redirect};

use super::profile::{Profile, ProfileFiles, ProfileProvider};
use super::store::S3Options;
use crate::tls;

/// A connection has to stand within this time.
const CONNECT: Duration = Duration::from_secs(20);

/// A virtual machine's own service answers at once, or is not there.
const CONNECT_TO_METADATA: Duration = Duration::from_secs(1);

/// Nothing that is sent takes longer: a part of 8 MiB at 10 KB/s takes 14 minutes.
const LONGEST_SEND: Duration = Duration::from_secs(20 * 60);

/// Reading is tried so often within one call; a page of a listing above all.
const READS: usize = 4;

/// The two clients of one bucket.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// Repeats what failed: reading changes nothing.
    pub(super) reader: AmazonS3,
    /// Repeats nothing.
    pub(super) writer: AmazonS3,
}

impl Clients {
    /// # Errors
    /// [`ErrorKind::Invalid`] when the options contradict each other, or name a profile that is not there.
    pub(super) fn new(options: &S3Options) -> Result<Self> {
        tls::prepare();
        let builder = configure(options)?;
        let pem = options.certificates.as_deref().map(tls::read_certificates).transpose()?;
        let client_options = ClientOptions::new().with_connect_timeout(CONNECT).with_allow_http(true);
        let connector = |is_reader| Connector {
            certificates: pem.clone(),
            stall: options.stall,
            usual: client_options.get_config_value(&ClientConfigKey::ConnectTimeout),
            is_reader,
        };
        let build = |is_reader, max_retries| {
            let retry = RetryConfig { max_retries, ..RetryConfig::default() };
            let builder = builder.clone().with_client_options(client_options.clone()).with_retry(retry);
            builder.with_http_connector(connector(is_reader)).build().map_err(|error| invalid(options, error))
        };
        Ok(Self { reader: build(true, READS)?, writer: build(false, 0)? })
    }
}

/// Everything but the transport, the first source that has it: options, environment, profile.
fn configure(options: &S3Options) -> Result<AmazonS3Builder> {
    let mut builder = AmazonS3Builder::from_env();
    let is_set = |builder: &AmazonS3Builder, key| builder.get_config_value(&key).is_some();
    let profile = find_profile(options)?;
    let from_profile = |key: &str| profile.as_ref().and_then(|(_, profile)| profile.get(key));

    if let Some(region) = options.region.as_deref() {
        builder = builder.with_region(region);
    } else if !is_set(&builder, AmazonS3ConfigKey::Region)
        && let Some(region) = from_profile("region")
    {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = options.endpoint.as_deref() {
        // One for S3 alone, in the environment, would come before it.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    } else if !is_set(&builder, AmazonS3ConfigKey::Endpoint)
        && !is_set(&builder, AmazonS3ConfigKey::S3Endpoint)
        && let Some(endpoint) = from_profile("endpoint_url")
    {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some((key, secret)) = &options.keys {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret.reveal());
    } else if let Some((name, profile)) = &profile {
        let by_environment = [
            AmazonS3ConfigKey::AccessKeyId,
            AmazonS3ConfigKey::WebIdentityTokenFile,
            AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
            AmazonS3ConfigKey::ContainerCredentialsFullUri,
        ]
        .into_iter()
        .any(|key| is_set(&builder, key));
        let is_chosen =
            options.profile.is_some() || (!by_environment && (*name != "default" || profile.has_keys()));
        if is_chosen && let Some(files) = ProfileFiles::of_user() {
            builder = builder.with_credentials(Arc::new(ProfileProvider::new(files, name)));
        }
    }
    Ok(builder
        .with_bucket_name(&options.bucket)
        .with_virtual_hosted_style_request(options.virtual_host)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Not every service has the request for many at once, and this is used for few.
        .with_disable_bulk_delete(true))
}

/// The profile that is named, or `default` where there is one.
fn find_profile(options: &S3Options) -> Result<Option<(String, Profile)>> {
    let of_environment = || std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
    let named = options.profile.clone().or_else(of_environment);
    let Some(files) = ProfileFiles::of_user() else { return Ok(None) };
    match (files.find(named.as_deref().unwrap_or("default"))?, named) {
        (Some(profile), named) => Ok(Some((named.unwrap_or_else(|| "default".into()), profile))),
        (None, None) => Ok(None),
        (None, Some(name)) => {
            let (credentials, config) = (files.credentials.display(), files.config.display());
            Err(invalid(options, format!("there is no profile {name} in {credentials} nor in {config}")))
        }
    }
}

fn invalid(options: &S3Options, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("s3://{}", options.bucket), what)
}

/// Makes the HTTP clients: with our certificates, and timeouts that fit packs.
#[derive(Debug)]
struct Connector {
    certificates: Option<Vec<u8>>,
    stall: Duration,
    /// The timeout for connecting as the options of usual requests have it: another one is for a machine's own service.
    usual: Option<String>,
    is_reader: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let generic =
            |error: reqwest::Error| object_store::Error::Generic { store: "S3", source: error.into() };
        let is_usual = options.get_config_value(&ClientConfigKey::ConnectTimeout) == self.usual;
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .http1_only()
            .connect_timeout(if is_usual { CONNECT } else { CONNECT_TO_METADATA })
            // What was sent and not taken for so long is lost; the time for the answer is another.
            .tcp_user_timeout(self.stall)
            .user_agent(concat!("fardel/", env!("CARGO_PKG_VERSION")));
        builder =
            if self.is_reader { builder.read_timeout(self.stall) } else { builder.timeout(LONGEST_SEND) };
        if let Some(pem) = &self.certificates {
            builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem).map_err(generic)?);
        }
        Ok(HttpClient::new(builder.build().map_err(generic)?))
    }
}
