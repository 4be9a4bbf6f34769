//! Ed25519 signatures in minisign's form, so that stock `minisign -V` accepts them.

use std::fmt;
use std::io::Cursor;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::ids::WriterId;
use crate::lines;
use crate::{Error, Result};

/// Signatures beyond this are refused, in bytes.
pub const MAX_SIGNATURE: usize = 4096;

/// A public key as minisign writes it: base64 of algorithm, key number and key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(String);

impl PublicKey {
    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The short name under which this key's manifests, seals and tombs are kept.
    #[must_use]
    pub fn writer(&self) -> WriterId {
        let hash = blake3::hash(self.0.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&hash.as_bytes()[..8]);
        WriterId(id)
    }

    /// Whether `signature` was made over `message` with this key and exactly this trusted comment.
    ///
    /// # Errors
    /// [`Error::Forged`] when not, [`Error::Damaged`] when it is no signature at all.
    pub fn verify(
        &self,
        what: &'static str,
        message: &[u8],
        signature: &str,
        trusted_comment: &str,
    ) -> Result<()> {
        check_form(what, signature)?;
        let forged = |why: &dyn fmt::Display| Error::Forged { what, why: why.to_string() };
        let key = minisign::PublicKey::from_base64(&self.0).map_err(|e| Error::damaged("a public key", e))?;
        let signature =
            minisign::SignatureBox::from_string(signature).map_err(|e| Error::damaged(what, e))?;
        minisign::verify(&key, &signature, Cursor::new(message), true, false, false)
            .map_err(|e| forged(&e))?;
        let found = signature.trusted_comment().map_err(|e| Error::damaged(what, e))?;
        if found == trusted_comment { Ok(()) } else { Err(forged(&"it is a signature for something else")) }
    }
}

impl TryFrom<String> for PublicKey {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        let bytes = lines::from_base64("a public key", &text)?;
        if bytes.len() != 42 || !bytes.starts_with(b"Ed") || lines::base64(&bytes) != text {
            return Err(Error::damaged("a public key", "not a minisign public key"));
        }
        minisign::PublicKey::from_base64(&text).map_err(|e| Error::damaged("a public key", e))?;
        Ok(Self(text))
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.0)
    }
}

/// Bytes of a minisign secret key, without a passphrase: algorithms, salt, limits, key number, key, checksum.
const SECRET_LEN: usize = 158;

/// Whether a signature has the one form that `minisign -S` writes: four lines, nothing after them.
///
/// Stock `minisign` refuses some of what a lenient parser takes, and the parser of the `minisign` crate panics on a second
/// signature that is too short; both are settled here.
fn check_form(what: &'static str, signature: &str) -> Result<()> {
    if signature.len() > MAX_SIGNATURE {
        return Err(Error::TooLarge { what, limit: MAX_SIGNATURE as u64 });
    }
    let bad = || Error::damaged(what, "it has not the form of a minisign signature");
    let body = signature.strip_suffix('\n').ok_or_else(bad)?;
    let [untrusted, first, trusted, second] = body.split('\n').collect::<Vec<_>>()[..] else {
        return Err(bad());
    };
    let comment = trusted.strip_prefix("trusted comment: ").ok_or_else(bad)?;
    let has_len = |text, len| lines::from_base64(what, text).is_ok_and(|bytes| bytes.len() == len);
    let formed =
        untrusted.starts_with("untrusted comment: ") && comment == comment.trim() && !body.contains('\r');
    if formed && has_len(first, 74) && has_len(second, 64) { Ok(()) } else { Err(bad()) }
}

/// A signing key; its bytes are wiped when it goes.
#[derive(Clone)]
pub struct SigningKey {
    secret: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public)
    }
}

impl SigningKey {
    /// Makes a new one.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Self> {
        let pair = minisign::KeyPair::generate_unencrypted_keypair()
            .map_err(|e| Error::damaged("a signing key", e))?;
        Ok(Self { secret: Zeroizing::new(pair.sk.to_bytes()), public: PublicKey(pair.pk.to_base64()) })
    }

    /// The key as base64, to be kept in a secret file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(lines::base64(&self.secret))
    }

    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// When it is no signing key, or its two halves do not belong together.
    pub fn from_text(text: &str) -> Result<Self> {
        let what = "a signing key";
        // What the decoder says could hold a byte of the secret.
        let secret = lines::from_base64(what, text).map_err(|_| Error::damaged(what, "it is not base64"))?;
        let secret = Zeroizing::new(secret);
        if secret.len() != SECRET_LEN {
            return Err(Error::damaged(what, "it has another length"));
        }
        let key = minisign::SecretKey::from_bytes(&secret).map_err(|e| Error::damaged(what, e))?;
        let public = minisign::PublicKey::from_secret_key(&key).map_err(|e| Error::damaged(what, e))?;
        let key = Self { secret, public: PublicKey::try_from(public.to_base64())? };
        // The public half is only written beside the secret one: signing shows whether they belong together.
        key.sign(b"", "").map_err(|_| Error::damaged(what, "its two halves do not belong together"))?;
        Ok(key)
    }

    /// Who verifies what this key signs.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message`. Two signatures over the same differ (the signer mixes in randomness): keep the one that was stored.
    ///
    /// # Errors
    /// When the comment cannot stand in a signature.
    pub fn sign(&self, message: &[u8], trusted_comment: &str) -> Result<String> {
        let error = |e: minisign::PError| Error::damaged("a signature", e);
        let key = minisign::SecretKey::from_bytes(&self.secret).map_err(error)?;
        let public = minisign::PublicKey::from_base64(self.public.as_str()).map_err(error)?;
        let signature =
            minisign::sign(Some(&public), &key, Cursor::new(message), Some(trusted_comment), Some("fardel"));
        Ok(signature.map_err(error)?.into_string())
    }
}

#[cfg(test)]
mod tests;
