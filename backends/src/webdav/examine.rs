use bytes::Bytes;
use fardel_store::{Error, ErrorKind, Finding, Prefix, Result};
use futures::stream;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::failure::Failure;
use super::store::WebDavStore;

/// How often two MOVEs to one name race each other.
const RACES: usize = 8;

/// Length of an upload that ends in the middle, in bytes.
const HALF: usize = 512 << 10;

impl WebDavStore {
    /// What the server makes of preconditions, of races, and of uploads that end in the middle.
    pub(super) async fn look_around(&self, scratch: &Prefix) -> Result<Vec<Finding>> {
        let examined = self.examine_below(scratch.as_str()).await;
        examined.map_err(|failure| failure.while_storing(scratch.as_str(), "trying what the server does"))
    }

    async fn examine_below(&self, folder: &str) -> Result<Vec<Finding>, Failure> {
        let path = |name: &str| format!("{folder}{name}");
        self.folders.make_above(&path("")).await?;
        self.break_off(&path("broken-off")).await;
        let mut found = vec![self.precondition(&path("condition")).await?];
        found.push(self.overwrite(&path("move-one"), &path("condition")).await?);
        found.push(self.races(folder).await?);
        // Looked at last: a server takes its time to see that nothing more comes.
        found.push(match self.client.look(&path("broken-off")).await? {
            None => Finding::ok("an upload that is broken off leaves nothing", ""),
            Some(item) => Finding::not_safe(
                format!("an upload that is broken off leaves a file of {} bytes under its name", item.size.unwrap_or_default()),
                "Fardel uploads to names of one attempt alone and renames what is whole; other copiers publish halves there",
            ),
        });
        Ok(found)
    }

    async fn precondition(&self, path: &str) -> Result<Finding, Failure> {
        let headers = || {
            HeaderMap::from_iter([(HeaderName::from_static("if-none-match"), HeaderValue::from_static("*"))])
        };
        let url = self.client.url(path);
        drop(self.client.ask("PUT", &url, headers(), "one").await?);
        Ok(match self.client.ask("PUT", &url, headers(), "two").await {
            Err(failure) if failure.kind() == ErrorKind::Exists => {
                Finding::ok("a PUT with If-None-Match: * keeps what is there", "")
            }
            Err(failure) => Finding::note(
                format!("a PUT with If-None-Match: * fails: {failure}"),
                "Fardel does not use it",
            ),
            Ok(_) => Finding::not_safe(
                "a PUT with If-None-Match: * replaces what is there: the precondition is ignored",
                "Fardel does not rely on it: it never puts under a final name, and renames with Overwrite: F",
            ),
        })
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), Failure> {
        let to = self.client.url(to);
        let to = HeaderValue::from_str(to.as_str()).map_err(|error| Failure::Protocol(error.to_string()))?;
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("destination"), to),
            (HeaderName::from_static("overwrite"), HeaderValue::from_static("F")),
        ]);
        self.client.tell("MOVE", &self.client.url(from), headers).await.map(drop)
    }

    async fn overwrite(&self, from: &str, taken: &str) -> Result<Finding, Failure> {
        drop(self.client.ask("PUT", &self.client.url(from), HeaderMap::new(), "three").await?);
        Ok(match self.rename(from, taken).await {
            Err(failure) if failure.kind() == ErrorKind::Exists => {
                Finding::ok("a MOVE with Overwrite: F keeps what is there", "")
            }
            Err(failure) => Finding::note(
                format!("a MOVE with Overwrite: F to a name that is taken fails: {failure}"),
                "what is there stays; a race is told less clearly",
            ),
            Ok(()) => Finding::not_safe(
                "a MOVE with Overwrite: F replaces what is there",
                "Fardel looks before it renames; two programs that store under one name at the same moment both succeed, with the same \
                 bytes",
            ),
        })
    }

    async fn races(&self, folder: &str) -> Result<Finding, Failure> {
        let mut both = 0;
        for race in 0..RACES {
            let [one, two, name] = ["one", "two", "name"].map(|name| format!("{folder}move-{race}-{name}"));
            for path in [&one, &two] {
                drop(self.client.ask("PUT", &self.client.url(path), HeaderMap::new(), "race").await?);
            }
            let (first, second) = tokio::join!(self.rename(&one, &name), self.rename(&two, &name));
            both += usize::from(first.is_ok() && second.is_ok());
        }
        Ok(match both {
            0 => Finding::ok(format!("one of two MOVEs to one name wins ({RACES} races)"), ""),
            both => Finding::not_safe(
                format!(
                    "names can race: two MOVEs to one name at the same moment both succeed ({both} of {RACES})"
                ),
                "one program takes turns with itself; two programs store the same bytes under one name, for names carry the hash of \
                 their bytes or a writer's own number",
            ),
        })
    }

    /// An upload that ends in the middle; how it ends does not matter.
    async fn break_off(&self, path: &str) {
        let ends = Error::new(ErrorKind::Stopped, path, "it ends here");
        let parts = [Ok(Bytes::from(vec![b'x'; HALF])), Err(ends)];
        let _ = self.client.put(&self.client.url(path), 2 * HALF as u64, stream::iter(parts)).await;
    }
}
