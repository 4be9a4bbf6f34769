//! Repositories on other machines: their URLs.

use std::fmt;

use fardel_backends::Secret;
use url::Url;

/// Where a repository lies on another machine, and what its URL says of the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// `sftp://USER@HOST:PORT/PATH`; a path that begins with `/~/` lies below the folder in which the server begins.
    Sftp {
        /// Who logs in; `ssh` knows it otherwise.
        user: Option<String>,
        /// The machine, or its name in the configuration of `ssh`.
        host: String,
        /// The port; `ssh` knows it otherwise.
        port: Option<u16>,
        /// The folder there.
        folder: String,
    },
    /// `webdav+https://USER@HOST/PATH`.
    WebDav {
        /// The folder's URL for HTTP, without a name or a password.
        url: String,
        /// Who asks.
        user: Option<String>,
        /// A password that stands in the URL.
        password: Option<Secret>,
    },
    /// `s3://BUCKET/PREFIX?endpoint=…&region=…&profile=…`.
    S3 {
        /// The bucket.
        bucket: String,
        /// What all names begin with.
        prefix: String,
        /// The service, unless it is Amazon's.
        endpoint: Option<String>,
        /// Its region.
        region: Option<String>,
        /// The profile whose keys are used.
        profile: Option<String>,
    },
    /// `gs://BUCKET/PREFIX?endpoint=…`.
    Google {
        /// The bucket.
        bucket: String,
        /// What all names begin with.
        prefix: String,
        /// The service, unless it is Google's.
        endpoint: Option<String>,
    },
    /// `az://CONTAINER/PREFIX?account=…&endpoint=…`.
    Azure {
        /// The container.
        container: String,
        /// What all names begin with.
        prefix: String,
        /// The storage account.
        account: Option<String>,
        /// The account's URL, unless it is at Azure's.
        endpoint: Option<String>,
    },
}

impl Remote {
    /// Reads a URL; `None` when its scheme is not one of these.
    ///
    /// # Errors
    /// In words, without what stands in the URL: it may hold a password.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (scheme, rest) = text.split_once(':')?;
        match scheme {
            "sftp" => Some(sftp(text)),
            "webdav+http" | "webdav" => Some(webdav(&format!("http:{rest}"))),
            "webdav+https" | "webdavs" => Some(webdav(&format!("https:{rest}"))),
            "s3" => Some(s3(text)),
            "gs" => Some(google(text)),
            "az" => Some(azure(text)),
            _ => None,
        }
    }

    /// The URL without a user's name: what the settings of a store are found by.
    #[must_use]
    pub fn plain(&self) -> String {
        let mut plain = self.clone();
        if let Self::Sftp { user, .. } | Self::WebDav { user, .. } = &mut plain {
            *user = None;
        }
        plain.to_string()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |user: &Option<String>| user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        match self {
            Self::Sftp { user, host, port, folder } => {
                let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                write!(f, "sftp://{}{bracketed}", at(user))?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                f.write_str(if folder.starts_with('/') { "" } else { "/~/" })?;
                f.write_str(folder)
            }
            Self::WebDav { url, user, .. } => match url.split_once("://") {
                Some((scheme, rest)) => write!(f, "webdav+{scheme}://{}{rest}", at(user)),
                None => f.write_str(url),
            },
            Self::S3 { bucket, prefix, endpoint, region, profile } => {
                let options = [("endpoint", endpoint), ("region", region), ("profile", profile)];
                write_bucket(f, "s3", bucket, prefix, &options)
            }
            Self::Google { bucket, prefix, endpoint } => {
                write_bucket(f, "gs", bucket, prefix, &[("endpoint", endpoint)])
            }
            Self::Azure { container, prefix, account, endpoint } => {
                let options = [("account", account), ("endpoint", endpoint)];
                write_bucket(f, "az", container, prefix, &options)
            }
        }
    }
}

fn write_bucket(
    f: &mut fmt::Formatter<'_>,
    scheme: &str,
    bucket: &str,
    prefix: &str,
    options: &[(&str, &Option<String>)],
) -> fmt::Result {
    write!(f, "{scheme}://{bucket}/{prefix}")?;
    let mut mark = '?';
    for (name, value) in options.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        write!(f, "{mark}{name}={value}")?;
        mark = '&';
    }
    Ok(())
}

fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("this is no URL: {error}"))?;
    if url.host_str().is_none_or(str::is_empty) || url.fragment().is_some() {
        return Err("this is no URL with a machine or a bucket in it, and no #".to_owned());
    }
    Ok(url)
}

/// `%NN` decoded.
fn decoded(text: &str) -> Result<String, String> {
    let bytes = url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default();
    if bytes.contains(['\0', '\u{fffd}']) { Err("a name in it is no text".to_owned()) } else { Ok(bytes) }
}

fn sftp(text: &str) -> Result<Remote, String> {
    let url = url(text)?;
    if url.password().is_some() {
        return Err("a password stands in it; `ssh` asks for it, or better has a key".to_owned());
    }
    if url.query().is_some() {
        return Err("it has options, and SFTP knows none; %3F is a question mark in a name".to_owned());
    }
    let path = decoded(url.path())?;
    let folder = match path.strip_prefix("/~/") {
        Some(folder) => folder.to_owned(),
        None if path == "/~" || path.is_empty() => {
            return Err("it has no path: /srv/backup, or /~/backup below the home folder there".to_owned());
        }
        None => path,
    };
    let user = Some(decoded(url.username())?).filter(|user| !user.is_empty());
    let host = decoded(url.host_str().unwrap_or_default())?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Remote::Sftp { user, host, port: url.port(), folder })
}

