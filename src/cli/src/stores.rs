//! From the URL of a store to the store, with what the configuration says of the way there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fardel_backends::Secret;
use fardel_backends::cloud::{AzureOptions, CloudOptions, CloudStore, GcsOptions};
use fardel_backends::s3::{S3Options, S3Store};
use fardel_backends::sftp::{SftpOptions, SftpStore, SshHost};
use fardel_backends::webdav::{Credentials, WebDavOptions, WebDavStore, find_in_netrc};
use fardel_engine::keyring::check_private;
use fardel_store::{Retrying, Store};
use url::Url;

use crate::config::Config;
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human;
use crate::remote::Remote;
use crate::secret_input;

/// A `.netrc` beyond this is none, in bytes.
const MAX_NETRC: u64 = 1 << 20;

/// What the configuration says of the stores whose URL begins with a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How their URLs begin, with or without a user's name.
    pub url: String,
    /// What carries SFTP there, instead of `ssh`.
    pub transport_command: Option<Vec<String>>,
    /// A shell command that prints the password.
    pub password_command: Option<String>,
    /// A shell command that prints a token to show instead of a name and a password.
    pub token_command: Option<String>,
    /// A PEM file of certificates that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
}

/// The store at a URL. Nothing is asked of it yet. How far uploads got is written down in the folder `journal`.
///
/// # Errors
/// When the settings do not fit, or a password cannot be had.
pub fn open(config: &Config, remote: &Remote, journal: Option<PathBuf>) -> Result<Arc<dyn Store>> {
    let settings = settings(&config.stores, remote);
    Ok(match remote {
        Remote::Sftp { user, host, port, folder } => {
            let ssh = SshHost::new(user.as_deref(), host, *port).map_err(unusable)?;
            let mut options = SftpOptions { journal, ..SftpOptions::new(&ssh, folder, &remote.to_string()) };
            if let Some(command) = settings.transport_command {
                options.command = command;
            }
            Arc::new(Retrying::new(SftpStore::open(options).map_err(unusable)?))
        }
        Remote::WebDav { url, user, password } => {
            let credentials = credentials(&settings, url, user.as_deref(), password.as_ref())?;
            let options =
                WebDavOptions { credentials, certificates: settings.ca_file, ..WebDavOptions::new(url) };
            Arc::new(Retrying::new(WebDavStore::open(&options).map_err(unusable)?))
        }
        Remote::S3 { bucket, prefix, endpoint, region, profile } => {
            let (part_size, parts_at_once) = parts(config.memory);
            let options = S3Options {
                part_size,
                parts_at_once,
                endpoint: endpoint.clone(),
                region: region.clone(),
                profile: profile.clone(),
                certificates: settings.ca_file,
                journal,
                ..S3Options::new(bucket, prefix)
            };
            Arc::new(Retrying::new(S3Store::open(&options).map_err(unusable)?))
        }
        Remote::Google { bucket, prefix, endpoint } => {
            let common = CloudOptions { certificates: settings.ca_file, ..CloudOptions::default() };
            let endpoint = endpoint.clone();
            let options = GcsOptions { endpoint, common, ..GcsOptions::new(bucket, prefix) };
            Arc::new(Retrying::new(CloudStore::google(&options).map_err(unusable)?))
        }
        Remote::Azure { container, prefix, account, endpoint } => {
            let common = CloudOptions { certificates: settings.ca_file, ..CloudOptions::default() };
            let (account, endpoint) = (account.clone(), endpoint.clone());
            let options = AzureOptions { account, endpoint, common, ..AzureOptions::new(container, prefix) };
            Arc::new(Retrying::new(CloudStore::azure(&options).map_err(unusable)?))
        }
    })
}

/// The length of a part of an upload to S3, and how many are in memory at once: at most a quarter of what may be used.
fn parts(memory: u64) -> (u64, usize) {
    let part = if memory < 128 << 20 { 5 << 20 } else { 8 << 20 };
    (part, usize::try_from(memory / 4 / part).unwrap_or(usize::MAX).clamp(1, 4))
}

/// What is said of the longest beginning of the URL.
fn settings(all: &[Settings], remote: &Remote) -> Settings {
    let urls = [remote.to_string(), remote.plain()];
    let fits = |settings: &&Settings| urls.iter().any(|url| begins(url, &settings.url));
    all.iter().filter(fits).max_by_key(|settings| settings.url.len()).cloned().unwrap_or_default()
}

/// Whether a URL begins with `start`, up to the end of a part: `sftp://nas` is no beginning of `sftp://nas2/x`.
fn begins(url: &str, start: &str) -> bool {
    url.strip_prefix(start)
        .is_some_and(|rest| rest.is_empty() || start.ends_with('/') || rest.starts_with(['/', '?', ':']))
}

