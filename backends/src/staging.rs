//! The names of temporaries in stores that know no better way to make an object appear whole.

use fardel_store::{Error, ErrorKind, Result};

/// The folder for temporaries, in the root of the repository; no object can have this name.
pub(crate) const STAGING: &str = ".fardel-staging";

/// A new name for a temporary, of this attempt alone; folder stores on the server's own machine take it for a stranger's.
///
/// # Errors
/// When the system gives no random numbers.
pub(crate) fn new_name() -> Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Error::new(ErrorKind::Other, "a temporary", error))?;
    Ok(format!("upload-{:032x}.tmp", u128::from_le_bytes(random)))
}

/// Whether `name` is one that [`new_name`] gives.
pub(crate) fn is_name(name: &str) -> bool {
    let random = name.strip_prefix("upload-").and_then(|rest| rest.strip_suffix(".tmp"));
    random.is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_again_and_never_recur() {
        let (one, two) = (new_name().unwrap(), new_name().unwrap());
        assert!(is_name(&one) && is_name(&two) && one != two);
        for stranger in
            ["", "upload-.tmp", "put-1-2.tmp", "upload-0123456789abcdef0123456789abcde.tmp", &one[..40]]
        {
            assert!(!is_name(stranger), "{stranger}");
        }
    }
}
