use std::fmt;
use std::time::Duration;

use fardel_store::{Error, ErrorKind};
use object_store::Error as Raw;
use reqwest::StatusCode;

/// Why a request came to nothing, before it is known which object it was about.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: ErrorKind,
    /// The service's own word for it, such as `NoSuchUpload`.
    code: String,
    message: String,
    /// How long the service asks to be left alone.
    delay: Option<Duration>,
}

/// Behind the body of an answer stands in this element what its header says of a pause: the library hands on bodies alone.
pub(crate) const RETRY_AFTER: &str = "FardelRetryAfter";

impl From<Raw> for Failure {
    fn from(error: Raw) -> Self {
        let text = error.to_string();
        let code = element(&text, "Code").unwrap_or_default().to_owned();
        let by_status = status(&text).map(kind_of);
        let kind = kind_of_code(&code).unwrap_or_else(|| match &error {
            _ if text.contains("invalid peer certificate") => ErrorKind::Denied,
            _ if is_locked(&text) => ErrorKind::Locked,
            // Nobody has credentials for us: what is asked for is that of a virtual machine.
            _ if MACHINES.iter().any(|machine| text.contains(machine.0)) => ErrorKind::Denied,
            Raw::NotFound { .. } => ErrorKind::NotFound,
            Raw::PermissionDenied { .. } | Raw::Unauthenticated { .. } => ErrorKind::Denied,
            Raw::AlreadyExists { .. } | Raw::Precondition { .. } => ErrorKind::Exists,
            // The line, or a success that turned out to be none.
            Raw::Generic { .. } => by_status.unwrap_or(ErrorKind::Transient),
            _ => by_status.unwrap_or(ErrorKind::Other),
        });
        let delay = element(&text, RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        Self { kind, message: in_words(&text, &code), code, delay: delay.map(Duration::from_secs) }
    }
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, code: String::new(), message: message.into(), delay: None }
    }

    /// The line failed before there was an answer, or in the middle of one.
    pub(crate) fn of_line(error: reqwest::Error) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        let is_untrusted = text.contains("invalid peer certificate");
        Self::new(if is_untrusted { ErrorKind::Denied } else { ErrorKind::Transient }, text)
    }

    /// An answer that is no success.
    pub(crate) fn of_answer(status: StatusCode, body: &str) -> Self {
        let code = element(body, "Code").unwrap_or_default().to_owned();
        let kind = kind_of_code(&code).or_else(|| is_locked(body).then_some(ErrorKind::Locked));
        let kind = kind.unwrap_or_else(|| kind_of(status.as_u16()));
        let message =
            if code.is_empty() { format!("the service answers {status}") } else { in_words(body, &code) };
        Self { kind, message, code, delay: None }
    }

    /// The same failure, with how long the service asks to be left alone.
    pub(crate) fn with_delay(self, delay: Option<Duration>) -> Self {
        Self { delay, ..self }
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// The bytes here cannot be had, or are not the right ones.
    pub(crate) fn of_body(error: &Error) -> Self {
        Self::new(error.kind, error.to_string()).with_delay(error.delay)
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the service has not got what was asked of it.
    pub(crate) fn is_unsupported(&self) -> bool {
        self.code == "NotImplemented" || self.message.contains("501 Not Implemented")
    }

    /// Whether an upload in parts is gone: finished, given up, or cleaned away. Services call it `NoSuchUpload`, Ceph at times `NoSuchKey`.
    pub(crate) fn is_no_such_upload(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// The failure of reading or removing `object`.
    pub(crate) fn about(&self, object: impl fmt::Display) -> Error {
        Error::new(self.kind, object, &self.message).with_delay(self.delay)
    }

    /// The failure of storing `object`: never a kind that would say something about the object itself.
    pub(crate) fn while_storing(&self, object: impl fmt::Display, what: &str) -> Error {
        let kind = match self.kind {
            ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Truncated => ErrorKind::Other,
            kind => kind,
        };
        Error::new(kind, object, format!("{what}: {}", self.message)).with_delay(self.delay)
    }
}

/// Where virtual machines have credentials from, and what to do where there are none.
const MACHINES: [(&str, &str); 4] = [
    ("metadata.google.internal", GOOGLE),
    ("169.254.169.254/computeMetadata", GOOGLE),
    ("169.254.169.254/metadata/identity", "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN"),
    (
        "169.254.169.254",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write a profile into ~/.aws/credentials",
    ),
];

const GOOGLE: &str =
    "set GOOGLE_APPLICATION_CREDENTIALS, or log in with `gcloud auth application-default login`";

/// What the service's own word means, where it says more than the status.
fn kind_of_code(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "NoSuchBucket" | "ContainerNotFound" => ErrorKind::Invalid,
        // Clocks that differ look like wrong keys; so do requests that took too long.
        "RequestTimeTooSkewed" => ErrorKind::Denied,
        // In the words of S3 and Cloudflare, MinIO, Google, Azure.
        "ObjectLocked"
        | "ObjectLockedByBucketPolicy"
        | "XMinioObjectLocked"
        | "RetentionPolicyNotMet"
        | "ObjectUnderActiveHold"
        | "BlobImmutableDueToPolicy"
        | "BlobImmutableDueToLegalHold" => ErrorKind::Locked,
        "QuotaExceeded" | "XMinioStorageFull" => ErrorKind::NoSpace,
        _ => return None,
    })
}

