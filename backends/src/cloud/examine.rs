//! What a service makes of a precondition.

use fardel_store::{Error, ErrorKind, Finding, Key, Prefix, Result};
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};

use super::failure::Failure;

const NOT_RELIED_ON: &str = "Fardel does not rely on it: it looks first, and takes turns with itself; two programs store the same bytes under \
                             one name, for names carry the hash of their bytes or a writer's own number";

/// Stores something twice, on `condition` that nothing is there: its header, as people know it.
///
/// # Errors
/// When neither can be stored for another reason.
pub(crate) async fn look_around(
    client: &dyn ObjectStore,
    condition: &str,
    scratch: &Prefix,
    path_of: impl Fn(&Key) -> Result<Path>,
) -> Result<Vec<Finding>> {
    let key = Key::new(format!("{}condition", scratch.as_str()))?;
    let path = path_of(&key)?;
    let put = |text: &'static str| {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        client.put_opts(&path, PutPayload::from_static(text.as_bytes()), options)
    };
    let failed = |failure: Failure| -> Error { failure.while_storing(&key, "trying a precondition") };
    let first = put("one").await.map_err(Failure::from);
    let found = match first {
        Err(failure) if failure.is_unsupported() => {
            Finding::not_safe(format!("{condition} is refused: the service does not know it"), NOT_RELIED_ON)
        }
        Err(failure) => return Err(failed(failure)),
        Ok(_) => match put("two").await.map_err(Failure::from) {
            Err(failure) if failure.kind() == ErrorKind::Exists => {
                Finding::ok(format!("a PUT with {condition} keeps what is there"), "")
            }
            Err(failure) => return Err(failed(failure)),
            Ok(_) => Finding::not_safe(
                format!("a PUT with {condition} replaces what is there: the precondition is ignored"),
                NOT_RELIED_ON,
            ),
        },
    };
    Ok(vec![found, Finding::ok("objects appear whole or not at all", "")])
}
