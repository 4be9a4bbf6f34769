use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fardel_store::{Error, ErrorKind, Result};
use futures::{Stream, StreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode, Url, redirect};

use super::credentials::Credentials;
use super::failure::Failure;
use super::multistatus::{self, Item};
use crate::pulse::Pulse;
use crate::{pause, tls};

/// A connection has to stand within this time.
const CONNECT: Duration = Duration::from_secs(30);

/// Servers close idle connections when they like, Apache after 5 s; one that was just closed costs a failed request.
const IDLE: Duration = Duration::from_secs(4);

/// How often a request is made again because the server asks for it.
const REQUESTS: u32 = 4;

/// No listing of a folder of ours comes near, in bytes.
const LONGEST_LISTING: u64 = 64 << 20;

const WANTED: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<propfind xmlns=\"DAV:\"><prop><resourcetype/>\
                      <getcontentlength/><getlastmodified/></prop></propfind>";

/// Requests to one folder of one server.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    /// The folder; ends in `/`, and holds neither name nor password.
    root: Url,
    credentials: Credentials,
    stall: Duration,
}

impl Client {
    /// `certificates` are trusted besides those of the system, in PEM.
    pub(super) fn new(
        root: Url,
        credentials: Credentials,
        certificates: Option<&[u8]>,
        stall: Duration,
    ) -> Result<Self> {
        tls::prepare();
        let invalid = |error: reqwest::Error| Error::new(ErrorKind::Invalid, &root, Failure::from(error));
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .http1_only()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("fardel/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = certificates {
            builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem).map_err(invalid)?);
        }
        let http = builder.build().map_err(invalid)?;
        Ok(Self { http, root, credentials, stall })
    }

    /// The URL of a path below the root: a key, or such a name with `/` at the end for a folder.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("{}{path}", self.root.path()));
        url
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.credentials {
            Credentials::None => request,
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password.reveal())),
            Credentials::Bearer(token) => request.bearer_auth(token.reveal()),
        }
    }

    /// Makes a request with no body, or a small one, and gives its answer when that is a success. It is made again where the server asks
    /// for it by Retry-After.
    pub(super) async fn ask(
        &self,
        method: &str,
        url: &Url,
        headers: HeaderMap,
        body: &'static str,
    ) -> Result<Response, Failure> {
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| Failure::Protocol(method.to_owned()))?;
        let mut made = 1;
        loop {
            let request = self.request(method.clone(), url.clone()).headers(headers.clone()).body(body);
            let answer = Pulse::new().watch(request.send(), self.stall).await??;
            match pause::asked_for(answer.status(), answer.headers()) {
                Some(pause) if made < REQUESTS => tokio::time::sleep(pause).await,
                _ => return success(answer),
            }
            made += 1;
        }
    }

    /// The same, when nothing but success matters: the answer's body is read, so that the connection can be used again.
    pub(super) async fn tell(
        &self,
        method: &str,
        url: &Url,
        headers: HeaderMap,
    ) -> Result<StatusCode, Failure> {
        let answer = self.ask(method, url, headers, "").await?;
        let status = answer.status();
        self.body(answer, LONGEST_LISTING).await?;
        Ok(status)
    }

    /// Puts `len` bytes under a name. The answer may ask for a pause: then nothing was stored.
    pub(super) async fn put(
        &self,
        url: &Url,
        len: u64,
        bytes: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Result<Sent, Failure> {
        let pulse = Pulse::new();
        let beating = {
            let pulse = pulse.clone();
            bytes.inspect(move |_| pulse.beat())
        };
        let request = self
            .request(Method::PUT, url.clone())
            .header(CONTENT_LENGTH, len)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(reqwest::Body::wrap_stream(beating));
        let answer = pulse.watch(request.send(), self.stall).await??;
        if let Some(pause) = pause::asked_for(answer.status(), answer.headers()) {
            return Ok(Sent::Wait(pause));
        }
        let answer = success(answer)?;
        let now = pause::date(answer.headers());
        self.body(answer, LONGEST_LISTING).await?;
        Ok(Sent::Done { now })
    }

    /// The body of an answer; refused beyond `most` bytes.
    pub(super) async fn body(&self, answer: Response, most: u64) -> Result<Bytes, Failure> {
        let known = answer.content_length().unwrap_or_default();
        // A server may say what it likes of the length: room is made as bytes come.
        let mut body = BytesMut::with_capacity(usize::try_from(known.min(1 << 20)).unwrap_or_default());
        let mut answer = answer;
        while let Some(bytes) = self.chunk(&mut answer).await? {
            if body.len() as u64 + bytes.len() as u64 > most {
                return Err(Failure::Protocol(format!("it is longer than {most} bytes")));
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body.freeze())
    }

    /// The next bytes of an answer; `None` at its end.
    pub(super) async fn chunk(&self, answer: &mut Response) -> Result<Option<Bytes>, Failure> {
        Ok(Pulse::new().watch(answer.chunk(), self.stall).await??)
    }

    /// What the server says of a name and, with depth 1, of all in it; `None` when there is nothing.
    pub(super) async fn propfind(
        &self,
        url: &Url,
        depth: &'static str,
    ) -> Result<Option<Vec<Item>>, Failure> {
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("depth"), HeaderValue::from_static(depth)),
            (CONTENT_TYPE, HeaderValue::from_static("application/xml; charset=utf-8")),
        ]);
        let answer = match self.ask("PROPFIND", url, headers, WANTED).await {
            Ok(answer) if answer.status() == StatusCode::MULTI_STATUS => answer,
            Ok(answer) => return Err(Failure::Protocol(format!("{} to PROPFIND", answer.status()))),
            Err(failure) if failure.kind() == ErrorKind::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let body = self.body(answer, LONGEST_LISTING).await?;
        let items = multistatus::parse(&String::from_utf8_lossy(&body)).map_err(Failure::Protocol)?;
        Ok(Some(items))
    }

    /// What lies under a name; `None` when nothing does.
    pub(super) async fn look(&self, path: &str) -> Result<Option<Item>, Failure> {
        let url = self.url(path);
        let Some(mut items) = self.propfind(&url, "0").await? else { return Ok(None) };
        match (items.pop(), items.is_empty()) {
            (Some(item), true) => Ok(Some(item)),
            _ => Err(Failure::Protocol("PROPFIND of one name gives another number of them".into())),
        }
    }
}

/// How a PUT ended.
pub(super) enum Sent {
    /// The bytes are there.
    Done {
        /// The server's time, in seconds since 1970.
        now: Option<i64>,
    },
    /// They are to be sent again after this pause.
    Wait(Duration),
}

fn success(answer: Response) -> Result<Response, Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    Err(Failure::Status(status, pause::asked_for(status, answer.headers())))
}