/// Whether the service says in its message alone that a lock keeps the object: then its code is that of any refusal.
fn is_locked(text: &str) -> bool {
    let message = element(text, "Message").unwrap_or_default().to_ascii_lowercase();
    ["object lock", "worm protected", "retention policy", "forbidden by object lock"]
        .iter()
        .any(|why| message.contains(why))
}

fn kind_of(status: u16) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        412 => ErrorKind::Exists,
        416 => ErrorKind::Truncated,
        507 => ErrorKind::NoSpace,
        501 => ErrorKind::Other,
        408 | 409 | 425 | 429 | 500..=599 => ErrorKind::Transient,
        300..=499 => ErrorKind::Invalid,
        _ => ErrorKind::Other,
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

/// What is said without what was put behind it.
fn without_mark(text: &str) -> String {
    text.split_once(&format!("<{RETRY_AFTER}>"))
        .map_or(text, |(said, _)| said)
        .trim_end_matches([':', ' '])
        .to_owned()
}

fn in_words(text: &str, code: &str) -> String {
    if let Some((_, advice)) = MACHINES.iter().find(|machine| text.contains(machine.0)) {
        return format!("there are no credentials: {advice} (and this is no virtual machine that has some)");
    }
    let message = element(text, "Message").filter(|message| !message.is_empty());
    match (code, message) {
        ("", _) => match text.split_once(" - ") {
            // The first half is the request, with its address and the times it was made.
            Some((_, cause)) => without_mark(cause),
            None => without_mark(text),
        },
        ("NoSuchBucket" | "ContainerNotFound", _) => {
            "there is no such bucket or container; make it first, or correct its name".to_owned()
        }
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
            ("403 Forbidden", "AccessDenied", ErrorKind::Denied),
            ("400 Bad Request", "ObjectLocked", ErrorKind::Locked),
            ("403 Forbidden", "RetentionPolicyNotMet", ErrorKind::Locked),
            ("409 Conflict", "BlobImmutableDueToPolicy", ErrorKind::Locked),
        ];
        for (status, code, kind) in table {
            let failure = answer(status, code);
            assert_eq!((failure.kind(), &*failure.code), (kind, code), "{failure:?}");
        }
        assert_eq!(answer("403 Forbidden", "X").message, "the service answers X: why");
        assert!(answer("501 Not Implemented", "NotImplemented").is_unsupported());
        assert_eq!(generic("error sending request").kind(), ErrorKind::Transient);
        let by_lock = "<Error><Code>AccessDenied</Code><Message>Access Denied because object protected by object lock.\
                       </Message></Error>";
        assert_eq!(Failure::of_answer(StatusCode::FORBIDDEN, by_lock).kind(), ErrorKind::Locked);
        let nobody =
            generic("Error performing PUT http://169.254.169.254/latest/api/token in 1s - timed out");
        assert_eq!(nobody.kind(), ErrorKind::Denied);
    }
}
