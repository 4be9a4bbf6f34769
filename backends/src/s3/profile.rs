//! Credentials from `~/.aws/credentials` and `~/.aws/config`, as the tools of Amazon read them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fardel_store::{Error, ErrorKind, Result};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

/// A file beyond this is none of these, in bytes.
const MAX_LEN: u64 = 1 << 20;

/// Tools that renew credentials write them anew: so long is one reading used.
const FRESH: Duration = Duration::from_secs(60);

/// Where profiles lie, and which one is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProfileFiles {
    pub(super) credentials: PathBuf,
    pub(super) config: PathBuf,
}

/// What a profile says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Profile(BTreeMap<String, String>);

impl ProfileFiles {
    /// The files that the environment names, or those in the home folder.
    pub(super) fn of_user() -> Option<Self> {
        let named =
            |variable: &str| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        let home = std::env::home_dir().map(|home| home.join(".aws"));
        let path = |variable: &str, name: &str| named(variable).or_else(|| Some(home.as_ref()?.join(name)));
        Some(Self {
            credentials: path("AWS_SHARED_CREDENTIALS_FILE", "credentials")?,
            config: path("AWS_CONFIG_FILE", "config")?,
        })
    }

    /// The profile of this name, from both files; `None` when neither has it.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub(super) fn find(&self, name: &str) -> Result<Option<Profile>> {
        let in_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let config = section(&read(&self.config)?, &in_config);
        let credentials = section(&read(&self.credentials)?, name);
        if config.is_none() && credentials.is_none() {
            return Ok(None);
        }
        // What stands among the credentials comes first.
        let mut all = config.unwrap_or_default();
        all.extend(credentials.unwrap_or_default());
        Ok(Some(Profile(all)))
    }
}

impl Profile {
    /// A value of it.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Its keys.
    ///
    /// # Errors
    /// In words, when it has none of its own.
    fn credential(&self) -> Result<AwsCredential, String> {
        let key_id = self.get("aws_access_key_id");
        if let Some((key_id, secret_key)) = key_id.zip(self.get("aws_secret_access_key")) {
            let token = self.get("aws_session_token").map(str::to_owned);
            return Ok(AwsCredential { key_id: key_id.to_owned(), secret_key: secret_key.to_owned(), token });
        }
        let elsewhere = ["sso_session", "sso_start_url", "role_arn", "credential_process"];
        Err(match elsewhere.iter().find(|key| self.get(key).is_some()) {
            Some(key) => format!(
                "it gets its keys by {key}; `aws configure export-credentials` gives them to the environment"
            ),
            None => "it has no aws_access_key_id and aws_secret_access_key".to_owned(),
        })
    }

    pub(super) fn has_keys(&self) -> bool {
        self.credential().is_ok()
    }
}

/// Gives the keys of a profile, read anew now and then.
pub(super) struct ProfileProvider {
    files: ProfileFiles,
    name: String,
    last: Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

impl ProfileProvider {
    pub(super) fn new(files: ProfileFiles, name: &str) -> Self {
        Self { files, name: name.to_owned(), last: Mutex::default() }
    }

    fn load(&self) -> Result<AwsCredential, String> {
        let profile = self.files.find(&self.name).map_err(|error| error.to_string())?;
        profile.ok_or_else(|| "it is not there".to_owned())?.credential()
    }
}

impl std::fmt::Debug for ProfileProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProfileProvider").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialProvider for ProfileProvider {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut last = self.last.lock().expect("never poisoned");
        if let Some((read, credential)) = &*last
            && read.elapsed() < FRESH
        {
            return Ok(credential.clone());
        }
        let credential = self.load().map_err(|why| object_store::Error::Unauthenticated {
            path: format!("profile {}", self.name),
            source: why.into(),
        })?;
        let credential = Arc::new(credential);
        *last = Some((Instant::now(), credential.clone()));
        Ok(credential)
    }
}

/// The text of a file; empty when there is none.
fn read(path: &Path) -> Result<String> {
    let invalid =
        |what: &dyn std::fmt::Display| Error::new(ErrorKind::Invalid, path.display(), what.to_string());
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(invalid(&error)),
        Ok(meta) if meta.len() > MAX_LEN => Err(invalid(&"this is too large for a file of profiles")),
        Ok(_) => std::fs::read_to_string(path).map_err(|error| invalid(&error)),
    }
}

/// The keys and values below `[name]`.
fn section(text: &str, name: &str) -> Option<BTreeMap<String, String>> {
    let mut found = None;
    let mut is_open = false;
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(title) =
            line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(title, _)| title)
        {
            is_open = title.split_whitespace().eq(name.split_whitespace());
            if is_open {
                found.get_or_insert_with(BTreeMap::new);
            }
        } else if is_open
            && !is_nested
            && let (Some(found), Some((key, value))) = (&mut found, line.split_once('='))
        {
            let value = value.split(" #").next().unwrap_or_default().trim();
            found.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "[default]\naws_access_key_id = AK1\naws_secret_access_key=S1\n\n# mine\n[ backup ]\n\
                               AWS_ACCESS_KEY_ID=AK2\naws_secret_access_key=S=2/+ # not this\naws_session_token = T\n";
    const CONFIG: &str = "[default]\nregion = eu-central-1\n[profile backup]\nregion=eu-west-1\ns3 =\n  region = nested\n\
                          endpoint_url = https://s3.example.org\n[profile sso]\nsso_session = x\n";

    fn files(folder: &Path) -> ProfileFiles {
        let files = ProfileFiles { credentials: folder.join("credentials"), config: folder.join("config") };
        std::fs::write(&files.credentials, CREDENTIALS).unwrap();
        std::fs::write(&files.config, CONFIG).unwrap();
        files
    }

    #[test]
    fn profiles_are_read_from_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let backup = files.find("backup").unwrap().unwrap();
        assert_eq!(backup.get("region"), Some("eu-west-1"));
        assert_eq!(backup.get("endpoint_url"), Some("https://s3.example.org"));
        let AwsCredential { key_id, secret_key, token } = backup.credential().unwrap();
        assert_eq!((&*key_id, &*secret_key, token.as_deref()), ("AK2", "S=2/+", Some("T")));
        let default = files.find("default").unwrap().unwrap();
        assert_eq!((default.get("region"), default.has_keys()), (Some("eu-central-1"), true));
        assert!(files.find("sso").unwrap().unwrap().credential().unwrap_err().contains("sso_session"));
        assert_eq!(files.find("other").unwrap(), None);
    }

    #[tokio::test]
    async fn keys_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let provider = ProfileProvider::new(files(folder.path()), "default");
        assert_eq!(provider.get_credential().await.unwrap().secret_key, "S1");
        assert!(!format!("{provider:?}").contains("S1"));
        let missing = ProfileProvider::new(files(folder.path()), "other");
        assert!(missing.get_credential().await.unwrap_err().to_string().contains("profile other"));
    }
}
