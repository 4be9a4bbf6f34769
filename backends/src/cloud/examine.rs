use fardel_store::{ErrorKind, Finding, Prefix, Result};
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};

use super::store::S3Store;
use crate::cloud::failure::Failure;

const NOT_RELIED_ON: &str = "Fardel does not rely on it: it looks first, and takes turns with itself; two programs store the same bytes under \
                             one name, for names carry the hash of their bytes or a writer's own number";

impl S3Store {
    /// What the service makes of a precondition.
    pub(super) async fn look_around(&self, scratch: &Prefix) -> Result<Vec<Finding>> {
        let key = fardel_store::Key::new(format!("{}condition", scratch.as_str()))?;
        let path = self.path(&key)?;
        let put = |text: &'static str| {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            self.clients.writer.put_opts(&path, PutPayload::from_static(text.as_bytes()), options)
        };
        let failed = |failure: Failure| failure.while_storing(&key, "trying a precondition");
        let first = put("one").await.map_err(Failure::from);
        let found = match first {
            Err(failure) if failure.is_unsupported() => {
                Finding::not_safe("If-None-Match: * is refused: the service does not know it", NOT_RELIED_ON)
            }
            Err(failure) => return Err(failed(failure)),
            Ok(_) => match put("two").await.map_err(Failure::from) {
                Err(failure) if failure.kind() == ErrorKind::Exists => {
                    Finding::ok("a PUT with If-None-Match: * keeps what is there", "")
                }
                Err(failure) => return Err(failed(failure)),
                Ok(_) => Finding::not_safe(
                    "a PUT with If-None-Match: * replaces what is there: the precondition is ignored",
                    NOT_RELIED_ON,
                ),
            },
        };
        Ok(vec![found, Finding::ok("objects appear whole or not at all", "")])
    }
}