/// What the server is shown: a token, or a name and a password from the URL, a command, or `.netrc`.
fn credentials(
    settings: &Settings,
    url: &str,
    user: Option<&str>,
    password: Option<&Secret>,
) -> Result<Credentials> {
    if let Some(command) = &settings.token_command {
        return Ok(Credentials::Bearer(ask(command)?));
    }
    let basic = |user: &str, password| Credentials::Basic { user: user.to_owned(), password };
    match (user, password, &settings.password_command) {
        (Some(user), Some(password), _) => return Ok(basic(user, password.clone())),
        (Some(user), None, Some(command)) => return Ok(basic(user, ask(command)?)),
        (None, _, Some(_)) => {
            let message = "there is a password command, but no name in the URL";
            return Err(Failure::usage(message, "write the name into it: webdav+https://NAME@HOST/…"));
        }
        _ => {}
    }
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    if let Some((user, password)) = from_netrc(&host, user)? {
        return Ok(basic(&user, password));
    }
    match user {
        None => Ok(Credentials::None),
        Some(user) => {
            let message = format!("there is no password for {user} at {host}");
            let hint = "write it into ~/.netrc, or name a `password_command:` under `stores:` in fardel.yaml";
            Err(Failure::usage(message, hint))
        }
    }
}

fn ask(command: &str) -> Result<Secret> {
    let secret = secret_input::from_command(command);
    let secret = secret.map_err(|why| {
        let hint = "run it by hand: it must print the secret and end with exit code 0";
        Failure::new(Exit::Failed, format!("the command `{command}`: {why}"), hint)
    })?;
    Ok(Secret::from(secret.to_string()))
}

/// What the user's `.netrc` has for a machine.
fn from_netrc(host: &str, user: Option<&str>) -> Result<Option<(String, Secret)>> {
    let named = std::env::var_os("NETRC").filter(|path| !path.is_empty()).map(PathBuf::from);
    let Some(path) = named.or_else(|| std::env::home_dir().map(|home| home.join(".netrc"))) else {
        return Ok(None);
    };
    let Ok(meta) = std::fs::metadata(&path) else { return Ok(None) };
    if meta.len() > MAX_NETRC {
        return Ok(None);
    }
    let text = read(&path)?;
    let Some(found) = find_in_netrc(&text, host, user) else { return Ok(None) };
    check_private(&path)
        .map_err(|e| Failure::from(e).with_hint("a file with passwords is for its owner alone"))?;
    Ok(Some(found))
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<String>> {
    let text = std::fs::read_to_string(path);
    let text =
        text.map_err(|e| Failure::io(path, &e, "make it a readable text file, or set NETRC to another one"))?;
    Ok(text.into())
}

/// Options that no request was made with.
fn unusable(error: fardel_store::Error) -> Failure {
    let message = human::shown(error.to_string().as_bytes());
    Failure::usage(message, "correct the URL, or the settings under `stores:` in fardel.yaml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> Remote {
        Remote::parse(text).unwrap().unwrap()
    }

    #[test]
    fn parts_of_uploads_fit_the_memory() {
        assert_eq!(parts(64 << 20), (5 << 20, 3));
        assert_eq!(parts(256 << 20), (8 << 20, 4));
        assert_eq!(parts(1 << 40), (8 << 20, 4));
    }

    #[test]
    fn the_longest_beginning_counts() {
        let named = |url: &str| Settings { url: url.into(), ..Settings::default() };
        let all =
            [named("sftp://nas"), named("sftp://nas/srv/"), named("sftp://ann@nas/srv/x"), named("s3://b")];
        let found = |text: &str| settings(&all, &remote(text)).url;
        assert_eq!(found("sftp://nas/other"), "sftp://nas");
        assert_eq!(found("sftp://ann@nas:22/other"), "sftp://nas");
        assert_eq!(found("sftp://bob@nas/srv/x"), "sftp://nas/srv/");
        assert_eq!(found("sftp://ann@nas/srv/x/y"), "sftp://ann@nas/srv/x");
        assert_eq!(found("sftp://nas2/x"), "");
        assert_eq!(found("s3://b/x?region=r"), "s3://b");
        assert_eq!(found("s3://bucket/x"), "");
    }

    #[test]
    fn passwords_come_from_the_url_before_a_command() {
        let command = Settings { password_command: Some("echo two".into()), ..Settings::default() };
        let password = |settings: &Settings, password: Option<&Secret>| match credentials(
            settings,
            "https://h/x",
            Some("ann"),
            password,
        )
        .unwrap()
        {
            Credentials::Basic { password, .. } => password.reveal().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(password(&command, Some(&Secret::from("one".to_owned()))), "one");
        assert_eq!(password(&command, None), "two");
        let token = Settings { token_command: Some("echo t".into()), ..Settings::default() };
        let shown = credentials(&token, "https://h/x", None, None).unwrap();
        assert_eq!(shown, Credentials::Bearer(Secret::from("t".to_owned())));
        let failing =
            Settings { password_command: Some("echo hunter2; false".into()), ..Settings::default() };
        let failure = credentials(&failing, "https://h/x", Some("ann"), None).unwrap_err();
        assert!(!failure.message.replace("`echo hunter2; false`", "").contains("hunter2"), "{failure:?}");
    }
}
