use std::path::Path;
use std::sync::Once;

use fardel_store::{Error, ErrorKind, Result};

/// A file of certificates beyond this is none, in bytes.
const MAX_LEN: u64 = 16 << 20;

/// Chooses what TLS computes with, once in a process; whoever chose before is left alone.
pub(crate) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that there is one already, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The certificates in a PEM file, as it is.
///
/// # Errors
/// [`ErrorKind::Invalid`] when it cannot be read, or is too large for a file of certificates.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<u8>> {
    let invalid = |what: &dyn std::fmt::Display| {
        let message = format!("no file of certificates: {what}");
        Error::new(ErrorKind::Invalid, path.display(), message)
    };
    let len = std::fs::metadata(path).map_err(|error| invalid(&error))?.len();
    if len > MAX_LEN {
        return Err(invalid(&"it is too large"));
    }
    std::fs::read(path).map_err(|error| invalid(&error))
}
