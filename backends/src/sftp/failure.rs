use std::fmt;

use fardel_store::{Error, ErrorKind};
use russh_sftp::client::error::Error as Raw;
use russh_sftp::protocol::StatusCode;

/// Why a request came to nothing, before it is known which object it was about.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server says no.
    Status(StatusCode, String),
    /// The connection ended or stood still.
    Lost(String),
    /// The server broke the protocol.
    Protocol(String),
}

impl From<Raw> for Failure {
    fn from(error: Raw) -> Self {
        match error {
            Raw::Status(status) => match status.status_code {
                StatusCode::NoConnection | StatusCode::ConnectionLost => Self::Lost(status.error_message),
                code => Self::Status(code, status.error_message),
            },
            Raw::IO(what) => Self::Lost(what),
            Raw::Timeout => Self::Lost("no answer".to_owned()),
            // So a session says that it is closed, and that it dropped a request.
            Raw::UnexpectedBehavior(what) => Self::Lost(what),
            Raw::Limited(what) => Self::Protocol(what),
            Raw::UnexpectedPacket => Self::Protocol("an answer of the wrong kind".to_owned()),
        }
    }
}

impl Failure {
    pub(super) fn is(&self, code: StatusCode) -> bool {
        matches!(self, Self::Status(found, _) if *found == code)
    }

    pub(super) fn is_absent(&self) -> bool {
        self.is(StatusCode::NoSuchFile)
    }

    /// What a caller of the store would act on.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Status(StatusCode::NoSuchFile, _) => ErrorKind::NotFound,
            Self::Status(StatusCode::PermissionDenied, _) => ErrorKind::Denied,
            Self::Status(..) | Self::Protocol(_) => ErrorKind::Other,
            Self::Lost(_) => ErrorKind::Transient,
        }
    }

    /// The failure of reading or removing `object`.
    pub(super) fn about(&self, object: impl fmt::Display) -> Error {
        Error::new(self.kind(), object, self)
    }

    /// The failure of storing `object`: never [`ErrorKind::NotFound`], which would say something about the object.
    pub(super) fn while_storing(&self, object: impl fmt::Display, what: &str) -> Error {
        let kind = match self.kind() {
            ErrorKind::NotFound => ErrorKind::Other,
            kind => kind,
        };
        Error::new(kind, object, format!("{what}: {self}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code, text) if text.is_empty() || *text == code.to_string() => {
                write!(f, "the server says: {code}")
            }
            Self::Status(code, text) => write!(f, "the server says: {code}: {text}"),
            Self::Lost(what) => write!(f, "the connection was lost: {what}"),
            Self::Protocol(what) => write!(f, "the server does not keep to the protocol: {what}"),
        }
    }
}
