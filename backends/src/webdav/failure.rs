use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use fardel_store::{Error, ErrorKind};
use reqwest::StatusCode;

use crate::pulse::Stopped;

/// Why a request came to nothing, before it is known which object it was about.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server says no, and perhaps how long it wants to be left alone.
    Status(StatusCode, Option<Duration>),
    /// The line failed, or stood still.
    Lost(String),
    /// This is not the server it should be.
    Untrusted(String),
    /// What was answered is no WebDAV, or cannot be.
    Protocol(String),
    /// The body could not be read here.
    Body(Error),
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        // The address is left out: it stands in the message anyway, and could hold a secret.
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(body) = cause.downcast_ref::<Error>() {
                return Self::Body(body.clone());
            }
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        if text.contains("invalid peer certificate") {
            Self::Untrusted(text)
        } else if error.is_builder() {
            Self::Protocol(text)
        } else {
            Self::Lost(text)
        }
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        Self::Lost(stopped.to_string())
    }
}

impl Failure {
    pub(super) fn is(&self, code: StatusCode) -> bool {
        matches!(self, Self::Status(found, _) if *found == code)
    }

    /// Whether it could come from a folder that is missing: servers have four ways to say so.
    pub(super) fn may_lack_a_folder(&self) -> bool {
        const WAYS: [StatusCode; 4] = [
            StatusCode::CONFLICT,
            StatusCode::NOT_FOUND,
            StatusCode::FORBIDDEN,
            StatusCode::INTERNAL_SERVER_ERROR,
        ];
        WAYS.iter().any(|code| self.is(*code))
    }

    /// What a caller of the store would act on.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Status(code, _) => match code.as_u16() {
                404 | 410 => ErrorKind::NotFound,
                401 | 403 | 407 => ErrorKind::Denied,
                412 => ErrorKind::Exists,
                416 => ErrorKind::Truncated,
                408 | 423 | 425 | 429 | 500 | 502..=504 => ErrorKind::Transient,
                507 => ErrorKind::NoSpace,
                300..=399 | 400 | 405 | 413 | 414 => ErrorKind::Invalid,
                _ => ErrorKind::Other,
            },
            Self::Lost(_) => ErrorKind::Transient,
            Self::Untrusted(_) => ErrorKind::Denied,
            Self::Protocol(_) => ErrorKind::Other,
            Self::Body(error) => error.kind,
        }
    }

    /// The failure of reading or removing `object`.
    pub(super) fn about(&self, object: impl fmt::Display) -> Error {
        Error::new(self.kind(), object, self).with_delay(self.delay())
    }

    /// The failure of storing `object`: never a kind that would say something about the object itself.
    pub(super) fn while_storing(&self, object: impl fmt::Display, what: &str) -> Error {
        let kind = match self.kind() {
            ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Truncated => ErrorKind::Other,
            kind => kind,
        };
        match self {
            Self::Body(error) => error.clone(),
            _ => Error::new(kind, object, format!("{what}: {self}")).with_delay(self.delay()),
        }
    }

    fn delay(&self) -> Option<Duration> {
        if let Self::Status(_, delay) = self { *delay } else { None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code, _) => {
                write!(f, "the server answers {code}")?;
                match code.as_u16() {
                    401 => f.write_str(": it wants a name and a password, or other ones"),
                    300..=399 => f.write_str(": this is not its address; give the one it redirects to"),
                    405 | 501 => f.write_str(": there is no WebDAV at this address"),
                    413 => f.write_str(": it takes no bodies as large as this"),
                    _ => Ok(()),
                }
            }
            Self::Lost(what) => write!(f, "the connection was lost: {what}"),
            Self::Untrusted(what) => write!(f, "the server is not trusted: {what}"),
            Self::Protocol(what) => write!(f, "the server's answer cannot be used: {what}"),
            Self::Body(error) => write!(f, "{error}"),
        }
    }
}
