//! Where a repository lies, from a path or URL.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::remote::Remote;

/// The schemes of this build, for messages.
const KNOWN: &str = "a path, file:///…, sftp://…, webdav+https://…, s3://… or memory:";

/// A place for a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder.
    Folder(PathBuf),
    /// A folder or a bucket on another machine.
    Remote(Remote),
    /// The memory of this process, for trying things out.
    Memory,
}

impl Location {
    /// Reads a path or URL; a relative path lies below `base`.
    ///
    /// # Errors
    /// When this build has no such store. No message holds a password.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(rest) = text.strip_prefix("file://") {
            return file_url(rest).map(Self::Folder).ok_or_else(|| {
                let message = format!("{text}: a file URL has an absolute path: file:///srv/backup");
                Failure::new(Exit::Usage, message, "write the path itself instead")
            });
        }
        if let Some(remote) = Remote::parse(text) {
            return remote.map(Self::Remote).map_err(|why| {
                let hint = format!("a path that looks like a URL is written ./{}", redacted(text));
                Failure::usage(format!("{}: {why}", redacted(text)), hint)
            });
        }
        if let Some(scheme) = scheme(text) {
            let message = format!("{}: this build has no store for {scheme}: it has {KNOWN}", redacted(text));
            let hint = format!("give a folder; a path that looks like a URL is written ./{}", redacted(text));
            return Err(Failure::new(Exit::Usage, message, hint));
        }
        if text.is_empty() {
            return Err(Failure::new(
                Exit::Usage,
                "the repository's name is empty",
                "give --repo, or FARDEL_REPOSITORY",
            ));
        }
        // Without `.` in it, as it is shown.
        Ok(Self::Folder(base.join(text).components().collect()))
    }

    /// Whether a password stands in the URL.
    #[must_use]
    pub fn has_password(text: &str) -> bool {
        userinfo(text).is_some_and(|user| user.contains(':'))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => f.write_str(&crate::human::path(path)),
            Self::Remote(remote) => remote.fmt(f),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

/// The text with the password of a URL left out.
#[must_use]
pub fn redacted(text: &str) -> String {
    match userinfo(text).and_then(|user| user.split_once(':')) {
        Some((_, password)) => text.replacen(&format!(":{password}@"), ":***@", 1),
        None => text.to_owned(),
    }
}

/// The scheme of a URL; a path has none, even when a colon stands in it.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let known = ["rclone", "gs", "azure", "b2", "rest"].contains(&scheme);
    let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    (valid && (known || text[scheme.len()..].starts_with("://"))).then_some(scheme)
}

fn userinfo(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@').map(|(user, _)| user)
}

/// The path of `file://…`, with `%NN` decoded.
fn file_url(rest: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let rest = rest.strip_prefix("localhost").unwrap_or(rest);
    if !rest.starts_with('/') {
        return None;
    }
    let mut bytes = Vec::with_capacity(rest.len());
    let mut left = rest.as_bytes();
    while let [first, tail @ ..] = left {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|&byte| byte != 0)?);
            left = &tail[2..];
        } else {
            bytes.push(*first);
            left = tail;
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Location> {
        Location::parse(text, Path::new("/here"))
    }

    #[test]
    fn reads_paths_and_file_urls() {
        let table = [
            ("/srv/x", "/srv/x"),
            ("x/y", "/here/x/y"),
            ("./a:b", "/here/a:b"),
            (".", "/here"),
            ("a:b", "/here/a:b"),
            ("file:///srv/a%20b", "/srv/a b"),
            ("file://localhost/srv", "/srv"),
        ];
        for (text, path) in table {
            assert_eq!(parse(text).ok(), Some(Location::Folder(path.into())), "{text}");
        }
        assert_eq!(parse("memory:").ok(), Some(Location::Memory));
        assert_eq!(parse("sftp://nas/x").unwrap().to_string(), "sftp://nas/x");
        assert_eq!(parse("./sftp://nas/x").unwrap().to_string(), "/here/sftp:/nas/x");
    }

    #[test]
    fn other_schemes_are_named_without_their_passwords() {
        for text in [
            "b2://bucket/x",
            "b2:bucket",
            "ftp://ann:pw@host/x",
            "sftp://ann:pw@host/x",
            "s3://ann:pw@bucket",
            "s3:bucket",
            "file://host/x",
            "",
            "file:///a%0",
        ] {
            let failure = parse(text).expect_err(text);
            assert_eq!(failure.exit, Exit::Usage);
            assert!(!failure.message.contains("pw@") && !failure.hint.contains("pw@"), "{failure:?}");
        }
    }

    #[test]
    fn passwords_are_left_out() {
        assert_eq!(redacted("webdav+https://ann:a@b@host/x"), "webdav+https://ann:***@host/x");
        assert_eq!(redacted("/srv/ann:b@c"), "/srv/ann:b@c");
    }
}
