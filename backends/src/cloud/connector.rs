use std::time::Duration;

use async_trait::async_trait;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService};
use object_store::{ClientConfigKey, ClientOptions};
use reqwest::{Certificate, redirect};

use super::failure::RETRY_AFTER;
use crate::pause;

/// Reading is tried so often within one call; a page of a listing above all.
pub(crate) const READS: usize = 4;

/// Nothing that is sent takes longer: a part of 8 MiB at 10 KB/s takes 14 minutes.
const LONGEST_SEND: Duration = Duration::from_secs(20 * 60);

/// A virtual machine's own service answers at once, or is not there.
const CONNECT_TO_METADATA: Duration = Duration::from_secs(1);

/// A connection has to stand within this time.
pub(crate) const CONNECT: Duration = Duration::from_secs(20);

/// Makes the HTTP clients: with our certificates, and timeouts that fit packs.
#[derive(Debug)]
pub(crate) struct Connector {
    certificates: Option<Vec<u8>>,
    stall: Duration,
    /// The timeout for connecting as the options of usual requests have it: another one is for a machine's own service.
    usual: Option<String>,
    is_reader: bool,
}

impl Connector {
    /// `options` are those of usual requests, `certificates` are trusted besides those of the system. What a reader is asked for is asked
    /// again by the library itself.
    pub(crate) fn new(
        certificates: Option<Vec<u8>>,
        stall: Duration,
        options: &ClientOptions,
        is_reader: bool,
    ) -> Self {
        let usual = options.get_config_value(&ClientConfigKey::ConnectTimeout);
        Self { certificates, stall, usual, is_reader }
    }

    /// A client for plain requests.
    pub(crate) fn client(&self, connect: Duration) -> reqwest::Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .http1_only()
            .connect_timeout(connect)
            // What was sent and not taken for so long is lost; the time for the answer is another.
            .tcp_user_timeout(self.stall)
            .user_agent(concat!("fardel/", env!("CARGO_PKG_VERSION")));
        builder =
            if self.is_reader { builder.read_timeout(self.stall) } else { builder.timeout(LONGEST_SEND) };
        if let Some(pem) = &self.certificates {
            builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem)?);
        }
        builder.build()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let generic = |error: reqwest::Error| object_store::Error::Generic {
            store: "the service",
            source: error.into(),
        };
        let is_usual = options.get_config_value(&ClientConfigKey::ConnectTimeout) == self.usual;
        let http = self.client(if is_usual { CONNECT } else { CONNECT_TO_METADATA }).map_err(generic)?;
        Ok(HttpClient::new(Service { http, is_reader: self.is_reader }))
    }
}

/// Heeds what a service says of a pause: of an answer that is no success, the library looks at the body alone.
#[derive(Debug)]
struct Service {
    http: reqwest::Client,
    is_reader: bool,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.http.call(request).await?;
        let Some(asked) = pause::asked_for(answer.status(), answer.headers()) else { return Ok(answer) };
        if self.is_reader {
            // It makes the request again by itself.
            tokio::time::sleep(asked).await;
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        let said = body.bytes().await?;
        let mark = format!("<{RETRY_AFTER}>{}</{RETRY_AFTER}>", asked.as_secs());
        let body = [&*said, mark.as_bytes()].concat();
        Ok(HttpResponse::from_parts(parts, body.into()))
    }
}
