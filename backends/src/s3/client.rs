use std::sync::Arc;

use fardel_store::{Error, ErrorKind, Result};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::{ClientOptions, RetryConfig};

use super::profile::{Profile, ProfileFiles, ProfileProvider};
use super::requests::Requests;
use super::store::S3Options;
use crate::cloud::connector::{CONNECT, Connector, READS};
use crate::tls;

/// The clients of one bucket.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// Repeats what failed: reading changes nothing.
    pub(super) reader: AmazonS3,
    /// Repeats nothing.
    pub(super) writer: AmazonS3,
    /// Asks what these two cannot.
    pub(super) requests: Requests,
}

impl Clients {
    /// # Errors
    /// [`ErrorKind::Invalid`] when the options contradict each other, or name a profile that is not there.
    pub(super) fn new(options: &S3Options) -> Result<Self> {
        tls::prepare();
        let builder = configure(options)?;
        let pem = options.certificates.as_deref().map(tls::read_certificates).transpose()?;
        let client_options = ClientOptions::new().with_connect_timeout(CONNECT).with_allow_http(true);
        let connector = |is_reader| Connector::new(pem.clone(), options.stall, &client_options, is_reader);
        let build = |is_reader, max_retries| {
            let retry = RetryConfig { max_retries, ..RetryConfig::default() };
            let builder = builder.clone().with_client_options(client_options.clone()).with_retry(retry);
            builder.with_http_connector(connector(is_reader)).build().map_err(|error| invalid(options, error))
        };
        let reader = build(true, READS)?;
        let http = connector(true).client(CONNECT).map_err(|error| invalid(options, error))?;
        let requests = Requests { signer: reader.clone(), http };
        Ok(Self { reader, writer: build(false, 0)?, requests })
    }
}

/// Everything but the transport, the first source that has it: options, environment, profile.
fn configure(options: &S3Options) -> Result<AmazonS3Builder> {
    let mut builder = AmazonS3Builder::from_env();
    let is_set = |builder: &AmazonS3Builder, key| builder.get_config_value(&key).is_some();
    // The name that Amazon's own tools know.
    if let Ok(endpoint) = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        && !is_set(&builder, AmazonS3ConfigKey::MetadataEndpoint)
    {
        builder = builder.with_metadata_endpoint(endpoint.trim_end_matches('/'));
    }
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
