use std::fmt;

use fardel_store::{Error, ErrorKind};
use object_store::Error as Raw;

/// Why a request came to nothing, before it is known which object it was about.
#[derive(Debug)]
pub(super) struct Failure {
    kind: ErrorKind,
    /// The service's own word for it, such as `NoSuchUpload`.
    code: String,
    message: String,
}

impl From<Raw> for Failure {
    fn from(error: Raw) -> Self {
        let text = error.to_string();
        let code = element(&text, "Code").unwrap_or_default().to_owned();
        let kind = match (&error, status(&text)) {
            _ if text.contains("invalid peer certificate") => ErrorKind::Denied,
            // Nobody has credentials for us: what is asked for is that of a virtual machine.
            _ if text.contains("169.254.169.254") => ErrorKind::Denied,
            _ if code == "NoSuchBucket" => ErrorKind::Invalid,
            // Clocks that differ look like wrong keys; so do requests that took too long.
            _ if code == "RequestTimeTooSkewed" => ErrorKind::Denied,
            _ if matches!(&*code, "QuotaExceeded" | "XMinioStorageFull") => ErrorKind::NoSpace,
            (Raw::NotFound { .. }, _) => ErrorKind::NotFound,
            (Raw::PermissionDenied { .. } | Raw::Unauthenticated { .. }, _) => ErrorKind::Denied,
            (Raw::AlreadyExists { .. } | Raw::Precondition { .. }, _) => ErrorKind::Exists,
            (_, Some(416)) => ErrorKind::Truncated,
            (_, Some(507)) => ErrorKind::NoSpace,
            (_, Some(501)) => ErrorKind::Other,
            (_, Some(408 | 409 | 425 | 429 | 500..=599)) => ErrorKind::Transient,
            (_, Some(300..=499)) => ErrorKind::Invalid,
            // The line, or a success that turned out to be none.
            (Raw::Generic { .. }, _) => ErrorKind::Transient,
            _ => ErrorKind::Other,
        };
        Self { kind, message: in_words(&text, &code), code }
    }
}

impl Failure {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, code: String::new(), message: message.into() }
    }

    /// The bytes here cannot be had, or are not the right ones.
    pub(super) fn of_body(error: &Error) -> Self {
        Self::new(error.kind, error.to_string())
    }

    pub(super) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the service has not got what was asked of it.
    pub(super) fn is_unsupported(&self) -> bool {
        self.code == "NotImplemented" || self.message.contains("501 Not Implemented")
    }

    /// Whether an upload in parts is gone: finished, given up, or cleaned away.
    pub(super) fn is_no_such_upload(&self) -> bool {
        self.code == "NoSuchUpload" || (self.code.is_empty() && self.kind == ErrorKind::NotFound)
    }

    /// The failure of reading or removing `object`.
    pub(super) fn about(&self, object: impl fmt::Display) -> Error {
        Error::new(self.kind, object, &self.message)
    }

    /// The failure of storing `object`: never a kind that would say something about the object itself.
    pub(super) fn while_storing(&self, object: impl fmt::Display, what: &str) -> Error {
        let kind = match self.kind {
            ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Truncated => ErrorKind::Other,
            kind => kind,
        };
        Error::new(kind, object, format!("{what}: {}", self.message))
    }
}

/// The HTTP status in a message of the library, which does not give it otherwise.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("non-2xx status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// What stands in an element of an error document.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inside, _)| inside)
}

fn in_words(text: &str, code: &str) -> String {
    if text.contains("169.254.169.254") {
        return "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write a profile into \
                ~/.aws/credentials (and this is no virtual machine that has some)"
            .to_owned();
    }
    let message = element(text, "Message").filter(|message| !message.is_empty());
    match (code, message) {
        ("", _) => match text.split_once(" - ") {
            // The first half is the request, with its address and the times it was made.
            Some((_, cause)) => cause.to_owned(),
            None => text.to_owned(),
        },
        ("NoSuchBucket", _) => "there is no such bucket; make it first, or correct its name".to_owned(),
        (code, Some(message)) => format!("the service answers {code}: {message}"),
        (code, None) => format!("the service answers {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> Failure {
        Raw::Generic { store: "S3", source: text.into() }.into()
    }

    #[test]
    fn statuses_and_codes_are_read() {
        let answer = |status: &str, code: &str| {
            generic(&format!(
                "Error performing PUT http://h/b/k in 1ms - Server returned non-2xx status code: {status}: \
                 <?xml?><Error><Code>{code}</Code><Message>why</Message></Error>"
            ))
        };
        let table = [
            ("503 Service Unavailable", "SlowDown", ErrorKind::Transient),
            ("500 Internal Server Error", "InternalError", ErrorKind::Transient),
            ("416 Range Not Satisfiable", "InvalidRange", ErrorKind::Truncated),
            ("400 Bad Request", "InvalidArgument", ErrorKind::Invalid),
            ("507 Insufficient Storage", "XMinioStorageFull", ErrorKind::NoSpace),
            ("404 Not Found", "NoSuchBucket", ErrorKind::Invalid),
        ];
        for (status, code, kind) in table {
            let failure = answer(status, code);
            assert_eq!((failure.kind(), &*failure.code), (kind, code), "{failure:?}");
        }
        assert_eq!(answer("403 Forbidden", "X").message, "the service answers X: why");
        assert!(answer("501 Not Implemented", "NotImplemented").is_unsupported());
        assert_eq!(generic("error sending request").kind(), ErrorKind::Transient);
        let nobody =
            generic("Error performing PUT http://169.254.169.254/latest/api/token in 1s - timed out");
        assert_eq!(nobody.kind(), ErrorKind::Denied);
    }
}