fn webdav(text: &str) -> Result<Remote, String> {
    let mut url = url(text)?;
    let user = Some(decoded(url.username())?).filter(|user| !user.is_empty());
    let password = url.password().map(decoded).transpose()?.map(Secret::from);
    if url.query().is_some() {
        return Err("it has options, and WebDAV knows none; %3F is a question mark in a name".to_owned());
    }
    if password.is_some() && user.is_none() {
        return Err("a password stands in it, and no name before it".to_owned());
    }
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| "this is no URL with a machine in it".to_owned())?;
    Ok(Remote::WebDav { url: url.into(), user, password })
}

fn s3(text: &str) -> Result<Remote, String> {
    let (bucket, prefix, [endpoint, region, profile]) = bucket(text, ["endpoint", "region", "profile"])?;
    Ok(Remote::S3 { bucket, prefix, endpoint, region, profile })
}

fn google(text: &str) -> Result<Remote, String> {
    let (bucket, prefix, [endpoint]) = bucket(text, ["endpoint"])?;
    Ok(Remote::Google { bucket, prefix, endpoint })
}

fn azure(text: &str) -> Result<Remote, String> {
    let (container, prefix, [endpoint, account]) = bucket(text, ["endpoint", "account"])?;
    Ok(Remote::Azure { container, prefix, account, endpoint })
}

/// The bucket, the prefix, and the options of these names, of which the first is `endpoint`.
fn bucket<const N: usize>(
    text: &str,
    names: [&str; N],
) -> Result<(String, String, [Option<String>; N]), String> {
    let form = |_| {
        let scheme = text.split(':').next().unwrap_or_default();
        format!("it has this form: {scheme}://BUCKET/PREFIX?{}=…", names.join("=…&"))
    };
    let url = url(text).map_err(form)?;
    if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
        return Err(
            "keys or a port stand in it; keys come from the environment or a profile, the service from ?endpoint="
                .to_owned(),
        );
    }
    let mut options = [const { None }; N];
    for (name, value) in url.query_pairs() {
        let Some(at) = names.iter().position(|known| *known == name) else {
            return Err(format!("it has an option that is none of {}", names.join(", ")));
        };
        options[at] = Some(value.into_owned());
    }
    if let Some(endpoint) = &options[0] {
        let parsed = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let parsed = parsed.ok_or("its endpoint is no http:// or https:// URL")?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("keys stand in its endpoint; they come from the environment or a profile".to_owned());
        }
    }
    let bucket = url.host_str().unwrap_or_default().to_owned();
    let prefix = decoded(url.path())?.trim_matches('/').to_owned();
    Ok((bucket, prefix, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Remote {
        Remote::parse(text).expect(text).expect(text)
    }

    #[test]
    fn urls_come_back_as_they_were() {
        for text in [
            "sftp://ann@nas:2222/srv/backup",
            "sftp://nas/~/backup",
            "sftp://ann@[::1]:22/x",
            "webdav+https://ann@cloud.example.org/remote.php/dav/files/ann/fardel",
            "webdav+http://127.0.0.1:8080/x",
            "s3://bucket/some/prefix?endpoint=http://127.0.0.1:9000&region=eu&profile=p",
            "s3://bucket/",
            "gs://bucket/some/prefix",
            "gs://bucket/?endpoint=http://127.0.0.1:4443",
            "az://container/p?account=a&endpoint=http://127.0.0.1:10000/a",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("webdavs://h/x").to_string(), "webdav+https://h/x");
        assert_eq!(parse("sftp://ann@nas/x").plain(), "sftp://nas/x");
    }

    #[test]
    fn parts_are_told_apart() {
        let sftp = parse("sftp://ann@nas/srv/a%20b+c");
        assert!(
            matches!(&sftp, Remote::Sftp { folder, user, .. } if folder == "/srv/a b+c" && user.as_deref() == Some("ann"))
        );
        assert!(matches!(parse("sftp://nas/~/x/y"), Remote::Sftp { folder, .. } if folder == "x/y"));
        let webdav = parse("webdav+https://ann:hun%3Ater2@h/x");
        assert!(!format!("{webdav:?} {webdav}").contains("ter2"));
        let Remote::WebDav { url, password, .. } = webdav else { panic!("{webdav:?}") };
        assert_eq!((&*url, password.unwrap().reveal()), ("https://h/x", "hun:ter2"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_repeating_it() {
        for text in [
            "sftp://ann:hunter2@nas/x",
            "sftp://nas",
            "sftp:nas:hunter2",
            "sftp://nas/x?hunter2",
            "webdav+https://:hunter2@h/x",
            "webdav+https://h/x?hunter2",
            "s3://key:hunter2@bucket/x",
            "s3:bucket/hunter2",
            "s3://bucket/x?secret=hunter2",
            "s3://bucket/x?endpoint=hunter2",
            "s3://bucket/x?endpoint=http://a:hunter2@h",
            "gs://bucket/x?account=hunter2",
            "az://key:hunter2@container/x",
            "az://container/x?sig=hunter2",
        ] {
            let why = Remote::parse(text).expect(text).expect_err(text);
            assert!(!why.contains("hunter2"), "{text}: {why}");
        }
        assert!(Remote::parse("/srv/x").is_none() && Remote::parse("ftp://x/y").is_none());
    }
}
